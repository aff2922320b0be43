"""How unidirectional clients are told that they may not connect.

Their transports know no error replies: an error becomes a disconnect, or the
status of the HTTP response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from fanout import codes
from fanout.codes import ClientError, Disconnect, DisconnectCode
from fanout.server.config import ConnectResponseConfig, UniDisconnectConfig
from fanout.server.transports.stream import response_head

__all__ = ["Refusals", "Statuses"]

_BUILT_IN = {
    codes.ERROR_EXPIRED.code: codes.DISCONNECT_EXPIRED,
    codes.ERROR_TOKEN_EXPIRED.code: codes.DISCONNECT_EXPIRED,
    codes.ERROR_TOO_MANY_REQUESTS.code: codes.DISCONNECT_TOO_MANY_REQUESTS,
    codes.ERROR_PERMISSION_DENIED.code: codes.DISCONNECT_PERMISSION_DENIED,
}


class Refusals:
    """Disconnects in place of errors: those of the configuration, then the built-in ones."""

    def __init__(self, config: UniDisconnectConfig) -> None:
        self._configured = {
            transform.code: DisconnectCode(transform.to.code, transform.to.reason)
            for transform in config.transforms} if config.enabled else {}

    def disconnect(self, refusal: ClientError | Disconnect) -> Disconnect | DisconnectCode:
        if isinstance(refusal, Disconnect):
            return refusal
        return self._configured.get(refusal.code) or _BUILT_IN.get(
            refusal.code, codes.DISCONNECT_INTERNAL)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str


class Statuses:
    """HTTP responses in place of errors and disconnects."""

    def __init__(self, config: ConnectResponseConfig) -> None:
        self.enabled = config.enabled
        self._answers = {
            transform.code: Answer(transform.to.status_code, transform.to.body)
            for transform in config.transforms}

    def response(self, refusal: ClientError | Disconnect, headers: Mapping[str, str]) -> bytes:
        """The whole response, which ends its connection; 500 for what is not configured."""
        answer = self._answers.get(refusal.code)
        if answer is None:
            answer = Answer(500, HTTPStatus(500).phrase)
        said = refusal.message if isinstance(refusal, ClientError) else refusal.reason
        body = (answer.body or said).encode()
        lines = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
            "Connection": "close",
            **headers,
        }
        return response_head(f"{answer.status} {_phrase(answer.status)}", lines) + body


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"
