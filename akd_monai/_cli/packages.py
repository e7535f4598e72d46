# SPDX-License-Identifier: Apache-2.0
"""A package that a verb needs and that is not installed: which extra brings it."""

from __future__ import annotations

__all__ = ["missing_package"]

_MISTAKE = 2
_OF_TRAIN = "torch monai ignite itk mlflow scipy pandas matplotlib jinja2 tqdm parsl"
_EXTRAS = {**dict.fromkeys(_OF_TRAIN.split(), "train"), "onnx": "onnx", "onnxscript": "onnx"}


def missing_package(error: BaseException) -> tuple[str, int] | None:
    """Return the line and the exit code for a verb whose extra is not installed; None for any other error.

    Example:
        >>> missing_package(ModuleNotFoundError("No module named 'monai'", name="monai.data"))
        ("this verb needs monai, which is not installed: pip install 'akd_monai[train]'.", 2)
        >>> missing_package(ValueError("a bug")) is None
        True
    """
    if not isinstance(error, ModuleNotFoundError):
        return None
    package = str(error.name).partition(".")[0]
    if package not in _EXTRAS:
        return None
    line = f"this verb needs {package}, which is not installed: pip install 'akd_monai[{_EXTRAS[package]}]'."
    return line, _MISTAKE
