"""The layout of the package: imports run downwards, and private modules show that they are private."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pindb
from tests.processes import output_of

PACKAGE = Path(pindb.__file__).parent

#: The floors of the house, from the bottom up: a module imports from its own floor and those below. A folder
#: stands for all modules in it that no other line names.
FLOORS = [
    ["_events", "_forks", "_jitter", "_tracebacks", "exceptions", "signals"],
    ["_circuit", "_stats", "conf", "hashing"],
    ["positions"],
    ["sets"],
    ["pins"],
    ["routing"],
    ["stores"],
    ["celery", "middleware", "tasks", "urls", "management.pinned"],
    ["redis.exceptions"],
    ["redis.core"],
    ["redis.topology.breakers"],
    ["redis.io"],
    ["redis.topology"],
    ["redis.routers"],
    ["redis.clients"],
    ["redis.cluster"],
    ["redis.backends", "redis.facade"],
    ["redis"],
    ["cache"],
    ["checks", "testing"],
    ["apps", "", "management"],
]
FLOOR = {f"pindb.{name}".rstrip("."): floor for floor, names in enumerate(FLOORS) for name in names}

#: Folders and modules whose names users type. All others are private.
PUBLIC = {
    "pindb",
    "pindb.apps",
    "pindb.cache",
    "pindb.celery",
    "pindb.conf",
    "pindb.exceptions",
    "pindb.hashing",
    "pindb.middleware",
    "pindb.positions",
    "pindb.redis",
    "pindb.redis.backends",
    "pindb.redis.backends.cassandra",
    "pindb.redis.backends.memcached",
    "pindb.redis.backends.redis",
    "pindb.redis.exceptions",
    "pindb.redis.routers",
    "pindb.signals",
    "pindb.stores",
    "pindb.tasks",
    "pindb.testing",
    "pindb.testing.mariadb",
    "pindb.testing.postgres",
    "pindb.testing.redis",
    "pindb.urls",
}


def modules() -> dict[str, Path]:
    return {
        ".".join(("pindb", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


MODULES = modules()


def imports(path: Path, *, for_types: bool = True) -> set[str]:
    """The modules of pindb that a module imports, wherever it does; those that only type checkers see too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {node.module}
    return found & MODULES.keys()


def floor_of(name: str) -> int:
    while name not in FLOOR:
        name = name.rpartition(".")[0]
    return FLOOR[name]


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name: str) -> None:
    upwards = {other for other in imports(MODULES[name]) if floor_of(other) > floor_of(name)}
    assert upwards == set()


#: Modules for I/O, for threads, and for the time.
IO = {
    *("_thread", "asyncio", "queue", "select", "selectors", "socket", "ssl", "subprocess", "threading"),
    "time",
}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("pindb.redis.core")])
def test_the_core_of_the_redis_half_does_no_io(name: str) -> None:
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    assert {module.partition(".")[0] for module in found} & IO == set()
    assert not any(module.startswith("redis.") and "connection" in module for module in found)


def test_no_module_imports_itself_in_a_circle() -> None:
    circles = TopologicalSorter({name: imports(path) - {name} for name, path in MODULES.items()})
    circles.prepare()


REFERENCE = "".join(page.read_text() for page in (PACKAGE.parent / "docs" / "reference").glob("*.md"))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_public_module_is_in_the_reference(name: str) -> None:
    assert name in MODULES
    assert re.search(rf"\b{re.escape(name)}\b", REFERENCE)


def says_private(folder: str) -> bool:
    """Whether the docstring of a folder has a line that begins with "Private"."""
    docstring = ast.get_docstring(ast.parse(MODULES[folder].read_text()), clean=True) or ""
    return any(line.startswith("Private") for line in docstring.splitlines())


@pytest.mark.parametrize("name", sorted(MODULES.keys() - PUBLIC))
def test_private_module_shows_that_it_is(name: str) -> None:
    parts = name.split(".")
    folders = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    shown_by_name = any(part.startswith("_") for part in parts)
    assert shown_by_name or any(map(says_private, MODULES.keys() & set(folders)))


def run(code: str) -> str:
    return output_of("-c", code).strip()


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


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'pinn'"):
        pindb.pinn  # noqa: B018
    assert set(pindb.__all__) <= set(dir(pindb))


def test_all_public_names_are_there() -> None:
    routing = {"populate_replicas", "StrictPinDbRouter", "GreedyPinDbRouter", "get_replica", "is_enabled"}
    pins = {"pin", "unpin_all", "is_pinned", "is_newly_pinned", "get_pinned", "get_newly_pinned"}
    blocks = {"master", "with_masters", "unpinned_replica", "with_replicas", "pinning_context"}
    exceptions = {
        *("PinDbException", "PinDbConfigError", "UnpinnedWriteException", "PositionUnavailable"),
        "ReplicasBehind",
    }
    state = {
        *("current_position", "acurrent_position", "wait_for_replicas", "await_for_replicas", "stats"),
        "Stats",
    }
    assert set(pindb.__all__) == routing | pins | blocks | exceptions | state
    for name in pindb.__all__:
        assert getattr(pindb, name).__doc__
