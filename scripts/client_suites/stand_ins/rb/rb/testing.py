"""``make_test_cluster`` gives text, as docs/how-to/coming-from-rb.md says to write it."""

from functools import partial

from pindb.testing.redis import TestSetup, make_test_cluster  # noqa: F401

make_test_cluster = partial(make_test_cluster, cluster_options={"pool_options": {"decode_responses": True}})
