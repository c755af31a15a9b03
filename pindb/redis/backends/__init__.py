"""What `create_cluster` can make clusters of. A site's own kind of server derives from `BaseConnection`."""

from __future__ import annotations

from pindb.redis.backends.connection import BaseConnection
from pindb.redis.facade.backend import BaseBackend, ClusterSettings

__all__ = ["BaseBackend", "BaseConnection", "ClusterSettings"]
