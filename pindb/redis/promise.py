"""The result of a command that has not been sent yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Promise", "for_each", "reject_all", "settle_all"]


class _Rejection:
    """How a promise was rejected, and whether somebody has asked to be told."""

    __slots__ = ("handled", "reason")

    def __init__(self, reason: BaseException, handled: bool) -> None:
        self.reason = reason
        self.handled = handled


class Promise:
    """A value that is there later, in the manner of ES6's promises, but with direct access to the value.

    Not awaitable, and not safe under threads: it belongs to whoever made the command.

    Attributes:
        value: the value; None while there is none.
    """

    # A batch makes and settles promises by the ten thousand, so an untouched one is as bare as can be. While
    # it is pending, `value` is not set at all, and setting it is all that it takes to resolve it. As soon as
    # somebody waits for a promise or settles it singly, it becomes a _Touched one.
    #
    # _state: a list of who waits, a _Rejection, or not set.
    __slots__ = ("_state", "value")

    value: Any
    _state: Any

    def __getattr__(self, name: str) -> Any:
        # Reached for slots that are not set.
        if name in Promise.__slots__:
            return None
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        if self.is_resolved:
            return f"<Promise resolved: {self.value!r}>"
        if self.is_rejected:
            return f"<Promise rejected: {type(self.reason).__name__}: {self.reason}>"
        return "<Promise pending>"

    @property
    def is_pending(self) -> bool:
        """Whether it is neither resolved nor rejected."""
        return not self.is_resolved and not self.is_rejected

    @property
    def is_resolved(self) -> bool:
        """Whether it has a value."""
        try:
            object.__getattribute__(self, "value")
        except AttributeError:
            return False
        return True

    @property
    def is_rejected(self) -> bool:
        """Whether it failed."""
        return isinstance(self._state, _Rejection)

    @property
    def is_unhandled(self) -> bool:
        """Whether it failed and nobody has asked to be told."""
        return isinstance(self._state, _Rejection) and not self._state.handled

    @property
    def reason(self) -> Any:
        """Why it was rejected: an exception; None where it was not."""
        return self._state.reason if isinstance(self._state, _Rejection) else None

    def resolve(self, value: Any) -> None:
        """Give it its value and call who waits for it. Does nothing when it is settled already.

        A promise as the value is waited for. What the callbacks raise is raised when all were called.
        """
        if value is self:
            self.reject(TypeError("A promise cannot wait for itself."))
        elif isinstance(value, Promise):
            value._wait(self.resolve, self.reject, self)
        elif self.is_pending:
            waiting = self._state
            self.__class__ = _Touched
            self._state = None
            self.value = value
            if waiting:
                for_each(_call, [(on_success, value) for on_success, _, _ in waiting])

    def reject(self, reason: BaseException) -> None:
        """Reject it and call who waits for that. Does nothing when it is settled already.

        What the callbacks raise is raised when all were called.
        """
        if self.is_pending:
            waiting = self._state
            handled = self._is_watched()
            self.__class__ = _Touched
            self._state = _Rejection(reason, handled)
            if waiting:
                for_each(_call, [(on_failure, reason) for _, on_failure, _ in waiting])

    def _is_watched(self) -> bool:
        """Whether somebody waits who would learn of a rejection, here or further down the chain."""
        waiting = self._state if isinstance(self._state, list) else ()
        return any(
            on_failure is not None if following is None else following._is_watched()
            for _, on_failure, following in waiting
        )

    def done(
        self,
        on_success: Callable[[Any], Any] | None = None,
        on_failure: Callable[[Any], Any] | None = None,
    ) -> Promise:
        """Call `on_success` with the value, or `on_failure` with the reason, at once where it is settled.

        Returns:
            This promise.
        """
        return self._wait(on_success, on_failure, None)

    def _wait(
        self,
        on_success: Callable[[Any], Any] | None,
        on_failure: Callable[[Any], Any] | None,
        following: Promise | None,
    ) -> Promise:
        """`done`, where a failure is handled only if it is handled at `following`."""
        if self.is_resolved:
            if on_success is not None:
                on_success(self.value)
        elif isinstance(self._state, _Rejection):
            if on_failure is not None:
                self._state.handled = True
                on_failure(self._state.reason)
        else:
            self.__class__ = _Touched
            self._state = [*(self._state or ()), (on_success, on_failure, following)]
        return self

    def then(
        self,
        success: Callable[[Any], Any] | None = None,
        failure: Callable[[Any], Any] | None = None,
    ) -> Promise:
        """A new promise for what `success` makes of the value, or `failure` of the reason.

        What a callback returns resolves the new promise (a promise is waited for), what it raises rejects
        it; without a callback, value and reason go through to the new promise.
        """
        following = Promise()

        def forward(callback: Callable[[Any], Any], result: Any) -> None:
            try:
                value = callback(result)
            except Exception as error:
                following.reject(error)
            else:
                following.resolve(value)

        def succeed(value: Any) -> None:
            if success is None:
                following.resolve(value)
            else:
                forward(success, value)

        def fail(reason: Any) -> None:
            if failure is None:
                following.reject(reason)
            else:
                forward(failure, reason)

        self._wait(succeed, fail, following if failure is None else None)
        return following

    @staticmethod
    def resolved(value: Any) -> Promise:
        """A promise that has its value."""
        promise = Promise()
        promise.resolve(value)
        return promise

    @staticmethod
    def rejected(reason: BaseException) -> Promise:
        """A promise that was rejected."""
        promise = Promise()
        promise.reject(reason)
        return promise

    @staticmethod
    def all(promises: Iterable[Any] | Mapping[Any, Any]) -> Promise:
        """A promise for the values of all: a list, a tuple or a dict, as `promises` is.

        What is no promise stands for itself. The first rejection rejects it.
        """
        names = list(promises) if isinstance(promises, Mapping) else None
        values: list[Any] = list(promises.values() if isinstance(promises, Mapping) else promises)
        together = Promise()
        waiting = {i: value for i, value in enumerate(values) if isinstance(value, Promise)}
        missing = len(waiting)

        def finish() -> None:
            if names is not None:
                together.resolve(dict(zip(names, values, strict=True)))
            else:
                together.resolve(tuple(values) if isinstance(promises, tuple) else values)

        def keep(index: int) -> Callable[[Any], None]:
            def succeed(value: Any) -> None:
                nonlocal missing
                values[index] = value
                missing -= 1
                if not missing:
                    finish()

            return succeed

        for index, promise in waiting.items():
            promise._wait(keep(index), together.reject, together)
        if not waiting:
            finish()
        return together


class _Touched(Promise):
    """A promise that somebody waits for, or that was settled singly."""

    __slots__ = ()


def settle_all(promises: Sequence[Promise], values: Iterable[Any]) -> None:
    """Resolve each promise with its value (no promise), as long as there are values."""
    if set(map(type, promises)) == {Promise}:
        for promise, value in zip(promises, values, strict=False):
            promise.value = value
    else:
        for_each(Promise.resolve, zip(promises, values, strict=False))


def reject_all(promises: Iterable[Promise], reason: BaseException) -> None:
    """Reject each promise."""
    for_each(Promise.reject, ((promise, reason) for promise in promises))


def for_each(call: Callable[..., Any], arguments: Iterable[Sequence[Any]]) -> None:
    """Call with all of the arguments, also after a call that raised; the first exception is raised then.

    Callbacks are the callers' own: one that fails must not keep others from their results.
    """
    first = None
    for some in arguments:
        try:
            call(*some)
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def _call(callback: Callable[[Any], Any] | None, result: Any) -> None:
    if callback is not None:
        callback(result)
