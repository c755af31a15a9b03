"""memcached backend of `create_cluster`, on pymemcache."""

from __future__ import annotations

import os
import select
import socket
from typing import Any

from pindb.redis.backends.connection import BaseConnection
from pindb.redis.core.options import keywords, shown
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.topology.hosts import TIMEOUT, check_host, is_positive

try:
    from pymemcache.client.base import Client, PooledClient
    from pymemcache.exceptions import MemcacheUnexpectedCloseError
    from pymemcache.pool import ObjectPool
except ImportError as error:
    raise ImportError(
        'The backend "memcached" needs pymemcache: pip install "django-pindb[memcached]"'
    ) from error

__all__ = ["Memcached"]


class Memcached(BaseConnection):
    """memcached server, and the backend for memcached. Has the methods of pymemcache's clients.

    Error replies are raised as pymemcache's exceptions, and do not mark a host as down.

    Arguments:
        num: the id of the host in the cluster.
        host, port: the TCP address.
        unix_socket_path: the path of a Unix socket, instead of host and port.
        timeout: the time limit for a reply, in seconds; None: no limit.
        connect_timeout: the time limit for connecting, in seconds; None: `timeout`.
        identifier: the name on a hash ring; None: ``memcached://host:port``.
        options: keyword arguments for `pymemcache.client.base.PooledClient`. ``default_noreply`` is False by
            default, since errors of commands without a reply go unnoticed. ``ignore_exc`` is not allowed: a
            host that is down would look like one that does not have the key.

    Raises:
        ClusterConfigError: an argument is invalid.
    """

    network_errors = (OSError, MemcacheUnexpectedCloseError)

    def __init__(
        self,
        num: int,
        host: str = "localhost",
        port: int = 11211,
        unix_socket_path: str | None = None,
        timeout: float | None = TIMEOUT,
        connect_timeout: float | None = None,
        identifier: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(num, identifier)
        for name, seconds in (("timeout", timeout), ("connect_timeout", connect_timeout)):
            if seconds is not None and not is_positive(seconds):
                raise ClusterConfigError(
                    f"Host {num} has the {name} {shown(seconds)}. Write seconds, above 0, or None."
                )
        if type(port) is not int or not 0 < port < 65536:
            raise ClusterConfigError(
                f"Host {num} has the port {shown(port)}. Write a number from 1 to 65535."
            )
        for name, text in (("host", host), ("unix_socket_path", unix_socket_path)):
            if text is not None and not (isinstance(text, str) and text):
                raise ClusterConfigError(f"Host {num} has the {name} {shown(text)}. Write a string.")
        check_host(num, host)
        self.host = host
        self.port = port
        self.unix_socket_path = unix_socket_path
        self._options = {
            "default_noreply": False,
            **options,
            "timeout": timeout,
            "connect_timeout": timeout if connect_timeout is None else connect_timeout,
        }
        try:
            # Makes a client to check the options; does not connect yet.
            self.connect().client_pool.get()
        except (TypeError, ValueError, SystemError) as error:
            raise ClusterConfigError(f"Host {num} has invalid options: {error}") from error

    @classmethod
    def host_options(cls) -> frozenset[str]:
        own = frozenset({"host", "port", "unix_socket_path", "identifier"})
        return own | (keywords(PooledClient, 1) or frozenset()) - {"ignore_exc"}

    @property
    def address(self) -> str:
        if self.unix_socket_path is not None:
            return f"memcached://{self.unix_socket_path}"
        return f"memcached://{self.host}:{self.port}"

    def connect(self) -> PooledClient:
        server: Any = (self.host, self.port)
        if self.unix_socket_path is not None:
            # pymemcache takes a relative path for the name of a host.
            server = os.path.abspath(self.unix_socket_path)
        return _PooledClient(server, **self._options)


class _Client(Client):  # type: ignore[misc]
    """Connection whose errors while connecting have ``sent = False``."""

    def _connect(self) -> None:
        try:
            self._connect_to_any()
        except OSError as error:
            error.sent = False  # type: ignore[attr-defined]
            raise

    def _connect_to_any(self) -> None:
        """Connect to the first address of the host that answers; pymemcache tries only the first address."""
        if not isinstance(self.server, tuple):
            super()._connect()
            return
        module: Any = self.socket_module
        found = module.getaddrinfo(*self.server, module.AF_UNSPEC, module.SOCK_STREAM, module.IPPROTO_TCP)
        for address in found:
            self.socket_module: Any = _OneAddress(module, address)
            try:
                super()._connect()
                return
            except OSError:
                if address is found[-1]:
                    raise
            finally:
                self.socket_module = module


class _OneAddress:
    """Stand-in for the module `socket` that resolves every name to a single address."""

    def __init__(self, module: Any, address: Any) -> None:
        self._module = module
        self._address = address

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def getaddrinfo(self, *args: Any) -> list[Any]:
        return [self._address]


class _PooledClient(PooledClient):  # type: ignore[misc]
    client_class = _Client

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.client_pool.__class__ = _Pool

    def _create_client(self) -> Client:
        client = super()._create_client()
        # pymemcache does not pass its encoding on.
        client.encoding = self.encoding
        return client


class _Pool(ObjectPool):  # type: ignore[misc]
    """Connection pool that replaces idle connections that the server has closed.

    Otherwise, after a restart of the server, the next command on each of them would fail, without telling
    whether it has run.
    """

    def get(self) -> Client:
        client = super().get()
        if client.sock is not None and _is_readable(client.sock):
            client.close()
        return client


def _is_readable(sock: socket.socket) -> bool:
    """Whether an idle connection has bytes to read, usually the end of the connection."""
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
