"""The demo's command line. Imports nothing but the standard library until the environment is there."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

__all__ = ["parse", "run"]


def parse(arguments: list[str], program: str) -> argparse.Namespace:
    """The options; ends the program on ``--help`` and on mistakes."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Start a PostgreSQL master with two streaming replicas, one of them two seconds behind, "
        "and a notice board on them; walk through it with real visitors, and print which database answered "
        "each query and whether what it said was stale. Then once more with pins that go by positions, and "
        "with a replica that is killed.",
        epilog="Exit status: 0, every query went where it should, no writer read stale data, and no reader "
        "noticed the killed replica; 1, something was not so, or could not be started; 2, wrong options.",
    )
    parser.add_argument("--serve", action="store_true", help="keep the site up to try it in a browser")
    parser.add_argument(
        "--strict", action="store_true", help="with --serve: StrictPinDbRouter instead of GreedyPinDbRouter"
    )
    parser.add_argument(
        "--break",
        dest="broken",
        choices=["middleware", "router"],
        help="break the site's routing on purpose (no PinDbMiddleware; a router that reads nothing but "
        "replicas), to see that the demo notices",
    )
    options = parser.parse_args(arguments)
    if options.strict and not options.serve:
        parser.error("--strict goes with --serve; the walk shows both routers")
    return options


class Interrupted(BaseException):
    """The program was asked to end by a signal. Not an `Exception`, like KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run(options: argparse.Namespace) -> int:
    """Run the demo; everything that it started has ended when this returns.

    Returns:
        The exit status.
    """
    # SIGINT too: a shell starts programs in the background with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal without Unicode gets question marks, not an error.
        sys.stdout.reconfigure(errors="replace")
    try:
        return _run(options)
    except Interrupted as interrupted:
        print(f"\nStopped by {interrupted}.", file=sys.stderr)
        # Ending the served site like this is what its user is told to do.
        return 0 if options.serve else 128 + interrupted.number
    except BrokenPipeError:
        # Whoever read the output has gone: nothing to say, and nobody to say it to.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 1


def _run(options: argparse.Namespace) -> int:
    import httpx

    from testproject.walk import serving, story

    try:
        return serving.serve(options) if options.serve else story.tell(options.broken)
    except (RuntimeError, OSError, httpx.HTTPError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        print(f"\nThe demo could not go on: {error}", file=sys.stderr)
        return 1


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    # Once: what is being stopped is not to be interrupted again by an impatient second Ctrl-C.
    for other in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(other, signal.SIG_IGN)
    raise Interrupted(number)
