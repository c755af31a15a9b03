"""The master that a service of Redis Sentinel has now."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from pindb._forks import Lock, watch_forks
from pindb._jitter import jitter
from pindb.redis.io.connections import TcpConnection, get_end, run_opening
from pindb.redis.topology.breakers import HostBreaker

__all__ = ["MasterFinder"]

Address = tuple[str, int]

#: For how long one sentinel may take to answer, in seconds.
PATIENCE = 0.5

#: How often a process that uses a master asks whether it still is one, in seconds; and how often while there
#: is none that works.
CHECK_EVERY = 0.5
CHECK_SOON = 0.2

#: For how long after the last answer the others go on while one caller asks, in seconds.
FRESH = 1.0

#: For how long such a check may take, and after how many seconds at most the next one follows a failed one.
CHECK_PATIENCE = 0.1
CHECK_AT_MOST = 5.0


class MasterFinder:
    """Finds the master of a service by asking sentinels.

    Each new connection asks. Every half second one caller with an open connection asks too, so that the
    connections are dropped when there is another master: Sentinel leaves the old one a master for seconds
    after a failover, and writes to it are lost. Safe under threads, and in forked processes.

    Arguments:
        service: the name of the service.
        sentinels: host and port of each sentinel.
        username, password: for the sentinels.

    Attributes:
        service, sentinels: as given.
        master: host and port of the master that was found last; None: none yet.
        epoch: grows whenever connections that were made before are of no use any more.
    """

    def __init__(
        self, service: str, sentinels: Sequence[Address], username: str | None, password: str | None
    ) -> None:
        self.service = service
        self.sentinels = tuple(sentinels)
        self.master: Address | None = None
        self.epoch = 0
        self._kind: type[Any] = TcpConnection
        self._options: dict[str, Any] = {"username": username, "password": password, "protocol": 2}
        self._breaker: HostBreaker | None = None
        self._lock = Lock()
        # Sentinel's own number of the newest configuration: a sentinel that was cut off has a lower one.
        self._version = 0
        # A master that refused a connection, or said that it is none.
        self._doubtful: Address | None = None
        self._check_at = math.inf
        self._confirmed_at = -math.inf
        self._failed_checks = 0
        self._failed_at = -math.inf
        # Whether no sentinel could say at last who the master is.
        self._is_lost = False
        self._begun = -math.inf
        self._outcome: RedisError | None = None
        self._after_fork()
        watch_forks(self)

    def _after_fork(self) -> None:
        # Each process asks the sentinels in an order of its own, until one answers.
        self._order = random.sample(self.sentinels, len(self.sentinels))
        self._open: tuple[Address, Any] | None = None
        # Set while nobody asks.
        self._answered = threading.Event()
        self._answered.set()

    def __repr__(self) -> str:
        return f"<MasterFinder {self.service!r} master={self.master}>"

    def use(self, kind: type[Any], options: Mapping[str, Any], breaker: HostBreaker | None) -> None:
        """Set how sentinels are connected to.

        Arguments:
            kind: the class of connections.
            options: more arguments for connections, for TLS.
            breaker: the circuit breaker of the host, which closes when there is a new master.
        """
        self._kind = kind
        self._options |= options
        self._breaker = breaker

    def close(self) -> None:
        """Close the connection to a sentinel that it has kept. The next question opens another one."""
        with self._lock.get():
            kept, self._open = self._open, None
        if kept is not None:
            kept[1].disconnect()

    # ---- asking --------------------------------------------------------------------------------

    def find(self, patience: float | None = None) -> tuple[Address, int]:
        """Ask for the master, within the caller's time.

        Arguments:
            patience: how long one sentinel may take, in seconds, if it is less than `PATIENCE`.

        Returns:
            Its address, and the `epoch` of connections that are made to it now.

        Raises:
            redis.ConnectionError: no sentinel has named one; the message has what each of them said.
            TimeoutError: the caller's time is up.
        """
        arrived = time.monotonic()
        with self._lock.get():
            if self._begun < arrived:
                self._begun, self._outcome = time.monotonic(), None
                try:
                    self._answered = threading.Event()
                    self._find(min(PATIENCE, patience or PATIENCE))
                except RedisConnectionError as error:
                    self._outcome = error
                    raise
                except BaseException:
                    # This caller's time is up, say: the others ask for themselves.
                    self._begun = -math.inf
                    raise
                finally:
                    self._answered.set()
            if self._outcome is not None or self.master is None:
                # Callers that came while another one asked get the same answer.
                raise RedisConnectionError(str(self._outcome))
            return self.master, self.epoch

    def _find(self, patience: float) -> None:
        end = get_end()
        said: list[str] = []
        answers: list[tuple[int, Address]] = []
        order = self._order
        for place, sentinel in enumerate(list(order)):
            seconds = patience
            if end is not None:
                seconds = min(seconds, (end - time.monotonic()) / (len(order) - place))
                if seconds <= 0:
                    raise TimeoutError("timed out")
            try:
                version, address = self._ask(sentinel, seconds)
            except (RedisError, OSError) as error:
                said.append(f"{show(sentinel)}: {error}")
                continue
            if version >= self._version and address != self._doubtful:
                self._prefer(sentinel)
                self._note(version, address)
                return
            answers.append((version, address))
        if answers and (max(answers)[0] >= self._version or 2 * len(answers) > len(order)):
            # They all name the doubtful one, which may be well again; or somebody has set the sentinels up
            # anew, and their numbers began again.
            self._note(*max(answers))
            return
        said += [f"{show(address)} was the master of an older configuration" for _, address in answers]
        self._is_lost = True
        self._note_failure()
        raise RedisConnectionError(
            f"No sentinel has named the master of the service {self.service!r} ({'; '.join(said)})."
        )

    def _ask(self, sentinel: Address, seconds: float) -> tuple[int, Address]:
        """Ask one sentinel. Return the number of its configuration, and the master's address."""
        kept, self._open = self._open, None
        connection = kept[1] if kept is not None and kept[0] == sentinel else None
        if connection is not None:
            try:
                return self._ask_on(connection, sentinel, seconds)
            except (RedisConnectionError, OSError):
                # The sentinel was started again meanwhile, say.
                connection.disconnect()
        host, port = sentinel
        connection = self._kind(
            host=host,
            port=port,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            decode_responses=True,
            **self._options,
        )
        return self._ask_on(connection, sentinel, seconds)

    def _ask_on(self, connection: Any, sentinel: Address, seconds: float) -> tuple[int, Address]:
        answer: list[Any] = []

        def ask() -> None:
            connection.connect()
            connection._sock.settimeout(seconds)
            asked = [("SENTINEL", name, self.service) for name in ("GET-MASTER-ADDR-BY-NAME", "MASTER")]
            connection.send_packed_command(connection.pack_commands(asked), check_health=False)
            answer.append(connection.read_response())
            try:
                fields = connection.read_response()
            except ResponseError:
                # It may not ask for this, or does not know the service.
                fields = []
            pairs = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
            answer.append(int(pairs.get("config-epoch", 0)))

        try:
            run_opening(ask, time.monotonic() + seconds)
        except BaseException:
            connection.disconnect()
            raise
        self._open = sentinel, connection
        address, version = answer
        if address is None:
            raise ResponseError("it does not know this service")
        host, port = address
        return version, (str(host), int(port))

    def _prefer(self, sentinel: Address) -> None:
        self._order = [sentinel, *(other for other in self._order if other != sentinel)]

    def _note(self, version: int, address: Address) -> None:
        self._version = version
        self._failed_checks = 0
        self._failed_at = -math.inf
        self._confirmed_at = time.monotonic()
        self._check_at = self._confirmed_at + jitter(CHECK_SOON if address == self._doubtful else CHECK_EVERY)
        is_new = address != self.master
        if is_new:
            self.master = address
            self._doubtful = None
            self.epoch += 1
        if (is_new or self._is_lost) and self._breaker is not None:
            self._breaker.close()
        self._is_lost = False

    # ---- in passing ----------------------------------------------------------------------------

    def is_current(self, epoch: int) -> bool:
        """Return whether connections of an epoch may be used; ask a sentinel from time to time."""
        if time.monotonic() >= self._check_at:
            self._check()
        return epoch == self.epoch

    def _check(self) -> None:
        answered = self._answered
        if not answered.is_set():
            # Another caller asks. After a pause of the process's own, the answer may be news.
            now = time.monotonic()
            is_fresh = now < self._confirmed_at + FRESH or now < self._failed_at + CHECK_AT_MOST
            if not is_fresh and not answered.wait(CHECK_PATIENCE):
                self._failed_at = time.monotonic()
            return
        with self._lock.get():
            if time.monotonic() < self._check_at:
                # Another caller has asked meanwhile.
                return
            sentinel = self._order[0]
            end = get_end()
            seconds = CHECK_PATIENCE if end is None else min(CHECK_PATIENCE, end - time.monotonic())
            if seconds <= 0:
                return
            try:
                self._answered = threading.Event()
                version, address = self._ask(sentinel, seconds)
            except (RedisError, OSError):
                version, address = -1, ("", 0)
            finally:
                self._answered.set()
            if version >= self._version:
                self._note(version, address)
                if address != self._doubtful:
                    return
            # The next check asks another one.
            self._order = [*self._order[1:], sentinel]
            if version < self._version:
                self._note_failure()

    def _note_failure(self) -> None:
        self._failed_checks += 1
        self._failed_at = time.monotonic()
        pause = CHECK_SOON * 2 ** min(self._failed_checks, 10)
        self._check_at = self._failed_at + jitter(min(pause, CHECK_AT_MOST))

    # ---- what connections report ---------------------------------------------------------------

    def doubt(self, address: Address) -> None:
        """Report that a master refused a connection, or is none: sentinels that name others count more."""
        if address == self.master:
            self._doubtful = address
            self._check_at = min(self._check_at, time.monotonic() + CHECK_SOON)

    def trust(self, address: Address) -> None:
        """Report that a server has said that it is a master."""
        if address == self._doubtful:
            self._doubtful = None

    def demoted(self, address: Address, epoch: int) -> None:
        """Report that a server that was the master has refused a write: drop all connections."""
        if epoch == self.epoch:
            # Two threads that come at once come to the same number.
            self.epoch = epoch + 1
            self.doubt(address)


def show(address: Address) -> str:
    """Return ``host:port``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
