# SPDX-License-Identifier: Apache-2.0
"""Feed mutants to the four doors and count what became of them: ``python -m tests.mutants --count 1000 --seed 7``.

Formats take turns. Each batch runs in a process of its own, so that a native crash costs one mutant and is named; a case
that takes longer than the limit is a hang. ``refused``: an error or a failed case in one line. ``same``: the result of the
undamaged file. ``said``: another result, with a warning that the undamaged file does not have. ``header``, ``voxels``:
another result without a word, of damage that no checksum covers. These must be 0: ``SILENT``, another result without a
word although a checksum covers the damage; ``error``, an error that nobody foresaw; ``crash``; ``hang``; ``memory``, more
than the limit above what the process held before. The exit code is 1 if one of them is not.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402

from mutants.doors import Doors, Seen, different  # noqa: E402
from mutants.files import FORMATS, Mutant, clean, mutant  # noqa: E402

OUTCOMES = ("refused", "same", "said", "header", "voxels")
FORBIDDEN = ("SILENT", "error", "crash", "hang", "memory")
BATCH = 50
SECONDS = 60
MEGABYTES = 256


def drawn(seed: int, number: int) -> tuple[str, Mutant]:
    """Return a format and a mutant of it; the same for every call."""
    kind = FORMATS[number % len(FORMATS)]
    return kind, mutant(kind, np.random.default_rng([seed, number]))


def outcome(undamaged: Seen, seen: Seen, region: str) -> str:
    """Say in one word what became of a mutant."""
    if seen.fault:
        return "error"
    if seen.result is None:
        return "refused"
    if not different(undamaged, seen):
        return "same"
    if set(_general(seen.said)) - set(_general(undamaged.said)):
        return "said"
    return "SILENT" if region == "checked" else region


def _general(words: list[str]) -> list[str]:
    return ["".join("0" if letter.isdigit() else letter for letter in line) for line in words]


def peak_mb(*, begin: bool = False) -> int:
    """Return the peak of this process in MB, after it was set back to the present if ``begin``."""
    if begin:
        Path("/proc/self/clear_refs").write_text("5")
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def work(seed: int, numbers: list[int], folder: Path, stream: int) -> None:
    """Run a batch in this process and report each door of each mutant in a line."""
    logging.disable(logging.NOTSET)
    doors = Doors(folder)
    with os.fdopen(stream, "w") as report:

        def tell(**line) -> None:
            report.write(json.dumps(line) + "\n")
            report.flush()

        undamaged = {}
        for kind in FORMATS:
            root = doors.case(clean(kind))
            undamaged[kind] = {name: door(root) for name, door in doors.of(kind).items()}
            refused = [seen.said for seen in undamaged[kind].values() if seen.result is None]
            if refused:
                raise SystemExit(f"the undamaged {kind} is refused: {refused}")
        for number in numbers:
            kind, damaged = drawn(seed, number)
            for name, door in doors.of(kind).items():
                tell(begin=[number, name])
                root = doors.case(damaged.files)
                before = peak_mb(begin=True)
                seen = door(root)
                found = outcome(undamaged[kind][name], seen, damaged.region)
                tell(number=number, door=name, found=found, mb=peak_mb() - before, said=seen.said[:2])


def batch(seed: int, numbers: list[int], folder: Path) -> list[dict]:
    """Run mutants in a fork and return the lines; of one that dies, the last line says where it was."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 1
        try:
            work(seed, numbers, folder, write)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(write)
    lines, hung = _lines_of(read, pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status and lines and "begin" in lines[-1]:
        number, name = lines[-1]["begin"]
        found = "hang" if hung else "crash"
        lines.append({"number": number, "door": name, "found": found, "mb": 0, "said": [f"exit code {status}"]})
    elif status:
        last = (folder / "log.txt").read_text(errors="replace").splitlines()[-1:]
        raise SystemExit(f"a process ended with {status} outside of any mutant: {last}")
    return [line for line in lines if "found" in line]


def _lines_of(read: int, pid: int) -> tuple[list[dict], bool]:
    """Return what a process reports, and whether it had to be ended."""
    hung = False
    lines = []

    def end(*_) -> None:
        nonlocal hung
        hung = True
        os.kill(pid, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    with os.fdopen(read) as stream:
        # the undamaged cases come first, and tell nothing
        signal.alarm(10 * SECONDS)
        for line in stream:
            signal.alarm(SECONDS)
            lines.append(json.loads(line))
    signal.alarm(0)
    return lines, hung


def run(seed: int, numbers: range, folder: Path) -> list[dict]:
    """Run mutants by their numbers; the one that ended its process is not tried again."""
    left = list(numbers)
    lines = []
    while left:
        done = batch(seed, left[:BATCH], folder)
        lines += done
        ended = {line["number"] for line in done}
        # a mutant that crashed at one door has met the ones before it
        left = [number for number in left if number not in ended]
    return lines


def table(seed: int, lines: list[dict]) -> tuple[str, int]:
    """Return the counts as Markdown, and how many mutants did what none may do."""
    counts: dict[tuple[str, str], Counter] = {}
    for line in lines:
        key = (FORMATS[line["number"] % len(FORMATS)], line["door"])
        counter = counts.setdefault(key, Counter())
        counter[line["found"]] += 1
        counter["memory"] += line["mb"] > MEGABYTES
        counter["most"] = max(counter["most"], line["mb"])
    names = ("format", "door", "mutants", *OUTCOMES, *FORBIDDEN, "most MB")
    rows = [names, ("---",) * len(names)]
    for (kind, door), counter in counts.items():
        found = [counter[name] for name in (*OUTCOMES, *FORBIDDEN)]
        mutants = sum(counter[name] for name in (*OUTCOMES, *FORBIDDEN) if name != "memory")
        rows.append((kind, door, mutants, *found, counter["most"]))
    bad = sum(counter[name] for counter in counts.values() for name in FORBIDDEN)
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows), bad


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="how many mutants")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--lines", type=Path, help="file for one JSON line a mutant and door")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        lines = run(asked.seed, range(asked.first, asked.first + asked.count), Path(folder))
    if asked.lines:
        asked.lines.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words, bad = table(asked.seed, lines)
    report = [words]
    for line in lines:
        if line["found"] in FORBIDDEN or line["mb"] > MEGABYTES:
            what = drawn(asked.seed, line["number"])[1]
            place = f"mutant {line['number']} ({what.file}, {what.what}) at {line['door']}"
            report.append(f"{place}: {line['found']}, {line['mb']} MB: {line['said']}")
    seconds = time.monotonic() - start
    report.append(f"{asked.count} mutants, {len(lines)} times at a door, {seconds:.0f} s, {bad} forbidden")
    sys.stdout.write("\n".join(report) + "\n")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
