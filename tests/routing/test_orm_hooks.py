"""Querysets and instances that remember where they were read, on real replication.

Django ties some queries to an alias: those of a generic relation to the answer of ``db_for_read``, those of a
generic foreign key to ``instance._state.db``. Both replicas are paused, so that what a query returns tells
which server answered it.
"""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from django.db import connections, models, router, transaction
from django.db.models import prefetch_related_objects
from django.db.models.signals import post_delete
from django.db.utils import InternalError
from django.forms import modelform_factory
from django.test import override_settings

import pindb
from pindb.testing.postgres import PostgresReplicaSet
from tests.conftest import pause_all
from tests.testapp.models import Article, Author, Book, Remark

REPLICAS = ("default-0", "default-1")
DAY = datetime.date(2026, 1, 1)

strict = override_settings(DATABASE_ROUTERS=["pindb.StrictPinDbRouter"])


@pytest.fixture
def remarks(servers: PostgresReplicaSet) -> Iterator[Author]:
    """An author with two remarks and a book, everywhere; then the replicas stop."""
    author = Author.objects.using("default").create(name="old")
    Book.objects.using("default").create(title="old", author=author)
    for day, text in enumerate(("first", "second")):
        written = DAY + datetime.timedelta(day)
        Remark.objects.using("default").create(text=text, written=written, about=author)
    pindb.unpin_all()
    pause_all(servers)
    yield author
    pindb.unpin_all()


def texts_on_master() -> set[str]:
    return set(Remark.objects.using("default").values_list("text", flat=True))


# ---- writes by a queryset that pindb put on a replica ------------------------------------------


def test_an_update_by_a_generic_relation_reaches_the_master_and_pins(remarks: Author) -> None:
    author = Author.objects.get()
    assert author.remarks.filter(text="first").update(text="changed") == 1
    assert pindb.is_newly_pinned("default")
    assert {remark.text for remark in author.remarks.all()} == {"changed", "second"}


def test_a_delete_by_a_generic_relation_reaches_the_master_and_pins(remarks: Author) -> None:
    author = Author.objects.get()
    assert author.remarks.all().delete()[0] == 2
    assert pindb.is_newly_pinned("default")
    assert not author.remarks.exists()


def test_a_delete_that_fails_deletes_nothing(remarks: Author) -> None:
    """The transaction that ``delete()`` opens is the master's."""

    def refuse(**kwargs: object) -> None:
        raise RuntimeError("refused")

    author = Author.objects.get()
    post_delete.connect(refuse, sender=Remark)
    try:
        with pytest.raises(RuntimeError, match="refused"):
            author.remarks.all().delete()
    finally:
        post_delete.disconnect(refuse, sender=Remark)
    assert texts_on_master() == {"first", "second"}


@pytest.mark.parametrize("method", ["all", "filter", "exclude", "order_by", "select_related", "distinct"])
def test_what_is_derived_from_such_a_queryset_reaches_the_master_too(remarks: Author, method: str) -> None:
    queryset = getattr(Author.objects.get().remarks, method)()
    assert queryset.update(written=DAY) == 2
    assert Remark.objects.using("default").filter(written=DAY).count() == 2


def test_other_ways_to_write_by_a_generic_relation_reach_the_master(remarks: Author) -> None:
    manager = Author.objects.get().remarks
    manager.all().create(text="created", written=DAY, about=remarks)
    manager.all().get_or_create(text="got", defaults={"written": DAY, "about": remarks})
    manager.all().update_or_create(text="first", defaults={"text": "updated"})
    manager.all().bulk_create([Remark(text="bulk", written=DAY, about=remarks)])
    second = manager.all().get(text="second")
    second.text = "bulk updated"
    manager.all().bulk_update([second], ["text"])
    assert texts_on_master() == {"created", "got", "updated", "bulk", "bulk updated"}


def test_a_lock_by_a_generic_relation_is_taken_on_the_master(remarks: Author) -> None:
    author = Author.objects.get()
    Remark.objects.using("default").filter(text="first").update(text="changed")
    with transaction.atomic():
        assert author.remarks.select_for_update().earliest().text == "changed"


def test_asynchronous_writes_by_a_generic_relation_reach_the_master(remarks: Author) -> None:
    async def change() -> int:
        author = await Author.objects.aget()
        changed: int = await author.remarks.filter(text="first").aupdate(text="changed")
        return changed

    assert asyncio.run(change()) == 1
    assert "changed" in texts_on_master()


