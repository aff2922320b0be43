"""What ``fanout bench`` runs: load for a server, and an account of what came of it."""
