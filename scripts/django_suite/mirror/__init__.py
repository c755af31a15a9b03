"""A database backend: a replica that shares its master's connection, and so its uncommitted transaction."""
