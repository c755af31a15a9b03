"""Base class of clients: redis-py's methods, without those that need a single server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from redis.commands import CoreCommands

from pindb.redis.core.keys import KEY_FIRST, check_command
from pindb.redis.exceptions import UnroutableCommand
from pindb.redis.routers import BaseRouter
from pindb.redis.topology.hosts import Host

if TYPE_CHECKING:

    class Commands:
        """redis-py's commands. Their types are those of its own client, which do not hold here."""

        def __getattr__(self, name: str) -> Any: ...

else:
    Commands = CoreCommands


__all__ = ["BaseClient", "ClientsCluster", "find_host", "refused"]

#: A placeholder for `BaseClient.ONE_HOST` of the class.
WAY_OUT = "{one_host}"
TRANSACTION = f"a transaction runs on one server: {WAY_OUT}"


def refused(name: str, why: str) -> Any:
    """Return a method that raises `UnroutableCommand`.

    Arguments:
        name: the name of the method.
        why: the reason, with `WAY_OUT` in place of the alternative.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        reason = why.replace(WAY_OUT, self.ONE_HOST)
        raise UnroutableCommand(f"{type(self).__name__} has no {name}(): {reason}.")

    method.__name__ = name
    method.__doc__ = f"Refused: {why.replace(WAY_OUT, 'use a client of one host')}."
    return method


def find_host(router: BaseRouter, words: Sequence[Any]) -> int:
    """Return the host of a command.

    Raises:
        UnroutableCommand: the command does not belong to exactly one host.
    """
    if words[0] not in KEY_FIRST:
        check_command(words[0], words[1:])
    elif len(words) > 1 and router.goes_by_key:
        return router.get_host_for_key(words[1])
    return router.get_host_for_command(words[0], words[1:])


class ClientsCluster(Protocol):
    """The part of `pindb.redis.Cluster` that its clients use."""

    max_connection_retries: int

    @property
    def hosts(self) -> Mapping[int, Host]: ...

    @property
    def pool_options(self) -> Mapping[str, Any]: ...

    @property
    def encoder(self) -> Any: ...

    def get_router(self) -> BaseRouter: ...

    def get_local_client(self, host_id: int) -> Any: ...

    def get_local_client_for_key(self, key: Any) -> Any: ...

    def get_endpoint(self, host_id: int) -> tuple[Host, Any, dict[str, Any]]: ...

    def note_outage(self, host_id: int, error: BaseException) -> bool: ...

    def resolve_hosts(self, hosts: Iterable[int] | str) -> list[int]: ...

    def one_for_each_database(self) -> list[int]: ...


class BaseClient(Commands):
    """Base class of clients, with redis-py's methods. Refuses the methods that need a single server."""

    #: What to use instead of a refused method.
    ONE_HOST = "use cluster.get_local_client(host_id) or cluster.get_local_client_for_key(key)"

    def __init__(self, cluster: ClientsCluster) -> None:
        self._cluster = cluster

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._cluster!r}>"

    # Methods that redis-py's commands call.

    def get_encoder(self) -> Any:
        """Return redis-py's encoder of the connections."""
        return self._cluster.encoder

    def get_connection_kwargs(self) -> dict[str, Any]:
        """Return the options of the connections."""
        return dict(self._cluster.pool_options)

    # Methods that need a single server.

    pubsub = refused("pubsub", f"a channel belongs to one server: {WAY_OUT}")
    monitor = refused("monitor", f"it watches one server: {WAY_OUT}")
    transaction = refused("transaction", TRANSACTION)
    unwatch = refused("unwatch", TRANSACTION)
    watch = refused("watch", TRANSACTION)
    client = refused("client", f"it holds a connection to one server: {WAY_OUT}")
    scan = refused("scan", f"a cursor belongs to one server: {WAY_OUT}, or scan_iter() of a routing client")
    shutdown = refused("shutdown", f"shut down servers one by one: {WAY_OUT}")
    register_script = refused(
        "register_script",
        "pass the script to cluster.execute_commands({key: [(Script(client, lua), keys, args)]})",
    )


for _name in ("json", "ft", "ts", "bf", "cf", "cms", "topk", "tdigest", "vset"):
    setattr(BaseClient, _name, refused(_name, f"modules have clients of their own: {WAY_OUT}"))
