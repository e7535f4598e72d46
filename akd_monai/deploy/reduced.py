# SPDX-License-Identifier: Apache-2.0
"""An exported network in a lower precision, written only where it keeps the masks and saves time."""

from __future__ import annotations

import json
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from akd_monai.data.checked_volume import checked_volume
from akd_monai.deploy._engines import Network, installed_engines, open_onnx
from akd_monai.deploy._held_out import calibration_and_held_out
from akd_monai.deploy._lower_precision import write_lower
from akd_monai.deploy._model import open_model
from akd_monai.deploy._pipeline import predict
from akd_monai.deploy._recipe import Recipe
from akd_monai.deploy._trial_process import opens_in_fresh_process
from akd_monai.errors import BundleError, InputError, check_choice
from akd_monai.files import as_path, atomic_write, write_json

__all__ = ["ReducedExport", "Trial", "export_reduced"]

logger = logging.getLogger(__name__)

LowerPrecision = Literal["int8", "bf16", "fp16"]
# Dice of the masks with those in single precision
_LEAST_DICE = 0.995
_ROUNDS = 5
_HELD_OUT = 4


@dataclass(frozen=True)
class Trial:
    """A network in a lower precision in one engine, beside the same network in single precision.

    Args:
        engine: its name and version.
        ran: the precision in which most layers were really computed.
        dice: of the masks with those in single precision, the mean over held-out cases and those classes that one of the
            two masks has.
        cpu_ms: CPU milliseconds of one input on one thread, the median of interleaved rounds.
        fp32_cpu_ms: the same in single precision.
    """

    engine: str
    ran: str
    dice: float
    cpu_ms: float
    fp32_cpu_ms: float

    def __str__(self) -> str:
        speed = f"{self.cpu_ms:.1f} ms an input against {self.fp32_cpu_ms:.1f} in fp32"
        return f"{self.engine} computes in {self.ran}: Dice {self.dice:.4f} to fp32, {speed}"

    @property
    def is_gain(self) -> bool:
        """Whether masks are kept, time is saved and the precision really is a lower one."""
        return self.dice >= _LEAST_DICE and self.cpu_ms < self.fp32_cpu_ms and not self.ran.startswith("fp32")


@dataclass(frozen=True)
class ReducedExport:
    """A network in a lower precision.

    Args:
        file: the ONNX file.
        report: a JSON file beside it, with the trials and the names of the cases.
        trials: one for each engine that is installed.
    """

    file: Path
    report: Path
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        lines = [f"Exported: {self.file} ({self.file.stat().st_size / 1e6:.1f} MB)"]
        return "\n".join([*lines, *map(str, self.trials), f"Report: {self.report}"])


