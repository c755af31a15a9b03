"""What replies of a Redis Cluster say about where a command belongs, and commands with ASKING before them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from pindb.redis.core.redirects import LONGEST_PAUSE, Redirect, find_redirect, pause_before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MovedError("3999 127.0.0.1:6381"), Redirect("MOVED", 3999, ("127.0.0.1", 6381))),
        (AskError("3999 cache.example.org:6381"), Redirect("ASK", 3999, ("cache.example.org", 6381))),
        (MovedError("0 2001:db8::1:6381"), Redirect("MOVED", 0, ("2001:db8::1", 6381))),
        # The host of the node that replied.
        (MovedError("16383 :6381"), Redirect("MOVED", 16383, ("", 6381))),
        (TryAgainError("Multiple keys request during rehashing of slot"), Redirect("TRYAGAIN")),
    ],
)
def test_replies_that_send_commands_elsewhere(error: RedisError, expected: Redirect) -> None:
    assert find_redirect(error) == expected


@pytest.mark.parametrize("kind", [ClusterDownError, ConnectionError, ResponseError, ValueError])
def test_other_errors_say_nothing(kind: Any) -> None:
    assert find_redirect(kind("MOVED 3999 127.0.0.1:6381")) is None


@given(st.integers(1, 10_000))
def test_pauses_grow_up_to_a_limit(attempt: int) -> None:
    assert 0 < pause_before(attempt) <= LONGEST_PAUSE * 1.5
    assert pause_before(1) <= 0.01
