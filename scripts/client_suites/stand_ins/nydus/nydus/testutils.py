"""Helpers of Nydus's tests."""

import unittest
from functools import cached_property as fixture  # noqa: F401


class BaseTest(unittest.TestCase):
    pass
