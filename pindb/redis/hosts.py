"""One Redis server and database of a cluster: its address, and the pool of connections to it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from typing import Any

from redis._parsers import Encoder
from redis.connection import (
    Connection,
    PythonRespSerializer,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb.circuit import Circuit
from pindb.redis.exceptions import BadHostSetup, ClusterConfigError
from pindb.redis.loading import check_names

__all__ = ["Host"]


# When whoever wants a connection now will no longer wait for one.
_end: ContextVar[float | None] = ContextVar("pindb_connecting_until", default=None)


@contextlib.contextmanager
def connecting_until(end: float | None) -> Iterator[None]:
    """Connections that are made in the block give up at the time `end`, of `time.monotonic`."""
    token = _end.set(end)
    try:
        yield
    finally:
        _end.reset(token)


def _note(error: Exception) -> None:
    """Note on an error while connecting that nothing was sent."""
    # Not an error reply, whose type is more special: the host was there to give it.
    if type(error) in (RedisConnectionError, RedisTimeoutError):
        error.sent = False  # type: ignore[attr-defined]


#: redis-py since 5.3 connects by this method, also when a connection broke while it was out of the pool.
CONNECTS_BY_CHECK = hasattr(Connection, "connect_check_health")


def _check(circuit: Circuit) -> None:
    """Raise `redis.ConnectionError` where the host is to be left alone."""
    seconds = circuit.wait()
    if seconds:
        error = RedisConnectionError(f"It refused the last connection; it is tried again in {seconds:.1f} s.")
        _note(error)
        raise error


class _ConnectingMixin:
    """Connects in the time that is left in `connecting_until`, and says so where it could not connect.

    Arguments:
        circuit: what is known of the host; None: everybody always tries.
    """

    _sock: Any
    socket_timeout: float | None
    socket_connect_timeout: float | None

    def __init__(self, *args: Any, circuit: Circuit | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._circuit = circuit

    def connect(self) -> None:
        # The pool calls this for every command; redis-py takes some calls to find out that there is a socket.
        if self._sock:
            return
        if CONNECTS_BY_CHECK:
            super().connect()  # type: ignore[misc]
        else:
            self._guarded(super().connect)  # type: ignore[misc]

    def connect_check_health(self, *args: Any, **kwargs: Any) -> None:
        if not self._sock:
            self._guarded(super().connect_check_health, *args, **kwargs)  # type: ignore[misc]

    def _guarded(self, connect: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Connect, if it is time to; note on an error that nothing was sent."""
        circuit = self._circuit
        if circuit is not None:
            _check(circuit)
        try:
            connect(*args, **kwargs)
        except (RedisConnectionError, RedisTimeoutError) as error:
            # Not on an error reply, whose type is more special: the host was there to give it.
            if type(error) in (RedisConnectionError, RedisTimeoutError):
                error.sent = False  # type: ignore[union-attr]
                end = _end.get()
                # That the caller's own time is up says nothing about the host.
                hurried = isinstance(error, RedisTimeoutError) and end is not None and time.monotonic() >= end
                if circuit is not None and not hurried:
                    circuit.fail()
            raise
        if circuit is not None:
            circuit.succeed()

    def _connect(self) -> Any:
        end = _end.get()
        usual = self.socket_timeout, self.socket_connect_timeout
        if end is not None:
            left = max(end - time.monotonic(), 0.001)
            self.socket_timeout, self.socket_connect_timeout = (
                left if timeout is None else min(timeout, left) for timeout in usual
            )
        try:
            # Its timeout stays with the socket while client and server introduce each other.
            return super()._connect()  # type: ignore[misc]
        finally:
            self.socket_timeout, self.socket_connect_timeout = usual


class _TcpConnection(_ConnectingMixin, Connection):
    pass


class _TlsConnection(_ConnectingMixin, SSLConnection):
    pass


class _UnixConnection(_ConnectingMixin, UnixDomainSocketConnection):
    pass


