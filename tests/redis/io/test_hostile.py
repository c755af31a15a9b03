"""A server behind a proxy that cuts, delays, hangs, drips and sends garbage, at any byte from the first on.

See `tests.redis.exchanges` for what must hold. There is a fault at each byte of one short exchange. Of all
other faces, faults and bytes there are far too many, and trials are drawn from a seed: see `many_trials`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pindb.testing.redis import TestSetup
from tests.redis.exchanges import DB, HOSTS, USER
from tests.redis.tools import many_trials, run_main, seed_of_trials

#: How many trials are drawn.
TRIALS = 120


@pytest.fixture
def sockets() -> Iterator[list[str]]:
    """The Unix sockets of servers with a user."""
    options: dict[str, Any] = {"servers": HOSTS, "databases_each": DB + 1, **USER}
    with TestSetup(**options) as setup:
        yield [setup.host(server)["unix_socket_path"] for server in range(HOSTS)]


@pytest.mark.parametrize("hiredis", [True, False], ids=["hiredis", "python"])
def test_exchanges_with_a_hostile_server(sockets: list[str], hiredis: bool) -> None:
    # Each byte of RESP2 by hiredis, and more where more is asked for.
    protocols = [2, 3] if many_trials(TRIALS) > TRIALS else [2] * hiredis
    arguments = (sockets, many_trials(TRIALS), seed_of_trials(), protocols)
    done = run_main("tests.redis.exchanges", arguments, hiredis=hiredis)
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-5_000:]
