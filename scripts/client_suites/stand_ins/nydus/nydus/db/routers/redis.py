from nydus.db.routers.base import RoundRobinRouter  # noqa: F401
from nydus.db.routers.keyvalue import ConsistentHashingRouter, PartitionRouter  # noqa: F401
