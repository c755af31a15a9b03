"""Pins: what the current unit of work has pinned, when pins end, and how pins reach the next unit of work.

Private. The public names are imported from `pindb`.
"""
