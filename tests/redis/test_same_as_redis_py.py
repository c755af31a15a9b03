"""Random commands by every face of a cluster, and one by one by redis-py: the same results, errors and data.

The commands are drawn from a seed: see `many_trials`.
"""

from __future__ import annotations

import contextlib
import enum
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import redis

from pindb.redis import Cluster, Promise, create_cluster
from pindb.redis.facade.results import get_value
from pindb.testing.redis import TestSetup
from tests.redis.tools import many_trials, seed_of_trials

#: Sequences, and commands in each.
SEQUENCES = 60
COMMANDS = 60


class Status(enum.IntEnum):
    ACTIVE = 7


class Text(str):
    """Text of a type of its own."""

    __slots__ = ()


class Call(NamedTuple):
    """A call of a method that a client of redis-py has."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __str__(self) -> str:
        words = [*(f"{arg!r:.100}" for arg in self.args), *(f"{k}={v!r:.50}" for k, v in self.kwargs.items())]
        return f"{self.name}({', '.join(words)})"

    def on(self, client: Any) -> Any:
        """What it returns or raises."""
        try:
            return getattr(client, self.name)(*self.args, **self.kwargs)
        except Exception as error:
            return error


# ---- what is called ------------------------------------------------------------------------------

PLAIN = [b"", "", "a", "b", b"c", "grün", "\0", b"\r\n$-1\r\n", b"\xff\xfe", "1", "-5", 0, 1, 7, -3, 10**20]
VALUES = [*PLAIN, 1.5, -0.0, 1e300, float("inf"), float("nan"), 2**63 - 1, Text("text")]
VALUES += ["x" * 5_000, b"y" * 70_000, "ü" * 20_000]
with contextlib.suppress(redis.DataError):
    # Old versions of redis-py refuse what pindb takes with all of them.
    redis.Connection().pack_command("SET", "k", bytearray(b"array"))  # type: ignore[no-untyped-call]
    VALUES += [bytearray(b"array"), memoryview(b"view")]
REFUSED = [None, True, [1], (1, 2), {"a": 1}, object, Status.ACTIVE]
KEYS = [
    *("a", "b", "c", "d", b"e", b"\xff", "", "schlüssel", "with space", 7, "7", -1, 10**25),
    *("{tag}:x", "z" * 300),
]
KEYS += [Text("typed"), b"a", "\r\n"]
SCORES = [0, 1, -1, 2.5, float("inf"), "3", "-inf", 1e-7, 1.1, 10**17]
SMALL = [0, 1, 2, 3, -1, -2, 100]
BYTES = [b"", "a", "bb", b"\xff\x00\x0f", "0", "12", "x" * 40]


class Draw:
    """Draws calls.

    Arguments:
        chance: where from.
        decodes: whether replies are decoded: then nothing is stored that cannot be.
    """

    def __init__(self, chance: random.Random, decodes: bool) -> None:
        self.chance = chance
        self.keys = chance.sample(KEYS, 7)
        self.values = [v for v in VALUES if not (decodes and _is_binary(v))]
        self.bytes = [v for v in BYTES if not (decodes and _is_binary(v))]
        if decodes:
            self.keys = [key for key in self.keys if key != b"\xff"]

    def key(self) -> Any:
        return self.chance.choice(self.keys)

    def value(self) -> Any:
        if self.chance.random() < 0.02:
            return self.chance.choice(REFUSED)
        return self.chance.choice(self.values)

    def field(self) -> Any:
        return self.chance.choice(self.values[:8])

    def small(self) -> int:
        return self.chance.choice(SMALL)

    def some(self, draw: Callable[[], Any], most: int = 4) -> list[Any]:
        return [draw() for _ in range(self.chance.randint(1, most))]

    def pairs(self, first: Callable[[], Any], second: Callable[[], Any], most: int = 4) -> dict[Any, Any]:
        return {first(): second() for _ in range(self.chance.randint(1, most))}

    def score(self) -> Any:
        return self.chance.choice(SCORES)

    def option(self, **options: Any) -> dict[str, Any]:
        """One of the options, or none."""
        name = self.chance.choice([None, *options])
        return {} if name is None else {name: options[name]}

    def call(self) -> Call:
        name = self.chance.choice(NAMES)
        made = CALLS[name](self)
        kwargs = made.pop() if isinstance(made[-1], Options) else {}
        return Call(name, tuple(made), dict(kwargs))


class Options(dict[str, Any]):
    """Arguments by name."""


def _is_binary(value: Any) -> bool:
    try:
        bytes(value).decode() if isinstance(value, (bytes, bytearray, memoryview)) else None
    except UnicodeDecodeError:
        return True
    return False


def keyed(*draws: Callable[[Draw], Any]) -> Callable[[Draw], list[Any]]:
    return lambda draw: [draw.key(), *(one(draw) for one in draws)]


def rest(one: Callable[[Draw], Any]) -> Callable[[Draw], list[Any]]:
    """A key, and some more."""
    return lambda draw: [draw.key(), *draw.some(lambda: one(draw))]


V, F, N, S = Draw.value, Draw.field, Draw.small, Draw.score


def one_of(*values: Any) -> Callable[[Draw], Any]:
    return lambda draw: draw.chance.choice(values)


def several(one: Callable[[Draw], Any]) -> Callable[[Draw], list[Any]]:
    """A key, and a list."""
    return lambda draw: [draw.key(), draw.some(lambda: one(draw))]


#: Commands by their arguments, where a key is all, or all before the others.
ALIKE: dict[Callable[[Draw], list[Any]], str] = {
    keyed(): "get getdel strlen decr bitcount type persist dump rpop llen scard zcard zpopmin xlen xrange "
    "hgetall hkeys hvals hlen smembers sscan hscan",
    keyed(V): "getset append setnx rpushx lpos sismember",
    keyed(F): "hget hexists zscore zrank",
    keyed(N): "incr incrby lindex",
    keyed(N, N): "getrange lrange ltrim zremrangebyrank",
    keyed(N, V): "lset lrem",
    keyed(S, S): "zrangebyscore zcount",
    keyed(S, F): "zincrby",
    keyed(F, V): "hsetnx",
    keyed(F, N): "hincrby",
    rest(V): "lpush rpush sadd srem",
    rest(F): "hdel zrem pfadd geopos geohash",
    several(V): "smismember",
    several(F): "hmget zmscore",
    lambda draw: draw.some(draw.key): "delete unlink exists touch",
}
CALLS: dict[str, Callable[[Draw], list[Any]]] = {
    **{name: draws for draws, names in ALIKE.items() for name in names.split()},
    "set": lambda draw: [
        draw.key(),
        draw.value(),
        Options(draw.option(ex=1000, px=10**7, nx=True, xx=True, keepttl=True, get=True)),
    ],
    "setex": keyed(one_of(1000, 5000, 0, -1, "x"), V),
    "incrbyfloat": keyed(one_of(1.5, 0.1, -2, "x")),
    "setrange": keyed(one_of(0, 2, 50), V),
    "setbit": keyed(one_of(0, 7, 100), one_of(0, 1, 2)),
    "getbit": keyed(one_of(0, 7, 100)),
    "expireat": keyed(one_of(1, 4_000_000_000)),
    "object": lambda draw: ["encoding", draw.key()],
    "hset": lambda draw: [draw.key(), Options(mapping=draw.pairs(draw.field, draw.value))],
    "hincrbyfloat": keyed(F, lambda draw: 0.5),
    "lpop": lambda draw: [draw.key(), *draw.chance.choice([[], [2], [0]])],
    "linsert": keyed(one_of("before", "after", "beside"), V, V),
    "zadd": lambda draw: [
        draw.key(),
        draw.pairs(draw.field, draw.score),
        Options(draw.option(nx=True, xx=True, ch=True, gt=True)),
    ],
    "zrange": lambda draw: [*keyed(N, N)(draw), Options(draw.option(withscores=True, desc=True))],
    "geoadd": lambda draw: [draw.key(), [draw.chance.choice([2.5, 13.4, 400]), 52.5, draw.field()]],
    "xadd": lambda draw: [
        draw.key(),
        draw.pairs(draw.field, draw.value),
        Options(id=f"{draw.chance.randint(1, 5)}-{draw.chance.randint(0, 5)}"),
    ],
    "mget": lambda draw: [draw.some(draw.key)],
    "mset": lambda draw: [draw.pairs(draw.key, draw.value)],
    "execute_command": lambda draw: [draw.chance.choice(["GET", "get", "TTL", "HLEN", b"GET"]), draw.key()],
}
# What runs are made of comes more often.
NAMES = [
    *CALLS,
    *["get", "set"] * 12,
    *["mget", "mset", "delete", "lpush", "hset", "sadd", "zadd", "incr"] * 3,
]

SEVERAL = ("mget", "mset", "delete", "unlink", "exists", "touch")


def key_of(call: Call) -> Any:
    """The key that says where a call goes."""
    return call.args[1 if call.name in ("object", "execute_command") else 0]


def parts_of(call: Call) -> list[Call]:
    """A call for several keys as calls for one each."""
    if call.name == "mset":
        return [call._replace(args=({key: value},)) for key, value in call.args[0].items()]
    keys = call.args[0] if call.name == "mget" else call.args
    return [call._replace(args=([key],) if call.name == "mget" else (key,)) for key in keys]


def is_refused(call: Call) -> bool:
    """Whether it is a MSET with a value that cannot be sent: then it sets nothing."""
    kinds = tuple(map(type, REFUSED))
    return call.name == "mset" and any(type(value) in kinds for value in call.args[0].values())


REFUSAL = redis.DataError("There is a value that cannot be sent.")


def merged(call: Call, replies: Sequence[Any]) -> Any:
    """The result of a call for several keys, of the results for each."""
    for reply in replies:
        if isinstance(reply, Exception):
            return reply
    if call.name == "mget":
        return [value for reply in replies for value in reply]
    return all(replies) if call.name == "mset" else sum(replies)


# ---- by whom -------------------------------------------------------------------------------------

Run = Callable[[Cluster, Sequence[Sequence[Call]]], list[Any]]


def outcome(promise: Any) -> Any:
    """What a call in a map has come to."""
    if isinstance(promise, Promise):
        assert not promise.is_pending
        return promise.reason if promise.is_rejected else promise.value
    return promise


def by_map(auto_batch: bool) -> Run:
    def run(cluster: Cluster, batches: Sequence[Sequence[Call]]) -> list[Any]:
        found: list[Any] = []
        for batch in batches:
            client = cluster.get_routing_client().get_mapping_client(
                auto_batch=auto_batch, split_multi_key=True
            )
            promises = [call.on(client) for call in batch]
            Call("join", (), {}).on(client)
            found += map(outcome, promises)
        return found

    return run


def by_routing_client(cluster: Cluster, batches: Sequence[Sequence[Call]]) -> list[Any]:
    client = cluster.get_routing_client(split_multi_key=True)
    return [call.on(client) for batch in batches for call in batch]


def by_fanout(cluster: Cluster, batches: Sequence[Sequence[Call]]) -> list[Any]:
    found: list[Any] = []
    for batch in batches:
        client = cluster.get_routing_client().get_fanout_client()
        promises: list[Any] = []
        for call in batch:
            if is_refused(call):
                promises.append(REFUSAL)
            elif call.name in SEVERAL:
                parts = [
                    (part, next(iter(part.args[0])) if call.name in ("mget", "mset") else part.args[0])
                    for part in parts_of(call)
                ]
                promises.append((call, [part.on(client.target_key(key)) for part, key in parts]))
            else:
                promises.append(call.on(client.target_key(key_of(call))))
        Call("join", (), {}).on(client)
        for promise in promises:
            if type(promise) is tuple:
                found.append(merged(promise[0], [outcome(part) for part in promise[1]]))
            else:
                found.append(outcome(promise))
    return found


def created(cluster: Cluster) -> Any:
    hosts = {
        host.host_id: {"unix_socket_path": host.unix_socket_path, "db": host.db}
        for host in cluster.hosts.values()
    }
    return create_cluster({"router": "partition", "hosts": hosts, "pool_options": cluster.pool_options})


def by_calls(cluster: Cluster, batches: Sequence[Sequence[Call]]) -> list[Any]:
    made = created(cluster)
    found = [call.on(made) for batch in batches for call in batch]
    made.disconnect()
    return found


def by_results(cluster: Cluster, batches: Sequence[Sequence[Call]]) -> list[Any]:
    made = created(cluster)
    found: list[Any] = []
    for batch in batches:
        with made.map(fail_silently=True) as client:
            results = [call.on(client) for call in batch]
        found += map(get_value, results)
    made.disconnect()
    return found


FACES: dict[str, Run] = {
    "map": by_map(True),
    "map as called": by_map(False),
    "routing client": by_routing_client,
    "fanout": by_fanout,
    "created": by_calls,
    "created, map": by_results,
}
#: GETs are merged there: what holds no string is None then, and no error.
MERGES = ("map", "created, map")


def by_redis_py(
    clients: Sequence[redis.Redis], host_of: Callable[[Any], int], batches: Sequence[Sequence[Call]]
) -> list[Any]:
    """Each call on the client of its key's host."""
    found = []
    for batch in batches:
        for call in batch:
            if is_refused(call):
                found.append(REFUSAL)
            elif call.name in SEVERAL:
                replies = []
                for part in parts_of(call):
                    key = next(iter(part.args[0])) if call.name in ("mget", "mset") else part.args[0]
                    replies.append(part.on(clients[host_of(key)]))
                found.append(merged(call, replies))
            else:
                found.append(call.on(clients[host_of(key_of(call))]))
    return found


