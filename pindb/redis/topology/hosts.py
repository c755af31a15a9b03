"""Hosts of a cluster: the address of one Redis server and database, and the pool of connections to it."""

from __future__ import annotations

import codecs
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from redis._parsers import Encoder
from redis.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection, parse_url

from pindb.redis.core.options import check_names, shown
from pindb.redis.core.packing import Packer
from pindb.redis.exceptions import BadHostSetup, ClusterConfigError
from pindb.redis.io.connections import ConnectingMixin, TcpConnection, TlsConnection, UnixConnection
from pindb.redis.topology.breakers import HostBreaker
from pindb.redis.topology.masters import TcpMasterConnection, TlsMasterConnection
from pindb.redis.topology.sentinel import MasterFinder, show
from pindb.redis.topology.sentinel_options import (
    check_sentinel,
    drop_default_address,
    is_sentinel_url,
    read_url,
)

__all__ = ["Host"]

DriverInfo: Any
MaintNotificationsConfig: Any
try:
    from redis.driver_info import DriverInfo
except ImportError:
    DriverInfo = None
try:
    from redis.maint_notifications import MaintNotificationsConfig
except ImportError:
    MaintNotificationsConfig = None


#: The default of ``socket_timeout`` and ``socket_connect_timeout``, in seconds.
TIMEOUT = 5.0


