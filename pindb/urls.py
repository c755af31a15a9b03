"""Pins for all views of a part of the URLconf."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import update_wrapper
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.urls import ResolverMatch, URLResolver, include
from django.urls.resolvers import RoutePattern

from pindb.conf import conf
from pindb.pins.pinning import SAFE_METHODS, pin
from pindb.sets.definitions import DEFAULT_ALIAS, get_sets

__all__ = ["pinned"]


def pinned(
    view: Any, aliases: str | Collection[str] = DEFAULT_ALIAS, methods: str | Collection[str] | None = None
) -> Any:
    """Pin sets before each view of a part of the URLconf: ``path("admin/", pinned(admin.site.urls))``.

    Each view runs after `pindb.pin`: it reads the master, and `StrictPinDbRouter` allows its writes. Names,
    namespaces and converters of the URLs stay as they are.

    Arguments:
        view: what ``path()`` and ``re_path()`` take as their second argument: ``include(...)``,
            ``admin.site.urls``, or a view; or a list of patterns.
        aliases: the alias of a master, or several.
        methods: the methods of the requests that are pinned, as a collection: ``{"POST"}``; ``"unsafe"`` for
            all but GET, HEAD, OPTIONS and TRACE; None for all.

    Returns:
        The second argument for ``path()`` or ``re_path()``.

    Raises:
        PinDbConfigError: one of `aliases` is not a master's.
        TypeError: `view` or `methods` is of another kind.
    """
    pins = _Pins(aliases, methods)
    if isinstance(view, list) and all(hasattr(pattern, "resolve") for pattern in view):
        view = include(view)
    if isinstance(view, tuple) and len(view) == 3:
        urlconf, app_name, namespace = view
        return [_PinnedResolver(urlconf, pins)], app_name, namespace
    if callable(view):
        return _PinnedView(view, pins)
    raise TypeError(
        f"pinned() takes what path() takes as its second argument, not {view!r}. Write "
        "pinned(include('blog.urls')), pinned(admin.site.urls), pinned(view), or pinned([path(...), ...])."
    )


class _Pins:
    """Which sets are pinned by which requests."""

    def __init__(self, aliases: str | Collection[str], methods: str | Collection[str] | None) -> None:
        self.aliases = (aliases,) if isinstance(aliases, str) else tuple(aliases)
        if not self.aliases:
            raise TypeError("pinned() takes the alias of a master, or several: write aliases='default'.")
        if conf.PINDB_ENABLED:
            for alias in self.aliases:
                get_sets().check_master(alias)
        if isinstance(methods, str) and methods != "unsafe":
            raise TypeError(
                f"methods is {methods!r}. Write 'unsafe', or a collection of methods: [{methods.upper()!r}]."
            )
        self.only = None if methods is None or isinstance(methods, str) else {m.upper() for m in methods}
        self.but = SAFE_METHODS if methods == "unsafe" else frozenset()

    def pin(self, method: str | None) -> None:
        if method in self.but or (self.only is not None and method not in self.only):
            return
        for alias in self.aliases:
            pin(alias)


class _PinnedResolver(URLResolver):
    """Finds the views of a URLconf, as views that pin. It stands between ``path()`` and the URLconf."""

    def __init__(self, urlconf: Any, pins: _Pins) -> None:
        super().__init__(RoutePattern("", is_endpoint=False), urlconf)
        self.pins = pins

    def resolve(self, path: Any) -> ResolverMatch:
        match = super().resolve(path)
        match.func = _PinnedView(match.func, self.pins)
        return match


class _PinnedView:
    """A view that pins. It has all attributes of the view, and equals it: ``match.func == views.index``."""

    def __init__(self, view: Callable[..., Any], pins: _Pins) -> None:
        if not hasattr(view, "__name__"):
            # Django calls a view that is an object by its class.
            self.__name__ = type(view).__name__
        update_wrapper(self, view)
        self._pindb_pins = pins
        if iscoroutinefunction(view):
            markcoroutinefunction(self)

    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self._pindb_pins.pin(request.method)
        # An asynchronous view's coroutine is awaited by whoever called.
        return self.__wrapped__(request, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Reached only for what is not in __dict__; a copy that is being made has no view yet.
        if name == "__wrapped__":
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == (other.__wrapped__ if isinstance(other, _PinnedView) else other))

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __repr__(self) -> str:
        return f"<{self.__wrapped__!r}, pinned>"
