#!/usr/bin/env python3
"""Run the whole test suite, on a bare Python: ``python3 runtests.py [arguments for pytest]``."""

from __future__ import annotations

import sys

import bootstrap


def main() -> int:
    bootstrap.run_inside("test")
    import pytest

    return int(pytest.main(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
