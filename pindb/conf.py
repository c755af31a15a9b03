"""Settings: every setting of pindb with its default, and the registry of what depends on settings.

``conf.PINDB_ENABLED`` is the site's setting, or the default below. A setting is read at its first use and
then kept, until Django's signal ``setting_changed``. So ``override_settings`` works, and reading a setting
costs no more than reading an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from pindb.exceptions import PinDbConfigError

__all__ = ["PINNED_COMMANDS", "WRITING_COMMANDS", "conf", "import_entry", "on_change"]

#: Django's management commands that write to the database of their option ``--database``.
WRITING_COMMANDS = (
    "changepassword",
    "createcachetable",
    "createsuperuser",
    "flush",
    "loaddata",
    "migrate",
    "remove_stale_contenttypes",
)

#: The default of ``PINDB_PINNED_COMMANDS``: the management commands of Django and Wagtail that change data.
#: Sites add their own: ``[*PINNED_COMMANDS, "import_prices"]``.
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
    # The masters by alias, each a dict as in DATABASES. None: the setting is missing.
    "MASTER_DATABASES": None,
    # By the master's alias, a list with one dict per replica: the settings in which it differs.
    "DATABASE_SETS": None,
    # Off: all queries go to the master, nothing is pinned, no cookie is set.
    "PINDB_ENABLED": True,
    # The site's own routers (dotted paths, classes or instances), which pick the set.
    "PINDB_DELEGATE_ROUTERS": (),
    # Models ("app_label.ModelName") that are read and written on the master, and do not pin.
    "PINDB_UNPINNED_MODELS": (),
    # What StrictPinDbRouter does with an undeclared write: "raise", or "log" (pin the set and log the write).
    "PINDB_STRICT": "raise",
    # Apps and models ("app_label", "app_label.ModelName") whose undeclared writes pin under the strict one.
    "PINDB_GREEDY_MODELS": (),
    # Management commands that run pinned: "name", or "app.name" for the command of one app only.
    "PINDB_PINNED_COMMANDS": PINNED_COMMANDS,
    # Reads inside an explicit transaction.atomic() on the master go to the master.
    "PINDB_ATOMIC_READS_MASTER": True,
    # Celery tasks carry the pins of their sender. A dict has the arguments of pindb.celery.install.
    "PINDB_CELERY": False,
    # Tasks of django.tasks read what was written before they start. A dict has the arguments of
    # pindb.tasks.install.
    "PINDB_TASKS": True,
    # Clusters of Redis (or other) servers by name, each a dict for pindb.redis.create_cluster.
    "PINDB_CLUSTERS": {},
    # What ends a pin: "time", or "position" (the replicas have caught up with the writes).
    "PINDB_CONSISTENCY": "time",
    # How long a pin by time lasts, in seconds.
    "PINDB_PINNING_SECONDS": 15,
    # How long a pin with a position lasts at most, in seconds.
    "PINDB_POSITION_PIN_SECONDS": 300,
    # The shortest time between two questions of a process to a replica for its position, in milliseconds.
    "PINDB_POSITION_CHECK_MS": 25,
    # Position backends by database vendor (see pindb.positions).
    "PINDB_POSITIONS": {},
    # The store that keeps pins between requests: a class of pindb.stores, or the site's own.
    "PINDB_PIN_STORE": "pindb.stores.CookieStore",
    # CacheStore: the alias of its cache, and the function that returns whose pins a request has.
    "PINDB_PIN_CACHE": "default",
    "PINDB_PIN_CACHE_KEY": "pindb.stores.user_key",
    # HeaderStore: the name of the header in requests and responses.
    "PINDB_PIN_HEADER": "X-Pindb-Pins",
    # How long a server that failed is not used before it is tried again, in seconds.
    "PINDB_REPLICA_DOWNTIME": 30,
    # Replicas that lag more than this (seconds) are not read. None: lag is not measured.
    "PINDB_MAX_REPLICA_LAG": None,
    # Pinned reads go to replicas while the master is down. Off: they fail.
    "PINDB_READ_REPLICAS_WHEN_MASTER_DOWN": False,
    # The name of the cookie that carries the pins.
    "PINDB_PINNING_COOKIE": "pindb_pinned_set",
}

#: The defaults of the cookie's attributes: those of the session cookie.
COOKIE_DEFAULTS = {
    f"PINDB_PINNING_COOKIE_{attribute}": f"SESSION_COOKIE_{attribute}"
    for attribute in ("DOMAIN", "PATH", "SECURE", "HTTPONLY", "SAMESITE")
}


class Conf:
    """The settings as attributes. Safe under threads: at worst, two threads read the same setting."""

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
        # Called only while the value is not in __dict__ yet.
        if name in COOKIE_DEFAULTS:
            value = getattr(settings, name, getattr(settings, COOKIE_DEFAULTS[name]))
        elif name in DEFAULTS:
            value = getattr(settings, name, DEFAULTS[name])
        else:
            raise AttributeError(f"pindb has no setting {name!r}")
        self.__dict__[name] = value
        return value

    def forget(self) -> None:
        """Read every setting again at its next use."""
        self.__dict__.clear()


conf = Conf()

Receiver = Callable[[str], object]

_receivers: list[Receiver] = []


def on_change(receiver: Receiver) -> Receiver:
    """Register a function that drops what was derived from settings. A decorator.

    Arguments:
        receiver: called with the name of each setting that changes (by ``override_settings`` in tests), after
            `conf` has dropped the old value. Receivers are called in the order of registration, which is the
            order of imports: the modules that a module builds on come first.
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
    """Return the object that an entry of a setting names; an entry that is not text is returned as it is.

    Arguments:
        setting: the name of the setting.
        entry: its value, or one of its values: a dotted path or an object.
        what: what the path should name, for the message.

    Raises:
        PinDbConfigError: the path cannot be imported.
    """
    if not isinstance(entry, str):
        return entry
    try:
        return import_string(entry)
    except (ImportError, TypeError, ValueError) as error:
        # TypeError and ValueError: text that is not a dotted path, such as '.views.router'.
        raise PinDbConfigError(
            f"{setting} names {entry!r}, which cannot be imported: {error}. Write the dotted path of {what}."
        ) from error
