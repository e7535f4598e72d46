# SPDX-License-Identifier: Apache-2.0
"""What a bundle says about itself: paths, input shape, layers worth distilling, hash of its weights."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError, UnknownNameError, near_matches

LAYERS_KEY = "distillation_layers"


def bundle_path(bundle_dir: str | Path, *parts: str) -> Path:
    """Return a path inside a bundle's folder after seeing that the folder is a bundle.

    Raises:
        InputError: when the folder or its ``configs/metadata.json`` is missing.
    """
    root = Path(bundle_dir)
    if not (root / "configs" / "metadata.json").is_file():
        what = "has no configs/metadata.json" if root.is_dir() else "does not exist"
        raise InputError(f"bundle folder {str(bundle_dir)!r} {what}; give the folder that holds configs/ and models/.")
    return root.joinpath(*parts)


def read_metadata(bundle_dir: str | Path) -> dict[str, Any]:
    """Return the content of a bundle's ``configs/metadata.json``.

    Raises:
        InputError: when the file is missing or is no JSON.
    """
    path = bundle_path(bundle_dir, "configs", "metadata.json")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is no JSON: {error}; correct it at the line named.") from error
    return content


def input_format(metadata: Mapping[str, Any], name: str = "image") -> dict[str, Any]:
    """Return the description of the network's first input, ``network_data_format#inputs#image`` where it exists."""
    inputs = metadata.get("network_data_format", {}).get("inputs", {})
    if not inputs:
        raise InputError("metadata.json has no network_data_format#inputs; the Model Zoo's schema requires it.")
    return dict(inputs[name] if name in inputs else next(iter(inputs.values())))


def output_format(metadata: Mapping[str, Any], name: str = "pred") -> dict[str, Any]:
    """Return the description of the network's output, ``network_data_format#outputs#pred`` where it exists."""
    outputs = metadata.get("network_data_format", {}).get("outputs", {})
    if not outputs:
        raise InputError("metadata.json has no network_data_format#outputs; the Model Zoo's schema requires it.")
    return dict(outputs[name] if name in outputs else next(iter(outputs.values())))


def input_shape(metadata: Mapping[str, Any]) -> list[int]:
    """Return ``[channels, *spatial]`` of one legal input of a bundle's network.

    The Model Zoo writes a side as a number, ``"*"`` (any size) or a product or power such as ``"32*n"`` and ``"2**p"``;
    the smallest multiple of at least 64 stands for the last three.

    Example:
        >>> spec = {"num_channels": 1, "spatial_shape": [96, "*", "16*n"]}
        >>> input_shape({"network_data_format": {"inputs": {"image": spec}}})
        [1, 96, 64, 64]
    """
    spec = input_format(metadata)
    return [int(spec["num_channels"]), *(_side(s) for s in spec["spatial_shape"])]


def _side(value: int | str) -> int:
    if isinstance(value, int):
        return value
    if value.strip() == "*":
        return 64
    tree = ast.parse(value, mode="eval").body
    for n in range(1, 65):
        side = _evaluate(tree, n)
        if side >= 64:
            return side
    raise InputError(f"spatial_shape {value!r} of metadata.json gives no size of at least 64 for n up to 64.")


def _evaluate(node: ast.expr, n: int) -> int:
    """Evaluate the little arithmetic of the Model Zoo's shapes without running it as a program."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name) and node.id in ("n", "p"):
        return n
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, n), _evaluate(node.right, n)
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Pow):
            return int(left**right)
        if isinstance(node.op, ast.Add):
            return left + right
    raise InputError(
        f"spatial_shape of metadata.json holds {ast.unparse(node)!r}; wanted an integer, '*', '32*n' or '2**p'."
    )


def distillation_layer(bundle_dir: str | Path, name: str) -> str:
    """Return the module path that a bundle's metadata gives for a tap, ``"low"`` (stride 2) or ``"high"`` (stride 8).

    Raises:
        UnknownNameError: when the bundle names no such layer.
    """
    layers = read_metadata(bundle_dir).get(LAYERS_KEY, {})
    if name not in layers:
        raise UnknownNameError(
            f"bundle {str(bundle_dir)!r} names no layer {name!r} under {LAYERS_KEY!r} in configs/metadata.json"
            f" (it has {sorted(layers) or 'none'}).{near_matches(name, layers)} Give the module path yourself, "
            "with student_layer or teacher_layer, or leave out the terms that compare features (terms=logits)."
        )
    return str(layers[name])


def weights_path(bundle_dir: str | Path) -> Path:
    """Return ``models/model.pt`` of a bundle.

    Raises:
        InputError: when there is none.
    """
    path = bundle_path(bundle_dir, "models", "model.pt")
    if not path.is_file():
        raise InputError(
            f"bundle {str(bundle_dir)!r} has no weights (models/model.pt): train it first, "
            "or name a file with teacher_weights."
        )
    return path


def weights_sha256(bundle_dir: str | Path, weights: str | Path | None = None) -> str:
    """Return the SHA-256 of a bundle's weights, as hexadecimal digits."""
    path = Path(weights) if weights else weights_path(bundle_dir)
    if not path.is_file():
        raise InputError(f"weights {str(path)!r} do not exist; give the path of a file written by torch.save.")
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _sha256(file.read())
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
