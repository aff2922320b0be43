"""The HTTP answer of a server that does not take a WebSocket."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["Refusal"]

_LARGEST = 200      # bytes of the body that are looked at


class Refusal:
    """A status, and the first line of the text that came with it.

    Only plain text of a known length has one: a page is not for a line of a
    summary. ``headers`` have names in lower case.
    """

    __slots__ = ("_body", "_length", "_status")

    def __init__(self, status: str, headers: Mapping[bytes, bytes]) -> None:
        self._status = status
        self._body = b""
        length = headers.get(b"content-length", b"")
        is_text = headers.get(b"content-type", b"").lower().startswith(b"text/plain")
        self._length = (
            min(_LARGEST, int(length[:9])) if is_text and length.isdigit() else 0)

    def feed(self, data: bytes) -> bool:
        """Take some of the body; true when no more of it is needed."""
        self._body = (self._body + data)[: self._length]
        return len(self._body) >= self._length or b"\n" in self._body

    def __str__(self) -> str:
        line = self._body.partition(b"\n")[0].decode("utf-8", "replace").strip()
        line = line.removeprefix(f"{self._status}:").strip()    # "404: Not Found"
        return f"HTTP {self._status}: {line}" if line else f"HTTP {self._status}"
