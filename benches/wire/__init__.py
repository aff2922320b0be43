"""The wire suite: a real server process, a load client in C, the floor and the peers.

``python -m benches.wire`` runs it; `benches.wire.suite` documents the result.
"""
