"""Django's own test suite, run with pindb and compared with a run without it."""
