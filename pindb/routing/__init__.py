"""The place where a query goes: the routers, the choice of a replica, and statements run again.

Private: import public names from `pindb`.
"""
