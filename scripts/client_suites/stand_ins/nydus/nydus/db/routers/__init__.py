from nydus.db.routers.base import BaseRouter, RoundRobinRouter  # noqa: F401
