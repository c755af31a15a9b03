"""The result of a command that has not been sent yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Promise", "for_each", "get_settled", "reject_all", "settle_all"]


#: Who waits for a promise: what to call with its value, what with its reason, and the promise for what comes
#: of that. Without the promise it is only called; without the function, value or reason go on to the promise.
_Waiting = tuple["Callable[[Any], Any] | None", "Callable[[Any], Any] | None", "Promise | None"]

#: What a function returns that settles its promise later.
_LATER: Any = object()


class _Rejection:
    """How a promise was rejected.

    Attributes:
        reason: the reason.
        handled: whether somebody has asked to be told, and was.
        followers: the promises that the reason went on to.
    """

    __slots__ = ("followers", "handled", "reason")

    def __init__(self, reason: BaseException) -> None:
        self.reason = reason
        self.handled = False
        self.followers: list[Promise] = []


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
        """Whether it failed and nobody has asked to be told."""
        rejection = self._state
        if not isinstance(rejection, _Rejection) or rejection.handled:
            return False
        # The chain may be long, and many may lead into it.
        seen: set[_Rejection] = set()
        branches = False
        chain: list[Promise] = [self]
        while chain:
            promise = chain.pop()
            state = promise._state
            if isinstance(state, _Rejection):
                if state.handled:
                    for earlier in (rejection,) if branches else seen:
                        earlier.handled = True
                    return False
                if state not in seen:
                    seen.add(state)
                    chain += state.followers
                    branches = branches or len(state.followers) > 1
        return True

    @property
    def reason(self) -> Any:
        """Why it was rejected: an exception; None where it was not."""
        return self._state.reason if isinstance(self._state, _Rejection) else None

    def resolve(self, value: Any) -> None:
        """Give it its value and call who waits for it. Does nothing when it is settled already.

        A promise as the value is waited for. What the callbacks raise is raised when all were called.
        """
        waiting = self._take(value)
        if waiting:
            _tell(self, waiting)

    def reject(self, reason: BaseException) -> None:
        """Reject it and call who waits for that. Does nothing when it is settled already.

        What the callbacks raise is raised when all were called.
        """
        waiting = self._refuse(reason)
        if waiting:
            _tell(self, waiting)

    def _take(self, value: object) -> list[_Waiting] | None:
        """Take a value, and return who is to be told."""
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
        waiting: list[_Waiting] | None = None
        if type(self) is _Touched:
            waiting = self._state
        else:
            self.__class__ = _Touched
        self._state = None
        self.value = value
        return waiting

    def _refuse(self, reason: BaseException) -> list[_Waiting] | None:
        """Take a reason, and return who is to be told."""
        if not self.is_pending:
            return None
        waiting: list[_Waiting] | None = self._state
        self.__class__ = _Touched
        self._state = _Rejection(reason)
        return waiting

    def _add(self, waiting: _Waiting) -> None:
        """Somebody waits for it while it is pending."""
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
        """Call `on_success` with the value, or `on_failure` with the reason, at once where it is settled.

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
        """A new promise for what `success` makes of the value, or `failure` of the reason.

        What a callback returns resolves the new promise (a promise is waited for), what it raises rejects
        it; without a callback, value and reason go through to the new promise.
        """
        following = Promise()
        self._wait((success, failure, following))
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

        def together_now() -> Any:
            if names is not None:
                return dict(zip(names, values, strict=True))
            return tuple(values) if isinstance(promises, tuple) else values

        def keep(index: int) -> Callable[[Any], Any]:
            def succeed(value: Any) -> Any:
                nonlocal missing
                values[index] = value
                missing -= 1
                return _LATER if missing else together_now()

            return succeed

        for index, promise in waiting.items():
            promise._wait((keep(index), None, together))
        if not waiting:
            together.resolve(together_now())
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


def get_settled(promise: Promise) -> Any:
    """Return the value of a promise that is settled, or raise the reason of its rejection."""
    if promise.is_rejected:
        raise promise.reason
    return promise.value


def for_each(call: Callable[..., Any], arguments: Iterable[Sequence[Any]]) -> None:
    """Call with all of the arguments, also after a call that raised; the first exception is raised then.

    Callbacks are the callers' own: one that fails must not keep others from their results.
    """
    first: BaseException | None = None
    for some in arguments:
        try:
            call(*some)
        except BaseException as error:
            first = _graver(first, error)
    if first is not None:
        raise first


def _tell(promise: Promise, waiting: list[_Waiting]) -> None:
    """Call who waits for a promise that is settled, and who waits for what comes of that.

    The first exception of a function whose result nobody waits for is raised when all were called.
    """
    first: BaseException | None = None
    # Those who wait for one promise, then for another that it has settled ...: a chain has any length.
    stack = [(promise, iter(waiting))]
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
    """The exception to raise of two: the first, unless only the other is to end the program, or a task."""
    if first is None or (isinstance(first, Exception) and not isinstance(error, Exception)):
        return error
    return first
