"""The routing of queries: the routers, the selection of a server, and statements that run again elsewhere.

Private. The public names are imported from `pindb`.
"""
