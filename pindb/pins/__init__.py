"""Pins: what the running unit of work has pinned, and how pins travel to the next one.

Private: import public names from `pindb`.
"""
