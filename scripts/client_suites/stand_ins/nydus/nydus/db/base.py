from nydus.missing import missing
from pindb.redis import create_cluster

create_connection = missing("create_connection")


def BaseCluster(**settings):  # noqa: N802
    """docs/how-to/coming-from-nydus.md says to write `create_cluster`."""
    return create_cluster(settings)
