"""Runs in the environment of the peers, where rb and its old redis-py are, and does rounds on request.

One line of JSON in, one out. The first line has the hosts and the load; it is answered when rb has shown that
it does each job right. After it, ``{"case": name, "count": n}`` does that case's job n times and is answered
with the seconds; `MEMORY` is answered with bytes.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from importlib import import_module
from timeit import Timer
from typing import Any

from benchmarks.map.jobs import MEMORY, Job, Load, check, jobs, memory


def main() -> None:
    setup = json.loads(sys.stdin.readline())
    hosts = {int(host_id): host for host_id, host in setup["hosts"].items()}
    load = Load(
        keys=setup["keys"],
        values=[value.encode() for value in setup["values"]],
        single_keys=setup["single_keys"],
        single_values=[value.encode() for value in setup["single_values"]],
    )
    # It is installed there, not here.
    cluster = import_module("rb").Cluster(hosts=hosts)
    work = jobs(cluster, load)
    check(work, load)
    _answer(os.getpid())
    # The same discipline as in `benchmarks.timing.measure`.
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        request = json.loads(line)
        if request["case"] == MEMORY:
            _answer(memory(cluster, load))
        else:
            _answer(_time(work[request["case"]], request["count"]))


def _time(job: Job, count: int) -> float:
    gc.collect()
    return Timer(job).timeit(count)


def _answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
