"""The debug build's counts of what the core owns."""

live.blocks = 0
live.references = 0


def debug_enabled():
    """True in a build made with ``FANOUT_DEBUG=1``."""
    return bool(FANOUT_DEBUG)


def counts():
    """Live blocks and references owned by the core; zeros in a release build."""
    return {"blocks": live.blocks, "references": live.references}
