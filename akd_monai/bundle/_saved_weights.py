# SPDX-License-Identifier: Apache-2.0
"""Which file of weights a run has written, found on the disk and not assumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from monai.engines import Trainer
from monai.handlers import CheckpointSaver

from akd_monai.handlers import SaveBestModel
from akd_monai.handlers._events import attached_handlers, validators_of

__all__ = ["SavedWeights"]

_SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors")
# of this package, for itself
_NO_WEIGHTS = ("resume.pt", "resume-previous.pt", "nonfinite.pt")


class SavedWeights:
    """The files of weights below some folders, and what became of them in a run.

    Args:
        folders: where to search, such as the student's folder; one that does not exist yet counts as empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "old.pt").write_bytes(b"1")
        ...     before = SavedWeights([folder])
        ...     _ = (Path(folder) / "new.pt").write_bytes(b"2")
        ...     [path.name for path in before.written()]
        ['new.pt']
    """

    def __init__(self, folders: Iterable[str | Path]) -> None:
        self._folders = [Path(folder).resolve() for folder in folders]
        self._before = self._found()

    def written(self) -> list[Path]:
        """Return the files that were written since, the newest last."""
        found = self._found()
        changed = [path for path, state in found.items() if self._before.get(path) != state]
        return sorted(changed, key=lambda path: (found[path], str(path)))

    def of_run(self, trainer: Trainer | None) -> Path | None:
        """Return the weights of a run: the best by validation, else the newest; None if no file was written.

        What a run had written before it was interrupted and resumed is its own as well, where a saver remembers it.

        Args:
            trainer: the trainer that has run, None where it is not known.
        """
        savers = list(_savers(trainer))
        best = [path for saver in savers for path in _best_of(saver)]
        if best:
            return best[-1]
        written = {*self.written(), *(path for saver in savers for path in _others_of(saver))}
        return max(written, key=lambda path: (path.stat().st_mtime_ns, str(path)), default=None)

    def _found(self) -> dict[Path, tuple[int, int, int]]:
        found = {}
        for folder in self._folders:
            for path in folder.rglob("*") if folder.is_dir() else ():
                if path.suffix in _SUFFIXES and path.name not in _NO_WEIGHTS and path.is_file():
                    about = path.stat()
                    found[path] = (about.st_mtime_ns, about.st_size, about.st_ino)
        return found


def _savers(trainer: Trainer | None) -> Iterator[Any]:
    if trainer is None:
        return
    for engine in (trainer, *validators_of(trainer)):
        for handler in attached_handlers(engine):
            if isinstance(handler, (SaveBestModel, CheckpointSaver)):
                yield handler


def _best_of(saver: Any) -> Iterator[Path]:
    """Yield the file of the best validation that a saver has written in this run, now or before a resume."""
    if isinstance(saver, SaveBestModel):
        if saver.sha256 and saver.path.is_file():
            yield saver.path
        return
    yield from _last_of(saver, saver._key_metric_checkpoint)


def _others_of(saver: Any) -> Iterator[Path]:
    """Yield the newest files that a saver has written at the end of a run or at intervals."""
    if isinstance(saver, CheckpointSaver):
        yield from _last_of(saver, saver._final_checkpoint)
        yield from _last_of(saver, saver._interval_checkpoint)


def _last_of(saver: CheckpointSaver, checkpoint: Any) -> Iterator[Path]:
    if checkpoint is None or not checkpoint._saved:
        return
    # the last is the one of the highest metric, or of the latest epoch
    name = checkpoint.save_handler.filename or checkpoint._saved[-1].filename
    path = (Path(saver.save_dir) / name).resolve()
    if path.is_file():
        yield path
