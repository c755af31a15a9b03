"""Settings of a suite, with the databases and pindb as the mode wants them."""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any

import pindb

#: Written by ``__main__.py``: the mode, the servers, and where the results go.
CONFIG: dict[str, Any] = json.loads(os.environ["PINDB_DJANGO_SUITE"])

if CONFIG.get("settings"):
    _site = vars(import_module(CONFIG["settings"]))
    globals().update({name: value for name, value in _site.items() if name.isupper()})
    if CONFIG["pindb"]:
        MIDDLEWARE = ["pindb.middleware.PinDbMiddleware", *_site.get("MIDDLEWARE", ())]
        INSTALLED_APPS = [*_site["INSTALLED_APPS"], "pindb"]
else:
    # Those that come with Django's suite; runtests.py sets the others.
    SECRET_KEY = "django_tests_secret_key"  # noqa: S105
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
    USE_TZ = False

DATABASES: dict[str, dict[str, Any]] = CONFIG["masters"]
if CONFIG["pindb"]:
    MASTER_DATABASES = CONFIG["masters"]
    DATABASE_SETS = CONFIG["replicas"]
    DATABASES = pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS)
    DATABASE_ROUTERS = [CONFIG["router"]]
    PINDB_ENABLED = CONFIG["enabled"]
TEST_RUNNER = "scripts.django_suite.runner.Runner"
