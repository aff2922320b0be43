"""The server: Centrifuge protocol clients on one side, a :class:`fanout.Node` on the other.

:class:`Server` serves a node in a program of your own, :func:`mount` does so in
an aiohttp application that you have. ``fanout serve`` is the same as a process.
What they need (the extra ``fanout[server]``) is imported when they are first
asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanout.server.app import Server as Server
    from fanout.server.mounting import mount as mount

__all__ = ["Server", "mount"]

_MODULES = {"Server": "fanout.server.app", "mount": "fanout.server.mounting"}
_NEEDED = {"aiohttp", "google", "jwt", "msgspec", "prometheus_client", "yaml"}


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        raise ImportError(
            f"fanout.server.{name} needs {error.name}, which is not installed: "
            "pip install 'fanout[server]'") from error
