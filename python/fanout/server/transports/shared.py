"""What the endpoints of one server share, and what they know of a client's request."""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import web

from fanout.node import Node
from fanout.server.session import SessionRequest, SessionSettings
from fanout.server.transports.admission import Admission
from fanout.server.transports.connections import Connections
from fanout.server.transports.emulated import EmulatedConnection
from fanout.server.transports.encodings import Encodings

__all__ = ["Shared", "session_request"]


@dataclass(frozen=True, slots=True)
class Shared:
    """``write_timeout`` is that of the streams, in seconds.

    ``emulated`` are the two-way sessions on streams, by their secret ids.
    """

    node: Node
    session: SessionSettings
    connections: Connections
    admission: Admission
    encodings: Encodings
    write_timeout: float
    emulated: dict[str, EmulatedConnection] = field(default_factory=dict, repr=False)


def session_request(request: web.Request, transport: str) -> SessionRequest:
    """``transport`` is its name in the protocol."""
    return SessionRequest(
        headers={name.lower(): value for name, value in request.headers.items()},
        transport=transport,
        address=request.remote or "",
    )
