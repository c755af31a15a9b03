"""Programs for those who work on pindb."""
