# SPDX-License-Identifier: Apache-2.0
"""Layers of two networks that are worth comparing: the ends of encoder levels of one resolution."""

from __future__ import annotations

from collections.abc import Sequence

from akd_monai.bundle._new_probe import LayerMap

__all__ = ["HIGH_RATIOS", "level_end", "shared_level"]

# parts of the input's side, the one that serves best first
HIGH_RATIOS = (8, 4, 16, 2)


def level_end(maps: Sequence[LayerMap], size: Sequence[int], ratio: int) -> LayerMap | None:
    """Return the end of an encoder's level at ``1/ratio`` of the input's size.

    It is found in the first stretch of layers at that resolution: of its outermost layers the last.

    Args:
        maps: of the network's layers, in the order of the forward pass.
        size: sides of the input.
        ratio: by how much the map is smaller.

    Example:
        >>> maps = [LayerMap("a", 4, (8,)), LayerMap("b", 4, (4,)), LayerMap("c", 8, (4,)), LayerMap("d", 4, (8,))]
        >>> level_end(maps, [16], 4).layer, level_end(maps, [16], 2).layer, level_end(maps, [16], 8)
        ('c', 'a', None)
    """
    wanted = tuple(-(-side // ratio) for side in size)
    stretch: list[LayerMap] = []
    # channel attention gives maps of one pixel between the layers of a level
    for entry in (entry for entry in maps if max(entry.sides) > 1):
        if entry.sides == wanted:
            stretch.append(entry)
        elif stretch:
            break
    # the largest of what max() sees first, so in reverse
    return max(reversed(stretch), key=lambda entry: -entry.layer.count("."), default=None)


def shared_level(
    student: Sequence[LayerMap], teacher: Sequence[LayerMap], size: Sequence[int]
) -> tuple[LayerMap, LayerMap] | None:
    """Return a layer of each network at the same resolution, best at 1/8 of the input's size, or None."""
    for ratio in HIGH_RATIOS:
        ours = level_end(student, size, ratio)
        theirs = level_end(teacher, size, ratio)
        if ours is not None and theirs is not None:
            return ours, theirs
    return None
