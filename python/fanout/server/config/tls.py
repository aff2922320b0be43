"""Tables of keys for TLS, at either end of a connection."""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fanout.server.config.errors import ConfigError
from fanout.server.config.keys import key, secret
from fanout.server.config.values import boolean, text

__all__ = ["TLSConfig", "client_context", "server_context"]

_MARK = "-----BEGIN "
_MOST = 1 << 20  # bytes of one PEM file; a bundle of every public root is a quarter of it


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSConfig:
    """TLS. Each ``_pem`` key is the PEM text itself, its base64 form, or the path of a file."""

    enabled: bool = key(False, boolean)
    """Use TLS (1.2 or newer)."""
    cert_pem: str = key("", text)
    """The certificate that is shown to the other side."""
    key_pem: str = secret("", text, from_file=False)
    """The private key of ``cert_pem``."""
    server_ca_pem: str = key("", text)
    """As a client: the authorities that a server's certificate must come from;
    `""`: the system's."""
    client_ca_pem: str = key("", text)
    """As a server: the authorities that a client's certificate must come from;
    with it a client without one is refused."""
    insecure_skip_verify: bool = key(False, boolean)
    """As a client: take any certificate. For development only."""
    server_name: str = key("", text)
    """As a client: the name that the certificate must be for; `""`: the host's."""


def server_context(config: TLSConfig, path: str) -> ssl.SSLContext | None:
    """What a listening socket needs, ``None`` when TLS is off.

    Raises :exc:`~fanout.server.config.errors.ConfigError` with the key's path
    (``path`` is the table's) for what cannot be read or used.
    """
    if not config.enabled:
        return None
    if not config.cert_pem or not config.key_pem:
        raise ConfigError(f"{path}.enabled", "needs cert_pem and key_pem", True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, config, path)
    if config.client_ca_pem:
        context.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(context, config.client_ca_pem, f"{path}.client_ca_pem")
    return context


def client_context(config: TLSConfig, path: str) -> ssl.SSLContext | None:
    """What a client needs, ``None`` for what it does without a configuration.

    Raises as :func:`server_context`.
    """
    if not config.enabled:
        return None
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.cert_pem or config.key_pem:
        _load_certificate(context, config, path)
    if config.server_ca_pem:
        _load_authorities(context, config.server_ca_pem, f"{path}.server_ca_pem")
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_certificate(context: ssl.SSLContext, config: TLSConfig, path: str) -> None:
    cert = _pem(config.cert_pem, f"{path}.cert_pem")
    private = _pem(config.key_pem, f"{path}.key_pem")
    # Python's ssl takes a certificate and its key from files alone.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{cert}\n{private}\n")
        file.flush()
        try:
            context.load_cert_chain(file.name, password="")
        except (ssl.SSLError, OSError) as error:
            why = getattr(error, "reason", None) or error.strerror
            raise ConfigError(f"{path}.cert_pem", f"cannot be used with key_pem: {why}") from None


def _load_authorities(context: ssl.SSLContext, value: str, path: str) -> None:
    try:
        context.load_verify_locations(cadata=_pem(value, path))
    except ssl.SSLError as error:
        raise ConfigError(path, f"holds no usable certificate: {error.reason}") from None


def _pem(value: str, path: str) -> str:
    if _MARK in value:
        return value
    try:
        plain = base64.b64decode(value, validate=True).decode("ascii")
    except (binascii.Error, UnicodeError, ValueError):
        plain = ""
    if _MARK in plain:
        return plain
    rule = "must be PEM, base64 of PEM, or the path of a PEM file"
    if not value or len(value) > 4096 or not value.isprintable():
        raise ConfigError(path, rule)
    try:
        with Path(value).open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        raise ConfigError(path, f"{rule}; the file cannot be read: {error.strerror}") from None
    text = content.decode("ascii", "replace")
    if len(content) > _MOST or _MARK not in text:
        raise ConfigError(path, f"{rule}; the file holds no PEM")
    return text
