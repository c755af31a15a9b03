"""rb's ways to wait for sockets. pindb has one, for each system the best."""

available_pollers = []
