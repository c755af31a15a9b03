"""A plugin of pytest that runs the tests for one of django-redis's settings.

They are those of ``$PINDB_DJANGO_REDIS_SETTINGS``. django-redis runs all of them at once, in a process for
each.
"""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = os.environ["PINDB_DJANGO_REDIS_SETTINGS"]
    found: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        (found if parameters.get("cache_settings", wanted) == wanted else others).append(item)
    items[:] = found
    config.hook.pytest_deselected(items=others)
