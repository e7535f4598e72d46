# SPDX-License-Identifier: Apache-2.0
"""From a volume's file to its mask's: CPU seconds and memory of the command ``segment``, in each engine."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from akd_monai.bundle import build_network, change_bundle, write_bundle
from akd_monai.deploy import export_bundle
from akd_monai.deploy._engines import installed_engines, open_onnx
from akd_monai.deploy._from_bundle import recipe_of_bundle
from akd_monai.deploy._onnx_file import write_onnx
from akd_monai.deploy._stages import Stages, stages_in_fresh_process
from akd_monai.deploy._trial_volumes import write_synthetic_volume
from benchmarks.common import Goal, Result, Settings, check_equal, short
from benchmarks.installed import environment_of

STUDENT = "enet"
TEACHER = "unetplusplus"
# the network in PyTorch takes 11 CPU seconds to start
ONCE = "torch"
STEPS = ("reading", "preparing", "network", "finishing", "writing")
PROGRAM = """
import sys
from akd_monai.__main__ import main
try:
    main(sys.argv[2:])
finally:
    status = open("/proc/self/status").read().split("VmHWM:")[1].split()[0]
    open(sys.argv[1], "w").write(status)
"""


@dataclass(frozen=True)
class Run:
    """What a command took: CPU seconds of the process, and its peak memory in 10^6 bytes."""

    seconds: float
    peak_mb: float


class Commands:
    """The command ``segment`` with one model.

    Args:
        folder: of its outputs.
        bundle: the model.
    """

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        self.bundle = bundle

    def run(self, images: Path, engine: str, code: int = 0) -> Run:
        """Run it in a process of its own and return what it took."""
        peak = self.folder / "peak.txt"
        words = ["segment", "-i", images, "-o", self.folder / f"masks-{engine}", "--model", self.bundle]
        command = [sys.executable, "-c", PROGRAM, peak, *words, "--engine", engine, "--threads", "1", "--quiet"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # to a file: a full pipe would stop the process, which is waited for without reading from it
        with (self.folder / "said.txt").open("wb") as said:
            process = subprocess.Popen(list(map(str, command)), env=environment, stdout=said, stderr=said)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != code:
            raise RuntimeError(
                f"segment ended with {process.returncode}: {(self.folder / 'said.txt').read_text()[-2000:]}"
            )
        return Run(used.ru_utime + used.ru_stime, int(peak.read_text()) * 1024 / 1e6)


def run(settings: Settings) -> Result:
    """Measure every row."""
    with tempfile.TemporaryDirectory(prefix="akd_benchmark_", ignore_cleanup_errors=True) as folder:
        return _run(settings, Path(folder))


def _run(settings: Settings, folder: Path) -> Result:
    side, depth, count = (40, 3, 3) if settings.quick else (320, 24, 20)
    bundles = {part: drawn_bundle(folder, part, settings.quick) for part in (STUDENT, TEACHER)}
    export_bundle(bundles[STUDENT])
    export_large(bundles[TEACHER])
    one = write_synthetic_volume(folder / "one" / "t2.nii.gz", (side, side, depth))
    for number in range(count):
        write_synthetic_volume(folder / "many" / f"case{number:02}.nii.gz", (side, side, depth), seed=number)
    few = write_synthetic_volume(folder / "few" / "t2.nii.gz", (side, side, 2))
    # a file without a byte is refused before it is read: what is left is the start
    empty = folder / "empty" / "t2.nii.gz"
    empty.parent.mkdir()
    empty.touch()
    measured = Measured(settings, Commands(folder, bundles[STUDENT]), one, empty, folder / "many")
    measured.rounds()
    measured.teacher(bundles[TEACHER] / "models" / "model.onnx", few)
    measured.folder()
    return table(settings, measured, (side, depth, count))


def drawn_bundle(folder: Path, part: str, is_small: bool) -> Path:
    """Write a bundle with drawn weights, small for a quick run."""
    root = write_bundle(part, folder / f"prostate_mri_{part}")
    if is_small:
        sides = {f"network_data_format#{side}#spatial_shape": [32, 32] for side in ("inputs#image", "outputs#pred")}
        features = {"network_def#features": [4, 4, 8, 8, 8]} if part == TEACHER else {}
        change_bundle(root, {"spatial_size": [32, 32], **sides, **features})
    torch.manual_seed(0)
    torch.save(build_network(root).eval().state_dict(), root / "models" / "model.pt")
    return root


def export_large(root: Path) -> None:
    """Export a network and compare its logits; comparing masks as ``export`` does would take minutes."""
    recipe = recipe_of_bundle(root)
    torch.manual_seed(0)
    network = build_network(root).eval()
    write_onnx(network, recipe.input_shape, root / "models" / "model.onnx", recipe.as_metadata())
    x = torch.randn(1, *recipe.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = network(x)
    for engine in installed_engines():
        found = open_onnx(root / "models" / "model.onnx", engine, 1, one_by_one=True).run(np.asarray(x))
        check_equal(f"logits of {TEACHER} in {engine}", torch.from_numpy(found), wanted, rtol=1e-3, atol=1e-3)


class Measured:
    """All numbers of the table, by engine.

    Args:
        settings: of the run.
        commands: the student's.
        one: a volume.
        empty: a file that is refused.
        many: a folder of volumes.
    """

    def __init__(self, settings: Settings, commands: Commands, one: Path, empty: Path, many: Path) -> None:
        self.settings = settings
        self.commands = commands
        self.one = one
        self.empty = empty
        self.many = many
        self.engines = [*installed_engines(), *([] if settings.quick else [ONCE])]
        self.starts: dict[str, list[Run]] = {engine: [] for engine in self.engines}
        self.totals: dict[str, list[Run]] = {engine: [] for engine in self.engines}
        self.stages: dict[str, list[Stages]] = {engine: [] for engine in self.engines}
        self.large: dict[str, list[float]] = {}
        self.folders: dict[str, Run] = {}

    def rounds(self) -> None:
        """Run start, one volume and its stages in each engine, in turns."""
        rounds = 1 if self.settings.quick else self.settings.rounds
        for number in range(rounds):
            for engine in self.engines:
                if engine == ONCE and number:
                    continue
                self.starts[engine].append(self.commands.run(self.empty, engine, code=2))
                self.totals[engine].append(self.commands.run(self.one, engine))
                self.stages[engine].append(self._stages(self.commands.bundle, self.one, engine))

    def teacher(self, bundle: Path, volume: Path) -> None:
        """Run the large network on a volume of two slices."""
        self.large = {engine: [] for engine in installed_engines()}
        for _ in range(1 if self.settings.quick else min(3, self.settings.rounds)):
            for engine, seconds in self.large.items():
                seconds.append(self._stages(bundle, volume, engine).network / 2)

    def folder(self) -> None:
        """Run a folder of volumes once in each light engine."""
        for engine in installed_engines():
            self.folders[engine] = self.commands.run(self.many, engine)

    def _stages(self, bundle: Path, volume: Path, engine: str) -> Stages:
        return stages_in_fresh_process(bundle, volume, self.commands.folder / "mask.nii.gz", engine=engine)


def table(settings: Settings, measured: Measured, size: tuple[int, int, int]) -> Result:
    """Return the table with its goals."""
    side, depth, count = size
    result = Result(
        "From a volume to its mask",
        f"`segment` with the bundle prostate_mri_enet (drawn weights) on a synthetic volume of {side} x {side} x {depth}"
        " (int16, .nii.gz), one thread: CPU seconds of processes (user and system), medians of interleaved rounds with"
        " their range; PyTorch once. The start is a run on an empty file, which ends before a volume is read. Megabytes are"
        " 10^6 bytes.",
        ["", *measured.engines],
    )
    engines = measured.engines
    slices = {engine: _middle([each.network for each in measured.stages[engine]]) / depth for engine in engines}
    ratios = {engine: _middle(seconds) / slices[engine] for engine, seconds in measured.large.items()}
    speeds = {engine: _folder_speed(measured, engine, count) for engine in measured.folders}
    rows: dict[str, Mapping[str, str]] = {
        "NIfTI to mask, start included, s": {e: _span([each.seconds for each in measured.totals[e]]) for e in engines},
        "start, s": {e: _span([each.seconds for each in measured.starts[e]]) for e in engines},
        "start, MB": {e: short(_middle([each.start_mb for each in measured.stages[e]])) for e in engines},
        "one volume, peak MB": {e: short(_middle([each.peak_mb for each in measured.totals[e]])) for e in engines},
        **{f"{step}, s": _step(measured, step) for step in STEPS},
        "UNet++, network, s a slice": {e: _span(seconds) for e, seconds in measured.large.items()},
        "UNet++ over ENet, network": {e: f"{short(ratio)}x" for e, ratio in ratios.items()},
        f"folder of {count}, s a volume": {e: short(each.seconds / count) for e, each in measured.folders.items()},
        f"folder of {count}, peak MB": {e: short(each.peak_mb) for e, each in measured.folders.items()},
    }
    for name, cells in rows.items():
        result.rows.append([name, *(cells.get(engine, "") for engine in engines)])
    sizes = {"onnxruntime": environment_of("segment"), "openvino": environment_of("segment", "openvino")}
    cells = {engine: f"{short(found.megabytes)} ({found.packages} packages)" for engine, found in sizes.items()}
    result.rows.append(["environment, MB", *(cells.get(engine, "") for engine in engines)])
    result.goals += _goals(measured, ratios, speeds)
    for engine, most in (("onnxruntime", 260), ("openvino", 440)):
        floor = "numpy, nibabel, pydicom with highdicom and the engine are all that is installed"
        result.goals.append(
            Goal(f"segment: environment with {engine}, MB", most, sizes[engine].megabytes, at_most=True, floor=floor)
        )
    return result


def _goals(measured: Measured, ratios: Mapping[str, float], speeds: Mapping[str, float]) -> list[Goal]:
    light = list(measured.folders)
    totals = [_middle([each.seconds for each in measured.totals[engine]]) for engine in light]
    networks = [_middle([each.network for each in measured.stages[engine]]) for engine in light]
    starts = [_middle([each.seconds for each in measured.starts[engine]]) for engine in light]
    memory = [_middle([each.start_mb for each in measured.stages[engine]]) for engine in light]
    growth = [each.peak_mb / measured.totals[engine][0].peak_mb for engine, each in measured.folders.items()]
    imports = "imports of numpy, nibabel and the engine, and the planning of the graph"
    products = "nearly all of it are the network's convolutions"
    stages = "start and network are most of it; the rows of the table have the stages"
    return [
        Goal("segment, ENet: NIfTI to mask, start included, best engine, s", 1.5, min(totals), True, stages),
        Goal("segment, ENet: network, best engine, s", 0.6, min(networks), True, products),
        Goal("segment: UNet++ network over ENet's, same engine", 100, max(ratios.values()), False, products),
        Goal("segment: start, slowest engine, s", 0.6, max(starts), True, imports),
        Goal("segment: memory before the first volume, largest engine, MB", 150, max(memory), True, imports),
        Goal("segment: peak memory of the folder over that of one volume", 1.1, max(growth), True, "the allocator"),
        Goal("segment: speed in the folder over that of one volume", 0.9, min(speeds.values()), False, "the allocator"),
    ]


def _folder_speed(measured: Measured, engine: str, count: int) -> float:
    """Return how fast a volume of a folder is beside a single one, both without the start."""
    start = _middle([each.seconds for each in measured.starts[engine]])
    single = _middle([each.seconds for each in measured.totals[engine]]) - start
    return single / ((measured.folders[engine].seconds - start) / count)


def _step(measured: Measured, step: str) -> dict[str, str]:
    return {e: _span([getattr(each, step) for each in measured.stages[e]]) for e in measured.engines}


def _middle(values: list[float]) -> float:
    return statistics.median(values)


def _span(values: list[float]) -> str:
    middle = short(_middle(values))
    return middle if len(values) == 1 else f"{middle} ({short(min(values))} to {short(max(values))})"
