"""Models with every kind of relation that Django routes on."""

from __future__ import annotations

from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models


class Tag(models.Model):
    name = models.CharField(max_length=50)


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)
    remarks = GenericRelation("Remark")


class Book(models.Model):
    title = models.CharField(max_length=50)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    tags = models.ManyToManyField(Tag, related_name="books")


class LogLine(models.Model):
    """Listed in PINDB_UNPINNED_MODELS by the tests that want it so."""

    text = models.CharField(max_length=50)


class Article(models.Model):
    """Lives in the second DB set, where the tests' delegate router sends it."""

    headline = models.CharField(max_length=50)


class Remark(models.Model):
    """Is about anything, by a generic foreign key."""

    text = models.CharField(max_length=50)
    written = models.DateField()
    # No constraint: the tables of an app without migrations are made before all others.
    content_type = models.ForeignKey(ContentType, models.CASCADE, db_constraint=False)
    object_id = models.PositiveBigIntegerField()
    about = GenericForeignKey()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["text", "object_id"], name="one_text_each")]
        get_latest_by = "written"


class Note(models.Model):
    """What the guides of the documentation write and read."""

    text = models.CharField(max_length=50)
    changed = models.DateTimeField(auto_now=True)
