"""What is wrong with the other settings."""

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
from pindb.routing.settings import greedy_models, load_delegates, unpinned_models
from pindb.sets.definitions import get_sets
from pindb.sets.positions import find_positions, load_positions

__all__ = ["check_consistency", "check_names", "check_values"]


class Number(NamedTuple):
    """What a setting that is a number may be."""

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
        "pindb.E004", "a number of seconds above 0; replication lag should stay below it"
    ),
    "PINDB_POSITION_PIN_SECONDS": Number("pindb.E011", "a number of seconds above 0"),
    "PINDB_POSITION_CHECK_MS": Number("pindb.E011", "a number of milliseconds, 0 or more", may_be_least=True),
    "PINDB_REPLICA_DOWNTIME": Number("pindb.E011", "a number of seconds, 0 or more", may_be_least=True),
    "PINDB_MAX_REPLICA_LAG": Number(
        "pindb.E011", "a number of seconds above 0, or None to leave lag alone", may_be_none=True
    ),
}


#: What the names of pindb's settings begin with, but for those of the databases.
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
    """Numbers, truth values, names and dotted paths: E004, E006, E007, E011, E014 to E016, E020."""
    errors: list[CheckMessage] = []
    for name, number in NUMBERS.items():
        value = getattr(conf, name)
        if not number.allows(value):
            more = f"; from the environment: float(os.environ[{name!r}])" if isinstance(value, str) else ""
            errors.append(Error(f"{name} is {value!r}.", hint=f"Write {number.what}{more}.", id=number.code))
    for name in BOOLEANS:
        # What a cookie's attribute follows is Django's to judge.
        value = getattr(conf, name) if name in DEFAULTS else getattr(settings, name, False)
        if not isinstance(value, bool):
            default = "1" if DEFAULTS.get(name) else "0"
            hint = f'{name} = os.environ.get("{name}", "{default}") == "1"'
            errors.append(
                Error(
                    f"{name} is {value!r}{_counts_as(value)}.",
                    hint=f"Write True or False; from the environment: {hint}.",
                    id="pindb.E015",
                )
            )
    for name, module in INSTALLED_BY.items():
        value = getattr(conf, name)
        if not isinstance(value, (bool, dict)):
            hint = (
                f"Write True or False, or a dict with the arguments of {module}.install: {{'wait': '200ms'}}."
            )
            errors.append(Error(f"{name} is {value!r}{_counts_as(value)}.", hint=hint, id="pindb.E016"))
    errors += failures("pindb.E006", "PINDB_DELEGATE_ROUTERS", load_delegates)
    errors += failures("pindb.E007", "PINDB_UNPINNED_MODELS", unpinned_models)
    errors += failures("pindb.E014", "PINDB_GREEDY_MODELS", greedy_models)
    if conf.PINDB_STRICT not in ("raise", "log"):
        hint = "Write 'raise', or 'log' while a site is moved to StrictPinDbRouter."
        errors.append(Error(f"PINDB_STRICT is {conf.PINDB_STRICT!r}.", hint=hint, id="pindb.E014"))
    errors += failures("pindb.E020", "PINDB_PINNED_COMMANDS", pinned_commands)
    return errors


def _counts_as(value: Any) -> str:
    """Return what text is where a truth value is meant: "False" is true."""
    return f", which counts as {bool(value)}" if isinstance(value, str) else ""


@register("pindb")
def check_names(**kwargs: Any) -> list[CheckMessage]:
    """Settings that pindb does not have: W020."""
    known = {*DEFAULTS, *COOKIE_DEFAULTS}
    warnings: list[CheckMessage] = []
    for name in sorted({name for name in dir(settings) if name.startswith(PREFIX)} - known):
        # What all of them begin with makes none of them alike.
        meant = nearest(name[len(PREFIX) :], [one[len(PREFIX) :] for one in known if one.startswith(PREFIX)])
        warnings.append(
            Warning(
                f"pindb has no setting {name}: it does nothing.",
                hint=f"Write {PREFIX}{meant}."
                if meant
                else "Remove it; the documentation lists all settings.",
                id="pindb.W020",
            )
        )
    return warnings


@register("pindb")
def check_consistency(**kwargs: Any) -> list[CheckMessage]:
    """What ends pins: E010, E012, W007, W015. Nothing is connected to."""
    if conf.PINDB_CONSISTENCY not in ("time", "position"):
        return [
            Error(
                f"PINDB_CONSISTENCY is {conf.PINDB_CONSISTENCY!r}.",
                hint="Write 'time' or 'position'.",
                id="pindb.E010",
            )
        ]
    wrong = list(failures("pindb.E012", "PINDB_POSITIONS", load_positions))
    if wrong or not conf.PINDB_ENABLED:
        return wrong
    messages = list(_check_kinds())
    if conf.PINDB_CONSISTENCY == "position" or conf.PINDB_MAX_REPLICA_LAG is not None:
        messages += _check_vendors()
    return messages


def _check_kinds() -> Iterator[CheckMessage]:
    if not conf.PINDB_POSITIONS:
        return
    vendors = {connections[alias].vendor for alias in connections.settings}
    # Django counts MariaDB as MySQL.
    kinds = vendors | {"mariadb"} if "mysql" in vendors else vendors
    for kind in conf.PINDB_POSITIONS:
        if kind not in kinds:
            meant = nearest(kind, kinds)
            yield Warning(
                f"PINDB_POSITIONS has the kind of database {kind!r}, and DATABASES has none of that kind.",
                hint=f"Write {meant!r}."
                if meant
                else f"Write one of {', '.join(map(repr, sorted(kinds)))}, or drop the entry.",
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
        if connection.vendor != "mysql" and find_positions(connection) is None:
            yield Warning(
                f"pindb knows no positions of {connection.vendor!r}, the database {alias!r}: its pins go by "
                "time, and the lag of its replicas is not looked at.",
                hint="Add a class to PINDB_POSITIONS, or silence this check if that is meant.",
                id="pindb.W007",
            )
