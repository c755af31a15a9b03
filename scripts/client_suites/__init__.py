"""The test suites of rb and Nydus, run on pindb, which stands in for them."""
