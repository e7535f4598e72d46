# SPDX-License-Identifier: Apache-2.0
"""Find and open what segments: an ONNX file, or a bundle."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from akd_monai.deploy._engines import EngineName, Network, Precision, installed_engines, open_onnx
from akd_monai.deploy._onnx_metadata import onnx_metadata
from akd_monai.deploy._recipe import Recipe, recipe_of_metadata
from akd_monai.errors import InputError, check_choice, near_matches
from akd_monai.files import as_path, sha256_of

__all__ = ["Model", "open_model"]

logger = logging.getLogger(__name__)

_FILE = Path("models", "model.onnx")
_WEIGHTS = Path("models", "model.pt")
# an engine starts as many as it is told, and a machine with too many threads stands still
_MOST_THREADS = 1024


@dataclass(frozen=True)
class Model:
    """A network that is ready to run, and what it needs beside itself.

    Args:
        name: of the bundle that it comes from.
        recipe: preparation, inferer, postprocessing.
        network: in an engine.
    """

    name: str
    recipe: Recipe
    network: Network


def open_model(
    model: str | os.PathLike[str] | None,
    *,
    bundles_dir: str | os.PathLike[str] = "bundles",
    engine: str = "auto",
    threads: int | None = None,
    trust_bundle: bool = False,
) -> Model:
    """Open a model.

    Args:
        model: an ONNX file of ``export``, a bundle's folder, or the name of one in ``bundles_dir``.
        bundles_dir: where bundles are looked up by name.
        engine: ``auto`` takes OpenVINO or ONNX Runtime, whichever is installed, in this order; ``torch`` needs a bundle.
        threads: threads on the CPU.
        trust_bundle: for ``torch``, as :func:`~akd_monai.bundle.load_network` has it.

    Raises:
        InputError: if there is no such model, it was not exported, or exported from other weights.
    """
    check_choice("engine", engine, get_args(EngineName))
    is_integer = isinstance(threads, int) and not isinstance(threads, bool)
    if threads is not None and not (is_integer and 1 <= threads <= _MOST_THREADS):
        raise InputError(f"threads must be an integer from 1 to {_MOST_THREADS}, got {threads!r}.")
    if model is None:
        raise InputError("no model was given", remedy=_offer(Path(bundles_dir)), code="no-model")
    path = as_path(model, "model")
    if path.suffix.lower() == ".onnx":
        if engine == "torch":
            raise InputError("engine torch needs a bundle, not an ONNX file", where=str(path), remedy="give its folder")
        return _exported(path, engine, threads)
    bundle = _bundle(path, Path(bundles_dir))
    if engine == "torch":
        return _in_torch(bundle, threads, trust_bundle)
    file = bundle / _FILE
    if not file.is_file():
        remedy = f"run python -m akd_monai export {bundle} where PyTorch is installed, or give --engine torch"
        raise InputError(f"has no {_FILE.as_posix()}", where=str(bundle), remedy=remedy, code="no-model")
    opened = _exported(file, engine, threads)
    _check_weights(bundle, opened.recipe)
    return opened


def _bundle(path: Path, bundles_dir: Path) -> Path:
    for folder in (path, bundles_dir / path):
        if (folder / "configs" / "metadata.json").is_file():
            return folder
    known = _bundles(bundles_dir)
    what = f"model {str(path)!r} is no ONNX file, no bundle's folder and no bundle in {str(bundles_dir)!r}"
    hint = near_matches(str(path), known)
    if hint:
        raise InputError(f"{what}.{hint}", code="no-model")
    raise InputError(what, remedy=_offer(bundles_dir), code="no-model")


def _bundles(folder: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in folder.glob("*/configs/metadata.json"))


def _offer(bundles_dir: Path) -> str:
    exported = [name for name in _bundles(bundles_dir) if (bundles_dir / name / _FILE).is_file()]
    if exported:
        return f"give --model, one of {', '.join(exported)}"
    return "give --model, an ONNX file or a bundle's folder; python -m akd_monai export makes the file"


def _exported(path: Path, engine: str, threads: int | None) -> Model:
    recipe = recipe_of_metadata(onnx_metadata(path), str(path))
    precision = str(recipe.facts.get("precision", "fp32"))
    check_choice("precision", precision, get_args(Precision))
    chosen = _engine_of(path, engine, recipe)
    network = open_onnx(path, chosen, threads, one_by_one=True, precision=cast(Precision, precision))
    if precision != "fp32":
        network = _named_by_precision(path, network, precision)
    return Model(str(recipe.facts.get("bundle", path.stem)), recipe, network)


def _named_by_precision(path: Path, network: Network, wanted: str) -> Network:
    """Return a network whose engine says in which precision it really computes, and warn if that is a higher one."""
    ran = network.precision()
    if ran.startswith("fp32"):
        logger.warning("%s: is for %s, but %s computes in %s on this processor", path, wanted, network.engine, ran)
    return replace(network, engine=f"{network.engine}, {ran}")


def _engine_of(path: Path, engine: str, recipe: Recipe) -> str:
    """Return the engine for a file in a lower precision: of those in which it was found to keep masks."""
    proven = recipe.facts.get("engines")
    if not proven:
        return engine
    if engine == "auto":
        return next((name for name in installed_engines() if name in proven), str(proven[0]))
    if engine not in proven:
        what = f"keeps masks and saves time in {', '.join(proven)} alone, not in {engine}"
        remedy = f"give --engine {proven[0]}, or model.onnx"
        raise InputError(what, where=str(path), remedy=remedy, code="no-engine")
    return engine


def _check_weights(bundle: Path, recipe: Recipe) -> None:
    weights = bundle / _WEIGHTS
    # a bundle may be passed on with its exported network alone
    if weights.is_file() and sha256_of(weights) != recipe.facts.get("weights_sha256"):
        what = f"{_FILE.as_posix()} was exported from other weights than {_WEIGHTS.as_posix()}"
        remedy = f"export it again (python -m akd_monai export {bundle}), or give the ONNX file itself"
        raise InputError(what, where=str(bundle), remedy=remedy, code="other-weights")


def _in_torch(bundle: Path, threads: int | None, trust_bundle: bool) -> Model:
    import torch

    from akd_monai.bundle import load_network
    from akd_monai.deploy._from_bundle import recipe_of_bundle

    if threads is not None:
        torch.set_num_threads(threads)
    network = load_network(bundle, trust_bundle=trust_bundle)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(batch)).numpy())

    engine = Network(f"torch {torch.__version__.split('+')[0]}", run)
    return Model(bundle.resolve().name, recipe_of_bundle(bundle), engine)
