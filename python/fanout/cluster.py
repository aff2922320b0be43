"""What a node does with the others of its system."""

from __future__ import annotations

import abc
import asyncio
import functools
import json
import logging
import math
import secrets
from collections.abc import Collection, Coroutine, Iterable, Mapping
from typing import Any

from fanout import codes
from fanout._hub import Hub
from fanout.client import Client
from fanout.codes import Disconnect, DisconnectCode
from fanout.control import (
    READERS,
    DisconnectOrder,
    Order,
    Orders,
    RefreshOrder,
    SubscribeOrder,
    UnsubscribeOrder,
)
from fanout.engine import Engine
from fanout.errors import BackpressureError, FanoutError, SurveyError
from fanout.events import RefreshReply, SubscribeReply
from fanout.pattern import channel_pattern
from fanout.peers import NodeInfo, Peers
from fanout.positions import Positions
from fanout.registration import Registration
from fanout.roster import Roster, Target
from fanout.surveys import ANSWER, LEFT, QUESTION, SurveyHandler, Surveys
from fanout.types import ChannelOptions, ControlMessage, StreamPosition

__all__ = ["ClusterNode"]

log = logging.getLogger("fanout")

CHANNELS = "channels"       # the survey behind channel_counts
REMOVED = "history_removed"     # the control message that tells of a channel's history


