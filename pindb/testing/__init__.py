"""Real servers for the tests and demos of a site: `postgres` and `mariadb`, replicated, and `redis`.

Private modules: all others.
"""
