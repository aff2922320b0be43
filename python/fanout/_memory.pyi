def debug_enabled() -> bool:
    """True in a build made with ``FANOUT_DEBUG=1``."""

def counts() -> dict[str, int]:
    """Live ``blocks`` and ``references`` owned by the core; zeros in a release build."""
