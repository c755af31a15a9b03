"""The keys of commands, and the commands that must not run on shared connections."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pindb.redis.core.commands import COMMANDS, MOVABLE, Keys
from pindb.redis.core.names import read_word
from pindb.redis.exceptions import UnroutableCommand

__all__ = ["FAN_OUT", "KEY_FIRST", "check_command", "empties", "find_keys", "is_keyless"]

FAN_OUT = (
    "send it to hosts that you name, with cluster.fanout(hosts=[...]) or cluster.get_local_client(host_id), "
    "or cluster[host_id] of one that create_cluster() made"
)


#: Commands that change the connection on which they run. Connections are shared, so no client sends these.
PER_CONNECTION = frozenset(
    {
        *("ASKING", "AUTH", "HELLO", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT"),
        *("MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "MONITOR", "SYNC", "PSYNC"),
        *("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"),
        *("CLIENT CACHING", "CLIENT NO-EVICT", "CLIENT NO-TOUCH", "CLIENT REPLY", "CLIENT SETNAME"),
        *("CLIENT SETINFO", "CLIENT TRACKING", "SCRIPT DEBUG"),
    }
)


#: The commands of one word whose keys are in fixed places.
ROUTABLE: dict[Any, Keys] = {
    name: places
    for name, places in COMMANDS.items()
    if " " not in name and places is not MOVABLE and places[0] and name not in PER_CONNECTION
}

#: The commands whose second argument says how many keys follow it.
COUNTED = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"})

#: The routable commands whose only key is the first argument.
KEY_FIRST = frozenset(name for name, places in ROUTABLE.items() if places == (1, 1, 1))


def find_keys(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """Return the full name of a command, and its keys.

    Raises:
        UnroutableCommand: the command is unknown, has no key, or the places of its keys depend on its
            arguments.
    """
    places = ROUTABLE.get(command) if type(command) is str else None
    if places is None:
        name, args = check_command(command, args)
        places = COMMANDS.get(name)
        if places is None:
            raise UnroutableCommand(
                f"{name or repr(command)} is not a command that pindb knows, so nothing says which host has "
                f"its key: {FAN_OUT}."
            )
        command = name
        if places is MOVABLE:
            if name not in COUNTED:
                raise UnroutableCommand(
                    f"The keys of {name} are in places that depend on its arguments, so it is not routed: "
                    f"{FAN_OUT}, or with cluster.get_local_client_for_key(key)."
                )
            with suppress(IndexError, TypeError, ValueError):
                number = int(args[1])
                if number > 0:
                    return name, args[2 : 2 + number]
        if places is MOVABLE or not places[0]:
            raise UnroutableCommand(f"{name} has no key, so it belongs to no host: {FAN_OUT}.")
    first, last, step = places
    # Places count from 1, since the name is at 0; a name may be more than one word.
    if last == first:
        return command, args[first - 1 : first]
    end = len(args) + last + 1 if last < 0 else last
    return command, args[first - 1 : end : step]


def check_command(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """Return a command's name as in the table, and the words after the first one.

    Raises:
        UnroutableCommand: the command changes its connection, which is shared.
    """
    words = read_word(command).upper().split()
    # On the wire, a subcommand is a word of its own.
    args = [*words[1:], *args]
    name = words[0] if words else ""
    if args:
        full_name = f"{name} {read_word(args[0]).upper()}"
        if full_name in COMMANDS:
            name = full_name
    if name in PER_CONNECTION:
        raise UnroutableCommand(
            f"{name} changes the connection that it runs on, and those are shared: hold one of your own "
            "(client(), pipeline() or pubsub() of cluster.get_local_client(host_id)), or set pool_options of "
            "the cluster, for all connections."
        )
    return name, args


def empties(command: Any) -> bool:
    """Return whether a command, or a client's method of that name, empties a server or a database."""
    return read_word(command).upper().partition(" ")[0] in ("FLUSHDB", "FLUSHALL", "FLUSH_ALL")


def is_keyless(command: Any, args: Sequence[Any]) -> bool:
    """Return whether a known command has no key at all, so that every host can run it.

    Raises:
        UnroutableCommand: the command changes its connection, which is shared.
    """
    if type(command) is str and command in ROUTABLE:
        return False
    places = COMMANDS.get(check_command(command, args)[0])
    return places is not None and not places[0]
