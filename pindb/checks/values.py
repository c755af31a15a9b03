"""Checks of single settings: numbers, booleans, names, dotted paths, and unknown settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections

from pindb.checks.reporting import failures, nearest
from pindb.conf import COOKIE_DEFAULTS, DEFAULTS, conf
from pindb.exceptions import PinDbConfigError
from pindb.management.pinned import pinned_commands
from pindb.routing.delegates import load_delegates
from pindb.routing.model_lists import greedy_models, unpinned_models
from pindb.sets.definitions import get_sets
from pindb.sets.positions import get_backend, load_backends

__all__ = ["check_consistency", "check_names", "check_values"]


class Number(NamedTuple):
    """The valid values of a setting that is a number."""

    code: str
    what: str
    least: float = 0
    may_be_least: bool = False
    may_be_none: bool = False

    def allows(self, value: Any) -> bool:
        if value is None:
            return self.may_be_none
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return (value == self.least and self.may_be_least) or self.least < value < 1e9


NUMBERS = {
    "PINDB_PINNING_SECONDS": Number(
        "pindb.E004", "a number of seconds above 0, larger than the usual replication lag"
    ),
    "PINDB_POSITION_PIN_SECONDS": Number("pindb.E011", "a number of seconds above 0"),
    "PINDB_POSITION_CHECK_MS": Number("pindb.E011", "a number of milliseconds, 0 or more", may_be_least=True),
    "PINDB_REPLICA_DOWNTIME": Number("pindb.E011", "a number of seconds, 0 or more", may_be_least=True),
    "PINDB_MAX_REPLICA_LAG": Number(
        "pindb.E011", "a number of seconds above 0, or None to not measure lag", may_be_none=True
    ),
}


#: The prefix of all settings except MASTER_DATABASES and DATABASE_SETS.
PREFIX = "PINDB_"

#: Settings that are True, False, or a dict with the arguments of a module's `install`.
INSTALLED_BY = {"PINDB_CELERY": "pindb.celery", "PINDB_TASKS": "pindb.tasks"}

#: Settings that are True or False.
BOOLEANS = (
    *(name for name, value in DEFAULTS.items() if isinstance(value, bool) and name not in INSTALLED_BY),
    "PINDB_PINNING_COOKIE_SECURE",
    "PINDB_PINNING_COOKIE_HTTPONLY",
)


@register("pindb")
def check_values(**kwargs: Any) -> list[CheckMessage]:
    """Check numbers, booleans, names and dotted paths: E004, E006, E007, E011, E014 to E016, E020."""
    errors: list[CheckMessage] = []
    for name, number in NUMBERS.items():
        value = getattr(conf, name)
        if not number.allows(value):
            more = f", with the environment: float(os.environ[{name!r}])" if isinstance(value, str) else ""
            errors.append(
                Error(
                    f"{name} is {value!r}, which is not valid.",
                    hint=f"Write {number.what}{more}.",
                    id=number.code,
                )
            )
    for name in BOOLEANS:
        # Django checks the settings of its session cookie, which the attributes default to.
        value = getattr(conf, name) if name in DEFAULTS else getattr(settings, name, False)
        if not isinstance(value, bool):
            default = "1" if DEFAULTS.get(name) else "0"
            hint = f'{name} = os.environ.get("{name}", "{default}") == "1"'
            errors.append(
                Error(
                    f"{name} is {value!r}{_counts_as(value)}, not a boolean.",
                    hint=f"Write True or False, with the environment: {hint}.",
                    id="pindb.E015",
                )
            )
    for name, module in INSTALLED_BY.items():
        value = getattr(conf, name)
        if not isinstance(value, (bool, dict)):
            hint = (
                f"Write True or False, or a dict with the arguments of {module}.install: {{'wait': '200ms'}}."
            )
            errors.append(
                Error(
                    f"{name} is {value!r}{_counts_as(value)}, not a boolean or dict.",
                    hint=hint,
                    id="pindb.E016",
                )
            )
    errors += failures("pindb.E006", "PINDB_DELEGATE_ROUTERS", load_delegates)
    errors += failures("pindb.E007", "PINDB_UNPINNED_MODELS", unpinned_models)
    errors += failures("pindb.E014", "PINDB_GREEDY_MODELS", greedy_models)
    if conf.PINDB_STRICT not in ("raise", "log"):
        hint = "Write 'raise', or 'log' while you move a site to StrictPinDbRouter."
        message = f"PINDB_STRICT is {conf.PINDB_STRICT!r}, which is not valid."
        errors.append(Error(message, hint=hint, id="pindb.E014"))
    errors += failures("pindb.E020", "PINDB_PINNED_COMMANDS", pinned_commands)
    return errors


def _counts_as(value: Any) -> str:
    """Return how Python reads text as a boolean, as a part of a message: "False" is true."""
    return f", which counts as {bool(value)}" if isinstance(value, str) else ""


@register("pindb")
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """Check for unknown settings: W020."""
    known = {*DEFAULTS, *COOKIE_DEFAULTS}
    warnings: list[CheckMessage] = []
    for name in sorted({name for name in dir(settings) if name.startswith(PREFIX)} - known):
        # Compared without the prefix, which would make all names similar.
        meant = nearest(name[len(PREFIX) :], [one[len(PREFIX) :] for one in known if one.startswith(PREFIX)])
        warnings.append(
            Warning(
                f"pindb has no setting {name}, so it has no effect.",
                hint=f"Write {PREFIX}{meant}."
                if meant
                else "Remove the setting. The documentation lists all settings.",
                id="pindb.W020",
            )
        )
    return warnings


@register("pindb")
def check_consistency(**kwargs: Any) -> list[CheckMessage]:
    """Check the consistency mode, without connecting to databases: E010, E012, W007, W015."""
    if conf.PINDB_CONSISTENCY not in ("time", "position"):
        return [
            Error(
                f"PINDB_CONSISTENCY is {conf.PINDB_CONSISTENCY!r}, which is not valid.",
                hint="Write 'time' or 'position'.",
                id="pindb.E010",
            )
        ]
    wrong = list(failures("pindb.E012", "PINDB_POSITIONS", load_backends))
    if wrong or not conf.PINDB_ENABLED:
        return wrong
    messages = list(_check_position_keys())
    if conf.PINDB_CONSISTENCY == "position" or conf.PINDB_MAX_REPLICA_LAG is not None:
        messages += _check_vendors()
    return messages


def _check_position_keys() -> Iterator[CheckMessage]:
    if not conf.PINDB_POSITIONS:
        return
    vendors = {connections[alias].vendor for alias in connections.settings}
    # Django counts MariaDB as MySQL.
    known = vendors | {"mariadb"} if "mysql" in vendors else vendors
    for vendor in conf.PINDB_POSITIONS:
        if vendor not in known:
            meant = nearest(vendor, known)
            yield Warning(
                f"PINDB_POSITIONS has the vendor {vendor!r}, but DATABASES has no database of that vendor.",
                hint=f"Write {meant!r}."
                if meant
                else f"Write one of {', '.join(map(repr, sorted(known)))}, or remove the entry.",
                id="pindb.W015",
            )


def _check_vendors() -> Iterator[CheckMessage]:
    try:
        sets = get_sets()
    except PinDbConfigError:  # check_sets reports it
        return
    for alias, replicas in sets.replicas.items():
        if not replicas or alias not in settings.DATABASES:
            continue
        connection = connections[alias]
        if connection.vendor != "mysql" and get_backend(connection) is None:
            yield Warning(
                f"The database {alias!r} has the vendor {connection.vendor!r}, for which there is no "
                "position backend: its pins go by time, and the lag of its replicas is not measured.",
                hint="Add a position backend to PINDB_POSITIONS, or silence this check.",
                id="pindb.W007",
            )
