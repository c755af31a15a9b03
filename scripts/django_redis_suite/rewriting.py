"""Settings of django-redis's tests for other servers, and another client."""

from __future__ import annotations

import json
import os
from typing import Any

__all__ = ["rewrite"]

SOCKET = "/tmp/redis.sock"  # noqa: S108

OWN = "django_redis.client.DefaultClient"


def rewrite(caches: dict[str, dict[str, Any]]) -> None:
    """Change ``CACHES`` as ``$PINDB_DJANGO_REDIS`` says.

    Arguments:
        caches: the setting of one of django-redis's modules; changed.
    """
    how = json.loads(os.environ["PINDB_DJANGO_REDIS"])
    for cache in caches.values():
        location = cache["LOCATION"]
        urls = location.split(",") if isinstance(location, str) else location
        urls = [_places(url, how["tcp"], how["sockets"]) for url in urls]
        if how["options"] is None:
            first = [places[0] for places in urls]
            cache["LOCATION"] = first if isinstance(location, list) else ",".join(first)
            continue
        # What is a primary and its replica there is the same servers here.
        cache["LOCATION"] = list(dict.fromkeys(place for places in urls for place in places))
        options = cache["OPTIONS"]
        if options["CLIENT_CLASS"] == OWN:
            options |= {"CLIENT_CLASS": "pindb.cache.ShardedClient", **how["options"]}


def _places(url: str, tcp: list[str], sockets: list[str]) -> list[str]:
    """The URL, for each of the servers. (One of them leads nowhere, for tests of that.)"""
    for known, places in (("127.0.0.1:6379", tcp), (SOCKET, sockets)):
        if known in url:
            return [url.replace(known, place) for place in places]
    return [url]
