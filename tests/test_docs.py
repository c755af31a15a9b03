"""The documentation against the code: examples compile, nothing public is missing, links lead somewhere.

The examples of the Redis half are run, on real servers.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import io
import re
import shutil
import sqlite3
import textwrap
import tokenize
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings

import pindb
import pindb.cache
import pindb.hashing
import pindb.redis
from pindb.cache.options import OPTIONS as CACHE_OPTIONS
from pindb.conf import COOKIE_DEFAULTS, DEFAULTS
from pindb.redis import RoutedCluster, connections
from pindb.redis.backends.redis import Redis
from pindb.redis.facade.create import BACKENDS, COMMON
from pindb.redis.routers.options import ROUTERS
from pindb.redis.topology.hosts import OPTIONS, Host
from pindb.testing.processes import ServerFolder, wait_for
from pindb.testing.redis import ENVIRONMENT, TestSetup
from tests.processes import ROOT
from tests.redis.tools import TRIALS, TRIALS_SEED

DOCS = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *DOCS]
TEXT = "\n".join(page.read_text() for page in DOCS)
SETTINGS = {**DEFAULTS, **COOKIE_DEFAULTS}
CHECKS = "\n".join(path.read_text() for path in (ROOT / "pindb" / "checks").glob("*.py"))
CHECK_IDS = sorted(set(re.findall(r"pindb\.[EW]\d{3}", CHECKS)))


def blocks(page: Path) -> Iterator[tuple[int, str, str]]:
    """The fenced blocks of a page: line number, language, text without the indent of its fence."""
    for match in re.finditer(r"^( *)```(\S*)\n(.*?)^\1```$", page.read_text(), re.M | re.S):
        yield match.string.count("\n", 0, match.start()) + 1, match[2], textwrap.dedent(match[3])


EXAMPLES = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}:{line}")
    for page in PAGES
    for line, language, code in blocks(page)
    if language == "python"
]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 40


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_compiles(code: str) -> None:
    compile(code, "<example>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_uses_names_that_exist(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pindb":
            assert node.attr in pindb.__all__ or importlib.util.find_spec(f"pindb.{node.attr}"), node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "pindb":
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("code", EXAMPLES)
def test_example_imports_pindb_where_it_uses_it(code: str) -> None:
    tree = ast.parse(code)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert "pindb" not in names or "pindb" in imported


# What the comment behind a statement says is checked: `1 + 1  # 2`, `f()  # raises ValueError: a ... part`,
# `text = str(error)  # a ... part`. Behind an expression, other words say nothing to a machine.


def comments(code: str) -> dict[int, str]:
    """The comments that stand behind something, by their line."""
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT and token.line[: token.start[1]].strip()
    }


def is_like(pattern: str, text: str) -> bool:
    """Whether the pieces of `pattern` between its dots stand in `text`, in order."""
    return re.search(".*".join(map(re.escape, pattern.split("..."))), text, re.S) is not None


def check_value(value: Callable[[], Any], comment: str) -> None:
    raises = re.fullmatch(r"raises (\w+)(?:: (.*))?", comment)
    if raises is not None:
        with pytest.raises(Exception) as caught:  # noqa: PT011 (its name is compared)
            value()
        assert caught.type.__name__ == raises[1]
        assert is_like(raises[2] or "", str(caught.value)), caught.value
        return
    found = value()
    try:
        expected = ast.literal_eval(comment)
    except (SyntaxError, ValueError):
        return
    assert found == expected


def check_text(text: Any, pattern: str) -> None:
    assert is_like(pattern, str(text)), text


class Checks(ast.NodeTransformer):
    """Turns statements with a comment into checks of what it says."""

    def __init__(self, comments: Mapping[int, str]) -> None:
        self.comments = comments

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        comment = self.comments.get(node.end_lineno or 0)
        if comment is None:
            return node
        call = ast.parse(f"check_value(lambda: None, {comment!r})", mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.args[0], ast.Lambda)
        call.args[0].body = node.value
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(call), node))

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt]:
        comment = self.comments.get(node.end_lineno or 0)
        if comment is None:
            return node
        check = ast.parse(f"check_text({ast.unparse(node.targets[0])}, {comment!r})")
        return [node, *ast.increment_lineno(check, node.lineno - 1).body]


@pytest.fixture(scope="module")
def servers() -> Iterator[TestSetup]:
    with TestSetup(servers=4, databases_each=2) as setup:
        yield setup


@pytest.fixture
def hosts_of_examples(servers: TestSetup, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections go to real servers, whatever addresses an example has; those that it has started stay."""
    servers.flush()
    make_pool = Host.make_pool
    pools: list[Any] = []

    def make_pool_there(host: Host, *args: Any) -> Any:
        if host.unix_socket_path is None:
            host = Host.from_config(host.host_id, servers.hosts[host.host_id])
        pools.append(make_pool(host, *args))
        return pools[-1]

    monkeypatch.setattr(Host, "make_pool", make_pool_there)
    yield
    connections.configure(None)
    for pool in pools:
        pool.disconnect()


