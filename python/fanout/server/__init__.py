"""The server: Centrifuge protocol clients on one side, a :class:`fanout.Node` on the other."""
