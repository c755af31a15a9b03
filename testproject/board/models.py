"""What hangs on the board."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

__all__ = ["Notice"]


class Notice(models.Model):
    """A notice."""

    # Spelled out for type checkers that are not told that the app is installed.
    objects: ClassVar[models.Manager[Notice]] = models.Manager()
    author_id: int

    title = models.CharField(max_length=80)
    body = models.TextField(max_length=2000)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="notices")
    posted_at = models.DateTimeField(auto_now_add=True)
    edited_at = models.DateTimeField(null=True, blank=True)
    thanks = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.title
