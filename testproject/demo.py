#!/usr/bin/env python3
"""Watch pindb route a site's reads and writes: ``python3 testproject/demo.py`` on a bare Python."""

from __future__ import annotations

import sys
from pathlib import Path

# The root instead of this folder, whose modules are found as testproject.*.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

import bootstrap  # noqa: E402
from testproject.walk import cli  # noqa: E402


def main() -> int:
    """Make the environment where it is missing, and run the demo in it."""
    # First, so that --help and mistakes are answered without installing anything.
    options = cli.parse(sys.argv[1:], "demo.py")
    bootstrap.run_inside("demo")
    return cli.run(options)


if __name__ == "__main__":
    sys.exit(main())
