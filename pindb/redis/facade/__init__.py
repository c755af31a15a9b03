"""Clusters of `create_cluster`: any call, results-to-be, other backends.

Private: import public names from `pindb.redis`.
"""
