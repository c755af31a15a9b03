from pindb.redis.backends import BaseConnection  # noqa: F401
