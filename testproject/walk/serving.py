"""The site for people: up until it is told to stop."""

from __future__ import annotations

import argparse
import time

from testproject.walk.report import make_console
from testproject.walk.stage import DELAY, LAGGING, PASSWORD, PINNING_SECONDS, USER, Stage
from testproject.walk.story import GREEDY, STRICT

__all__ = ["serve"]


def serve(options: argparse.Namespace) -> int:
    """Keep the site up.

    Returns:
        The exit status, where the site ended by itself; Ctrl-C ends this function with an exception.
    """
    console = make_console()
    router = STRICT if options.strict else GREEDY
    with Stage.set_up(options.broken, lambda text: console.print(f"{text} ...", style="dim")) as stage:
        console.print("Starting the site ...", style="dim")
        (site,) = stage.open_sites(router)
        console.print(f"""
The notice board:  [bold]{site.address}/[/]
Its admin:         {site.address}/admin/
Log in as:         {USER}, with the password {PASSWORD}

The router is {router}. A pin lasts {PINNING_SECONDS:g} seconds; {LAGGING} is {DELAY:g} seconds behind.
At its foot every page says which database served each of its queries.
Ctrl-C stops everything.""")
        while site.is_running():
            time.sleep(0.2)
        raise RuntimeError(f"the site has ended. Its log ends:\n{site.log()}")
