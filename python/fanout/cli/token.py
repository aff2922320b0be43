"""``fanout token``: tokens made and checked by hand.

Exit status of ``connection`` and ``subscription``: 0 with the token on
standard output, 1 when a file cannot be read, 2 for a bad option or
configuration. Of ``check``: 0 for a good token, 1 for one that is not, 2 for a
bad option or configuration, 3 for one that expired or is not valid yet, 4 when
the keys cannot be fetched.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fanout.server.config import Config, ConfigError, load

if TYPE_CHECKING:
    from fanout.server.tokens import ConnectionClaims, SubscriptionClaims, TokenOptions
    from fanout.server.tokens.issue import Signer

__all__ = ["token"]

T = TypeVar("T", bound=Callable[..., Any])

_WEEK = 7 * 24 * 3600
_INVALID, _EXPIRED, _NO_KEYS = 1, 3, 4
_MAX_FILE = 65536


@click.group()
def token() -> None:
    """Make and check JWT, with the keys of a configuration."""


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"must be JSON ({error})") from None


def _json(context: click.Context, option: click.Parameter, text: str | None) -> Any:
    return None if text is None else _value(text)


def _named(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[str, Any]]:
    claims = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise click.BadParameter("must be NAME=JSON")
        claims.append((name, _value(value)))
    return claims


def _with(*options: Callable[[T], T]) -> Callable[[T], T]:
    def add(command: T) -> T:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_configured = _with(
    click.option("-c", "--config", "path", metavar="FILE",
                 help="Configuration with the keys (the environment counts too)."),
    click.option("--secret-file", metavar="FILE", help="HMAC secret to use instead."),
)
_signed = _with(
    _configured,
    click.option("--private-key", metavar="FILE",
                 help="PEM key (RSA, ECDSA, Ed25519) to sign with instead."),
    click.option("--key-id", default="", help="The key's 'kid'."),
    click.option("--algorithm", default="",
                 help="[default: HS256, RS256, or what the key's curve says]"),
    click.option("-u", "--user", default="", help="User id; without one, anonymous."),
    click.option("-t", "--ttl", type=click.IntRange(-1), default=_WEEK,
                 help="Seconds until it expires; -1 is never.  [default: 7 days]"),
    click.option("--info", metavar="JSON", callback=_json, help="What others see of the client."),
    click.option("--claim", "claims", metavar="NAME=JSON", callback=_named, multiple=True,
                 help="Any other claim; may be repeated."),
)


@token.command()
@_signed
@click.option("--meta", metavar="JSON", callback=_json,
              help="Kept with the connection, shown to nobody.")
@click.option("-s", "--channel", "channels", multiple=True,
              help="Subscribed to by the server; may be repeated.")
def connection(
    path: str | None, secret_file: str | None, meta: Any, channels: tuple[str, ...], **options: Any
) -> None:
    """Print a connection token."""
    config = _load(path)
    claims: dict[str, Any] = {"meta": meta, "channels": list(channels) or None}
    _print(config.client.token, "client.token", path, secret_file, claims, options)


@token.command()
@_signed
@click.option("-s", "--channel", required=True, help="The channel that it opens.")
@click.option("--client", help="The one connection that may use it.")
@click.option("--data", metavar="JSON", callback=_json,
              help="Sent to the client when it subscribes.")
def subscription(
    path: str | None, secret_file: str | None, channel: str, client: str | None, data: Any,
    **options: Any
) -> None:
    """Print a subscription token."""
    section, name = _subscription_section(_load(path))
    claims = {"channel": channel, "client": client, "data": data}
    _print(section, name, path, secret_file, claims, options)


@token.command()
@_configured
@click.argument("token")
@click.pass_context
def check(context: click.Context, path: str | None, secret_file: str | None, token: str) -> None:
    """Say whether TOKEN is good, and print its claims; '-' reads it from standard input.

    One with the claim 'channel' is checked as a subscription token. The exit
    status is 0 for a good token, 1 for one that is not, 3 for one that
    expired, 4 when the keys cannot be fetched.
    """
    context.exit(_check(_load(path), path, secret_file, token))


def _load(path: str | None) -> Config:
    try:
        config, warnings = load(path, environ=os.environ)
    except ConfigError as error:
        raise click.UsageError(str(error) if path is None else f"{path}: {error}") from None
    del warnings  # 'fanout config check' is where they are told
    return config


def _subscription_section(config: Config) -> tuple[TokenOptions, str]:
    if config.client.subscription_token.enabled:
        return config.client.subscription_token, "client.subscription_token"
    return config.client.token, "client.token"


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    if len(data) > _MAX_FILE:
        raise click.ClickException(f"{path}: longer than {_MAX_FILE} bytes, so no key")
    return data


def _secret(path: str) -> str:
    try:
        secret = _read(path).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path}: not UTF-8") from None
    if not secret:
        raise click.ClickException(f"{path}: empty")
    return secret


def _can_check(section: TokenOptions) -> bool:
    return bool(
        section.hmac_secret_key or section.hmac_previous_secret_key or section.rsa_public_key
        or section.ecdsa_public_key or section.jwks_public_endpoint)


def _signer(
    section: TokenOptions, name: str, path: str | None, secret_file: str | None,
    private_key: str | None,
) -> Signer:
    # Not at the top: other commands need no cryptography.
    from fanout.server.tokens.issue import Signer

    if private_key is not None:
        if secret_file is not None:
            raise click.UsageError("give --secret-file or --private-key, not both")
        try:
            return Signer.with_private_key(_read(private_key))
        except ValueError as error:
            raise click.ClickException(f"{private_key}: {error}") from None
    if secret_file is not None:
        return Signer.with_secret(_secret(secret_file))
    if not section.hmac_secret_key:
        others = ", only what checks them" if _can_check(section) else ""
        raise click.UsageError(
            f"{path or 'the environment'} has no {name}.hmac_secret_key to sign tokens with"
            f"{others}: give {'' if path else '--config, '}--secret-file or --private-key")
    return Signer.with_secret(section.hmac_secret_key)


def _print(
    section: TokenOptions, name: str, path: str | None, secret_file: str | None,
    claims: dict[str, Any], options: dict[str, Any],
) -> None:
    signer = _signer(section, name, path, secret_file, options["private_key"])
    now = int(time.time())
    claims = {
        section.user_id_claim or "sub": options["user"] or None,
        "iat": now,
        "exp": now + options["ttl"] if options["ttl"] >= 0 else None,
        # What the server will look for.
        "aud": section.audience or None,
        "iss": section.issuer or None,
        "info": options["info"],
        **claims,
    }
    claims = {key: value for key, value in claims.items() if value is not None}
    claims.update(options["claims"])
    try:
        click.echo(signer.sign(claims, options["algorithm"], options["key_id"]))
    except (ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from None


def _check(config: Config, path: str | None, secret_file: str | None, text: str) -> int:
    from fanout.server.config.tokens import TokenConfig
    from fanout.server.tokens import ExpiredTokenError, KeysUnavailableError, TokenError
    from fanout.server.tokens.compact import MAX_SIZE

    if text == "-":
        text = sys.stdin.read(MAX_SIZE + 2).strip()
    claims = _claims(text)
    is_subscription = bool(claims.get("channel"))
    if is_subscription:
        section, name = _subscription_section(config)
    else:
        section, name = config.client.token, "client.token"
    if secret_file is not None:
        section = TokenConfig(
            hmac_secret_key=_secret(secret_file), audience=section.audience,
            audience_regex=section.audience_regex, issuer=section.issuer,
            issuer_regex=section.issuer_regex, user_id_claim=section.user_id_claim)
    elif claims and not _can_check(section):
        raise click.UsageError(
            f"{path or 'the environment'} has no key in {name} to check the token with: give "
            f"{'' if path else '--config or '}--secret-file")
    try:
        good = asyncio.run(_verify(section, name, text, is_subscription))
    except ConfigError as error:
        raise click.UsageError(str(error)) from None
    except ExpiredTokenError as error:
        click.echo(f"expired: {error}")
        status = _EXPIRED
    except KeysUnavailableError as error:
        click.echo(f"not checked: {error}")
        status = _NO_KEYS
    except TokenError as error:
        click.echo(f"invalid: {error}")
        status = _INVALID
    else:
        click.echo(_described(good))
        status = 0
    if claims:
        if status in (_INVALID, _NO_KEYS):
            click.echo("what it says, which nobody vouches for:")
        click.echo(json.dumps(claims, indent=2))
    return status


async def _verify(
    section: TokenOptions, name: str, text: str, is_subscription: bool
) -> ConnectionClaims | SubscriptionClaims:
    from fanout.server.tokens import TokenVerifier

    verifier = TokenVerifier(section, path=name)
    try:
        if is_subscription:
            return await verifier.verify_subscription(text)
        return await verifier.verify_connection(text)
    finally:
        await verifier.close()


def _claims(text: str) -> dict[str, Any]:
    """What the token says, believed by nobody; empty for what is no token."""
    from fanout.server.tokens import InvalidTokenError
    from fanout.server.tokens.compact import base64url, split
    from fanout.server.tokens.strict import check_json

    try:
        payload = base64url(split(text).payload, "payload")
        check_json(payload)
        claims: dict[str, Any] = json.loads(payload)
    except (InvalidTokenError, ValueError, RecursionError):
        return {}
    return claims


def _described(claims: ConnectionClaims | SubscriptionClaims) -> str:
    from fanout.server.tokens import SubscriptionClaims

    user = f"of user {json.dumps(claims.user)}" if claims.user else "of an anonymous user"
    kind = "connection token"
    if isinstance(claims, SubscriptionClaims):
        kind = f"subscription token for {json.dumps(claims.channel)}"
    until = "without expiry"
    if claims.has_expiry:
        end = datetime.fromtimestamp(claims.expires, UTC)
        until = f"until {end.isoformat(timespec='seconds').replace('+00:00', 'Z')}"
    return f"valid: {kind} {user}, {until}"
