"""Runs in the environment of the peers, where rb is, and does rounds on request.

One line of JSON in, one out. The first line has the nodes and the keys; it is answered with where rb puts
each key. After it, ``{"subject": name, "count": n}`` looks up all keys n times and is answered with the
seconds, less those of the loop itself.
"""

from __future__ import annotations

import gc
import json
import sys
from importlib import import_module
from timeit import Timer
from typing import Any


def main() -> None:
    setup = json.loads(sys.stdin.readline())
    keys = setup["keys"]
    # They are installed there, not here.
    ring = import_module("rb.ketama").Ketama(setup["nodes"])
    cluster = import_module("rb").Cluster(hosts={number: {} for number in range(setup["hosts"])})
    router = cluster.get_router()
    names: dict[str, dict[str, Any]] = {
        "ring": {"get": ring.get_node},
        "router": {"get": router.get_host_for_key},
        "arithmetic": {"crc32": import_module("rb.utils").crc32, "n": setup["hosts"]},
    }
    statements = dict.fromkeys(names, "get(key)") | {"arithmetic": "crc32(key.encode('utf-8')) % n"}
    _answer({subject: _places(statements[subject], names[subject], keys) for subject in names})
    timers = {
        subject: Timer(f"for key in keys: {statements[subject]}", globals={**names[subject], "keys": keys})
        for subject in names
    }
    loop = Timer("for key in keys: pass", globals={"keys": keys})
    # The same discipline as in `benchmarks.timing.measure`.
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        request = json.loads(line)
        gc.collect()
        count = request["count"]
        _answer(timers[request["subject"]].timeit(count) - loop.timeit(count))


def _places(statement: str, names: dict[str, Any], keys: list[str]) -> list[Any]:
    return eval(f"[{statement} for key in keys]", {**names, "keys": keys})  # type: ignore[no-any-return]


def _answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
