"""The databases of each DB set, and their state: definitions, health, lag, positions.

Private: import public names from `pindb`.
"""
