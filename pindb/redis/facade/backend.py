"""Backends: what `create_cluster` makes of its settings, for servers of any kind."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pindb.redis.facade.cluster import RoutedCluster
from pindb.redis.routers import BaseRouter

__all__ = ["BaseBackend", "ClusterSettings"]

#: How often a command goes to another host, where the settings do not say.
MAX_CONNECTION_RETRIES = 20


@dataclass(frozen=True)
class ClusterSettings:
    """What `create_cluster` was given, read.

    Attributes:
        hosts: each host's options by its id, as they were given.
        router: the class of the router.
        defaults: options for all hosts that do not have them.
        router_options: more arguments for the router.
        max_connection_retries: how often a command goes to another host.
        more: the settings that only this backend has.
    """

    # Passwords stand in these, and have no place in a repr.
    hosts: Mapping[int, Any] = field(repr=False)
    router: type[BaseRouter]
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    router_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    max_connection_retries: int = MAX_CONNECTION_RETRIES
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)


class BaseBackend(ABC):
    """Makes clusters of servers of one kind. Most derive from `BaseConnection`.

    Attributes:
        more_settings: the names of settings that only this backend has; None: it takes any.
        routes: False where the client finds its way to the hosts itself.
    """

    more_settings: ClassVar[frozenset[str] | None] = frozenset()
    routes: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def make_cluster(cls, settings: ClusterSettings) -> RoutedCluster:
        """A cluster.

        Raises:
            ClusterConfigError: a setting is not what it should be.
        """
