#!/usr/bin/env python3
"""Django's command line for the site."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The package of the site is found from the project's root, wherever this is called from.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Run the command that the arguments name."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    from django.core.management import execute_from_command_line

    from testproject import addresses

    addresses.require()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