class ClusterNode(Registration, abc.ABC):
    """One of several nodes: acts on the connections of all, and asks the others.

    A :class:`fanout.Node` is one; this is the part of it that control
    messages are for.
    """

    engine: Engine
    positions: Positions
    _peers: Peers

    def __init__(self, user_connection_limit: int) -> None:
        super().__init__()
        self.uid = secrets.token_hex(16)
        self._roster = Roster(user_connection_limit)
        self._orders = Orders(self._roster, self.background)
        self.surveys = Surveys(
            self.uid, self._tell, lambda: self._peers.uids(), self.background)
        self.surveys.register(CHANNELS, self._count_channels)

    @abc.abstractmethod
    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...

    @abc.abstractmethod
    def checked_options(self, channel: str) -> ChannelOptions: ...

    @abc.abstractmethod
    def _open_hub(self) -> Hub: ...

    @abc.abstractmethod
    def _own_info(self) -> NodeInfo: ...

    @abc.abstractmethod
    def _local_channels(self) -> Iterable[str]:
        """The channels of in-process subscriptions, one for each."""

    # ---- connections ---------------------------------------------------

    @property
    def clients(self) -> Mapping[str, Client]:
        """The connected clients of this node, by connection id."""
        return self._roster.clients

    def clients_of(self, user: str) -> Iterable[Client]:
        """The connections of a user at this node."""
        return self._roster.of_user(user)

    # What follows acts at this node, then is told to the others. Nobody
    # answers: a node that cannot be reached has not heard of it.

    async def subscribe_user(
        self,
        channel: str,
        *,
        user: str = "",
        client: str = "",
        session: str = "",
        reply: SubscribeReply | None = None,
        since: StreamPosition | None = None,
    ) -> None:
        """Subscribe a user's connections, or one of them, on all nodes.

        ``reply`` is what a subscribe handler would have returned. They are
        given what they missed since ``since``, where the channel recovers and
        still has it. Raises ``ValueError`` for a bad name and when neither a
        user nor a connection is named, :exc:`fanout.UnknownChannelError`, and
        what the engine raises for the connections of this node.
        """
        self.checked_options(channel)
        target = Target(user, client, session)
        reply = reply if reply is not None else SubscribeReply()
        await self._order(SubscribeOrder(target, channel, reply, since))

    async def unsubscribe(
        self,
        channel: str,
        *,
        user: str = "",
        client: str = "",
        session: str = "",
        code: int = codes.UNSUBSCRIBE_SERVER,
        reason: str = "server unsubscribe",
    ) -> None:
        """End the subscriptions of a user's connections, or one of them, on all nodes.

        ``""`` for the channel ends them all. Clients come back by themselves
        when ``code`` is 2500 or more.
        """
        await self._order(UnsubscribeOrder(Target(user, client, session), channel, code, reason))

    async def disconnect(
        self,
        *,
        user: str = "",
        client: str = "",
        session: str = "",
        whitelist: Collection[str] = (),
        disconnect: Disconnect | DisconnectCode = codes.DISCONNECT_FORCE,
    ) -> None:
        """Disconnect a user's connections, or one of them, on all nodes.

        Those whose connection id is in ``whitelist`` stay.
        """
        if isinstance(whitelist, (str, bytes)):
            raise TypeError(f"whitelist must be several strs, not {whitelist!r}")
        if isinstance(disconnect, Disconnect):
            # Never the raised one: whoever keeps it would keep its frames.
            disconnect = DisconnectCode(disconnect.code, disconnect.reason)
        await self._order(DisconnectOrder(
            Target(user, client, session), disconnect, frozenset(whitelist)))

    async def refresh_user(
        self, *, user: str = "", client: str = "", session: str = "", reply: RefreshReply
    ) -> None:
        """Prolong a user's connections, or one of them, or end them as expired; on all nodes."""
        await self._order(RefreshOrder(Target(user, client, session), reply))

    async def remove_history(self, channel: str) -> None:
        """Forget the kept messages of ``channel``; its position stays.

        Also what the nodes keep of them for clients that come back: here at
        once, elsewhere when they hear of it. Raises what the engine raises,
        and that as well when the other nodes could not be told: done again, it
        is told again.
        """
        await self.engine.remove_history(channel)
        self.positions.forget_readings(channel)
        params = json.dumps({"channel": channel}).encode()
        await self._tell(ControlMessage(self.uid, REMOVED, params))

    # ---- the other nodes -----------------------------------------------

    async def survey(
        self,
        method: str,
        params: bytes = b"",
        *,
        to: str = "",
        timeout: float = 10.0,  # noqa: ASYNC109 - told to those who are asked
    ) -> dict[str, bytes]:
        """Ask all nodes, this one too, or the one with the uid ``to``; their answers by uid.

        Asked are the nodes known now, and each answers with what its handler
        for ``method`` returns. Raises :exc:`fanout.SurveyError`, which says
        who is missing and has the other answers, when a node leaves, fails,
        or does not answer within ``timeout`` seconds; ``ValueError`` for
        ``params`` of more than 1,000,000 bytes, which an answer must not have
        either; :exc:`fanout.BackpressureError` when 1,000 surveys are under
        way.
        """
        self._open_hub()
        if not isinstance(params, bytes):
            raise TypeError(f"params must be bytes, not {type(params).__name__}")
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be finite and above 0, not {timeout!r}")
        return await self.surveys.ask(method, params, to, timeout)

    def on_survey(self, method: str, handler: SurveyHandler) -> None:
        """Answer the surveys of this name: ``(params) -> bytes | None``, None for ``b""``.

        What fails is logged here and told to the node that asked without its
        text.
        """
        self.surveys.register(method, handler)

    async def channel_counts(self, pattern: str | None = None) -> dict[str, int]:
        """How many client connections each channel has, on all nodes; a survey.

        Channels in which nobody is are not among them. ``pattern`` is as in
        :meth:`fanout.Engine.channels`. Every node looks at all of its
        channels and tells of all that match: no question to ask often where
        there are many. Raises as :meth:`survey` does, but not for a node that
        left: its clients did so too.
        """
        if pattern is not None and not isinstance(pattern, str):
            raise TypeError(f"pattern must be a str or None, not {type(pattern).__name__}")
        try:
            answers = await self.survey(CHANNELS, json.dumps({"pattern": pattern}).encode())
        except SurveyError as error:
            if any(why != LEFT for why in error.missing.values()):
                raise
            answers = error.answers
        counts: dict[str, int] = {}
        for body in answers.values():
            for channel, count in json.loads(body).items():
                counts[channel] = counts.get(channel, 0) + count
        return counts

    def info(self) -> list[NodeInfo]:
        """This node first, then the others that were heard of lately."""
        return [self._own_info(), *self._peers.all()]

    def on_control(self, message: ControlMessage) -> None:
        """What another node says; see :class:`fanout.EngineEvents`."""
        if message.uid == self.uid:
            return
        try:
            self._obey(message)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            log.warning("a control message %r from node %s cannot be read: %r",
                        message.method, message.uid, error)

    # ---- helpers -------------------------------------------------------

    def _obey(self, message: ControlMessage) -> None:
        if message.method == "node":
            info = NodeInfo.from_params(message.params)
            if info.uid != message.uid:
                raise ValueError(f"it tells of {info.uid!r}")
            self._peers.heard(info)
            return
        if message.method in READERS:
            order = READERS[message.method](message.params)
            try:
                done = self._orders.carry_out(order)
            except BackpressureError as error:
                log.warning("%r, ordered by node %s, is not carried out: %s",
                            message.method, message.uid, error)
                return
            if done is not None:
                done.add_done_callback(functools.partial(_tell_failure, message))
        elif message.method == QUESTION:
            self.surveys.on_question(message)
        elif message.method == ANSWER:
            self.surveys.on_answer(message)
        elif message.method == REMOVED:
            self.positions.forget_readings(_removed(message.params))
        elif message.method == "shutdown":
            json.loads(message.params)
            self._peers.left(message.uid)
            self.surveys.left(message.uid)
        else:
            log.warning("unknown control method %r from node %s", message.method, message.uid)

    async def _order(self, order: Order) -> None:
        """Do it here and have it done elsewhere; raises what failed here, or the telling."""
        self._open_hub()
        done = self._orders.carry_out(order)
        try:
            await self._tell(ControlMessage(self.uid, order.method, order.to_params()))
        finally:
            if done is not None:
                await done

    async def _tell(self, message: ControlMessage) -> None:
        await self.engine.publish_control(message)

    def _count_channels(self, params: bytes) -> bytes:
        """The clients of this node's channels, as a survey's answer."""
        pattern = json.loads(params)["pattern"]
        matches = None if pattern is None else channel_pattern(pattern).fullmatch
        hub = self._open_hub()
        counts = {
            channel: hub.num_subscribers(channel) for channel in hub.channels()
            if matches is None or matches(channel)
        }
        for channel in self._local_channels():      # readers in this process are no clients
            if channel in counts:
                counts[channel] -= 1
        return json.dumps({channel: count for channel, count in counts.items() if count}).encode()


def _removed(params: bytes) -> str:
    """The channel whose history another node removed."""
    said = json.loads(params)
    if type(said) is not dict or type(said["channel"]) is not str:
        raise TypeError(f"no node removes the history of {said!r}")
    channel: str = said["channel"]
    return channel


def _tell_failure(message: ControlMessage, done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("%r, ordered by node %s, could not be carried out: %s",
                    message.method, message.uid, error,
                    exc_info=None if isinstance(error, FanoutError) else error)
