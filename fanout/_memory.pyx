"""The debug build's counts of what the core owns."""

live.blocks = 0
live.references = 0
live.until_failure = 0


def debug_enabled():
    """True in a build made with ``FANOUT_DEBUG=1``."""
    return bool(FANOUT_DEBUG)


def counts():
    """Live blocks and references owned by the core; zeros in a release build."""
    return {"blocks": live.blocks, "references": live.references}


def fail_after(Py_ssize_t number):
    """Let the core's allocation with this number from now on fail once; 0: none.

    Returns what was left of the number given before: 0 when that allocation
    has failed. For tests, in a debug build only: a RuntimeError elsewhere.
    """
    cdef Py_ssize_t left = live.until_failure
    if not FANOUT_DEBUG:
        raise RuntimeError("only a debug build can let an allocation fail")
    if number < 0:
        raise ValueError(f"number must not be negative, not {number!r}")
    live.until_failure = number
    return left
