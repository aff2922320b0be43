"""Sessions: a client's connection, from the transport's payloads to the node's client.

A transport makes one for each connection, gives it what it reads, and gets
the payloads to send.
"""

from fanout.server.session.base import BaseSession, FrameSink, SessionRequest, SessionSettings
from fanout.server.session.bidirectional import Session
from fanout.server.session.unidirectional import UniSession

__all__ = [
    "BaseSession",
    "FrameSink",
    "Session",
    "SessionRequest",
    "SessionSettings",
    "UniSession",
]
