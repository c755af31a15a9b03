"""What may be imported where: imports run downwards, and settings modules can import pindb."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pindb

PACKAGE = Path(pindb.__file__).parent

# From the bottom up; a module imports only what stands in a row below its own.
FLOORS = [
    ["pindb.hashing.keys", "pindb.forks"],
    ["pindb.hashing.crc32", "pindb.hashing.rings", "pindb.hashing.slots"],
    ["pindb.hashing.continuum", "pindb.hashing.ketama"],
    ["pindb.hashing"],
    ["pindb.aliases", "pindb.circuit", "pindb.conf"],
    [
        "pindb.redis.cluster_mode",
        "pindb.redis.commands",
        "pindb.redis.exceptions",
        "pindb.redis.names",
        "pindb.redis.promise",
        "pindb.redis.resp",
    ],
    [
        "pindb.redis.calls",
        "pindb.redis.loading",
        "pindb.redis.results",
        "pindb.redis.retries",
    ],
    ["pindb.redis.outages", "pindb.redis.sockets"],
    ["pindb.redis.routers.keys", "pindb.redis.routers.overriding"],
    ["pindb.redis.connecting"],
    ["pindb.redis.hosts", "pindb.redis.opening"],
    ["pindb.redis.pools", "pindb.redis.routers.base"],
    ["pindb.redis.exchange"],
    ["pindb.redis.routers.down", "pindb.redis.routers.partition"],
    ["pindb.redis.routers.ring", "pindb.redis.routers.rotation"],
    ["pindb.redis.routers", "pindb.redis.routers.making"],
    ["pindb.redis.multikey"],
    ["pindb.redis.entries", "pindb.redis.clients.base"],
    ["pindb.redis.buffers"],
    ["pindb.redis.clients.promising"],
    ["pindb.redis.clients.mapping", "pindb.redis.clients.fanout"],
    ["pindb.redis.clients.calling", "pindb.redis.clients.locks"],
    ["pindb.redis.clients.routing"],
    ["pindb.redis.clients"],
    ["pindb.redis.cluster", "pindb.redis.face"],
    ["pindb.redis.backends.base"],
    ["pindb.redis.backends.calls"],
    ["pindb.redis.backends.connection"],
    ["pindb.redis.backends"],
    ["pindb.redis.backends.cassandra", "pindb.redis.backends.memcached", "pindb.redis.backends.redis"],
    ["pindb.redis.create"],
    ["pindb.redis.connections"],
    ["pindb.redis"],
    ["pindb.cache.asking", "pindb.cache.missing", "pindb.cache.options"],
    ["pindb.cache.shards"],
    ["pindb.cache.operations", "pindb.cache.patterns", "pindb.cache.statistics"],
    ["pindb.cache.change", "pindb.cache.scan"],
    ["pindb.cache.plan"],
    ["pindb.cache.copies"],
    ["pindb.cache.move"],
    ["pindb.cache.backend", "pindb.cache.client"],
    ["pindb.cache"],
    [
        "pindb.counters",
        "pindb.exceptions",
        "pindb.places",
        "pindb.signals",
        "pindb.testing.processes",
        "pindb.tracebacks",
    ],
    ["pindb.testing.replicas"],
    [
        "pindb.importing",
        "pindb.sets",
        "pindb.testing.mariadb",
        "pindb.testing.postgres",
        "pindb.testing.redis",
        "pindb.testing",
    ],
    ["pindb.contexts", "pindb.positions.base"],
    ["pindb.incoming", "pindb.orm", "pindb.pinning", "pindb.positions.mysql", "pindb.positions.postgresql"],
    ["pindb.positions.asking"],
    ["pindb.positions"],
    ["pindb.members", "pindb.outgoing", "pindb.pools", "pindb.tokens"],
    ["pindb.health", "pindb.streams"],
    ["pindb.lag", "pindb.stores", "pindb.waiting"],
    ["pindb.replicas"],
    ["pindb.reruns"],
    ["pindb.routers", "pindb.middleware", "pindb.celery", "pindb.commands", "pindb.tasks", "pindb.urls"],
    ["pindb.checks.reporting"],
    ["pindb.checks.cookie", "pindb.checks.replicas", "pindb.checks.stores"],
    ["pindb.checks.routing", "pindb.checks.servers", "pindb.checks.values"],
    ["pindb.checks"],
    ["pindb.apps", "pindb"],
    ["pindb.management.tables"],
    ["pindb.management", "pindb.management.commands", "pindb.management.commands.pindb"],
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def modules() -> dict[str, Path]:
    return {
        ".".join(("pindb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def imports(path: Path) -> set[str]:
    found = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    # The list grows while it is walked.
    for node in nodes:
        # What only a type checker imports is never run.
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            nodes.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & FLOOR.keys()
            found |= submodules or {node.module}
    return {name for name in found if name.split(".")[0] == "pindb"}


def test_every_module_has_its_floor() -> None:
    assert modules().keys() == FLOOR.keys()


@pytest.mark.parametrize("name", FLOOR)
def test_imports_run_downwards(name: str) -> None:
    upwards = {other for other in imports(modules()[name]) if FLOOR[other] >= FLOOR[name]}
    assert upwards == set()


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_pindb_can_be_imported_from_a_settings_module() -> None:
    code = """
