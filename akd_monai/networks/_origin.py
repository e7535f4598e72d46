# SPDX-License-Identifier: Apache-2.0
"""Where a loaded network comes from, for the records of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import nn

__all__ = ["Origin", "origin_of", "with_origin"]


@dataclass(frozen=True)
class Origin:
    """Where a network was loaded from.

    Attributes:
        bundle: name of the bundle's folder.
        weights: file of the weights.
    """

    bundle: str
    weights: Path


# not an attribute of the network, which would be part of what a teacher's cache knows it by
_ORIGINS: WeakKeyDictionary[nn.Module, Origin] = WeakKeyDictionary()


def with_origin(network: nn.Module, bundle: str | Path, weights: str | Path) -> nn.Module:
    """Note where a network was loaded from, and return it as it is.

    Example:
        >>> network = with_origin(nn.Linear(1, 1), "zoo/teacher", "zoo/teacher/models/model.pt")
        >>> origin_of(network).bundle
        'teacher'
    """
    _ORIGINS[network] = Origin(Path(bundle).resolve().name, Path(weights))
    return network


def origin_of(network: nn.Module) -> Origin | None:
    """Return where a network was loaded from, None where that is not known."""
    return _ORIGINS.get(network)
