import pindb.redis
from nydus.db.routers.base import NydusRouter
from pindb.redis import PartitionRouter  # noqa: F401


class ConsistentHashingRouter(NydusRouter, pindb.redis.ConsistentHashingRouter):
    pass


def get_key(args, kwargs):
    """The key of a call, for routers of a site's own."""
    return kwargs["key"] if "key" in kwargs else args[0] if args else None
