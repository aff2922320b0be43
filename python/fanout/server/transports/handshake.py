"""The WebSocket handshake (RFC 6455 section 4.2)."""

from __future__ import annotations

import base64
import binascii
import hashlib

from aiohttp import web

__all__ = ["PROTOBUF", "accept_key", "choose_subprotocol", "response_head"]

JSON, PROTOBUF = "centrifuge-json", "centrifuge-protobuf"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"     # RFC 6455 section 1.3


def accept_key(request: web.Request) -> bytes:
    """What proves that the handshake was understood; raises what refuses any other request."""
    headers = request.headers
    if (
        "websocket" not in _tokens(headers.get("Upgrade", ""))
        or "upgrade" not in _tokens(headers.get("Connection", ""))
    ):
        raise web.HTTPUpgradeRequired(
            headers={"Upgrade": "websocket"}, text="a WebSocket handshake is needed here\n")
    if headers.get("Sec-WebSocket-Version") != "13":
        raise web.HTTPUpgradeRequired(
            headers={"Sec-WebSocket-Version": "13"}, text="WebSocket version 13 is needed\n")
    key = headers.get("Sec-WebSocket-Key", "").strip().encode()
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise ValueError
    except (ValueError, binascii.Error):
        raise web.HTTPBadRequest(text="Sec-WebSocket-Key must be 16 bytes in base64\n") from None
    return base64.b64encode(hashlib.sha1(key + _GUID).digest())


def choose_subprotocol(request: web.Request) -> tuple[str, bool]:
    """The subprotocol to answer with (``""`` for none), and whether Protobuf is spoken.

    Raises a refusal when the query asks for Protobuf and the one subprotocol
    that could be agreed on is JSON's.
    """
    offered = [
        token for token in _tokens(",".join(request.headers.getall("Sec-WebSocket-Protocol", ())))
        if token in (JSON, PROTOBUF)]
    query = request.query
    if query.get("format") == "protobuf" or query.get("cf_protocol") == "protobuf":
        if offered and PROTOBUF not in offered:
            raise web.HTTPBadRequest(
                text="the URL asks for Protobuf, Sec-WebSocket-Protocol offers centrifuge-json\n")
        return (PROTOBUF if offered else ""), True
    chosen = offered[0] if offered else ""
    return chosen, chosen == PROTOBUF


def response_head(accept: bytes, subprotocol: str = "", extensions: str = "") -> bytes:
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
    ]
    if subprotocol:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    if extensions:
        lines.append(b"Sec-WebSocket-Extensions: " + extensions.encode())
    return b"\r\n".join([*lines, b"", b""])


def _tokens(header: str) -> list[str]:
    return [token.strip().lower() for token in header.split(",") if token.strip()]
