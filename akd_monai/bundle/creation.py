# SPDX-License-Identifier: Apache-2.0
"""Write a complete bundle for a network of one's own, from the parts of the project's bundles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from akd_monai.bundle._candidate import build_candidate, check_logits, choose_layers, describe
from akd_monai.bundle._new_bundle import NewBundle
from akd_monai.bundle._new_light import full_target
from akd_monai.bundle._new_like import write_like
from akd_monai.bundle._new_part import new_part
from akd_monai.bundle.assembly import write_bundle
from akd_monai.bundle.check import check_bundle
from akd_monai.errors import InputError, check_choice
from akd_monai.files import as_path

__all__ = ["Role", "new_bundle"]

Role = Literal["student", "teacher"]

_PROSTATE = ["prostate"]
_TASK = "Segmentation of the whole prostate gland on axial T2-weighted MRI"


def new_bundle(
    name: str,
    network: str,
    *,
    bundles_dir: str | Path = "bundles",
    high: str | None = None,
    low: str | None = None,
    in_channels: int = 1,
    out_channels: int | None = None,
    class_names: str | Sequence[str] | None = None,
    spatial_size: int | Sequence[int] | None = None,
    network_args: Mapping[str, Any] | None = None,
    role: Role = "student",
    task: str | None = None,
    authors: str | None = None,
    reference: str | None = None,
    like: str | Path | None = None,
    trust_bundle: bool = False,
) -> Path:
    """Write the bundle ``bundles_dir/name`` for a network of your own and return its folder.

    The network is built once and run on an empty image, so that what is written is known to fit: channels, classes, size
    and layers. It is called with ``spatial_dims=2``, ``in_channels`` and ``out_channels``, as far as it has arguments of
    these names, and with ``network_args``. The README tells the number of parameters and the shapes of the layers.

    With ``like`` the bundle is a student of another one, in 2D or 3D: the teacher's configs train, inference, evaluate and
    for several GPUs are copied with their data handling, crops, inferer, loss and metrics, and the network is exchanged. It
    gets the teacher's channels, is tried without data on every size that the teacher's network is given, and layers of the
    same resolution are proposed for both. Nothing of the teacher is run, but the configs hold its expressions, which run
    when the student is trained. Networks of MONAI are made small by default: see the how-to about networks of one's own.

    Args:
        name: of the bundle and its folder: letters, digits, ``_`` and ``-``.
        network: where the class can be imported from, such as ``my_pkg.MyNet``, or the name of one of MONAI's.
        bundles_dir: folder of the bundles' folders.
        high: module path of the features to distil, best at 1/8 of the input's size; by default the entry ``"high"`` of
            the class's attribute ``layers``.
        low: module path of early features, best at 1/2, for losses that use them; by default as above.
        in_channels: channels of the image.
        out_channels: classes, background included; by default one more than ``class_names``, or 2.
        class_names: names of the classes without the background; a string is split at commas.
        spatial_size: side, or both sides, to which slices are resized; 384 by default.
        network_args: further arguments of the network, for instance ``{'width': 16}``.
        role: ``student``, or ``teacher`` for a bundle without ``distill.json``.
        task: what it segments, one sentence without full stop.
        authors: of the bundle.
        reference: the network's publication.
        like: folder of the bundle whose student is to be written; task, channels, classes and sizes are then its own.
        trust_bundle: with ``like``, copy Python code of the teacher's own that its configs import, and build its network
            with that code to propose a layer of it. Only for bundles whose author you trust.

    Raises:
        InputError: for a network that cannot be imported, built or run so, for a folder that exists, and for one that
            cannot be written to.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import build_network
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     widths = {"features": [4, 4, 4, 4, 4, 4]}
        ...     root = new_bundle("mine", "BasicUNet", bundles_dir=folder, high="down_3", network_args=widths)
        ...     type(build_network(root)).__name__
        'BasicUNet'
    """
    root = _free_folder(bundles_dir, name)
    check_choice("role", role, get_args(Role))
    check_choice("trust_bundle", trust_bundle, (True, False))
    if like is not None:
        _check_left_to_teacher(
            in_channels=in_channels != 1,
            out_channels=out_channels is not None,
            class_names=class_names is not None,
            spatial_size=spatial_size is not None,
            role=role != "student",
            task=task is not None,
            authors=authors is not None,
            reference=reference is not None,
        )
        like = as_path(like, "like")
        return write_like(root, like, str(network), network_args, high=high, low=low, trust_bundle=trust_bundle)
    network = full_target(str(network))
    classes = _classes(out_channels, class_names)
    size = _size(384 if spatial_size is None else spatial_size)
    _check_channels(in_channels)
    shape = (1, in_channels, *size)
    definition, built = build_candidate(network, in_channels, len(classes) + 1, network_args)
    check_logits(built, network, shape, len(classes) + 1)
    layers = choose_layers(built, shape, high=high, low=low)
    about = NewBundle(
        name=name,
        network_def=definition,
        in_channels=in_channels,
        classes=classes,
        spatial_size=size,
        layers=layers,
        teacher=role == "teacher",
        task=task or _task(classes),
        authors=authors or f"The authors of {network}",
        reference=reference,
        facts=describe(built, layers, shape),
    )
    write_bundle(new_part(about), root)
    check_bundle(root)
    return root


def _check_left_to_teacher(**given: bool) -> None:
    """Refuse what is the teacher's to say."""
    named = [name for name, is_given in given.items() if is_given]
    if named:
        raise InputError(
            f"{', '.join(named)} and like exclude each other: a student like a teacher has the teacher's",
            remedy=f"leave out {', '.join(named)}, or edit the bundle afterwards",
        )


def _free_folder(bundles_dir: str | Path, name: str) -> Path:
    if not re.fullmatch(r"\w[\w-]*", str(name), flags=re.ASCII):
        raise InputError(f"name must be made of letters, digits, _ and -, got {name!r}.")
    root = as_path(bundles_dir, "bundles_dir") / str(name)
    if root.exists():
        raise InputError(f"{str(root)!r} exists already; give another name, or remove it if it is not needed.")
    return root


def _classes(out_channels: int | None, class_names: str | Sequence[str] | None) -> list[str]:
    if isinstance(class_names, str):
        class_names = class_names.split(",")
    names = [str(name).strip() for name in class_names or ()]
    count = _count(out_channels, names)
    if not names:
        names = _PROSTATE if count == 2 else [f"class {i}" for i in range(1, count)]
    if len(names) != count - 1 or "" in names or len(set(names)) < len(names):
        raise InputError(
            f"class_names must be {count - 1} different names, one for each class without the background, got {names}."
        )
    return list(names)


def _count(out_channels: int | None, names: Sequence[str]) -> int:
    if out_channels is None:
        return len(names) + 1 if names else 2
    if isinstance(out_channels, bool) or not isinstance(out_channels, int) or out_channels < 2:
        raise InputError(
            f"out_channels includes the background, so it must be an integer of 2 or more, got {out_channels!r}."
        )
    return out_channels


def _check_channels(value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"in_channels must be an integer of 1 or more, got {value!r}.")


def _size(value: int | Sequence[int]) -> list[int]:
    sides: Any = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, (list, tuple)) or len(sides) != 2 or not all(type(s) is int and s > 0 for s in sides):
        raise InputError(f"spatial_size must be one side or two, integers above 0, got {value!r}.")
    return list(sides)


def _task(classes: Sequence[str]) -> str:
    return _TASK if classes == _PROSTATE else f"Segmentation of {', '.join(classes)} on MRI"
