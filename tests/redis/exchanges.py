"""Short exchanges with three servers, one of them behind a `HostileProxy`, and what must hold.

Each trial is one exchange by one of pindb's faces with one fault. It has a port of the proxy, a cluster and
keys of its own, so trials run side by side.
"""

from __future__ import annotations

import os
import pickle
import queue
import random
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from pindb.cache import ShardedRedisCache
from pindb.redis import Cluster, HostTimeoutError, Promise, RoutedCluster, create_cluster
from pindb.redis.facade.results import get_value
from tests.redis.io.hostile import AT_A_BYTE, AT_THE_DOOR, Fault, HostileProxy
from tests.redis.tools import in_use, keys_of

#: The servers, and their database: with a user and a database, client and server have more to say at first.
USER = {"username": "me", "password": "geheim"}
HOSTS = 3
DB = 1

#: Seconds: for a map with a timeout; for a connection; what the work itself may add.
TIMEOUT = 0.5
SOCKET_TIMEOUT = 0.4
SLACK = 0.3
#: Where a busy machine may be why it took longer, by less than this, a trial is tried so often again, alone.
BUSY = 2.0
ALONE = 3
PERHAPS = "(unless the machine was busy) "
#: After so long a trial hangs.
FOR_EVER = 30.0

#: How many trials run side by side: most of them wait.
THREADS = 16

DEEP = "*1\r\n" * 3000

#: What no server says, and a parser has to refuse.
BROKEN = (
    "\0\xff\xfegarbage\r\n\r\n",
    "HTTP/1.1 400 Bad Request\r\n\r\n",
    "$-7\r\n",
    "$99999999999999999999\r\n",
    "*4294967295\r\n",
    "*-7\r\n",
    ":not a number\r\n",
    DEEP,
)
#: What a server may say, but not as an answer to these commands. What comes after these is not what it seems,
#: and nobody can know.
MISPLACED = (
    "-MOVED x\r\n",
    "-ASK 1 nowhere\r\n",
    "-\r\n",
    "-LOADING Redis is loading the dataset in memory\r\n",
    "-NOAUTH Authentication required.\r\n",
    "-ERR max number of clients reached\r\n",
    "%1\r\n*1\r\n:1\r\n:1\r\n",
    ">2\r\n+invalidate\r\n*1\r\n+k\r\n",
    ":1\r\n",
    "*1\r\n$1\r\nx\r\n",
    "+OK\r\n" * 50,
)

Outcomes = dict[tuple[str, int], Any]


class Pending:
    """Stands for the outcome of a promise that was not settled."""


class Trial(NamedTuple):
    """One exchange.

    Attributes:
        number: its number; its keys have it.
        face: the name of the `Face`.
        protocol: of RESP.
        faulty: the host behind the proxy.
        fault: what goes wrong there.
    """

    number: int
    face: str
    protocol: int
    faulty: int
    fault: Fault


class Keys:
    """The keys of a trial by host, with what they hold."""

    def __init__(self, router: Any, trial: str, prefix: str = "") -> None:
        self.prefix = prefix
        found = [keys_of(router, host, 12, f"{prefix}{trial}") for host in range(HOSTS)]
        self.first, self.second, self.missing, self.counter, self.stored, self.hash, self.again, *_ = (
            [name.removeprefix(prefix) for name in names] for names in zip(*found, strict=True)
        )

    @staticmethod
    def value(key: str) -> bytes:
        return b"the value of %b, and of no other key" % key.encode()

    def fill(
        self, clients: Sequence[redis.Redis], encode: Callable[[Any], Any] = lambda value: value
    ) -> None:
        for host, client in enumerate(clients):
            pipeline = client.pipeline(transaction=False)
            for key in (self.first[host], self.second[host]):
                pipeline.set(self.prefix + key, encode(self.value(key)))
            pipeline.hset(self.prefix + self.hash[host], mapping={"key": self.hash[host], "n": 1})
            pipeline.execute()

    def expected(self, what: str, host: int) -> Any:
        if what in ("first", "second"):
            return self.value(getattr(self, what)[host])
        return {
            "missing": None,
            "counter": 1,
            "again": 1,
            "stored": True,
            "hash": {b"key": self.hash[host].encode(), b"n": b"1"},
            "ping": True,
            "deleted": 0,
        }[what]


