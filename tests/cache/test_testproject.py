"""The notice board with its cache, and its sessions, on three servers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pindb.testing.redis import TestSetup
from tests.processes import output_of

# Prints what was seen, as JSON.
VISITS = """
import json, os
import django
django.setup()
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.management import call_command
from django.db import connection
from django.template import engines
from django.test import Client
from django.test.utils import CaptureQueriesContext

call_command("prepare", "admin", "secret")
visitors = [Client(headers={"host": "localhost"}) for _ in range(30)]
user = User.objects.get(username="admin")
for visitor in visitors:
    visitor.force_login(user)
seen = {}
seen["names"] = sum(b"Log out" in visitor.get("/").content for visitor in visitors)
# What the pages need of the database: the users, and not the sessions.
with CaptureQueriesContext(connection) as queries:
    visitors[0].get("/")
seen["session queries"] = sum("django_session" in query["sql"] for query in queries)
Client(headers={"host": "localhost"}).get("/poster/")
with CaptureQueriesContext(connection) as queries:
    seen["same"] = b"Bicycle found" in Client(headers={"host": "localhost"}).get("/poster/").content
seen["page queries"] = len(queries)
seen["fragments"] = len(cache.keys("template.cache.notice.*"))
seen["pages"] = len(cache.keys("views.decorators.cache.cache_page.*"))
loaders = engines["django"].engine.template_loaders
seen["loader"] = type(loaders[0]).__name__
print(json.dumps(seen))
"""


def test_the_board_keeps_sessions_pages_and_fragments_on_all_servers(
    cache_servers: TestSetup, cache_urls: list[str], tmp_path: Path
) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "board.sqlite3")}
    databases = {"masters": {"default": database}, "sets": {"default": []}}
    printed = output_of(
        *("-c", VISITS),
        DJANGO_SETTINGS_MODULE="testproject.settings",
        PINDB_DEMO_DATABASES=json.dumps(databases),
        PINDB_DEMO_CACHE=json.dumps(cache_urls[:3]),
    )
    seen: dict[str, Any] = json.loads(printed)
    assert seen == {
        "names": 30,
        "session queries": 0,
        "same": True,
        "page queries": 0,
        "fragments": 3,
        "pages": 1,
        "loader": "Loader",
    }
    for server in range(3):
        with cache_servers.client(server) as client:
            assert client.dbsize() > 0
