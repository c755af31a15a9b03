from pindb.redis.backends.cassandra import Cassandra as Pycassa  # noqa: F401
