"""Celery support: each task has a pinning context of its own, and starts with the pins of its sender.

So a task that was sent after a write reads what was written. Switch this on with ``PINDB_CELERY = True`` (or
a dict with the arguments of `install`) and ``"pindb"`` in ``INSTALLED_APPS``, or call `install` where the
Celery app is made.
"""

from __future__ import annotations

import time
from datetime import timedelta
from functools import wraps
from typing import Any

try:
    from celery.signals import before_task_publish, task_postrun, task_prerun, worker_init
except ImportError as error:
    raise ImportError('pindb.celery needs Celery: pip install "django-pindb[celery]"') from error

from pindb.conf import conf
from pindb.pins.context import Pin, PinningContext, current, get_context, running, set_context
from pindb.pins.propagation import export_pins, make_time_pins, pin_all_sets
from pindb.pins.tasks import parse_wait, start_task
from pindb.pins.tokens import dump_pins, load_pins

__all__ = ["install"]

#: The message header that carries the pins.
HEADER = "pindb_pinned_set"

#: Celery's own task that waits for the tasks of a chord, and then sends the chord's callback.
UNLOCK = "celery.chord_unlock"

_wait = 0.0


def install(wait: str | float | timedelta | None = None) -> None:
    """Connect pindb to Celery's signals. Call it in processes that send tasks and in workers.

    A second call only changes `wait`. While ``PINDB_ENABLED`` is off, tasks carry no pins. With positions,
    sending a task after a write costs one query to the master, for its position.

    Arguments:
        wait: with positions, how long after its start a task waits for a replica that has what its sender
            wrote, before it reads the master: ``"200ms"``, ``"1.5s"``, seconds, or a timedelta. By default a
            task does not wait. The attribute ``pindb_wait`` of a task overrides it.

    Raises:
        PinDbConfigError: `wait` is not such a time.
    """
    global _wait
    _wait = parse_wait(wait)
    before_task_publish.connect(_send_pins, weak=False, dispatch_uid="pindb.send")
    task_prerun.connect(_start, weak=False, dispatch_uid="pindb.start")
    task_postrun.connect(_end, weak=False, dispatch_uid="pindb.end")
    worker_init.connect(_watch_chords_of_worker, weak=False, dispatch_uid="pindb.chords")


def _send_pins(sender: Any = None, headers: dict[str, Any] | None = None, **kwargs: Any) -> None:
    context = get_context()
    if headers is None or context is None or not conf.PINDB_ENABLED or sender == UNLOCK:
        return
    pins = export_pins(context)
    if pins:
        headers[HEADER] = dump_pins(pins)


def _start(task: Any, **kwargs: Any) -> None:
    """Open a pinning context for a task, with the pins of its sender."""
    # An eager task has no message; the current context is its sender's.
    outer = current() if task.request.is_eager else None
    context = PinningContext(outer)
    if outer is None:
        _watch_chords(type(task.backend))
    if conf.PINDB_ENABLED:
        pins: dict[str, Pin] = {}
        if task.name == UNLOCK:
            context = pin_all_sets()
        elif outer is not None:
            pins = _eager_pins(outer)
        elif token := task.request.get(HEADER):
            pins = load_pins(token, time.time())
        wait = getattr(task, "pindb_wait", None)
        start_task(context, pins, _wait if wait is None else parse_wait(wait))
    set_context(context)


def _end(task: Any, **kwargs: Any) -> None:
    """Close the context of a task; after an eager task, restore its sender's context."""
    context = get_context()
    outer = context.parent if task.request.is_eager and context is not None else None
    if context is not None and outer is not None and conf.PINDB_ENABLED:
        outer.left_by_tasks = {**outer.left_by_tasks, **export_pins(context)}
    set_context(outer)


def _eager_pins(outer: PinningContext) -> dict[str, Pin]:
    """Return the pins of an eager task: its sender's, and those that earlier eager tasks have left.

    The earlier tasks may belong to the same chain or chord, where a worker would pass their pins on. An eager
    task does not know whether they do.
    """
    now = time.time()
    left = {alias: pin for alias, pin in outer.left_by_tasks.items() if pin.position or pin.until > now}
    # The position of a new pin was read just now, so it covers what earlier tasks have left.
    return export_pins(outer) | {alias: pin for alias, pin in left.items() if alias not in outer.new}


# ---- chords ------------------------------------------------------------------------------------

# The callback of a chord has to read what all tasks of the chord's header wrote. They ran in many processes,
# and a message could carry the pins of only one of them. But all of them have ended when the callback is
# sent. So its message carries pins of all sets, which cover everything that was committed before.


def _watch_chords(backend: type[Any]) -> None:
    """Make a class of result backends send the callbacks of chords from a context that has all sets pinned.

    Celery has no signal for that. Backends without native chords use the task `UNLOCK` instead.
    """
    end_part = backend.on_chord_part_return
    if not getattr(end_part, "pins_all_sets", False):

        @wraps(end_part)
        def end_part_pinned(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not conf.PINDB_ENABLED:
                return end_part(self, *args, **kwargs)
            # This also calls errbacks that take the exception.
            with running(_after_chord()):
                return end_part(self, *args, **kwargs)

        end_part_pinned.pins_all_sets = True  # type: ignore[attr-defined]
        backend.on_chord_part_return = end_part_pinned


def _after_chord() -> PinningContext:
    context = pin_all_sets()
    if get_context() is None:
        # No task is running: this is a worker's main process, handling a revoked or killed task. Reading a
        # position would open a connection, which the next forked processes would inherit.
        pins = make_time_pins(context.new, time.time())
        context = PinningContext()
        context.carry(pins)
    return context


def _watch_chords_of_worker(sender: Any, **kwargs: Any) -> None:
    _watch_chords(type(sender.app.backend))
