import pindb.redis.backends.redis
from pindb.redis import create_cluster


class Redis(pindb.redis.backends.redis.Redis):
    """pindb's backend makes clusters. A single connection, which Nydus's is too, is of a cluster of one."""

    def __new__(cls, num, **options):
        return create_cluster({"hosts": {num: options}})[num]
