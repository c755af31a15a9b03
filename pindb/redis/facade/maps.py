"""Maps of the clusters of `create_cluster`: blocks of calls with deferred results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import Call, CommandError, UnroutableCommand
from pindb.redis.facade.cluster import MethodProxy
from pindb.redis.facade.results import get_results

__all__ = ["Batch", "ResultMap"]


class Batch(Protocol):
    """Pending calls of a map, for one kind of server.

    Attributes:
        settled: the promises of all calls of the last block, in order; a list in place of the promises of a
            run of calls. None before the end of the first block.
    """

    settled: Sequence[Promise | list[Promise]] | None

    def __len__(self) -> int:
        """Return the number of pending calls."""

    def call(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Add a call of a method, and return its `Result`."""

    def send(self, timeout: float | None) -> bool:
        """Make all pending calls, settle their promises, and return whether all have succeeded."""

    def calls(self) -> Iterable[tuple[Call, Promise]]:
        """Return the calls of this block with their promises, in order."""

    def forget(self) -> None:
        """End the block: move the promises to `settled`."""

    def cancel(self) -> None:
        """End the block without making its calls: reject their promises with `CommandCancelled`."""


class ResultMap:
    """Map that defers calls to the end of its block, and returns a `Result` for each.

    Not safe under threads: give each thread a map of its own, which costs next to nothing.

    Arguments:
        batch: the pending calls.
        fail_silently: keep errors as results, and in `get_errors`, instead of raising `CommandError`.
        has_methods: whether the batch has the client's methods itself; otherwise calls go to `Batch.call`.
    """

    def __init__(self, batch: Any, fail_silently: bool, has_methods: bool = False) -> None:
        self._batch = batch
        self._fail_silently = fail_silently
        self._has_methods = has_methods
        self._errors: list[tuple[Call, BaseException]] = []

    def __enter__(self) -> ResultMap:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_type is None:
            self.join()
        else:
            self.cancel()

    def __len__(self) -> int:
        """Return the number of pending calls."""
        return len(self._batch)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._batch!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = getattr(self._batch, name) if self._has_methods else MethodProxy(self, name)
        # The next access finds the attribute without a call of __getattr__().
        self.__dict__[name] = found
        return found

    def __getitem__(self, key: Any) -> Any:
        return self._batch[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._batch[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._batch[key]

    def __contains__(self, key: Any) -> bool:
        return key in self._batch

    def execute(
        self, path: str = "", args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Add a call of a method by its name; see `RoutedCluster.execute`.

        Raises:
            UnroutableCommand: the map is of Redis servers, and has commands as methods.
        """
        if self._has_methods:
            raise UnroutableCommand(
                f"{type(self).__name__} has no execute(). Call the commands; the end of the block or join() "
                "sends them."
            )
        return self._batch.call(path, args, kwargs or {})

    def cancel(self) -> None:
        """Drop all pending calls. Using their results raises `CommandCancelled`."""
        self._batch.cancel()

    def join(self, timeout: float | None = None) -> None:
        """Make all pending calls. After this, their results can be used.

        Arguments:
            timeout: for all calls together, in seconds; only for clusters of Redis servers.

        Raises:
            CommandError: calls have failed; raised after all others were made. Not with ``fail_silently``.
        """
        batch = self._batch
        succeeded = False
        try:
            succeeded = batch.send(timeout)
        finally:
            calls = [] if succeeded else list(batch.calls())
            batch.forget()
            self._errors = [(call, promise.reason) for call, promise in calls if promise.is_rejected]
        if self._errors and not self._fail_silently:
            raise CommandError(self._errors)

    def get_errors(self) -> list[tuple[Call, BaseException]]:
        """Return the failed calls with their errors, in order; an empty list before the end of the block."""
        return list(self._errors)

    def get_results(self) -> list[Any]:
        """Return the values of all calls, in order; exceptions in place of failed calls.

        Raises:
            ResultPending: the block has not ended.
            CommandCancelled: the block has ended with an exception.
        """
        return get_results(self._batch.settled)
