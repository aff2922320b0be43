"""Servers that fanout is measured beside; each serves the load of `benches.wire`."""
