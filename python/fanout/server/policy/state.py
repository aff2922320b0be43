"""What the server keeps with a client between two questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanout.client import Client

__all__ = ["AskingClient", "ClientState"]


@dataclass(frozen=True, slots=True)
class ClientState:
    """``channels`` are those that its connection token subscribes it to.

    The headers are what a proxy wants to be told at later questions.
    """

    channels: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    emulated_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, client: Client) -> ClientState:
        return client.state if isinstance(client.state, cls) else _NOTHING


class AskingClient:
    """A client as a proxy's backend is told of it."""

    __slots__ = ("_client", "_state")

    def __init__(self, client: Client) -> None:
        self._client = client
        self._state = ClientState.of(client)

    @property
    def id(self) -> str:
        return self._client.id

    @property
    def user(self) -> str:
        return self._client.user

    @property
    def meta(self) -> bytes:
        return self._client.meta

    @property
    def transport(self) -> str:
        return self._client.transport

    @property
    def encoding(self) -> str:
        return self._client.encoding

    @property
    def headers(self) -> Mapping[str, str]:
        return self._state.headers

    @property
    def emulated_headers(self) -> Mapping[str, str]:
        return self._state.emulated_headers


_NOTHING = ClientState()
