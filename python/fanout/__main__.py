"""``python -m fanout``, and the ``fanout`` command."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["main"]


def main() -> int:
    """Run the command line; returns the process's exit status."""
    missing = [name for name in ("aiohttp", "click", "msgspec") if find_spec(name) is None]
    if missing:
        print(
            f"fanout: {', '.join(missing)} not installed: pip install 'fanout[server]'",
            file=sys.stderr,
        )
        return 1
    from fanout.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
