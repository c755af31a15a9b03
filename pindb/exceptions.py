"""What pindb raises. Everything is a `PinDbException`."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

__all__ = ["PinDbConfigError", "PinDbException", "UnpinnedWriteException"]


class PinDbException(Exception):
    """The base of all exceptions of pindb."""


class PinDbConfigError(PinDbException, ImproperlyConfigured, ValueError):
    """A setting or an argument names something that cannot be; the message says what to write."""


class UnpinnedWriteException(PinDbException):
    """`StrictPinDbRouter` was asked to write to a set that nobody had pinned."""
