"""Options of a host behind Sentinel: its sentinels, its service, and the URL that has both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from pindb.redis.core.options import shown
from pindb.redis.exceptions import ClusterConfigError

__all__ = ["SCHEMES", "SENTINEL_OPTIONS", "check_sentinel", "is_sentinel_url", "read_url"]

#: The default port of sentinels.
PORT = 26379

#: The schemes of URLs, each with that of a URL of redis-py.
SCHEMES = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}

#: The options by which a host is found, and those for logging in to its sentinels.
SENTINEL_OPTIONS = ("sentinel", "service_name", "sentinel_username", "sentinel_password")

#: The parts of a URL behind the scheme: servers, path, query. (`urlsplit` takes one server.)
PARTS = re.compile(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?")

#: What a URL may have in its query, besides redis-py's own options.
LOGIN = ("sentinel_username", "sentinel_password")


def is_sentinel_url(url: Any) -> bool:
    """Return whether a value is a URL of a service, by its scheme."""
    return isinstance(url, str) and url.partition("://")[0].lower() in SCHEMES


def read_url(url: str) -> tuple[dict[str, Any], str]:
    """Read ``redis+sentinel://[user:password@]host[:port],.../service[/db][?options]``.

    Returns:
        The options `SENTINEL_OPTIONS` that the URL has, and a URL for redis-py with all others.

    Raises:
        ValueError: the URL is invalid. The text has nothing of the URL, which may contain passwords.
    """
    scheme, _, rest = url.partition("://")
    parts = PARTS.fullmatch(rest)
    if parts is None:
        raise ValueError("No URL of a service.")
    # A plain "/", "?" or "#" in a password ends the part with the servers, which messages show.
    login, at, servers = parts[1].rpartition("@")
    path = parts[2].strip("/").split("/")
    given = dict(parse_qsl(parts[3] or "", keep_blank_values=True))
    is_misplaced = "@" in (parts[3] or "") and not {"username", "password", *LOGIN} & given.keys()
    if is_misplaced or "@" in parts[2] or not servers or not path[0] or len(path) > 2:
        raise ValueError("No URL of a service.")
    found: dict[str, Any] = {
        "sentinel": tuple(_read_server(server) for server in servers.split(",")),
        "service_name": unquote(path[0]),
        **{name: given[name] for name in LOGIN if name in given},
    }
    query = urlencode({name: value for name, value in given.items() if name not in LOGIN})
    db = path[1] if len(path) == 2 else ""
    if db and not (db.isascii() and db.isdigit()):
        raise ValueError("The number of the database is no number.")
    plain = f"{SCHEMES[scheme.lower()]}://{login}{at}service/{db}"
    return found, f"{plain}?{query}" if query else plain


def check_sentinel(host_id: int, config: Mapping[str, Any], options: dict[str, Any]) -> None:
    """Raise `ClusterConfigError` if options of a host behind Sentinel are invalid.

    Arguments:
        host_id: the number of the host.
        config: the options of the host itself.
        options: these together with the defaults. Those of `SENTINEL_OPTIONS` that are None are removed; the
            sentinels become pairs of host and port.
    """
    for name in SENTINEL_OPTIONS:
        if options.get(name) is None:
            options.pop(name, None)
    if "sentinel" not in options and "service_name" not in options:
        for name in LOGIN:
            if name not in config:
                # It is for other hosts.
                options.pop(name, None)
    given = [name for name in SENTINEL_OPTIONS if name in options]
    if not given:
        return
    for name, other in (("sentinel", "service_name"), ("service_name", "sentinel")):
        if name not in options:
            wrong = other if other in options else given[0]
            raise ClusterConfigError(
                f"Host {host_id} has the option {wrong}, but no {name}. Write both: "
                "{'sentinel': [('host', 26379), ...], 'service_name': 'name'}."
            )
    servers = options["sentinel"]
    if not isinstance(servers, (list, tuple)) or not servers:
        raise ClusterConfigError(
            f"Host {host_id} has an invalid sentinel: {type(servers).__name__}. Write the list of the "
            "sentinels that are asked for the master: [('host', 26379), ...]."
        )
    options["sentinel"] = tuple(dict.fromkeys(_read_item(host_id, item) for item in servers))
    for name in ("service_name", "sentinel_username", "sentinel_password"):
        text = options.get(name, "text")
        if not (isinstance(text, str) and text):
            what = f"the {name} {shown(text)}" if name == "service_name" else f"an invalid {name}"
            raise ClusterConfigError(f"Host {host_id} has {what}. Write a string.")


def _read_item(host_id: int, item: Any) -> tuple[str, int]:
    if isinstance(item, (list, tuple)) and len(item) == 2:
        host, port = item
        if isinstance(port, str) and port.isascii() and port.isdigit():
            port = int(port)
        is_fine = (
            isinstance(host, str)
            and host != ""
            and not any(mark in host for mark in "/@?")
            and type(port) is int
            and 0 < port < 65536
        )
        if is_fine:
            return host, port
    elif isinstance(item, str):
        try:
            scheme, mark, rest = item.partition("://")
            if not mark or scheme in ("redis", "rediss"):
                return _read_server(rest if mark else item)
        except ValueError:
            pass
    # Without the item itself, which may be a URL with a password.
    raise ClusterConfigError(
        f"Host {host_id} has an invalid item in sentinel. Write ('host', 26379), 'host:26379' or "
        "'redis://host:26379'; passwords go into sentinel_password."
    )


def _read_server(text: str) -> tuple[str, int]:
    """Read ``host[:port]``; raises ValueError."""
    parts = urlsplit(f"//{text.strip().rstrip('/')}")
    if not parts.hostname or "@" in parts.netloc or parts.path or parts.query or parts.fragment:
        raise ValueError("No address of a sentinel.")
    port = parts.port
    if port == 0:
        raise ValueError("No address of a sentinel.")
    return parts.hostname, PORT if port is None else port


def drop_default_address(config: Mapping[str, Any], options: dict[str, Any]) -> None:
    """Remove the default address if a host has an address of another kind.

    Arguments:
        config: the options of the host itself.
        options: these together with the defaults.
    """
    if {"sentinel", "service_name"} & config.keys():
        for name in ("url", "host", "port", "unix_socket_path"):
            if name not in config:
                options.pop(name, None)
    elif {"url", "host", "port", "unix_socket_path"} & config.keys():
        options.pop("sentinel", None)
        options.pop("service_name", None)
