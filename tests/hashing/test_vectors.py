"""Every key stays where rb, Nydus and python-continuum had put it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pindb.hashing import Continuum, Ketama, partition, partition_many

VECTORS = Path(__file__).parent.parent / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text(encoding="utf-8"))


RB = load("rb.json")
NYDUS = load("nydus.json")
CONTINUUM = load("continuum.json")


@pytest.mark.parametrize("case", RB["partition"], ids=lambda case: f"{case['hosts']} hosts")
@pytest.mark.parametrize(("keys", "index"), [("keys", "index"), ("ints", "int_index")])
def test_partition_of_rb(case: Any, keys: str, index: str) -> None:
    assert [partition(key, case["hosts"]) for key in RB[keys]] == case[index]
    assert partition_many(RB[keys], case["hosts"]) == case[index]
    as_bytes = [str(key).encode() for key in RB[keys]]
    assert [partition(key, case["hosts"]) for key in as_bytes] == case[index]
    assert partition_many(as_bytes, case["hosts"]) == case[index]


@pytest.mark.parametrize("case", RB["ketama"], ids=lambda case: f"{len(case['nodes'])} nodes")
def test_ketama_of_rb(case: Any) -> None:
    for nodes in (case["nodes"], case["nodes"][::-1]):
        ring = Ketama(nodes, case["weights"])
        assert [ring.get_node(key) for key in RB["keys"]] == case["node"]
        assert ring.get_node_many(RB["keys"]) == case["node"]
        assert [ring.get_node(key.encode()) for key in RB["keys"]] == case["node"]


@pytest.mark.parametrize("case", NYDUS["clusters"], ids=lambda case: f"{len(case['identifiers'])} hosts")
def test_partition_of_nydus(case: Any) -> None:
    hosts = len(case["identifiers"])
    assert [partition(key, hosts) for key in NYDUS["keys"]] == case["partition"]


@pytest.mark.parametrize("case", NYDUS["clusters"], ids=lambda case: f"{len(case['identifiers'])} hosts")
def test_consistent_hashing_of_nydus(case: Any) -> None:
    identifiers = case["identifiers"]
    ring = Ketama(identifiers)
    nodes = [identifiers[index] for index in case["consistent"]]
    assert ring.get_node_many(NYDUS["keys"]) == nodes
    if "consistent_with_1_down" in case:
        ring.remove_node(identifiers[1])
        without = [identifiers[index] for index in case["consistent_with_1_down"]]
        assert ring.get_node_many(NYDUS["keys"]) == without
        ring.add_node(identifiers[1])
        assert ring.get_node_many(NYDUS["keys"]) == nodes


@pytest.mark.parametrize("case", CONTINUUM["continuum"], ids=lambda case: f"{len(case['servers'])} servers")
def test_continuum(case: Any) -> None:
    continuum = Continuum(case["totaldots"])
    for server in case["servers"]:
        continuum.add_server(*server)
    servers = [continuum.resolve(key) for key in CONTINUUM["keys"]]
    assert [f"{server.hostname}:{server.port}" for server in servers] == case["server"]
    assert len(continuum._ring[2]) == case["points"]
