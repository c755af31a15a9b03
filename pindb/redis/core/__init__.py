"""The rules of the Redis half, without input and output and without a clock: commands, batches, replies.

Private: import public names from `pindb.redis`.
"""
