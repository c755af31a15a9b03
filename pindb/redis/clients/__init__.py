"""The clients of a cluster: one command now, many commands at once, and commands for hosts by name.

Private: import public names from `pindb.redis`.
"""

from __future__ import annotations

from pindb.redis.clients.fanout import FanoutClient
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.clients.routing import RoutingClient

__all__ = ["FanoutClient", "MappingClient", "RoutingClient"]
