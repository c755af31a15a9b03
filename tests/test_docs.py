"""The documentation against the code: examples compile, nothing public is missing, links lead somewhere."""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import pindb
from pindb.conf import COOKIE_DEFAULTS, DEFAULTS
from pindb.testing.redis import ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
TEXT = "\n".join(page.read_text() for page in DOCS)
SETTINGS = {**DEFAULTS, **COOKIE_DEFAULTS}
CHECK_IDS = sorted(set(re.findall(r"pindb\.[EW]\d{3}", (ROOT / "pindb" / "checks.py").read_text())))


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"\bPINDB_[A-Z_]*[A-Z]\b", page.read_text()))
    assert named <= {*SETTINGS, ENVIRONMENT}


@pytest.mark.parametrize("name", pindb.__all__)
def test_public_name_is_documented(name: str) -> None:
    assert re.search(rf"\bpindb\.{name}$", (ROOT / "docs" / "api.md").read_text(), re.M)


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_is_documented_with_its_default(name: str) -> None:
    row = re.search(
        rf"^\| \[`{name}`\]\(\S+\) \| (.+) \|$", (ROOT / "docs" / "settings.md").read_text(), re.M
    )
    assert row is not None
    default = row[1]
    if name in COOKIE_DEFAULTS:
        assert default == f"`{COOKIE_DEFAULTS[name]}`"
    elif DEFAULTS[name] is None:
        assert default == "none: required"
    else:
        assert ast.literal_eval(default.strip("`")) == DEFAULTS[name]


@pytest.mark.parametrize("check_id", CHECK_IDS)
def test_check_is_documented(check_id: str) -> None:
    assert f"| `{check_id}` |" in (ROOT / "docs" / "troubleshooting.md").read_text()


def test_every_check_that_is_named_exists() -> None:
    assert set(re.findall(r"pindb\.[EW]\d{3}", TEXT)) <= set(CHECK_IDS)


def slugs(page: Path) -> set[str]:
    """What links to the headings of a page may name."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
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
    }
    assert {page.stem for page in DOCS} - {"index"} <= listed
