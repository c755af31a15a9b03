"""One server's part of a batch, without a server: generated commands and replies, cut anywhere."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st
from redis._parsers import Encoder
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.connection import DefaultParser

from pindb.redis import CommandCancelled, HostConnectionError, HostTimeoutError, HostUnavailableError, Promise
from pindb.redis.core import merging, replies
from pindb.redis.core.batches import ENOUGH, HostBatch
from pindb.redis.core.merging import CommandRun, Entry
from pindb.redis.core.pending import Command
from pindb.redis.core.replies import NOT_ENOUGH, PythonReader

ENGINES = ["plain", "redis-cluster"]

PUSH = b">2\r\n+invalidate\r\n*1\r\n$5\r\n:9\r\n+\r\n"
REFUSED = ["LOADING Redis is loading", "BUSY Redis is busy", "CLUSTERDOWN", "MASTERDOWN x"]
ERRORS = ["ERR wrong", "WRONGTYPE Operation against a key", "OOM command not allowed", "MOVED 1 ::1:1", "ASK"]


@dataclass(frozen=True)
class Host:
    host_id: int = 7
    follows_redirects: bool = False

    def __str__(self) -> str:
        return f"host {self.host_id}"


@pytest.fixture(autouse=True)
def short_merges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of a few keys is several MGETs."""
    monkeypatch.setattr(merging, "LONGEST", 3)


@contextlib.contextmanager
def reading(by_hiredis: bool) -> Iterator[None]:
    """A block whose batches read replies with hiredis, or in Python."""
    with pytest.MonkeyPatch.context() as context:
        if not by_hiredis:
            context.setattr(replies, "hiredis", None)
        yield


@pytest.fixture(params=["hiredis", "Python"])
def reader(request: pytest.FixtureRequest) -> Iterator[None]:
    with reading(request.param == "hiredis"):
        yield


# ---- commands and their replies ------------------------------------------------------------------


@dataclass
class Spec:
    """Commands to be made, for as many batches as a test needs.

    Attributes:
        kind: ``"run"``, ``"command"``, or ``"unpackable"``.
        words: the command, or the keys of the run.
        is_set: whether the run sets its keys.
        merges: whether the run may be merged.
        tail: more words for each SET.
        options: redis-py's options.
    """

    kind: str
    words: tuple[Any, ...]
    is_set: bool = False
    merges: bool = True
    tail: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def make(self) -> Entry:
        if self.kind != "run":
            return Command(self.words, self.options, Promise())
        values = [f"value of {key}" for key in self.words] if self.is_set else []
        promises = [Promise() for _ in self.words]
        return CommandRun(list(self.words), values, promises, self.merges, self.tail)


KEYS = st.sampled_from(["a", "b", "ü", "key:1", b"\x00\xff"])
SPECS = st.one_of(
    st.builds(
        Spec,
        st.just("run"),
        st.lists(KEYS, min_size=1, max_size=8).map(tuple),
        st.booleans(),
        st.booleans(),
        st.sampled_from([(), (), ("PX", 5000)]),
    ),
    st.builds(
        Spec,
        st.just("command"),
        st.sampled_from([("GET", "a"), ("INCR", "a"), ("HGETALL", "h"), ("get", "a"), ("MEMORY USAGE", "a")]),
        options=st.sampled_from([{}, {NEVER_DECODE: True}, {EMPTY_RESPONSE: "empty"}]),
    ),
    st.builds(Spec, st.just("unpackable"), st.just(("SET", "a", object()))),
)


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


VALUES = st.one_of(st.none(), st.binary(max_size=8), st.text(max_size=8).map(str.encode), st.just(b"+OK\r\n"))
REPLIES = st.one_of(
    VALUES.map(bulk),
    st.integers(-5, 5).map(lambda number: b":%d\r\n" % number),
    st.lists(VALUES.map(bulk), max_size=3).map(lambda items: b"*%d\r\n%b" % (len(items), b"".join(items))),
)
#: The types that RESP3 adds.
REPLIES3 = st.one_of(
    REPLIES, st.sampled_from([b"_\r\n", b"#t\r\n", b",1.5\r\n", b"%1\r\n+a\r\n:1\r\n", b"~1\r\n+a\r\n"])
)
FAILURES = st.sampled_from([*ERRORS, *REFUSED]).map(lambda text: b"-%b\r\n" % text.encode())


