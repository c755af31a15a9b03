"""Django's ways to read and write, on real replication.

Both replicas are paused: what a test commits is on the master and nowhere else. So what a query *returns*
tells which server answered it, and a wrong route shows as a stale read or as a refused write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.core.exceptions import ObjectDoesNotExist
from django.core.management import call_command
from django.db import connections, router, transaction
from django.db.models import Count, F, Prefetch
from django.db.utils import InternalError
from django.test import override_settings

import pindb
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import pause_all, resume_all
from tests.testapp.models import Article, Author, Book, LogLine, Tag


@pytest.fixture
def library(servers: PostgresReplicaSet) -> Iterator[Author]:
    """An author with two books and a tag, everywhere; then the replicas stop."""
    author = Author.objects.using("default").create(name="old")
    tag = Tag.objects.using("default").create(name="old")
    for title in ("first", "second"):
        book = Book.objects.using("default").create(title=title, author=author)
        book.tags.add(tag)
    pindb.unpin_all()
    pause_all(servers)
    yield author
    pindb.unpin_all()


def on_master(**changes: str) -> None:
    """Change the author where the router does not see it, as another client would."""
    Author.objects.using("default").update(**changes)


def test_reads_come_from_a_replica(library: Author) -> None:
    on_master(name="new")
    author = Author.objects.get()
    assert author.name == "old"
    assert author._state.db in ("default-0", "default-1")


def test_whoever_wrote_reads_what_they_wrote(library: Author) -> None:
    Author.objects.create(name="another")
    assert {author.name for author in Author.objects.all()} == {"old", "another"}
    assert Book.objects.filter(author__name="another").count() == 0
    assert pindb.get_newly_pinned() == {"default"}


def test_without_a_pin_the_write_is_not_seen(library: Author) -> None:
    with pindb.master("default"):
        Author.objects.create(name="another")
        assert Author.objects.count() == 2
    assert Author.objects.count() == 1


def test_unpinned_replica_reads_the_past(library: Author) -> None:
    Author.objects.create(name="another")
    with pindb.unpinned_replica("default"):
        assert Author.objects.count() == 1
    assert Author.objects.count() == 2


def test_get_replica_reads_the_past_with_using_and_with_a_cursor(library: Author) -> None:
    Author.objects.create(name="another")
    replica = pindb.get_replica("default")
    assert Author.objects.using(replica).count() == 1
    with connections[replica].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM testapp_author")
        assert cursor.fetchone() == (1,)


def test_an_instance_read_from_a_replica_is_saved_to_the_master(library: Author) -> None:
    author = Author.objects.get()
    author.name = "renamed"
    author.save()
    assert author._state.db == "default"
    assert Author.objects.get().name == "renamed"


def test_an_instance_read_from_a_replica_is_deleted_on_the_master_with_all_that_hangs_on_it(
    library: Author,
) -> None:
    deleted, _ = Author.objects.get().delete()
    assert deleted == 1 + 2 + 2
    assert not Author.objects.exists()
    assert not Book.objects.exists()


def test_deletes_of_querysets_cascade_on_the_master(library: Author) -> None:
    # The book that only the master has must go too, or its foreign key would stop the delete.
    Book.objects.using("default").create(title="unseen", author=library)
    Author.objects.filter(name="old").delete()
    assert not Book.objects.exists()


def test_select_for_update_locks_rows_of_the_master(library: Author) -> None:
    on_master(name="new")
    with transaction.atomic():
        assert Author.objects.select_for_update().get().name == "new"
    assert pindb.is_newly_pinned("default")


def test_get_or_create_looks_where_it_creates(library: Author) -> None:
    Author.objects.using("default").create(name="unseen")
    assert Author.objects.get_or_create(name="unseen")[1] is False
    assert Author.objects.get_or_create(name="another")[1] is True


def test_update_or_create_looks_where_it_updates(library: Author) -> None:
    Author.objects.using("default").create(name="unseen")
    author, created = Author.objects.update_or_create(name="unseen", defaults={"name": "seen"})
    assert (author.name, created) == ("seen", False)
    assert Author.objects.filter(name="seen").exists()


def test_bulk_writes_go_to_the_master(library: Author) -> None:
    Author.objects.bulk_create([Author(name="a"), Author(name="b")])
    authors = list(Author.objects.order_by("name"))
    assert [author.name for author in authors] == ["a", "b", "old"]
    for author in authors:
        author.name += "!"
    assert Author.objects.bulk_update(authors, ["name"]) == 3
    assert Author.objects.update(name=F("name")) == 3
    assert set(Author.objects.values_list("name", flat=True)) == {"a!", "b!", "old!"}
    assert set(Author.objects.in_bulk(["a!"], field_name="name")) == {"a!"}


def test_bulk_update_of_instances_from_a_replica_goes_to_the_master(library: Author) -> None:
    books = list(Book.objects.all())
    for book in books:
        book.title = book.title.upper()
    Book.objects.bulk_update(books, ["title"])
    assert set(Book.objects.values_list("title", flat=True)) == {"FIRST", "SECOND"}


def test_many_to_many_changes_go_to_the_master(library: Author) -> None:
    book = Book.objects.get(title="first")
    tag = Tag.objects.get()
    book.tags.remove(tag)
    assert not book.tags.exists()
    book.tags.add(tag)
    book.tags.create(name="made")
    assert book.tags.count() == 2
    book.tags.set([tag])
    assert [t.name for t in book.tags.all()] == ["old"]
    tag.books.clear()
    assert not book.tags.exists()


def test_related_managers_write_to_the_master(library: Author) -> None:
    author = Author.objects.get()
    author.books.create(title="third")
    assert author.books.count() == 3
    author.books.add(Book(title="fourth"), bulk=False)
    assert author.books.get_or_create(title="fourth")[1] is False
    author.books.update(title="same")
    assert set(author.books.values_list("title", flat=True)) == {"same"}


def test_an_instance_from_a_replica_can_be_related_to_one_from_the_master(library: Author) -> None:
    author = Author.objects.get()
    with pindb.master("default"):
        other = Author.objects.get()
    assert author._state.db != other._state.db
    book = Book.objects.get(title="first")
    book.author = other
    book.author = author
    book.save()
    assert Book.objects.get(title="first").author == author


def test_related_objects_of_an_instance_from_the_master_follow_the_pins_not_the_instance(
    library: Author,
) -> None:
    with pindb.master("default"):
        author = Author.objects.get()
    Book.objects.using("default").update(title="new")
    assert {book.title for book in author.books.all()} == {"first", "second"}
    pindb.unpin_all()
    pindb.pin("default")
    assert {book.title for book in author.books.all()} == {"new"}


def test_prefetches_and_joins_follow_the_pin(library: Author) -> None:
    Author.objects.create(name="another").books.create(title="third")
    authors = Author.objects.prefetch_related(
        Prefetch("books", queryset=Book.objects.prefetch_related("tags"))
    ).annotate(n=Count("books"))
    assert {author.name: (author.n, len(author.books.all())) for author in authors} == {
        "old": (2, 2),
        "another": (1, 1),
    }
    assert Book.objects.select_related("author").get(title="third").author.name == "another"


def test_prefetches_of_one_request_come_from_one_replica(library: Author) -> None:
    authors = list(Author.objects.prefetch_related("books__tags"))
    used = {authors[0]._state.db}
    for book in authors[0].books.all():
        used |= {book._state.db} | {tag._state.db for tag in book.tags.all()}
    assert len(used) == 1
    assert used <= {"default-0", "default-1"}


def test_refresh_from_db_follows_the_pin(library: Author) -> None:
    author = Author.objects.get()
    on_master(name="new")
    author.refresh_from_db()
    assert author.name == "old"
    pindb.unpin_all()
    pindb.pin("default")
    author.refresh_from_db()
    assert author.name == "new"
    assert author._state.db == "default"


def test_deferred_fields_follow_the_pin(library: Author) -> None:
    author = Author.objects.defer("name").get()
    on_master(name="new")
    assert author.name == "old"


def test_iterators_follow_the_pin(library: Author) -> None:
    assert len(list(Book.objects.iterator(chunk_size=1))) == 2
    Book.objects.filter(title="second").delete()
    assert [book.title for book in Book.objects.iterator(chunk_size=1)] == ["first"]
    assert [b.title for b in Book.objects.prefetch_related("tags").iterator(chunk_size=1)] == ["first"]


def test_raw_querysets_read_a_replica_and_follow_the_pin(library: Author) -> None:
    sql = "SELECT * FROM testapp_author"
    on_master(name="new")
    assert [author.name for author in Author.objects.raw(sql)] == ["old"]
    pindb.unpin_all()
    pindb.pin("default")
    assert [author.name for author in Author.objects.raw(sql)] == ["new"]


def test_exists_aggregates_values_and_explain_follow_the_pin(library: Author) -> None:
    Author.objects.create(name="another")
    assert Author.objects.filter(name="another").exists()
    assert Author.objects.aggregate(n=Count("id")) == {"n": 2}
    assert Author.objects.values_list("name").last() == ("another",)
    assert Author.objects.latest("id").name == "another"
    assert "Scan" in Author.objects.filter(name="another").explain()


def test_using_a_replica_bypasses_the_router_and_the_database_refuses_writes(library: Author) -> None:
    with pytest.raises(InternalError, match="read-only transaction"):
        Author.objects.using("default-0").create(name="nowhere")
    assert not pindb.is_pinned("default")


def test_writes_in_a_migration_style_using_bypass_pins(library: Author) -> None:
    Author.objects.using("default").create(name="another")
    assert pindb.get_pinned() == set()
    assert Author.objects.count() == 1


@override_settings(PINDB_UNPINNED_MODELS=["testapp.LogLine"])
def test_an_unpinned_model_is_read_where_it_was_written_and_the_others_stay_on_replicas(
    library: Author,
) -> None:
    LogLine.objects.create(text="a line")
    assert [line.text for line in LogLine.objects.all()] == ["a line"]
    on_master(name="new")
    assert Author.objects.get().name == "old"
    assert pindb.get_pinned() == set()


@pytest.mark.parametrize("name", ["pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"])
def test_the_database_cache_lives_on_the_master_and_pins_nobody(library: Author, name: str) -> None:
    backend = "django.core.cache.backends.db.DatabaseCache"
    caches = {"default": {"BACKEND": backend, "LOCATION": "cache_table"}}
    with override_settings(CACHES=caches, DATABASE_ROUTERS=[name]):
        with pindb.pinning_context():
            call_command("createcachetable", verbosity=0)
        cache.set("key", "value")
        assert cache.get("key") == "value"
        assert cache.add("number", 1)
        assert cache.incr("number") == 2
        cache.delete("key")
        assert cache.get("key") is None
    assert pindb.get_pinned() == set()


@override_settings(PINDB_DELEGATE_ROUTERS=["tests.routing.test_routers.ArticlesOnApi"])
def test_sets_are_pinned_one_by_one(library: Author) -> None:
    Article.objects.create(headline="news")
    assert Article.objects.get().headline == "news"
    on_master(name="new")
    assert Author.objects.get().name == "old"
    assert pindb.get_newly_pinned() == {"api"}


def test_the_unmanaged_database_keeps_its_own(library: Author) -> None:
    legacy = Author.objects.using("unmanaged").create(name="legacy")
    try:
        legacy.name = "changed"
        legacy.save()
        assert legacy.books.count() == 0
        legacy.books.create(title="a book of its own")
        assert Author.objects.using("unmanaged").get().name == "changed"
        assert pindb.get_pinned() == set()
    finally:
        Book.objects.using("unmanaged").all().delete()
        Author.objects.using("unmanaged").all().delete()


@override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"])
def test_strict_refuses_every_kind_of_undeclared_write_before_it_happens(library: Author) -> None:
    author = Author.objects.get()
    book = Book.objects.first()
    assert book is not None
    for write in (
        lambda: Author.objects.create(name="x"),
        author.save,
        author.delete,
        lambda: Author.objects.update(name="x"),
        lambda: Author.objects.all().delete(),
        lambda: Author.objects.bulk_create([Author(name="x")]),
        lambda: Author.objects.get_or_create(name="old"),
        lambda: list(Author.objects.select_for_update()),
        lambda: book.tags.clear(),
        lambda: author.books.create(title="x"),
    ):
        with pytest.raises(pindb.UnpinnedWriteException):
            write()
    assert Author.objects.using("default").get().name == "old"
    with pindb.master("default"):
        author.save()


def test_async_queries_follow_the_pin(library: Author) -> None:
    async def unit() -> None:
        on = await Author.objects.aget()
        assert on._state.db in ("default-0", "default-1")
        await Author.objects.acreate(name="another")
        assert await Author.objects.acount() == 2
        assert [a.name async for a in Author.objects.order_by("name")] == ["another", "old"]
        assert [a.name async for a in Author.objects.order_by("name").aiterator()] == ["another", "old"]
        await on.arefresh_from_db()
        assert on._state.db == "default"
        with pytest.raises(ObjectDoesNotExist):
            await Author.objects.aget(name="nobody")

    async def main() -> None:
        await unit()
        assert pindb.is_newly_pinned("default")

    with pindb.pinning_context():
        asyncio.run(main())


def test_a_resumed_replica_shows_what_was_written(library: Author, servers: PostgresReplicaSet) -> None:
    on_master(name="new")
    assert Author.objects.get().name == "old"
    resume_all(servers)
    author = Author.objects.get()
    assert author.name == "new"
    assert author._state.db == router.db_for_read(Author) != "default"
