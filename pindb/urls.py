"""Pins for parts of the URLconf: `pinned`, for example for the admin."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import update_wrapper
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.urls import ResolverMatch, URLResolver, include
from django.urls.resolvers import RoutePattern

from pindb.conf import conf
from pindb.middleware import SAFE_METHODS
from pindb.pins.pinning import pin
from pindb.sets.aliases import DEFAULT_ALIAS
from pindb.sets.definitions import get_sets

__all__ = ["pinned"]


def pinned(
    view: Any, aliases: str | Collection[str] = DEFAULT_ALIAS, methods: str | Collection[str] | None = None
) -> Any:
    """Pin sets for all views of a part of the URLconf: ``path("admin/", pinned(admin.site.urls))``.

    `pindb.pin` is called before each view. So the view reads the master, and `StrictPinDbRouter` allows its
    writes. Names, namespaces and converters of the URLs stay as they are.

    Arguments:
        view: the second argument of ``path()`` and ``re_path()``: ``include(...)``, ``admin.site.urls``, a
            view, or a list of patterns.
        aliases: the alias of a master, or several.
        methods: the request methods to pin: a collection such as ``{"POST"}``, or ``"unsafe"`` for all but
            GET, HEAD, OPTIONS and TRACE, or None for all.

    Returns:
        The second argument for ``path()`` or ``re_path()``.

    Raises:
        PinDbConfigError: one of `aliases` is not the alias of a master.
        TypeError: `view` or `methods` has another type.
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
        f"pinned() takes the second argument of path(), not {view!r}. Write "
        "pinned(include('blog.urls')), pinned(admin.site.urls), pinned(view), or pinned([path(...), ...])."
    )


class _Pins:
    """The sets to pin, and the request methods to pin them for."""

    def __init__(self, aliases: str | Collection[str], methods: str | Collection[str] | None) -> None:
        self.aliases = (aliases,) if isinstance(aliases, str) else tuple(aliases)
        if not self.aliases:
            raise TypeError(
                "pinned() has no aliases. Write the alias of a master, or several: aliases='default'."
            )
        if conf.PINDB_ENABLED:
            for alias in self.aliases:
                get_sets().check_master(alias)
        if isinstance(methods, str) and methods != "unsafe":
            raise TypeError(
                f"methods is {methods!r}. Write 'unsafe' or a list of methods: [{methods.upper()!r}]."
            )
        self.only = None if methods is None or isinstance(methods, str) else {m.upper() for m in methods}
        self.but = SAFE_METHODS if methods == "unsafe" else frozenset()

    def pin(self, method: str | None) -> None:
        if method in self.but or (self.only is not None and method not in self.only):
            return
        for alias in self.aliases:
            pin(alias)


class _PinnedResolver(URLResolver):
    """A resolver between ``path()`` and a URLconf, which makes views of the URLconf pin."""

    def __init__(self, urlconf: Any, pins: _Pins) -> None:
        super().__init__(RoutePattern("", is_endpoint=False), urlconf)
        self.pins = pins

    def resolve(self, path: Any) -> ResolverMatch:
        match = super().resolve(path)
        match.func = _PinnedView(match.func, self.pins)
        return match


class _PinnedView:
    """A view that pins. It has the attributes of the original view, and equals it."""

    def __init__(self, view: Callable[..., Any], pins: _Pins) -> None:
        if not hasattr(view, "__name__"):
            # Django names a view without __name__ by its class.
            self.__name__ = type(view).__name__
        update_wrapper(self, view)
        self._pindb_pins = pins
        if iscoroutinefunction(view):
            markcoroutinefunction(self)

    def __call__(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self._pindb_pins.pin(request.method)
        # For an async view this is a coroutine, which the caller awaits.
        return self.__wrapped__(request, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        # Called only for names that are not in __dict__. copy() calls it before there is a view.
        if name == "__wrapped__":
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == (other.__wrapped__ if isinstance(other, _PinnedView) else other))

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    def __repr__(self) -> str:
        return f"<{self.__wrapped__!r}, pinned>"
