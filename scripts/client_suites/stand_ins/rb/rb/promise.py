from pindb.redis import Promise  # noqa: F401
