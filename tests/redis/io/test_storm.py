"""Exceptions of signal handlers at any bytecode, as of soft time limits and Ctrl-C."""

from __future__ import annotations

import json
import signal

import pytest

from pindb.testing.redis import TestSetup
from tests.redis.tools import many_trials, run_main, seed_of_trials

#: How long each storm lasts.
SECONDS = 2

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no setitimer()")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("hiredis", [True, False], ids=["hiredis", "python"])
def test_what_a_signal_handler_raises_leaves_nothing_half_done(
    servers: TestSetup, hiredis: bool, protocol: int
) -> None:
    hosts = [servers.host(server, 1) for server in range(3)]
    arguments = (hosts, many_trials(SECONDS), seed_of_trials(), protocol)
    done = run_main("tests.redis.io.storm", arguments, hiredis=hiredis)
    assert done.returncode == 0, done.stderr[-5000:]
    seen = json.loads(done.stdout)
    assert seen["strikes"] > 50
    assert seen["wrong"] == {}, "\n\n".join(f"{what}: {one}" for what, one in seen["examples"].items())
