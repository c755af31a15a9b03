"""Settings of the tests' site: two DB sets on real servers, and one database that pindb does not manage."""

from __future__ import annotations

import json
import os

import django

import pindb

# Set by conftest.py, which starts the servers; without them (for type checks) the addresses do not matter.
MASTERS, SETS = json.loads(
    os.environ.get(
        "PINDB_TEST_DATABASES", '[{"default": {"ENGINE": "django.db.backends.postgresql"}}, {"default": []}]'
    )
)
MASTER_DATABASES = MASTERS
DATABASE_SETS = SETS
DATABASES = {"unmanaged": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DATABASES.update(pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS))
DATABASE_ROUTERS = [os.environ.get("PINDB_TEST_ROUTER", "pindb.GreedyPinDbRouter")]

INSTALLED_APPS = [
    "pindb",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework.authtoken",
    "django_tasks_db",
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

# Django 5.2 has no tasks of its own, but there is a backport.
BACKPORT = django.VERSION < (6, 0)
if BACKPORT:
    INSTALLED_APPS.append("django_tasks")
TASKS = {
    "default": {"BACKEND": "django_tasks_db.DatabaseBackend"},
    "immediate": {
        "BACKEND": f"{'django_tasks' if BACKPORT else 'django.tasks'}.backends.immediate.ImmediateBackend"
    },
}
# Its table is made from its model, which is faster.
MIGRATION_MODULES = {"django_tasks_database": None}
