"""The pinning context: pins, their life, and blocks that override them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import router
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

import pindb
from tests.testapp.models import Author
from tests.threads import in_threads

REPLICAS = {"default-0", "default-1"}


def state() -> tuple[frozenset[str], frozenset[str]]:
    return pindb.get_pinned(), pindb.get_newly_pinned()


def reads() -> str:
    return router.db_for_read(Author)


def test_nothing_is_pinned_at_first() -> None:
    assert state() == (set(), set())
    assert not pindb.is_pinned("default")
    assert not pindb.is_newly_pinned("default")


def test_a_pin_lasts_until_the_context_ends() -> None:
    with pindb.pinning_context():
        pindb.pin("default")
        assert pindb.is_pinned("default")
        assert pindb.is_newly_pinned("default")
        assert not pindb.is_pinned("api")
        assert reads() == "default"
    assert state() == (set(), set())


def test_a_pin_need_not_count_as_new() -> None:
    pindb.pin("default", count_as_new=False)
    assert state() == ({"default"}, set())
    pindb.pin("default")
    assert state() == ({"default"}, {"default"})
    pindb.pin("default", count_as_new=False)
    assert pindb.is_newly_pinned("default")


def test_unpin_all_is_a_clean_slate() -> None:
    pindb.pin("default")
    pindb.pin("api")
    pindb.unpin_all()
    assert state() == (set(), set())
    assert reads() in REPLICAS


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("defalt", ["'defalt'", "MASTER_DATABASES", "'default', 'api'"]),
        ("default-0", ["'default-0'", "replica", "write 'default'"]),
        ("unmanaged", ["'unmanaged'", "does not manage"]),
    ],
)
@pytest.mark.parametrize(
    "use",
    [
        pindb.pin,
        lambda alias: pindb.master(alias).__enter__(),
        lambda alias: pindb.unpinned_replica(alias).__enter__(),
    ],
)
def test_an_alias_that_is_no_master_is_refused(
    use: Callable[[str], Any], alias: str, words: list[str]
) -> None:
    with pytest.raises(pindb.PinDbConfigError) as caught:
        use(alias)
    for word in words:
        assert word in str(caught.value)
    assert state() == (set(), set())


@pytest.mark.parametrize(
    ("alias", "words"),
    [
        ("defalt", ["'defalt'", "MASTER_DATABASES", "'default', 'api'"]),
        ("default-0", ["'default-0'", "replica", "write 'default'"]),
    ],
)
def test_get_replica_refuses_replicas_and_unknown_aliases(alias: str, words: list[str]) -> None:
    with pytest.raises(pindb.PinDbConfigError) as caught:
        pindb.get_replica(alias)
    assert all(word in str(caught.value) for word in words)


def test_get_replica_answers_the_alias_of_a_database_that_is_not_managed() -> None:
    assert pindb.get_replica("unmanaged") == "unmanaged"
    assert Author.objects.using(pindb.get_replica("unmanaged")).count() == 0


@override_settings(PINDB_ENABLED=False)
def test_disabled_nothing_is_pinned_and_everything_is_the_master() -> None:
    assert not pindb.is_enabled()
    pindb.pin("default")
    with pindb.master("default"), pindb.unpinned_replica("no such alias"):
        assert state() == (set(), set())
        assert reads() == "default"
    assert router.db_for_write(Author) == "default"
    assert state() == (set(), set())
    assert pindb.get_replica("default") == "default"


# ---- master and unpinned_replica ---------------------------------------------------------------


def test_master_reads_the_master_and_pins_nothing() -> None:
    with pindb.master("default"):
        assert reads() == "default"
        assert router.db_for_write(Author) == "default"
        assert pindb.is_pinned("default")
        assert not pindb.is_pinned("api")
    assert state() == (set(), set())
    assert reads() in REPLICAS


def test_unpinned_replica_reads_a_replica_whatever_is_pinned() -> None:
    pindb.pin("default")
    with pindb.unpinned_replica("default"):
        assert reads() in REPLICAS
        assert not pindb.is_pinned("default")
        router.db_for_write(Author)
        assert reads() in REPLICAS
    assert state() == ({"default"}, {"default"})
    assert reads() == "default"


def test_a_pin_declared_in_a_block_of_unpinned_replica_is_obeyed_there() -> None:
    with pindb.unpinned_replica("default"):
        pindb.pin("default")
        assert reads() == "default"
    assert state() == (set(), set())


def test_a_carried_pin_stays_a_carried_pin_when_a_block_writes() -> None:
    pindb.pin("default", count_as_new=False)
    for block in (pindb.master("default"), pindb.unpinned_replica("default")):
        with block:
            router.db_for_write(Author)
        assert state() == ({"default"}, set())


def test_blocks_take_several_aliases() -> None:
    with pindb.master("default", "api"):
        assert state() == ({"default", "api"}, set())
    for aliases in (["default", "api"], ("default", "api"), {"default", "api"}):
        with pindb.with_masters(aliases):
            assert pindb.get_pinned() == {"default", "api"}
            with pindb.with_replicas(aliases):
                assert pindb.get_pinned() == set()
    with pindb.with_masters("default"), pindb.with_replicas("api"):
        assert pindb.get_pinned() == {"default"}


def test_what_a_block_writes_to_another_set_stays_pinned() -> None:
    with pindb.master("default"):
        router.db_for_write(Author)
        pindb.pin("api")
    assert state() == ({"api"}, {"api"})


@pytest.mark.parametrize("wrong", [(), (None,), (7,), (lambda: None,), ([],), (["default", 1],)])
@pytest.mark.parametrize("block", [pindb.master, pindb.unpinned_replica])
def test_a_block_without_aliases_is_refused(block: Any, wrong: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=rf"{block.__name__}\('default'\)"):
        block(*wrong)


def test_blocks_survive_exceptions() -> None:
    for block in (pindb.master("default"), pindb.unpinned_replica("default"), pindb.pinning_context()):
        with pytest.raises(ZeroDivisionError), block:  # noqa: PT012
            pindb.pin("default")
            raise ZeroDivisionError
        assert state() == (set(), set())


def test_a_block_can_be_used_again_and_inside_itself() -> None:
    block = pindb.master("default")
    with block, block:
        assert reads() == "default"
        with pindb.unpinned_replica("default"):
            assert reads() in REPLICAS
            with block:
                assert reads() == "default"
            assert reads() in REPLICAS
        assert reads() == "default"
    assert reads() in REPLICAS


def test_blocks_decorate_functions_and_coroutine_functions() -> None:
    @pindb.master("default")
    def read(argument: int, *, keyword: int) -> tuple[str, int]:
        """Its docstring."""
        return reads(), argument + keyword

    @pindb.unpinned_replica("default")
    async def aread() -> str:
        await asyncio.sleep(0)
        return reads()

    @pindb.pinning_context()
    async def unit() -> frozenset[str]:
        await asyncio.sleep(0)
        return pindb.get_pinned()

    assert read(1, keyword=2) == ("default", 3)
    assert (read.__name__, read.__doc__) == ("read", "Its docstring.")
    pindb.pin("default")
    assert async_to_sync(aread)() in REPLICAS
    assert async_to_sync(unit)() == set()
    assert asyncio.iscoroutinefunction(aread)


def test_a_plain_function_that_returns_a_coroutine_is_awaited_in_the_block() -> None:
    async def handler() -> str:
        return reads()

    @pindb.master("default")
    def dispatch() -> Any:
        return handler()

    assert asyncio.run(dispatch()) == "default"


def test_generator_functions_cannot_be_decorated() -> None:
    def rows() -> Iterator[int]:
        yield 1

    async def arows() -> AsyncIterator[int]:
        yield 1

    for function in (rows, arows):
        with pytest.raises(TypeError, match=r"rows is a generator function, which master\('default'\)"):
            pindb.master("default")(function)


def test_a_block_in_a_generator_ends_with_the_generator_wherever_that_is() -> None:
    def rows() -> Generator[str]:
        with pindb.master("default"):
            yield reads()

    generator = rows()
    assert next(generator) == "default"
    with pindb.pinning_context():
        generator.close()
        assert reads() in REPLICAS
    assert state() == (set(), set())
    assert reads() in REPLICAS


actions = st.recursive(
    st.sampled_from(["pin", "pin-old", "write", "read", "unpin"]),
    lambda inner: st.tuples(
        st.sampled_from([pindb.master, pindb.unpinned_replica, pindb.pinning_context]),
        st.lists(inner, max_size=4),
    ),
    max_leaves=12,
)


def act(action: Any) -> None:
    if isinstance(action, tuple):
        block, inner = action
        before = state()
        with block() if block is pindb.pinning_context else block("default"):
            for step in inner:
                act(step)
        assert state() == before
    elif action == "write":
        assert router.db_for_write(Author) == "default"
    elif action == "read":
        assert reads() in (REPLICAS | {"default"})
    elif action == "unpin":
        pindb.unpin_all()
    else:
        pindb.pin("default", count_as_new=action == "pin")


@given(st.lists(actions, max_size=6))
def test_pins_are_the_same_after_every_block_whatever_happened_in_it(steps: list[Any]) -> None:
    with pindb.pinning_context():
        for step in steps:
            act(step)


# ---- replicas ----------------------------------------------------------------------------------


def test_a_context_reads_one_replica_and_contexts_take_turns() -> None:
    seen = []
    for _ in range(6):
        with pindb.pinning_context():
            first = reads()
            assert {reads() for _ in range(5)} == {first}
            assert pindb.get_replica("default") == first
            seen.append(first)
    assert set(seen) == REPLICAS
    assert seen[:2] * 3 == seen


def test_get_replica_answers_a_replica_even_when_pinned() -> None:
    pindb.pin("default")
    assert pindb.get_replica("default") in REPLICAS
    assert pindb.get_replica() == pindb.get_replica("default")
    assert pindb.get_replica("api") == "api-0"


def test_a_block_reads_the_replica_of_the_context_around_it() -> None:
    chosen = reads()
    with pindb.master("default"), pindb.unpinned_replica("default"):
        assert reads() == chosen


@override_settings(MASTER_DATABASES={"default": {}}, DATABASE_SETS={"default": []})
def test_a_set_without_replicas_is_read_from_its_master() -> None:
    assert reads() == "default"
    assert pindb.get_replica("default") == "default"
    with pindb.unpinned_replica("default"):
        assert reads() == "default"


# ---- late pins ---------------------------------------------------------------------------------


def test_a_pin_after_a_read_from_a_replica_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    replica = reads()
    with caplog.at_level(logging.WARNING, logger="pindb"):
        pindb.pin("default")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"pin of default late: replica {replica} was read before it ")


def test_pins_in_time_are_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    pindb.get_replica("default")
    with pindb.unpinned_replica("default"):
        reads()
    with pindb.master("default"):
        reads()
    router.db_for_read(Author, instance=None)
    pindb.unpin_all()
    pindb.pin("default")
    reads()
    pindb.pin("default")
    assert caplog.records == []


def test_a_greedy_write_after_a_read_is_no_late_pin(caplog: pytest.LogCaptureFixture) -> None:
    reads()
    router.db_for_write(Author)
    pindb.pin("default")
    assert caplog.records == []


def test_a_read_in_a_block_of_another_set_counts_for_a_late_pin(caplog: pytest.LogCaptureFixture) -> None:
    with pindb.master("api"):
        reads()
    pindb.pin("default")
    assert "pin of default late" in caplog.text


# ---- threads and tasks -------------------------------------------------------------------------


def test_threads_have_contexts_of_their_own() -> None:
    pindb.pin("default")

    def other(_: int) -> frozenset[str]:
        found = pindb.get_pinned()
        pindb.pin("api")
        return found

    assert in_threads(1, other) == [set()]
    assert pindb.get_pinned() == {"default"}


def test_a_block_that_threads_share_does_not_mix_them_up() -> None:
    block = pindb.master("default")
    inside, leave = threading.Barrier(2), threading.Barrier(2)

    def run(number: int) -> list[frozenset[str]]:
        if number == 0:
            pindb.pin("api")
        with block:
            inside.wait(10)
            pinned = pindb.get_pinned()
            leave.wait(10)
        return [pinned, pindb.get_pinned()]

    assert in_threads(2, run) == [[{"default", "api"}, {"api"}], [{"default"}, set()]]


def test_pins_cross_sync_to_async_and_async_to_sync() -> None:
    @sync_to_async
    def write() -> None:
        router.db_for_write(Author)

    async def unit() -> frozenset[str]:
        await write()
        return await sync_to_async(lambda: async_to_sync(look)())()

    async def look() -> frozenset[str]:
        return pindb.get_pinned()

    with pindb.pinning_context():
        assert async_to_sync(unit)() == {"default"}
        assert pindb.is_newly_pinned("default")


def test_tasks_of_one_unit_share_its_pins_but_not_its_blocks() -> None:
    async def writer(entered: asyncio.Event, leave: asyncio.Event) -> None:
        with pindb.master("default"):
            entered.set()
            await leave.wait()
            pindb.pin("api")

    async def unit() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(writer(entered, leave))
        await entered.wait()
        assert reads() in REPLICAS
        leave.set()
        await task
        assert state() == ({"api"}, {"api"})

    with pindb.pinning_context():
        asyncio.run(unit())


def test_units_of_work_interleaved_on_one_loop_never_see_each_other() -> None:
    async def unit(alias: str, mine: asyncio.Event, other: asyncio.Event) -> frozenset[str]:
        with pindb.pinning_context():
            pindb.pin(alias)
            mine.set()
            await other.wait()
            await asyncio.sleep(0)
            return pindb.get_pinned()

    async def both() -> tuple[frozenset[str], frozenset[str]]:
        a, b = asyncio.Event(), asyncio.Event()
        one, other = await asyncio.gather(unit("default", a, b), unit("api", b, a))
        return one, other

    assert asyncio.run(both()) == ({"default"}, {"api"})
