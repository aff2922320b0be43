"""Values that stand in a file of their own, as secrets do that an orchestrator hands out."""

from __future__ import annotations

from pathlib import Path

from fanout.server.config.errors import ConfigError

__all__ = ["read_secret"]

MAX_SIZE = 65536  # bytes


def read_secret(path: str, key: str) -> str:
    """The text of the file at ``path`` without the line end behind it.

    Raises :exc:`ConfigError` for ``key``, never with what the file holds.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SIZE + 1)
        text = content.decode()
    except OSError as error:
        raise ConfigError(key, f"the file cannot be read: {error.strerror}", path) from None
    except UnicodeDecodeError:
        raise ConfigError(key, "the file cannot be read: it is not UTF-8", path) from None
    except ValueError as error:  # the path has a zero byte, or cannot be encoded
        raise ConfigError(key, f"the file cannot be read: {error}", path) from None
    if len(content) > MAX_SIZE:
        raise ConfigError(key, f"the file is larger than {MAX_SIZE} bytes", path)
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigError(key, "the file is empty", path)
    return text
