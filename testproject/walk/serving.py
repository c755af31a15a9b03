"""The site for people: up until it is told to stop."""

from __future__ import annotations

import argparse
import json
import time

from pindb.testing.processes import free_port
from testproject.servers import MODES
from testproject.walk.report import make_console
from testproject.walk.stage import DELAY, LAGGING, PASSWORD, USER, Stage
from testproject.walk.story import GREEDY, STRICT

__all__ = ["serve"]

#: How long a pin by time lasts, in seconds: long enough to look around.
PINNING_SECONDS = 15

#: What ends the pins of the sites; the first is where visitors begin.
CONSISTENCIES = ("position", "time")


def serve(options: argparse.Namespace) -> int:
    """Keep the site up.

    Returns:
        The exit status, where the site ended by itself; Ctrl-C ends this function with an exception.
    """
    console = make_console()
    router = STRICT if options.strict else GREEDY
    with Stage.set_up(options.broken, lambda text: console.print(f"{text} ...", style="dim")) as stage:
        console.print("Starting the site, once with each kind of pins ...", style="dim")
        ports = {consistency: free_port() for consistency in CONSISTENCIES}
        modes = {consistency: f"http://127.0.0.1:{port}/" for consistency, port in ports.items()}
        with stage.remote_control() as environment:
            environment |= {MODES: json.dumps(modes), "PINDB_DEMO_PINNING_SECONDS": str(PINNING_SECONDS)}
            sites = [
                stage.start_site(router, consistency, port, **environment)
                for consistency, port in ports.items()
            ]
            for site in sites:
                site.wait_until_up()
            console.print(f"""
The notice board:  [bold]{modes["position"]}[/]
Pins by time:      {modes["time"]}
Its admin:         {modes["position"]}admin/
Log in as:         {USER}, with the password {PASSWORD}

The router is {router}. {LAGGING} is {DELAY:g} seconds behind.
Post a notice, then pause, kill and start replicas with the buttons of the page.
At its foot every page says which database served each of its queries.
Ctrl-C stops everything.""")
            while all(site.is_running() for site in sites):
                time.sleep(0.2)
            logs = "\n".join(site.log() for site in sites if not site.is_running())
            raise RuntimeError(f"the site has ended. Its log ends:\n{logs}")
