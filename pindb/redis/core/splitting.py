"""Commands with many keys: split by host, and their replies merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.exceptions import DataError, InvalidResponse, RedisError

from pindb.redis.core.names import read_word
from pindb.redis.core.packing import Packer

__all__ = [
    "LONGEST",
    "Part",
    "can_split",
    "check_length",
    "check_reply",
    "check_words",
    "group",
    "merge_replies",
    "split",
]

#: Commands that can be split, with the number of arguments for each key.
SPLITTABLE = {"MGET": 1, "MSET": 2, "DEL": 1, "UNLINK": 1, "EXISTS": 1, "TOUCH": 1}


def can_split(command: Any) -> bool:
    """Return whether a command can be split, by its name."""
    return (command if type(command) is str else read_word(command)).upper() in SPLITTABLE


#: The types that every encoder takes (text only if it is in the encoding).
SENDABLE = frozenset({str, bytes, int, float})

#: The most keys of one command: a server does nothing else while it runs a command.
LONGEST = 1000


class KeyRouter(Protocol):
    """The part of a router that says which host has each key."""

    goes_by_command: bool

    def group_keys(self, keys: Sequence[Any]) -> Mapping[int, list[int]]: ...

    def group_commands(self, command: Any, args: Sequence[Sequence[Any]]) -> Mapping[int, list[int]]: ...


def group(
    router: KeyRouter, name: str, keys: list[Any], arguments: Iterable[tuple[Any, ...]]
) -> Mapping[int, list[int]]:
    """Return the places of the keys by host.

    Arguments:
        router: says which host has each key.
        name: the name of the commands of which each has one of the keys.
        keys: the keys.
        arguments: the arguments of each command.
    """
    if router.goes_by_command:
        return router.group_commands(name, list(arguments))
    return router.group_keys(keys)


@dataclass(frozen=True)
class Part:
    """A part of a command, for one host; a host may get several.

    Attributes:
        host_id: the host.
        words: the arguments.
        places: the places of their keys among the command's keys.
    """

    host_id: int
    words: list[Any]
    places: list[int]


def check_length(name: str, args: Sequence[Any]) -> int:
    """Return the number of arguments for each key.

    Raises:
        redis.DataError: there are no arguments, or a key of MSET has no value.
    """
    width = SPLITTABLE[name]
    if not args or len(args) % width:
        raise DataError(f"{name} takes keys{' and values' if width == 2 else ''}, not {len(args)} arguments.")
    return width


def split(router: KeyRouter, name: str, args: Sequence[Any]) -> list[Part]:
    """Split a command by host.

    Arguments:
        router: says which host has each key.
        name: one of `SPLITTABLE`.
        args: its arguments.

    Raises:
        redis.DataError: there are no arguments, or a key of MSET has no value.
    """
    width = check_length(name, args)
    groups = group(
        router, name, list(args[::width]), zip(*(args[i::width] for i in range(width)), strict=True)
    )
    parts = []
    for host_id, all_places in groups.items():
        for start in range(0, len(all_places), LONGEST):
            places = all_places[start : start + LONGEST]
            if width == 1:
                words = [args[place] for place in places]
            else:
                words = [word for place in places for word in args[2 * place : 2 * place + 2]]
            parts.append(Part(host_id, words, places))
    return parts


def check_reply(name: str, number: int, reply: Any) -> InvalidResponse | None:
    """Return an error if the reply is one that a command of so many keys cannot have, or else None."""
    is_list = isinstance(reply, list)
    if name == "MSET" or (is_list and len(reply) == number if name == "MGET" else type(reply) is int):
        return None
    what = f"a list of {len(reply)}" if is_list else f"{type(reply).__name__}"
    return InvalidResponse(
        f"A command of {number} keys was answered with {what}. Is there something between pindb and the "
        "server?"
    )


def check_words(name: str, args: Sequence[Any], encoder: Any) -> None:
    """Refuse words that cannot be sent, before any host gets its part.

    Arguments:
        name: one of `SPLITTABLE`.
        args: its arguments.
        encoder: redis-py's encoder of the connections.

    Raises:
        redis.DataError: a word has a type that cannot be sent, or is not in the encoding; names the key.
    """
    # Routers have encoded the keys, so only values may fail.
    is_encodable = name != "MSET" or all(word.isascii() for word in args if isinstance(word, str))
    others = set(map(type, args)) - SENDABLE
    if is_encodable and all(issubclass(kind, (str, bytes)) for kind in others):
        return
    pack, width = Packer(encoder), SPLITTABLE[name]
    for place, word in enumerate(args):
        try:
            pack((word,))
        except (RedisError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{name} {args[place - place % width]!r:.60}: {error}") from error


def merge_replies(name: str, parts: Sequence[Part], replies: Sequence[Any]) -> Any:
    """Return the reply of the whole command: values in order, True, or a sum.

    Raises:
        redis.InvalidResponse: a reply is one that the command cannot have.
    """
    for part, reply in zip(parts, replies, strict=True):
        error = check_reply(name, len(part.places), reply)
        if error is not None:
            raise InvalidResponse(f"{name} on host {part.host_id}: {error}")
    if name == "MGET":
        values: list[Any] = [None] * sum(len(part.places) for part in parts)
        for part, reply in zip(parts, replies, strict=True):
            for place, value in zip(part.places, reply, strict=True):
                values[place] = value
        return values
    return all(replies) if name == "MSET" else sum(replies)
