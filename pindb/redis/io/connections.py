"""Connections to Redis servers that are made within the caller's time."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb.redis.core.outages import FULL, NotMaster
from pindb.redis.core.replies import UNREADABLE, ErrorParser, unreadable
from pindb.redis.io.sockets import GreetingSocket, PatientSocket, PatientTlsSocket
from pindb.redis.topology.breakers import HostBreaker

__all__ = [
    "CONNECTS_BY_CHECK",
    "ConnectingMixin",
    "TcpConnection",
    "TlsConnection",
    "UnixConnection",
    "get_end",
    "run_opening",
]


class _Opening:
    """Limits for connections that are made during one call; none after it.

    Arguments:
        end: when the caller gives up, by `time.monotonic`; None: only the connections' own timeouts count.
        lazily: leave connections unconnected when they are taken from their pool; the driver connects them.
    """

    __slots__ = ("end", "lazily")

    def __init__(self, end: float | None, lazily: bool) -> None:
        self.end = end
        self.lazily = lazily


_opening: ContextVar[_Opening] = ContextVar("pindb_opening", default=_Opening(None, False))  # noqa: B039


def run_opening(call: Callable[[], Any], end: float | None, lazily: bool = False) -> None:
    """Call a function, and limit the connections that it makes; see `_Opening`."""
    mine, outer = _Opening(end, lazily), _opening.get()
    try:
        _opening.set(mine)
        call()
    finally:
        # In a context manager, a signal could be handled between the block and its exit. And an exception
        # from a signal handler may leave the context variable as it is.
        mine.end, mine.lazily = None, False
        _opening.set(outer)


def get_end() -> float | None:
    """Return the time at which the caller gives up, by `time.monotonic`."""
    return _opening.get().end


#: Since 5.3, redis-py connects by this method, also if a connection broke while it was in use.
CONNECTS_BY_CHECK = hasattr(Connection, "connect_check_health")


#: Before 8, redis-py finds out whether there is a reply by reading it.
LOOKS_BY_READING = int(redis.__version__.partition(".")[0]) < 8


def _never(*args: Any, **kwargs: Any) -> bool:
    return False


class ConnectingMixin:
    """Connects within the limits of `run_opening`, and marks errors with whether anything was sent.

    All addresses of a host together get ``socket_connect_timeout``; after that, TLS and the handshake
    together get ``socket_timeout``.

    Arguments:
        breaker: the circuit breaker of the host; None: every connection is tried.
    """

    _sock: Any
    _parser: Any
    socket_timeout: float | None
    socket_connect_timeout: float | None

    # Whether an address had less time than socket_connect_timeout, because the caller's time was short.
    _was_cut_short = False
    _handshake_until: float | None = None

    def __init__(self, *args: Any, breaker: HostBreaker | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._breaker = breaker
        # Whether the handshake is complete: an exception may strike in the middle.
        self._is_ready = False
        # The use (see `_PoolMixin`) during which the connection was lost.
        self._lost: object = None

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        if self._sock is not None and self._is_ready:
            # redis-py may connect again (its retries do); then only the error of that is seen.
            self._lost = self.__dict__.get("taken")
        super().disconnect(*args, **kwargs)  # type: ignore[misc]

    def forget_use(self) -> None:
        """Note that nothing was sent before the connection was lost."""
        self._lost = None

    def connect(self) -> None:
        # The pool calls this for every command, and redis-py's own method is slow to find the socket.
        if self._sock is not None:
            if self._is_ready and (self._breaker is None or not self._breaker.is_out):
                return
            # The server hangs: only a new connection shows whether it answers again.
            self.disconnect()
        if _opening.get().lazily:
            # The pool would connect it to see whether there is something to read.
            self.__dict__["can_read"] = _never
            return
        if CONNECTS_BY_CHECK:
            super().connect()  # type: ignore[misc]
        else:
            self._guarded(super().connect)  # type: ignore[misc]

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        if self._sock is None:
            self._guarded(super().connect_check_health, *args, **kwargs)  # type: ignore[misc]

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        sock = self._sock
        if sock is not None:
            sock.reply_until = None
        try:
            return super().read_response(*args, **kwargs)  # type: ignore[misc]
        except (RedisError, UnicodeDecodeError):
            raise
        except UNREADABLE as error:
            self.disconnect()
            raise unreadable(error) from error

    def set_parser(self, *args: Any, **kwargs: Any) -> None:
        super().set_parser(*args, **kwargs)  # type: ignore[misc]
        parser: Any = self._parser
        # Not the parser's own method, which would refer back to it.
        parser.parse_error = ErrorParser(type(parser).parse_error)

    if LOOKS_BY_READING:

        def can_read(self, *args: Any, **kwargs: Any) -> bool:
            try:
                return super().can_read(*args, **kwargs)  # type: ignore[misc,no-any-return]
            except RedisError:
                # There is something that is no reply: the pool replaces the connection.
                return True

    @property
    def fails_at_once(self) -> bool:
        """Whether the circuit breaker is open, so that connecting fails at once."""
        return self._breaker is not None and self._breaker.is_open

    def _guarded(self, connect: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Connect, unless the circuit breaker is open; mark an error with whether anything was sent."""
        self.__dict__.pop("can_read", None)
        # Whether something may have been sent in this use before the connection was lost.
        was_used = self._lost is not None and self._lost is self.__dict__.get("taken")
        breaker = self._breaker
        if breaker is not None and (seconds := breaker.wait()):
            refusal = RedisConnectionError(f"{breaker.reason}; it is tried again in {seconds:.1f} s.")
            refusal.sent = was_used  # type: ignore[attr-defined]
            raise refusal
        self._is_ready = self._was_cut_short = False
        try:
            try:
                connect(*args, **kwargs)
            except UNREADABLE as error:
                # The server is no Redis server, or what redis-py calls to log in has failed.
                if isinstance(error, RedisError) and not isinstance(error, InvalidResponse):
                    raise
                self.disconnect()
                why = error if isinstance(error, InvalidResponse) else f"{type(error).__name__}: {error}"
                raise RedisConnectionError(f"The handshake failed: {why}") from error
        except (RedisConnectionError, RedisTimeoutError) as error:
            # Error replies have more special types, and show that the host is up. But redis-py makes a plain
            # ConnectionError of `FULL`.
            if type(error) in (RedisConnectionError, RedisTimeoutError) and FULL not in str(error):
                error.sent = was_used  # type: ignore[union-attr]
                # The end of the caller's own time says nothing about the host.
                error.by_caller = isinstance(error, RedisTimeoutError) and self._is_late()  # type: ignore[union-attr]
                if breaker is not None and not error.by_caller:  # type: ignore[union-attr]
                    breaker.fail()
            elif isinstance(error, NotMaster):
                error.sent = was_used
            raise
        except BaseException as error:
            self.disconnect()
            if breaker is not None and not isinstance(error, RedisError):
                # The exception came from outside: nobody knows whether the host is up.
                breaker.give_back()
            raise
        sock = self._sock
        sock.connect_until = sock.reply_until = None
        if type(sock) is GreetingSocket:
            # A class whose calls cost less.
            sock.__class__ = PatientSocket  # type: ignore[assignment]
        sock.settimeout(self.socket_timeout)
        self._is_ready = True
        if breaker is not None:
            breaker.succeed()

    def _is_late(self) -> bool:
        end = get_end()
        return end is not None and (self._was_cut_short or time.monotonic() >= end)

    def _share(self, number: int) -> float | None:
        """Return the time for the next address of the `number` that are left, in seconds."""
        end, timeout = get_end(), self.socket_connect_timeout
        if end is None:
            return timeout
        left = (end - time.monotonic()) / number
        if left <= 0:
            self._was_cut_short = True
            raise TimeoutError("timed out")
        return left if timeout is None else min(left, timeout)

    def _is_connected_to(self, sock: PatientSocket) -> PatientSocket:
        """Limit the time of TLS and the handshake on a connected socket."""
        now = time.monotonic()
        ends = [get_end(), None if self.socket_timeout is None else now + self.socket_timeout]
        until = min((end for end in ends if end is not None), default=None)
        self._handshake_until = sock.connect_until = until
        # TLS knows only the socket's timeout.
        sock.settimeout(None if until is None else max(until - now, 0.001))
        return sock


