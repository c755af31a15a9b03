"""The result of a command that has not been sent yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = ["Promise"]


class _State:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


RESOLVED = _State("resolved")
REJECTED = _State("rejected")
#: Rejected, and somebody has asked to be told.
HANDLED = _State("rejected, handled")

SETTLED = (RESOLVED, REJECTED, HANDLED)


class Promise:
    """A value that is there later, in the manner of ES6's promises, but with direct access to the value.

    Not awaitable, and not safe under threads: it belongs to whoever made the command.
    """

    # _state: None while pending and nobody waits, a list while somebody does, or how it was settled.
    # _result: the value or the reason; unset while pending.
    __slots__ = ("_result", "_state")

    _state: Any
    _result: Any

    def __init__(self) -> None:
        self._state = None

    def __repr__(self) -> str:
        if self._state is RESOLVED:
            return f"<Promise resolved: {self._result!r}>"
        if self.is_rejected:
            return f"<Promise rejected: {self._result!r}>"
        return "<Promise pending>"

    @property
    def is_pending(self) -> bool:
        """Whether it is neither resolved nor rejected."""
        return self._state not in SETTLED

    @property
    def is_resolved(self) -> bool:
        """Whether it has a value."""
        return self._state is RESOLVED

    @property
    def is_rejected(self) -> bool:
        """Whether it failed."""
        return self._state is REJECTED or self._state is HANDLED

    @property
    def is_unhandled(self) -> bool:
        """Whether it failed and nobody has asked to be told."""
        return self._state is REJECTED

    @property
    def value(self) -> Any:
        """The value; None while there is none."""
        return self._result if self._state is RESOLVED else None

    @property
    def reason(self) -> Any:
        """Why it was rejected: an exception; None where it was not."""
        return self._result if self.is_rejected else None

    def resolve(self, value: Any) -> None:
        """Give it its value and call who waits for it. Does nothing when it is settled already.

        A promise as the value is waited for.
        """
        if isinstance(value, Promise):
            value._wait(self.resolve, self.reject, self)
        else:
            self._settle(RESOLVED, value)

    def reject(self, reason: BaseException) -> None:
        """Reject it and call who waits for that. Does nothing when it is settled already."""
        self._settle(REJECTED, reason)

    def _settle(self, state: _State, result: Any) -> None:
        waiting = self._state
        if waiting in SETTLED:
            return
        self._result = result
        self._state = HANDLED if state is REJECTED and self._is_watched() else state
        for on_success, on_failure, _ in waiting or ():
            callback = on_success if state is RESOLVED else on_failure
            if callback is not None:
                callback(result)

    def _is_watched(self) -> bool:
        """Whether somebody waits who would learn of a rejection, here or further down the chain."""
        return any(
            on_failure is not None if following is None else following._is_watched()
            for on_success, on_failure, following in self._state or ()
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
        state = self._state
        if state is RESOLVED:
            if on_success is not None:
                on_success(self._result)
        elif state is REJECTED or state is HANDLED:
            if on_failure is not None:
                self._state = HANDLED
                on_failure(self._result)
        elif state is None:
            self._state = [(on_success, on_failure, following)]
        else:
            state.append((on_success, on_failure, following))
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
        is_mapping = isinstance(promises, Mapping)
        names = list(promises.keys()) if isinstance(promises, Mapping) else []
        members = list(promises.values() if isinstance(promises, Mapping) else promises)
        together = Promise()
        values: list[Any] = members.copy()
        waiting = [i for i, member in enumerate(members) if isinstance(member, Promise)]
        missing = len(waiting)

        def finish() -> None:
            if is_mapping:
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

        for index in waiting:
            members[index]._wait(keep(index), together.reject, together)
        if not missing:
            finish()
        return together