@st.composite
def conversations(draw: st.DrawFn, protocol: int) -> tuple[list[Spec], list[bytes]]:
    """Commands, and for each command on the wire a reply that it can have, with messages among them."""
    specs = draw(st.lists(SPECS, min_size=1, max_size=5))
    batch = Started([spec.make() for spec in specs], decodes=False).batch
    stream = []
    for words in read_requests(bytes(batch.unsent)):
        if protocol == 3 and draw(st.booleans()):
            stream.append(PUSH)
        if draw(st.integers(0, 3)) == 0:
            reply = draw(FAILURES)
        elif words[0] in (b"SET", b"MSET"):
            reply = b"+OK\r\n"
        elif words[0] == b"MGET":
            # One item too few is not the reply to this command.
            number = len(words) - 1 - (draw(st.integers(0, 9)) == 0)
            items = draw(st.lists(VALUES, min_size=number, max_size=number))
            reply = b"*%d\r\n%b" % (number, b"".join(map(bulk, items)))
        elif words[0] == b"GET":
            reply = bulk(draw(VALUES))
        else:
            reply = draw(REPLIES3 if protocol == 3 else REPLIES)
        stream.append(reply)
    return specs, stream


def read_requests(data: bytes) -> list[list[bytes]]:
    reader = PythonReader(redis.ResponseError, None)
    reader.feed(data)
    return list(iter(reader.gets, NOT_ENOUGH))


CALLBACKS: dict[str, Callable[..., Any]] = {
    "HGETALL": lambda reply, **options: {"reply": reply},
    "INCR": lambda reply: [][reply],
}


