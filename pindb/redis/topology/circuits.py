"""The circuit breaker of each host."""

from __future__ import annotations

from pindb._circuit import Circuit

__all__ = ["HostCircuit"]


class HostCircuit(Circuit):
    """What is known of one Redis server. It refused a connection, or it is out: it answers nobody.

    Attributes:
        is_out: connections that are open are of no use either.
        reason: what happened last.
    """

    __slots__ = ("is_out", "reason")

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.is_out = False
        self.reason = REFUSED

    def leave(self, reason: str) -> None:
        """The server takes connections, and answers nobody: leave it alone."""
        self.reason = reason
        self.fail()
        self.is_out = True

    def succeed(self) -> None:
        self.is_out = False
        self.reason = REFUSED
        super().succeed()


REFUSED = "It refused the last connection"
