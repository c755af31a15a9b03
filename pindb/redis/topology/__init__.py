"""The hosts of a cluster, and whether they are up.

Private: import public names from `pindb.redis`.
"""
