"""The same maps on a Redis Cluster, beside the clients that there are for it."""
