"""Comparisons of positions, as text, by database vendor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pindb.positions import BasePositions, MariaDBPositions, MySQLPositions, PostgreSQLPositions

POSTGRESQL, MARIADB, MYSQL = PostgreSQLPositions(), MariaDBPositions(), MySQLPositions()
A, B = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


@pytest.mark.parametrize(
    ("positions", "replayed", "position"),
    [
        (POSTGRESQL, "1:0/16B3748", "1:0/16B3748"),
        (POSTGRESQL, "1:0/16B3749", "1:0/16B3748"),
        # The high half counts more, and both are hexadecimal.
        (POSTGRESQL, "1:1/0", "1:0/FFFFFFFF"),
        (POSTGRESQL, "1:10/0", "1:F/0"),
        # What was there before a promotion is there after it.
        (POSTGRESQL, "2:0/16B3748", "1:0/16B3748"),
        (POSTGRESQL, "1:0/16B3748!", "1:0/16B3748"),
        (MARIADB, "0-1-100", "0-1-100"),
        (MARIADB, "0-1-101", "0-1-100"),
        (MARIADB, "0-1-5,3-2-9", "3-2-7"),
        (MARIADB, "3-2-9,0-1-5", "0-1-5,3-2-9"),
        (MARIADB, "0-1-1", ""),
        (MYSQL, f"{A}:1-5", f"{A}:1-5"),
        (MYSQL, f"{A}:1-9", f"{A}:2-3:7"),
        (MYSQL, f"{A}:1-5,{B}:1-9", f"{B}:9"),
        (MYSQL, f"{A.upper()}:1-5", f"{A}:5"),
        (MYSQL, f"{A}:1-3:tag:1-9", f"{A}:tag:4"),
        (MYSQL, f"{A}:1", ""),
    ],
)
def test_a_replica_that_has_got_there(positions: BasePositions, replayed: str, position: str) -> None:
    assert positions.has_reached(replayed, position)


@pytest.mark.parametrize(
    ("positions", "replayed", "position"),
    [
        (POSTGRESQL, "1:0/16B3747", "1:0/16B3748"),
        (POSTGRESQL, "1:0/FFFFFFFF", "1:1/0"),
        (POSTGRESQL, "2:0/16B3747", "1:0/16B3748"),
        # Numbers of an earlier timeline say nothing about a later one.
        (POSTGRESQL, "1:9/0", "2:0/16B3748"),
        # It follows nobody: what belongs to another timeline it may never have had.
        (POSTGRESQL, "2:9/0!", "1:0/16B3748"),
        (MARIADB, "0-1-99", "0-1-100"),
        (MARIADB, "", "0-1-1"),
        (MARIADB, "0-1-100", "1-1-1"),
        (MARIADB, "0-1-100,1-1-1", "0-1-100,1-1-2"),
        # There was a failover in between.
        (MARIADB, "0-2-101", "0-1-100"),
        (MYSQL, f"{A}:1-4", f"{A}:1-5"),
        (MYSQL, f"{A}:1-4:6", f"{A}:5"),
        (MYSQL, f"{A}:1-4:6-9", f"{A}:4-6"),
        (MYSQL, f"{A}:1-9", f"{B}:1"),
        (MYSQL, f"{A}:1-9", f"{A}:tag:1"),
        (MYSQL, "", f"{A}:1"),
    ],
)
def test_a_replica_that_has_not(positions: BasePositions, replayed: str, position: str) -> None:
    assert not positions.has_reached(replayed, position)


@pytest.mark.parametrize(
    ("positions", "texts"),
    [
        (POSTGRESQL, ["nonsense", "1:2/x", "x:0/1", "1", "0/16B3748", ""]),
        (MARIADB, ["nonsense", "1-2", "1-2-3-4", "0-1-x", "1:0/16B3748"]),
        (MYSQL, ["nonsense", f"{A}:1-x", A, f"{A}:tag", f"{A}:1-2-3", "1:0/16B3748"]),
    ],
)
def test_a_text_that_is_no_position_is_an_error(positions: BasePositions, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError):  # noqa: PT011 (whatever it says)
            positions.has_reached(text, text)


numbers = st.sets(st.integers(1, 30))


def gtid_set(transactions: set[int]) -> str:
    """A server's transactions as MySQL writes them: ranges without gaps."""
    ranges: list[list[int]] = []
    for number in sorted(transactions):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    texts = [f"{low}-{high}" if low < high else str(low) for low, high in ranges]
    return ":".join([A, *texts]) if texts else ""


@given(numbers, numbers)
def test_mysql_compares_as_sets_do(replayed: set[int], position: set[int]) -> None:
    assert MYSQL.has_reached(gtid_set(replayed), gtid_set(position)) == (position <= replayed)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_postgresql_compares_as_numbers_do(replayed: int, position: int) -> None:
    texts = [f"1:{number >> 32:X}/{number & 0xFFFFFFFF:X}" for number in (replayed, position)]
    assert POSTGRESQL.has_reached(texts[0], texts[1]) == (replayed >= position)
