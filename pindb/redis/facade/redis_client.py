"""Clients that send single commands to one or several hosts, for Redis clusters of `create_cluster`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pindb.redis.clients.base import BaseClient, refused
from pindb.redis.clients.routing import RoutingClient
from pindb.redis.cluster import Cluster
from pindb.redis.core.keys import KEY_FIRST, check_command
from pindb.redis.core.methods import find_command
from pindb.redis.core.names import with_plain_name
from pindb.redis.core.promises import get_settled
from pindb.redis.core.splitting import can_split
from pindb.redis.exceptions import UnroutableCommand
from pindb.redis.facade.results import Result, get_value
from pindb.redis.routers import BaseRouter

__all__ = ["ONE_HOST", "SCRIPT", "MultiHostClient", "find_called_command", "find_hosts", "read_words"]

ONE_HOST = "use cluster[host_id] or cluster.get_conn(key)"
SCRIPT = refused("register_script", f"call eval(lua, 1, key), or {ONE_HOST}")


class MultiHostClient(BaseClient):
    """Client that sends each command at once, to all hosts that the router chooses.

    Has redis-py's methods. They return the reply of the host, or a list of replies if there are several
    hosts, in their order. Commands with several keys are split by host if possible. Safe under threads, and
    in forked processes.
    """

    ONE_HOST = ONE_HOST
    register_script = SCRIPT
    _cluster: Cluster

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._routing = cluster.get_routing_client(split_multi_key=True)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return its reply, or the list of its replies.

        Raises:
            UnroutableCommand: the command has several keys, or is unknown.
            redis.RedisError: an error reply, or a connection error.
        """
        words = read_words(args)
        hosts = find_hosts(self._cluster.get_router(), words)
        if hosts is None:
            return self._routing.execute_command(*words, **options)
        return self.send_to(hosts, words, options)

    scan_iter: Any = RoutingClient.scan_iter

    def send_to(
        self,
        hosts: Sequence[int],
        args: Sequence[Any],
        options: Mapping[str, Any],
        choose: Callable[[], int] | None = None,
    ) -> Any:
        """Send a command to the given hosts, all at once; see `RoutingClient.send_to` for the arguments."""
        if len(hosts) == 1:
            return self._routing.send_to(hosts[0], args, options, choose)
        with self._cluster.fanout(hosts) as client:
            promise = client.execute_command(*args, **options)
        replies = get_settled(promise)
        return [replies[host_id] for host_id in hosts]


def read_words(words: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a command with a plain name, and with values in place of results."""
    if Result in map(type, words):
        words = tuple(map(get_value, words))
    return words if type(words[0]) is str else with_plain_name(words)


def find_hosts(router: BaseRouter, words: Sequence[Any]) -> list[int] | None:
    """Return the ids of a command's hosts; None if only its keys decide, by which it may have to be split."""
    if router.cuts_by_host and (words[0] in KEY_FIRST or can_split(words[0])):
        return None
    if router.goes_by_command:
        # A custom router need not refuse commands that change the state of a connection.
        check_command(words[0], words[1:])
    try:
        return router.get_hosts_for_command(words[0], words[1:])
    except UnroutableCommand:
        if router.by_key and can_split(words[0]):
            return None
        raise


def find_called_command(
    path: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]] | None:
    """Return the command of a method call whose hosts the router has chosen by the call.

    Returns:
        The words, with values in place of results, and redis-py's options for the reply; None if the method
        sends no command.

    Raises:
        UnroutableCommand: the command changes its connection, which is shared. The router has not seen the
            command, so it could not refuse it.
    """
    command = find_command(path, args, kwargs)
    if command is None:
        return None
    words = tuple(map(get_value, command[0]))
    check_command(words[0], words[1:])
    return words, command[1]
