"""The keys of commands: which they have, and which commands nobody may send on shared connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pindb.redis.core.commands import COMMANDS, MOVABLE, Keys
from pindb.redis.core.names import read_word
from pindb.redis.exceptions import UnroutableCommand

__all__ = ["FAN_OUT", "KEY_FIRST", "check_command", "empties", "find_keys", "is_keyless"]

FAN_OUT = (
    "send it to hosts that you name, with cluster.fanout(hosts=[...]) or cluster.get_local_client(host_id), "
    "or cluster[host_id] of one that create_cluster() made"
)


#: What changes the connection that it runs on. Connections go back to a pool, so no client here sends it.
PER_CONNECTION = frozenset(
    {
        *("ASKING", "AUTH", "HELLO", "QUIT", "READONLY", "READWRITE", "RESET", "SELECT"),
        *("MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "MONITOR", "SYNC", "PSYNC"),
        *("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"),
        *("CLIENT CACHING", "CLIENT NO-EVICT", "CLIENT NO-TOUCH", "CLIENT REPLY", "CLIENT SETNAME"),
        *("CLIENT SETINFO", "CLIENT TRACKING", "SCRIPT DEBUG"),
    }
)


#: The commands of one word that have their keys in fixed places.
ROUTABLE: dict[Any, Keys] = {
    name: places
    for name, places in COMMANDS.items()
    if " " not in name and places is not MOVABLE and places[0] and name not in PER_CONNECTION
}

#: The commands whose second argument says how many keys follow it.
COUNTED = frozenset({"EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"})

#: Those of the routable that have one key, and have it first.
KEY_FIRST = frozenset(name for name, places in ROUTABLE.items() if places == (1, 1, 1))


def find_keys(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """The full name of a command, and its keys.

    Raises:
        UnroutableCommand: it is not known, has no key, or the places of its keys depend on its arguments.
    """
    places = ROUTABLE.get(command) if type(command) is str else None
    if places is None:
        command, args, places = _full_name(command, args)
        if places is MOVABLE:
            return command, args[2 : 2 + _count(args)]
    first, last, step = places
    # Places count from 1, the name being at 0; a command's name may be more than one word.
    if last == first:
        return command, args[first - 1 : first]
    end = len(args) + last + 1 if last < 0 else last
    return command, args[first - 1 : end : step]


def check_command(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """The name of a command as the table has it, and the words that follow the first one of it.

    Raises:
        UnroutableCommand: it changes the connection that it runs on, which others share.
    """
    words = read_word(command).upper().split()
    # Subcommands are words of their own on the wire, and count.
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


def _full_name(command: Any, args: Sequence[Any]) -> tuple[str, Sequence[Any], tuple[int, int, int]]:
    """The command as the table has it, with its places and the arguments that they count."""
    name, args = check_command(command, args)
    places = COMMANDS.get(name)
    if places is None:
        raise UnroutableCommand(
            f"{name or repr(command)} is not a command that pindb knows, so nothing says which host has its "
            f"key: {FAN_OUT}."
        )
    if places is MOVABLE and name not in COUNTED:
        raise UnroutableCommand(
            f"The keys of {name} are in places that depend on its arguments, so it is not routed: "
            f"{FAN_OUT}, or with cluster.get_local_client_for_key(key)."
        )
    if not places[0] or (places is MOVABLE and not _count(args)):
        raise UnroutableCommand(f"{name} has no key, so it belongs to no host: {FAN_OUT}.")
    return name, args, places


def _count(args: Sequence[Any]) -> int:
    """How many keys a command has, of those that are `COUNTED`."""
    try:
        return max(int(args[1]), 0)
    except (IndexError, TypeError, ValueError):
        return 0


def empties(command: Any) -> bool:
    """Whether a command, or a call of a method, empties a server or a database, by its name."""
    return read_word(command).upper().partition(" ")[0] in ("FLUSHDB", "FLUSHALL", "FLUSH_ALL")


def is_keyless(command: Any, args: Sequence[Any]) -> bool:
    """Whether a command, which is known, has no key at all, so that it means something on every host.

    Raises:
        UnroutableCommand: it changes the connection that it runs on.
    """
    if type(command) is str and command in ROUTABLE:
        return False
    places = COMMANDS.get(check_command(command, args)[0])
    return places is not None and not places[0]
