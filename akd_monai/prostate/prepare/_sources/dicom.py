# SPDX-License-Identifier: Apache-2.0
"""Stack the DICOM slices of one series; :mod:`akd_monai.data._dicom_stack` orders and checks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from akd_monai.data._dicom_stack import stack_of, stacked_pixels
from akd_monai.prostate.prepare._sources.base import CaseError, Volume, case_errors
from akd_monai.prostate.prepare._sources.dicom_slice import Slice

__all__ = ["one_series", "stack"]


def one_series(slices: Sequence[Slice], folder: str) -> None:
    """Raise :class:`CaseError` when ``slices`` belong to more than one series, and list them."""
    uids = Counter(one.series_uid for one in slices)
    if len(uids) > 1:
        shown = ", ".join(f"{uid or 'no UID'} ({count} files)" for uid, count in uids.items())
        remedy = "put each series in its own folder and keep the axial T2-weighted one"
        raise CaseError(f"holds {len(uids)} series: {shown}", remedy=remedy, where=folder, code="several-series")


def stack(slices: Sequence[Slice], folder: str, *, need_positions: bool = True) -> Volume:
    """Order slices along their normal and stack them to ``[column, row, slice]`` with the RAS affine.

    Args:
        slices: all slices of one series.
        folder: its name, for messages.
        need_positions: for ``False``, slices without positions are ordered by InstanceNumber (for masks only).

    Raises:
        CaseError: for slices of different size, spacing or direction, two slices in one place, a gap, or no position.
    """
    if not need_positions and not all(one.located for one in slices):
        return _stack_by_instance(slices, folder)
    with case_errors():
        found = stack_of(slices, folder)
    ordered = [slices[number] for number in found.order]
    return Volume(
        array=stacked_pixels(slices, found.order),
        affine=found.affine,
        files=tuple(one.path for one in ordered),
        scanner=slices[0].scanner,
        positions=found.places,
        instances=tuple(one.instance for one in ordered),
        warnings=found.warnings,
    )


def _stack_by_instance(slices: Sequence[Slice], folder: str) -> Volume:
    order = sorted(range(len(slices)), key=lambda number: slices[number].instance)
    numbers = [slices[number].instance for number in order]
    sizes = {one.pixels.shape for one in slices}
    if len(set(numbers)) != len(numbers) or len(sizes) > 1:
        what = "slices have neither positions nor InstanceNumbers that tell them apart"
        raise CaseError(what, remedy="export the series again", where=folder, code="no-geometry")
    files = tuple(slices[number].path for number in order)
    return Volume(stacked_pixels(slices, order), np.eye(4), files, instances=tuple(numbers))
