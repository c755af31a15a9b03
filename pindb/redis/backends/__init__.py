"""Backends of `create_cluster`, by kind of server. Custom backends derive from `BaseConnection`.

Private modules: all but `redis`, `memcached` and `cassandra`.
"""

from __future__ import annotations

from pindb.redis.backends.connection import BaseConnection
from pindb.redis.facade.backend import BaseBackend, ClusterSettings

__all__ = ["BaseBackend", "BaseConnection", "ClusterSettings"]
