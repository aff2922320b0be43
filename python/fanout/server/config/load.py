"""Reading a configuration file, and the configuration of the demo."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fanout.server.config.advice import advice, closed
from fanout.server.config.channel import Namespace
from fanout.server.config.checks import check
from fanout.server.config.client import ClientConfig
from fanout.server.config.engine import with_addresses
from fanout.server.config.environment import merge
from fanout.server.config.errors import ConfigError, UnknownKey
from fanout.server.config.model import Config
from fanout.server.config.parsing import parse_file
from fanout.server.config.reader import read
from fanout.server.config.tls import server_context

__all__ = ["DEMO_NAMESPACE", "demo_config", "load", "made", "problems", "with_demo"]


def load(
    path: str | os.PathLike[str] | None,
    engine: Sequence[str] = (),
    *,
    environ: Mapping[str, str] | None = None,
    demo: bool = False,
    strict: bool = False,
) -> tuple[Config, list[str]]:
    """The configuration in a file, and warnings about it.

    The file's name ends in ``.json``, ``.toml``, ``.yaml`` or ``.yml``; without
    one the defaults hold. What ``environ`` says (see
    :mod:`~fanout.server.config.environment`) wins over the file, and
    ``engine``, addresses as :func:`~fanout.server.config.engine.with_addresses`
    takes them, over both. ``demo`` adds what the demo needs: its namespace, and
    without a file that anybody may connect.

    The warnings (one line each) name keys that are unknown, with the nearest
    known one, keys of Centrifugo that have no effect here, and settings that
    are allowed but seldom meant. They never hold a value, which could be a
    secret. Raises :exc:`ConfigError`, whose text does not name the file, for a
    file that cannot be read or parsed, for a bad value, for a setting that
    must not be ignored, and with ``strict`` for unknown keys.
    """
    data: object = {}
    if path is not None:
        data = parse_file(Path(path))
    elif demo:
        data = {"client": {"allow_anonymous_connect_without_token": True}}
    data, warnings = merge(data, environ or {})
    config, more = read(data)
    warnings += more
    if strict:
        _refuse_unknown(warnings)
    config = replace(config, engine=with_addresses(config.engine, engine))
    config = with_demo(config) if demo else config
    check(config)
    return config, warnings + advice(config)


def made(config: Config | Mapping[str, Any] | None) -> tuple[Config, list[str]]:
    """The configuration that a program has, and warnings about what it spells.

    ``config`` is one, whose warnings came with it, or what a file would hold,
    in which an unknown key is an error; None is the defaults. Raises
    :exc:`ConfigError` as :func:`load` does.
    """
    if config is None:
        config = Config()
    if isinstance(config, Config):
        check(config)
        return config, []
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be a Config or a mapping, not {type(config).__name__}")
    config, warnings = read(dict(config))
    _refuse_unknown(warnings)
    check(config)
    return config, warnings + advice(config)


def problems(
    path: str | os.PathLike[str] | None, *, environ: Mapping[str, str] | None = None
) -> tuple[list[ConfigError], list[str]]:
    """Everything that is wrong with a configuration, and warnings, as :func:`load` has them.

    Every bad value is named; of the rules between keys only the first that is
    broken, and only when all values are good.
    """
    errors: list[ConfigError] = []
    warnings: list[str] = []
    try:
        data, warnings = merge({} if path is None else parse_file(Path(path)), environ or {})
        config, more = read(data, errors)
        warnings += more
        if not errors:
            check(config)
            for name in ("tls", "internal_tls"):
                server_context(getattr(config.http_server, name), f"http_server.{name}")
            warnings += [*advice(config), *filter(None, [closed(config)])]
    except ConfigError as error:
        errors.append(error)
    return errors, warnings


def _refuse_unknown(warnings: list[str]) -> None:
    unknown = [text.replace(", ignored", "") for text in warnings if isinstance(text, UnknownKey)]
    if unknown:
        raise ConfigError("", "; ".join(unknown))


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