@dataclass(frozen=True)
class Host:
    """One host of a cluster. Immutable; its `repr` shows no password.

    Attributes:
        host_id: the number of the host in the cluster.
        host, port, db: the TCP address, and the number of the database.
        username, password: for ``AUTH``.
        unix_socket_path: the path of a Unix socket, instead of host and port.
        sentinel: host and port of each sentinel, instead of host and port.
        service_name: the name that sentinels have for the master and its replicas.
        sentinel_username, sentinel_password: for ``AUTH`` at the sentinels.
        ssl: connect with TLS; to sentinels too.
        ssl_options: redis-py's ``ssl_*`` options, with or without that prefix.
        timeout: how long to wait for a connection and for a reply, in seconds; None: as in the cluster's
            ``pool_options``.
        name: the name of the host on a hash ring; None: the address.
        options: more arguments for connections, from the query of the URL.
        finder: finds the master of the service; None without Sentinel.
    """

    #: Whether it is a node of a Redis Cluster, which says where commands have to go.
    follows_redirects: ClassVar[bool] = False

    host_id: int
    host: str = "localhost"
    port: int = 6379
    db: int = 0
    # A password without its colon, redis://password@host, is read as the name of a user.
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    unix_socket_path: str | None = None
    ssl: bool = False
    ssl_options: Mapping[str, Any] | None = field(default=None, repr=False, hash=False)
    timeout: float | None = field(default=None, repr=False)
    name: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    sentinel: tuple[tuple[str, int], ...] = ()
    service_name: str | None = None
    sentinel_username: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    finder: MasterFinder | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.service_name is not None:
            finder = MasterFinder(
                self.service_name, self.sentinel, self.sentinel_username, self.sentinel_password
            )
            object.__setattr__(self, "finder", finder)

    @classmethod
    def from_config(cls, host_id: Any, config: Any, defaults: Mapping[str, Any] | None = None) -> Host:
        """Return a host from a dict of options, which may have a ``url`` in place of an address.

        Raises:
            ClusterConfigError: the id is no integer, an option is unknown, or options contradict each other.
        """
        if isinstance(host_id, bool) or not isinstance(host_id, int):
            raise ClusterConfigError(
                f"The host id {shown(host_id)} is a {type(host_id).__name__}. "
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
                f"Host {host_id} has the host_id {shown(config.get('host_id'))} too. "
                "Leave it out of the dict."
            )
        check_names(f"Host {host_id}", options, OPTIONS)
        drop_default_address(config, options)
        url = options.pop("url", None)
        if url is not None:
            if "unix_socket_path" in config or "host" in config or "port" in config:
                raise ClusterConfigError(f"Host {host_id} has a url and an address. Write only one of them.")
            if "sentinel" in options or "service_name" in options:
                raise ClusterConfigError(
                    f"Host {host_id} has a url and sentinel or service_name. Write "
                    "redis+sentinel://host:port,host:port/service/db as the url, or leave the url out."
                )
            for name in ("host", "port", "unix_socket_path"):
                options.pop(name, None)
            options |= _from_url(host_id, url)
        _check_address(host_id, options)
        check_sentinel(host_id, config, options)
        if "sentinel" in options and {"host", "port", "unix_socket_path"} & options.keys():
            raise ClusterConfigError(
                f"Host {host_id} has sentinel and an address. Leave host, port and unix_socket_path out: "
                "Sentinel names the address of the master."
            )
        host = cls(host_id, **options)
        if host.ssl and host.unix_socket_path is not None:
            raise ClusterConfigError(
                f"Host {host_id} has ssl and unix_socket_path. TLS runs over TCP only: write host and port, "
                "or leave ssl out."
            )
        if host.timeout is not None and not is_positive(host.timeout):
            raise ClusterConfigError(
                f"Host {host_id} has the timeout {shown(host.timeout)}. Write seconds, above 0, or None."
            )
        return host

    @property
    def address(self) -> str:
        """``host:port/db``, the socket's path and db, or the service's name and db: the same everywhere."""
        if self.service_name is not None:
            return f"{self.service_name}/{self.db}"
        if self.unix_socket_path is not None:
            return f"{self.unix_socket_path}/{self.db}"
        return f"{self.host}:{self.port}/{self.db}"

    @property
    def identifier(self) -> str:
        """The name of the host on a hash ring."""
        return self.name or self.address

    @property
    def place(self) -> str:
        """The address as messages show it: with that of the service's master, where it is known."""
        master = None if self.finder is None else self.finder.master
        return self.address if master is None else f"{self.address} at {show(master)}"

    def __str__(self) -> str:
        return f"host {self.host_id} ({self.place})"

    def _check_kinds(self, options: Mapping[str, Any]) -> None:
        """Raise `ClusterConfigError` for options of connections that would fail at the first command."""
        where = f"pool_options, or options of {self},"
        kind = options["connection_class"]
        if not isinstance(kind, type):
            raise ClusterConfigError(
                f"{where} have an invalid connection_class: {type(kind).__name__} is no class of connections."
            )
        for name, method in METHODS.items():
            value = options.get(name)
            if value is not None and not hasattr(value, method):
                raise ClusterConfigError(
                    f"{where} have an invalid {name}: {type(value).__name__} has no {method}(). "
                    "Use a class of redis-py, or one like it."
                )
        try:
            codecs.lookup(options.get("encoding", "utf-8"))
            codecs.lookup_error(options.get("encoding_errors", "strict"))
        except (LookupError, TypeError) as error:
            raise ClusterConfigError(f"{where} have an invalid encoding: {error}.") from error

    def make_pool(
        self, pool_cls: type[Any], pool_options: Mapping[str, Any], breaker: HostBreaker | None = None
    ) -> Any:
        """Return a pool of connections to this host: an instance of `pool_cls`.

        Arguments:
            pool_cls: the class.
            pool_options: arguments for the pool and its connections.
            breaker: lets new connections fail at once while the host is down. Has no effect on connections
                of a class of the caller's own.
        """
        options: dict[str, Any] = {"db": self.db, "username": self.username, "password": self.password}
        if self.unix_socket_path is not None:
            options |= {"connection_class": UnixConnection, "path": self.unix_socket_path}
        else:
            options |= {"connection_class": TcpConnection, "host": self.host, "port": self.port}
        if self.ssl:
            options["connection_class"] = TlsConnection
            for name, value in (self.ssl_options or {}).items():
                options[name if name.startswith("ssl_") else f"ssl_{name}"] = value
        if self.finder is not None:
            options["connection_class"] = TlsMasterConnection if self.ssl else TcpMasterConnection
            options |= {"finder": self.finder, "host": self.service_name, "port": 0}
        options |= {**self.options, **pool_options}
        self._adapt_options(options)
        if self.timeout is not None:
            options |= {"socket_timeout": self.timeout, "socket_connect_timeout": self.timeout}
        # Some versions of redis-py wait forever by default.
        timeout = options.setdefault("socket_timeout", TIMEOUT)
        if options.get("socket_connect_timeout") is None:
            options["socket_connect_timeout"] = timeout or TIMEOUT
        self._check_times(options)
        self._check_kinds(options)
        if issubclass(options["connection_class"], ConnectingMixin):
            if breaker is not None:
                options["breaker"] = breaker
            if DriverInfo is not None and not {"driver_info", "lib_name", "lib_version"} & options.keys():
                # redis-py would read the metadata of its package for each connection.
                options["driver_info"] = DriverInfo()
        if self.finder is not None:
            if not issubclass(options["connection_class"], (TcpMasterConnection, TlsMasterConnection)):
                raise ClusterConfigError(
                    f"pool_options, or options of {self}, have a connection_class, but the host is behind "
                    "Sentinel, which has a class of its own. Leave it out."
                )
            of_tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
            self.finder.use(TlsConnection if self.ssl else TcpConnection, of_tls, breaker)
        cached = sorted({"cache", "cache_config"} & options.keys())
        if cached:
            raise ClusterConfigError(
                f"{cached[0]} is redis-py's cache in the client, which maps would read past. Leave it out of "
                "pool_options; a client of redis.Redis for one server can have it."
            )
        encoding, errors = options.get("encoding", "utf-8"), options.get("encoding_errors", "strict")
        is_redis_pys = isinstance(pool_cls, type) and issubclass(pool_cls, ConnectionPool)
        if MaintNotificationsConfig is not None and is_redis_pys:
            # These notifications arrive on connections in the pool, where nobody expects them.
            options.setdefault("maint_notifications_config", MaintNotificationsConfig(enabled=False))
        # With hiredis, redis-py's own packer writes UTF-8, whatever the encoding is.
        options.setdefault("command_packer", Packer(Encoder(encoding, errors, False)))  # type: ignore[no-untyped-call]
        try:
            pool = pool_cls(**options)
            if hasattr(pool, "connection_class") and hasattr(pool, "connection_kwargs"):
                # Finds invalid options now. The pool would find them at the first command.
                pool.connection_class(**pool.connection_kwargs)
        except Exception as error:
            # Pools and connections of any class may raise any error.
            why = f"{error}" if isinstance(error, TypeError) else f"{type(error).__name__}: {error}"
            raise ClusterConfigError(f"pool_options, or options of {self}, do not fit: {why}") from error
        if not hasattr(pool, "get_connection"):
            raise ClusterConfigError(
                f"pool_cls is {pool_cls!r}, which is no class of connection pools. Use "
                "redis.ConnectionPool, redis.BlockingConnectionPool, or a class derived from them."
            )
        return pool

    def _adapt_options(self, options: dict[str, Any]) -> None:
        """Change the options of connections, for hosts of a special kind."""

    def _check_times(self, options: Mapping[str, Any]) -> None:
        """Raise `ClusterConfigError` for an invalid time, which would fail the first command otherwise."""
        # redis-py converts the times of a URL itself.
        for name in ("socket_timeout", "socket_connect_timeout", "timeout", "health_check_interval"):
            seconds = options.get(name)
            may_be_none = name in ("timeout", "health_check_interval") and seconds in (0, False)
            if seconds is not None and not may_be_none and not is_positive(seconds):
                raise ClusterConfigError(
                    f"pool_options, or options of {self}, have the {name} {shown(seconds)}. Write seconds, "
                    "above 0, or None."
                )


