"""Management commands: those that change data run on the master, and a replica is only read."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.checks import run_checks
from django.core.management import BaseCommand, CommandError, call_command
from django.core.management.base import SystemCheckError
from django.core.management.commands.migrate import Command as Migrate
from django.db import router
from django.test import override_settings
from django.utils import timezone

import pindb
from pindb.conf import PINNED_COMMANDS
from pindb.management import pinned
from pindb.pins.context import current
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import pause_all
from tests.processes import ROOT, run_python
from tests.routing.test_routers import ArticlesOnApi
from tests.testapp.models import Article, Author, Book, Tag

ROUTERS = ["pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"]
REPLICAS = ("default-0", "default-1")

strict = override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"])


@pytest.fixture(params=ROUTERS, ids=["greedy", "strict"])
def each_router(request: pytest.FixtureRequest) -> Iterator[str]:
    with override_settings(DATABASE_ROUTERS=[request.param]):
        yield request.param


def make_command(
    handle: Callable[[], Any], module: str, base: type[BaseCommand] = BaseCommand
) -> BaseCommand:
    """A command as an app has it in the module of that name."""

    def run(self: BaseCommand, *args: Any, **options: Any) -> None:
        handle()

    found = type("Command", (base,), {"__module__": module, "handle": run})()
    assert isinstance(found, BaseCommand)
    return found


def add_author() -> None:
    Author.objects.create(name="Ada")


PINNED = override_settings(PINDB_PINNED_COMMANDS=[*PINNED_COMMANDS, "import_prices", "shop.tidy"])


# ---- Django's own, on a real database ----------------------------------------------------------


@pytest.fixture
def fixture(tmp_path: Path) -> str:
    """A file for loaddata: an author, and a book with a tag, which the router is asked for."""
    rows = [
        {"model": "testapp.tag", "pk": 1, "fields": {"name": "engines"}},
        {"model": "testapp.author", "pk": 1, "fields": {"name": "Ada"}},
        {"model": "testapp.book", "pk": 1, "fields": {"title": "Notes", "author": 1, "tags": [1]}},
    ]
    file = tmp_path / "books.json"
    file.write_text(json.dumps(rows))
    return str(file)


@pytest.mark.usefixtures("paused", "each_router")
def test_what_loaddata_wrote_is_read_by_its_caller(fixture: str) -> None:
    call_command("loaddata", fixture, verbosity=0)
    assert pindb.get_newly_pinned() == {"default"}
    assert [tag.name for tag in Book.objects.get().tags.all()] == ["engines"]


@pytest.mark.usefixtures("paused", "each_router")
def test_a_command_that_asks_no_router_pins_its_database(fixture: str) -> None:
    call_command("loaddata", fixture, verbosity=0)
    with pindb.pinning_context():
        call_command("flush", interactive=False, verbosity=0)
        assert not Author.objects.exists()
        assert pindb.get_newly_pinned() == {"default"}
    with pindb.pinning_context():
        call_command("createsuperuser", interactive=False, verbosity=0, username="ada", email="a@example.com")
        assert User.objects.get().is_superuser


@override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])
@pytest.mark.usefixtures("paused", "each_router")
def test_commands_of_the_contrib_apps_run_under_both_routers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pindb.master("default"):
        stale = ContentType.objects.create(app_label="testapp", model="gone")
        User.objects.create_user("ada", password="old")
        Session.objects.create(session_key="old", session_data="", expire_date=timezone.now())
    call_command("remove_stale_contenttypes", interactive=False, verbosity=0)
    assert not ContentType.objects.using("default").filter(pk=stale.pk).exists()
    call_command("clearsessions", verbosity=0)
    assert not Session.objects.using("default").exists()
    monkeypatch.setattr("getpass.getpass", lambda prompt="": "a new pass word")
    call_command("changepassword", "ada", verbosity=0)
    assert User.objects.get().check_password("a new pass word")


@pytest.mark.usefixtures("servers", "each_router")
def test_commands_that_were_told_not_to_write_pin_nothing() -> None:
    call_command("migrate", check_unapplied=True, verbosity=0)
    call_command("migrate", plan=True, verbosity=0)
    call_command("createcachetable", dry_run=True, verbosity=0)
    call_command("check")
    call_command("dumpdata", "testapp", verbosity=0)
    assert pindb.get_pinned() == set()


# ---- what is around the command ----------------------------------------------------------------


@PINNED
@pytest.mark.usefixtures("paused", "each_router")
def test_the_context_around_a_command_stays_as_it_was(fixture: str) -> None:
    pindb.pin("api", count_as_new=False)
    call_command("loaddata", fixture, verbosity=0)
    assert pindb.get_pinned() == {"api", "default"}
    assert pindb.get_newly_pinned() == {"default"}
    with pindb.pinning_context():
        outer, member = current(), router.db_for_read(Author)
        call_command(make_command(lambda: None, "shop.management.commands.import_prices"))
        assert current() is outer
        assert pindb.get_pinned() == set()
        assert router.db_for_read(Author) == member


@pytest.mark.usefixtures("servers", "each_router")
def test_a_block_around_a_command_decides_what_comes_after_it(fixture: str) -> None:
    with pindb.unpinned_replica("default"):
        call_command("loaddata", fixture, verbosity=0)
        assert router.db_for_read(Author) in REPLICAS
    assert pindb.get_pinned() == set()
    with pindb.master("default"):
        call_command("loaddata", fixture, verbosity=0)
    assert pindb.get_pinned() == set()


@pytest.mark.usefixtures("paused", "each_router")
def test_a_command_that_fails_leaves_its_pin() -> None:
    def write_and_fail() -> None:
        add_author()
        raise CommandError("no prices")

    with PINNED, pytest.raises(CommandError, match="no prices"):
        call_command(make_command(write_and_fail, "shop.management.commands.import_prices"))
    assert pindb.get_newly_pinned() == {"default"}
    assert Author.objects.get().name == "Ada"


@pytest.mark.usefixtures("paused", "each_router")
def test_commands_inside_commands(fixture: str) -> None:
    def load_and_read() -> None:
        call_command("loaddata", fixture, verbosity=0)
        assert Author.objects.get().name == "Ada"

    call_command(make_command(load_and_read, "shop.management.commands.plain"))
    assert pindb.get_newly_pinned() == {"default"}
    with pindb.pinning_context(), PINNED:
        call_command(make_command(load_and_read, "shop.management.commands.import_prices"))
        assert pindb.get_newly_pinned() == {"default"}


@pytest.mark.usefixtures("paused", "each_router")
def test_a_command_called_from_async_code_pins_its_caller(fixture: str) -> None:
    async def load() -> tuple[int, frozenset[str]]:
        with pindb.pinning_context():
            await sync_to_async(call_command)("loaddata", fixture, verbosity=0)
            return await Author.objects.acount(), pindb.get_newly_pinned()

    assert asyncio.run(load()) == (1, {"default"})


@strict
@pytest.mark.usefixtures("servers")
def test_inside_a_pinned_command_a_block_still_says_what_may_be_written() -> None:
    def write_to_replica() -> None:
        with pindb.unpinned_replica("default"):
            add_author()

    with PINNED, pytest.raises(pindb.UnpinnedWriteException):
        call_command(make_command(write_to_replica, "shop.management.commands.import_prices"))


# ---- which commands ----------------------------------------------------------------------------


@strict
@PINNED
@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("module", "base"),
    [
        ("shop.management.commands.import_prices", BaseCommand),
        ("another.management.commands.import_prices", BaseCommand),
        ("shop.management.commands.tidy", BaseCommand),
        # An app's own in the place of Django's.
        ("shop.management.commands.migrate", BaseCommand),
        ("shop.management.commands.migrate", Migrate),
        # One that is made of it and has another name.
        ("shop.management.commands.migrate_tenants", Migrate),
    ],
)
def test_a_command_is_known_by_its_module(module: str, base: type[BaseCommand]) -> None:
    make_command(add_author, module, base).execute(
        force_color=False, no_color=False, skip_checks=True, stdout=None, stderr=None
    )
    assert pindb.get_newly_pinned() == {"default"}


@strict
@PINNED
@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    "module", ["shop.management.commands.other", "else.management.commands.tidy", "shop"]
)
def test_other_commands_declare_their_writes(module: str) -> None:
    with pytest.raises(pindb.UnpinnedWriteException):
        call_command(make_command(add_author, module))


@strict
@PINNED
@pytest.mark.usefixtures("servers")
def test_a_command_whose_class_is_from_elsewhere_goes_by_its_name_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = make_command(add_author, "elsewhere.management.commands.tidy_all")
    module = ModuleType("shop.management.commands.tidy")
    module.Command = type(command)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    call_command(command)
    assert pindb.get_newly_pinned() == {"default"}


@strict
@override_settings(PINDB_PINNED_COMMANDS=())
@pytest.mark.usefixtures("servers")
def test_no_command_runs_pinned_where_none_is_listed(fixture: str) -> None:
    with pytest.raises(pindb.UnpinnedWriteException):
        call_command("loaddata", fixture, verbosity=0)
    assert pindb.get_pinned() == set()


@pytest.mark.parametrize("wrong", ["migrate", None, 7, ["migrate", None], [""]])
def test_a_list_of_commands_that_is_none_is_reported(wrong: Any) -> None:
    with override_settings(PINDB_PINNED_COMMANDS=wrong):
        assert [message.id for message in run_checks(tags=["pindb"])] == ["pindb.E020"]
        with pytest.raises(SystemCheckError, match=r"pindb\.E020"):
            call_command("migrate", skip_checks=False, verbosity=0)


@override_settings(PINDB_ENABLED=False)
@pytest.mark.usefixtures("servers")
def test_disabled_no_command_pins(fixture: str) -> None:
    call_command("loaddata", fixture, verbosity=0)
    assert Author.objects.get()._state.db == "default"
    assert pindb.get_pinned() == set()


def test_hooking_in_twice_changes_nothing() -> None:
    before = BaseCommand.execute
    pinned.install()
    assert BaseCommand.execute is before


# ---- a replica by its alias --------------------------------------------------------------------


def output(capsys: pytest.CaptureFixture[str], *args: Any, **options: Any) -> str:
    capsys.readouterr()
    call_command(*args, **options)
    return capsys.readouterr().out


@pindb.master("default")
def fill() -> None:
    book = Book.objects.create(title="Notes", author=Author.objects.create(name="Ada"))
    book.tags.add(Tag.objects.create(name="engines"))


@pytest.mark.usefixtures("each_router")
def test_a_dump_of_a_replica_has_what_that_of_the_master_has(
    servers: PostgresReplicaSet, capsys: pytest.CaptureFixture[str]
) -> None:
    fill()
    servers.wait_until_caught_up()
    dumps = {output(capsys, "dumpdata", database=alias) for alias in ("default", *REPLICAS)}
    assert len(dumps) == 1
    assert {row["model"] for row in json.loads(*dumps)} >= {"testapp.book", "auth.permission"}
    with override_settings(PINDB_ENABLED=False):
        dumps |= {output(capsys, "dumpdata", database=alias) for alias in ("default", *REPLICAS)}
    assert len(dumps) == 1
    assert pindb.get_pinned() == set()
    assert router.allow_migrate_model("default-0", Book) is False


def test_a_dump_is_of_one_member_in_all_its_parts(
    servers: PostgresReplicaSet, capsys: pytest.CaptureFixture[str]
) -> None:
    fill()
    servers.wait_until_caught_up()
    servers.pause(0)
    with pindb.master("default"):
        Book.objects.get().tags.clear()
    servers.wait_until_caught_up(1)
    for _ in range(2):
        found = {}
        for alias in ("default", *REPLICAS):
            (row,) = json.loads(output(capsys, "dumpdata", "testapp.book", database=alias))
            found[alias] = len(row["fields"]["tags"])
        assert found == {"default": 0, "default-0": 1, "default-1": 0}
        pindb.pin("default")


@override_settings(PINDB_DELEGATE_ROUTERS=[ArticlesOnApi()])
def test_a_dump_of_a_replica_has_the_models_of_its_set(
    servers: PostgresReplicaSet, capsys: pytest.CaptureFixture[str]
) -> None:
    Article.objects.using("api").create(headline="News")
    fill()
    servers.wait_until_caught_up()
    (row,) = json.loads(output(capsys, "dumpdata", "testapp", database="api-0"))
    assert row["model"] == "testapp.article"


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        *("loaddata books", "migrate", "migrate auth --prune --check", "flush --noinput"),
        *("createcachetable", "remove_stale_contenttypes"),
        *("createsuperuser --noinput --username ada --email a@example.com", "changepassword ada"),
    ],
)
def test_a_command_that_would_write_to_a_replica_says_what_to_write(line: str, enabled: bool) -> None:
    name, *args = line.split()
    with override_settings(PINDB_ENABLED=enabled), pytest.raises(CommandError) as caught:
        call_command(name, *args, "--database", "default-0")
    for words in (name, "'default-0' is a replica of 'default'", "Write --database default;"):
        assert words in str(caught.value)
    assert pindb.get_pinned() == set()


@pytest.mark.parametrize(
    ("command", "args"),
    [
        ("inspectdb", ["testapp_book"]),
        ("showmigrations", []),
        ("sqlflush", []),
        ("sqlmigrate", ["auth", "0001"]),
        ("sqlsequencereset", ["auth"]),
        ("migrate", ["--plan"]),
        ("migrate", ["--check"]),
        ("createcachetable", ["--dry-run"]),
    ],
)
def test_commands_that_only_read_work_on_a_replica(
    command: str, args: list[str], servers: PostgresReplicaSet, capsys: pytest.CaptureFixture[str]
) -> None:
    servers.wait_until_caught_up()
    caches = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "no_table"}}
    with override_settings(CACHES=caches):
        printed = {
            alias: output(capsys, command, *args, database=alias) for alias in ("default", "default-0")
        }
    assert printed["default"] == printed["default-0"]
    assert bool(printed["default"]) == (args != ["--check"])


def test_the_checks_run_on_a_replica(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no issues" in output(capsys, "check", databases=["default-0"])


@override_settings(PINDB_ENABLED=False)
def test_disabled_tests_may_make_a_database_of_its_own_for_a_replica() -> None:
    from django.conf import settings

    databases = {**settings.DATABASES, "default-0": {**settings.DATABASES["default-0"], "TEST": {}}}
    with pytest.warns(UserWarning, match="DATABASES"), override_settings(DATABASES=databases):
        call_command("createcachetable", database="default-0")


# ---- a site of its own on a database of its own ------------------------------------------------

SITE = {
    "settings.py": """
        import json, os
        import pindb

        MASTER_DATABASES, DATABASE_SETS = json.loads(os.environ["SITE_DATABASES"])
        DATABASES = pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS)
        DATABASE_ROUTERS = [os.environ["SITE_ROUTER"]]
        INSTALLED_APPS = [
            "pindb", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "notes"
        ]
        MIDDLEWARE = ["pindb.middleware.PinDbMiddleware"]
        SECRET_KEY = "for tests"
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    """,
    "manage.py": """
        import sys
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    """,
    "notes/__init__.py": "",
    "notes/models.py": """
        from django.db import models

        class Note(models.Model):
            title = models.CharField(max_length=50)
            slug = models.CharField(max_length=50, default="")
            tags = models.ManyToManyField("self")
    """,
    "notes/migrations/__init__.py": "",
    "notes/migrations/0001_initial.py": """
        from django.db import migrations, models

        def fill(apps, schema_editor):
            apps.get_model("notes", "Note").objects.create(title="First Note")

        class Migration(migrations.Migration):
            atomic = False
            operations = [
                migrations.CreateModel("Note", [
                    ("id", models.BigAutoField(primary_key=True)),
                    ("title", models.CharField(max_length=50)),
                ]),
                migrations.RunPython(fill),
            ]
    """,
    "notes/migrations/0002_slug.py": """
        from django.db import migrations, models

        def fill(apps, schema_editor):
            for note in apps.get_model("notes", "Note").objects.filter(slug=""):
                note.slug = note.title.lower().replace(" ", "-")
                note.save()

        class Migration(migrations.Migration):
            atomic = False
            dependencies = [("notes", "0001_initial")]
            operations = [
                migrations.AddField("Note", "slug", models.CharField(max_length=50, default="")),
                migrations.AddField("Note", "tags", models.ManyToManyField("notes.Note")),
                migrations.RunPython(fill),
            ]
    """,
    "notes/fixtures/notes.json": """
        [
            {"model": "notes.note", "pk": 7, "fields": {"title": "Seventh"}},
            {"model": "notes.note", "pk": 8, "fields": {"title": "Eighth", "tags": [7]}}
        ]
    """,
    "notes/tests.py": """
        from django.db import router
        from django.test import TestCase, TransactionTestCase

        import pindb
        from notes.models import Note

        class Rollback(TransactionTestCase):
            databases = {"default", "default-0"}
            serialized_rollback = True

            def test_what_migrations_wrote_is_there(self):
                with pindb.master("default"):
                    self.assertEqual(Note.objects.get().slug, "first-note")

            test_what_migrations_wrote_is_there_again = test_what_migrations_wrote_is_there

        class Fixtures(TestCase):
            databases = {"default", "default-0", "default-1"}
            fixtures = ["notes"]

            def test_what_the_fixture_has_is_there(self):
                with pindb.master("default"):
                    self.assertEqual([n.pk for n in Note.objects.get(pk=8).tags.all()], [7])
    """,
}

# One process for all, and each a unit of work of its own.
COMMANDS = """
import django, pindb
django.setup()
from django.core.management import call_command
for command, options in {
    "loaddata": {"fixture_labels": ["notes"]},
    "createsuperuser": {"interactive": False, "username": "ada", "email": "a@example.com"},
    "remove_stale_contenttypes": {"interactive": False},
    "clearsessions": {},
}.items():
    with pindb.pinning_context():
        call_command(command, *options.pop("fixture_labels", ()), **options)
