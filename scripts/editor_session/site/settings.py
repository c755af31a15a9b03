"""Settings of the site. The databases and the router come from ``PINDB_EDITOR_SESSION``."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec

import pindb
import pindb.middleware

CONFIG = json.loads(os.environ["PINDB_EDITOR_SESSION"])
STRICT = CONFIG["router"] == "strict"

MASTER_DATABASES = {"default": CONFIG["master"]}
DATABASE_SETS = {"default": CONFIG["replicas"]}
DATABASES = pindb.populate_replicas(MASTER_DATABASES, DATABASE_SETS)
DATABASE_ROUTERS = ["pindb.StrictPinDbRouter" if STRICT else "pindb.GreedyPinDbRouter"]
PINDB_UNPINNED_MODELS = ["sessions.Session", "wagtailsearch.IndexEntry"]
# A busy machine may take long from one request to the next.
PINDB_PINNING_SECONDS = 300
PINDB_CONSISTENCY = CONFIG["consistency"]
PINDB_REPLICA_DOWNTIME = 2

INSTALLED_APPS = [
    "pindb",
    "scripts.editor_session.site",
    "wagtail.contrib.forms",
    "wagtail.contrib.redirects",
    "wagtail.embeds",
    "wagtail.sites",
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.search",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    "django_filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
# With Strict, every request that is meant to write is pinned at its beginning, and the admin as a whole:
# Wagtail writes there in GETs, too (profiles, editing sessions).
PINS_UNSAFE_METHODS = STRICT and hasattr(pindb.middleware, "PinUnsafeMethodsMiddleware")
HAS_URLS = find_spec("pindb.urls") is not None
MIDDLEWARE = [
    "pindb.middleware.PinDbMiddleware",
    *(["pindb.middleware.PinUnsafeMethodsMiddleware"] if PINS_UNSAFE_METHODS else []),
    *(["scripts.editor_session.site.middleware.pin_admin"] if STRICT and not HAS_URLS else []),
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "wagtail.contrib.redirects.middleware.RedirectMiddleware",
]
ROOT_URLCONF = "scripts.editor_session.site.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
MIGRATION_MODULES = {"site": "editor_session_migrations"}
MEDIA_ROOT = CONFIG["media"]
MEDIA_URL = "/media/"
STATIC_URL = "/static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
SECRET_KEY = "a key for the editor"  # noqa: S105
ALLOWED_HOSTS = ["*"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WAGTAIL_SITE_NAME = "Editor's session"
WAGTAILADMIN_BASE_URL = "http://testserver"
WAGTAILADMIN_COMMENTS_ENABLED = False
# A page that is gone is gone, and does not lead elsewhere.
WAGTAILREDIRECTS_AUTO_CREATE = False
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
WAGTAILSEARCH_BACKENDS = {"default": {"BACKEND": "wagtail.search.backends.database"}}