# ---- the faces -----------------------------------------------------------------------------------


class Face(NamedTuple):
    """One way to talk to the servers.

    Attributes:
        make: makes the cluster, or the cache, of the hosts, with arguments for connections.
        exchange: what was found for each of what was asked, by its name and its host.
        limit: how long it may take.
        nothing: whether a host that fails may count as one that has nothing.
    """

    make: Callable[[dict[int, dict[str, Any]], dict[str, Any]], Any]
    exchange: Callable[[Any, Keys, str], Outcomes]
    limit: float
    nothing: bool = False


def outcome(promise: Promise) -> Any:
    """What became of a promise."""
    if promise.is_pending:
        return Pending
    return promise.reason if promise.is_rejected else promise.value


def attempt(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call returns or raises."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        return error


def join(client: Any, asked: Mapping[tuple[str, int], Any], *args: Any) -> Outcomes:
    error = attempt(client.join, *args)
    found = {what: outcome(promise) for what, promise in asked.items()}
    if isinstance(error, Exception) and not isinstance(error, redis.RedisError):
        found["join", -1] = error
    return found


def ask(client: Any, keys: Keys, counter: str) -> Iterator[tuple[tuple[str, int], Callable[[], Any]]]:
    """What each face asks of each host."""
    for host in range(HOSTS):
        for what in ("first", "missing", "second"):
            yield (what, host), partial(client.get, getattr(keys, what)[host])
    for host in range(HOSTS):
        stored = keys.stored[host]
        yield (counter, host), partial(client.incr, getattr(keys, counter)[host])
        yield ("stored", host), partial(client.set, stored, keys.value(stored))
        yield ("hash", host), partial(client.hgetall, keys.hash[host])


def of_both(place: int) -> tuple[str, int]:
    return ("first", "second")[place % 2], place // 2


def both(keys: Keys) -> list[str]:
    return [getattr(keys, of_both(place)[0])[place // 2] for place in range(2 * HOSTS)]


def by_map(auto_batch: bool = True, max_concurrency: int | None = 64) -> Callable[..., Outcomes]:
    def exchange(cluster: Cluster, keys: Keys, counter: str) -> Outcomes:
        client = cluster.get_routing_client().get_mapping_client(max_concurrency, auto_batch)
        return join(client, {what: call() for what, call in ask(client, keys, counter)}, TIMEOUT)

    return exchange


def by_short_map(cluster: Cluster, keys: Keys, counter: str) -> Outcomes:
    """As little as says whether a write was done twice, and whether a value is another key's."""
    client = cluster.get_routing_client().get_mapping_client()
    asked: dict[tuple[str, int], Any] = {}
    for host in range(HOSTS):
        asked["first", host] = client.get(keys.first[host])
        asked["second", host] = client.get(keys.second[host])
        asked[counter, host] = client.incr(getattr(keys, counter)[host])
    return join(client, asked, TIMEOUT)


def by_mget(cluster: Cluster, keys: Keys, counter: str) -> Outcomes:
    """All keys at once; where a host fails, so does the whole, but for what has promises of its own."""
    client = cluster.get_routing_client().get_mapping_client(split_multi_key=True)
    values = client.mget(both(keys))
    stored = client.mset({key: keys.value(key) for key in keys.stored})
    deleted = client.delete(*keys.missing)
    counters = {(counter, host): client.incr(getattr(keys, counter)[host]) for host in range(HOSTS)}
    found = join(client, counters, TIMEOUT)
    found |= {("all stored", -1): outcome(stored), ("all deleted", -1): outcome(deleted)}
    found["all values", -1] = outcome(values)
    return found


def one_by_one(cluster: Any, keys: Keys, counter: str) -> Outcomes:
    client = cluster.get_routing_client() if isinstance(cluster, Cluster) else cluster
    return {what: attempt(call) for what, call in ask(client, keys, counter)}


def split(cluster: Any, keys: Keys, counter: str) -> Outcomes:
    client = cluster.get_routing_client(split_multi_key=True) if isinstance(cluster, Cluster) else cluster
    return {
        ("all values", -1): attempt(client.mget, both(keys)),
        ("all stored", -1): attempt(client.mset, {key: keys.value(key) for key in keys.stored}),
        ("all deleted", -1): attempt(client.delete, *keys.missing),
        **{(counter, host): attempt(client.incr, getattr(keys, counter)[host]) for host in range(HOSTS)},
    }


def by_fanout(cluster: Cluster, keys: Keys, counter: str) -> Outcomes:
    client = cluster.get_routing_client().get_fanout_client()
    asked: dict[tuple[str, int], Any] = {("all ping", -1): client.target("all").ping()}
    for host in range(HOSTS):
        single = client.target_key(keys.first[host])
        asked["ping", host] = single.ping()
        for what in ("first", "missing"):
            asked[what, host] = single.get(getattr(keys, what)[host])
        asked[counter, host] = single.incr(getattr(keys, counter)[host])
        asked["hash", host] = single.hgetall(keys.hash[host])
    return join(client, asked, TIMEOUT)


def by_ping(cluster: Cluster, keys: Keys, counter: str) -> Outcomes:
    """Nothing, but for the handshake."""
    client = cluster.get_routing_client().get_fanout_client()
    return join(client, {("all ping", -1): client.target("all").ping()}, TIMEOUT)


def by_results(cluster: Any, keys: Keys, counter: str) -> Outcomes:
    client = cluster.map(fail_silently=True)
    asked = {what: call() for what, call in ask(client, keys, counter)}
    error = attempt(client.join)
    found = {what: attempt(get_value, result) for what, result in asked.items()}
    if isinstance(error, Exception):
        found["join", -1] = error
    return found


def by_cache(cache: Any, keys: Keys, counter: str) -> Outcomes:
    """Values are pickled, but for integers."""
    found: Outcomes = {}
    many = attempt(cache.get_many, both(keys))
    for place, key in enumerate(both(keys)):
        found[of_both(place)] = many if isinstance(many, Exception) else many.get(key)
    failed = attempt(cache.set_many, {key: keys.value(key) for key in keys.stored})
    for host, key in enumerate(keys.stored):
        found["stored", host] = failed if isinstance(failed, Exception) else key not in failed or None
    for host in range(HOSTS):
        found["missing", host] = attempt(cache.get, keys.missing[host])
        # Without a look whether it exists.
        found[counter, host] = attempt(cache.incr, getattr(keys, counter)[host], ignore_key_check=True)
    return found


def routed(more: Mapping[str, Any] | None = None, **options: Any) -> Callable[..., Cluster]:
    def make(hosts: dict[int, dict[str, Any]], pool_options: dict[str, Any]) -> Cluster:
        return Cluster(hosts, pool_options={**pool_options, **(more or {})}, **options)

    return make


def created(router: str, more: Mapping[str, Any] | None = None, **settings: Any) -> Callable[..., Any]:
    def make(hosts: dict[int, dict[str, Any]], pool_options: dict[str, Any]) -> Any:
        pool_options = {**pool_options, **(more or {})}
        return create_cluster({"router": router, "hosts": hosts, "pool_options": pool_options, **settings})

    return make


def cached(on_down: str) -> Callable[..., Any]:
    def make(hosts: dict[int, dict[str, Any]], pool_options: dict[str, Any]) -> Any:
        user = f"{USER['username']}:{USER['password']}"
        urls = [
            f"unix://{user}@{host['unix_socket_path']}?db={DB}"
            if "unix_socket_path" in host
            else f"redis://{user}@{host['host']}:{host['port']}/{DB}"
            for host in hosts.values()
        ]
        options = {"ON_DOWN": on_down, "RETRY_TIMEOUT": RETRY_TIMEOUT, "CONNECTION_POOL_KWARGS": pool_options}
        return ShardedRedisCache(urls, {"OPTIONS": options})

    return make


#: After so long a host that was down is tried again.
RETRY_TIMEOUT = 0.1
RETRYING: dict[str, Any] = {"max_connection_retries": 2, "router_options": {"retry_timeout": RETRY_TIMEOUT}}
RETRY = {"retry": Retry(NoBackoff(), 1)}
MAP = TIMEOUT
#: Connecting, and the reply.
COMMAND = 2 * SOCKET_TIMEOUT
#: How many commands of an exchange are for the faulty host, one after the other.
SINGLE = 6

#: What an error reply in the place of one of several values is, and what a cache raises for garbage in one.
IN_A_VALUE = (redis.ResponseError, redis.BusyLoadingError, pickle.UnpicklingError, EOFError)

#: The face that does next to nothing, and the size of its reply; that of the shortest exchange; the one where
#: redis-py itself may send a command again.
PING, PONG = "ping", len("+PONG\r\n")
SHORT = "map, short"
AGAIN = "ring, retry"

FACES: dict[str, Face] = {
    "map": Face(routed(), by_map(), MAP),
    "map as called": Face(routed(), by_map(auto_batch=False), MAP),
    "map, two at a time": Face(routed(), by_map(max_concurrency=2), MAP),
    "map, blocking pool": Face(
        routed({"max_connections": 1, "timeout": 1}, pool_cls=redis.BlockingConnectionPool), by_map(), MAP
    ),
    PING: Face(routed(), by_ping, MAP),
    SHORT: Face(routed(), by_short_map, MAP),
    "map of all keys": Face(routed(), by_mget, MAP),
    "fanout": Face(routed(), by_fanout, MAP),
    "routing client": Face(routed(), one_by_one, SINGLE * COMMAND),
    "routing client, split": Face(routed(), split, 4 * COMMAND),
    "created": Face(created("partition"), one_by_one, SINGLE * COMMAND),
    "created, split": Face(created("partition"), split, 4 * COMMAND),
    "created, map": Face(created("partition"), by_results, COMMAND),
    "ring": Face(created("consistent", **RETRYING), one_by_one, SINGLE * 3 * COMMAND, True),
    "ring, map": Face(created("consistent", **RETRYING), by_results, 3 * COMMAND, True),
    AGAIN: Face(created("consistent", RETRY, **RETRYING), one_by_one, SINGLE * 6 * COMMAND, True),
    "cache": Face(cached("error"), by_cache, 4 * COMMAND),
    "cache, miss": Face(cached("miss"), by_cache, 4 * COMMAND, True),
    "cache, rehash": Face(cached("rehash"), by_cache, 4 * 3 * COMMAND, True),
}


def cluster_of(subject: Any) -> Cluster:
    """The cluster behind a face."""
    if isinstance(subject, Cluster):
        return subject
    if isinstance(subject, RoutedCluster):
        return subject._cluster  # type: ignore[no-any-return]
    return subject.client.cluster  # type: ignore[no-any-return]


# ---- a trial -------------------------------------------------------------------------------------


def run(
    trial: Trial,
    sockets: Sequence[str],
    proxy: HostileProxy,
    measure: Callable[[Trial, int], None] | None = None,
) -> list[str]:
    """Run one trial.

    Arguments:
        trial: the trial.
        sockets: those of the servers.
        proxy: the proxy.
        measure: called after the exchange, with the trial and its port.

    Returns:
        What did not hold.
    """
    face = FACES[trial.face]
    port = proxy.open(sockets[trial.faulty], trial.fault)
    hosts: dict[int, dict[str, Any]] = {}
    for host, path in enumerate(sockets):
        hosts[host] = {"unix_socket_path": path, "db": DB, **USER, "name": f"host {host}"}
        if host == trial.faulty:
            del hosts[host]["unix_socket_path"]
            hosts[host] |= {"host": "127.0.0.1", "port": port}
    options = {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "protocol": trial.protocol,
        "client_name": "trial",
    }
    subject = face.make(hosts, options)
    cluster = cluster_of(subject)
    is_cache = trial.face.startswith("cache")
    problems: list[str] = []
    clients = [redis.Redis(unix_socket_path=path, db=DB, **USER) for path in sockets]  # type: ignore[arg-type]
    try:
        keys = Keys(cluster.get_router(), f"{trial.number}", ":1:" if is_cache else "")
        keys.fill(clients, subject.client.encode if is_cache else lambda value: value)
        if is_cache:
            for host, client in enumerate(clients):
                client.set(keys.prefix + keys.again[host], 0)
        begin = time.monotonic()
        found = face.exchange(subject, keys, "counter")
        took = time.monotonic() - begin
        if took > face.limit + SLACK:
            perhaps = PERHAPS if took < face.limit + BUSY else ""
            problems.append(f"{perhaps}it took {took:.2f} s, of {face.limit:.2f} s")
        problems += judge(trial, face, keys, found, took)
        if kept := in_use(cluster, COMMAND + SLACK):
            problems.append(f"{kept} connections are still in use")
        if measure is not None:
            measure(trial, port)
        proxy.heal(port)
        time.sleep(2 * RETRY_TIMEOUT if face.nothing or is_cache else 0)
        healthy = face.exchange(subject, keys, "again")
        problems += [
            f"{PERHAPS * problem.startswith(PERHAPS)}the next call: {problem.removeprefix(PERHAPS)}"
            for problem in judge(trial._replace(faulty=-2), face, keys, healthy, 0.0)
        ]
        if kept := in_use(cluster, COMMAND + SLACK):
            problems.append(f"{kept} connections are still in use after the next call")
        problems += count_at_servers(trial, keys, clients, found)
    finally:
        cluster.disconnect_pools()
        proxy.close(port)
        for client in clients:
            client.close()
    return problems


def judge(trial: Trial, face: Face, keys: Keys, found: Outcomes, took: float) -> Iterator[str]:
    """What is wrong with the outcomes."""
    for (what, host), value in found.items():
        if what == "join":
            yield f"the end of the map raised {value!r}"
            continue
        name = f"{what} of host {host}" if host >= 0 else what
        if value is Pending:
            yield f"{name} is pending"
        elif isinstance(value, Exception):
            # A cache's get_many is one call for all hosts, and so is what is for all keys.
            shared = host < 0 or (trial.face.startswith("cache") and what in ("first", "second"))
            yield from judge_error(trial, name, host, value, took, shared)
        elif not is_right(trial, face, keys, what, host, value):
            # A healthy host that answers too late counts as one that has nothing, too.
            perhaps = PERHAPS if face.nothing and value in (None, {}, 0, False) else ""
            yield f"{perhaps}{name} is {value!r}, not {expected_of(keys, what, host)!r}"


def is_right(trial: Trial, face: Face, keys: Keys, what: str, host: int, value: Any) -> bool:
    """Whether a value is what it has to be; of the faulty host, what it may be."""
    expected = expected_of(keys, what, host)
    if value == expected and type(value) is type(expected):
        return True
    if trial.faulty < 0 or host not in (trial.faulty, -1):
        return False
    if trial.face == AGAIN and what == "counter" and value == 2:
        return True
    # set_many() of a cache returns the keys that could not be set, and raises nothing.
    nothing = face.nothing or (what == "stored" and trial.face == "cache")
    if nothing and is_nothing(value, expected, trial.faulty):
        return True
    if host < 0 and type(value) is not type(expected):
        return False
    return trial.fault.kind == "garbage" and not_anothers(value, expected, keys)


def expected_of(keys: Keys, what: str, host: int) -> Any:
    if what == "all values":
        return [keys.expected(*of_both(place)) for place in range(2 * HOSTS)]
    if what == "all ping":
        return dict.fromkeys(range(HOSTS), True)
    return {"all stored": True, "all deleted": 0}.get(what) if host < 0 else keys.expected(what, host)


def is_nothing(value: Any, expected: Any, faulty: int) -> bool:
    """Whether a value is as if the faulty host had nothing."""
    if isinstance(expected, list) and isinstance(value, list):
        return all(
            one == other or (one is None and of_both(place)[1] == faulty)
            for place, (one, other) in enumerate(zip(value, expected, strict=True))
        )
    return value in (None, {}, 0, False)


def not_anothers(value: Any, expected: Any, keys: Keys) -> bool:
    """Whether garbage may have become the value; the value of another key it may not be."""
    values = {keys.value(key) for key in both(keys)}
    found, right = (
        (value, expected) if isinstance(value, list) and isinstance(expected, list) else ([value], [expected])
    )
    return not any(one in values and one not in right[i : i + 1] for i, one in enumerate(map(_frozen, found)))


def _frozen(value: Any) -> Any:
    """Something to compare with bytes: the value, where it can be in a set."""
    return value if isinstance(value, bytes) else None


def judge_error(
    trial: Trial, name: str, host: int, error: Exception, took: float, shared: bool
) -> Iterator[str]:
    told = f"{type(error).__name__}: {error}"[:300]
    perhaps = PERHAPS if isinstance(error, HostTimeoutError) else ""
    if trial.faulty < 0:
        yield f"{perhaps}{name} failed: {told}"
        return
    if host != trial.faulty and not shared:
        yield f"{perhaps}{name} failed, which is healthy: {told}"
        return
    if trial.fault.kind == "garbage" and isinstance(error, IN_A_VALUE):
        return
    cause = error if isinstance(error, redis.RedisError) else error.__cause__
    if not isinstance(cause, redis.RedisError) and not isinstance(error, ValueError):
        yield f"{name} failed with {told}"
        for line in traceback.format_exception(error)[-4:]:
            yield "    " + line.rstrip().replace("\n", "\n    ")
    elif not re.search(rf"\bhost {trial.faulty}\b", str(cause)) and not is_missed_count(trial, error):
        yield f"{name} failed with an error that does not name host {trial.faulty}: {told}"
    if trial.fault.kind == "delay" and took < SOCKET_TIMEOUT:
        yield f"{PERHAPS}{name} failed after a short delay: {told}"
    if isinstance(cause, HostTimeoutError) and took < 0.9 * min(TIMEOUT, SOCKET_TIMEOUT):
        yield f"{name} timed out after {took:.2f} s: {told}"


def is_missed_count(trial: Trial, error: Exception) -> bool:
    """Whether it is what a cache's `incr` raises for a key that is not there."""
    return trial.face in ("cache, miss", "cache, rehash") and isinstance(error, ValueError)


def count_at_servers(
    trial: Trial, keys: Keys, clients: Sequence[redis.Redis], found: Outcomes
) -> Iterator[str]:
    """What is wrong with what was written."""
    for host in range(HOSTS):
        values = [int(client.get(keys.prefix + keys.counter[host]) or 0) for client in clients]
        # Where redis-py may send again, on one host at most.
        if sum(map(bool, values) if trial.face == AGAIN else values) > 1:
            yield f"the counter of host {host} was counted {values} times on the servers"
        answered = found.get(("counter", host)) == 1 and trial.fault.kind != "garbage"
        if answered and not sum(values):
            yield f"the counter of host {host} was counted {values} times on the servers, though answered"


# ---- many trials ---------------------------------------------------------------------------------


def lengths(sockets: Sequence[str], proxy: HostileProxy) -> dict[tuple[str, int], tuple[int, int]]:
    """For each face and protocol, how many bytes an exchange has each way on one host's first connection."""
    pairs = [(face, protocol) for face in FACES for protocol in (2, 3)]
    found: dict[tuple[str, int], tuple[int, int]] = {}

    def measure(trial: Trial, port: int) -> None:
        found[trial.face, trial.protocol] = proxy.passed(port)[0]

    trials = [Trial(-1 - number, *pair, 0, Fault("none")) for number, pair in enumerate(pairs)]
    failed = run_all(trials, sockets, proxy, measure)
    assert not failed, report(failed)
    return found


def draw(number: int, seed: int, sizes: Mapping[tuple[str, int], tuple[int, int]]) -> list[Trial]:
    """So many trials, with numbers from 0 on; the same for the same seed."""
    chance = random.Random(seed)
    kinds = [*(AT_A_BYTE * 3), "garbage", "garbage", *AT_THE_DOOR]
    faces = list(FACES)
    chance.shuffle(kinds)
    trials = []
    for i in range(number):
        face = faces[i % len(faces)]
        kind = kinds[(i // len(faces) + i) % len(kinds)]
        protocol = chance.choice((2, 3))
        back = chance.random() < 0.6 or kind == "garbage"
        at = chance.randint(0, sizes[face, protocol][back])
        connections = chance.choice((1, 1, 2, 1000))
        fault = Fault(kind, back, at, connections)
        if kind == "garbage":
            fault = with_garbage(fault, chance)
            if chance.random() < 0.5:
                # In place of the first reply after the handshake.
                fault = fault._replace(at=sizes[PING, protocol][back] - PONG)
        trials.append(Trial(i, face, protocol, chance.randrange(HOSTS), fault))
    return trials


def with_garbage(fault: Fault, chance: random.Random) -> Fault:
    """A fault with some garbage."""
    garbage = chance.choice(BROKEN + MISPLACED)
    return fault._replace(
        garbage=garbage, then=chance.choice(("stop", "cut", "pass") if garbage in BROKEN else ("stop", "cut"))
    )


def at_every_byte(
    protocol: int, first: int, seed: int, sizes: Mapping[tuple[str, int], tuple[int, int]]
) -> list[Trial]:
    """A trial for each byte of the shortest exchange, each way; their numbers begin with `first`."""
    chance = random.Random(seed)
    numbers = count(first)
    trials = []
    for back, size in enumerate(sizes[SHORT, protocol]):
        kinds = [kind for kind in AT_A_BYTE if back or kind != "garbage"]
        chance.shuffle(kinds)
        for at in range(size + 1):
            fault = Fault(kinds[at % len(kinds)], bool(back), at, chance.choice((1, 1000)))
            if fault.kind == "garbage":
                fault = with_garbage(fault, chance)
            trials.append(Trial(next(numbers), SHORT, protocol, chance.randrange(HOSTS), fault))
    return trials


def run_all(
    trials: Sequence[Trial],
    sockets: Sequence[str],
    proxy: HostileProxy,
    measure: Callable[[Trial, int], None] | None = None,
) -> dict[Trial, list[str]]:
    """Run trials side by side; see `run`.

    Returns:
        What did not hold, of those where something did not.
    """
    waiting: queue.SimpleQueue[Trial] = queue.SimpleQueue()
    for trial in trials:
        waiting.put(trial)
    failed: dict[Trial, list[str]] = {}
    begun: dict[threading.Thread, tuple[float, Trial]] = {}

    def work() -> None:
        while True:
            try:
                trial = waiting.get_nowait()
            except queue.Empty:
                begun.pop(threading.current_thread(), None)
                return
            begun[threading.current_thread()] = time.monotonic(), trial
            try:
                problems = run(trial, sockets, proxy, measure)
            except BaseException as error:
                problems = ["".join(traceback.format_exception(error))]
            if problems:
                failed.setdefault(trial, problems)

    # A trial that hangs must not hold up the end of the process.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.05)
        for thread, (begin, trial) in list(begun.items()):
            if time.monotonic() - begin > FOR_EVER and thread in threads:
                threads.remove(thread)
                frame = sys._current_frames().get(thread.ident or 0)
                failed[trial] = [f"it hangs for {FOR_EVER} s", *traceback.format_stack(frame)]
                replacement = threading.Thread(target=work, daemon=True)
                threads.append(replacement)
                replacement.start()
    for trial, problems in list(failed.items()):
        if all(problem.startswith(PERHAPS) for problem in problems) and not all(
            run(trial._replace(number=trial.number + again * 1_000_000), sockets, proxy)
            for again in range(1, ALONE + 1)
        ):
            del failed[trial]
    return failed


def report(failed: Mapping[Trial, Sequence[str]]) -> str:
    """What did not hold, for a reader."""
    parts = []
    for trial, problems in sorted(failed.items()):
        told = repr(trial).replace(repr(DEEP), "DEEP")
        parts += [told, *(f"  - {problem}" for problem in problems)]
    return "\n".join(parts)


def main(sockets: Sequence[str], number: int, seed: int, protocols: Sequence[int]) -> None:
    """Run so many trials that are drawn, and for these protocols some at every byte, and end the process."""
    settings.configure()
    with HostileProxy() as proxy:
        sizes = lengths(sockets, proxy)
        trials = draw(number, seed, sizes)
        for protocol in protocols:
            trials += at_every_byte(protocol, len(trials), seed, sizes)
        failed = run_all(trials, sockets, proxy)
    print(f"{len(failed)} of {len(trials)} trials failed:\n{report(failed)}", flush=True)
    # Threads that hang are left behind.
    os._exit(bool(failed))
