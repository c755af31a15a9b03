"""Circuit breakers of a cluster's servers: one for each, which connections and routers ask."""

from __future__ import annotations

import threading
from typing import Any

from pindb._circuit import CircuitBreaker, now
from pindb._forks import Lock

__all__ = ["RETRY_TIMEOUT", "HostBreaker", "HostBreakers", "breakers_of"]

#: For how many seconds a server that is down is left alone, unless somebody says otherwise. Most servers are
#: back a few seconds after a restart; a server that is gone costs each process one attempt in this time.
RETRY_TIMEOUT = 5.0

REFUSED = "It refused the last connection"


class HostBreaker(CircuitBreaker):
    """Circuit breaker of one Redis server.

    A server may be down in three ways, and is left alone until the same time in each:

    - It *refused* a connection: new connections fail at once. Open connections are still used.
    - It is *out*, because it answers nobody: open connections are of no use either.
    - It is *passed over*: routers send commands to other servers. Connections are not affected.

    When the time has come, one caller tries: whoever wants a new connection first, or a thread that a router
    sends to the server. The next connection then is that thread's attempt.

    Arguments:
        host_id: the server's number in its cluster.
        seconds: how long it is left alone after it failed.
        down: the servers that routers pass over, with the time at which each is tried again.
        lock: the lock of all breakers of the cluster.

    Attributes:
        is_out: whether open connections are of no use.
        reason: what happened last, as errors say it.
    """

    __slots__ = ("_down", "_host_id", "_is_refused", "_is_reserved", "_trying", "is_out", "reason")

    def __init__(self, host_id: int, seconds: float, down: dict[int, float], lock: Lock) -> None:
        super().__init__(seconds, lock)
        self._host_id = host_id
        self._down = down
        self._clear()

    def _clear(self) -> None:
        self._is_refused = self.is_out = False
        self.reason = REFUSED
        # The thread that routers let try the server, and whether its attempt to connect is still to come.
        self._trying: int | None = None
        self._is_reserved = False

    # ---- connections ---------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._is_refused and not self._is_reserved and super().is_open

    def wait(self) -> float:
        if not self._is_refused:
            return 0
        with self._lock.get():
            if self._is_reserved:
                self._is_reserved = False
                return 0
            return self._wait() if self._is_refused else 0

    def fail(self, seconds: float | None = None, reason: str | None = None) -> None:
        """Report that the server refused a connection, or for what reason it is out."""
        with self._lock.get():
            self._is_refused, self._trying, self._is_reserved = True, None, False
            super().fail(seconds)
            if reason is not None:
                self.is_out, self.reason = True, reason

    def give_back(self) -> None:
        with self._lock.get():
            self._trying, self._is_reserved = None, False
            super().give_back()

    def succeed(self) -> None:
        """Report that the server has taken a connection.

        Routers go on passing it over until it has answered a command: it may be loading its data.
        """
        if self._until is None:
            return
        with self._lock.get():
            trying = self._trying
            self._clear()
            if self._host_id in self._down:
                self._trying = trying
            else:
                self._set(None)

    # ---- routers -------------------------------------------------------------------------------

    def pass_over(self) -> None:
        """Let routers send commands to other servers, until it is time to try this one."""
        with self._lock.get():
            self._trying, self._is_reserved = None, False
            self._down[self._host_id] = 0.0
            super().fail()

    def is_given(self, thread: int) -> bool:
        """Whether a thread may use the server, which is passed over: it is that thread's turn to try."""
        at = now()
        if self._until is None or at >= self._until:
            self._trying, self._is_reserved = thread, True
            # If the thread never reports the outcome, another one tries after this.
            self._set(at + self.seconds)
        return self._trying == thread

    def has_answered(self) -> bool:
        """Whether a reply that this thread has got means that the server is up.

        It does not if the server has failed since: the reply is for a command that was sent before.
        """
        return not self._is_refused or self._trying == threading.get_ident()

    def close(self) -> None:
        """Use the server again."""
        with self._lock.get():
            self._clear()
            self._down.pop(self._host_id, None)
            self._set(None)

    def _set(self, until: float | None) -> None:
        super()._set(until)
        if until is not None and self._host_id in self._down:
            self._down[self._host_id] = until


class HostBreakers:
    """Circuit breakers of a cluster's servers. Safe under threads, and in forked processes.

    Arguments:
        retry_timeout: for how many seconds a server that is down is left alone; `RETRY_TIMEOUT` where None.

    Attributes:
        fail_fast: whether connections to a server that is down fail at once: `retry_timeout` was given.
        down: the servers that routers pass over, by id, with the time (`time.monotonic`) at which each is
            tried again. Empty while all are up.
    """

    def __init__(self, retry_timeout: float | None = None) -> None:
        self.fail_fast = retry_timeout is not None
        self.down: dict[int, float] = {}
        self._seconds = RETRY_TIMEOUT if retry_timeout is None else retry_timeout
        self._breakers: dict[int, HostBreaker] = {}
        self._lock = Lock()

    @property
    def retry_timeout(self) -> float:
        """For how many seconds a server that is down is left alone."""
        return self._seconds

    @retry_timeout.setter
    def retry_timeout(self, seconds: float) -> None:
        with self._lock.get():
            self._seconds = seconds
            for breaker in list(self._breakers.values()):
                breaker.seconds = seconds

    def __getitem__(self, host_id: int) -> HostBreaker:
        breaker = self._breakers.get(host_id)
        if breaker is None:
            made = HostBreaker(host_id, self._seconds, self.down, self._lock)
            breaker = self._breakers.setdefault(host_id, made)
        return breaker

    def check(self) -> frozenset[int]:
        """Return the servers that this thread is to pass over. It gets to try those whose time has come."""
        thread = threading.get_ident()
        with self._lock.get():
            return frozenset(host_id for host_id in self.down if not self[host_id].is_given(thread))

    def close(self) -> None:
        """Use all servers again."""
        for breaker in list(self._breakers.values()):
            breaker.close()

    def forget(self, host_id: int) -> None:
        """Forget a server that was removed."""
        breaker = self._breakers.pop(host_id, None)
        if breaker is not None:
            breaker.close()


def breakers_of(cluster: Any) -> HostBreakers:
    """Return the breakers of a cluster; new ones for an object that stands in for a cluster and has none."""
    breakers = getattr(cluster, "breakers", None)
    return breakers if isinstance(breakers, HostBreakers) else HostBreakers()
