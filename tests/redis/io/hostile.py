"""A proxy that harms connections at exactly one byte; run as a program, it does so in a process of its own.

It imports nothing of the project. `tests.redis.tools.Proxy` lives in the process of the tests, and changes
what passes as Python functions say. This one knows some faults by name, has one for each of its ports, and
takes no turns with the code that is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any, NamedTuple

#: How long ``delay`` takes, and each byte of ``drip``, in seconds.
DELAY = 0.05
DRIP = 0.1

#: Faults of connections, at a byte.
AT_A_BYTE = ("cut", "reset", "shut", "stop", "delay", "drip", "garbage")
#: Faults of the address: it refuses connections; it lets nobody in; it lets in and is silent.
AT_THE_DOOR = ("refuse", "deaf", "silent")


class Fault(NamedTuple):
    """What goes wrong.

    Attributes:
        kind: one of these, as soon as so many bytes have passed:

            - ``cut``: both sides are closed; ``reset``: by RST.
            - ``shut``: no more is sent in this direction; the other one stays open.
            - ``stop``: nothing passes in this direction.
            - ``delay``: what comes next waits for `DELAY` seconds.
            - ``drip``: from here on, one byte every `DRIP` seconds.
            - ``garbage``: `garbage` is sent, and then what `then` says.

            or one of the address: ``refuse``, ``deaf``, ``silent``.
        back: the direction: from the server to the client.
        at: after how many bytes, from the connection's first.
        connections: how many connections have it, from the first on.
        garbage: the garbage.
        then: ``stop``, ``cut`` or ``pass``.
    """

    kind: str
    back: bool = True
    at: int = 0
    connections: int = 1
    garbage: str = ""
    then: str = "stop"


class HostileProxy:
    """Ports of 127.0.0.1, each with a server's Unix socket behind it and a fault. Safe under threads."""

    def __enter__(self) -> HostileProxy:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # The end of its input is its end.
        self._process.communicate(timeout=10)

    def open(self, path: str, fault: Fault | None = None) -> int:
        """A new port for the server at `path`."""
        return self._ask(["open", path, fault])  # type: ignore[no-any-return]

    def heal(self, port: int) -> None:
        """From now on, everything passes; what was stopped goes on."""
        self._ask(["heal", port])

    def passed(self, port: int) -> list[tuple[int, int]]:
        """For each connection of a port, how many bytes came from the client and from the server."""
        return [tuple(pair) for pair in self._ask(["passed", port])]

    def close(self, port: int) -> None:
        """Close a port and its connections."""
        self._ask(["close", port])

    def _ask(self, request: Any) -> Any:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


# ---- the program ---------------------------------------------------------------------------------


class _Port:
    """One port."""

    def __init__(self, path: str, fault: Fault | None) -> None:
        self.path = path
        self.fault = fault
        self.healed = asyncio.Event()
        self.passed: list[list[int]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.waiting: list[socket.socket] = []
        self.server: asyncio.Server | None = None
        # asyncio sends at once, and does not wait for more to send, where it knows that this is TCP.
        self.sock = socket.socket(proto=socket.IPPROTO_TCP)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Bound and not listening, it refuses, and nobody else takes the port.
        self.sock.bind(("127.0.0.1", 0))
        self.port: int = self.sock.getsockname()[1]

    async def open(self) -> None:
        kind = self.fault.kind if self.fault is not None else ""
        if kind == "deaf":
            # Once its queue is full, the system drops who knocks.
            self.sock.listen(0)
            for _ in range(4):
                knocking = socket.socket()
                knocking.setblocking(False)
                knocking.connect_ex(("127.0.0.1", self.port))
                self.waiting.append(knocking)
        elif kind != "refuse":
            await self.listen()

    async def listen(self) -> None:
        self.server = await asyncio.start_server(self.accepted, sock=self.sock)

    async def heal(self) -> None:
        self.healed.set()
        for knocking in self.waiting:
            knocking.close()
        if self.server is None:
            await self.listen()

    async def close(self) -> None:
        if self.server is not None:
            self.server.close()
        else:
            self.sock.close()
        for knocking in self.waiting:
            knocking.close()
        for writer in self.writers:
            writer.transport.abort()
        for task in self.tasks:
            task.cancel()

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.fault
        passed = [0, 0]
        self.passed.append(passed)
        if fault is not None and (len(self.passed) > fault.connections or self.healed.is_set()):
            fault = None
        self.writers.append(writer)
        if fault is not None and fault.kind == "silent":
            await self.healed.wait()
        try:
            to_server = await asyncio.open_unix_connection(self.path)
        except OSError:
            writer.transport.abort()
            return
        self.writers.append(to_server[1])
        for back, source, target, other in (
            (False, reader, to_server[1], writer),
            (True, to_server[0], writer, to_server[1]),
        ):
            mine = fault if fault is not None and fault.kind in AT_A_BYTE and fault.back is back else None
            task = asyncio.create_task(self.pump(source, target, other, mine, passed, back))
            self.tasks.add(task)

    async def pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
        fault: Fault | None,
        passed: list[int],
        back: bool,
    ) -> None:
        with contextlib.suppress(OSError):
            dripping = False
            while True:
                if fault is not None and passed[back] >= fault.at and not self.healed.is_set():
                    if not await self.harm(fault, target, other):
                        return
                    dripping = fault.kind == "drip"
                    fault = None
                limit = 1 << 16 if fault is None or self.healed.is_set() else fault.at - passed[back]
                data = await source.read(1 if dripping and not self.healed.is_set() else limit)
                if not data:
                    break
                passed[back] += len(data)
                target.write(data)
                await target.drain()
                if dripping:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self.healed.wait(), DRIP)
        for writer in (target, other):
            writer.close()

    async def harm(self, fault: Fault, target: asyncio.StreamWriter, other: asyncio.StreamWriter) -> bool:
        """Do harm; False where that was the end of this direction."""
        kind = fault.kind
        if kind == "garbage":
            target.write(fault.garbage.encode("latin-1"))
            kind = fault.then
        if kind == "shut":
            target.write_eof()
            return False
        if kind in ("cut", "reset"):
            for writer in (target, other):
                if kind == "reset":
                    sock = writer.get_extra_info("socket")
                    if sock.family != socket.AF_UNIX:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                else:
                    writer.close()
            return False
        if kind == "stop":
            await self.healed.wait()
        elif kind == "delay":
            await asyncio.sleep(DELAY)
        return True


async def _serve() -> None:
    ports: dict[int, _Port] = {}
    loop = asyncio.get_running_loop()
    requests = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    while line := await requests.readline():
        what, first, *rest = json.loads(line)
        answer: Any = None
        if what == "open":
            port = _Port(first, None if rest[0] is None else Fault(*rest[0]))
            await port.open()
            ports[port.port] = port
            answer = port.port
        elif what == "heal":
            await ports[first].heal()
        elif what == "passed":
            answer = ports[first].passed
        else:
            await ports.pop(first).close()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve())
