"""Headers of a message that are read when somebody asks for one."""

from __future__ import annotations

__all__ = ["Headers"]

_LINE = b"NATS/1.0"


class Headers:
    """The block of headers as it came; ``get`` is that of nats-py's dictionary.

    nats-py takes each header apart, letter by letter. Of the eight or more of a
    message from JetStream none is needed when it is delivered, and that would
    be the greater part of what its delivery costs.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def get(self, name: str, default: str = "") -> str:
        if name == "Status":
            return self._first_line()[:3] or default
        if name == "Description":
            return self._first_line()[4:] or default
        start = self._raw.find(b"\r\n%b:" % name.encode())
        if start < 0:
            return default
        start += len(name) + 3
        return self._raw[start:self._raw.index(b"\r\n", start)].strip().decode()

    def _first_line(self) -> str:
        line = self._raw[len(_LINE):self._raw.index(b"\r\n")]
        return line.strip().decode()