class Started:
    """A batch that a driver has connected and sent.

    Attributes:
        batch: the batch.
        promises: the promises of all commands.
        settled: how often each promise was settled.
    """

    def __init__(
        self, entries: list[Entry], *, decodes: bool, timeout: float | None = 5, end: float | None = None
    ) -> None:
        self.promises = [promise for entry in entries for promise in entry.promises]
        self.settled = [0] * len(self.promises)
        # Those that somebody waits for are settled in another way.
        for place in range(0, len(self.promises), 2):
            self.promises[place].done(self._counter(place), self._counter(place))
        self.batch = HostBatch(entries, Host(), CALLBACKS, end)
        encoder = Encoder("utf-8", "strict", decodes)  # type: ignore[no-untyped-call]
        self.batch.start(encoder, DefaultParser.parse_error, timeout, now=100)

    def _counter(self, place: int) -> Any:
        def count(value: Any) -> None:
            self.settled[place] += 1

        return count

    def feed(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            if self.batch.is_done:
                break
            self.batch.receive(bytearray(piece + b"what an earlier reply left there"), len(piece))

    def outcome(self) -> dict[str, Any]:
        """Settle, and return all that can be seen afterwards."""
        batch = self.batch
        seen = {"done": batch.is_done, "clean": batch.is_clean, "error": shown(batch.error)}
        batch.settle()
        entries = [entry for some in batch.returned for entry in some.entries]
        returned = [promise for entry in entries for promise in entry.promises]
        # Each promise is settled once, or given back.
        assert len(set(map(id, returned))) == len(returned)
        for place, promise in enumerate(self.promises):
            is_returned = any(promise is other for other in returned)
            assert promise.is_pending == is_returned
            assert self.settled[place] == (place % 2 == 0 and not is_returned)
        return {
            **seen,
            "fine": batch.is_fine,
            "answered": batch.has_answered,
            "promises": [shown(promise) for promise in self.promises],
            "returned": [
                ([command.words for entry in some.entries for command in entry.commands()], shown(some.error))
                for some in batch.returned
            ],
        }


def shown(value: Any) -> Any:
    """What can be compared, of promises and exceptions."""
    if isinstance(value, Promise):
        if value.is_pending:
            return "pending"
        return ("rejected", shown(value.reason)) if value.is_rejected else ("resolved", shown(value.value))
    if isinstance(value, Exception):
        return type(value).__name__, str(value)
    return [shown(item) for item in value] if isinstance(value, list) else value


def run(specs: list[Spec], pieces: Sequence[bytes], *, decodes: bool) -> dict[str, Any]:
    started = Started([spec.make() for spec in specs], decodes=decodes)
    started.feed(pieces)
    return started.outcome()


def cut(stream: bytes, places: Sequence[int]) -> Iterator[bytes]:
    edges = sorted({0, *(place for place in places if place < len(stream)), len(stream)})
    for start, end in itertools.pairwise(edges):
        yield stream[start:end]


CUTS = st.lists(st.integers(0, 300), max_size=8)


# ---- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
def test_replies_that_come_in_pieces_come_to_the_same(protocol: int) -> None:
    @given(conversations(protocol), CUTS, st.booleans(), st.booleans())
    def check(
        conversation: tuple[list[Spec], list[bytes]], cuts: list[int], decodes: bool, by_hiredis: bool
    ) -> None:
        specs, stream = conversation
        whole = b"".join(stream)
        at_once = run(specs, [whole], decodes=decodes)
        with reading(by_hiredis):
            assert run(specs, list(cut(whole, cuts)), decodes=decodes) == at_once
        assert (at_once["done"], at_once["clean"], at_once["error"]) == (True, True, None)

    check()


INTERRUPTED = ("CommandCancelled", "The command was interrupted.")


@given(
    conversations(3),
    st.integers(0, 300),
    CUTS,
    st.sampled_from(["broken", "late", "interrupted", "garbage"]),
    st.booleans(),
    st.booleans(),
)
def test_a_connection_may_end_anywhere(
    conversation: tuple[list[Spec], list[bytes]],
    length: int,
    cuts: list[int],
    ending: str,
    decodes: bool,
    by_hiredis: bool,
) -> None:
    specs, stream = conversation
    whole = b"".join(stream)
    complete = run(specs, [whole], decodes=decodes)
    with reading(by_hiredis):
        started = Started([spec.make() for spec in specs], decodes=decodes)
    if ending == "garbage":
        # Where a reply would begin.
        length = len(b"".join(stream[: length % (len(stream) + 1)]))
    started.feed(list(cut(whole[:length], cuts)))
    batch = started.batch
    if batch.is_done:
        return
    if ending == "broken":
        batch.break_off("the server closed the connection.")
    elif ending == "late":
        batch.check_time(105)
    elif ending == "garbage":
        batch.receive(b"?\r\n", 3)
    assert batch.is_done == (ending != "interrupted")
    found = started.outcome()
    assert not found["clean"]
    commands = [command for spec in specs for command in spec.make().commands()]
    for command, before, after in zip(commands, complete["promises"], found["promises"], strict=True):
        if after == "pending" != before:
            # It may be sent again.
            assert str(command.words[0]).upper() in ("GET", "HGETALL", "MEMORY USAGE")
            assert ending != "interrupted"
        elif after != before:
            assert after == ("rejected", found["error"] or INTERRUPTED)
    # Even where nothing may be sent again, the client hears of the failure.
    assert (found["error"] is not None) == any(error == found["error"] for _, error in found["returned"])


def test_a_refused_command_of_a_run_is_given_back_also_if_the_connection_breaks() -> None:
    started = Started([Spec("run", ("a", "b", "c"), is_set=True, merges=False).make()], decodes=False)
    started.feed([b"+OK\r\n-LOADING x\r\n"])
    started.batch.break_off("the server closed the connection.")
    found = started.outcome()
    lost = ("HostConnectionError", "host 7: the server closed the connection.")
    assert found["promises"] == [("resolved", True), "pending", ("rejected", lost)]
    assert [[words[:2] for words in commands] for commands, _ in found["returned"]] == [[("SET", "b")], []]


@example([Spec("run", ("a", "b"))], [1])
@given(st.lists(SPECS, max_size=4), CUTS)
def test_bytes_that_go_out_in_pieces(specs: list[Spec], lengths: list[int]) -> None:
    batch = Started([spec.make() for spec in specs], decodes=False).batch
    whole, sent = bytes(batch.unsent), b""
    for length in lengths:
        piece = bytes(batch.unsent[:length])
        sent += piece
        batch.note_sent(len(piece))
    assert sent + bytes(batch.unsent) == whole
    expected = sum(len(spec.make().promises) for spec in specs if spec.kind != "unpackable")
    assert len([command for words in read_requests(whole) for command in singly(words)]) == expected


def singly(words: list[bytes]) -> Iterator[list[bytes]]:
    """The commands that a command stands for."""
    width = {b"MGET": 1, b"MSET": 2}.get(words[0])
    if width is None:
        yield words
    else:
        for start in range(1, len(words), width):
            yield [words[0][1:], *words[start : start + width]]


def test_a_run_is_merged_in_parts() -> None:
    batch = Started([Spec("run", ("a", "b", "c", "d")).make()], decodes=False).batch
    assert read_requests(bytes(batch.unsent)) == [[b"MGET", b"a", b"b", b"c"], [b"MGET", b"d"]]
    batch = Started([Spec("run", ("a", "b"), is_set=True).make()], decodes=False).batch
    assert read_requests(bytes(batch.unsent)) == [[b"MSET", b"a", b"value of a", b"b", b"value of b"]]
    batch = Started([Spec("run", ("a", "b"), is_set=True, tail=("PX", 5)).make()], decodes=False).batch
    assert read_requests(bytes(batch.unsent))[1] == [b"SET", b"b", b"value of b", b"PX", b"5"]


def test_each_value_that_cannot_be_decoded_fails_alone(reader: None) -> None:
    specs = [Spec("run", ("a", "b")), Spec("command", ("GET", "c"))]
    found = run(specs, [b"*2\r\n$1\r\n\xff\r\n$1\r\nx\r\n$1\r\n\xfe\r\n"], decodes=True)
    assert found["promises"][1] == ("resolved", "x")
    for place, key in ((0, "a"), (2, "c")):
        state, (kind, text) = found["promises"][place]
        assert (state, kind) == ("rejected", "InvalidResponse")
        assert text.startswith(f"GET {key!r} on host 7: decode_responses does not suit the reply")


def test_what_cannot_be_packed_fails_alone() -> None:
    specs = [Spec("command", ("INCR", "b")), Spec("unpackable", ("SET", "a", object())), Spec("run", ("c",))]
    found = run(specs, [b"-ERR x\r\n$1\r\nc\r\n"], decodes=False)
    assert found["promises"][1][1][1].startswith("SET 'a' on host 7: Invalid input of type: 'object'")
    assert found["promises"][2] == ("resolved", b"c")
    assert found["clean"]


def test_a_batch_of_which_nothing_can_be_packed_is_done_at_once() -> None:
    batch = Started([Spec("unpackable", ("SET", "a", object())).make()], decodes=False).batch
    assert batch.is_done
    assert batch.is_clean
    assert not batch.unsent


@pytest.mark.parametrize("leftover", [PUSH, PUSH[:3], b":1\r\n", b"$", b"*1\r\n"])
def test_a_connection_with_more_than_the_replies_is_not_used_again(reader: None, leftover: bytes) -> None:
    started = Started([Spec("command", ("DECR", "a")).make()], decodes=False)
    started.feed([b":1\r\n" + leftover])
    found = started.outcome()
    assert found["promises"] == [("resolved", 1)]
    assert found["clean"] == (leftover == PUSH)


# ---- servers that serve nobody -------------------------------------------------------------------


def test_commands_that_a_server_refused_are_given_back() -> None:
    specs = [Spec("command", ("INCR", "a")), Spec("run", ("b", "c"), is_set=True), Spec("run", ("d",))]
    loading = b"-LOADING Redis is loading\r\n"
    started = Started([spec.make() for spec in specs], decodes=False)
    started.feed([loading * 3])
    found = started.outcome()
    assert found["promises"] == ["pending"] * 4
    ((words, (_, text)),) = found["returned"]
    assert [list(map(str, command[:2])) for command in words] == [
        ["INCR", "a"],
        ["SET", "b"],
        ["SET", "c"],
        ["GET", "d"],
    ]
    assert text == "host 7: LOADING Redis is loading"
    assert isinstance(started.batch.returned[0].error, HostUnavailableError)
    assert not found["answered"]
    assert found["clean"]
    # No other server takes them.
    started.batch.reject(started.batch.returned[0], redis.ConnectionError("nobody"))
    assert not started.batch.is_fine
    assert [str(promise.reason) for promise in started.promises] == ["nobody"] * 4


def test_only_the_refused_commands_of_a_run_are_given_back() -> None:
    specs = [Spec("run", ("a", "b", "c"), merges=False)]
    found = run(specs, [b"$1\r\n1\r\n-LOADING x\r\n-ERR y\r\n"], decodes=False)
    assert found["promises"][:2] == [("resolved", b"1"), "pending"]
    assert found["promises"][2] == ("rejected", ("ResponseError", "GET 'c' on host 7: y"))
    assert found["returned"][0][0] == [("GET", "b")]
    assert found["answered"]
    assert not found["fine"]


# ---- connections that were never made, and time --------------------------------------------------


def unconnected() -> tuple[HostBatch, list[Promise]]:
    entries = [Spec("command", ("INCR", "a")).make(), Spec("run", ("b", "c"), is_set=True).make()]
    return HostBatch(entries, Host(), {}, 200), [promise for entry in entries for promise in entry.promises]


def test_without_a_connection_all_commands_are_given_back() -> None:
    batch, promises = unconnected()
    cause = redis.ConnectionError("refused")
    cause.sent = False  # type: ignore[attr-defined]
    batch.fail(cause)
    assert batch.is_done
    batch.settle()
    ((entries, error),) = batch.returned
    assert [promise for entry in entries for promise in entry.promises] == promises
    assert isinstance(error, HostConnectionError)
    assert (str(error), error.sent, error.__cause__) == ("host 7: refused", False, cause)
    assert all(promise.is_pending for promise in promises)


def test_an_interruption_before_the_connection_is_made_says_so() -> None:
    batch, _ = unconnected()
    batch.settle()
    assert isinstance(batch.returned[0].error, CommandCancelled)
    assert batch.is_clean


def test_the_caller_s_time_is_up_before_there_is_a_connection() -> None:
    batch, _ = unconnected()
    assert batch.deadline == 200
    batch.give_up(by_caller=True)
    batch.settle()
    error = batch.returned[0].error
    assert isinstance(error, HostTimeoutError)
    assert (error.sent, error.by_caller) == (False, True)
    assert str(error) == "host 7: there was no connection in time."


@pytest.mark.parametrize(("end", "deadline"), [(None, 105), (103, 103), (200, 105)])
def test_the_first_limit_counts(end: float | None, deadline: float) -> None:
    batch = Started([Spec("command", ("INCR", "a")).make()], decodes=False, end=end).batch
    assert batch.deadline == deadline
    batch.check_time(deadline - 0.1)
    assert not batch.is_done
    batch.check_time(deadline)
    assert isinstance(batch.error, HostTimeoutError)
    assert batch.error.sent
    assert batch.error.by_caller == (end == deadline)
    assert str(batch.error) == "host 7: 1 of 1 replies did not come in time."


def test_without_a_limit_a_batch_waits() -> None:
    batch = Started([Spec("command", ("INCR", "a")).make()], decodes=False, timeout=None).batch
    batch.note_sent(len(batch.unsent))
    batch.note_progress(1e9)
    batch.check_time(1e9)
    assert (batch.deadline, batch.is_done) == (None, False)


def test_progress_starts_the_server_s_timeout_anew_and_a_few_bytes_do_not() -> None:
    words = ("APPEND", "a", "x" * 3 * ENOUGH)
    batch = Started([Spec("command", words).make() for _ in range(3)], decodes=False).batch
    batch.note_sent(100)
    batch.note_progress(101)
    assert batch.deadline == 105
    batch.note_sent(ENOUGH)
    batch.note_progress(101)
    assert batch.deadline == 106
    batch.note_sent(len(batch.unsent))
    batch.note_progress(102)
    # All is sent: from now on it is the server's time.
    assert batch.deadline == 107
    batch.receive(b"$30000\r\n", 8)
    batch.note_progress(103)
    assert batch.deadline == 107
    batch.receive(b"x" * ENOUGH, ENOUGH)
    batch.note_progress(104)
    assert batch.deadline == 109
    batch.receive(b"x" * (30000 - ENOUGH) + b"\r\n", 30002 - ENOUGH)
    batch.note_progress(105)
    assert batch.deadline == 110
    batch.receive(b":1\r\n", 4)
    batch.note_progress(106)
    # A reply is progress, however short it is.
    assert batch.deadline == 111


# ---- callbacks -----------------------------------------------------------------------------------


def test_what_callbacks_raise_is_raised_when_all_promises_are_settled() -> None:
    entries = [Spec("command", ("DECR", "a")).make() for _ in range(3)]

    def fail(value: Any) -> None:
        raise KeyError(value)

    started = Started(entries, decodes=False)
    for promise in started.promises:
        promise.done(fail)
    started.feed([b":1\r\n:2\r\n:3\r\n"])
    with pytest.raises(KeyError, match="1"):
        started.batch.settle()
    assert [promise.value for promise in started.promises] == [1, 2, 3]
