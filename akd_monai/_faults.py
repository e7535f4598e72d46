# SPDX-License-Identifier: Apache-2.0
"""Faults of the machine and of the numerics in one sentence: no memory, a full disk, a lost process, NaN."""

from __future__ import annotations

import errno
import os
import re
from types import TracebackType
from typing import Any

from akd_monai.errors import BundleError, NonFiniteError, one_line

__all__ = ["MACHINE_FAULT", "machine_fault"]

# code of an InputError of which no input is the reason
MACHINE_FAULT = "machine-fault"

# how PyTorch, its libraries, NumPy and the C++ runtime say that memory has run out
_NO_MEMORY = re.compile(
    r"(?:not enough|can't allocate|cannot allocate|unable to allocate|could not allocate|out of) (?:\w+ )?memory"
    r"|bad.?alloc\b|ALLOC_FAILED|unable to allocate [\d.]+ \w?i?B\b",
    re.IGNORECASE,
)
_BYTES = re.compile(r"tried to allocate (\d+) bytes|tried to allocate ([\d.]+ \w?i?B)|allocate ([\d.]+ \w?i?B)", re.I)
# torch.save on a full disk
_NO_SPACE = re.compile(r"PytorchStreamWriter failed writing|inline_container.* unexpected pos|disk is full")
# ... and what this package said of one, where MONAI's SaveImage keeps only the traceback of it, as a string
_SAID = re.compile(r"\[Errno \d+\] (no space left in .+)")
_FULL = (errno.ENOSPC, errno.EDQUOT)
# faults of the disk, the network or a limit; a file that is missing may be an error of a program, and shows its traceback
_SYSTEM = {
    errno.EACCES: "change its permissions, or choose another folder",
    errno.EPERM: "change its permissions, or choose another folder",
    errno.EROFS: "choose a folder on a file system that can be written to",
    errno.ESTALE: "the network drive was lost: mount it again, and start the same command again",
    errno.EIO: "the disk failed to read or write: check it",
    errno.EFBIG: "the file system takes no file of this size: choose another folder",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or lower num_workers",
    errno.ENFILE: "too many files are open on this machine: lower num_workers",
    errno.ENAMETOOLONG: "choose shorter names",
}
_GIB = 1 << 30


def machine_fault(error: BaseException) -> str:
    """Return what went wrong and what to do, in one line, if it is no error of a program; else an empty string.

    Of memory that has run out, the values of the run are named, read from the engine that was running.

    Example:
        >>> machine_fault(OSError(28, "No space left on device", "models/model.pt"))
        'no space left for models/model.pt; free some, and start the same command again.'
        >>> machine_fault(TypeError("a bug"))
        ''
    """
    if isinstance(error, (NonFiniteError, BundleError)):
        return one_line(error, 1000)
    if _is_memory(error):
        return _memory_line(error)
    if isinstance(error, OSError):
        return _system_line(error)
    said = _SAID.findall(str(error))
    if said:
        return f"{said[-1]}."
    if isinstance(error, Exception) and _NO_SPACE.search(str(error)):
        return f"no space left on the disk ({one_line(error, 120)}); free some, and start the same command again."
    return ""


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None


def _memory_line(error: BaseException) -> str:
    message = str(error)
    is_cuda = "CUDA" in message or "cuda" in type(error).__module__
    where = "memory of the GPU" if is_cuda else "memory"
    found = _BYTES.search(message)
    wanted = f", {_size(found)} more were asked for" if found else ""
    return f"the {where} is used up{wanted}; {_remedy(_engine_of(error))}."


def _size(found: re.Match[str]) -> str:
    if found[1] is not None:
        return f"{int(found[1]) / _GIB:.2f} GiB"
    return next(part for part in found.groups() if part is not None)


def _remedy(engine: Any) -> str:
    """Return what to lower; with the values of the engine that was running, if there was one."""
    if engine is None:
        return "lower batch_size, spatial_size or num_workers"
    state = engine.state
    shape = _image_shape(getattr(state, "batch", None))
    workers = getattr(getattr(state, "dataloader", None), "num_workers", None)
    loader_batch = getattr(getattr(state, "dataloader", None), "batch_size", None)
    parts = [_named("batch_size", loader_batch), _named("spatial_size", " x ".join(map(str, shape[2:])))]
    if not hasattr(engine, "optimizer"):
        parts = [_named("the inferer's sw_batch_size", getattr(engine.inferer, "sw_batch_size", None)), parts[1]]
    parts.append(_named("num_workers", workers))
    remedy = f"lower {', '.join(parts[:-1])} or {parts[-1]}"
    if getattr(engine, "teacher", None) is not None:
        remedy += "; a teacher_cache, or teacher_options#dtype bfloat16, spares the teacher's part"
    return remedy


def _named(name: str, value: Any) -> str:
    return f"{name} (now {value})" if value not in (None, "") else name


def _image_shape(batch: Any) -> tuple[int, ...]:
    image = batch.get("image") if isinstance(batch, dict) else None
    return tuple(getattr(image, "shape", ()))


def _engine_of(error: BaseException | None) -> Any:
    """Return MONAI's engine that was running when ``error`` was raised: the innermost one of its traceback."""
    found = None
    trace: TracebackType | None = error.__traceback__ if error is not None else None
    while trace is not None:
        candidate = trace.tb_frame.f_locals.get("self")
        if hasattr(candidate, "state") and hasattr(candidate, "fire_event") and hasattr(candidate, "inferer"):
            found = candidate
        trace = trace.tb_next
    return found


def _system_line(error: OSError) -> str:
    name = "" if error.filename is None else os.fspath(str(error.filename))
    if error.errno in _FULL:
        # what this package writes says folder and size itself
        if error.strerror and "no space left in" in error.strerror:
            return f"{error.strerror}."
        place = f" for {name}" if name else " on the disk"
        return f"no space left{place}; free some, and start the same command again."
    remedy = _SYSTEM.get(error.errno or 0, "")
    if not remedy:
        return ""
    return f"{name}: {error.strerror}; {remedy}." if name else f"{error.strerror}; {remedy}."
