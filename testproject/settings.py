"""The settings of the notice board: one DB set, read through pindb.

Environment variables: ``PINDB_DEMO_DATABASES`` (see addresses.py), ``PINDB_DEMO_ROUTER`` (a dotted path),
``PINDB_DEMO_PINNING_SECONDS``, ``PINDB_DEMO_CONSISTENCY`` (``"time"`` or ``"position"``),
``PINDB_DEMO_REPLICA_DOWNTIME``, ``PINDB_DEMO_CACHE`` (JSON: the URLs of Redis servers for the cache, which
then has the sessions too), ``PINDB_DEMO_BREAK``, which breaks the routing on purpose so that the demo can
show that it notices, and ``PINDB_DEMO_CONTROL`` with ``PINDB_DEMO_SITES`` (see servers.py).
"""

from __future__ import annotations

import json
import os

import pindb
from testproject import addresses

# ---- pindb -------------------------------------------------------------------------------------

MASTER_DATABASES, DATABASE_SETS = addresses.load()
DATABASES = pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS)
DATABASE_ROUTERS = [os.environ.get("PINDB_DEMO_ROUTER", "pindb.GreedyPinDbRouter")]
PINDB_PINNING_SECONDS = float(os.environ.get("PINDB_DEMO_PINNING_SECONDS", "15"))
PINDB_CONSISTENCY = os.environ.get("PINDB_DEMO_CONSISTENCY", "time")
PINDB_REPLICA_DOWNTIME = float(os.environ.get("PINDB_DEMO_REPLICA_DOWNTIME", "30"))
# Written by merely visiting and logging in (the session, the time of the last login) and by the admin's
# log: none of it is a reason to read notices from the master.
PINDB_UNPINNED_MODELS = ["sessions.Session", "auth.User", "admin.LogEntry"]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    # Before everything that uses a database.
    "pindb.middleware.PinDbMiddleware",
    # Inside of the request's pinning context, and around every query of the request.
    "testproject.middleware.QueryLogMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "testproject.middleware.RefusedWriteMiddleware",
]

if os.environ.get("PINDB_DEMO_BREAK") == "middleware":
    MIDDLEWARE.remove("pindb.middleware.PinDbMiddleware")
elif os.environ.get("PINDB_DEMO_BREAK") == "router":
    DATABASE_ROUTERS = ["testproject.broken.ReplicasOnlyRouter"]

if os.environ.get("PINDB_DEMO_CACHE"):
    CACHES = {
        "default": {
            "BACKEND": "pindb.cache.ShardedRedisCache",
            "LOCATION": json.loads(os.environ["PINDB_DEMO_CACHE"]),
            "OPTIONS": {"ON_DOWN": "miss"},
        }
    }
    SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

# ---- Django ------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "pindb",
    # Before the admin, whose base template it extends.
    "testproject.board",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "testproject.servers.panel",
            ]
        },
    }
]
ROOT_URLCONF = "testproject.urls"
WSGI_APPLICATION = "testproject.wsgi.application"
STATIC_URL = "/static/"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "board"
LOGOUT_REDIRECT_URL = "board"
# For a site that listens on 127.0.0.1, for as long as somebody looks at it.
DEBUG = True
SECRET_KEY = "no secret: this site is for looking at"
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
