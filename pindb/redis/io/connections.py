"""Connections to Redis servers, and the time that making one may take."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import redis
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb.redis.core.outages import FULL
from pindb.redis.core.replies import UNREADABLE, ErrorParser, unreadable
from pindb.redis.io.sockets import GreetingSocket, PatientSocket, make_patient

__all__ = [
    "ConnectingMixin",
    "TcpConnection",
    "TlsConnection",
    "UnixConnection",
    "get_end",
    "run_opening",
]


class Breaker(Protocol):
    """What connections ask of their server's circuit breaker, and report to it."""

    is_out: bool
    reason: str

    @property
    def is_shut(self) -> bool: ...

    def wait(self) -> float: ...

    def fail(self) -> None: ...

    def give_back(self) -> None: ...

    def succeed(self) -> None: ...


class _Opening:
    """How connections are made for the time of one call.

    Arguments:
        end: when the caller gives up, by `time.monotonic`; None: the connections' own timeouts count alone.
        lazily: take connections from their pools as they are; somebody connects them later.

    Attributes:
        is_over: it counts no longer. An exception of a signal handler may keep it from being taken back.
    """

    __slots__ = ("end", "is_over", "lazily")

    def __init__(self, end: float | None, lazily: bool) -> None:
        self.end = end
        self.lazily = lazily
        self.is_over = False


_opening: ContextVar[_Opening | None] = ContextVar("pindb_opening", default=None)


def run_opening(call: Callable[[], Any], end: float | None, lazily: bool = False) -> None:
    """Call something that makes connections, as an `_Opening` has it."""
    mine, outer = _Opening(end, lazily), _opening.get()
    try:
        _opening.set(mine)
        call()
    finally:
        # Not a context manager: no signal is handled between the try and this.
        mine.is_over = True
        _opening.set(outer)


def _get_opening() -> _Opening | None:
    opening = _opening.get()
    return None if opening is None or opening.is_over else opening


def get_end() -> float | None:
    """Return the time at which the caller gives up, by `time.monotonic`."""
    opening = _get_opening()
    return None if opening is None else opening.end


#: redis-py since 5.3 connects by this method, also when a connection broke while it was out of the pool.
CONNECTS_BY_CHECK = hasattr(Connection, "connect_check_health")


#: Before 8, redis-py takes replies from its reader to find out whether there are any.
LOOKS_BY_READING = int(redis.__version__.partition(".")[0]) < 8


def _check(breaker: Breaker, was_used: bool) -> None:
    """Raise `redis.ConnectionError` where the host is to be left alone."""
    seconds = breaker.wait()
    if seconds:
        error = RedisConnectionError(f"{breaker.reason}; it is tried again in {seconds:.1f} s.")
        error.sent = was_used  # type: ignore[attr-defined]
        raise error


def _never(*args: Any, **kwargs: Any) -> bool:
    return False


