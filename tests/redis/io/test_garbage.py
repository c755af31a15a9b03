"""Servers that answer what is no reply: their own commands fail, with an error that names the server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from pindb.redis import Cluster, HostConnectionError, Promise
from pindb.redis.core import replies
from tests.redis.tools import Make, keys_on

Answer = Callable[[list[bytes]], bytes]

GARBAGE = [
    b"?\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b":abc\r\n",
    b"$-7\r\n",
    b"*-3\r\n",
    b"%-4\r\n",
    b"=-2\r\n",
    b"$99999999999999999999\r\n",
    b"*99999999999999999999\r\n",
    b"%1\r\n*1\r\n:1\r\n:2\r\n",
    b"*1\r\n" * 5000 + b":1\r\n",
]

#: Error replies that redis-py fails to read.
ERRORS = [b"-MOVED x\r\n", b"-ASK\r\n", b"-MOVED\r\n", b"-\r\n"]


class Server:
    """A server of our own, on a port of 127.0.0.1.

    Arguments:
        answer: makes the answer to a command; those of the handshake are answered as Redis does.
        in_handshake: it makes those too.

    Attributes:
        port: the port.
        accepted: how many connections clients have made.
    """

    def __init__(self, answer: Answer, in_handshake: bool = False) -> None:
        self._answer = answer
        self._in_handshake = in_handshake
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port}

    def close(self) -> None:
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                self._sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), sock.makefile("rb") as lines:
            while line := lines.readline():
                words = [lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
                name = words[0].upper()
                if name not in (b"HELLO", b"CLIENT", b"SELECT") or self._in_handshake:
                    for piece in self._answer(words).split(b"<pause>"):
                        sock.sendall(piece)
                        time.sleep(0.01)
                elif name == b"HELLO":
                    sock.sendall(b"%1\r\n+proto\r\n:3\r\n")
                else:
                    sock.sendall(b"+OK\r\n")


Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[Server] = []

    def make(answer: Answer, in_handshake: bool = False) -> Server:
        servers.append(Server(answer, in_handshake))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


@pytest.fixture(params=["hiredis", "Python"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What reads the replies to maps."""
    if request.param == "Python":
        monkeypatch.setattr(replies, "hiredis", None)
    return str(request.param)


def settled(
    make_cluster: Make, bad: Server, good: Server, protocol: int
) -> tuple[Cluster, list[Promise], str]:
    """A map on a host that answers garbage, and on one that does not."""
    options = {"protocol": protocol, "socket_timeout": 5}
    cluster = make_cluster({0: bad.host, 1: good.host}, pool_options=options)
    (wrong,), (right,) = keys_on(cluster, 0, 1), keys_on(cluster, 1, 1)
    with cluster.map() as client:
        promises = [client.incr(right), client.incr(wrong).done(on_failure=str), client.incr(right)]
    return cluster, promises, wrong


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_fails_its_own_host_s_commands(
    make_cluster: Make, start: Start, reader: str, garbage: bytes, protocol: int
) -> None:
    bad, good = start(lambda words: garbage), start(lambda words: b":7\r\n")
    cluster, promises, wrong = settled(make_cluster, bad, good, protocol)
    assert [promise.value for promise in promises] == [7, None, 7]
    assert isinstance(promises[1].reason, HostConnectionError)
    assert promises[1].reason.sent
    assert f"host 0 (127.0.0.1:{bad.port}/0)" in str(promises[1].reason)
    with pytest.raises(HostConnectionError, match=r"host 0 \(127"):
        cluster.get_routing_client().incr(wrong)
    # No connection is used again on which nobody knows where the next reply begins.
    assert bad.accepted == 2
    assert good.accepted == 1


