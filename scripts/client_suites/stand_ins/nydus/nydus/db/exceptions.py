from pindb.redis import CommandError  # noqa: F401
