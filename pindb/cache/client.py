"""The client of django-redis that knows many servers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from numbers import Real
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, default_key_func
from django.core.exceptions import ImproperlyConfigured
from django_redis.client import DefaultClient
from django_redis.exceptions import CompressorError, ConnectionInterrupted
from django_redis.util import CacheKey
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pindb import _events as events
from pindb.cache.delete_pattern import delete_matching
from pindb.cache.options import CONNECTING, load_option
from pindb.cache.set_operations import SetOperations
from pindb.cache.shards import Shards, get_shards
from pindb.redis import MappingClient, UnroutableCommand

__all__ = ["ShardedClient"]


#: More seconds than a key can live for.
LONGEST = 2**52

#: What django-redis's backend ignores with ``IGNORE_EXCEPTIONS``, once it is wrapped.
INTERRUPTIONS = (RedisConnectionError, RedisTimeoutError, ResponseError, OSError)


class ShardedClient(SetOperations, DefaultClient):  # type: ignore[misc]
    """A cache whose keys are spread over Redis servers by a router of `pindb.redis`.

    It is django-redis's own client on one that sends each command to the server that has its key, so that
    everything that django-redis does works over all servers. Threads share the connections, which are
    also safe in forked processes.

    Arguments:
        server: the cache's ``LOCATION``: URLs of Redis servers, or the name of a cluster in
            ``PINDB_CLUSTERS``.
        params: the cache's other settings; pindb's own are in ``OPTIONS``: ``ROUTER``, ``ROUTER_OPTIONS``,
            ``HASH_TAGS``, ``ON_DOWN`` and ``RETRY_TIMEOUT``.
        backend: the cache.

    Attributes:
        shards: the servers.

    Raises:
        ImproperlyConfigured: a setting is not what it should be; the message lists what is allowed.
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
        # One "server", which has no replicas: the client that knows all of them.
        own = {name: value for name, value in options.items() if name not in CONNECTING}
        own["REPLICA_READ_ONLY"] = True
        super().__init__(["pindb"], {**params, "OPTIONS": own}, backend)
        compresses = self._has_compression_enabled()
        self._loads = self._decompress_and_load if compresses else self._serializer.loads
        self._dumps = self._dump_and_compress if compresses else self._serializer.dumps

    # ---- the client ----------------------------------------------------------------------------

    def get_next_client_index(self, write: bool = True, tried: Any = None) -> int:
        return 0

    def connect(self, index: int = 0) -> Any:
        return self.shards.client

    def disconnect(self, index: int = 0, client: Any = None) -> None:
        # Other threads share the connections, and are not done with theirs.
        self.cluster.disconnect_pools(idle_only=True)

    def do_close_clients(self) -> None:
        self.disconnect()

    # ---- one key -------------------------------------------------------------------------------

    def get(self, key: Any, default: Any = None, version: int | None = None, client: Any = None) -> Any:
        """The value of a key, or the default where there is none."""
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
        """Set a key, for `timeout` seconds; see django-redis's method."""
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
        """Let a key live for `timeout` seconds from now on; False where there is none."""
        self._milliseconds(timeout)
        return bool(super().touch(key, timeout, version, client))

    def _name(self, key: Any, version: int | None) -> str:
        """What a key is stored under: plain text, which is hashed faster than django-redis's `CacheKey`."""
        if type(key) is CacheKey:
            return str(key)
        backend = self._backend
        name: str = backend.key_func(key, backend.key_prefix, backend.version if version is None else version)
        return name

    def _names(self, keys: Iterable[Any], version: int | None) -> list[str]:
        """`_name` of each of many keys."""
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
            # Text has a product, too.
            raise TypeError(f"timeout is {timeout!r:.60}. Write a number of seconds, or None for no end.")
        # Servers take fewer than 64 bits, with the time of day in them.
        if not -LONGEST < timeout < LONGEST:
            raise ValueError(f"timeout is {timeout!r}. Write seconds, or None for no end.")
        return int(timeout * 1000)

    def encode(self, value: Any, *, allow_int: bool = True) -> Any:
        """What is stored for an object: integers as they are, so that servers can count with them."""
        kind = type(value)
        if kind is int and allow_int:
            return value
        # Enumerations and booleans are integers too: django-redis tells them apart.
        return super().encode(value, allow_int=allow_int) if issubclass(kind, int) else self._dumps(value)

    def decode(self, value: Any) -> Any:
        """The object that a stored value stands for."""
        # Pickles begin with this byte, and no number does. To find that out by int() takes longer than to
        # load a short pickle.
        if type(value) is bytes and value[:1] == b"\x80":
            return self._loads(value)
        return super().decode(value)

    def _dump_and_compress(self, value: Any) -> Any:
        return self._compressor.compress(self._serializer.dumps(value))

    def _decompress_and_load(self, value: bytes) -> Any:
        # Short values are stored as they are.
        with suppress(CompressorError):
            value = self._compressor.decompress(value)
        return self._serializer.loads(value)

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None, client: Any = None) -> int:
        """Move a value to another version of its key, with the time that it has left.

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
                self.shards.lost(error, "GET")
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
        """The values of those of the keys that there are: one command for each server, all at once."""
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
            # The only key of a server is a GET. Several are an MGET, for which a set, say, is none.
            elif not (isinstance(value, ResponseError) and ": WRONGTYPE " in str(value)):
                self.shards.lost(value, "GET")
        return found

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
        client: Any = None,
    ) -> list[Any]:
        """Set all keys, on all servers at once.

        Returns:
            The keys that could not be set, because their server was down, say.
        """
        milliseconds = self._milliseconds(timeout)
        names = self._names(data, version)
        if milliseconds is not None and milliseconds <= 0:
            replies = self._delete_each(names)
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
        """Delete keys: one command for each server, all at once.

        Returns:
            How many there were; None where none were named.
        """
        names = self._names(keys, version)
        if not names:
            return None
        batch = self._batch()
        parts = batch.delete_many(names)
        batch.execute(raise_on_error=False)
        deleted = 0
        for part, promise in parts:
            if promise.is_resolved:
                deleted += promise.value
            else:
                self.shards.lost(promise.reason, "DEL", len(part.places))
        return deleted

    def _delete_each(self, names: list[str]) -> list[Any]:
        """Delete keys: True for each, or why it could not be deleted."""
        batch = self._batch()
        parts = batch.delete_many(names)
        batch.execute(raise_on_error=False)
        replies: list[Any] = [True] * len(names)
        for part, promise in parts:
            if promise.is_rejected:
                for place in part.places:
                    replies[place] = promise.reason
        return replies

    def _batch(self) -> MappingClient:
        return self.shards.client.get_mapping_client(max_concurrency=None)

    # ---- all servers ---------------------------------------------------------------------------

    def clear(self, client: Any = None) -> None:
        """Empty the databases of all servers."""
        self.shards.everywhere("FLUSHDB")

    def keys(self, search: str, version: int | None = None, client: Any = None) -> list[Any]:
        """The keys that match a pattern, of all servers. It keeps them busy: `iter_keys` does not."""
        pattern = self.make_pattern(search, version=version)
        found = self.shards.everywhere("KEYS", pattern).values()
        return [self.reverse_key(name.decode()) for names in found for name in names]

    def iter_keys(
        self,
        search: str,
        itersize: int | None = None,
        client: Any = None,
        version: int | None = None,
    ) -> Iterator[Any]:
        """The keys that match a pattern, one server after the other."""
        pattern = self.make_pattern(search, version=version)
        if self.shards.on_down == "rehash":
            # The servers are asked one by one: some may be down, but not all.
            self.shards.everywhere("PING")
        for host_id in self.cluster.hosts:
            cursor = None
            while cursor != 0:
                words = ("SCAN", cursor or 0, "MATCH", pattern, *(("COUNT", itersize) if itersize else ()))
                replies = self.shards.at_hosts({host_id: words})
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
        """Delete the keys that match a pattern, on all servers at once, wherever they are.

        Arguments:
            pattern: with ``*``, ``?`` and ``[...]``, as in `keys`.
            version, prefix: of the keys.
            itersize: has no effect: see `delete_matching` for how much a server does at a time.

        Returns:
            How many were deleted.
        """
        return delete_matching(self.shards, self.make_pattern(pattern, version=version, prefix=prefix))


def _interrupting(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method with errors of servers as the exception that ``IGNORE_EXCEPTIONS`` is about."""

    @functools.wraps(method)
    def call(self: ShardedClient, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except UnroutableCommand:
            raise
        except INTERRUPTIONS as error:
            raise ConnectionInterrupted(connection=None) from error

    return call


#: The methods that do not do that themselves. Generators raise the errors as they are.
INTERRUPTED = (
    "add clear decr delete delete_many delete_pattern expire expire_at get_many has_key hdel hexists "
    "hkeys hlen hset incr incr_version keys persist pexpire pexpire_at pttl sadd scard sdiff "
    "sdiffstore set_many sinter sinterstore sismember smembers smismember smove spop srandmember "
    "srem sscan sunion sunionstore touch ttl zadd zcard zcount zincrby zpopmax zpopmin zrange "
    "zrangebyscore zrank zrem zremrangebyscore zrevrange zrevrangebyscore zscore "
)
for _name in INTERRUPTED.split():
    setattr(ShardedClient, _name, _interrupting(getattr(ShardedClient, _name)))
