"""The Redis servers that the tests of `pindb.redis` run on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pindb.testing.redis import TestSetup


@pytest.fixture(scope="session")
def servers() -> Iterator[TestSetup]:
    """Four servers on Unix sockets, with eight databases each; all run, and are empty, as a test begins."""
    with TestSetup(servers=4, databases_each=8) as setup:
        yield setup


@pytest.fixture(autouse=True)
def clean_servers(servers: TestSetup) -> Iterator[None]:
    """Undo what a test did to the servers."""
    yield
    for server in range(servers.servers):
        servers.resume(server)
        if not servers.is_running(server):
            servers.start(server)
    servers.flush()