def export_reduced(
    bundle: str | Path,
    precision: LowerPrecision,
    *,
    dataset_dir: str | Path,
    calibration_cases: int = 4,
) -> ReducedExport:
    """Write ``models/model-<precision>.onnx`` beside ``models/model.onnx``, if that is a gain.

    - ``int8``: static quantisation by ONNX Runtime, weights by channel, ranges of values from training cases;
    - ``bf16``: for OpenVINO, on processors that have instructions for it;
    - ``fp16``: weights and values in half precision.

    The file appears only if in one of the installed engines it is really computed in a lower precision (engines fall back
    to single precision without a word), the masks of held-out cases, at most four, have a mean Dice of at least 0.995 with
    those of ``models/model.onnx``, and the network takes less CPU time. Its metadata name the engines for which that
    holds, and :func:`~akd_monai.deploy.segment` takes one of these.

    Args:
        bundle: a bundle that was exported.
        precision: ``int8``, ``bf16`` or ``fp16``.
        dataset_dir: its cases: calibration takes training cases of the split in its ``train`` config, the comparison the
            others. For a bundle without such a split, images in the order of their names.
        calibration_cases: how many training cases, at most.

    Raises:
        InputError: if the bundle was not exported, there are too few cases, or no mask of a held-out case has a class.
        BundleError: if there is no gain; the message has Dice and time for each engine, and no file is written.

    Example:
        >>> export_reduced("no/such/bundle", "int8", dataset_dir="data")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: model 'no/such/bundle' is no ONNX file, no bundle's folder and no bundle in ...
    """
    check_choice("precision", precision, get_args(LowerPrecision))
    if isinstance(calibration_cases, bool) or not isinstance(calibration_cases, int) or calibration_cases < 1:
        raise InputError(f"calibration_cases must be an integer of 1 or more, got {calibration_cases!r}.")
    exported = open_model(bundle, threads=1)
    source = as_path(bundle, "bundle") / "models" / "model.onnx"
    if not source.is_file():
        raise InputError(f"{str(bundle)!r} is no bundle's folder", remedy="give the folder, such as bundles/NAME")
    used, held_out = calibration_and_held_out(bundle, dataset_dir, calibration_cases, _HELD_OUT)
    target = source.with_name(f"model-{precision}.onnx")
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / target.name
        write_lower(source, draft, precision, exported.recipe, used)
        trials = tuple(_trials(source, draft, precision, exported.recipe, held_out))
        gains = [trial.engine.split(" ")[0] for trial in trials if trial.is_gain]
        if not gains:
            found = "; ".join(map(str, trials)) or "no engine that is installed opens it"
            wanted = f"at least {_LEAST_DICE} and less time are wanted"
            earlier = f" An earlier {target.name} is still there." if target.exists() else ""
            raise BundleError(f"{precision} of bundle {str(bundle)!r} was not written: {found}; {wanted}.{earlier}")
        _add_metadata(draft, precision=precision, engines=gains)
        atomic_write(target, draft.read_bytes())
    report = target.with_name(f"{target.stem}-export.json")
    cases = {"calibration_cases": [path.name for path in used], "held_out_cases": [path.name for path in held_out]}
    write_json(report, {"precision": precision, "engines": gains, **cases, "trials": list(map(asdict, trials))})
    return ReducedExport(target, report, trials)


def _add_metadata(path: Path, **facts: object) -> None:
    import onnx

    model = onnx.load(str(path))
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key = f"akd_monai.{name}"
        entry.value = json.dumps(value)
    onnx.save(model, str(path))


def _trials(
    source: Path, draft: Path, precision: LowerPrecision, recipe: Recipe, cases: Sequence[Path]
) -> Iterator[Trial]:
    for engine in installed_engines():
        if not opens_in_fresh_process(draft, engine, precision):
            logger.warning("%s crashes when it opens this network in %s, and is not tried.", engine, precision)
            continue
        plain = open_onnx(source, engine, 1, one_by_one=True)
        lower = open_onnx(draft, engine, 1, one_by_one=True, precision=precision)
        dice = _mean_dice(cases, recipe, plain, lower)
        times = _cpu_ms({"plain": plain, "lower": lower}, recipe.input_shape)
        yield Trial(plain.engine, lower.precision(), dice, times["lower"], times["plain"])


def _mean_dice(cases: Sequence[Path], recipe: Recipe, plain: Network, lower: Network) -> float:
    scores = [score for path in cases for score in _dice(path, recipe, plain, lower)]
    known = [score for score in scores if not math.isnan(score)]
    if not known:
        what = "no mask of a held-out case marks anything, so that masks cannot be compared"
        raise InputError(what, remedy="give --dataset_dir cases of what the bundle segments", code="no-cases")
    return statistics.fmean(known)


def _dice(path: Path, recipe: Recipe, plain: Network, lower: Network) -> Iterator[float]:
    """Yield the Dice of two masks of a volume for each class."""
    file = checked_volume(path, channels=recipe.channels)
    wanted = predict(file, recipe, plain).mask
    found = predict(file, recipe, lower).mask
    for number in recipe.labels:
        yield _overlap(wanted == number, found == number)


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the Dice of two masks, NaN if both are empty: they say nothing about each other."""
    both = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / both if both else math.nan


def _cpu_ms(networks: Mapping[str, Network], shape: Sequence[int]) -> dict[str, float]:
    """Return the CPU milliseconds of one input for each network, the median of rounds that take turns."""
    batch = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(_ROUNDS + 1):
        for name, network in networks.items():
            begun = time.process_time()
            network.run(batch)
            times[name].append(1000 * (time.process_time() - begun))
    # the first round warms up
    return {name: statistics.median(values[1:]) for name, values in times.items()}