@dataclass(frozen=True)
class Host:
    """One host of a cluster. Never changes; its `repr` shows no password.

    Attributes:
        host_id: its number in the cluster.
        host, port, db: its TCP address and database.
        username, password: for ``AUTH``.
        unix_socket_path: its socket, instead of host and port.
        ssl: connect with TLS.
        ssl_options: redis-py's ``ssl_*`` options, with or without that prefix.
        timeout: how long to wait for it, while connecting and for a reply, in seconds; None: as the cluster's
            ``pool_options`` have it.
        name: what it is called on a hash ring, where it should not be its address.
        options: more arguments for its connections, from the query of its URL.
    """

    host_id: int
    host: str = "localhost"
    port: int = 6379
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    unix_socket_path: str | None = None
    ssl: bool = False
    ssl_options: Mapping[str, Any] | None = field(default=None, repr=False)
    timeout: float | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_config(cls, host_id: Any, config: Any, defaults: Mapping[str, Any] | None = None) -> Host:
        """A host from a dict of options, which may have a ``url`` in place of its address.

        Raises:
            ClusterConfigError: the id is no integer, an option is unknown, or options contradict each other.
        """
        if isinstance(host_id, bool) or not isinstance(host_id, int):
            raise ClusterConfigError(
                f"The host id {host_id!r} is a {type(host_id).__name__}. "
                "Hosts are numbered: write an integer."
            )
        if not isinstance(config, Mapping):
            raise ClusterConfigError(
                f"Host {host_id} is a {type(config).__name__}, not a dict. "
                "Write its options: {'port': 6379}."
            )
        options = {**(defaults or {}), **config}
        if options.pop("host_id", host_id) != host_id:
            raise ClusterConfigError(
                f"Host {host_id} has the host_id {config.get('host_id')!r} too. Leave it out of the dict."
            )
        check_names(f"Host {host_id}", options, OPTIONS)
        url = options.pop("url", None)
        if url is not None:
            if "unix_socket_path" in config or "host" in config or "port" in config:
                raise ClusterConfigError(
                    f"Host {host_id} has a url and an address beside it. Write one of them."
                )
            for name in ("host", "port", "unix_socket_path"):
                options.pop(name, None)
            options |= _from_url(host_id, url)
        host = cls(host_id, **options)
        if host.ssl and host.unix_socket_path is not None:
            raise ClusterConfigError(
                f"Host {host_id} has ssl and unix_socket_path. TLS runs over TCP only: write host and port, "
                "or leave ssl out."
            )
        if host.timeout is not None and not is_positive(host.timeout):
            raise ClusterConfigError(
                f"Host {host_id} has the timeout {host.timeout!r}. Write seconds, above 0, or None."
            )
        return host

    @property
    def address(self) -> str:
        """``host:port/db``, or the socket's path and db: the same for the same server everywhere."""
        if self.unix_socket_path is not None:
            return f"{self.unix_socket_path}/{self.db}"
        return f"{self.host}:{self.port}/{self.db}"

    def __str__(self) -> str:
        return f"host {self.host_id} ({self.address})"

    def make_pool(
        self, pool_cls: type[Any], pool_options: Mapping[str, Any], circuit: Circuit | None = None
    ) -> Any:
        """A pool of connections to this host: an instance of `pool_cls`.

        Arguments:
            pool_cls: the class.
            pool_options: arguments for the pool and its connections.
            circuit: keeps the host from being tried again and again; of no effect on connections of a class
                of the caller's own.
        """
        options: dict[str, Any] = {"db": self.db, "username": self.username, "password": self.password}
        if self.unix_socket_path is not None:
            options |= {"connection_class": _UnixConnection, "path": self.unix_socket_path}
        else:
            options |= {"connection_class": _TcpConnection, "host": self.host, "port": self.port}
        if self.ssl:
            options["connection_class"] = _TlsConnection
            for name, value in (self.ssl_options or {}).items():
                options[name if name.startswith("ssl_") else f"ssl_{name}"] = value
        options |= {**self.options, **pool_options}
        if self.timeout is not None:
            options |= {"socket_timeout": self.timeout, "socket_connect_timeout": self.timeout}
        if circuit is not None and issubclass(options["connection_class"], _ConnectingMixin):
            options["circuit"] = circuit
        cached = sorted({"cache", "cache_config"} & options.keys())
        if cached:
            raise ClusterConfigError(
                f"{cached[0]} is redis-py's cache in the client, which maps would read past. Leave it out of "
                "pool_options; a client of redis.Redis for one server can have it."
            )
        encoding, errors = options.get("encoding", "utf-8"), options.get("encoding_errors", "strict")
        if (encoding, errors) != ("utf-8", "strict"):
            # With hiredis, redis-py would write UTF-8 whatever the encoding is.
            encode = Encoder(encoding, errors, False).encode  # type: ignore[no-untyped-call]
            options.setdefault("command_packer", PythonRespSerializer(6000, encode))
        try:
            pool = pool_cls(**options)
            if hasattr(pool, "connection_class") and hasattr(pool, "connection_kwargs"):
                # The pool itself looks at the options of connections when it needs the first one.
                pool.connection_class(**pool.connection_kwargs)
        except TypeError as error:
            raise ClusterConfigError(f"pool_options, or options of {self}, do not fit: {error}") from error
        return pool


OPTIONS = frozenset({"url", *(f.name for f in fields(Host))} - {"host_id", "options"})


def _from_url(host_id: int, url: Any) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
    except (ValueError, AttributeError, TypeError) as error:
        # Not the error's own words: they may hold the URL, and that a password.
        raise ClusterConfigError(
            f"Host {host_id} has a url that is none ({type(error).__name__}). Write "
            "redis://[user:password@]host:port/db, rediss://... or unix:///path?db=0."
        ) from None
    found: dict[str, Any] = {}
    kind = parsed.pop("connection_class", None)
    if kind is not None and issubclass(kind, UnixDomainSocketConnection):
        found["unix_socket_path"] = parsed.pop("path")
    elif kind is not None and issubclass(kind, SSLConnection):
        found["ssl"] = True
    for name in ("host", "port", "db", "username", "password"):
        if name in parsed:
            found[name] = parsed.pop(name)
    return {**found, "options": parsed}


def is_positive(value: Any) -> bool:
    """Whether it is a finite number above 0, and not True."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def no_such_host(host_id: Any, hosts: Mapping[int, Any]) -> ClusterConfigError:
    """The error for the id of a host that is not there."""
    return ClusterConfigError(
        f"There is no host {host_id!r}; there are {', '.join(map(str, hosts)) or 'none'}."
    )


def check_gapless(hosts: Mapping[int, Any]) -> None:
    """Raise `BadHostSetup` unless the ids are 0, 1, 2 ... without a gap."""
    if hosts and set(hosts) != set(range(len(hosts))):
        raise BadHostSetup(
            f"The host ids are {', '.join(map(str, sorted(hosts)))}. This router counts hosts: number them "
            f"from 0 to {len(hosts) - 1} without a gap."
        )
    if not hosts:
        raise BadHostSetup("The cluster has no hosts. Add one: Cluster(hosts={0: {'port': 6379}}).")