def test_a_queryset_from_before_the_pin_reads_the_master_after_it(remarks: Author) -> None:
    queryset = Author.objects.get().remarks.all()
    Remark.objects.using("default").filter(text="first").update(text="changed")
    assert {remark.text for remark in queryset.all()} == {"first", "second"}
    pindb.pin("default")
    assert {remark.text for remark in queryset.all()} == {"changed", "second"}


def test_a_write_after_a_carried_pin_is_a_new_pin(remarks: Author) -> None:
    """The relation's manager was put on the master then, which is no write yet."""
    pindb.pin("default", count_as_new=False)
    queryset = Author.objects.get().remarks.all()
    queryset.filter(text="first").update(text="changed")
    assert pindb.is_newly_pinned("default")


def test_such_a_queryset_can_be_part_of_another_one_wherever_that_goes(remarks: Author) -> None:
    inner = Author.objects.get().remarks.all()
    assert inner.db in REPLICAS
    assert Remark.objects.filter(pk__in=inner).count() == 2
    assert Remark.objects.filter(pk__in=inner.filter(text="first")).update(text="changed") == 1
    assert Remark.objects.filter(pk__in=inner).filter(text="changed").count() == 1


@strict
def test_strict_refuses_an_undeclared_write_by_such_a_queryset(remarks: Author) -> None:
    author = Author.objects.get()
    writes: tuple[Callable[[], object], ...] = (
        lambda: author.remarks.update(text="changed"),
        lambda: author.remarks.all().delete(),
        lambda: author.remarks.filter(text="first").get_or_create(text="x"),
    )
    for write in writes:
        with pytest.raises(pindb.UnpinnedWriteException, match=r"testapp\.Remark"):
            write()
    assert texts_on_master() == {"first", "second"}
    with pindb.master("default"):
        assert author.remarks.filter(text="first").update(text="changed") == 1


@override_settings(PINDB_UNPINNED_MODELS=["testapp.Remark"])
def test_models_that_never_pin_do_not_pin_this_way_either(remarks: Author) -> None:
    author = Author.objects.get()
    author.remarks.filter(text="first").update(text="changed")
    assert not pindb.is_pinned("default")
    assert {remark.text for remark in author.remarks.all()} == {"changed", "second"}


def test_a_replica_that_the_site_names_is_the_sites_decision(remarks: Author) -> None:
    replica = pindb.get_replica("default")
    pindb.pin("default")
    Remark.objects.filter(text="first").update(text="changed")
    assert Remark.objects.using(replica).filter(text="first").exists()
    with pytest.raises(InternalError, match="read-only"):
        Remark.objects.using(replica).filter(text="first").update(text="refused")
    remark = Remark.objects.using(replica).earliest()
    assert remark.get_next_by_written()._state.db == replica
    Author.objects.update(name="new")
    assert remark.about.name == "old"


# ---- reads by an instance that was read from a replica -----------------------------------------


def change_everything() -> None:
    """Past the router, as another client does."""
    Author.objects.using("default").update(name="new")
    Remark.objects.using("default").filter(text="second").update(text="new")


def test_a_generic_foreign_key_follows_the_pin(remarks: Author) -> None:
    first, second = Remark.objects.order_by("written")
    change_everything()
    assert first.about.name == "old"
    pindb.pin("default")
    assert second.about.name == "new"


def test_neighbours_by_date_follow_the_pin(remarks: Author) -> None:
    remark = Remark.objects.earliest()
    change_everything()
    assert remark.get_next_by_written().text == "second"
    with pindb.master("default"):
        assert remark.get_next_by_written().text == "new"
    assert remark.get_next_by_written().text == "second"


def test_prefetched_generic_foreign_keys_follow_the_pin(remarks: Author) -> None:
    found = list(Remark.objects.all())
    change_everything()
    pindb.pin("default")
    prefetch_related_objects(found, "about")
    assert {remark.about.name for remark in found} == {"new"}


