# SPDX-License-Identifier: Apache-2.0
"""Profiles of several networks as a Markdown table that is readable on a terminal too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from akd_monai.errors import InputError
from akd_monai.files import atomic_write

BEGIN, END = "<!-- begin of the profile -->", "<!-- end of the profile -->"
# Parameters in millions and GFLOPs, as printed there.
PAPER = {
    "ESPNet": ("0.183", "1.27"),
    "ENet": ("0.353", "2.2"),
    "ERFNet": ("2.06", "16.56"),
    "UNetPlusPlus": ("36.6", "621.38"),
    "DeepLabV3Plus": ("56.8", "273.94"),
}
_MISSING = "-"


def profile_table(profiles: Sequence[Mapping[str, Any]], *, paper: bool = False) -> str:
    """Return a table with one line a network.

    Args:
        profiles: for each network ``name``, ``network`` (its class), the facts of
            :func:`~akd_monai.networks.profile.measure.profile_network`, and ``runs``: time and memory by device.
        paper: whether to add parameters and GFLOPs as printed in arXiv 2404.02738, table 1 (inputs of 384 x 384).

    Example:
        >>> facts = {"name": "tiny", "network": "ENet", "input_shape": [1, 1, 8, 8], "parameters": 9, "gflops_conv": 1.2,
        ...          "gflops_table1": 1.5, "checkpoint_bytes": 2e6, "runs": {}}
        >>> print(profile_table([facts]))
        | network | input   | parameters | GFLOPs | by Table 1's rules | weights, MB |
        |---------|---------|-----------:|-------:|-------------------:|------------:|
        | tiny    | 1x1x8x8 |          9 |   1.20 |               1.50 |         2.0 |
    """
    devices = list(dict.fromkeys(device for p in profiles for device in p["runs"]))
    head = ["network", "input", "parameters", "GFLOPs", "by Table 1's rules"]
    head += ["paper: parameters, M", "paper: GFLOPs"] if paper else []
    head += ["weights, MB"] + [f"{d}: {what}" for d in devices for what in ("ms", "MiB")]
    rows = [_row(p, devices, paper) for p in profiles]
    return _aligned([head, *rows], left=2)


def _row(profile: Mapping[str, Any], devices: Sequence[str], paper: bool) -> list[str]:
    row = [
        profile["name"],
        "x".join(map(str, profile["input_shape"])),
        f"{profile['parameters']:,}",
        _number(profile["gflops_conv"], 2),
        _number(profile["gflops_table1"], 2),
    ]
    row += PAPER.get(profile["network"], (_MISSING, _MISSING)) if paper else ()
    row.append(_number(profile["checkpoint_bytes"] / 1e6, 1))
    for device in devices:
        run = profile["runs"].get(device, {})
        row += [_number(run.get("time_ms"), 1), _number(run.get("peak_memory_mb"), 0)]
    return row


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return _MISSING
    # small figures would vanish behind the point
    return f"{value:.2g}" if 0 < value < 1 else f"{value:,.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Return a Markdown table whose columns line up, the first ``left`` of them by their left side."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append(f"| {' | '.join(cells)} |")
    rule = "|" + "|".join("-" * (w + 2) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def write_profile(path: str | Path, text: str) -> Path:
    """Write ``text`` to a file; a file with two marker lines keeps what stands around them.

    The markers are ``<!-- begin of the profile -->`` and ``<!-- end of the profile -->``.

    Raises:
        InputError: when the file has one marker without the other, or cannot be written.
    """
    target = Path(path)
    try:
        old = target.read_text(encoding="utf-8") if target.is_file() else ""
        if BEGIN in old or END in old:
            before, begin, rest = old.partition(BEGIN)
            _, end, after = rest.partition(END)
            if not (begin and end):
                raise InputError(f"{str(path)!r} needs both lines {BEGIN!r} and {END!r}, in this order; add the other.")
            text = f"{before}{begin}\n{text}\n{end}{after}"
        else:
            text += "\n"
        return atomic_write(target, text)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r} ({error.strerror}); give another file.") from error
