"""``fanout config``: checking a configuration, and writing one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from fanout.server.config import ConfigError, Mistake, UnknownKey, is_variable, load, problems
from fanout.server.config.render import FORMATS, defaults, first

__all__ = ["config"]

_NEXT = """\
{name} has new secrets, and only you may read it. Next:
  allow a namespace    {where}
  allow a web page     client.allowed_origins: ["https://app.example.com"]
  make a token         fanout token connection --config {path} --user alice
  check the file       fanout config check {path}
  start the server     fanout serve --config {path}"""
_IN_THE_FILE = "take the comment signs from the example at the file's end"
_WHERE = {
    "yaml": _IN_THE_FILE,
    "toml": _IN_THE_FILE,
    "json": '"channel": {"namespaces": [{"name": "chat", "allow_subscribe_for_client": true}]}',
}


@click.group()
def config() -> None:
    """Check a configuration file, or write one."""


@config.command("check")
@click.argument("path", metavar="[FILE]", required=False)
@click.option(
    "--strict", is_flag=True,
    help="Unknown keys and variables are errors, and that nobody can connect, too.")
def check(path: str | None, strict: bool) -> int:
    """Say what is wrong with a configuration: one line for each problem.

    It is read as `fanout serve` would read it here, with what the environment
    says; without FILE that is all. A last line says that it is ok. The exit
    status is 1 when the server would not start with it, else 0. No secret is
    shown.
    """
    errors, warnings = problems(path, environ=os.environ)
    errors = errors or _trial(path)
    failed = bool(errors)
    for error in errors:
        click.echo(f"{_place(path, error.key)}: error: {error}")
    for warning in warnings:
        wrong = strict and isinstance(warning, (Mistake, UnknownKey))
        failed = failed or wrong
        text = warning.replace(", ignored", "") if wrong else warning
        click.echo(f"{_place(path, text)}: {'error' if wrong else 'warning'}: {text}")
    if not failed:
        click.echo(f"{_place(path, '')}: ok")
    return int(failed)


def _trial(path: str | None) -> list[ConfigError]:
    """What only shows when the server is made: of keys, backends and the engine's addresses."""
    # Not at the top: other commands need no server.
    from fanout.server.app import Server
    from fanout.server.engines import MissingExtraError

    try:
        Server(load(path, environ=os.environ)[0])
    except ConfigError as error:
        return [error]
    except MissingExtraError as error:
        return [ConfigError("engine.type", str(error))]
    return []


def _place(path: str | None, key: str) -> str:
    """Where ``key`` was read."""
    return "environment" if path is None or is_variable(key) else path


@config.command("defaults")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="yaml", show_default=True)
def show_defaults(kind: str) -> None:
    """Print the default configuration: every key, and what it means."""
    click.echo(defaults(kind), nl=False)


@config.command("generate")
@click.argument("path", metavar="FILE")
def generate(path: str) -> None:
    """Write a first configuration with random secrets to a new FILE.

    Its name ends in .json, .toml, .yaml or .yml. Only its owner may read it.
    What to do next is printed.
    """
    kind = {".yml": "yaml"}.get(Path(path).suffix, Path(path).suffix[1:])
    if kind not in FORMATS:
        raise click.BadParameter("must end in .json, .toml, .yaml or .yml", param_hint="FILE")
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write(first(kind))
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    click.echo(_NEXT.format(path=shlex.quote(path), name=path, where=_WHERE[kind]))
