"""Maps of the clusters of `create_cluster`: blocks of calls with deferred results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pindb.redis.clients.queueing import each
from pindb.redis.exceptions import Call, CommandError, UnroutableCommand
from pindb.redis.facade.results import get_outcome, get_values

__all__ = ["MethodProxy", "ResultMap"]


class MethodProxy:
    """Proxy of a method of the hosts' connections, also of a nested one: ``cluster.connection_pool.reset``.

    Arguments:
        target: runs the calls by its method `execute`.
        path: the name of the method; a dotted path if it belongs to an attribute.
    """

    __slots__ = ("_path", "_target")

    def __init__(self, target: Any, path: str) -> None:
        self._target = target
        self._path = path

    def __repr__(self) -> str:
        return f"<{self._path} of {self._target!r}>"

    def __getattr__(self, name: str) -> MethodProxy:
        if name.startswith("__"):
            raise AttributeError(name)
        return MethodProxy(self._target, f"{self._path}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._target.execute(self._path, args, kwargs)


class ResultMap:
    """Map that defers calls to the end of its block, and returns a `Result` for each.

    Not safe under threads: give each thread a map of its own, which costs next to nothing.

    Arguments:
        batch: the pending calls: a `RedisBatch` or a `ThreadBatch`.
        fail_silently: keep errors as results, and in `get_errors`, instead of raising `CommandError`.
    """

    def __init__(self, batch: Any, fail_silently: bool) -> None:
        self._batch = batch
        self._fail_silently = fail_silently
        self._errors: list[tuple[Call, BaseException]] = []

    def __enter__(self) -> ResultMap:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
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
        found = getattr(self._batch, name) if self._batch.has_methods else MethodProxy(self, name)
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
        if self._batch.has_methods:
            raise UnroutableCommand(
                f"{type(self).__name__} has no execute(). Call the commands; the end of the block or join() "
                "sends them."
            )
        return self._batch.call(Call(path, *get_values(args, kwargs or {})))

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
            calls = [] if succeeded else list(batch.calls)
            # Ends the block. Nothing is left to cancel, unless an exception has interrupted send().
            batch.cancel()
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
        return [get_outcome(promise) for promise in each(self._batch.settled)]