import sys
import pindb
for name in pindb.__all__:
    getattr(pindb, name)
from django.conf import settings
assert not settings.configured
for name in ("redis", "celery", "psycopg", "django.db.models"):
    assert name not in sys.modules, name
print(sorted(pindb.populate_replicas({"default": {}}, {"default": [{}]})))
"""
    assert run(code) == "['default', 'default-0']"


def test_redis_servers_can_be_started_without_a_client() -> None:
    code = """
import sys
import pindb.testing.redis
print("redis" in sys.modules, "pindb.redis" in sys.modules)
"""
    assert run(code) == "False False"


def test_the_redis_half_needs_no_django() -> None:
    code = """
import sys
sys.modules["django"] = None
import pindb, pindb.hashing, pindb.redis, pindb.testing.redis
cluster = pindb.redis.Cluster({0: {}, 1: {"port": 6380}})
print(cluster.get_router().get_host_for_key("a"), "pin" in dir(pindb))
"""
    assert run(code) == "1 True"


def test_the_clients_of_other_servers_are_imported_for_their_clusters_only() -> None:
    code = """
import sys
import pindb.redis
pindb.redis.create_cluster({"router": "partition", "hosts": {0: {}}})
print([name for name in ("pymemcache", "cassandra") if name in sys.modules])
"""
    assert run(code) == "[]"


def test_the_redis_half_says_what_it_needs() -> None:
    code = """
import sys
sys.modules["redis"] = None
try:
    import pindb.redis
except ImportError as error:
    print(error)
"""
    assert run(code) == 'pindb.redis needs redis-py: pip install "django-pindb[redis]"'


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pinn'"):
        pindb.pinn  # noqa: B018
    assert set(pindb.__all__) <= set(dir(pindb))


def test_all_public_names_are_there() -> None:
    routing = {"populate_replicas", "StrictPinDbRouter", "GreedyPinDbRouter", "get_replica", "is_enabled"}
    pins = {"pin", "unpin_all", "is_pinned", "is_newly_pinned", "get_pinned", "get_newly_pinned"}
    blocks = {"master", "with_masters", "unpinned_replica", "with_replicas", "pinning_context"}
    exceptions = {
        "PinDbException",
        "PinDbConfigError",
        "UnpinnedWriteException",
        "PositionUnavailable",
        "ReplicasBehind",
    }
    state = {"current_position", "acurrent_position", "wait_for_replicas", "await_for_replicas", "stats"}
    assert set(pindb.__all__) == routing | pins | blocks | exceptions | state
    for name in pindb.__all__:
        assert getattr(pindb, name).__doc__