@pytest.mark.usefixtures("hosts_of_examples")
@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/how-to/coming-from-nydus.md",
        "docs/how-to/coming-from-rb.md",
        "docs/how-to/create-cluster.md",
        "docs/reference/redis-api.md",
        "docs/how-to/redis.md",
    ],
)
def test_examples_of_the_redis_half_run(name: str) -> None:
    names: dict[str, Any] = {}
    page = ROOT / name
    for line, language, code in blocks(page):
        is_ours = page in DOCS or "pindb.redis" in code
        if language == "python" and is_ours and other_server(code) is None:
            # One after the other, in one namespace, as a reader would type them.
            run(code, page, line, names)


def run(code: str, page: Path, line: int, names: dict[str, Any]) -> None:
    tree = ast.fix_missing_locations(Checks(comments(code)).visit(ast.parse(code)))
    ast.increment_lineno(tree, line)
    names |= {"check_value": check_value, "check_text": check_text}
    exec(compile(tree, str(page), "exec", dont_inherit=True), names)


def other_server(code: str) -> str | None:
    """The backend that an example names, where that is not Redis."""
    named = re.search(r'"backend": "(\w+)"', code)
    return named[1] if named is not None and named[1] != "redis" else None


def run_examples_of(backend: str) -> None:
    page = ROOT / "docs" / "how-to" / "create-cluster.md"
    examples = [(code, line) for line, _, code in blocks(page) if other_server(code) == backend]
    assert examples
    names: dict[str, Any] = {}
    try:
        for code, line in examples:
            run(code, page, line, names)
    finally:
        for value in names.values():
            if isinstance(value, RoutedCluster):
                value.disconnect()


@pytest.mark.usefixtures("hosts_of_examples")
def test_examples_of_the_cache_run() -> None:
    page = ROOT / "docs" / "how-to" / "cache.md"
    with ExitStack() as stack:
        for line, language, code in blocks(page):
            if language == "python":
                names: dict[str, Any] = {}
                run(code, page, line, names)
                given = {name: names[name] for name in ("CACHES", "PINDB_CLUSTERS") if name in names}
                stack.enter_context(override_settings(**given))
                # Also where nothing follows that uses it.
                caches["default"].set("key", "value")


def test_examples_of_memcached_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pymemcache")
    from pindb.redis.backends.memcached import Memcached

    program = shutil.which("memcached")
    if program is None:
        pytest.skip('needs the program "memcached", of your system\'s package of that name')
    connect = Memcached.connect
    with closing(ServerFolder("pindb-memcached-")) as folder:
        paths = [folder.path / f"{server}.sock" for server in range(2)]

        def connect_there(host: Memcached) -> Any:
            host.unix_socket_path = str(paths[host.num])
            return connect(host)

        for path in paths:
            folder.start(path.stem, [program, "-s", path, "-a", "0700", "-t", "1", "-m", "8"])
        for path in paths:
            wait_for(path.is_socket, f"memcached to listen at {path}", 20)
        monkeypatch.setattr(Memcached, "connect", connect_there)
        run_examples_of("memcached")


class Driver:
    """Stands in for the `Cluster` of Cassandra's driver, with a table in memory."""

    def __init__(self, contact_points: Sequence[str], **options: Any) -> None:
        self.contact_points = contact_points

    def connect(self, keyspace: str | None) -> Session:
        assert self.contact_points
        self.database = sqlite3.connect(":memory:")
        self.database.execute("CREATE TABLE notes (id INT, text TEXT)")
        return Session(self)

    def shutdown(self) -> None:
        self.database.close()


class Session:
    """Stands in for the driver's session."""

    def __init__(self, cluster: Driver) -> None:
        self.cluster = cluster

    def execute(self, statement: str, parameters: Sequence[Any]) -> list[Any]:
        cursor = self.cluster.database.execute(statement.replace("%s", "?"), parameters)
        row = namedtuple("row", [column[0] for column in cursor.description or ()])  # type: ignore[misc]
        return [row(*values) for values in cursor]


def test_examples_of_cassandra_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cassandra")
    from pindb.redis.backends.cassandra import Cassandra

    monkeypatch.setattr(Cassandra, "cluster_class", Driver)
    run_examples_of("cassandra")


@pytest.mark.parametrize("module", [pindb.redis, pindb.hashing], ids=lambda module: module.__name__)
def test_names_of_the_redis_half_are_documented(module: Any) -> None:
    assert [name for name in module.__all__ if not re.search(rf"\b{name}\b", TEXT)] == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("redis", name) for name in pindb.redis.__all__),
        *(("cache", name) for name in pindb.cache.__all__),
    ],
)
def test_name_of_a_module_is_in_its_reference(module: str, name: str) -> None:
    reference = (ROOT / "docs" / "reference" / f"{module}-api.md").read_text()
    assert re.search(rf"^\.\. auto\w+:: pindb\.{module}\.{name}$", reference, re.M)


