from pindb.redis import FanoutClient, MappingClient, RoutingClient  # noqa: F401
