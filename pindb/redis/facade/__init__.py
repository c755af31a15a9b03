"""Clusters of `create_cluster`: any method, maps with deferred results, other backends than Redis.

Private: import public names from `pindb.redis`.
"""
