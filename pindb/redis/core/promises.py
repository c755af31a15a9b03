"""Promises: the results of commands that have not been sent yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Promise", "for_each", "get_settled", "reject_all", "settle_all"]


#: A waiter of a promise: the function to call with the value, the one to call with the reason, and the
#: promise of their result. Without that promise, results are dropped; without a function, the value or the
#: reason goes on to it.
_Waiting = tuple["Callable[[Any], Any] | None", "Callable[[Any], Any] | None", "Promise | None"]

#: Returned by a function that settles its promise later.
_LATER: Any = object()


class _Rejection:
    """The rejection of a promise.

    Attributes:
        reason: the reason.
        handled: whether a callback was called with the reason.
        followers: the promises that the reason went on to.
    """

    __slots__ = ("followers", "handled", "reason")

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason
        self.handled = False
        self.followers: list[Promise] = []


class Promise:
    """A value that comes later, like JavaScript's promises, but with direct access to the value.

    Not awaitable, and not safe under threads: it belongs to the code that made the command.

    Attributes:
        value: the value; None while there is none.
    """

    # A batch makes and settles tens of thousands of promises, so an untouched one costs as little as
    # possible. While it is pending, `value` is not set at all, and to resolve it is to set `value`. When code
    # waits for a promise, or settles it singly, the promise becomes a _Touched one.
    #
    # _state: a list of waiters, a _Rejection, or not set.
    __slots__ = ("_state", "value")

    value: Any
    _state: Any

    def __getattr__(self, name: str) -> Any:
        # Called for slots that are not set.
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
        if type(self) is _Touched:
            return type(self._state) is list
        return not self.is_resolved

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
        """Whether it failed and no callback was called with the reason."""
        if not self.is_rejected:
            return False
        # A chain may be long, and have branches.
        seen: set[_Rejection] = set()
        chain: list[Promise] = [self]
        while chain:
            state = chain.pop()._state
            if isinstance(state, _Rejection) and state not in seen:
                if state.handled:
                    return False
                seen.add(state)
                chain += state.followers
        return True

    @property
    def reason(self) -> Any:
        """The exception with which it was rejected; None if it was not."""
        return self._state.reason if isinstance(self._state, _Rejection) else None

    def resolve(self, value: Any) -> None:
        """Set the value, and call the callbacks. Does nothing if the promise is settled already.

        If the value is a promise, its value or reason is taken when it is settled. The first exception of the
        callbacks is raised when all were called.
        """
        _tell(self, self._take(value))

    def reject(self, reason: BaseException) -> None:
        """Set the reason, and call the callbacks. Does nothing if the promise is settled already.

        The first exception of the callbacks is raised when all were called.
        """
        _tell(self, self._refuse(reason))

    def _take(self, value: object) -> list[_Waiting] | None:
        """Set the value, and return the waiters to call."""
        if value is self:
            return self._refuse(TypeError("A promise cannot wait for itself."))
        if isinstance(value, Promise):
            if value.is_pending:
                value._add((None, None, self))
                return None
            rejection = value._state
            if rejection is None:
                return self._take(value.value)
            rejection.followers.append(self)
            return self._refuse(rejection.reason)
        if not self.is_pending:
            return None
        waiting = self._settle(None)
        self.value = value
        return waiting

    def _refuse(self, reason: BaseException) -> list[_Waiting] | None:
        """Set the reason, and return the waiters to call."""
        return self._settle(_Rejection(reason)) if self.is_pending else None

    def _settle(self, state: _Rejection | None) -> list[_Waiting] | None:
        waiting: list[_Waiting] | None = self._state
        self.__class__ = _Touched
        self._state = state
        return waiting

    def _add(self, waiting: _Waiting) -> None:
        """Add a waiter while the promise is pending."""
        if type(self) is _Touched:
            self._state.append(waiting)
        else:
            self.__class__ = _Touched
            self._state = [waiting]

    def done(
        self,
        on_success: Callable[[Any], Any] | None = None,
        on_failure: Callable[[Any], Any] | None = None,
    ) -> Promise:
        """Call `on_success` with the value, or `on_failure` with the reason; at once if it is settled.

        Returns:
            This promise.
        """
        self._wait((on_success, on_failure, None))
        return self

    def _wait(self, waiting: _Waiting) -> None:
        if self.is_pending:
            self._add(waiting)
        else:
            _tell(self, [waiting])

    def then(
        self,
        success: Callable[[Any], Any] | None = None,
        failure: Callable[[Any], Any] | None = None,
    ) -> Promise:
        """Return a new promise for the result of `success(value)`, or of `failure(reason)`.

        An exception of the callback rejects the new promise. If the callback returns a promise, the new one
        follows that. Without a callback, the value or the reason goes on to the new promise.
        """
        following = Promise()
        self._wait((success, failure, following))
        return following

    @staticmethod
    def resolved(value: Any) -> Promise:
        """Return a promise that has its value."""
        promise = Promise()
        promise.resolve(value)
        return promise

    @staticmethod
    def rejected(reason: BaseException) -> Promise:
        """Return a promise that was rejected."""
        promise = Promise()
        promise.reject(reason)
        return promise

    @staticmethod
    def all(promises: Iterable[Any] | Mapping[Any, Any]) -> Promise:
        """Return a promise for all values: a list, a tuple or a dict, as `promises` is.

        Items that are no promises are values. The first rejection rejects the new promise.
        """
        names = list(promises) if isinstance(promises, Mapping) else None
        values: list[Any] = list(promises.values() if isinstance(promises, Mapping) else promises)
        together = Promise()
        waiting = {i: value for i, value in enumerate(values) if isinstance(value, Promise)}

        def together_now() -> Any:
            if names is not None:
                return dict(zip(names, values, strict=True))
            return tuple(values) if isinstance(promises, tuple) else values

        def keep(index: int) -> Callable[[Any], Any]:
            def succeed(value: Any) -> Any:
                values[index] = value
                del waiting[index]
                return _LATER if waiting else together_now()

            return succeed

        if not waiting:
            return Promise.resolved(together_now())
        for index, promise in list(waiting.items()):
            promise._wait((keep(index), None, together))
        return together


class _Touched(Promise):
    """A promise that has waiters, or that was settled singly."""

    __slots__ = ()


def settle_all(promises: Sequence[Promise], values: Iterable[Any]) -> None:
    """Resolve each promise with its value, as long as there are values. No value may be a promise."""
    if set(map(type, promises)) == {Promise}:
        for promise, value in zip(promises, values, strict=False):
            promise.value = value
    else:
        for_each(Promise.resolve, zip(promises, values, strict=False))


def reject_all(promises: Iterable[Promise], reason: BaseException) -> None:
    """Reject each promise."""
    for_each(Promise.reject, ((promise, reason) for promise in promises))


def get_settled(promise: Promise) -> Any:
    """Return the value of a settled promise, or raise the reason."""
    if promise.is_rejected:
        raise promise.reason
    return promise.value


def for_each(call: Callable[..., Any], arguments: Iterable[Sequence[Any]]) -> None:
    """Call a function with each of the arguments; then raise the first exception of these calls.

    The function calls callbacks, which are the site's code: if one fails, the others must still be called.
    """
    first: BaseException | None = None
    for some in arguments:
        try:
            call(*some)
        except BaseException as error:
            first = _graver(first, error)
    if first is not None:
        raise first


def _tell(promise: Promise, waiting: list[_Waiting] | None) -> None:
    """Call the waiters of a settled promise, and those of the promises that this settles.

    The first exception of a function without a promise for its result is raised when all were called.
    """
    first: BaseException | None = None
    # A stack instead of recursion, since a chain of promises may be long.
    stack = [(promise, iter(waiting or ()))]
    while stack:
        promise, told = stack[-1]
        for on_success, on_failure, following in told:
            rejection = promise._state
            if rejection is None:
                callback, result = on_success, promise.value
            else:
                callback, result = on_failure, rejection.reason
                if callback is not None:
                    rejection.handled = True
                elif following is not None:
                    rejection.followers.append(following)
            more = None
            if callback is not None:
                try:
                    result = callback(result)
                    if following is not None and result is not _LATER:
                        more = following._take(result)
                except BaseException as error:
                    if following is not None:
                        more = following._refuse(error)
                    if following is None or not isinstance(error, Exception):
                        first = _graver(first, error)
            elif following is not None:
                more = following._take(result) if rejection is None else following._refuse(result)
            if more and following is not None:
                stack.append((following, iter(more)))
                break
        else:
            stack.pop()
    if first is not None:
        raise first


def _graver(first: BaseException | None, error: BaseException) -> BaseException:
    """Return the exception to raise: the first one, unless only the other is to end the program or a task."""
    if first is None or (isinstance(first, Exception) and not isinstance(error, Exception)):
        return error
    return first
