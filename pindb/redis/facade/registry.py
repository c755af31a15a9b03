"""Registry of the clusters in ``PINDB_CLUSTERS``, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from weakref import WeakSet

from pindb._forks import Lock
from pindb.redis.exceptions import ClusterConfigError
from pindb.redis.facade.cluster import RoutedCluster
from pindb.redis.facade.create import create_cluster

__all__ = ["Connections", "connections"]


class Connections:
    """Registry of clusters: ``connections["sessions"]``, or ``connections.sessions``. Safe under threads.

    Makes each cluster at its first use. In a Django project, the settings are in ``PINDB_CLUSTERS``.

    Arguments:
        settings: settings for `create_cluster` by the name of the cluster; None: Django's ``PINDB_CLUSTERS``.
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._given = settings
        self._clusters: dict[str, RoutedCluster] = {}
        self._lock = Lock()

    def configure(self, settings: Mapping[str, Mapping[str, Any]] | None) -> None:
        """Switch to other settings. Disconnects and forgets all clusters that were made.

        Arguments:
            settings: as for the class.
        """
        with self._lock.get():
            self._given = settings
            clusters, self._clusters = self._clusters, {}
        for cluster in clusters.values():
            cluster.disconnect()

    def disconnect(self) -> None:
        """Close all connections of all clusters. The next call connects again."""
        for cluster in list(self._clusters.values()):
            cluster.disconnect()

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings of all clusters, by name.

        Raises:
            ClusterConfigError: there are no settings, or they are not a dict.
        """
        settings = self._django_settings() if self._given is None else self._given
        if not isinstance(settings, Mapping):
            raise ClusterConfigError(
                f"PINDB_CLUSTERS is a {type(settings).__name__}. Write a dict of clusters by name: "
                "{'default': {'router': 'partition', 'hosts': {0: {'port': 6379}}}}."
            )
        return settings

    def __getitem__(self, name: str) -> RoutedCluster:
        """Return a cluster by its name.

        Raises:
            ClusterConfigError: there is no such cluster, or its settings are invalid.
        """
        cluster = self._clusters.get(name)
        if cluster is None:
            with self._lock.get():
                cluster = self._clusters.get(name)
                if cluster is None:
                    cluster = self._clusters[name] = self._make(name)
        return cluster

    def _make(self, name: str) -> RoutedCluster:
        settings = self.settings
        if name not in settings:
            raise ClusterConfigError(
                f"PINDB_CLUSTERS has no cluster {name!r}. It has: {', '.join(map(repr, settings)) or 'none'}."
            )
        try:
            return create_cluster(settings[name])
        except ClusterConfigError as error:
            raise type(error)(f"Cluster {name!r}: {error}") from error

    def __getattr__(self, name: str) -> RoutedCluster:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        try:
            return self[name]
        except ClusterConfigError as error:
            raise AttributeError(str(error)) from error

    def __contains__(self, name: object) -> bool:
        return name in self.settings

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self._clusters)} made>"

    def _django_settings(self) -> Any:
        try:
            from pindb.conf import conf, on_change
        except ImportError as error:
            raise ClusterConfigError(
                "pindb.redis.connections has no settings. Call connections.configure({...}), or write "
                "PINDB_CLUSTERS in the settings of a Django project."
            ) from error
        from django.core.exceptions import ImproperlyConfigured

        on_change(_forget)
        _of_django.add(self)
        try:
            return conf.PINDB_CLUSTERS
        except ImproperlyConfigured as error:
            raise ClusterConfigError(
                "pindb.redis.connections has no settings. Call connections.configure({...}), or configure "
                f"Django, whose settings have PINDB_CLUSTERS. ({error})"
            ) from error


# Registries whose settings are Django's.
_of_django: WeakSet[Connections] = WeakSet()


def _forget(setting: str) -> None:
    if setting == "PINDB_CLUSTERS":
        for registry in list(_of_django):
            if registry._given is None:
                registry.configure(None)


connections = Connections()
