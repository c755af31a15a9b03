"""What becomes of commands that a node of a Redis Cluster did not run."""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.exceptions import RedisError

from pindb.redis.core.errors import located
from pindb.redis.core.merging import Entry
from pindb.redis.core.pending import AskingCommand, Command
from pindb.redis.core.promises import reject_all
from pindb.redis.core.redirects import MOST_REDIRECTS, find_redirect, pause_before
from pindb.redis.core.retries import is_callers
from pindb.redis.exceptions import HostUnavailableError
from pindb.redis.topology.slots import NOBODY, SlotHosts

__all__ = ["Redirecting"]


class Redirecting:
    """Sends commands that a node did not run to where a Redis Cluster wants them. Belongs to one client.

    Arguments:
        nodes: the nodes.
        add: queues a command for a node, by the node's id.
        route: queues commands for the nodes that have their keys now; None: their keys are not known.
    """

    def __init__(
        self,
        nodes: SlotHosts,
        add: Callable[[int, Command], None],
        route: Callable[[Entry], None] | None,
    ) -> None:
        self._nodes = nodes
        self._add = add
        self._route = route
        self._version = self._routed = nodes.version
        self.begin()

    def begin(self) -> None:
        """Forget the batch before."""
        self._rounds = self._pauses = 0
        self._is_again = self._is_pausing = False
        self._until: float | None = None

    def has_moved(self) -> bool:
        """Return whether slots have moved since the last call."""
        before, self._routed = self._routed, self._nodes.version
        return before != self._routed

    def next_round(self, end: float | None) -> None:
        """Wait before commands are sent, if nodes have asked for it; until `end` at the latest."""
        self._rounds += self._is_again
        self._is_again = False
        if self._is_pausing:
            self._is_pausing = False
            self._pauses += 1
            pause = pause_before(self._pauses)
            time.sleep(pause if end is None else max(0.0, min(pause, end - time.monotonic())))
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
        if self._may_route_again(host_id, error):
            self._is_again = True
            self._version = self._nodes.version
            for entry in entries:
                self._route_again(entry)
            return None
        if redirect is None or not entries:
            return error
        return located(error, self._nodes.get_endpoint(host_id)[0], next(entries[0].commands()).words[:2])

    def _may_route_again(self, host_id: int, error: RedisError) -> bool:
        """Whether there may be another outcome: another node, or the same one a little later."""
        if self._route is None or is_callers(error) or self._rounds >= MOST_REDIRECTS:
            return False
        if find_redirect(error) is None and not isinstance(error, HostUnavailableError):
            # The slots of a node that is down belong to it until another one has them.
            return self._nodes.version != self._version
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._nodes.wait_timeout
        until = self._until
        if host_id == NOBODY:
            # A failover leaves slots without a master for a moment. If it takes longer, nobody waits for it.
            until = min(until, self._nodes.unserved_since + self._nodes.wait_timeout)
        self._is_pausing = now < until
        return self._is_pausing

    def _route_again(self, entry: Entry) -> None:
        try:
            if self._route is not None:
                self._route(entry)
        except RedisError as reason:
            reject_all(entry.promises, reason)
