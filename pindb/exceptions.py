"""The exceptions of the database half. All are subclasses of `PinDbException`."""

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
    """The base class of the exceptions of pindb's database half."""


class PinDbConfigError(PinDbException, ImproperlyConfigured, ValueError):
    """An invalid setting or argument. The message says what to write instead."""


class UnpinnedWriteException(PinDbException):
    """An undeclared write: `StrictPinDbRouter` has refused a write to a set that is not pinned."""


class PositionUnavailable(PinDbException):
    """A database whose position in its replication stream cannot be read."""


class ReplicasBehind(PinDbException, TimeoutError):
    """A timeout of `wait_for_replicas`: some replicas have not caught up."""