class ConnectingMixin:
    """Connects in the time that is left in `run_opening`, and says so where it could not connect.

    All addresses of a host together get ``socket_connect_timeout``; then TLS and the handshake together get
    ``socket_timeout``.

    Arguments:
        breaker: the circuit breaker of the host; None: every connection is tried.
    """

    _sock: Any
    _parser: Any
    socket_timeout: float | None
    socket_connect_timeout: float | None

    def __init__(self, *args: Any, breaker: Breaker | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._breaker = breaker
        # Whether the handshake on the socket has come to its end: an exception may strike in the middle.
        self._is_ready = False
        # Whether an address had less time than socket_connect_timeout, because the caller had not more.
        self._was_cut_short = False
        self._handshake_until: float | None = None
        # For whom the connection had been taken from its pool when it was lost.
        self._lost: object = None

    def disconnect(self, *args: Any, **kwargs: Any) -> None:
        if self._sock is not None and self._is_ready:
            # Whoever uses it may connect again (redis-py's retries do), and only the last error is seen.
            self._lost = self.__dict__.get("taken")
        super().disconnect(*args, **kwargs)  # type: ignore[misc]

    def forget_use(self) -> None:
        """Nothing was sent before it was lost."""
        self._lost = None

    @property
    def _was_used(self) -> bool:
        """Whether something may have been sent for whoever has it, before it was lost."""
        return self._lost is not None and self._lost is self.__dict__.get("taken")

    def connect(self) -> None:
        # The pool calls this for every command; redis-py takes some calls to find out that there is a socket.
        if self._sock is not None:
            if self._is_ready and (self._breaker is None or not self._breaker.is_out):
                return
            # If the server is out, a new connection tells whether it answers again.
            self.disconnect()
        opening = _get_opening()
        if opening is not None and opening.lazily:
            # The pool looks whether a connection has something to be read, and connects it for that.
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
                # Something is there, and it is no reply: the pool replaces the connection.
                return True

    @property
    def fails_at_once(self) -> bool:
        """Whether connecting would fail without anything being tried."""
        return self._breaker is not None and self._breaker.is_shut

    def _guarded(self, connect: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Connect, if it is time to; note on an error that nothing was sent."""
        self.__dict__.pop("can_read", None)
        breaker, was_used = self._breaker, self._was_used
        if breaker is not None:
            _check(breaker, was_used)
        self._is_ready = self._was_cut_short = False
        try:
            try:
                connect(*args, **kwargs)
            except UNREADABLE as error:
                # Whatever listens there is no Redis server; or what redis-py calls to log in has failed.
                if isinstance(error, RedisError) and not isinstance(error, InvalidResponse):
                    raise
                self.disconnect()
                why = error if isinstance(error, InvalidResponse) else f"{type(error).__name__}: {error}"
                raise RedisConnectionError(f"The handshake failed: {why}") from error
        except (RedisConnectionError, RedisTimeoutError) as error:
            # Not on an error reply, whose type is more special: the host was there to give it. Of `FULL`,
            # redis-py makes a plain ConnectionError.
            if type(error) in (RedisConnectionError, RedisTimeoutError) and FULL not in str(error):
                error.sent = was_used  # type: ignore[union-attr]
                # That the caller's own time is up says nothing about the host.
                error.by_caller = isinstance(error, RedisTimeoutError) and self._is_late()  # type: ignore[union-attr]
                if breaker is not None and not error.by_caller:  # type: ignore[union-attr]
                    breaker.fail()
            raise
        except BaseException as error:
            self.disconnect()
            if breaker is not None and not isinstance(error, RedisError):
                # It came from outside, and nobody knows how it would have ended.
                breaker.give_back()
            raise
        sock = self._sock
        sock.connect_until = sock.reply_until = None
        if type(sock) is GreetingSocket:
            sock.be_known()
        sock.settimeout(self.socket_timeout)
        self._is_ready = True
        if breaker is not None:
            breaker.succeed()

    def _is_late(self) -> bool:
        end = get_end()
        return end is not None and (self._was_cut_short or time.monotonic() >= end)

    def _connect(self) -> Any:
        sock = make_patient(super()._connect())  # type: ignore[misc]
        sock.connect_until = self._handshake_until
        return sock

    def _share(self, number: int) -> float | None:
        """Return the time for the next of so many addresses that are left, in seconds."""
        end, timeout = get_end(), self.socket_connect_timeout
        if end is None:
            return timeout
        left = (end - time.monotonic()) / number
        if left <= 0:
            self._was_cut_short = True
            raise TimeoutError("timed out")
        return left if timeout is None else min(left, timeout)

    def _is_connected_to(self, sock: PatientSocket) -> PatientSocket:
        """Limit the time of what follows on a connected socket."""
        now = time.monotonic()
        ends = [get_end(), None if self.socket_timeout is None else now + self.socket_timeout]
        until = min((end for end in ends if end is not None), default=None)
        self._handshake_until = until
        # TLS goes by the socket's timeout alone.
        sock.settimeout(None if until is None else max(until - now, 0.001))
        return sock


class _PatientTcp(Connection):
    """Connects to the addresses of a name one after the other, each with its share of the time."""

    _was_cut_short: bool
    _share: Callable[[int], float | None]
    _is_connected_to: Callable[[PatientSocket], PatientSocket]

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


class _PatientUnix(UnixDomainSocketConnection):
    """Connects to a path."""

    # redis-py reports them when connecting takes too long, also where there are none.
    host: Any = None
    port: Any = None

    _share: Callable[[int], float | None]
    _is_connected_to: Callable[[PatientSocket], PatientSocket]

    def _connect(self) -> Any:
        sock = GreetingSocket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._share(1))
            sock.connect(self.path)
            return self._is_connected_to(sock)
        except BaseException:
            sock.close()
            raise


class TcpConnection(ConnectingMixin, _PatientTcp):
    """A connection over TCP."""


class TlsConnection(ConnectingMixin, SSLConnection, _PatientTcp):
    """A connection over TLS."""


class UnixConnection(ConnectingMixin, _PatientUnix):
    """A connection to a Unix socket."""
