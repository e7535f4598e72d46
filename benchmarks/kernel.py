# SPDX-License-Identifier: Apache-2.0
"""The Triton kernel as the compiler leaves it, which needs no GPU, and the goals that need one."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from akd_monai.losses.affinity_triton import program_shape
from benchmarks.affinity import CUDA_GOALS
from benchmarks.common import Goal, Result, Settings

CHANNELS = (2, 16, 32, 64, 128, 256)
CAPABILITY = 90
_POINTERS = {"labels": "*i32"} | dict.fromkeys(("scores", "log_sum", "weight", "factors", "parts", "gradient"), "*fp32")
_NUMBERS = {"C": "i32", "Z": "i32", "H": "i32", "W": "i32", "margin": "fp32", "dilation": "i32"}
_FIXED = ("R", "RZ", "BC", "BX", "IGNORED", "BALANCED", "WANT_GRADIENT")


def compiled(channels: int, radius: int) -> bytes:
    """Return the machine code of the kernel for two dimensions, as a launch with ``channels`` would have it."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as build

    from akd_monai.losses import affinity_triton

    shape = program_shape(channels)
    warps = shape.pop("num_warps")
    fixed = {"R": radius, "RZ": 0, "IGNORED": affinity_triton._IGNORED, "BALANCED": False, "WANT_GRADIENT": True}
    signature = _POINTERS | _NUMBERS | dict.fromkeys(_FIXED, "constexpr")
    source = ASTSource(affinity_triton._affinity_kernel, signature, constexprs=fixed | shape)
    return build(source, target=GPUTarget("cuda", CAPABILITY, 32), options={"num_warps": warps}).asm["cubin"]


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
    why = "there is no GPU here; `--device cuda` measures it"
    return [
        Goal("GPU, Triton: affinity over two reads and one write of the map", bound, None, at_most=True, floor=why),
        Goal("GPU, Triton: affinity, times faster than naive", faster, None, floor=why),
        Goal("GPU, Triton: affinity, times faster than torch.compile", than_compiled, None, floor=why),
        Goal(
            "GPU: hours for the paper's Table 2 at 384 x 384 on the phantom",
            1.0,
            None,
            at_most=True,
            floor="there is no GPU here, and the package has no command for that table yet",
        ),
    ]
