"""Base class of backends, and the settings that `create_cluster` passes to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pindb.redis.facade.cluster import RoutedCluster
from pindb.redis.routers import BaseRouter

__all__ = ["BaseBackend", "ClusterSettings"]

#: The default of the setting ``max_connection_retries``.
MAX_CONNECTION_RETRIES = 20


@dataclass(frozen=True)
class ClusterSettings:
    """Parsed settings of `create_cluster`.

    Attributes:
        hosts: the options of each host by its id, as given.
        router: the class of the router.
        defaults: default options for all hosts.
        router_options: additional arguments for the router.
        max_connection_retries: how often a command is retried on another host.
        more: the settings that only this backend has.
    """

    # Not in the repr: these contain passwords.
    hosts: Mapping[int, Any] = field(repr=False)
    router: type[BaseRouter]
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    router_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    max_connection_retries: int = MAX_CONNECTION_RETRIES
    more: Mapping[str, Any] = field(default_factory=dict, repr=False)


class BaseBackend(ABC):
    """Backend that makes clusters of one kind of server. Most backends derive from `BaseConnection`.

    Attributes:
        more_settings: the names of settings that only this backend has; None: it takes any.
        routes: whether pindb chooses the host of a call; False if the client does.
    """

    more_settings: ClassVar[frozenset[str] | None] = frozenset()
    routes: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def make_cluster(cls, settings: ClusterSettings) -> RoutedCluster:
        """Make a cluster.

        Raises:
            ClusterConfigError: a setting is invalid.
        """
