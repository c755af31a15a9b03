"""The map of every cluster of `create_cluster`: calls whose results are there at the end of a block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from pindb.redis.core.promises import Promise
from pindb.redis.exceptions import Call, CommandError, UnroutableCommand
from pindb.redis.facade.cluster import CallPath
from pindb.redis.facade.results import results_of

__all__ = ["Batch", "ResultMap"]


class Batch(Protocol):
    """The calls of a map that wait, and the way to make them on one kind of server.

    Attributes:
        returned: the promises of all calls of the last block, in order, as lists where several were made at
            once; None before the end of the first block.
    """

    returned: Sequence[Promise | list[Promise]] | None

    def __len__(self) -> int:
        """The number of calls that wait."""

    def call(self, path: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Keep a call of a method, and return its `Result`."""

    def send(self, timeout: float | None) -> bool:
        """Make all calls that wait; return whether none failed. All promises are settled then."""

    def called(self) -> Iterable[tuple[Call, Promise]]:
        """The calls of this block with their promises, in order."""

    def forget(self) -> None:
        """End the block: what was called is in `returned`, and nothing waits."""

    def cancel(self) -> None:
        """End the block without its calls: reject their promises with `CommandCancelled`."""


class ResultMap:
    """Keeps calls until its block ends, makes them on all hosts at once, and returns `Result` objects.

    Not safe under threads; a map for each of them costs next to nothing.

    Arguments:
        batch: keeps the calls, and makes them.
        fail_silently: leave errors as values, and in `get_errors`, instead of raising `CommandError`.
        has_methods: whether the batch has the methods of the hosts' client itself; else each call goes by
            `Batch.call`.
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
        """The number of calls that wait."""
        return len(self._batch)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._batch!r}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        found = getattr(self._batch, name) if self._has_methods else CallPath(self, name)
        # Found here from now on.
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
        """Keep a call of a method by its name; see `RoutedCluster.execute`.

        Raises:
            UnroutableCommand: the map takes commands, and is sent by the end of its block.
        """
        if self._has_methods:
            raise UnroutableCommand(
                f"{type(self).__name__} has no execute(): the end of the block sends what was called, and "
                "join() does."
            )
        return self._batch.call(path, args, kwargs or {})

    def cancel(self) -> None:
        """Drop all calls that wait; using their results raises `CommandCancelled`."""
        self._batch.cancel()

    def join(self, timeout: float | None = None) -> None:
        """Make all calls that wait; their results are there then.

        Arguments:
            timeout: for all of it, in seconds; for clusters of Redis servers only.

        Raises:
            CommandError: some failed, after all that could be made were made; not with ``fail_silently``.
        """
        batch = self._batch
        fine = False
        try:
            fine = batch.send(timeout)
        finally:
            called = [] if fine else list(batch.called())
            batch.forget()
            self._errors = [(call, promise.reason) for call, promise in called if promise.is_rejected]
        if self._errors and not self._fail_silently:
            raise CommandError(self._errors)

    def get_errors(self) -> list[tuple[Call, BaseException]]:
        """The calls that failed with their errors, in order; empty before the end of the block."""
        return list(self._errors)

    def get_results(self) -> list[Any]:
        """The values of all calls, in order; exceptions in place of those that failed.

        Raises:
            ResultPending: before the end of the block.
            CommandCancelled: the block was left with an exception.
        """
        return results_of(self._batch.returned)
