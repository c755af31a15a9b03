from pindb.redis import connections, create_cluster  # noqa: F401