#: The methods that options have to have; redis-py calls them when it needs them.
METHODS = {
    "retry": "call_with_retry",
    "credential_provider": "get_credentials",
    "command_packer": "pack",
    "parser_class": "on_disconnect",
    "redis_connect_func": "__call__",
}

OPTIONS = frozenset({"url", *(f.name for f in fields(Host))} - {"host_id", "options", "finder"})


def _from_url(host_id: int, url: Any) -> dict[str, Any]:
    of_sentinel: dict[str, Any] = {}
    form = "redis://[user:password@]host:port/db, rediss://... or unix:///path?db=0"
    try:
        if is_sentinel_url(url):
            form = "redis+sentinel://[user:password@]host:port,host:port/service/db"
            of_sentinel, url = read_url(url)
        parsed: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
        _check_parts(url)
    except (ValueError, AttributeError, TypeError) as error:
        # The error's own text may contain the URL, and so a password.
        raise ClusterConfigError(
            f"Host {host_id} has an invalid URL ({type(error).__name__}). Use {form}."
        ) from None
    kind = parsed.pop("connection_class", Connection)
    names = [name for name in ("host", "port", "db", "username", "password") if name in parsed]
    found: dict[str, Any] = {name: parsed.pop(name) for name in names}
    if of_sentinel:
        del found["host"]
    if issubclass(kind, UnixDomainSocketConnection):
        found["unix_socket_path"] = parsed.pop("path")
    elif issubclass(kind, SSLConnection):
        found["ssl"] = True
    return {**found, **of_sentinel, "options": parsed}


