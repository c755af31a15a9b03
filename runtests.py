#!/usr/bin/env python3
"""Run the test suite, on a bare Python: ``python3 runtests.py [arguments for pytest]``.

Without arguments the whole suite runs in several processes; ``-n 2 --dist worksteal`` does so with others.
"""

from __future__ import annotations

import os
import sys

import bootstrap


def main() -> int:
    bootstrap.run_inside("test")
    import pytest

    return int(pytest.main(sys.argv[1:] or parallel()))


def parallel() -> list[str]:
    """Arguments for several processes, which each have servers of their own.

    More than four would mostly start servers.
    """
    return ["-n", str(max(2, min(os.cpu_count() or 2, 4))), "--dist", "worksteal"]


if __name__ == "__main__":
    sys.exit(main())
