"""Nydus's names, for pindb."""
