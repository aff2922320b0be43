"""Real brokers for tests: started on loopback ports of their own, stopped by process id."""
