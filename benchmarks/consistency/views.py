"""The site's pages. Imported by Django, when it is configured."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.urls import path

from benchmarks.consistency.servers import TABLE

__all__ = ["Page", "urlpatterns"]


class Page(models.Model):
    """A row that one session writes and reads."""

    id = models.IntegerField(primary_key=True)
    number = models.IntegerField()

    objects: ClassVar[models.Manager[Page]] = models.Manager()

    class Meta:
        app_label = "consistency"
        db_table = TABLE

    def __str__(self) -> str:
        return f"{self.id}: {self.number}"


def page(request: HttpRequest, key: int) -> HttpResponse:
    """GET: the number; POST: one more. One statement each."""
    if request.method == "POST":
        Page.objects.filter(pk=key).update(number=F("number") + 1)
        return HttpResponse()
    return HttpResponse(str(Page.objects.get(pk=key).number))


urlpatterns = [path("<int:key>", page)]
