# SPDX-License-Identifier: Apache-2.0
"""Run a page of the documentation as a reader does: its blocks one after another, in one shell, in a fresh folder.

- A ``bash`` block is pasted into the shell; every command in it must end with 0. Folder and variables stay for the next.
- A ``python`` block is a script that is run in the shell's folder.
- A ``text`` block after one of these is what it prints. ``...`` stands for anything in a line, or alone for any lines, and a
  number with a decimal point for any such number.
- ``<!-- file: NAME -->`` before a block of any language saves it under that name, ``<!-- not run: REASON -->`` before it
  leaves it out.
- Blocks of other languages, such as ``console``, are left out.
- A variable that a test shrinks is one that the page sets at the beginning of a line, such as ``EPOCHS=5``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUN = ("bash", "python")
BLOCK = re.compile(
    r"(?:^<!-- (?P<note>file|not run): (?P<said>.+?) -->\n+)?^```(?P<language>[\w-]*)\n(?P<text>.*?)^```$", re.M | re.S
)
# what stands in front of a block of bash: a failing command ends it with its number of the line and itself
TRAP = """set -E
akd_failed() {
    [ -s "$AKD_FAILED" ] || printf "line %s: %s (exit code %s)" "$2" "$3" "$1" > "$AKD_FAILED"
    exit 1
}
trap 'akd_failed "$?" "$LINENO" "$BASH_COMMAND"' ERR
"""
# what stands after it: the next block begins with the same folder, variables and functions
KEEP = """
trap - ERR
pwd > "$AKD_STATE.folder"
declare -p | grep -vE '^declare -([a-z]*r|[a-zA-Z-]+ (BASH|FUNCNAME|PIPESTATUS))' > "$AKD_STATE"
declare -f >> "$AKD_STATE"
"""
DECIMAL = r"[-+−]?\d+\.\d+(?:e[-+]?\d+)?"


@dataclass(frozen=True)
class Block:
    """A code block of a page, with the number of its first line, what it prints, and what stands in a comment before it."""

    language: str
    text: str
    line: int
    output: str | None = None
    file: str | None = None
    reason: str | None = None


class PageError(AssertionError):
    """A block that failed, or printed something else."""


def read_blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that do something, each with the output that the page shows after it."""
    content = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in BLOCK.finditer(content):
        language, text, note = match["language"], match["text"], match["note"]
        line = content.count("\n", 0, match.start("text")) + 1
        if language == "text" and note is None:
            if found and found[-1].output is None and found[-1].language in RUN:
                last = found.pop()
                found.append(Block(last.language, last.text, last.line, text, last.file, last.reason))
            continue
        file = match["said"] if note == "file" else None
        reason = match["said"] if note == "not run" else None
        if language in RUN or file:
            found.append(Block(language, text, line, None, file, reason))
    return found


def prints(expected: str, printed: str) -> bool:
    """Return whether ``printed`` is what a page shows.

    >>> prints("Dice 0.5 of 12 cases\\n...\\nReport: ...html", "Dice 0.731 of 12 cases\\nand more\\nReport: /a/b.html\\n")
    True
    >>> prints("Dice 0.5 of 12 cases", "Dice 0.5 of 11 cases")
    False
    """
    return _pattern(expected).fullmatch(f"{_tidy(printed)}\n") is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _pattern(expected: str) -> re.Pattern[str]:
    return re.compile("".join(map(_line_pattern, _tidy(expected).split("\n"))))


def _line_pattern(line: str) -> str:
    # dots alone stand for any number of lines, and for none
    if line == "...":
        return r"(?:.*\n)*?"
    parts = []
    for piece in re.split(rf"(\.\.\.|{DECIMAL})", line):
        if piece == "...":
            parts.append(".*?")
        else:
            parts.append(DECIMAL if re.fullmatch(DECIMAL, piece) else re.escape(piece))
    return "".join([*parts, r"\n"])