def _check_address(host_id: int, options: dict[str, Any]) -> None:
    """Raise `ClusterConfigError` if the address or the name of a host is invalid.

    Arguments:
        host_id: the number of the host.
        options: the options of the host. Those that are None are removed; digits, which may come from an
            environment variable, become numbers.
    """
    for name in ("host", "port", "db", "name", "unix_socket_path"):
        if options.get(name) is None:
            options.pop(name, None)
    path = options.get("unix_socket_path")
    if isinstance(path, os.PathLike):
        options["unix_socket_path"] = path = os.fspath(path)
    for name in ("host", "unix_socket_path", "name"):
        text = options.get(name, "text")
        if not (isinstance(text, str) and text):
            raise ClusterConfigError(f"Host {host_id} has the {name} {shown(text)}. Write a string.")
    if path is not None and "://" in path:
        raise ClusterConfigError(
            f"Host {host_id} has the unix_socket_path {shown(path)}. Write a path, or the URL as its url."
        )
    check_host(host_id, options.get("host", "localhost"))
    for name, span in (("port", range(1, 65536)), ("db", range(2**31))):
        number = options.get(name, span[0])
        if isinstance(number, str) and number.isascii() and number.isdigit():
            options[name] = number = int(number)
        if isinstance(number, bool) or not isinstance(number, int) or number not in span:
            raise ClusterConfigError(
                f"Host {host_id} has the {name} {shown(number)}. Write a number from {span[0]} to {span[-1]}."
            )


def check_host(host_id: int, host: str) -> None:
    """Raise `ClusterConfigError` if the name of a machine is a URL, which may contain a password."""
    if any(mark in host for mark in "/@?"):
        raise ClusterConfigError(
            f"Host {host_id} has the host {shown(host)}. Write the name or the address of a machine alone; "
            "Redis takes a URL as the url."
        )


def _check_parts(url: str) -> None:
    """Raise `ValueError` for a URL that redis-py's parser would cut in the wrong place.

    If a password contains a plain ``/``, ``?`` or ``#``, the URL's host or path is a part of the password,
    and messages show hosts and paths.
    """
    parts = urlsplit(url)
    named = parse_qs(parts.query, keep_blank_values=True)
    if parts.scheme == "unix":
        fine = parts.netloc == "" or parts.netloc.endswith("@")
    else:
        fine = re.fullmatch(r"/?\d*/?", parts.path) is not None
    if "@" in parts.query and not {"username", "password"} & named.keys():
        fine = False
    if not fine or parts.fragment:
        raise ValueError


def is_positive(value: Any) -> bool:
    """Return whether a value is a finite number above 0, and not True."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def no_such_host(host_id: Any, hosts: Mapping[int, Any]) -> ClusterConfigError:
    """Return the error for the id of a host that does not exist."""
    return ClusterConfigError(
        f"There is no host {shown(host_id)}; there are {', '.join(map(str, hosts)) or 'none'}."
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