"""

Manage = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=ROUTERS, ids=["greedy", "strict"])
def manage(request: pytest.FixtureRequest, tmp_path: Path, servers: PostgresReplicaSet) -> Iterator[Manage]:
    """Runs Python at a site with an empty database on the servers; replicas have not got it yet."""
    for name, text in SITE.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(re.sub(r"^ {8}", "", text, flags=re.M))
    sets = [
        {"default": servers.database("master", "fresh")},
        {"default": [servers.database(replica, "fresh") for replica in (0, 1)]},
    ]
    environment = {
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "settings",
        "SITE_DATABASES": json.dumps(sets),
        "SITE_ROUTER": request.param,
    }

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return run_python("-W", "ignore", *args, cwd=tmp_path, **environment)

    servers.execute("master", "CREATE DATABASE fresh")
    servers.wait_until_caught_up()
    yield run
    for replica in (0, 1):
        servers.resume(replica)
    servers.execute("master", "DROP DATABASE fresh WITH (FORCE)")


def test_an_empty_database_is_migrated_and_filled_while_replicas_are_paused(
    manage: Manage, servers: PostgresReplicaSet
) -> None:
    pause_all(servers)
    # The second process has not written when its migration reads the new column.
    for args in (["manage.py", "migrate", "notes", "0001"], ["manage.py", "migrate"], ["-c", COMMANDS]):
        done = manage(*args)
        assert done.returncode == 0, done.stderr
    rows = servers.execute("master", "SELECT id, slug FROM notes_note ORDER BY id", database="fresh")
    assert rows == [(1, "first-note"), (7, ""), (8, "")]
    ((users,),) = servers.execute("master", "SELECT count(*) FROM auth_user", database="fresh")
    assert users == 1


def test_the_test_runner_makes_its_database_with_pindb_on(manage: Manage) -> None:
    done = manage("manage.py", "test", "--noinput")
    assert done.returncode == 0, done.stderr
    assert "Ran 3 tests" in done.stderr