# ---- what is compared ----------------------------------------------------------------------------


def comparable(value: Any) -> Any:
    """A result with the types of all that is in it."""
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [comparable(item) for item in value]
    if isinstance(value, dict):
        return "dict", [(comparable(key), comparable(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return "set", sorted(map(repr, value))
    return type(value).__name__, repr(value)


#: What stands before the server's own words.
LOCATION = re.compile(r"(?s)^\S.*? on host \d+ \(.*?/\d+\): ")


def difference(face: str, call: Call, expected: Any, found: Any) -> str | None:
    """How a result differs from redis-py's."""
    if not isinstance(expected, Exception) and not isinstance(found, Exception):
        if comparable(expected) == comparable(found):
            return None
    elif isinstance(expected, Exception) and isinstance(found, Exception):
        # What cannot be sent is told in other words with hiredis than without.
        same = isinstance(expected, redis.DataError) or LOCATION.sub("", str(found)) == str(expected)
        if same and type(expected) is type(found):
            return None
        # Where several commands are on their way, what cannot be decoded is that command's reply, and no end.
        if isinstance(expected, UnicodeDecodeError) and isinstance(found, redis.InvalidResponse):
            return None if str(found).endswith(f": {expected}") else "It is told in other words."
    elif face in MERGES and call.name == "get" and found is None and "WRONGTYPE" in str(expected):
        return None
    return f"{face}: {call} is {told(found)}, and {told(expected)} by redis-py"


def told(value: Any) -> str:
    """A result, for a reader."""
    # Errors of redis-py show no words in their repr.
    return f"{type(value).__name__}: {value}"[:300] if isinstance(value, Exception) else f"{value!r:.300}"


def data_of(client: redis.Redis) -> dict[Any, Any]:
    """What a database holds."""
    readers: dict[bytes, Callable[[Any], Any]] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    found = {}
    for key in client.scan_iter():
        kind: Any = client.type(key)
        found[key] = kind, readers[kind](key), client.ttl(key) > 0
    return found


@pytest.fixture
def make_clients(servers: TestSetup) -> Iterator[Callable[..., list[redis.Redis]]]:
    """Clients of redis-py's own for a database of all servers."""
    made: list[redis.Redis] = []

    def make(db: int, **options: Any) -> list[redis.Redis]:
        clients = [servers.client(server, db, **options) for server in range(servers.servers)]
        made.extend(clients)
        return clients

    yield make
    for client in made:
        client.close()


@pytest.mark.filterwarnings("ignore:Call to deprecated")
@pytest.mark.parametrize(
    ("protocol", "decodes"),
    [(2, False), (3, False), (2, True), (3, True)],
    ids=["2", "3", "2-text", "3-text"],
)
def test_random_commands_do_what_they_do_by_redis_py(
    servers: TestSetup,
    make_cluster: Callable[..., Cluster],
    make_clients: Callable[..., list[redis.Redis]],
    protocol: int,
    decodes: bool,
) -> None:
    options = {"protocol": protocol, "decode_responses": decodes}
    hosts = range(servers.servers)
    clusters = {
        face: make_cluster({host: servers.host(host, db) for host in hosts}, pool_options=options)
        for db, face in enumerate(FACES)
    }
    own = len(FACES)
    clients = make_clients(own, **options)
    plain = {db: make_clients(db) for db in range(own + 1)}
    host_of = clusters["map"].get_router().get_host_for_key
    differences: list[str] = []
    for number in range(many_trials(SEQUENCES) // 4):
        seed = f"{seed_of_trials()}:{protocol}:{decodes}:{number}"
        chance = random.Random(seed)
        draw = Draw(chance, decodes)
        calls = [draw.call() for _ in range(COMMANDS)]
        batches: list[list[Call]] = [[]]
        for call in calls:
            if chance.random() < 0.1:
                batches.append([])
            batches[-1].append(call)
        expected = by_redis_py(clients, host_of, batches)
        for db, (face, run) in enumerate(FACES.items()):
            found = run(clusters[face], batches)
            differences += [
                how
                for call, one, other in zip(calls, expected, found, strict=True)
                if (how := difference(face, call, one, other))
            ]
            for host in hosts:
                if (theirs := data_of(plain[own][host])) != (ours := data_of(plain[db][host])):
                    keys = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
                    differences.append(f"{face}: host {host} holds something else at {keys[:5]}")
        for db in range(own + 1):
            for client in plain[db]:
                client.flushdb()
        if differences:
            differences.append(f"(sequence {seed})")
            break
    assert not differences, "\n".join(differences)