@pytest.mark.parametrize("error", ERRORS)
def test_error_replies_that_redis_py_fails_to_read_are_error_replies(
    make_cluster: Make, start: Start, reader: str, error: bytes
) -> None:
    bad, good = start(lambda words: error), start(lambda words: b":7\r\n")
    cluster, promises, wrong = settled(make_cluster, bad, good, 3)
    assert [promise.value for promise in promises] == [7, None, 7]
    assert isinstance(promises[1].reason, redis.ResponseError)
    text = error[1:-2].decode()
    said = f"INCRBY '{wrong}' on host 0 (127.0.0.1:{bad.port}/0): {text}"
    assert str(promises[1].reason).startswith(said)
    with pytest.raises(redis.ResponseError, match=f"on host 0 .*: {text}"):
        cluster.get_routing_client().incr(wrong)
    assert bad.accepted == 1


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("garbage", [*GARBAGE, b"+OK\r\n*4294967295\r\n", b"*0\r\n:x\r\n"])
def test_garbage_in_the_handshake_is_a_connection_that_cannot_be_made(
    make_cluster: Make, start: Start, garbage: bytes, protocol: int
) -> None:
    bad, good = start(lambda words: garbage, in_handshake=True), start(lambda words: b":7\r\n")
    cluster, promises, wrong = settled(make_cluster, bad, good, protocol)
    assert [promise.value for promise in promises] == [7, None, 7]
    assert isinstance(promises[1].reason, HostConnectionError)
    assert not promises[1].reason.sent
    with pytest.raises(HostConnectionError, match=r"host 0 .*handshake failed") as caught:
        cluster.get_routing_client().incr(wrong)
    assert not caught.value.sent


def test_what_a_site_raises_to_log_in_fails_its_own_host(make_cluster: Make, start: Start) -> None:
    class Vault(redis.CredentialProvider):
        def get_credentials(self) -> Any:
            raise KeyError("the vault is shut")

    good = start(lambda words: b":7\r\n")
    hosts = {
        0: {"host": "127.0.0.1", "port": good.port},
        1: {"host": "127.0.0.1", "port": good.port, "db": 1},
    }
    cluster = make_cluster(hosts, pool_options={"credential_provider": Vault()})
    keys = keys_on(cluster, 0, 1) + keys_on(cluster, 1, 1)
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.incr(key) for key in keys]
    with pytest.raises(HostConnectionError, match="the vault is shut"):
        client.join()
    assert all(isinstance(promise.reason, HostConnectionError) for promise in promises)


def test_replies_before_garbage_count(make_cluster: Make, start: Start, reader: str) -> None:
    answers = [b":1\r\n", b":2\r\n", b"?\r\n", b""]
    server = start(lambda words: answers.pop(0))
    cluster = make_cluster({0: server.host})
    client = cluster.get_routing_client().get_mapping_client()
    promises = [client.incr("a") for _ in range(4)]
    with pytest.raises(HostConnectionError, match="host 0"):
        client.join()
    assert [promise.value for promise in promises] == [1, 2, None, None]


REDIS_PY = int(redis.__version__.partition(".")[0])

PUSH = b">2\r\n+invalidate\r\n*1\r\n$5\r\n:9\r\n+\r\n"


@pytest.mark.parametrize("cut", range(len(PUSH) + 1))
def test_a_push_that_is_cut_never_becomes_a_value(
    make_cluster: Make, start: Start, reader: str, cut: int
) -> None:
    """The reply and the beginning of a message arrive together, the rest of the message when it likes."""
    numbers = iter(range(1, 100))

    def answer(words: list[bytes]) -> bytes:
        return b":%d\r\n%b<pause>%b" % (next(numbers), PUSH[:cut], PUSH[cut:])

    server = start(answer)
    cluster = make_cluster({0: server.host}, pool_options={"protocol": 3})
    client = cluster.get_routing_client()
    for expected in range(1, 10, 3):
        for number in (expected, expected + 1):
            with cluster.map() as mapping:
                promise = mapping.incr("a")
            assert promise.value == number
        # Older ones take a message for the reply to a single command.
        number = client.incr("a") if REDIS_PY >= 8 else next(numbers)
        assert number == expected + 2


def test_a_push_among_replies_hurts_nobody(make_cluster: Make, start: Start, reader: str) -> None:
    server = start(lambda words: PUSH + b":1\r\n" + PUSH)
    cluster = make_cluster({0: server.host}, pool_options={"protocol": 3})
    with cluster.map() as client:
        promises = [client.incr("a") for _ in range(5)]
    assert [promise.value for promise in promises] == [1] * 5
