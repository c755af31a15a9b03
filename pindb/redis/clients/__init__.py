"""Clients of a cluster: for single commands, for many commands at once, and for commands to given hosts.

Private: import public names from `pindb.redis`.
"""

from __future__ import annotations

from pindb.redis.clients.fanout import FanoutClient
from pindb.redis.clients.mapping import MappingClient
from pindb.redis.clients.routing import RoutingClient

__all__ = ["FanoutClient", "MappingClient", "RoutingClient"]
