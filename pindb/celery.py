"""Pins and Celery: each task is a pinning context, and pins travel with the tasks that a unit of work sends.

A task sent after a write starts with the sender's pins, so that it reads what was written. Switch it on with
``PINDB_CELERY = True`` (or a dict with the arguments of `install`) and ``"pindb"`` in ``INSTALLED_APPS``, or
call `install` where the Celery app is made.
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
from pindb.pins.propagation import all_sets_pinned, begin, outgoing_pins, pins_by_time, read_wait
from pindb.pins.tokens import dump_pins, load_pins

__all__ = ["install"]

#: The message header that carries the pins.
HEADER = "pindb_pinned_set"

#: Celery's own task that polls the tasks of a chord, and then sends its callback.
UNLOCK = "celery.chord_unlock"

_wait = 0.0


def install(wait: str | float | timedelta | None = None) -> None:
    """Connect pindb to Celery's signals, in the processes that send tasks and in those that run them.

    Calling it again changes nothing but `wait`. While ``PINDB_ENABLED`` is off, nothing is sent along or
    taken over. A task that is sent after a write asks the master where it is (with positions).

    Arguments:
        wait: with positions, how long from its start on a task waits for a replica that has what its sender
            wrote, before it reads the master: ``"200ms"``, ``"1.5s"``, seconds, or a timedelta. Where not
            given, not at all. A task's attribute ``pindb_wait`` overrides it.

    Raises:
        PinDbConfigError: `wait` is no such time.
    """
    global _wait
    _wait = read_wait(wait)
    before_task_publish.connect(_send_pins, weak=False, dispatch_uid="pindb.send")
    task_prerun.connect(_start, weak=False, dispatch_uid="pindb.start")
    task_postrun.connect(_end, weak=False, dispatch_uid="pindb.end")
    worker_init.connect(_watch_chords_of_worker, weak=False, dispatch_uid="pindb.chords")


def _send_pins(sender: Any = None, headers: dict[str, Any] | None = None, **kwargs: Any) -> None:
    context = get_context()
    if headers is None or context is None or not conf.PINDB_ENABLED or sender == UNLOCK:
        return
    pins = outgoing_pins(context)
    if pins:
        headers[HEADER] = dump_pins(pins)


def _start(task: Any, **kwargs: Any) -> None:
    """A clean slate for the task, with the pins of whoever sent it."""
    # Nothing is published for an eager task: the context around it is its caller's.
    outer = current() if task.request.is_eager else None
    context = PinningContext(outer)
    if outer is None:
        _watch_chords(type(task.backend))
    if conf.PINDB_ENABLED:
        pins: dict[str, Pin] = {}
        if task.name == UNLOCK:
            context = all_sets_pinned()
        elif outer is not None:
            pins = _eager_pins(outer)
        elif token := task.request.get(HEADER):
            pins = load_pins(token, time.time())
        wait = getattr(task, "pindb_wait", None)
        begin(context, pins, _wait if wait is None else read_wait(wait))
    set_context(context)


def _end(task: Any, **kwargs: Any) -> None:
    """A clean slate after the task; for an eager one, the caller's context again."""
    context = get_context()
    outer = context.parent if task.request.is_eager and context is not None else None
    if context is not None and outer is not None and conf.PINDB_ENABLED:
        outer.left = {**outer.left, **outgoing_pins(context)}
    set_context(outer)


def _eager_pins(outer: PinningContext) -> dict[str, Pin]:
    """What an eager task begins with: its caller's pins, and those of the eager tasks that ran before it.

    They may be the tasks of a chain or a chord, which an eager task does not tell. A worker would hand their
    pins on.
    """
    now = time.time()
    left = {alias: pin for alias, pin in outer.left.items() if pin.position or pin.until > now}
    # A position that was asked for just now is further than what is left.
    return outgoing_pins(outer) | {alias: pin for alias, pin in left.items() if alias not in outer.new}


# ---- chords ------------------------------------------------------------------------------------

# What comes after a chord reads what all tasks of its header wrote, but they ran in many processes, and each
# message carries the pins of one. All of them have ended by then. So the message carries pins of all sets,
# which are about everything that was committed before it was sent.


def _watch_chords(backend: type[Any]) -> None:
    """Have a class of result backends send what comes after a chord from a context that has all sets pinned.

    Celery has no signal for it. A backend without chords of its own leaves them to the task `UNLOCK`.
    """
    end_part = backend.on_chord_part_return
    if not getattr(end_part, "pins_all_sets", False):

        @wraps(end_part)
        def end_part_pinned(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not conf.PINDB_ENABLED:
                return end_part(self, *args, **kwargs)
            # Errbacks that take the exception are called in here as well.
            with running(_after_chord()):
                return end_part(self, *args, **kwargs)

        end_part_pinned.pins_all_sets = True  # type: ignore[attr-defined]
        backend.on_chord_part_return = end_part_pinned


def _after_chord() -> PinningContext:
    context = all_sets_pinned()
    if get_context() is None:
        # No task is running: this is a worker's main process, for a task that was revoked or has died. It
        # had better open no connection to a master, which the next processes that it forks would inherit.
        pins = pins_by_time(context.new, time.time())
        context = PinningContext()
        context.carry(pins)
    return context


def _watch_chords_of_worker(sender: Any, **kwargs: Any) -> None:
    _watch_chords(type(sender.app.backend))
