"""A backend that is asked about one kind of event."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Generic, TypeVar
from urllib.parse import unquote, urlsplit

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, Encoder
from yarl import URL

import fanout
from fanout import codes
from fanout.server.config import ConfigError
from fanout.server.config.proxies import ProxyConfig
from fanout.server.config.tls import client_context
from fanout.server.proxy.failures import BackendFailure, FailureLog
from fanout.server.proxy.headers import HeaderRules
from fanout.server.proxy.link import Link, Target
from fanout.server.proxy.messages import DisconnectAnswer, ErrorAnswer, Reply, Request

__all__ = ["Backend"]

Result = TypeVar("Result", bound=Struct)

_encoder = Encoder()
_DEFAULTS = {"user-agent": f"fanout/{fanout.__version__}"}
# A short answer is not worth compressing.
_FIXED = {"content-type": "application/json", "accept-encoding": "identity"}


class Backend(Generic[Result]):
    """One proxy of the configuration, for one kind of event.

    ``event`` is the kind (``"connect"``), ``name`` what the configuration
    calls the proxy and ``place`` its key there; ``result`` is the type of what
    a successful answer holds. Raises
    :exc:`~fanout.server.config.ConfigError`.
    """

    def __init__(
        self, link: Link, event: str, name: str, place: str, config: ProxyConfig,
        result: type[Result],
    ) -> None:
        self.event = event
        self.name = name
        self.binary = config.binary_encoding
        self.includes_meta = config.include_connection_meta
        self.headers = HeaderRules(
            config.http_headers, config.emulated_headers, config.http.static_headers, place)
        self.num_calls = 0
        self.num_failures = 0
        self.num_in_flight = 0
        self.seconds = 0.0
        self._link = link
        self._target, self._defaults = _target(config, place)
        self._decoder = Decoder(Reply[result])  # type: ignore[valid-type]
        self._transforms: dict[int, Reply[Result]] = {}
        for transform in config.http.status_to_code_transforms:
            error, disconnect = transform.to_error, transform.to_disconnect
            told: Reply[Result] | None = None
            if error.code:
                told = Reply(error=ErrorAnswer(error.code, error.message, error.temporary))
            elif disconnect.code:
                told = Reply(disconnect=DisconnectAnswer(disconnect.code, disconnect.reason))
            if told is not None:
                self._transforms.setdefault(transform.status_code, told)
        # Not the whole URL: its path may hold a key.
        self._log = FailureLog(f"{place} ({event}, {self._target.url.origin()})")

    async def ask(
        self, request: Request, transport: Mapping[str, str], emulated: Mapping[str, str]
    ) -> Reply[Result]:
        """The backend's answer, or the one that the configuration makes of its HTTP status.

        ``transport`` and ``emulated`` are the headers of the client, see
        :class:`HeaderRules`. Raises :exc:`BackendFailure`, and error 107 for
        what cannot be sent.
        """
        headers = self.headers.select(transport, emulated)
        try:
            body = _encoder.encode(request)
        except UnicodeEncodeError:
            raise codes.ERROR_BAD_REQUEST() from None
        self.num_calls += 1
        self.num_in_flight += 1
        started = time.monotonic()
        try:
            answer = await self._link.post(
                self._target, self._defaults | headers | _FIXED, body)
            return _decoded(self._decoder, answer)
        except BackendFailure as failure:
            told = self._transforms.get(failure.status)
            if told is not None and failure.status:
                return told
            raise
        finally:
            self.num_in_flight -= 1
            self.seconds += time.monotonic() - started

    def failed(self, failure: BackendFailure) -> None:
        """Count and log that its answer was of no use."""
        self.num_failures += 1
        self._log.add(str(failure))


def _target(config: ProxyConfig, place: str) -> tuple[Target, dict[str, str]]:
    """Where the backend is, and the headers that a request has if nothing else sets them."""
    rule = "must be a URL that begins with http:// or https://"
    endpoint = config.endpoint
    if not endpoint:
        raise ConfigError(f"{place}.endpoint", "must be set: the proxy is in use")
    if endpoint.startswith("grpc://"):
        raise ConfigError(f"{place}.endpoint", f"gRPC is not supported; {rule}")
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        url = URL(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(), encoded=True)
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(f"{place}.endpoint", rule)
    defaults = dict(_DEFAULTS)
    if parts.username is not None:
        both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        defaults["authorization"] = "Basic " + base64.b64encode(both.encode()).decode()
    tls = config.http.tls
    return Target(
        url, config.timeout, client_context(tls, f"{place}.http.tls"),
        (tls.server_name or None) if tls.enabled else None), defaults


def _decoded(decoder: Decoder[Reply[Result]], answer: bytes) -> Reply[Result]:
    try:
        return decoder.decode(answer)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        # What msgspec says names fields and types, and shows no values.
        raise BackendFailure(f"an answer that is none: {error}") from None
