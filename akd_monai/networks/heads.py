# SPDX-License-Identifier: Apache-2.0
"""The one tensor of logits among the outputs of a network that returns several."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from akd_monai.errors import InputError, unknown_name
from akd_monai.networks._wrappers import unwrap

__all__ = ["Head", "select_head"]

logger = logging.getLogger(__name__)

#: Which output of a network is meant, an index of a list, tuple or stack, a key of a dictionary, or None for the default.
Head = int | str | None

# Networks of MONAI that return a list of heads of full size, and which one is final in training and in evaluation; by name,
# since a class may be scripted or compiled.
_FINAL_HEADS: Mapping[str, tuple[int, int]] = {"BasicUNetPlusPlus": (-1, -1), "DAF3D": (-1, 0)}


def select_head(
    output: Any,
    head: Head = None,
    *,
    where: str = "teacher",
    network: nn.Module | None = None,
    image_size: Sequence[int] | None = None,
) -> Tensor:
    """Return the logits ``[B, K, *spatial]`` of one head of a network.

    One tensor of logits passes through, whatever ``head`` is: many networks return their other heads in training only.
    Of several outputs the default is the final head:

    * list or tuple: the tensor of the largest spatial size, which is index 0 in MONAI's SegResNetDS and MedNeXt, and in
      the pair of logits and loss of SegResNetVAE. Where several have that size, what the code of the network's
      class says: the last one in BasicUNetPlusPlus and, in training, DAF3D. Otherwise ``head`` must be given.
    * dictionary: its only tensor; of several, such as the branches of HoVerNet, ``head`` must be given.
    * stack ``[B, H, K, *spatial]`` of heads, as DynUNet returns in training: index 0.

    Which head a default stands for is logged once.

    Args:
        output: what the network returned.
        head: an index, a key, or ``None`` for the default.
        where: whose output it is, for messages: ``"teacher"``, ``"student"`` or ``"network"``.
        network: the network, whose class decides between heads of one size.
        image_size: spatial size of the image. Without it a stack of 2D heads cannot be told from a 3D map, and is taken
            for one.

    Raises:
        InputError: if the output holds no such head, or several that could be meant; the message lists what there is.
        UnknownNameError: if a dictionary lacks the key.

    Example:
        >>> import torch
        >>> coarse, fine = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 8, 8)
        >>> select_head([fine, coarse]).shape, select_head({"mask": fine, "edge": fine}, "mask") is fine
        (torch.Size([1, 2, 8, 8]), True)
        >>> select_head([fine, fine])
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: teacher: several outputs could be its logits: 0 [1, 2, 8, 8], 1 [1, 2, 8, 8]; ...
    """
    _check_head(head, where)
    final = None if network is None else _final_head(network)
    if isinstance(output, Tensor):
        logits = _of_tensor(output, head, where, image_size)
    elif isinstance(output, Mapping):
        logits = _of_entries({str(key): value for key, value in output.items()}, head, where, final)
    elif isinstance(output, (list, tuple)):
        logits = _of_entries(dict(enumerate(output)), head, where, final)
    else:
        raise InputError(
            f"returns a {type(output).__name__}, which is no tensor, list, tuple or dictionary of tensors", where=where
        )
    return _checked(logits, where, image_size)


def _check_head(head: Head, where: str) -> None:
    if isinstance(head, bool) or not isinstance(head, (int, str, type(None))):
        raise InputError(f"a head is an index, a key or null, got {head!r}", where=where)


def _final_head(network: nn.Module) -> int | None:
    """Return which of several heads of one size is the final one of a network, ``None`` if that is not known."""
    inner = unwrap(network)
    # A scripted network knows the name of its original.
    name = str(getattr(inner, "original_name", type(inner).__name__))
    if name not in _FINAL_HEADS:
        return None
    training, evaluation = _FINAL_HEADS[name]
    return training if inner.training else evaluation


def _of_tensor(output: Tensor, head: Head, where: str, image_size: Sequence[int] | None) -> Tensor:
    # A tensor of six axes can only be a stack of 3D heads.
    dims = 5 if image_size is None else len(image_size) + 2
    if output.dim() != dims + 1:
        if head is not None:
            _log_once(f"{where}: one tensor of logits is returned, so that head {head!r} is not needed")
        return output
    heads = output.shape[1]
    index = 0 if head is None else head
    if not isinstance(index, int) or not -heads <= index < heads:
        raise InputError(
            f"has no head {index!r} in a stack of {heads}, {list(output.shape)}",
            where=where,
            remedy=f"give an index from 0 to {heads - 1}",
        )
    if head is None:
        _log_once(f"{where}: head 0 of a stack of {heads} is distilled, the final one")
    return output[:, index]


def _of_entries(entries: Mapping[Any, Any], head: Head, where: str, final: int | None) -> Tensor:
    """Return one entry of a list, a tuple or a dictionary, given as a mapping from index or key."""
    if head is None:
        key = _default(entries, where, final)
        if len(entries) > 1:
            _log_once(f"{where}: head {key!r} is distilled, of {_listed(entries)}")
        return entries[key]  # type: ignore[no-any-return]
    key = head + len(entries) if isinstance(head, int) and head < 0 else head
    if key not in entries:
        raise unknown_name(
            "head", head, map(str, entries), where=f"of the {where}", remedy=f"It returns {_listed(entries)}"
        )
    chosen = entries[key]
    if not isinstance(chosen, Tensor):
        raise InputError(f"head {head!r} is a {type(chosen).__name__}, no tensor: {_listed(entries)}", where=where)
    return chosen


def _default(entries: Mapping[Any, Any], where: str, final: int | None) -> Any:
    """Return the key of the final head."""
    sizes = {key: value[0, 0].numel() for key, value in entries.items() if _is_map(value)}
    largest = [key for key, size in sizes.items() if size == max(sizes.values())]
    if len(largest) == 1:
        return largest[0]
    if largest and final is not None:
        return largest[final]
    what = "several outputs could be its logits" if largest else "no output is a map of logits"
    remedy = f"choose one by {_flag(where)}" if largest else ""
    raise InputError(f"{what}: {_listed(entries)}", where=where, remedy=remedy)


def _is_map(value: object) -> bool:
    return isinstance(value, Tensor) and value.dim() >= 4 and value.is_floating_point() and value.numel() > 0


def _listed(entries: Mapping[Any, Any]) -> str:
    """Return the entries with their shapes or types.

    Example:
        >>> import torch
        >>> _listed({"mask": torch.zeros(1, 2), "loss": None})
        "'mask' [1, 2], 'loss' NoneType"
    """
    parts = []
    for key, value in entries.items():
        kind = str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
        parts.append(f"{key!r} {kind}")
    return ", ".join(parts) if parts else "nothing"


def _checked(logits: Tensor, where: str, image_size: Sequence[int] | None) -> Tensor:
    if image_size is not None and logits.dim() != len(image_size) + 2:
        raise InputError(
            f"logits must be [B, K, *spatial] for images of size {list(image_size)}, got shape {list(logits.shape)}",
            where=where,
            remedy=f"choose another output by {_flag(where)}, or a network for as many spatial axes",
        )
    return logits


def _flag(where: str) -> str:
    """Return the name of the argument that chooses a head."""
    return f"{where}_head" if where in ("teacher", "student") else "head"


@lru_cache(maxsize=64)
def _log_once(message: str) -> None:
    logger.info("%s", message)
