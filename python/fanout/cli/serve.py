"""``fanout serve``."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace

import click
import uvloop

from fanout.server import log
from fanout.server.config import (
    LOG_LEVELS,
    Config,
    ConfigError,
    EngineConfig,
    is_variable,
    load,
    with_addresses,
)
from fanout.server.config.values import address

__all__ = ["serve"]

# What bind() and listen() say of an address that cannot be had.
_NO_ADDRESS = {errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES, errno.EAFNOSUPPORT}


def _address(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else address(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _engine(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        with_addresses(EngineConfig(), values)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return values


@click.command()
@click.option(
    "--host",
    callback=_address,
    help="Address to listen on; '' is every interface.  [default: 127.0.0.1]",
)
@click.option("--port", type=click.IntRange(0, 65535), help="0 is any free port.  [default: 8000]")
@click.option(
    "--engine",
    "engine",
    metavar="URL",
    multiple=True,
    callback=_engine,
    help="Where messages travel: memory, redis://, rediss://, unix://, redis+sentinel:// or "
    "redis+cluster://, nats:// or tls://. More than one Redis are shards.  [default: memory]",
)
@click.option(
    "-c", "--config", "path", metavar="FILE",
    help="Configuration, .json, .toml, .yaml or .yml.",
)
@click.option("--strict", is_flag=True, help="Do not start with unknown keys or variables.")
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="[default: info]")
@click.option("--demo", is_flag=True, help="Serve a live room at / as well.")
@click.option(
    "--app", metavar="MODULE:ATTRIBUTE",
    help="Your own handlers: a function that is given the node, or a node.",
)
def serve(
    host: str | None,
    port: int | None,
    engine: tuple[str, ...],
    path: str | None,
    strict: bool,
    log_level: str | None,
    demo: bool,
    app: str | None,
) -> int:
    """Serve clients of the Centrifuge protocol.

    An option given here wins over environment variables (CENTRIFUGO_... or
    FANOUT_...), and those over the configuration file. By default nobody may
    connect, or with --demo anybody, to the demo's room.
    """
    config, warnings = _configure(path, engine, demo, strict)
    config = _override(config, host, port, log_level)
    try:
        log.configure(config.log.level, config.log.file, config.log.format)
    except OSError as error:
        raise click.ClickException(f"cannot open log.file: {error.strerror}") from None
    for warning in warnings:
        log.logger.warning("%s", warning)
    return _run(config, demo, app)


def _configure(
    path: str | None, engine: tuple[str, ...], demo: bool, strict: bool
) -> tuple[Config, list[str]]:
    try:
        config, warnings = load(path, engine, environ=os.environ, demo=demo, strict=strict)
    except ConfigError as error:
        from_file = path is not None and not is_variable(error.key)
        raise click.UsageError(f"{path}: {error}" if from_file else str(error)) from None
    return config, warnings


def _override(config: Config, host: str | None, port: int | None, log_level: str | None) -> Config:
    server = config.http_server
    return replace(
        config,
        http_server=replace(
            server,
            address=server.address if host is None else host,
            port=server.port if port is None else port,
        ),
        log=config.log if log_level is None else replace(config.log, level=log_level),
    )


def _run(config: Config, demo: bool, app: str | None) -> int:
    # Not at the top: --version and --help need no server.
    from fanout.server.app import serve as serve_clients
    from fanout.server.application import ApplicationError, load_application
    from fanout.server.engines import EngineStartError, MissingExtraError

    try:
        application = None if app is None else load_application(app)
        if application is not None and application.node is not None and demo:
            raise click.UsageError("--demo needs the configuration's node, and --app names one")
        uvloop.run(serve_clients(config, demo=demo, application=application))
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    except ApplicationError as error:
        raise click.ClickException(f"--app: {error}") from None
    except (EngineStartError, MissingExtraError) as error:
        raise click.ClickException(str(error)) from None
    except socket.gaierror as error:
        raise _cannot_listen(config, error.strerror) from None
    except OSError as error:
        if error.errno not in _NO_ADDRESS:
            raise
        raise _cannot_listen(config, os.strerror(error.errno)) from None
    return 0


def _cannot_listen(config: Config, reason: str | None) -> click.ClickException:
    server = config.http_server
    places = f"{server.address or '*'}:{server.port}"
    if server.internal_port is not None:
        places += f" and {server.internal_address or server.address or '*'}:{server.internal_port}"
    return click.ClickException(f"cannot listen on {places}: {reason}")