@pytest.mark.parametrize(
    ("page", "option"),
    [
        *(("cache.md", option) for option in sorted(CACHE_OPTIONS)),
        *(("redis.md", option) for option in sorted(OPTIONS)),
    ],
)
def test_option_is_documented(page: str, option: str) -> None:
    assert re.search(rf"^\| [^|]*`{option}`", (ROOT / "docs" / "how-to" / page).read_text(), re.M)


def row_of(name: str, after: str) -> re.Match[str] | None:
    """The row of a table for a name, below a heading of docs/how-to/create-cluster.md."""
    text = (ROOT / "docs" / "how-to" / "create-cluster.md").read_text()
    section = re.split(r"^#", text.split(f"{after}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    return re.search(rf"^\| [^|]*`{name}`[^|]*\|.*", section, re.M)


@pytest.mark.parametrize(
    ("name", "after"),
    [
        *((name, "## Settings") for name in sorted(COMMON | Redis.more_settings)),
        *((name, "### Options of a host") for name in sorted(OPTIONS | {"host_id", "identifier"})),
        *((f'"{name}"', "## Routers") for name in ROUTERS),
    ],
)
def test_what_create_cluster_takes_is_documented(name: str, after: str) -> None:
    assert row_of(name, after)


def test_options_of_hosts_of_memcached_are_documented() -> None:
    pytest.importorskip("pymemcache")
    from pindb.redis.backends.memcached import Memcached

    own = inspect.signature(Memcached).parameters.keys() - {"num", "options"}
    assert [name for name in sorted(own) if not row_of(name, "### memcached")] == []


@pytest.mark.parametrize("router", ROUTERS.values(), ids=ROUTERS)
def test_options_of_router_are_documented(router: type[Any]) -> None:
    own = inspect.signature(router).parameters.keys() - {"cluster"}
    assert [name for name in sorted(own) if not row_of(name, "## Routers")] == []


def test_backends_are_documented() -> None:
    row = row_of("backend", "## Settings")
    assert row is not None
    assert [name for name in BACKENDS if f'`"{name}"`' not in row[0]] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"\bPINDB_[A-Z_]*[A-Z]\b", page.read_text()))
    assert named <= {*SETTINGS, ENVIRONMENT, TRIALS, TRIALS_SEED}


@pytest.mark.parametrize("name", pindb.__all__)
def test_public_name_is_documented(name: str) -> None:
    assert re.search(rf"\bpindb\.{name}$", (ROOT / "docs" / "reference" / "api.md").read_text(), re.M)


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_is_documented_with_its_default(name: str) -> None:
    settings = (ROOT / "docs" / "reference" / "settings.md").read_text()
    row = re.search(rf"^\| \[`{name}`\]\(\S+\) \| (.+) \|$", settings, re.M)
    assert row is not None
    default = row[1]
    if name in COOKIE_DEFAULTS:
        assert default == f"`{COOKIE_DEFAULTS[name]}`"
    elif name in ("MASTER_DATABASES", "DATABASE_SETS"):
        assert default == "none: required"
    elif name == "PINDB_PINNED_COMMANDS":
        assert default == "`pindb.conf.PINNED_COMMANDS`"
    else:
        assert ast.literal_eval(default.strip("`")) == DEFAULTS[name]


@pytest.mark.parametrize("check_id", CHECK_IDS)
def test_check_is_documented(check_id: str) -> None:
    assert f"| `{check_id}` |" in (ROOT / "docs" / "reference" / "troubleshooting.md").read_text()


def test_every_check_that_is_named_exists() -> None:
    assert set(re.findall(r"pindb\.[EW]\d{3}", TEXT)) <= set(CHECK_IDS)


def slugs(page: Path) -> set[str]:
    """What links to the headings of a page may name."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), target
        assert not anchor or anchor in slugs(goal), target


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    listed = {
        line.strip()
        for block in re.findall(r"```\{toctree\}\n(.*?)```", index, re.S)
        for line in block.splitlines()
        if not line.startswith(":")
    }
    pages = {str(page.relative_to(ROOT / "docs").with_suffix("")) for page in DOCS}
    assert pages - {"index"} == listed - {""}


# The README is also the package's page, where nothing of the checkout lies beside it.


def test_links_of_the_readme_work_everywhere() -> None:
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"\[[^\]]*\]\(([^)]+)\)", readme)
    assert [target for target in links if not re.match(r"#|https://", target)] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) < 700


@pytest.mark.parametrize("word", ["read-your-writes", "replication lag", "failover"])
def test_the_readme_begins_with_what_people_search_for(word: str) -> None:
    assert word in "\n".join((ROOT / "README.md").read_text().splitlines()[:12])


@pytest.mark.parametrize("path", re.findall(r"`(docs/[^`]*)`", (ROOT / "README.md").read_text()))
def test_paths_in_the_readme_exist(path: str) -> None:
    assert (ROOT / path).exists()
