"""What Nydus's tests take of Python 2, of packages of that time, and of the machine: a plugin of pytest.

They know no port: look-ups of Redis's own are answered with the port of the server that was started for them.
"""

import builtins
import collections
import collections.abc
import inspect
import os
import socket
import sys
import unittest
import unittest.mock
from functools import wraps

PORT = int(os.environ["PINDB_CLIENT_SUITE_PORT"])

builtins.xrange = range
builtins.unicode = str
builtins.basestring = str
collections.Iterable = collections.abc.Iterable
inspect.getargspec = lambda function: inspect.getfullargspec(function)[:4]
sys.modules["mock"] = unittest.mock
sys.modules["unittest2"] = unittest


def plain(value):
    """What Python 2 returns in place of something that has to be gone through."""
    views = range, map, type({}.keys()), type({}.values())
    return list(value) if isinstance(value, views) else value


class TestCase(unittest.TestCase):
    """unittest's of Python 2."""

    def assertEqual(self, first, second, msg=None):  # noqa: N802
        super().assertEqual(plain(first), plain(second), msg)  # noqa: PT009

    assertEquals = assertEqual  # noqa: N815
    assertNotEquals = unittest.TestCase.assertNotEqual  # noqa: N815
    assertItemsEqual = unittest.TestCase.assertCountEqual  # noqa: N815


unittest.TestCase = TestCase

find_address = socket.getaddrinfo


@wraps(find_address)
def find_own_server(host, port, *args, **kwargs):
    return find_address(host, PORT if port == 6379 else port, *args, **kwargs)


socket.getaddrinfo = find_own_server
