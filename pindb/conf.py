"""Every setting of pindb with its default.

``conf.PINDB_ENABLED`` is the site's setting where it has one, else the default below. A setting is read at
its first use and remembered for the life of the process, or until Django's ``setting_changed`` signal says
that a setting changed: so ``override_settings`` works, and a look-up costs no more than an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from pindb.exceptions import PinDbConfigError

__all__ = ["PINNED_COMMANDS", "WRITING_COMMANDS", "conf", "import_entry", "on_change"]

#: Django's management commands that write to the database that ``--database`` names.
WRITING_COMMANDS = (
    "changepassword",
    "createcachetable",
    "createsuperuser",
    "flush",
    "loaddata",
    "migrate",
    "remove_stale_contenttypes",
)

#: Management commands that run pinned where ``PINDB_PINNED_COMMANDS`` is not set: those of Django and of
#: Wagtail that change data. Sites add theirs: ``[*PINNED_COMMANDS, "import_prices"]``.
PINNED_COMMANDS = (
    *WRITING_COMMANDS,
    "clearsessions",
    "modelsearch.rebuild_modelsearch_index",
    "wagtail.api_tokens",
    "wagtail.convert_mariadb_uuids",
    "wagtail.create_log_entries_from_revisions",
    "wagtail.fixtree",
    "wagtail.move_pages",
    "wagtail.publish_scheduled",
    "wagtail.purge_embeds",
    "wagtail.purge_revisions",
    "wagtail.rebuild_references_index",
    "wagtail.set_url_paths",
    "wagtail.contrib.redirects.import_redirects",
    "wagtail.contrib.search_promotions.searchpromotions_garbage_collect",
    "wagtail.images.wagtail_update_image_renditions",
    "wagtail.search.update_index",
    "wagtail.search.wagtail_update_index",
)

DEFAULTS: dict[str, Any] = {
    # Master databases by alias, each a dict as in DATABASES; None: the setting is missing.
    "MASTER_DATABASES": None,
    # By master alias, a list of dicts: each is a replica and overrides some of the master's settings.
    "DATABASE_SETS": None,
    # Off: everything goes to the master, nothing is pinned, no cookie is set.
    "PINDB_ENABLED": True,
    # Routers (dotted paths, classes or instances) that pick the master alias.
    "PINDB_DELEGATE_ROUTERS": (),
    # Models ("app_label.ModelName") that live on the master and whose writes do not pin.
    "PINDB_UNPINNED_MODELS": (),
    # What StrictPinDbRouter does with a write that was not declared: "raise", or "log" (it pins, and tells).
    "PINDB_STRICT": "raise",
    # Apps and models ("app_label", "app_label.ModelName") whose undeclared writes pin under Strict.
    "PINDB_GREEDY_MODELS": (),
    # Management commands that run pinned, by name; "app.name" is the one of that app only.
    "PINDB_PINNED_COMMANDS": PINNED_COMMANDS,
    # Reads inside an explicit transaction.atomic() on the master go to the master.
    "PINDB_ATOMIC_READS_MASTER": True,
    # Tasks carry the pins of whoever sent them; a dict has the arguments of pindb.celery.install.
    "PINDB_CELERY": False,
    # Tasks of django.tasks read what was written before they start; a dict has the arguments of
    # pindb.tasks.install.
    "PINDB_TASKS": True,
    # Clusters of Redis (or other) servers by name, each as pindb.redis.create_cluster takes it.
    "PINDB_CLUSTERS": {},
    # What ends a pin: "time", or "position" (replicas have caught up with what was written).
    "PINDB_CONSISTENCY": "time",
    # How long a new pin lasts, in seconds; with positions, one whose position cannot be had.
    "PINDB_PINNING_SECONDS": 15,
    # How long a pin that carries a position lasts at most, in seconds.
    "PINDB_POSITION_PIN_SECONDS": 300,
    # How often a process asks a replica for its position at most, in milliseconds.
    "PINDB_POSITION_CHECK_MS": 25,
    # Classes that say positions, by kind of database (see pindb.positions).
    "PINDB_POSITIONS": {},
    # What carries pins from request to request: a class of pindb.stores, or the site's own.
    "PINDB_PIN_STORE": "pindb.stores.CookieStore",
    # CacheStore: the alias of its cache, and what says whose pins a request has.
    "PINDB_PIN_CACHE": "default",
    "PINDB_PIN_CACHE_KEY": "pindb.stores.user_key",
    # HeaderStore: the name of the header in requests and responses.
    "PINDB_PIN_HEADER": "X-Pindb-Pins",
    # How long a replica that failed is passed over before it is tried again, in seconds.
    "PINDB_REPLICA_DOWNTIME": 30,
    # Replicas further behind than this (seconds) are passed over; None: lag is not looked at.
    "PINDB_MAX_REPLICA_LAG": None,
    # Pinned reads go to replicas while the master is down; else they fail.
    "PINDB_READ_REPLICAS_WHEN_MASTER_DOWN": False,
    # The name of the cookie that carries the pins.
    "PINDB_PINNING_COOKIE": "pindb_pinned_set",
}

#: What the cookie's attributes follow where the site says nothing: the session cookie's.
COOKIE_DEFAULTS = {
    f"PINDB_PINNING_COOKIE_{attribute}": f"SESSION_COOKIE_{attribute}"
    for attribute in ("DOMAIN", "PATH", "SECURE", "HTTPONLY", "SAMESITE")
}


class Conf:
    """The settings as attributes. Safe under threads: at worst, two read the same setting."""

    MASTER_DATABASES: Any
    DATABASE_SETS: Any
    PINDB_ENABLED: bool
    PINDB_DELEGATE_ROUTERS: Iterable[Any] | None
    PINDB_UNPINNED_MODELS: Iterable[str]
    PINDB_STRICT: str
    PINDB_GREEDY_MODELS: Iterable[str]
    PINDB_PINNED_COMMANDS: Iterable[str]
    PINDB_ATOMIC_READS_MASTER: bool
    PINDB_CELERY: Any
    PINDB_TASKS: Any
    PINDB_CLUSTERS: Any
    PINDB_CONSISTENCY: str
    PINDB_PINNING_SECONDS: float
    PINDB_POSITION_PIN_SECONDS: float
    PINDB_POSITION_CHECK_MS: float
    PINDB_POSITIONS: Any
    PINDB_PIN_STORE: Any
    PINDB_PIN_CACHE: str
    PINDB_PIN_CACHE_KEY: Any
    PINDB_PIN_HEADER: str
    PINDB_REPLICA_DOWNTIME: float
    PINDB_MAX_REPLICA_LAG: float | None
    PINDB_READ_REPLICAS_WHEN_MASTER_DOWN: bool
    PINDB_PINNING_COOKIE: str
    PINDB_PINNING_COOKIE_DOMAIN: str | None
    PINDB_PINNING_COOKIE_PATH: str
    PINDB_PINNING_COOKIE_SECURE: bool
    PINDB_PINNING_COOKIE_HTTPONLY: bool
    PINDB_PINNING_COOKIE_SAMESITE: Any

    def __getattr__(self, name: str) -> Any:
        # Reached only while the value is not in __dict__ yet.
        if name in COOKIE_DEFAULTS:
            value = getattr(settings, name, getattr(settings, COOKIE_DEFAULTS[name]))
        elif name in DEFAULTS:
            value = getattr(settings, name, DEFAULTS[name])
        else:
            raise AttributeError(f"pindb has no setting named {name!r}")
        self.__dict__[name] = value
        return value

    def forget(self) -> None:
        """Read every setting again at its next use."""
        self.__dict__.clear()


conf = Conf()

Receiver = Callable[[str], object]

_receivers: list[Receiver] = []


def on_change(receiver: Receiver) -> Receiver:
    """Register a function that forgets what was derived from the settings. A decorator.

    Arguments:
        receiver: called with the name of each setting that changes (`override_settings` in tests, that is),
            after `conf` has forgotten the old value. Receivers are called in the order of registration, which
            is the order of imports: what a module builds on has been forgotten before.
    """
    if receiver not in _receivers:
        _receivers.append(receiver)
    return receiver


def _forget(*, setting: str, **kwargs: object) -> None:
    conf.forget()
    for receiver in _receivers:
        receiver(setting)


setting_changed.connect(_forget, dispatch_uid="pindb.conf")


def import_entry(setting: str, entry: Any, what: str) -> Any:
    """What a setting names, if it is a dotted path; else the entry itself.

    Arguments:
        setting: which setting it stands in.
        entry: its value, or one of its values.
        what: what the path should lead to, for the message.

    Raises:
        PinDbConfigError: it cannot be imported.
    """
    if not isinstance(entry, str):
        return entry
    try:
        return import_string(entry)
    except (ImportError, TypeError, ValueError) as error:
        # The last two: '.views.router' and the like, which are no dotted paths.
        raise PinDbConfigError(
            f"{setting} names {entry!r}, which cannot be imported: {error}. Write the dotted path of {what}."
        ) from error
