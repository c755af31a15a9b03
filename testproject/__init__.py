"""A small Django site on a master and two replicas, and a demo that walks through it."""
