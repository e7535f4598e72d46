# SPDX-License-Identifier: Apache-2.0
"""What a bundle says about itself: paths, input shape, layers worth distilling, hash of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils.safeeval import safe_eval

from akd_monai.errors import InputError, unknown_name
from akd_monai.files import as_path, read_json, sha256_of

__all__ = [
    "bundle_path",
    "distillation_layer",
    "input_format",
    "input_shape",
    "output_format",
    "read_metadata",
    "weights_path",
    "weights_sha256",
]

_LAYERS_KEY = "distillation_layers"
# how the ids of an overlay end that give a layer by its path
_FLAGS = {"low": "low_layer", "high": "layer"}

_WRITTEN_BY = "python -m akd_monai bundles writes those of this package"

# stands for a side of any size, and is the least for one given as a multiple
_SIDE = 64


def bundle_path(bundle_dir: str | Path, *parts: str) -> Path:
    """Return a path inside a bundle's folder.

    Raises:
        InputError: if the folder or its ``configs/metadata.json`` does not exist.

    Example:
        >>> bundle_path("no/such/bundle", "models")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: bundle folder 'no/such/bundle' does not exist; give the folder ...
    """
    root = as_path(bundle_dir, "the bundle's folder")
    if not (root / "configs" / "metadata.json").is_file():
        what = "has no configs/metadata.json" if root.is_dir() else "does not exist"
        remedy = f"give the folder that holds configs/ and models/; {_WRITTEN_BY}"
        raise InputError(f"bundle folder {str(bundle_dir)!r} {what}", remedy=remedy, code="no-bundle")
    return root.joinpath(*parts)


def read_metadata(bundle_dir: str | Path) -> dict[str, Any]:
    """Return the content of a bundle's ``configs/metadata.json``.

    Raises:
        InputError: if the file is missing or no valid JSON.
    """
    content: dict[str, Any] = read_json(bundle_path(bundle_dir, "configs", "metadata.json"))
    return content


def input_format(metadata: Mapping[str, Any], name: str = "image") -> dict[str, Any]:
    """Return the description of the network's input ``name``, or of its first input if it has none of that name.

    Raises:
        InputError: if ``metadata`` describes no input.
    """
    return _format(metadata, "inputs", name)


def output_format(metadata: Mapping[str, Any], name: str = "pred") -> dict[str, Any]:
    """Return the description of the network's output ``name``, or of its first output if it has none of that name.

    Raises:
        InputError: if ``metadata`` describes no output.
    """
    return _format(metadata, "outputs", name)


def _format(metadata: Mapping[str, Any], side: str, name: str) -> dict[str, Any]:
    described = metadata.get("network_data_format", {})
    formats = described.get(side, {}) if isinstance(described, Mapping) else described
    if not formats:
        raise InputError(f"metadata.json has no network_data_format#{side}; the Model Zoo's schema requires it.")
    found = formats.get(name, next(iter(formats.values()))) if isinstance(formats, Mapping) else formats
    if not isinstance(found, Mapping):
        got = type(found).__name__
        raise InputError(f"network_data_format#{side} of metadata.json must describe a tensor in an object, got {got}.")
    return dict(found)


def input_shape(metadata: Mapping[str, Any]) -> list[int]:
    """Return ``[channels, *spatial]`` of one valid input of a bundle's network.

    The Model Zoo writes a side as an integer, ``"*"`` (any size) or a product or power such as ``"32*n"`` and
    ``"2**p"``; the smallest multiple of at least 64 stands for the last three.

    Args:
        metadata: content of ``metadata.json``.

    Raises:
        InputError: if a side is written in another way.

    Example:
        >>> spec = {"num_channels": 1, "spatial_shape": [96, "*", "16*n"]}
        >>> input_shape({"network_data_format": {"inputs": {"image": spec}}})
        [1, 96, 64, 64]
    """
    spec = input_format(metadata)
    channels = spec.get("num_channels")
    sides = spec.get("spatial_shape")
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise InputError(f"num_channels of metadata.json must be an integer of 1 or more, got {channels!r}.")
    if not isinstance(sides, list):
        raise InputError(f"spatial_shape of metadata.json must be a list, got {sides!r}.")
    return [channels, *(_side(side) for side in sides)]


def _side(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise InputError(f"spatial_shape of metadata.json holds {value!r}; wanted an integer, '*', '32*n' or '2**p'.")
    if value.strip() == "*":
        return _SIDE
    for n in range(1, 65):
        side = _evaluate(value, n)
        if side >= _SIDE:
            return side
    raise InputError(f"spatial_shape {value!r} of metadata.json gives no size of at least {_SIDE} for n up to 64.")


def _evaluate(expression: str, n: int) -> int:
    try:
        # NumPy's 32-bit integers, as MONAI's own commands use them, so that no power takes forever
        return int(safe_eval(expression, {"n": np.int32(n), "p": np.int32(n)}, rewrite_np=True))
    except Exception as error:
        raise InputError(
            f"spatial_shape of metadata.json holds {expression!r}; wanted an integer, '*', '32*n' or '2**p'."
        ) from error


def distillation_layer(
    bundle_dir: str | Path | Sequence[str | Path], name: str, *, missing_ok: bool = False
) -> str | None:
    """Return the module path that a bundle's metadata gives for a layer worth distilling.

    Args:
        bundle_dir: the bundle's folder; or those of several teachers, which must name the same path.
        name: ``"low"`` (stride 2) or ``"high"`` (stride 8).
        missing_ok: return None where the metadata, or that of one of several, names no such layer.

    Raises:
        UnknownNameError: if the bundle names no such layer.
        InputError: if several bundles name different paths.

    Example:
        >>> import tempfile
        >>> from akd_monai.bundle import write_bundle
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     root = write_bundle("enet", folder)
        ...     distillation_layer(root, "high"), distillation_layer(root, "middle", missing_ok=True)
        ('stage3', None)
    """
    if not isinstance(bundle_dir, str | Path):
        return _common_layer(bundle_dir, name, missing_ok)
    layers = read_metadata(bundle_dir).get(_LAYERS_KEY, {})
    if not isinstance(layers, Mapping):
        raise InputError(f"{_LAYERS_KEY!r} in metadata.json of {str(bundle_dir)!r} must be an object, got {layers!r}.")
    if name in layers:
        return str(layers[name])
    if missing_ok:
        return None
    remedy = (
        f"Give the module path yourself, with student_{_FLAGS.get(name, name)} or teacher_{_FLAGS.get(name, name)}, or "
        "leave out the terms that compare features (terms=logits)"
    )
    where = f"under {_LAYERS_KEY!r} in configs/metadata.json of bundle {str(bundle_dir)!r}"
    raise unknown_name("layer", name, layers, where=where, remedy=remedy)


def _common_layer(bundles: Sequence[str | Path], name: str, missing_ok: bool) -> str | None:
    """Return the path that all of several bundles give for a layer."""
    paths = [distillation_layer(bundle, name, missing_ok=missing_ok) for bundle in bundles]
    if None in paths:
        return None
    for bundle, path in zip(bundles, paths, strict=True):
        if path != paths[0]:
            raise InputError(
                f"the layer {name!r} is {paths[0]!r} in teacher {str(bundles[0])!r} and {path!r} in {str(bundle)!r}, "
                "but a term compares one layer of all teachers",
                remedy="choose teachers of one architecture, or leave out the terms that compare features (terms=logits)",
            )
    return paths[0]


def weights_path(bundle_dir: str | Path) -> Path:
    """Return ``models/model.pt`` of a bundle.

    Raises:
        InputError: if it does not exist.
    """
    path = bundle_path(bundle_dir, "models", "model.pt")
    if not path.is_file():
        raise InputError(
            f"bundle {str(bundle_dir)!r} has no weights (models/model.pt): train it first, "
            "or name a file with teacher_weights."
        )
    return path


def weights_sha256(bundle_dir: str | Path, weights: str | Path | None = None) -> str:
    """Return the SHA-256 of a bundle's weights as 64 hexadecimal digits.

    Args:
        bundle_dir: the bundle's folder.
        weights: another file than its ``models/model.pt``.

    Raises:
        InputError: if the file does not exist.
    """
    path = Path(weights) if weights else weights_path(bundle_dir)
    if not path.is_file():
        raise InputError(f"weights {str(path)!r} do not exist; give the path of a file written by torch.save.")
    return sha256_of(path)
