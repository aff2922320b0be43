"""The servers that an engine is given, and how to log in there."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

__all__ = ["Login", "Server", "parse_login", "parse_servers"]

DEFAULT_PORT = 4222

_FORM = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?:(?P<login>.*)@)?(?P<place>[^@]*)", re.DOTALL)
_PLACE = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:/?#\s]+)(?::([0-9]{1,5}))?/?")


@dataclass(frozen=True)
class Server:
    """One server; ``label`` is its address without secrets.

    options
        Who logs in, as keyword arguments of nats-py's ``connect``.
    """

    url: str
    label: str
    needs_tls: bool
    options: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Login:
    """How to log in where the address does not say it, as nats-py's keyword arguments."""

    options: Mapping[str, object] = field(repr=False)
    tls: ssl.SSLContext | None = None


def parse_servers(url: str | Sequence[str]) -> tuple[Server, ...]:
    """One or more addresses; the error of a bad one names the rule, and shows no secret."""
    urls = [url] if isinstance(url, str) else url
    if not isinstance(urls, (list, tuple)):
        raise TypeError(f"url must be a str or a list of them, not {type(url).__name__}")
    if not urls:
        raise ValueError("url must name at least one server")
    return tuple(_server(each) for each in urls)


def _server(url: str) -> Server:
    if not isinstance(url, str):
        raise TypeError(f"a server's url must be a str, not {type(url).__name__}")
    form = _FORM.fullmatch(url)
    assert form is not None     # every part of the pattern may be empty
    scheme = (form["scheme"] or "nats").lower()
    if scheme not in ("nats", "tls"):
        raise ValueError(f"a server's url must begin with nats:// or tls://, not {scheme}://")
    place = _PLACE.fullmatch(form["place"])
    if place is None:
        raise ValueError(
            "a server's url must be a host or host:port behind nats:// or tls://, with nothing "
            "but user:password@ or token@ before it; one that is not is not shown, for it may "
            "hold a password")
    host, port = place[1], int(place[2] or DEFAULT_PORT)
    if not 1 <= port <= 65535:
        raise ValueError(f"a port must be between 1 and 65535, not {port}")
    options: dict[str, str] = {}
    if form["login"] is not None:
        user, colon, password = form["login"].partition(":")
        if not user:
            raise ValueError(f"{host}: the user name, or the token, before the @ is missing")
        if colon:
            options = {"user": unquote(user), "password": unquote(password)}
        else:
            options = {"token": unquote(user)}
    return Server(f"{scheme}://{host}:{port}", f"{host}:{port}", scheme == "tls", options)


def parse_login(
    user: str | None,
    password: str | None,
    token: str | None,
    credentials: str | os.PathLike[str] | None,
    nkey_seed: str | None,
    tls: ssl.SSLContext | None,
) -> Login:
    """What the engine's keywords say; ``TypeError`` or ``ValueError`` names the rule."""
    for name, value in (("user", user), ("password", password), ("token", token),
                        ("nkey_seed", nkey_seed)):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} must be a str or None, not {type(value).__name__}")
        if value == "":
            raise ValueError(f"{name} must not be empty")
    if (user is None) != (password is None):
        raise ValueError("user and password must be given together")
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise TypeError(f"tls must be an ssl.SSLContext or None, not {type(tls).__name__}")
    options: dict[str, object] = {}
    if user is not None and password is not None:
        options = {"user": user, "password": password}
    if token is not None:
        options["token"] = token
    if credentials is not None:
        if not isinstance(credentials, (str, os.PathLike)):
            raise TypeError(
                f"credentials must be a path or None, not {type(credentials).__name__}")
        if not Path(credentials).is_file():
            raise ValueError(f"credentials must be a file, not {os.fspath(credentials)!r}")
        options["user_credentials"] = os.fspath(credentials)
    if nkey_seed is not None:
        options["nkeys_seed_str"] = nkey_seed
    ways = [name for name in ("user", "token", "user_credentials", "nkeys_seed_str")
            if name in options]
    if len(ways) > 1:
        raise ValueError(
            "there must be one way to log in: user and password, token, credentials or nkey_seed")
    if ("user_credentials" in options or "nkeys_seed_str" in options) and (
        importlib.util.find_spec("nkeys") is None
    ):
        raise ImportError(
            "credentials and nkey_seed need the package nkeys: pip install 'nats-py[nkeys]'")
    return Login(options, tls)
