"""Real servers for the tests and demos of a site: replicated PostgreSQL, in `pindb.testing.postgres`."""
