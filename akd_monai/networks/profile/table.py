# SPDX-License-Identifier: Apache-2.0
"""Profiles of several networks as a Markdown table that is readable on a terminal too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.files import atomic_write
from akd_monai.networks.profile.machine import machine_facts
from akd_monai.tables import Alignment, markdown_table

__all__ = ["profile_note", "profile_table", "write_profile"]

_BEGIN = "<!-- begin of the profile -->"
_END = "<!-- end of the profile -->"
# Parameters in millions and GFLOPs, as printed in arXiv 2404.02738, table 1.
_PAPER = {
    "ESPNet": ("0.183", "1.27"),
    "ENet": ("0.353", "2.2"),
    "ERFNet": ("2.06", "16.56"),
    "UNetPlusPlus": ("36.6", "621.38"),
    "DeepLabV3Plus": ("56.8", "273.94"),
}
_PAPER_HEADER = ["paper: parameters, M", "paper: GFLOPs"]
_NAMES = ("network", "input")
_MISSING = "-"


def profile_table(profiles: Sequence[Mapping[str, Any]], *, paper: bool = False) -> str:
    """Return a Markdown table with one row a network.

    Args:
        profiles: for each network ``name``, ``network`` (its class), the facts of
            :func:`~akd_monai.networks.profile.profile_network`, and ``runs``: time and memory by device.
        paper: whether to add parameters and GFLOPs as printed in arXiv 2404.02738, table 1 (inputs of 384 x 384).

    Example:
        >>> facts = {"name": "tiny", "network": "ENet", "input_shape": [1, 1, 8, 8], "parameters": 9, "gflops_conv": 1.2,
        ...          "gflops_table1": 1.5, "checkpoint_bytes": 2e6, "runs": {}}
        >>> print(profile_table([facts]))
        | network | input   | parameters | GFLOPs | by Table 1's rules | weights, MB |
        |---------|---------|-----------:|-------:|-------------------:|------------:|
        | tiny    | 1x1x8x8 |          9 |   1.20 |               1.50 |         2.0 |
    """
    devices = list(dict.fromkeys(device for profile in profiles for device in profile["runs"]))
    header = ["network", "input", "parameters", "GFLOPs", "by Table 1's rules"]
    if paper:
        header += _PAPER_HEADER
    header.append("weights, MB")
    for device in devices:
        header += [f"{device}: ms", f"{device}: MiB"]
    rows = [_row(profile, devices, paper) for profile in profiles]
    align: list[Alignment] = ["left" if title in _NAMES else "right" for title in header]
    return markdown_table(header, rows, align=align)


def _row(profile: Mapping[str, Any], devices: Sequence[str], paper: bool) -> list[str]:
    row = [
        profile["name"],
        "x".join(map(str, profile["input_shape"])),
        f"{profile['parameters']:,}",
        _number(profile["gflops_conv"], 2),
        _number(profile["gflops_table1"], 2),
    ]
    if paper:
        row += _PAPER.get(profile["network"], (_MISSING, _MISSING))
    row.append(_number(profile["checkpoint_bytes"] / 1e6, 1))
    for device in devices:
        run = profile["runs"].get(device, {})
        row += [_number(run.get("time_ms"), 1), _number(run.get("peak_memory_mb"), 0)]
    return row


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return _MISSING
    # small numbers would round to zero
    return f"{value:.2g}" if 0 < value < 1 else f"{value:,.{digits}f}"


def profile_note(
    devices: Sequence[str], *, repeats: int, threads: int, machine: Mapping[str, Any] | None = None
) -> str:
    """Return one paragraph that says how the numbers of a table were measured.

    Args:
        devices: where the networks ran.
        repeats: timed passes of each.
        threads: CPU threads.
        machine: facts about the machine, such as ``cpu``, ``gpu`` and ``torch``; those of this one by default, see
            :func:`~akd_monai.networks.profile.machine_facts`.

    Example:
        >>> print(profile_note(["cpu"], repeats=5, threads=1, machine={"cpu": "Some CPU"}))
        Measured with: batch of 1, float32, untrained weights, median of 5 passes without gradient; Some CPU with 1 thread.
        MiB is how far one pass raised the memory in use.
    """
    known = machine_facts() if machine is None else machine
    parts = [f"batch of 1, float32, untrained weights, median of {repeats} passes without gradient"]
    if "cpu" in devices:
        plural = "s" if threads > 1 else ""
        parts.append(f"{known.get('cpu', 'CPU')} with {threads} thread{plural}")
    if any(device.startswith("cuda") for device in devices):
        parts.append(str(known.get("gpu", "GPU")))
    if "torch" in known:
        parts.append(f"torch {known['torch']}")
    return f"Measured with: {'; '.join(parts)}. MiB is how far one pass raised the memory in use."


def write_profile(path: str | Path, text: str) -> Path:
    """Write ``text`` to a file; in a file with two marker lines, only what stands between them is replaced.

    The markers are ``<!-- begin of the profile -->`` and ``<!-- end of the profile -->``.

    Raises:
        InputError: when the file has one marker without the other, is no text, or cannot be read or written.
        OSError: if no space is left.
    """
    target = Path(path)
    old = _read(target)
    if _BEGIN not in old and _END not in old:
        return atomic_write(target, f"{text}\n")
    before, begin, rest = old.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise InputError(f"{str(path)!r} needs both lines {_BEGIN!r} and {_END!r}, in this order; add the other.")
    return atomic_write(target, f"{before}{begin}\n{text}\n{end}{after}")


def _read(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is no text in UTF-8"
    raise InputError(f"cannot be read ({reason})", where=str(path), remedy="give another file")
