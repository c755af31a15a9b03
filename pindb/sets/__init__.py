"""The DB sets and the state of their database servers: definitions, connections, health, lag, positions.

Private. The public names are imported from `pindb`.
"""
