"""Log events: the page that lists them agrees with the code, and every line follows one scheme."""

from __future__ import annotations

import ast
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

import pindb
from pindb import _events as events
from pindb._events import EVENTS, Event
from pindb.sets.aliases import RoutedAlias

PACKAGE = Path(pindb.__file__).parent
PAGE = (PACKAGE.parent / "docs" / "reference" / "logging.md").read_text()

#: The rows of the page's tables of events: name, level, and fields.
ROWS = {
    name: (level, tuple(re.findall(r"`(\w+)`", fields)))
    for name, level, fields in re.findall(r"^\| `(\w+)` \| ([A-Z]+) \| ([^|]*) \|", PAGE, re.M)
}

by_name = pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)


def test_the_page_lists_the_events_of_the_code_and_no_others() -> None:
    assert list(ROWS) == [event.name for event in EVENTS]


@by_name
def test_the_page_has_the_level_and_the_fields_of_an_event(event: Event) -> None:
    assert ROWS[event.name] == (logging.getLevelName(event.level), event.fields)


@by_name
def test_no_field_is_an_attribute_that_records_have_anyway(event: Event) -> None:
    record = logging.makeLogRecord({})
    assert {"event", *event.fields}.isdisjoint({*vars(record), "message", "asctime"})


def calls() -> list[tuple[str, str, set[str]]]:
    """The places in the code that log: file and line, the event's constant, and the names of the fields."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "log"
                and isinstance(node.func.value, ast.Attribute)
                and isinstance(node.func.value.value, ast.Name)
                and node.func.value.value.id == "events"
            ):
                names = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
                if any(keyword.arg is None for keyword in node.keywords):
                    names |= {"file", "line", "function"}
                found.append((f"{path.name}:{node.lineno}", node.func.value.attr, names))
    return found


@pytest.mark.parametrize(("place", "constant", "names"), calls())
def test_a_call_gives_all_fields_of_its_event(place: str, constant: str, names: set[str]) -> None:
    event: Event = getattr(events, constant)
    assert names == set(event.fields)


def test_only_events_are_logged() -> None:
    others = [
        path.name
        for path in PACKAGE.rglob("*.py")
        if path.name != "_events.py" and "getLogger" in path.read_text()
    ]
    assert others == []


def test_a_record_that_is_sent_to_another_process_has_the_alias_of_the_replica(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events.REPLICA_UP.log(alias=RoutedAlias("default-0", "default"), down_for=1.0)
    (record,) = caplog.records
    assert vars(pickle.loads(pickle.dumps(record)))["alias"] == "default-0"


@by_name
def test_a_record_has_the_name_and_the_fields(event: Event, caplog: pytest.LogCaptureFixture) -> None:
    numbers = {name for name, kind in re.findall(r"%\((\w+)\)\S*?([fds])", event.text) if kind != "s"}
    fields: dict[str, Any] = {name: 1 if name in numbers else name for name in event.fields}
    fields.pop("error", None)
    has_error = "error" in event.fields
    with caplog.at_level(logging.DEBUG, logger="pindb"):
        event.log(error=OSError("a\n  b") if has_error else None, **fields)
    (record,) = caplog.records
    assert (record.name, record.levelno, record.filename) == ("pindb", event.level, "test_logging.py")
    expected = {"event": event.name, **fields, **({"error": "a b"} if has_error else {})}
    assert {name: vars(record)[name] for name in expected} == expected
    assert record.getMessage().endswith(" (a b)") == has_error
