"""The drivers of the Redis half: connections, pools, and sockets. They move bytes and hold no rule.

Private: import public names from `pindb.redis`.
"""
