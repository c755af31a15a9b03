"""What becomes of commands that a node of a Redis Cluster did not run."""

from __future__ import annotations

from collections.abc import Callable

from redis.exceptions import RedisError

from pindb.redis.core.errors import located
from pindb.redis.core.merging import Entry
from pindb.redis.core.pending import AskingCommand, Command
from pindb.redis.core.redirects import MOST_REDIRECTS, find_redirect
from pindb.redis.core.retries import is_callers
from pindb.redis.exceptions import HostUnavailableError
from pindb.redis.topology.slots import NOBODY, SlotHosts
from pindb.redis.topology.waiting import Waiting

__all__ = ["Redirecting"]


class Redirecting:
    """Sends commands that a node did not run to where a Redis Cluster wants them. Belongs to one client.

    Arguments:
        nodes: the nodes.
        add: queues a command for a node, by the node's id.
        route: queues commands for the nodes that have their keys now, or rejects them, for example with the
            error that they had; None: their keys are not known.
    """

    def __init__(
        self,
        nodes: SlotHosts,
        add: Callable[[int, Command], None],
        route: Callable[[list[Entry], RedisError], None] | None,
    ) -> None:
        self._nodes = nodes
        self._add = add
        self._route = route
        self._version = self._routed = nodes.version
        self.begin()

    def begin(self) -> None:
        """Forget the batch before."""
        self._rounds = 0
        self._is_again = False
        self._waiting = Waiting(self._nodes.wait_timeout)

    def has_moved(self) -> bool:
        """Return whether slots have moved since the last call."""
        before, self._routed = self._routed, self._nodes.version
        return before != self._routed

    def next_round(self, end: float | None) -> None:
        """Wait before commands are sent, if nodes have asked for it; until `end` at the latest."""
        self._rounds += self._is_again
        self._is_again = False
        if self._waiting.pause(end):
            self._nodes.refresh()

    def take_back(self, host_id: int, entries: list[Entry], error: RedisError) -> RedisError | None:
        """Queue commands that a node did not run once more.

        Arguments:
            host_id: the node.
            entries: the commands.
            error: its reply, or why there is none.

        Returns:
            The error to reject them with, if they are not sent again.
        """
        redirect = find_redirect(error)
        if redirect is None:
            self._nodes.note_outage(host_id, error)
        elif redirect.address is not None and self._rounds < MOST_REDIRECTS:
            self._is_again = True
            target = self._nodes.note_redirect(redirect, host_id)
            for command in (command for entry in entries for command in entry.commands()):
                self._add(target, AskingCommand.of(command) if redirect.code == "ASK" else command)
            return None
        if self._route is not None and self._may_route_again(host_id, error):
            self._is_again = True
            self._version = self._nodes.version
            self._route(entries, error)
            return None
        if redirect is None or not entries:
            return error
        return located(error, self._nodes.get_endpoint(host_id)[0], next(entries[0].commands()).words[:2])

    def _may_route_again(self, host_id: int, error: RedisError) -> bool:
        """Whether there may be another outcome: another node, or the same one a little later."""
        if is_callers(error) or self._rounds >= MOST_REDIRECTS:
            return False
        if find_redirect(error) is None and not isinstance(error, HostUnavailableError):
            # The slots of a node that is down belong to it until another one has them.
            return self._nodes.version != self._version
        if host_id != NOBODY:
            return self._waiting.begin()
        # A failover leaves slots without a master for a moment. If it takes longer, nobody waits for it.
        return self._waiting.begin(self._nodes.unserved_since + self._nodes.wait_timeout)
