"""Keys of one writer, and whether what comes back for them can be right."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Counter", "Findings", "Loss", "Text", "check_foreign"]


class Loss(NamedTuple):
    """Acknowledged writes that are gone.

    Attributes:
        shard: where.
        acknowledged, seen: when the last of them was acknowledged, and when it was missing.
        number: how many.
        about: the key, and the values.
    """

    shard: int
    acknowledged: float
    seen: float
    number: int
    about: str


@dataclass
class Findings:
    """What a client has found to be wrong.

    Attributes:
        wrong: values that are not of their key, or that nobody can have written before.
        doubles: INCRs that ran more often than they were sent.
        losses: acknowledged writes that are gone.
    """

    wrong: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)


class Text:
    """A key whose values say the key, the writer, and the number of the write.

    Arguments:
        key: the key.
        shard: its shard.
        writer: the only one who writes it.
        findings: where to note what is wrong.
    """

    def __init__(self, key: str, shard: int, writer: int, findings: Findings) -> None:
        self.key = key
        self.shard = shard
        self._writer = writer
        self._findings = findings
        self._issued = self._least = 0
        self._at = 0.0
        # Writes without an acknowledgement: they may still take effect, also after later ones.
        self._open: set[int] = set()

    def issue(self) -> tuple[int, str]:
        """Return the number and the value of the next write."""
        self._issued += 1
        return self._issued, f"{self.key}|{self._writer}|{self._issued}"

    def note_written(self, number: int, error: BaseException | None) -> None:
        """Note that a write was acknowledged, or has failed."""
        if error is not None:
            self._open.add(number)
        else:
            self._least, self._at = number, time.monotonic()

    @property
    def mark(self) -> int:
        """The number of writes so far, for the check of a read that is sent now."""
        return self._issued

    def check(self, value: bytes | None, issued: int | None = None) -> None:
        """Check a value that was read.

        Arguments:
            value: the value.
            issued: `mark` when the read was sent; None: now.
        """
        key, writer, number = _parse(value)
        latest = self._issued if issued is None else issued
        if (value is not None and (key, writer) != (self.key, self._writer)) or number > latest:
            self._findings.wrong.append(f"{self.key}: {value!r}, written until then: {latest}")
        elif number < self._least and number not in self._open:
            gone, at = self._least - number, self._at
            about = f"{self.key}: {number}, acknowledged: {self._least}"
            self._findings.losses.append(Loss(self.shard, at, time.monotonic(), gone, about))
            self._least = number


class Counter:
    """A key that one writer increments.

    Arguments: see `Text`.
    """

    def __init__(self, key: str, shard: int, findings: Findings) -> None:
        self.key = key
        self.shard = shard
        self._findings = findings
        self._last = self._open = 0
        self._at = 0.0

    def note(self, value: int | None) -> None:
        """Note the reply to an INCR; None: it has failed, and may have run."""
        if value is None:
            self._open += 1
            return
        unknown = value - self._last - 1
        if unknown > self._open:
            about = f"{self.key}: {value} after {self._last}, {self._open} failed in between"
            self._findings.doubles.append(about)
        elif unknown < 0:
            about = f"{self.key}: {value} after {self._last}"
            self._findings.losses.append(Loss(self.shard, self._at, time.monotonic(), -unknown, about))
        if unknown > 0:
            self._open = max(0, self._open - unknown)
        self._last, self._at = value, time.monotonic()


def check_foreign(key: str, value: bytes | None, findings: Findings) -> None:
    """Check a value of a key that another writer has."""
    if value is not None and _parse(value)[0] != key:
        findings.wrong.append(f"{key}: {value!r}")


def _parse(value: bytes | None) -> tuple[str, int, int]:
    if value is None:
        return "", -1, 0
    try:
        key, writer, number = value.decode().split("|")
        return key, int(writer), int(number)
    except ValueError:
        return "", -1, 0
