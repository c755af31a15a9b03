"""Real servers for the tests and demos of a site: `postgres` and `mariadb`, replicated, and `redis`.

These three modules are public. Private are all others.
"""
