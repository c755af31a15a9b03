"""Client class for django-redis that spreads keys over many servers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from numbers import Real
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, default_key_func
from django.core.exceptions import ImproperlyConfigured
from django_redis.exceptions import CompressorError, ConnectionInterrupted
from django_redis.util import CacheKey
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb import _events as events
from pindb.cache.delete_pattern import delete_matching
from pindb.cache.options import CONNECTION_OPTIONS, load_option
from pindb.cache.set_operations import SetOperations
from pindb.cache.shards import Shards, get_shards
from pindb.redis import MappingClient, Promise, UnroutableCommand

__all__ = ["ShardedClient"]


#: The limit of timeouts, in seconds: the server adds the time of day, in fewer than 64 bits.
MAX_TIMEOUT = 2**52

#: Errors that are raised as `ConnectionInterrupted`, which ``IGNORE_EXCEPTIONS`` ignores.
INTERRUPTIONS = (RedisConnectionError, RedisTimeoutError, ResponseError, OSError)


class ShardedClient(SetOperations):
    """Cache client whose keys are spread over Redis servers by a router of `pindb.redis`.

    It is django-redis's own client on top of a client that sends each command to the server of its key, so
    every feature of django-redis works on many servers. Threads share the connections, which are also safe in
    forked processes.

    Arguments:
        server: the cache's ``LOCATION``: URLs of Redis servers, or the name of a cluster in
            ``PINDB_CLUSTERS``.
        params: the cache's other settings; pindb reads these ``OPTIONS``: ``ROUTER``, ``ROUTER_OPTIONS``,
            ``HASH_TAGS``, ``ON_DOWN`` and ``RETRY_TIMEOUT``.
        backend: the cache.

    Attributes:
        shards: the servers.

    Raises:
        ImproperlyConfigured: a setting is invalid; the message lists the allowed values.
    """

    def __init__(self, server: Any, params: dict[str, Any], backend: Any) -> None:
        options = params.get("OPTIONS") or {}
        self.shards: Shards = get_shards(server, options)
        for name in ("SERIALIZER", "COMPRESSOR"):
            if not isinstance(options.get(name, ""), str):
                raise ImproperlyConfigured(
                    f"The cache's {name} is a {type(options[name]).__name__}. Write a dotted path."
                )
            load_option(options, name)
        self.cluster = self.shards.cluster
        # django-redis sees one server without replicas; `connect` returns the client of all servers.
        remaining = {name: value for name, value in options.items() if name not in CONNECTION_OPTIONS}
        remaining["REPLICA_READ_ONLY"] = True
        super().__init__(["pindb"], {**params, "OPTIONS": remaining}, backend)
        compresses = self._has_compression_enabled()
        self._loads = self._decompress_and_load if compresses else self._serializer.loads
        self._dumps = self._dump_and_compress if compresses else self._serializer.dumps

    # ---- the client ----------------------------------------------------------------------------

    def get_next_client_index(self, write: bool = True, tried: Any = None) -> int:
        return 0

    def connect(self, index: int = 0) -> Any:
        return self.shards.client

    def disconnect(self, index: int = 0, client: Any = None) -> None:
        # Other threads share the pools, and may be using their connections.
        self.cluster.disconnect_pools(idle_only=True)

    def do_close_clients(self) -> None:
        self.disconnect()

    # ---- one key -------------------------------------------------------------------------------

    def get(self, key: Any, default: Any = None, version: int | None = None, client: Any = None) -> Any:
        """Return the value of a key, or `default` if there is none."""
        try:
            value = (self.shards.client if client is None else client).get(self._name(key, version))
        except INTERRUPTIONS as error:
            raise ConnectionInterrupted(connection=None) from error
        return default if value is None else self.decode(value)

    def set(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        client: Any = None,
        nx: bool = False,
        xx: bool = False,
    ) -> Any:
        """Set a key for `timeout` seconds; see django-redis's method."""
        milliseconds = self._milliseconds(timeout)
        if client is not None or nx or xx:
            return super().set(key, value, timeout, version, client, nx, xx)
        if milliseconds is not None and milliseconds <= 0:
            return bool(self.delete(key, version=version))
        name, stored = self._name(key, version), self.encode(value)
        words = () if milliseconds is None else ("PX", milliseconds)
        try:
            return bool(self.shards.client.execute_command("SET", name, stored, *words))
        except INTERRUPTIONS as error:
            raise ConnectionInterrupted(connection=None) from error

    def touch(
        self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None, client: Any = None
    ) -> bool:
        """Let a key expire `timeout` seconds from now. Return False if there is no such key."""
        self._milliseconds(timeout)
        return bool(super().touch(key, timeout, version, client))

    def _name(self, key: Any, version: int | None) -> str:
        """Return the name of a key on the server, as a plain `str`: hashed faster than a `CacheKey`."""
        if type(key) is CacheKey:
            return str(key)
        backend = self._backend
        name: str = backend.key_func(key, backend.key_prefix, backend.version if version is None else version)
        return name

    def _names(self, keys: Iterable[Any], version: int | None) -> list[str]:
        """Return the `_name` of each key."""
        backend = self._backend
        if backend.key_func is not default_key_func:
            return [self._name(key, version) for key in keys]
        start = f"{backend.key_prefix}:{backend.version if version is None else version}:"
        return [f"{start}{key}" if type(key) is not CacheKey else str(key) for key in keys]

    def _milliseconds(self, timeout: Any) -> int | None:
        if timeout is DEFAULT_TIMEOUT:
            timeout = self._backend.default_timeout
        if timeout is None:
            return None
        is_number = isinstance(timeout, (int, float, Decimal, Real))
        if not is_number:
            # A str would be repeated 1,000 times below.
            raise TypeError(f"timeout is {timeout!r:.60}. Write a number of seconds, or None for no expiry.")
        if not -MAX_TIMEOUT < timeout < MAX_TIMEOUT:
            raise ValueError(f"timeout is {timeout!r}. Write seconds, or None for no expiry.")
        return int(timeout * 1000)

    def encode(self, value: Any, *, allow_int: bool = True) -> Any:
        """Serialize a value. Integers are stored as they are, so that INCR works."""
        kind = type(value)
        if kind is int and allow_int:
            return value
        # Subclasses of int, such as bool and IntEnum, are left to django-redis.
        return super().encode(value, allow_int=allow_int) if issubclass(kind, int) else self._dumps(value)

    def decode(self, value: Any) -> Any:
        """Deserialize a stored value."""
        # Pickles begin with this byte, numbers do not. Trying int() first takes longer than loading a short
        # pickle.
        if type(value) is bytes and value[:1] == b"\x80":
            return self._loads(value)
        return super().decode(value)

    def _dump_and_compress(self, value: Any) -> Any:
        return self._compressor.compress(self._serializer.dumps(value))

    def _decompress_and_load(self, value: bytes) -> Any:
        # Compressors leave short values uncompressed.
        with suppress(CompressorError):
            value = self._compressor.decompress(value)
        return self._serializer.loads(value)

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None, client: Any = None) -> int:
        """Move a value to another version of its key, with its remaining time to live.

        Raises:
            ValueError: there is no such key.
        """
        if version is None:
            version = self._backend.version
        old, new = self.make_key(key, version), self.make_key(key, version + delta)
        batch = self._batch()
        batch.get(old)
        batch.pttl(old)
        value, left = batch.execute(raise_on_error=False)
        for error in (value, left):
            if isinstance(error, RedisError):
                self.shards.handle_failure(error, "GET")
                value = None
                break
        if value is None:
            raise ValueError(f"Key {key!r} not found")
        words = ("PX", left) if left > 0 else ()
        self.shards.client.execute_command("SET", new, value, *words)
        self.shards.client.delete(old)
        return version + delta

    # ---- many keys -----------------------------------------------------------------------------

    def get_many(self, keys: Iterable[Any], version: int | None = None, client: Any = None) -> dict[Any, Any]:
        """Return the values of the keys that exist: one command per server, to all servers at once."""
        keys = list(dict.fromkeys(keys))
        batch = self._batch()
        batch.get_many(self._names(keys, version))
        values = batch.execute(raise_on_error=False)
        decode, found = self.decode, {}
        for key, value in zip(keys, values, strict=True):
            if value is None:
                continue
            if not isinstance(value, RedisError):
                found[key] = decode(value)
            # MGET returns None for a key of another type. A server's only key is read by GET, which raises
            # WRONGTYPE: ignore that too.
            elif not (isinstance(value, ResponseError) and ": WRONGTYPE " in str(value)):
                self.shards.handle_failure(value, "GET")
        return found

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        client: Any = None,
    ) -> list[Any]:
        """Set many keys, on all servers at once.

        Returns:
            The keys that could not be set, for example because their server is down.
        """
        milliseconds = self._milliseconds(timeout)
        names = self._names(data, version)
        if milliseconds is not None and milliseconds <= 0:
            replies = [True] * len(names)
            for part, promise in self._delete(names):
                if promise.is_rejected:
                    for place in part.places:
                        replies[place] = promise.reason
        else:
            batch = self._batch()
            batch.set_many(names, list(map(self.encode, data.values())), milliseconds)
            replies = batch.execute(raise_on_error=False)
        failed = [key for key, reply in zip(data, replies, strict=True) if reply is not True]
        if failed:
            first = next(reply for reply in replies if reply is not True)
            events.CACHE_KEYS_NOT_SET.log(failed=len(failed), keys=len(data), error=first)
            if self.shards.on_down == "miss":
                self.shards.losses.count("SET", len(failed))
        return failed

    def delete_many(self, keys: Iterable[Any], version: int | None = None, client: Any = None) -> int | None:
        """Delete keys: one command per server, to all servers at once.

        Returns:
            The number of keys that existed; None if `keys` is empty.
        """
        names = self._names(keys, version)
        if not names:
            return None
        deleted = 0
        for part, promise in self._delete(names):
            if promise.is_resolved:
                deleted += promise.value
            else:
                self.shards.handle_failure(promise.reason, "DEL", len(part.places))
        return deleted

    def _delete(self, names: list[str]) -> list[tuple[Any, Promise]]:
        """Delete keys. Return the settled promise for each server's part of them."""
        batch = self._batch()
        parts = batch.delete_many(names)
        batch.execute(raise_on_error=False)
        return parts

    def _batch(self) -> MappingClient:
        return self.shards.client.get_mapping_client(max_concurrency=None)

    # ---- all servers ---------------------------------------------------------------------------

    def clear(self, client: Any = None) -> None:
        """Empty the databases of all servers."""
        self.shards.send_to_all("FLUSHDB")

    def keys(self, search: str, version: int | None = None, client: Any = None) -> list[Any]:
        """Return the keys of all servers that match a pattern. Blocks the servers: prefer `iter_keys`."""
        pattern = self.make_pattern(search, version=version)
        found = self.shards.send_to_all("KEYS", pattern).values()
        return [self.reverse_key(name.decode()) for names in found for name in names]

    def iter_keys(
        self,
        search: str,
        itersize: int | None = None,
        client: Any = None,
        version: int | None = None,
    ) -> Iterator[Any]:
        """Iterate over the keys that match a pattern, one server after the other."""
        pattern = self.make_pattern(search, version=version)
        if self.shards.on_down == "rehash":
            # The loop below skips servers that are down. This raises if all of them are.
            self.shards.send_to_all("PING")
        for host_id in self.cluster.hosts:
            cursor = None
            while cursor != 0:
                words = ("SCAN", cursor or 0, "MATCH", pattern, *(("COUNT", itersize) if itersize else ()))
                replies = self.shards.send_to({host_id: words})
                if host_id not in replies:
                    break
                cursor, names = replies[host_id]
                yield from (self.reverse_key(name.decode()) for name in names)

    def delete_pattern(
        self,
        pattern: str,
        version: int | None = None,
        prefix: str | None = None,
        client: Any = None,
        itersize: int | None = None,
    ) -> int:
        """Delete the keys that match a pattern, on all servers at once.

        Also deletes matching keys on servers where the router does not look for them.

        Arguments:
            pattern: with ``*``, ``?`` and ``[...]``, as in `keys`.
            version, prefix: the version and the prefix of the keys.
            itersize: has no effect: a server scans 10,000 keys at a time.

        Returns:
            The number of deleted keys.
        """
        return delete_matching(self.shards, self.make_pattern(pattern, version=version, prefix=prefix))


def _interrupting(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the method, with server errors raised as `ConnectionInterrupted`."""

    @functools.wraps(method)
    def call(self: ShardedClient, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except UnroutableCommand:
            raise
        except INTERRUPTIONS as error:
            raise ConnectionInterrupted(connection=None) from error

    return call


#: The methods that do not raise `ConnectionInterrupted` themselves. Generators raise server errors as they
#: are.
INTERRUPTING = (
    "add clear decr delete delete_many delete_pattern expire expire_at get_many has_key hdel hexists "
    "hkeys hlen hset incr incr_version keys persist pexpire pexpire_at pttl sadd scard sdiff "
    "sdiffstore set_many sinter sinterstore sismember smembers smismember smove spop srandmember "
    "srem sscan sunion sunionstore touch ttl zadd zcard zcount zincrby zpopmax zpopmin zrange "
    "zrangebyscore zrank zrem zremrangebyscore zrevrange zrevrangebyscore zscore "
)
for _name in INTERRUPTING.split():
    setattr(ShardedClient, _name, _interrupting(getattr(ShardedClient, _name)))
