# SPDX-License-Identifier: Apache-2.0
"""The Triton kernel as compiled, which needs no GPU, and the goals that need one."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch

from akd_monai.losses._affinity.triton_launch import ignored_mark, program_shape
from benchmarks.affinity import CUDA_GOALS
from benchmarks.common import Goal, Result, Settings

CHANNELS = (2, 16, 32, 64, 128, 256)
CAPABILITY = 90
_POINTERS = {"scores": "*fp32", "log_sum": "*fp32", "labels": "*i32", "counts": "*i64"}
_POINTERS |= dict.fromkeys(("weight", "parts", "gradient"), "*fp32")
_NUMBERS = dict.fromkeys("CHW", "i32") | dict.fromkeys(("attract", "repel", "margin"), "fp32")
_FIXED = {"Z": 1, "dilation": 1, "RZ": 0, "BALANCED": False, "WANT_GRADIENT": True}
_ALIGNED = [["tt.divisibility", 16]]


def compiled(channels: int, radius: int, capability: int = CAPABILITY) -> bytes:
    """Return the machine code of the kernel for two dimensions, as a launch on maps of 96 x 96 would have it."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as build

    from akd_monai.losses._affinity.triton_kernel import affinity_kernel

    shape = program_shape(channels)
    warps = shape.pop("num_warps")
    # A launch makes constants of numbers that are 1, and passes on which are multiples of 16.
    fixed = _FIXED | {"R": radius, "IGNORED": ignored_mark(torch.empty(0, dtype=torch.int32))} | shape
    types = _POINTERS | _NUMBERS | dict.fromkeys(fixed, "constexpr")
    names = affinity_kernel.arg_names
    aligned = [*_POINTERS, "H", "W", *(["C"] if channels % 16 == 0 else [])]
    source = ASTSource(
        affinity_kernel,
        {name: types[name] for name in names},
        constexprs={(names.index(name),): value for name, value in fixed.items()},
        attrs={(names.index(name),): _ALIGNED for name in aligned},
    )
    target = GPUTarget("cuda", capability, 32)
    return build(source, target=target, options={"num_warps": warps}).asm["cubin"]


def resources(code: bytes) -> dict[str, int]:
    """Return registers a thread and bytes of stack and shared memory of machine code."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED):(\d+)", told)}


def run(settings: Settings) -> Result:
    """Compile every case and list what only a GPU can show."""
    result = Result(
        "Triton kernel of the affinity loss, compiled",
        f"What the compiler makes of the fused kernel for NVIDIA GPUs of capability {CAPABILITY / 10:.1f}: nothing here was"
        " run on a GPU. Stack bytes are registers that did not fit. Triton's interpreter tests the kernel's results.",
        ["channels", "kernel", "pixels a program", "warps", "registers a thread", "stack bytes", "shared bytes"],
    )
    if importlib.util.find_spec("triton") is None:
        result.notes.append("Not compiled: triton is not installed.")
    else:
        for channels in CHANNELS[:1] if settings.quick else CHANNELS:
            for radius in (1, 2):
                _measure(result, channels, radius)
    if settings.device != "cuda":
        result.goals += _not_run()
    return result


def _measure(result: Result, channels: int, radius: int) -> None:
    shape: dict[str, Any] = program_shape(channels)
    used = resources(compiled(channels, radius))
    facts = [shape["BX"], shape["num_warps"], used["REG"], used["STACK"], used["SHARED"]]
    result.rows.append([str(channels), str(2 * radius + 1), *map(str, facts)])


def _not_run() -> list[Goal]:
    bound, faster, than_compiled = CUDA_GOALS
    why = "there is no GPU in this machine; the page of a GPU, benchmarks-gpu.md, has what one gave"
    return [
        Goal("GPU, Triton: affinity over two reads and one write of the map", bound, None, at_most=True, floor=why),
        Goal("GPU, Triton: affinity, times faster than naive", faster, None, floor=why),
        Goal("GPU, Triton: affinity, times faster than torch.compile", than_compiled, None, floor=why),
    ]
