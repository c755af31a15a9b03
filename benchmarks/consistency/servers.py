"""The servers, and the rows on them: one for each session of each strategy."""

from __future__ import annotations

from typing import Any

from pindb.testing.postgres import PostgresReplicaSet

__all__ = ["MASTER", "REPLICAS", "TABLE", "databases", "prepare", "start_servers"]

MASTER = "default"
REPLICAS = ["default-0", "default-1"]
TABLE = "consistency_page"


def start_servers() -> PostgresReplicaSet:
    """A master and two replicas; a context manager."""
    # Replay waits for reads, instead of cancelling them. With a limit, it would run out: a replica that is
    # behind by its delay all the time has no time left.
    return PostgresReplicaSet(replicas=len(REPLICAS), configuration={"max_standby_streaming_delay": "-1"})


def databases(servers: PostgresReplicaSet) -> dict[str, dict[str, Any]]:
    """``DATABASES``: connections stay open."""
    members = [servers.master_database, *servers.replica_databases]
    aliases = [MASTER, *REPLICAS]
    return {alias: {**member, "CONN_MAX_AGE": None} for alias, member in zip(aliases, members, strict=True)}


def prepare(servers: PostgresReplicaSet, rows: int, delay: float) -> None:
    """Make `rows` rows anew, their numbers 0, and let replicas show what follows `delay` seconds late."""
    for replica in range(len(REPLICAS)):
        servers.set_apply_delay(replica, 0)
    table = f"{TABLE} (id integer PRIMARY KEY, number integer NOT NULL)"
    for statement in (
        f"DROP TABLE IF EXISTS {TABLE}",
        f"CREATE TABLE {table}",
        f"INSERT INTO {TABLE} SELECT id, 0 FROM generate_series(1, {rows}) id",
        f"VACUUM ANALYZE {TABLE}",
    ):
        servers.execute("master", statement)
    servers.wait_until_caught_up()
    for replica in range(len(REPLICAS)):
        servers.set_apply_delay(replica, delay)
