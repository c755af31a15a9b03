"""``python -m testproject.walk``: the demo in the environment that is there, with nothing installed first."""

from __future__ import annotations

import sys

from testproject.walk import cli

sys.exit(cli.run(cli.parse(sys.argv[1:], "python -m testproject.walk")))
