"""Notices in the admin."""

from __future__ import annotations

from django.contrib import admin

from testproject.board.models import Notice


@admin.register(Notice)
class NoticeAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for type checkers alone
    """Notices, the newest first."""

    list_display = ["title", "author", "posted_at", "thanks"]
    search_fields = ["title", "body"]
    list_select_related = ["author"]
