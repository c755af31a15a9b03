from pindb.hashing import Ketama  # noqa: F401