def run_page(
    page: Path,
    folder: Path,
    *,
    variables: Mapping[str, str] | None = None,
    path: Path | None = None,
    timeout: int = 240,
) -> list[str]:
    """Run the blocks of a page in ``folder`` and return what each printed.

    Args:
        page: the Markdown file.
        folder: where the reader stands; a copy of a clone, or any other folder.
        variables: values by name for variables that the page sets, for a smaller run.
        path: a folder for the front of PATH, such as that of :class:`~warm_python.WarmPython`.
        timeout: seconds for each block.

    Raises:
        PageError: naming page, block, command and what was printed.
    """
    blocks = read_blocks(page)
    changed = [_shrunk(block, variables or {}) for block in blocks]
    for name in variables or {}:
        if not any(re.search(rf"^{name}=", block.text, re.M) for block in blocks):
            raise PageError(f"{page.name} sets no variable {name} at the beginning of a line")
    shell = _Shell(folder, path, timeout)
    printed = []
    try:
        for number, block in enumerate(changed, 1):
            printed.append(_run(shell, block, f"{page.name}, block {number} at line {block.line}"))
    finally:
        shell.end()
    return printed


def _shrunk(block: Block, variables: Mapping[str, str]) -> Block:
    text = block.text
    for name, value in variables.items():
        text = re.sub(rf"^{name}=.*$", lambda _, n=name, v=value: f"{n}={v}", text, flags=re.M)
    return Block(block.language, text, block.line, block.output, block.file, block.reason)


def _run(shell: _Shell, block: Block, where: str) -> str:
    if block.file:
        shell.save(block.file, block.text)
        return ""
    if block.reason or block.language not in RUN:
        return ""
    printed, failed = shell.run(block)
    if failed:
        raise PageError(f"{where} failed: {failed}\n{printed[-4000:]}")
    if block.output is not None and not prints(block.output, printed):
        raise PageError(f"{where} printed something else than the page shows:\n{block.text}---\n{printed[-4000:]}")
    return printed


class _Shell:
    """A reader's shell: each block is a bash of its own that begins where the one before has ended."""

    def __init__(self, folder: Path, path: Path | None, timeout: int) -> None:
        self._state = folder.with_name(f"{folder.name}.shell") / "state"
        self._state.parent.mkdir()
        self._folder = folder
        self._timeout = timeout
        own = {"AKD_STATE": str(self._state), "AKD_FAILED": f"{self._state}.failed", "OMP_NUM_THREADS": "1"}
        self._environment = {**os.environ, **own}
        front = [str(path)] if path else []
        self._environment["PATH"] = os.pathsep.join([*front, str(Path(sys.executable).parent), os.environ["PATH"]])
        self._groups: list[int] = []

    def folder(self) -> Path:
        """Where the reader stands."""
        record = Path(f"{self._state}.folder")
        return Path(record.read_text().strip()) if record.exists() else self._folder

    def save(self, name: str, text: str) -> None:
        """Save a file that the page shows."""
        path = self.folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, block: Block) -> tuple[str, str]:
        """Return what a block printed, and how it failed."""
        if block.language == "python":
            script = Path(f"{self._state}.py")
            script.write_text(block.text, encoding="utf-8")
            text = f"python {script}\n"
        else:
            text = block.text
        before = f"source {self._state} 2> /dev/null\n" if self._state.exists() else ""
        # the lines of the block keep their numbers
        program = Path(f"{self._state}.bash")
        program.write_text(text, encoding="utf-8")
        whole = f'{before}{TRAP}source "{program}" < /dev/null{KEEP}'
        log = Path(f"{self._state}.log")
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", whole],
                cwd=self.folder(),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            try:
                code = process.wait(self._timeout)
            except subprocess.TimeoutExpired:
                return log.read_text(errors="replace"), f"no end after {self._timeout} s"
        failure = Path(f"{self._state}.failed")
        failed = failure.read_text() if failure.exists() else ""
        return log.read_text(errors="replace"), failed or (f"exit code {code}" if code else "")

    def end(self) -> None:
        """End what blocks have left running in the background."""
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGTERM)
            except ProcessLookupError:
                continue
