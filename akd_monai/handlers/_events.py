# SPDX-License-Identifier: Apache-2.0
"""The position of a handler among the others of an engine: first, last, or told of a failure.

Ignite's public interface appends a handler and tells whether a given one is attached; it has neither priorities nor a
list of what is attached; nor can a batch be skipped. The private ``Engine._event_handlers`` and
``Engine._dataloader_iter`` are therefore used here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler

from akd_monai.errors import InputError, NonFiniteError

__all__ = [
    "attached_handlers",
    "is_first_rank",
    "on_failure",
    "run_first",
    "run_late",
    "skip_batches",
    "validators_of",
]


def run_first(engine: Engine, event: Any, handler: Callable[..., Any]) -> None:
    """Attach ``handler`` to ``event`` before every handler that is attached so far.

    Example:
        >>> engine, order = Engine(lambda engine, batch: None), []
        >>> _ = engine.add_event_handler(Events.STARTED, lambda e: order.append("second"))
        >>> run_first(engine, Events.STARTED, lambda e: order.append("first"))
        >>> _ = engine.run([0])
        >>> order
        ['first', 'second']
    """
    engine.add_event_handler(event, handler)
    registered = engine._event_handlers[event]
    registered.insert(0, registered.pop())


def run_late(engine: Engine, event: Any, handler: Callable[..., Any]) -> None:
    """Attach ``handler`` to ``event`` once, after every handler attached so far; a second call changes nothing.

    Called while ``Events.STARTED`` is handled, when all handlers of a config are attached, it makes the order
    independent of their order in the config.
    """
    if not engine.has_event_handler(handler, event):
        engine.add_event_handler(event, handler)


def attached_handlers(engine: Engine) -> list[Any]:
    """Return the objects whose methods are attached to ``engine``, each once, in the order of first attachment.

    Example:
        >>> class Watcher:
        ...     def report(self, engine): ...
        >>> engine, watcher = Engine(lambda engine, batch: None), Watcher()
        >>> _ = engine.add_event_handler(Events.EPOCH_COMPLETED(every=2), watcher.report)
        >>> attached_handlers(engine) == [watcher]
        True
    """
    found: dict[int, Any] = {}
    for registered in engine._event_handlers.values():
        for function, *_ in registered:
            function = getattr(function, "__wrapped__", function)  # an event filter wraps the handler
            owner = getattr(function, "__self__", function)
            found.setdefault(id(owner), owner)
    return list(found.values())


def validators_of(trainer: Engine) -> list[Evaluator]:
    """Return the evaluators that a ``ValidationHandler`` of ``trainer`` runs."""
    validators = []
    for handler in attached_handlers(trainer):
        if isinstance(handler, ValidationHandler) and handler.validator is not None:
            validators.append(handler.validator)
    return validators


def skip_batches(engine: Engine, count: int) -> None:
    """Take ``count`` batches from the iterator of a running engine; at its end it begins again, as Ignite does.

    Example:
        >>> engine, seen = Engine(lambda engine, batch: seen.append(batch)), []
        >>> _ = engine.add_event_handler(Events.GET_BATCH_STARTED, skip_batches, 2)
        >>> _ = engine.run([0, 1, 2], epoch_length=1)
        >>> seen
        [2]
    """
    for _ in range(count):
        if next(_batches(engine), engine) is engine:
            engine._setup_dataloader_iter()
            next(_batches(engine))


def _batches(engine: Engine) -> Iterator[Any]:
    """Return the iterator of a running engine, which none has before it runs."""
    batches = engine._dataloader_iter
    if batches is None:
        raise RuntimeError("batches can be skipped in a running engine only.")
    return batches


def is_first_rank(engine: Engine) -> bool:
    """Return whether this process is the one that writes files.

    It asks MONAI's engine, not ``ignite.distributed``: the first call there talks to all processes, while a config may
    give a handler to the first of them only.
    """
    return bool(getattr(engine.state, "rank", 0) == 0)


def on_failure(engine: Engine, callback: Callable[..., Any]) -> None:
    """Call ``callback(engine, error)`` once for an error of the run, before other handlers see it.

    Ignite stops at the first handler that raises and, worse, drops the error if none does. Here the callbacks run
    before all others, and the error is then handled as it would be without them. An error that says all in its one line
    (``InputError``, ``NonFiniteError``, ``OSError`` such as a full disk, ``SystemExit``) is raised again at once, so that
    no traceback is logged.

    Example:
        >>> def step(engine, batch):
        ...     raise RuntimeError("broken")
        >>> engine, seen = Engine(step), []
        >>> on_failure(engine, lambda engine, error: seen.append(str(error)))
        >>> engine.run([0])
        Traceback (most recent call last):
        ...
        RuntimeError: broken
        >>> seen
        ['broken']
    """
    for handler in attached_handlers(engine):
        if isinstance(handler, _FailureCallbacks):
            handler.callbacks.append(callback)
            return
    run_first(engine, Events.EXCEPTION_RAISED, _FailureCallbacks([callback]))


_SAYS_ALL = (InputError, NonFiniteError, OSError, SystemExit)


class _FailureCallbacks:
    def __init__(self, callbacks: list[Callable[..., Any]]) -> None:
        self.callbacks = callbacks
        self._seen: int | None = None

    def __call__(self, engine: Engine, error: BaseException) -> None:
        # Ignite fires the event once for the iteration and again for the run.
        if id(error) != self._seen:
            self._seen = id(error)
            for callback in self.callbacks:
                callback(engine, error)
        alone = len(engine._event_handlers[Events.EXCEPTION_RAISED]) == 1
        if alone or isinstance(error, _SAYS_ALL):
            raise error