def test_the_sites_own_use_of_state_db_follows_the_pin_and_reaches_the_master(remarks: Author) -> None:
    remark = Remark.objects.earliest()
    alias = remark._state.db
    assert alias in REPLICAS
    change_everything()
    assert Author.objects.using(alias).get().name == "old"
    pindb.pin("default")
    assert Author.objects.using(alias).get().name == "new"
    assert Author.objects.db_manager(alias).get().name == "new"
    assert Author.objects.raw("SELECT * FROM testapp_author", using=alias)[0].name == "new"
    assert Remark.objects.using(alias).filter(pk=remark.pk).update(text="changed") == 1
    remark.text = "saved"
    remark.save(using=alias)
    assert remark._state.db == "default"
    assert "saved" in texts_on_master()


def test_deleting_by_the_alias_of_an_instance_reaches_the_master(remarks: Author) -> None:
    remark = Remark.objects.earliest()
    remark.delete(using=remark._state.db)
    assert pindb.is_newly_pinned("default")
    assert texts_on_master() == {"second"}


def test_a_transaction_where_an_instance_was_read_is_one_of_the_master(remarks: Author) -> None:
    remark = Remark.objects.earliest()

    def change() -> None:
        Remark.objects.using(remark._state.db).update(written=DAY)
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError), transaction.atomic(using=remark._state.db):
        change()
    assert Remark.objects.using("default").filter(written=DAY).count() == 1


class Tree(models.Manager[Author]):
    """A manager as packages for trees have it: SQL of its own, on its database or where the router says."""

    def rename(self, author: Author, name: str) -> None:
        connection = connections[self._db or router.db_for_write(self.model, instance=author)]
        with connection.cursor() as cursor:
            cursor.execute("UPDATE testapp_author SET name = %s WHERE id = %s", [name, author.pk])


def test_managers_that_run_sql_of_their_own_write_to_the_master_and_pin(remarks: Author) -> None:
    author = Author.objects.get()
    manager = Tree()
    manager.model = Author
    manager.db_manager(author._state.db).rename(author, "new")
    assert pindb.is_newly_pinned("default")
    assert Author.objects.get().name == "new"


@strict
def test_strict_refuses_them_before_anything_is_written(remarks: Author) -> None:
    author = Author.objects.get()
    manager = Tree()
    manager.model = Author
    with pytest.raises(pindb.UnpinnedWriteException):
        manager.db_manager(author._state.db).rename(author, "new")
    assert Author.objects.using("default").get().name == "old"


def test_deletes_in_one_statement_reach_the_master(remarks: Author) -> None:
    queryset = Author.objects.get().remarks.all()
    assert queryset._raw_delete(using=queryset.db) == 2
    assert pindb.is_newly_pinned("default")
    assert not texts_on_master()


def test_an_instance_stays_in_its_set(servers: PostgresReplicaSet) -> None:
    Article.objects.using("api").create(headline="there")
    servers.wait_until_caught_up()

    class Routed:
        def db_for_read(self, model: Any, **hints: Any) -> str:
            return "api"

        db_for_write = db_for_read

    with override_settings(PINDB_DELEGATE_ROUTERS=[Routed()]):
        alias = Article.objects.get()._state.db
    assert alias == "api-0"
    assert Article.objects.using(alias).get().headline == "there"
    assert Article.objects.using(alias).update(headline="changed") == 1
    assert pindb.get_newly_pinned() == {"api"}
    assert Article.objects.using(alias).get().headline == "changed"
    assert Article.objects.db_manager(alias).get().headline == "changed"
    assert connections[Article.objects.db_manager(alias).db].alias == "api"


def test_a_delegate_may_answer_the_alias_of_an_instance(remarks: Author) -> None:
    class Same:
        def db_for_read(self, model: Any, instance: Any = None, **hints: Any) -> str | None:
            return None if instance is None else instance._state.db

        db_for_write = db_for_read

    with override_settings(PINDB_DELEGATE_ROUTERS=[Same()]):
        author = Author.objects.get()
        assert author.books.count() == 1
        author.books.all()[0].delete()
        assert author.books.count() == 0


def test_connections_go_by_a_plain_alias_whoever_opens_them(remarks: Author) -> None:
    def opened() -> set[type]:
        with pindb.master("default"):
            Author.objects.count()
        Author.objects.count()
        types = {type(connections[alias].alias) for alias in ("default", *REPLICAS)}
        connections.close_all()
        return types

    with ThreadPoolExecutor() as pool:
        assert pool.submit(opened).result() == {str}


def test_the_router_says_plainly_that_it_reads_elsewhere_than_it_writes(remarks: Author) -> None:
    written = router.db_for_write(Author)
    assert type(written) is str
    pindb.unpin_all()
    assert router.db_for_read(Author) != written
    assert Author.objects.get()._state.db != written


