"""What pindb raises. Everything is a `PinDbException`."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

__all__ = [
    "PinDbConfigError",
    "PinDbException",
    "PositionUnavailable",
    "ReplicasBehind",
    "UnpinnedWriteException",
]


class PinDbException(Exception):
    """The base of all exceptions of pindb."""


class PinDbConfigError(PinDbException, ImproperlyConfigured, ValueError):
    """A setting or an argument names something that cannot be; the message says what to write."""


class UnpinnedWriteException(PinDbException):
    """`StrictPinDbRouter` was asked to write to a set that nobody had pinned."""


class PositionUnavailable(PinDbException):
    """A database cannot say where it is in its replication stream."""


class ReplicasBehind(PinDbException, TimeoutError):
    """Replicas did not get where they were waited for in time."""
