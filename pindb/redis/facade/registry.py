"""The clusters of the settings, by name."""

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
    """Clusters by name, each made at its first use: ``connections["sessions"]``, ``connections.sessions``.

    Safe under threads. In a Django project the settings are those of ``PINDB_CLUSTERS``.

    Arguments:
        settings: for each name what `create_cluster` takes; None: Django's ``PINDB_CLUSTERS``.
    """

    def __init__(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._given = settings
        self._clusters: dict[str, RoutedCluster] = {}
        self._making = Lock()

    def configure(self, settings: Mapping[str, Mapping[str, Any]] | None) -> None:
        """Use other settings from now on. The clusters that there are are disconnected and forgotten.

        Arguments:
            settings: as in the constructor.
        """
        with self._making.get():
            self._given = settings
            clusters, self._clusters = self._clusters, {}
        for cluster in clusters.values():
            cluster.disconnect()

    def disconnect(self) -> None:
        """Close all connections of all clusters; they are made anew when they are needed."""
        for cluster in list(self._clusters.values()):
            cluster.disconnect()

    @property
    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """The settings of all clusters, by name.

        Raises:
            ClusterConfigError: there are none, or they are no dict.
        """
        settings = self._django_settings() if self._given is None else self._given
        if not isinstance(settings, Mapping):
            raise ClusterConfigError(
                f"The settings of clusters (PINDB_CLUSTERS) are a {type(settings).__name__}. Write a dict by "
                "name: {'default': {'router': 'partition', 'hosts': {0: {'port': 6379}}}}."
            )
        return settings

    def __getitem__(self, name: str) -> RoutedCluster:
        """The cluster with a name.

        Raises:
            ClusterConfigError: there is none, or its settings are wrong.
        """
        cluster = self._clusters.get(name)
        if cluster is None:
            with self._making.get():
                cluster = self._clusters.get(name)
                if cluster is None:
                    cluster = self._clusters[name] = self._make(name)
        return cluster

    def _make(self, name: str) -> RoutedCluster:
        settings = self.settings
        if name not in settings:
            raise ClusterConfigError(
                f"There is no cluster {name!r} in PINDB_CLUSTERS; there are: "
                f"{', '.join(map(repr, settings)) or 'none'}."
            )
        try:
            return create_cluster(settings[name])
        except ClusterConfigError as error:
            raise type(error)(f"The cluster {name!r}: {error}") from error

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
                "There are no settings of clusters: call connections.configure({...}); in a Django project "
                "they are those of PINDB_CLUSTERS."
            ) from error
        from django.core.exceptions import ImproperlyConfigured

        on_change(_forget)
        _of_django.add(self)
        try:
            return conf.PINDB_CLUSTERS
        except ImproperlyConfigured as error:
            raise ClusterConfigError(
                "There are no settings of clusters: call connections.configure({...}), or configure Django, "
                f"where they are those of PINDB_CLUSTERS. ({error})"
            ) from error


# Those whose settings are Django's.
_of_django: WeakSet[Connections] = WeakSet()


def _forget(setting: str) -> None:
    if setting == "PINDB_CLUSTERS":
        for found in list(_of_django):
            if found._given is None:
                found.configure(None)


connections = Connections()
