"""What the tests of moving a cache's keys need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings

from pindb.cache import move as moving
from pindb.cache.fanout import send_to_hosts
from pindb.cache.move import Move
from pindb.cache.options import read_options
from pindb.cache.plan import make_cluster
from pindb.cache.target import change_servers
from pindb.redis import Cluster

BACKEND = "pindb.cache.ShardedRedisCache"
PATTERN = ":*:*"


@contextmanager
def changing(
    location: Any, options: Mapping[str, Any] | None = None, **change: Any
) -> Iterator[tuple[Cluster, Cluster]]:
    """The servers of a cache as they are, and as they would be."""
    now = read_options(location, options or {})
    clusters = make_cluster(now), make_cluster(change_servers(now, **change))
    try:
        yield clusters
    finally:
        for cluster in clusters:
            cluster.disconnect_pools()


@contextmanager
def site(location: Any, options: Mapping[str, Any] | None = None, **settings: Any) -> Iterator[Any]:
    """The default cache of a site with these settings."""
    cache = {"BACKEND": BACKEND, "LOCATION": location, "OPTIONS": dict(options or {}), **settings}
    other = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with override_settings(CACHES={"default": cache, "other": other}):
        yield caches["default"]


def finish(move: Move) -> Move:
    """Let a move run to its end."""
    for _ in move.run():
        pass
    return move


def before(monkeypatch: pytest.MonkeyPatch, script: str, act: Any) -> None:
    """Do something once, before a script is sent: with the commands, which it may return changed."""
    waiting = [act]

    def asking(cluster: Any, commands: Iterable[Any], **options: Any) -> list[Any]:
        commands = list(commands)
        if waiting and commands and commands[0][1][1] == script:
            commands = waiting.pop()(cluster, commands) or commands
        return send_to_hosts(cluster, commands, **options)

    monkeypatch.setattr(moving, "send_to_hosts", asking)
