# SPDX-License-Identifier: Apache-2.0
"""Facts about the computer that timings and rounding depend on, without anything that names it or its user."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

import akd_monai

__all__ = ["machine_facts"]

_PACKAGES = ("akd_monai", "monai", "torch", "pytorch-ignite", "numpy", "scipy", "mlflow")
# A module knows which build it is (CPU or CUDA), its metadata may not.
_LOADED = {"akd_monai": akd_monai.__version__, "torch": torch.__version__}


def machine_facts() -> dict[str, str | int]:
    """Return operating system, processor, cores, threads, graphics card and package versions, ready for JSON.

    Contains no host name, no user name and no path.

    Example:
        >>> facts = machine_facts()
        >>> facts["torch"] == torch.__version__ and facts["threads"] == torch.get_num_threads()
        True
    """
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores": _usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
    }
    return facts | {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
    if package in _LOADED:
        return str(_LOADED[package])
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _usable_cores() -> int:
    # A container or a scheduler may grant fewer cores than the computer has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or platform.machine()
