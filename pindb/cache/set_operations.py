"""Set operations on several keys, which may be on different servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django_redis.client import DefaultClient
from redis.exceptions import RedisError

from pindb.cache.misses import UNREACHABLE
from pindb.cache.shards import Shards

__all__ = ["SetOperations"]

Combine = Callable[..., "set[Any]"]

#: Replaces a set atomically. Adds members in chunks, because Lua's unpack() takes only some thousands of
#: values.
REPLACE = """
redis.call('DEL', KEYS[1])
for i = 1, #ARGV, 1000 do
    redis.call('SADD', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
return #ARGV
"""


class SetOperations(DefaultClient):  # type: ignore[misc]
    """django-redis's methods for several sets, on any servers.

    If all keys are on one server, that server runs the operation atomically: give the keys the same
    ``{hash tag}``, and the cache ``HASH_TAGS``. Otherwise the members are fetched and combined in Python, and
    `smove` removes and adds in two steps, neither of which is atomic.
    """

    shards: Shards

    def sdiff(self, *keys: Any, version: int | None = None, client: Any = None) -> set[Any]:
        """Return the members of the first set that are in none of the others."""
        return self._decoded(self._combine("SDIFF", set.difference, self._names(keys, version)))

    def sinter(self, *keys: Any, version: int | None = None, client: Any = None) -> set[Any]:
        """Return the members that all sets have."""
        return self._decoded(self._combine("SINTER", set.intersection, self._names(keys, version)))

    def sunion(self, *keys: Any, version: int | None = None, client: Any = None) -> set[Any]:
        """Return the members of all sets together."""
        return self._decoded(self._combine("SUNION", set.union, self._names(keys, version)))

    def sdiffstore(
        self,
        dest: Any,
        *keys: Any,
        version_dest: int | None = None,
        version_keys: int | None = None,
        client: Any = None,
    ) -> int:
        """Store the result of `sdiff` at another key, and return the number of its members."""
        names = self._names(keys, version_keys)
        return self._store("SDIFFSTORE", set.difference, self.make_key(dest, version_dest), names)

    def sinterstore(self, dest: Any, *keys: Any, version: int | None = None, client: Any = None) -> int:
        """Store the result of `sinter` at another key, and return the number of its members."""
        names = self._names(keys, version)
        return self._store("SINTERSTORE", set.intersection, self.make_key(dest, version), names)

    def sunionstore(
        self, destination: Any, *keys: Any, version: int | None = None, client: Any = None
    ) -> int:
        """Store the result of `sunion` at another key, and return the number of its members."""
        names = self._names(keys, version)
        return self._store("SUNIONSTORE", set.union, self.make_key(destination, version), names)

    def smove(
        self, source: Any, destination: Any, member: Any, version: int | None = None, client: Any = None
    ) -> bool:
        """Move a member from one set to another. Return False if the source does not have it."""
        names = self._names((source, destination), version)
        stored = self.encode(member)
        moved = self._on_one_server("SMOVE", names, stored)
        if moved is not None:
            return bool(moved)
        if not self.shards.client.srem(names[0], stored):
            return False
        try:
            self.shards.client.sadd(names[1], stored)
        except BaseException:
            self.shards.client.sadd(names[0], stored)
            raise
        return True

    def _decoded(self, members: set[Any]) -> set[Any]:
        return {self.decode(member) for member in members}

    def _on_one_server(self, command: str, names: Sequence[Any], *words: Any) -> Any:
        """Return the reply of the server that has all keys; None if they are on several servers."""
        router = self.shards.cluster.get_router()
        server = router.find_common_host(names)
        if server is None:
            return None
        if not router.merges:
            return self.shards.client.execute_command(command, *names, *words)
        try:
            return self.shards.send_to({server: (command, *names, *words)}).get(server)
        except UNREACHABLE:
            if self.shards.on_down != "rehash":
                raise
            # With "rehash", the keys of a server that is down are spread over several others.
            return None

    def _combine(self, command: str, combine: Combine, names: Sequence[Any]) -> set[Any]:
        members = self._on_one_server(command, names)
        if members is not None:
            return set(members)
        batch = self.shards.client.get_mapping_client(max_concurrency=None)
        for name in names:
            batch.smembers(name)
        first, *others = map(self._set_or_nothing, batch.execute(raise_on_error=False))
        return combine(first, *others)

    def _set_or_nothing(self, members: Any) -> set[Any]:
        if isinstance(members, RedisError):
            self.shards.handle_failure(members, "SMEMBERS")
            return set()
        return set(members)

    def _store(self, command: str, combine: Combine, target: Any, names: Sequence[Any]) -> int:
        stored = self._on_one_server(command, [target, *names])
        if stored is not None:
            return int(stored)
        members = self._combine(command.removesuffix("STORE"), combine, names)
        return int(self.shards.client.eval(REPLACE, 1, target, *members) or 0)
