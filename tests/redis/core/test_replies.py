"""Bytes to replies: the reader in Python beside hiredis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import hiredis
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from pindb.redis.core.replies import NOT_ENOUGH, PushMessage, PythonReader

# Not in strings that end with the line.
LINE = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=20).map(str.encode)
TEXT = st.text(st.characters(codec="utf-8"), max_size=30).map(str.encode)


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def aggregate(kind: bytes, items: list[bytes], width: int = 1) -> bytes:
    return b"%b%d\r\n%b" % (kind, len(items) // width, b"".join(items))


SCALARS = st.one_of(
    LINE.map(lambda value: b"+%b\r\n" % value),
    TEXT.map(bulk),
    st.just(b"$-1\r\n"),
    st.just(b"*-1\r\n"),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: b":%d\r\n" % value),
    LINE.map(lambda value: b"-ERR %b\r\n" % value),
)
SCALARS3 = st.one_of(
    SCALARS,
    st.just(b"_\r\n"),
    st.sampled_from([b"#t\r\n", b"#f\r\n"]),
    st.floats(allow_nan=False).map(lambda value: b",%b\r\n" % repr(value).encode()),
    TEXT.map(lambda value: b"=%d\r\ntxt:%b\r\n" % (len(value) + 4, value)),
)


def nested(scalars: st.SearchStrategy[bytes], resp3: bool) -> st.SearchStrategy[bytes]:
    def containers(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        arrays = st.lists(inner, max_size=5).map(lambda items: aggregate(b"*", items))
        if not resp3:
            return arrays
        pairs = st.lists(st.tuples(TEXT.map(bulk), inner), max_size=4, unique_by=lambda pair: pair[0])
        return st.one_of(
            arrays,
            st.lists(TEXT.map(bulk), max_size=4).map(lambda items: aggregate(b"~", items)),
            pairs.map(lambda items: aggregate(b"%", [part for pair in items for part in pair], 2)),
        )

    return st.recursive(scalars, containers, max_leaves=15)


def comparable(reply: Any) -> Any:
    """A reply with exceptions as what can be compared."""
    if isinstance(reply, Exception):
        return (type(reply).__name__, str(reply))
    if isinstance(reply, list):
        return [comparable(item) for item in reply]
    if isinstance(reply, dict):
        return {key: comparable(value) for key, value in reply.items()}
    return reply


def error_of(text: Any) -> Exception:
    return redis.ResponseError(text)


@pytest.mark.parametrize("encoding", [None, "utf-8"])
@pytest.mark.parametrize("resp3", [False, True])
def test_the_reader_in_python_reads_what_hiredis_reads(resp3: bool, encoding: str | None) -> None:
    @given(
        st.lists(nested(SCALARS3 if resp3 else SCALARS, resp3), min_size=1, max_size=6),
        st.lists(st.integers(0, 400), max_size=8),
    )
    def check(replies: list[bytes], cuts: list[int]) -> None:
        stream = b"".join(replies)
        options: dict[str, Any] = {} if encoding is None else {"encoding": encoding}
        ours = PythonReader(error_of, encoding)
        theirs: Any = hiredis.Reader(replyError=error_of, notEnoughData=NOT_ENOUGH, **options)
        read: list[Any] = []
        expected: list[Any] = []
        places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
        for start, end in itertools.pairwise(places):
            for reader, found in ((ours, read), (theirs, expected)):
                piece = bytearray(b"??" + stream[start:end] + b"???")
                reader.feed(piece, 2, end - start)
                while (reply := reader.gets()) is not NOT_ENOUGH:
                    found.append(comparable(reply))
        assert len(expected) == len(replies)
        assert read == expected

    check()


def test_the_reader_in_python_reads_what_hiredis_does_not() -> None:
    reader = PythonReader(error_of, "utf-8")
    reader.feed(
        b"!9\r\nERR wrong\r\n(12345678901234567890\r\n"
        b"|1\r\n+a\r\n:1\r\n+reply\r\n>2\r\n+message\r\n:1\r\n,nan\r\n"
    )
    assert str(reader.gets()) == "ERR wrong"
    assert reader.gets() == 12345678901234567890
    assert reader.gets() == "reply"
    pushed = reader.gets()
    assert isinstance(pushed, PushMessage)
    assert pushed == ["message", 1]
    assert math.isnan(reader.gets())
    assert reader.gets() is NOT_ENOUGH


def test_the_reader_in_python_decodes_as_asked() -> None:
    reader = PythonReader(error_of, "utf-8")
    reader.feed(b"+a\r\n+b\r\n*1\r\n+c\r\n")
    assert [reader.gets(False), reader.gets(), reader.gets(False)] == [b"a", "b", [b"c"]]


@pytest.mark.parametrize(
    "make", [lambda: PythonReader(error_of, "utf-8"), lambda: hiredis.Reader(encoding="utf-8")]
)
def test_readers_go_on_after_what_they_cannot_decode(make: Callable[[], Any]) -> None:
    reader = make()
    reader.feed(b"*3\r\n+a\r\n$1\r\n\xff\r\n*1\r\n$1\r\n\xfe\r\n+next\r\n")
    with pytest.raises(UnicodeDecodeError):
        reader.gets()
    assert reader.gets() == "next"


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"?\r\n", b"\r\n", b":x\r\n", b"$x\r\n", b"*x\r\n", b"%x\r\n", b",x\r\n"),
        *(b"$-7\r\n", b"*-3\r\n", b"%-2\r\n", b"~-2\r\n", b">-1\r\n", b"|-1\r\n", b"=-2\r\n", b"!-1\r\n"),
        *(b"$+1\r\n", b"$1_0\r\n", b"$ 1\r\n", b"$\r\n", b"*99999999999\r\n", b"$99999999999999999999\r\n"),
        *(b":1_0\r\n", b":\r\n", b"#x\r\n", b"_x\r\n", b"$3\r\nabcdef\r\n", b"(x\r\n"),
        *(b"%1\r\n*0\r\n:1\r\n", b"*1\r\n" * 2000 + b":1\r\n"),
    ],
)
def test_the_reader_in_python_refuses_what_is_no_reply(garbage: bytes) -> None:
    reader = PythonReader(error_of, None)
    reader.feed(b"+good\r\n" + garbage)
    assert reader.gets() == b"good"
    with pytest.raises(redis.InvalidResponse, match="Protocol error"):
        reader.gets()
