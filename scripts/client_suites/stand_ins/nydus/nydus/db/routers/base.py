"""Routers, with what Nydus's tests call of their insides."""

import pindb.redis
from pindb.redis import EveryHostRouter as BaseRouter

__all__ = ["BaseRouter", "NydusRouter", "RoundRobinRouter"]


class NydusRouter:
    """Says some of it in pindb's words."""

    _ready = False

    def _setup_router(self, args=None, kwargs=None):
        return True

    setup_router = _setup_router

    @property
    def _down_connections(self):
        return self.down_connections

    def get_dbs(self, attr, args=(), kwargs=None, retry_for=None):
        if retry_for is not None:
            self.mark_connection_down(retry_for)
        return super().get_dbs(attr, args, kwargs or {})

    _route = get_dbs


class RoundRobinRouter(NydusRouter, pindb.redis.RoundRobinRouter):
    pass
