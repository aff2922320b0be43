"""The Centrifuge client protocol v2 in its two encodings.

A :class:`Protocol` turns frames into the commands of
:mod:`~fanout.server.protocol.messages`, and replies and pushes into payloads;
how a payload lies on a transport is the transport's (``fanout._framing``).
"""

from fanout.server.protocol.base import Protocol
from fanout.server.protocol.json import JSON, UNI_JSON
from fanout.server.protocol.protobuf import PROTOBUF

__all__ = ["JSON", "PROTOBUF", "UNI_JSON", "Protocol"]
