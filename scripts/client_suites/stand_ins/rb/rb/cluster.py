from pindb.redis import Cluster  # noqa: F401
