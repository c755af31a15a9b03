from __future__ import annotations

from django.apps import AppConfig


class BoardConfig(AppConfig):
    """The notice board."""

    name = "testproject.board"
    verbose_name = "Notice board"