class TcpConnection(ConnectingMixin, Connection):
    """A connection over TCP. Tries the addresses of a name in turn, each with its share of the time."""

    def _connect(self) -> Any:
        connection: Any = self
        addresses = socket.getaddrinfo(
            connection.host, connection.port, connection.socket_type, socket.SOCK_STREAM
        )
        failed = timed_out = None
        for place, (family, kind, protocol, _, address) in enumerate(addresses):
            share = self._share(len(addresses) - place)
            sock = GreetingSocket(family, kind, protocol)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if connection.socket_keepalive:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    for option, value in (connection.socket_keepalive_options or {}).items():
                        sock.setsockopt(socket.IPPROTO_TCP, option, value)
                sock.settimeout(share)
                sock.connect(address)
                return self._is_connected_to(sock)
            except OSError as error:
                sock.close()
                failed = error
                if isinstance(error, TimeoutError) and share != self.socket_connect_timeout:
                    self._was_cut_short = True
                    timed_out = error
            except BaseException:
                sock.close()
                raise
        raise timed_out or failed or OSError(f"{connection.host} has no address")


class TlsConnection(SSLConnection, TcpConnection):
    """A connection over TLS."""

    def _connect(self) -> Any:
        sock: Any = super()._connect()  # type: ignore[no-untyped-call]
        if type(sock) is ssl.SSLSocket:
            # redis-py has the ssl module make it, so its class can only be changed afterwards.
            sock.__class__ = PatientTlsSocket
        sock.connect_until = self._handshake_until
        return sock


class UnixConnection(ConnectingMixin, UnixDomainSocketConnection):
    """A connection to a Unix socket."""

    # redis-py's message for a timeout names them for every kind of connection.
    host: Any = None
    port: Any = None

    def _connect(self) -> Any:
        sock = GreetingSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._share(1))
            sock.connect(self.path)
            return self._is_connected_to(sock)
        except BaseException:
            sock.close()
            raise
