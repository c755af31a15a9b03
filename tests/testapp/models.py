"""Models with every kind of relation that Django routes on."""

from __future__ import annotations

from django.db import models


class Tag(models.Model):
    name = models.CharField(max_length=50)


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)


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
