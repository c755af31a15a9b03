"""Where the site's databases are: told by an environment variable, since every run starts its own."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["VARIABLE", "load", "require"]

#: Holds JSON: {"masters": what MASTER_DATABASES is to be, "sets": what DATABASE_SETS is to be}.
VARIABLE = "PINDB_DEMO_DATABASES"


def load() -> tuple[dict[str, Any], dict[str, Any]]:
    """``MASTER_DATABASES`` and ``DATABASE_SETS``; without addresses, where the variable is missing.

    Tools that only import the settings (type checkers, documentation) can do so without any server.
    """
    value = os.environ.get(VARIABLE)
    if value is None:
        return {"default": {"ENGINE": "django.db.backends.postgresql"}}, {"default": []}
    addresses = json.loads(value)
    return addresses["masters"], addresses["sets"]


def require() -> None:
    """End the program with a message that says what to do, where the variable is missing."""
    if VARIABLE not in os.environ:
        sys.exit(
            f"The site does not know its databases: the environment variable {VARIABLE} is missing.\n"
            "To run it on a master and two replicas of its own: python3 testproject/demo.py --serve\n"
            f'To run it on yours: {VARIABLE}=\'{{"masters": {{"default": {{...}}}}, '
            '"sets": {"default": [{...}]}}\', with the settings of each database as in DATABASES.'
        )