def test_aliases_of_the_router_can_be_stored_like_any_text(remarks: Author) -> None:
    """Packages that keep versions of rows keep their alias with them."""
    for alias in (Author.objects.get()._state.db, router.db_for_write(Author)):
        assert alias is not None
        Author.objects.create(name=alias)
        assert Author.objects.filter(name__in=[alias]).get().name == str(alias)


# ---- instances that are written -------------------------------------------------------------------


def test_objects_read_from_a_replica_are_added_to_a_relation(remarks: Author) -> None:
    book, remark = Book.objects.get(), Remark.objects.earliest()
    other = Author.objects.create(name="other")
    other.books.add(book)
    other.remarks.add(remark)
    assert list(other.books.all()) == [book]
    assert list(other.remarks.all()) == [remark]


def test_saving_a_deferred_instance_writes_only_what_was_loaded(remarks: Author) -> None:
    remark = Remark.objects.only("text").earliest("pk")
    Remark.objects.using("default").update(written=DAY + datetime.timedelta(9))
    remark.text = "changed"
    remark.save()
    fresh = Remark.objects.get(pk=remark.pk)
    assert (fresh.text, fresh.written) == ("changed", DAY + datetime.timedelta(9))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies_of_an_instance_are_tied_to_nothing_either(remarks: Author, copied: Any) -> None:
    remark = copied(Remark.objects.earliest())
    change_everything()
    pindb.pin("default")
    assert remark.about.name == "new"


def test_a_pickled_instance_belongs_to_the_master_and_needs_no_pindb(remarks: Author) -> None:
    remark = Remark.objects.earliest()
    data = pickle.dumps(remark)
    assert b"pindb" not in data
    again = pickle.loads(data)
    assert type(again._state.db) is str
    change_everything()
    pindb.pin("default")
    assert again.about.name == "new"
    assert json.dumps(remark._state.db) == json.dumps(str(remark._state.db))


# ---- questions that are no writes -----------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "another"])
@pytest.mark.parametrize("routers", ["pindb.GreedyPinDbRouter", "pindb.StrictPinDbRouter"])
def test_validation_is_no_write(remarks: Author, routers: str, text: str) -> None:
    form_class = modelform_factory(Remark, fields=["text", "written", "content_type", "object_id"])
    data = {
        "text": text,
        "written": DAY,
        "content_type": Remark.objects.earliest().content_type_id,
        "object_id": remarks.pk,
    }
    with override_settings(DATABASE_ROUTERS=[routers]):
        form = form_class(data)
        assert form.is_valid() is bool(text)
        assert not pindb.is_pinned("default")
        book = Book(title="new", author=Author.objects.get())
        book.full_clean()
        assert not pindb.is_pinned("default")


def test_validation_of_constraints_asks_the_master(remarks: Author) -> None:
    Remark.objects.using("default").filter(text="first").update(text="taken")
    remark = Remark(text="taken", written=DAY, about=remarks)
    with pytest.raises(Exception, match="already exists"):
        remark.full_clean()
    assert not pindb.is_pinned("default")


def test_the_write_after_a_validation_pins(remarks: Author) -> None:
    book = Book(title="new", author=Author.objects.get())
    book.full_clean()
    book.save()
    assert pindb.is_newly_pinned("default")


@strict
def test_assigning_a_relation_is_no_write(remarks: Author) -> None:
    author = Author.objects.get()
    book = Book(title="new", author=author)
    assert not pindb.is_pinned("default")
    with pytest.raises(pindb.UnpinnedWriteException):
        book.save()
    pindb.pin("default")
    book.save()
    assert book._state.db == "default"


def test_what_a_thread_writes_while_another_one_validates_pins(remarks: Author) -> None:
    """Both share the context of one request."""

    class Slow(Author):
        class Meta:
            proxy = True
            app_label = "testapp"

        def get_constraints(self) -> Any:
            with ThreadPoolExecutor() as pool:
                pool.submit(shared.run, other, Author).result()
            return []

    def other(model: Any) -> None:
        model.objects.create(name="by a thread")
        connections.close_all()

    Author.objects.count()
    shared = copy_context()
    Slow(name="x").validate_constraints()
    assert pindb.is_newly_pinned("default")
