def debug_enabled() -> bool:
    """True in a build made with ``FANOUT_DEBUG=1``."""

def counts() -> dict[str, int]:
    """Live ``blocks`` and ``references`` owned by the core; zeros in a release build."""

def fail_after(number: int) -> int:
    """Let the core's allocation with this number from now on fail once; 0: none.

    Returns what was left of the number given before: 0 when that allocation
    has failed. For tests. Raises ``RuntimeError`` in a build without ``FANOUT_DEBUG=1``.
    """
