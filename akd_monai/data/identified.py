# SPDX-License-Identifier: Apache-2.0
"""What a data set of slices offers so that results for its slices can be kept between epochs and runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

__all__ = ["SLICE_INDEX", "VIEW", "VOLUME_KEY", "IdentifiedSlices", "missing_members"]

VOLUME_KEY = "volume_key"
SLICE_INDEX = "slice_index"
VIEW = "view"


@runtime_checkable
class IdentifiedSlices(Protocol):
    """A data set that can say of each item which view of which slice of which volume its image is.

    :class:`~akd_monai.data.SliceDataset` is one. A data set of your own is one if it has these four members. After
    :meth:`identify_slices` each of its items also holds

    - ``"volume_key"``, string: a hash of the prepared volume, for example of ``akd_monai.identity.volume_key``;
    - ``"slice_index"``, integer: the slice's index in its volume;
    - ``"view"``, integer: which of the eight flips and quarter turns of the unchanged slice the image is, as
      ``akd_monai.data.views.apply_view`` numbers them; -1 for any other change.

    Example:
        >>> class OneVolume:
        ...     volume_keys = ("5f2c",)
        ...     slices = ((0, 0), (0, 1))
        ...     views = 1
        ...     def identify_slices(self):
        ...         pass
        >>> isinstance(OneVolume(), IdentifiedSlices), isinstance([], IdentifiedSlices)
        (True, False)
    """

    @property
    def volume_keys(self) -> Sequence[str]:
        """The hash of each volume; known after :meth:`identify_slices`."""

    @property
    def slices(self) -> Sequence[tuple[int, int]]:
        """For each slice the index of its volume and its index in that volume."""

    @property
    def views(self) -> int:
        """How many views of a slice the random transforms can make, 1 to 8."""

    def identify_slices(self) -> None:
        """Put ``"volume_key"``, ``"slice_index"`` and ``"view"`` into each item from now on."""


def missing_members(dataset: object) -> list[str]:
    """Return the members of :class:`IdentifiedSlices` that a data set lacks.

    Example:
        >>> missing_members([])
        ['identify_slices', 'slices', 'views', 'volume_keys']
    """
    members = ("identify_slices", "slices", "views", "volume_keys")
    return [name for name in members if not hasattr(dataset, name)]
