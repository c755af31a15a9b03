"""Trials of nodes that are down, while others say that they are up."""

from __future__ import annotations

import _thread
from collections.abc import Callable

from redis.exceptions import RedisError

from pindb.redis.core.retries import LOST
from pindb.redis.topology.breakers import HostBreakers

__all__ = ["Trials"]


class Trials:
    """Tries nodes whose circuit breaker is open, each in a thread, so that no caller waits for them.

    Arguments:
        breakers: the circuit breakers. That of a node that answers is closed.
        ping: sends a command to a node that is down, by its id, and waits for the reply.
        seconds: how long `ping` takes at most.
    """

    def __init__(self, breakers: HostBreakers, ping: Callable[[int], object], seconds: float) -> None:
        self._seconds = seconds
        self._breakers = breakers
        self._ping = ping
        self._under_way: set[int] = set()

    def begin(self, host_id: int) -> None:
        """Try a node, unless that is under way. Callers take turns."""
        if host_id in self._under_way:
            return
        self._under_way.add(host_id)
        # Meanwhile, no caller tries it.
        self._breakers[host_id].fail(self._seconds)
        try:
            _thread.start_new_thread(self._try, (host_id,))
        except RuntimeError:
            # The process can have no more threads: a caller tries it later.
            self._under_way.discard(host_id)

    def _try(self, host_id: int) -> None:
        breaker = self._breakers[host_id]
        try:
            self._ping(host_id)
        except LOST:
            # The next trial is one of these again, as long as there are callers.
            breaker.fail()
        except RedisError:
            # An error reply is a reply.
            breaker.close()
        else:
            breaker.close()
        finally:
            self._under_way.discard(host_id)
