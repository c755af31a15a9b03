"""The settings of the tests' site: two DB sets on real servers, and one database that pindb leaves alone."""

from __future__ import annotations

import json
import os

import pindb

# Set by conftest.py, which starts the servers; without them (for type checks) the addresses do not matter.
MASTERS, SETS = json.loads(
    os.environ.get(
        "PINDB_TEST_DATABASES",
        '[{"default": {"ENGINE": "django.db.backends.postgresql"}}, {"default": []}]',
    )
)
MASTER_DATABASES = MASTERS
DATABASE_SETS = SETS
DATABASES = {"unmanaged": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DATABASES.update(pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS))
DATABASE_ROUTERS = ["pindb.GreedyPinDbRouter"]

INSTALLED_APPS = [
    "pindb",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework.authtoken",
    "tests.testapp",
]
MIDDLEWARE = [
    "pindb.middleware.PinDbMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.testapp.urls"
SECRET_KEY = "a key for tests"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# The worker process of test_celery.py gets its hooks from the setting, the tests' process by a call.
PINDB_CELERY = "PINDB_TEST_CELERY_WORKER" in os.environ
PINDB_CONSISTENCY = os.environ.get("PINDB_TEST_CONSISTENCY", "time")
