"""The engines suite: a real broker, and what a client process pays to use it.

``python -m benches.bench_engines`` runs it; that module documents the result.
"""
