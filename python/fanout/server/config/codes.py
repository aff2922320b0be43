"""Rules for the tables that turn one code into another."""

from __future__ import annotations

from fanout.server.config.errors import ConfigError
from fanout.server.config.model import Config
from fanout.server.config.proxies import DisconnectTransform
from fanout.server.config.references import every_proxy
from fanout.server.config.transports import ConnectResponseConfig

__all__ = ["check_codes"]


def check_codes(config: Config) -> None:
    """Raise :exc:`ConfigError` for a code that no client could be sent."""
    path = "client.connect_code_to_unidirectional_disconnect.transforms"
    transforms = config.client.connect_code_to_unidirectional_disconnect.transforms
    for index, item in enumerate(transforms):
        if not item.code:
            raise ConfigError(f"{path}[{index}].code", "is needed")
        _check_disconnect(f"{path}[{index}].to", item.to)
    for path, proxy in every_proxy(config):
        for index, status in enumerate(proxy.http.status_to_code_transforms):
            if status.to_disconnect.code:
                place = f"{path}.http.status_to_code_transforms[{index}].to_disconnect"
                _check_disconnect(place, status.to_disconnect)
    for name in ("uni_sse", "uni_http_stream"):
        responses = getattr(config, name).connect_code_to_http_response
        _check_responses(f"{name}.connect_code_to_http_response.transforms", responses)


def _check_disconnect(path: str, to: DisconnectTransform) -> None:
    # Outside of it a WebSocket close frame may not carry the code.
    if not 3000 <= to.code <= 4999:
        raise ConfigError(f"{path}.code", "must be from 3000 to 4999", to.code)


def _check_responses(path: str, responses: ConnectResponseConfig) -> None:
    for index, item in enumerate(responses.transforms):
        if not item.code:
            raise ConfigError(f"{path}[{index}].code", "is needed")
        if not 400 <= item.to.status_code <= 599:
            raise ConfigError(
                f"{path}[{index}].to.status_code", "must be from 400 to 599", item.to.status_code
            )
