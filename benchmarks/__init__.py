"""What pindb costs, measured: ``python -m benchmarks --help``."""
