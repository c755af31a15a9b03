"""The modules of the management commands. Private."""
