"""The server's log: one line per record, on standard error or in a file.

    2026-01-31T12:00:00.000Z INFO fanout 0.1.0 listening on http://127.0.0.1:8000 (engine memory)

Channel names, user ids and whatever else clients choose may stand in a
record: control characters are escaped, so that nobody can write a line of his
own. Nothing logs tokens, keys, payloads, headers or the values of a
configuration. What is known of an event beside its text is in fields:

    ... DEBUG a client connected client=5f0c... user="ada" transport="websocket" encoding="json"

Of lines that clients can provoke there are at most so many in a time, see
:mod:`fanout.server.log_limit`.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from aiohttp.http_exceptions import HttpProcessingError

from fanout.server.config import LOG_LEVELS
from fanout.server.log_limit import Sparing

__all__ = ["configure", "fields", "listening_line", "logger", "shown_url"]

logger = logging.getLogger("fanout")

_LEVELS = dict(
    zip(
        LOG_LEVELS,
        # Python has no "trace"; above "fatal" there is nothing to log.
        (
            logging.DEBUG,
            logging.DEBUG,
            logging.INFO,
            logging.WARNING,
            logging.ERROR,
            logging.CRITICAL,
            logging.CRITICAL + 1,
        ),
        strict=True,
    )
)

# C0 and C1 controls, and the two Unicode line ends.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_ESCAPES |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_ESCAPES |= {0x2028: "\\u2028", 0x2029: "\\u2029"}


def fields(**values: str | int) -> dict[str, Any]:
    """For ``extra`` of a logging call: what is known of the event. Empty texts are left out."""
    return {"fields": {name: value for name, value in values.items() if value != ""}}


def _fields(record: logging.LogRecord) -> Mapping[str, str | int]:
    return getattr(record, "fields", {})


class LineFormatter(logging.Formatter):
    """Time (UTC, milliseconds), level, message, fields; a traceback follows on the same line."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        for name, value in _fields(record).items():
            line += f" {name}={json.dumps(value, ensure_ascii=False)}"
        return line

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate(_ESCAPES)


class JSONFormatter(logging.Formatter):
    """An object a line: ``time``, ``level``, ``message``, fields, and ``error``, a traceback."""

    default_time_format = LineFormatter.default_time_format
    default_msec_format = LineFormatter.default_msec_format
    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        # In ASCII: half of a surrogate pair, which a client may send, stays an escape.
        return json.dumps(line)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]  # generic in stubs only
    """A type of its own, so that :func:`configure` finds what it set before."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._sparing = Sparing()

    def emit(self, record: logging.LogRecord) -> None:
        if self._sparing.is_over:
            self._tell_kept_back()
        if self._sparing.admits(record):
            super().emit(record)

    def close(self) -> None:
        self._tell_kept_back()
        super().close()

    def _tell_kept_back(self) -> None:
        for record in self._sparing.kept_back():
            super().emit(record)


def configure(level: str, file: str = "", form: str = "text") -> None:
    """Log at one of :data:`~fanout.server.config.LOG_LEVELS` from now on.

    ``file`` is appended to, and made if it is not there; ``""`` is standard
    error. ``form`` is one of :data:`~fanout.server.config.LOG_FORMATS`.
    Replaces what an earlier call set up, and leaves other handlers alone.
    Raises ``OSError`` for a file that cannot be opened.
    """
    stream = _open(file) if file else sys.stderr
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(handler)
        handler.close()
        if handler.stream is not sys.stderr:
            handler.stream.close()
    handler = _Handler(stream)
    handler.setFormatter(JSONFormatter() if form == "json" else LineFormatter())
    root.addHandler(handler)
    root.setLevel(_LEVELS[level])
    # Its lines hold whole request targets, where clients may put tokens.
    logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL + 1)
    logging.getLogger("aiohttp.server").addFilter(_not_a_bad_request)


def _open(file: str) -> TextIO:
    # Surrogates: as standard error has it, so that no record is lost to one.
    return open(file, "a", encoding="utf-8", errors="backslashreplace")


def listening_line(
    version: str, host: str, port: int, engine: str, *, tls: bool = False, internal: str = ""
) -> str:
    """What is logged once the server accepts connections; ``internal`` is that port's URL."""
    apart = f", and for operators on {internal}" if internal else ""
    return (
        f"fanout {version} listening on {shown_url(host, port, tls=tls)}{apart} (engine {engine})")


def shown_url(host: str, port: int, *, tls: bool = False) -> str:
    """The URL of an address that is listened on; an empty ``host`` is every one."""
    if not host:
        host = "0.0.0.0"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def _not_a_bad_request(record: logging.LogRecord) -> bool:
    """A peer that does not speak HTTP gets its answer, and no line in the log."""
    error = record.exc_info[1] if record.exc_info else None
    # What reads a body has an exception of its own, caused by the parser's.
    return not any(isinstance(one, HttpProcessingError) for one in (
        error, error.__cause__ if error else None))
