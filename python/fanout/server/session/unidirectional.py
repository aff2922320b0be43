"""A session whose client sends nothing after it connected."""

from __future__ import annotations

from time import perf_counter

from fanout import codes
from fanout.codes import ClientError, Disconnect
from fanout.node import Node
from fanout.server.protocol import UNI_JSON
from fanout.server.protocol import messages as wire
from fanout.server.session.base import BaseSession, SessionRequest, SessionSettings
from fanout.server.session.results import time_left

__all__ = ["UniSession", "decode_connect"]


def decode_connect(data: bytes) -> wire.ConnectRequest:
    """What a one-way client wants to connect with; ``b""`` is an empty request.

    Raises ``ValueError`` or ``RecursionError`` when it cannot be read.
    """
    return UNI_JSON.decode_connect(data) if data else wire.ConnectRequest()


class UniSession(BaseSession):
    """Pushes only, in JSON; the first is the answer to the connect request."""

    __slots__ = ()

    def __init__(self, node: Node, settings: SessionSettings, request: SessionRequest) -> None:
        super().__init__(node, settings, request, UNI_JSON)

    async def connect(self, request: wire.ConnectRequest) -> None:
        """Connect, and send what came of it.

        Raises :exc:`fanout.ClientError` or :exc:`fanout.Disconnect` when it is
        refused: how that is said is the transport's.
        """
        began = perf_counter()
        commands = self._node.counters.commands
        try:
            result = await self._connect(request)
        except ClientError as error:
            commands.failed("connect", error.code)
            raise
        except Disconnect:
            raise
        except Exception as error:
            self._log_failed_connect(error)
            raise codes.DISCONNECT_INTERNAL() from None
        finally:
            commands.done("connect", perf_counter() - began)
        self._connected(self._protocol.push(wire.Push(connect=result)), result.subs)

    def push_refresh(self, expire_at: float) -> None:
        self._push(wire.Push(refresh=wire.RefreshPush(expire_at > 0, time_left(expire_at))))

    @property
    def _expects_pongs(self) -> bool:
        return False
