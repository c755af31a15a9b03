"""Connections to the master of a service of Redis Sentinel, and redis-py's client on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from pindb.redis.core.outages import NotMaster
from pindb.redis.core.replies import ErrorParser
from pindb.redis.io.connections import CONNECTS_BY_CHECK, ConnectingMixin, TcpConnection, TlsConnection
from pindb.redis.topology.breakers import REFUSED
from pindb.redis.topology.sentinel import Address, MasterFinder, show
from pindb.redis.topology.waiting import Waiting

__all__ = ["MasterClient", "TcpMasterConnection", "TlsMasterConnection"]

UNKNOWN = "No sentinel has named its master"


class _Tie:
    """Which master a connection was made to. Its parser has it too."""

    __slots__ = ("address", "epoch", "finder")

    def __init__(self, finder: MasterFinder) -> None:
        self.finder = finder
        self.address: Address = (finder.service, 0)
        self.epoch = -1

    def refused(self) -> NotMaster:
        """Report that the master refuses writes; return the error for it."""
        self.finder.demoted(self.address, self.epoch)
        return NotMaster(
            f"READONLY {show(self.address)} is no master of the service {self.finder.service!r} any more."
        )


class MasterErrorParser(ErrorParser):
    """Makes a `NotMaster` of the reply that a server has become a replica.

    Attributes:
        was_refused: whether there was such a reply.
    """

    __slots__ = ("_tie", "was_refused")

    def __init__(self, parse: Callable[[str], Exception], tie: _Tie) -> None:
        super().__init__(parse)
        self._tie = tie
        self.was_refused = False

    def __call__(self, text: str) -> Exception:
        # Scripts of servers before 7.0 put the code into the middle.
        if text.startswith("READONLY") or " -READONLY " in text:
            self.was_refused = True
            return self._tie.refused()
        return super().__call__(text)


class _MasterMixin(ConnectingMixin):
    """Asks for the master of a service whenever it connects, and connects to servers only that are masters.

    Arguments:
        finder: finds the master.
    """

    host: str
    port: int

    def __init__(
        self,
        *args: Any,
        finder: MasterFinder,
        redis_connect_func: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # The parser, which redis-py makes first of all, needs it.
        self._tie = _Tie(finder)
        if redis_connect_func is not None:
            kwargs["redis_connect_func"] = partial(_log_in, redis_connect_func)
        super().__init__(*args, **kwargs)

    def set_parser(self, *args: Any, **kwargs: Any) -> None:
        super().set_parser(*args, **kwargs)
        self._parser.parse_error = MasterErrorParser(type(self._parser).parse_error, self._tie)

    def connect(self) -> None:
        tie = self._tie
        if not tie.finder.is_current(tie.epoch) and self._sock is not None:
            self.disconnect()
        super().connect()

    def _connect(self) -> Any:
        finder = self._tie.finder
        address = self._find()
        try:
            return super()._connect()  # type: ignore[misc]
        except OSError:
            finder.doubt(address)
            if self._was_cut_short or self._find() == address:
                raise
        return super()._connect()  # type: ignore[misc]

    def _find(self) -> Address:
        """Find out where to connect to."""
        tie, breaker = self._tie, self._breaker
        try:
            tie.address, tie.epoch = tie.finder.find(self.socket_connect_timeout)
        except RedisConnectionError:
            if breaker is not None:
                breaker.reason = UNKNOWN
            raise
        except TimeoutError:
            self._was_cut_short = True
            raise
        if breaker is not None and breaker.reason == UNKNOWN:
            breaker.reason = REFUSED
        self.host, self.port = tie.address
        return tie.address

    def check_role(self) -> None:
        """Raise `NotMaster` unless the server says that it is a master."""
        connection: Any = self
        connection.send_command("ROLE", check_health=False)
        role = connection.read_response()[0]
        role = role.decode() if isinstance(role, bytes) else role
        finder, address = self._tie.finder, self._tie.address
        if role != "master":
            finder.doubt(address)
            raise NotMaster(
                f"READONLY {show(address)}, which Sentinel names as the master of the service "
                f"{finder.service!r}, has the role {role}."
            )
        finder.trust(address)

    if CONNECTS_BY_CHECK:

        def on_connect_check_health(self, *args: Any, **kwargs: Any) -> None:
            super().on_connect_check_health(*args, **kwargs)  # type: ignore[misc]
            self.check_role()

    else:

        def on_connect(self) -> None:
            super().on_connect()  # type: ignore[misc]
            self.check_role()


def _log_in(own: Callable[[Any], Any], connection: Any) -> None:
    """Call the function that a site has for logging in, which redis-py calls in place of its own."""
    own(connection)
    connection.check_role()


class TcpMasterConnection(_MasterMixin, TcpConnection):
    """A connection to a master over TCP."""


class TlsMasterConnection(_MasterMixin, TlsConnection):
    """A connection to a master over TLS."""


class MasterClient(redis.Redis):
    """redis-py's client for the master of a service: it sends a command again that did not run on an old one.

    Pipelines do not: some of their commands may have run before the server became a replica.
    """

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """See redis-py's method."""
        waiting = None
        while True:
            try:
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except NotMaster as error:
                waiting = waiting or Waiting()
                if error.sent or not waiting.begin():
                    raise
            waiting.pause()
