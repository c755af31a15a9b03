"""The driver that sends a batch to many servers and reads their replies, on selectors.

No server waits for another: connections are made at the same time, and bytes are written and read as far as
the sockets allow. So batches of any size cannot block each other, however small the sockets' buffers are.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pindb.redis.core.batches import HostBatch
from pindb.redis.io.channels import Channel
from pindb.redis.io.connections import run_opening
from pindb.redis.io.opening import NoThread, Opener

__all__ = ["exchange", "finish"]

#: How much is read at once, in bytes.
READ_SIZE = 256 * 1024

#: How long a thread that connects may take to notice that the caller's time is up, in seconds.
GRACE = 0.05

#: How often a clean-up begins again after an exception from a signal handler.
ATTEMPTS = 10

# poll() takes no file descriptor of its own, and any number of them.
Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def finish(clean_up: Callable[[], None]) -> None:
    """Clean up; begin again if an exception strikes in the middle, since it may be a signal handler's.

    Arguments:
        clean_up: the function to call; it skips what it has cleaned up before.

    Raises:
        BaseException: the last exception that struck, at the end.
    """
    struck: BaseException | None = None
    for _ in range(ATTEMPTS):
        try:
            clean_up()
            break
        except BaseException as error:
            struck = error
    if struck is not None:
        raise struck


def exchange(
    parts: Sequence[tuple[HostBatch, Any]], end: float | None = None, limit: int | None = None
) -> None:
    """Connect, send and read until every part of a batch is done.

    Arguments:
        parts: each server's part, with the server's pool. Connections are taken in this order; all callers in
            the process use the same order of servers, so that none waits for another's connections for ever.
        end: when to give up, by `time.monotonic`; None: never.
        limit: how many servers are talked to at once; None: all. The next one begins as soon as one is done.
    """
    running = _Exchange([Channel(batch, pool) for batch, pool in parts], end, limit or len(parts))
    try:
        run_opening(running.run, end, lazily=True)
    finally:
        finish(running.close)


class _Exchange:
    """The channels of a batch.

    Arguments: see `exchange`.
    """

    def __init__(self, channels: Sequence[Channel], end: float | None, limit: int) -> None:
        self._all = channels
        self._waiting = deque(channels)
        self._end = end
        self._limit = limit
        self._running: list[Channel] = []
        self._connecting: list[Channel] = []
        self._opener: Opener | None = None
        self._selector: Any = None

    def close(self) -> None:
        """Return all connections, whatever has happened."""
        for channel in self._all:
            channel.close()
        if self._opener is not None:
            self._opener.close()
        if self._selector is not None:
            self._selector.close()

    def run(self) -> None:
        """Serve all channels."""
        self._fill()
        if self._running or self._connecting:
            # The servers are at work meanwhile.
            self._selector = Selector()
            for each in (*self._running, self._opener):
                self._watch(each)
            buffer = bytearray(READ_SIZE)
        while self._running or self._connecting:
            self._step(buffer)
            self._fill()

    def _watch(self, each: Channel | Opener | None) -> None:
        """Let the selector wait for it, as soon as there is a selector."""
        if self._selector is not None and each is not None:
            self._selector.register(each.fd, each.events, each)

    @property
    def _room(self) -> int:
        """How many more channels there may be at once."""
        return self._limit - len(self._running) - len(self._connecting)

    def _fill(self) -> None:
        """Begin as many channels as may be."""
        while self._waiting and self._room > 0:
            missing: list[Channel] = []
            while self._waiting and self._room > len(missing):
                self._begin(self._waiting.popleft(), missing)
            alone = len(missing) == 1 and not (self._running or self._connecting or self._waiting)
            for channel in missing:
                # With an end, the caller stops waiting for a thread then, whatever that waits for.
                self._connect(channel, (alone and self._end is None) or channel.connection.fails_at_once)

    def _begin(self, channel: Channel, missing: list[Channel]) -> None:
        if self._end is not None and time.monotonic() >= self._end:
            channel.batch.give_up(by_caller=True)
            return
        channel.take()
        if channel.batch.error is not None:
            return
        if channel.is_connected:
            self._start(channel)
        else:
            missing.append(channel)

    def _connect(self, channel: Channel, here: bool) -> None:
        """Connect a channel: in this thread if `here`, or if there can be no other one."""
        if not here:
            if self._opener is None:
                self._opener = Opener(self._end)
                self._watch(self._opener)
            try:
                channel.connect_with(self._opener)
                self._connecting.append(channel)
                return
            except NoThread:
                pass
        channel.connect(self._end)
        self._go_on(channel)

    def _go_on(self, channel: Channel) -> None:
        """Start a channel whose connection was made, or could not be made."""
        if channel.batch.error is None:
            self._start(channel)
        else:
            channel.close()

    def _start(self, channel: Channel) -> None:
        channel.start(time.monotonic())
        if channel.batch.is_done:
            channel.close()
        else:
            self._running.append(channel)
            self._watch(channel)

    def _step(self, buffer: bytearray) -> None:
        """Wait until something happens, and serve the channels that it concerns."""
        end = self._end
        deadlines = [d for channel in self._running if (d := channel.batch.deadline) is not None]
        if self._connecting and end is not None:
            deadlines.append(end + GRACE)
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        events = self._selector.select(wait)
        now = time.monotonic()
        for key, mask in events:
            channel = key.data
            if type(channel) is Opener:
                for connected, error in channel.finished():
                    # It may have been given up while its thread came to an end.
                    if connected in self._connecting:
                        self._connecting.remove(connected)
                        connected.note_connected(error)
                        self._go_on(connected)
                continue
            if mask & selectors.EVENT_WRITE:
                channel.send()
            channel.receive(buffer)
            channel.batch.note_progress(now)
            if not channel.batch.is_done and channel.events != key.events:
                self._selector.modify(key.fd, channel.events, channel)
        going_on = []
        for channel in self._running:
            channel.batch.check_time(now)
            if channel.batch.is_done:
                self._selector.unregister(channel.fd)
                channel.close()
            else:
                going_on.append(channel)
        self._running = going_on
        if end is not None and now >= end + GRACE:
            for channel in self._connecting:
                channel.batch.give_up(by_caller=True)
                channel.close()
            self._connecting = []
