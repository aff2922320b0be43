"""Reading a configuration file, and the configuration of the demo."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from fanout.server.config.channel import Namespace
from fanout.server.config.checks import advice, check
from fanout.server.config.client import ClientConfig
from fanout.server.config.engine import with_addresses
from fanout.server.config.errors import ConfigError
from fanout.server.config.model import Config
from fanout.server.config.reader import read

__all__ = ["DEMO_NAMESPACE", "demo_config", "load", "with_demo"]


def load(
    path: str | os.PathLike[str], engine: Sequence[str] = ()
) -> tuple[Config, list[str]]:
    """The configuration in a ``.json`` or ``.toml`` file, and warnings about it.

    ``engine`` has addresses that win over the file's; see
    :func:`~fanout.server.config.engine.with_addresses`.
    The warnings (one line each) name keys that are unknown, with the nearest
    known one, keys of Centrifugo that have no effect here yet, and settings
    that are allowed but seldom meant. They never hold a value, which could be
    a secret. Raises :exc:`ConfigError`, whose text does not name the file,
    for a file that cannot be read or parsed, for a bad value, and for a
    setting that must not be ignored.
    """
    config, warnings = read(_parse(Path(path)))
    config = replace(config, engine=with_addresses(config.engine, engine))
    check(config)
    return config, warnings + advice(config)


def _parse(path: Path) -> object:
    kind = path.suffix.lower()
    if kind not in (".json", ".toml"):
        raise ConfigError("", "the file's name must end in .json or .toml")
    try:
        # With the mark that some editors put in front of UTF-8.
        content = path.read_bytes().decode("utf-8-sig")
        return tomllib.loads(content) if kind == ".toml" else _parse_json(content)
    except OSError as error:
        raise ConfigError("", f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError("", f"is not UTF-8: bad byte at {error.start}") from None
    except RecursionError:
        raise ConfigError("", "is nested too deeply") from None
    except ConfigError:
        raise
    except ValueError as error:
        # Both parsers' errors, and integers of more digits than int() takes.
        raise ConfigError("", f"is not valid {kind[1:].upper()}: {error}") from None


def _parse_json(content: str) -> object:
    return json.loads(content, object_pairs_hook=_once_each, parse_constant=_no_constant)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json would let the last one win; whoever wrote the first would not know.
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ConfigError("", f"is not valid JSON: {json.dumps(key)} stands twice in a table")
        table[key] = value
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


DEMO_NAMESPACE = Namespace(
    name="room",
    presence=True,
    join_leave=True,
    force_push_join_leave=True,
    history_size=100,
    history_ttl=600.0,
    # Its own, so that a file's short one does not stand against the ttl.
    history_meta_ttl=720 * 3600.0,
    allow_subscribe_for_client=True,
    allow_subscribe_for_anonymous=True,
    allow_publish_for_subscriber=True,
    allow_publish_for_anonymous=True,
    allow_presence_for_subscriber=True,
    allow_presence_for_anonymous=True,
    allow_history_for_subscriber=True,
    allow_history_for_anonymous=True,
    force_recovery=True,
)
"""``room``: anybody who connects may join, talk, and see who is here and what was said."""


def with_demo(config: Config) -> Config:
    """``config`` with the demo's namespace, unless it has one of that name.

    Nothing else changes: who may connect stays the file's decision.
    """
    channel = config.channel
    if any(namespace.name == DEMO_NAMESPACE.name for namespace in channel.namespaces):
        return config
    return replace(
        config, channel=replace(channel, namespaces=(*channel.namespaces, DEMO_NAMESPACE))
    )


def demo_config() -> Config:
    """What the demo runs on without a file: anybody connects, ``room`` is open, no more."""
    return with_demo(Config(client=ClientConfig(allow_anonymous_connect_without_token=True)))
