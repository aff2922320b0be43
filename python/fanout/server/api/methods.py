"""What the methods of the server API do, whatever carries them."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from msgspec import UNSET, Raw, UnsetType

import fanout
from fanout._json import valid_json
from fanout._message import Message
from fanout.codes import DISCONNECT_FORCE
from fanout.counters import Calls
from fanout.events import RefreshReply, SubscribeReply
from fanout.handlers import answer
from fanout.node import Node
from fanout.server.api import errors, types
from fanout.server.api.errors import APIError, as_api_error, bad_request
from fanout.server.permissions import fits_format
from fanout.server.rules import ChannelSource, Rules

__all__ = ["METHODS", "TURN", "Method", "RPCHandler", "ServerAPI"]

MOST_CHANNELS = 100_000     # channels of one broadcast
BATCH_SIZE = 1024       # calls of a parallel batch that are under way together
TURN = 128              # calls in a row, before others have their turn

RPCHandler = Callable[[bytes], bytes | Awaitable[bytes | None] | None]


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the API: what it is asked and answers, and what it cannot do without."""

    request: type[types.Request]
    result: type[types.Result]
    required: tuple[str, ...] = ()
    available: bool = True


METHODS: Mapping[str, Method] = {
    "publish": Method(types.PublishRequest, types.PublishResult, ("channel",)),
    "broadcast": Method(types.BroadcastRequest, types.BroadcastResult, ("channels",)),
    "subscribe": Method(types.SubscribeRequest, types.SubscribeResult, ("channel",)),
    "unsubscribe": Method(types.UnsubscribeRequest, types.UnsubscribeResult),
    "disconnect": Method(types.DisconnectRequest, types.DisconnectResult),
    "history": Method(types.HistoryRequest, types.HistoryResult, ("channel",)),
    "history_remove": Method(
        types.HistoryRemoveRequest, types.HistoryRemoveResult, ("channel",)),
    "presence": Method(types.PresenceRequest, types.PresenceResult, ("channel",)),
    "presence_stats": Method(
        types.PresenceStatsRequest, types.PresenceStatsResult, ("channel",)),
    "info": Method(types.InfoRequest, types.InfoResult),
    "rpc": Method(types.RPCRequest, types.RPCResult, ("method",)),
    "refresh": Method(types.RefreshRequest, types.RefreshResult),
    "channels": Method(types.ChannelsRequest, types.ChannelsResult),
    **{
        name: Method(types.MapRequest, types.MapResult, available=False)
        for name in (
            "map_publish", "map_remove", "map_read_state", "map_read_stream", "map_stats",
            "map_clear", "shared_poll_publish",
        )
    },
}
"""By name, in the order in which one wins when a batch's command has several."""


class ServerAPI:
    """The methods, for one node; ``channels`` says what holds in its channels.

    ``metrics_interval`` is over how many seconds the nodes' figures were
    made, for who reads them.
    """

    def __init__(
        self, node: Node, channels: ChannelSource, metrics_interval: float = 60.0
    ) -> None:
        self._node = node
        self._channels = channels
        self._metrics_interval = metrics_interval
        self.calls = Calls()        # what was called, and what came of it
        self._rpc: dict[str, RPCHandler] = {}

    def on_rpc(self, method: str, handler: RPCHandler) -> None:
        """Answer ``rpc`` calls of this name: ``(params) -> bytes | None``, both JSON."""
        if not callable(handler):
            raise TypeError(f"a handler must be callable, not {handler!r}")
        if not method:
            raise ValueError("method must not be empty")
        if method in self._rpc:
            raise ValueError(f"rpc method {method!r} has a handler already")
        self._rpc[method] = handler

    async def call(self, method: str, request: types.Request) -> types.Result:
        """Do what a method is asked; raises :exc:`APIError` and nothing else."""
        began = perf_counter()
        try:
            if not METHODS[method].available:
                raise APIError(errors.NOT_AVAILABLE)
            result: types.Result = await getattr(self, method)(request)
            return result
        except Exception as error:
            failure = as_api_error(error, method)
            self.calls.failed(method, failure.code)
            raise failure from None
        finally:
            self.calls.done(method, perf_counter() - began)

    async def batch(
        self, calls: list[tuple[str, types.Request] | None], parallel: bool
    ) -> list[types.Result | APIError]:
        """Do several calls, one after the other or together; None is no known method."""
        results: list[types.Result | APIError] = [APIError(errors.METHOD_NOT_FOUND)] * len(calls)
        waiting = iter(enumerate(calls))
        # Those that work together all have theirs in one turn of the loop.
        turn = 1 if parallel else TURN

        async def work() -> None:
            for number, call in waiting:
                if call is not None:
                    try:
                        results[number] = await self.call(*call)
                    except APIError as error:
                        results[number] = error
                if number % turn == turn - 1:
                    await asyncio.sleep(0)

        await asyncio.gather(*(
            work() for _ in range(min(BATCH_SIZE, len(calls)) if parallel else 1)))
        return results

    # ---- publishing ----------------------------------------------------

    async def publish(self, request: types.PublishRequest) -> types.PublishResult:
        rules = self._rules(request.channel)
        data = _data(request)
        _check_publication(rules, data)
        position = await self._node.publish(
            request.channel or "", data, **_publish_options(request))
        return types.PublishResult(offset=position.offset, epoch=position.epoch)

    async def broadcast(self, request: types.BroadcastRequest) -> types.BroadcastResult:
        if not request.channels:
            raise bad_request("channels must not be empty")
        if len(request.channels) > MOST_CHANNELS:
            raise bad_request(
                f"channels must be at most {MOST_CHANNELS}, not {len(request.channels)}")
        data = _data(request)
        refused: dict[int, APIError] = {}
        channels = []
        checked: dict[Rules, APIError | None] = {}    # the data need be read but once
        for number, channel in enumerate(request.channels):
            refusal = self._refusal(channel, data, checked)
            if refusal is None:
                channels.append(channel)
            else:
                refused[number] = refusal
            if number % BATCH_SIZE == 0:
                await asyncio.sleep(0)      # others have their turn
        published = iter(
            await self._node.broadcast(channels, data, **_publish_options(request))
            if channels else [])
        responses = []
        for number in range(len(request.channels)):
            result = refused[number] if number in refused else next(published)
            if isinstance(result, Exception):
                failure = as_api_error(result, "broadcast")
                responses.append(types.PublishResponse(
                    error=types.Error(code=failure.code, message=failure.message)))
            else:
                responses.append(types.PublishResponse(
                    result=types.PublishResult(offset=result.offset, epoch=result.epoch)))
        return types.BroadcastResult(responses=responses)

    # ---- connections ---------------------------------------------------

    async def subscribe(self, request: types.SubscribeRequest) -> types.SubscribeResult:
        usual = self._rules(request.channel).by_server
        override = request.override or types.SubscribeOverride()
        reply = SubscribeReply(
            info=_bytes("info", request.info, request.b64info),
            data=_bytes("data", request.data, request.b64data),
            push_join_leave=_chosen(override.force_push_join_leave, usual.push_join_leave),
            recover=_chosen(override.force_recovery, usual.recover),
            position=_chosen(override.force_positioning, usual.position),
            presence=_chosen(override.presence, usual.presence),
            join_leave=_chosen(override.join_leave, usual.join_leave),
            expire_at=request.expire_at or 0,
        )
        await self._node.subscribe_user(
            request.channel or "", reply=reply, since=_position(request.recover_since),
            **_target(request))
        return types.SubscribeResult()

    async def unsubscribe(self, request: types.UnsubscribeRequest) -> types.UnsubscribeResult:
        if request.channel:
            self._rules(request.channel)
        await self._node.unsubscribe(request.channel or "", **_target(request))
        return types.UnsubscribeResult()

    async def disconnect(self, request: types.DisconnectRequest) -> types.DisconnectResult:
        told = request.disconnect
        await self._node.disconnect(
            whitelist=request.whitelist or (),
            disconnect=DISCONNECT_FORCE if told is None else fanout.Disconnect(
                told.code or 0, told.reason or ""),
            **_target(request),
        )
        return types.DisconnectResult()

    async def refresh(self, request: types.RefreshRequest) -> types.RefreshResult:
        info = _bytes("info", request.info, None)
        await self._node.refresh_user(
            reply=RefreshReply(
                expire_at=request.expire_at or 0, expired=bool(request.expired),
                info=info or None),
            **_target(request),
        )
        return types.RefreshResult()

    # ---- what channels keep --------------------------------------------

    async def presence(self, request: types.PresenceRequest) -> types.PresenceResult:
        channel = self._with_presence(request.channel)
        found = await self._node.presence(channel)
        return types.PresenceResult(
            presence={client: _client_info(info) for client, info in found.items()})

    async def presence_stats(
        self, request: types.PresenceStatsRequest
    ) -> types.PresenceStatsResult:
        stats = await self._node.presence_stats(self._with_presence(request.channel))
        return types.PresenceStatsResult(num_clients=stats.num_clients, num_users=stats.num_users)

    async def history(self, request: types.HistoryRequest) -> types.HistoryResult:
        channel = self._with_history(request.channel)
        since, limit = _position(request.since), request.limit or 0
        if request.reverse and since is not None and not since.offset:
            # Nothing is before the beginning; Centrifugo's code for it.
            raise APIError(errors.INTERNAL)
        page = await self._node.history_stream(
            channel, since, limit if limit >= 0 else None, bool(request.reverse))
        if since is not None and since.epoch not in ("", page.position.epoch):
            raise APIError(errors.UNRECOVERABLE_POSITION)
        return types.HistoryResult(
            publications=[_publication(message) for message in page.messages],
            epoch=page.position.epoch,
            offset=page.position.offset,
        )

    async def history_remove(
        self, request: types.HistoryRemoveRequest
    ) -> types.HistoryRemoveResult:
        await self._node.remove_history(self._with_history(request.channel))
        return types.HistoryRemoveResult()

    async def channels(self, request: types.ChannelsRequest) -> types.ChannelsResult:
        counts = await self._node.channel_counts(request.pattern or None)
        return types.ChannelsResult(channels={
            channel: types.ChannelInfo(num_clients=count) for channel, count in counts.items()})

    # ---- the rest ------------------------------------------------------

    async def info(self, request: types.InfoRequest) -> types.InfoResult:
        return types.InfoResult(nodes=[
            types.NodeResult(
                uid=node.uid,
                name=node.name,
                version=node.version,
                num_clients=node.num_clients,
                num_users=node.num_users,
                num_channels=node.num_channels,
                num_subs=node.num_subscriptions,
                uptime=int(node.uptime),
                metrics=types.Metrics(
                    interval=self._metrics_interval, items=dict(node.metrics),
                ) if node.metrics else None,
            )
            for node in self._node.info()
        ])

    async def rpc(self, request: types.RPCRequest) -> types.RPCResult:
        if not request.method:
            raise bad_request("method must not be empty")
        handler = self._rpc.get(request.method)
        if handler is None:
            raise APIError(errors.METHOD_NOT_FOUND)
        data = await answer(handler, _bytes("params", request.params, None))
        if data is None:
            return types.RPCResult()
        if not isinstance(data, bytes) or not valid_json(data):
            raise RuntimeError(f"rpc method {request.method!r} must return JSON, not {data!r}")
        return types.RPCResult(data=Raw(data))

    # ---- helpers -------------------------------------------------------

    def _rules(self, channel: str | None) -> Rules:
        if not channel:
            raise bad_request("channel must not be empty")
        rules = self._channels.resolve(channel)
        if rules is None:
            raise APIError(errors.UNKNOWN_CHANNEL)
        self._node.checked_options(channel)
        return rules

    def _refusal(
        self, channel: str, data: bytes, checked: dict[Rules, APIError | None]
    ) -> APIError | None:
        """Why ``data`` may not be published into ``channel``; ``checked`` keeps what is known."""
        try:
            rules = self._rules(channel)
        except Exception as error:
            return as_api_error(error, "broadcast")
        if rules not in checked:
            try:
                _check_publication(rules, data)
                checked[rules] = None
            except APIError as error:
                checked[rules] = error
        return checked[rules]

    def _with_presence(self, channel: str | None) -> str:
        if not self._rules(channel).channel_options.presence:
            raise APIError(errors.NOT_AVAILABLE)
        return channel or ""

    def _with_history(self, channel: str | None) -> str:
        if not self._rules(channel).channel_options.keeps_history:
            raise APIError(errors.NOT_AVAILABLE)
        return channel or ""


def _check_publication(rules: Rules, data: bytes) -> None:
    if not rules.is_stream:
        raise bad_request("a channel of maps or shared polls, which are not supported")
    if rules.channel_options.wildcards:
        raise bad_request("a channel with a wildcard cannot be published into")
    if not fits_format(data, rules.data_format):
        if not data:
            raise bad_request("data must not be empty")
        raise bad_request(f"data must be what the channel's format asks for: {rules.data_format}")


def _publish_options(request: types.Publishing) -> dict[str, Any]:
    return {
        "tags": request.tags or None,
        "skip_history": bool(request.skip_history),
        "delta": bool(request.delta),
        "idempotency_key": request.idempotency_key or "",
        "version": request.version or 0,
        "version_epoch": request.version_epoch or "",
    }


def _data(request: types.Publishing) -> bytes:
    return _bytes("data", request.data, request.b64data)


def _bytes(what: str, raw: Raw | UnsetType, encoded: str | None) -> bytes:
    """JSON as it came, or bytes that came in base64."""
    if encoded:
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise bad_request(f"b64{what} must be base64") from None
    return b"" if raw is UNSET else bytes(raw)


def _target(
    request: types.SubscribeRequest | types.UnsubscribeRequest | types.DisconnectRequest
    | types.RefreshRequest,
) -> dict[str, Any]:
    return {
        "user": request.user or "",
        "client": request.client or "",
        "session": request.session or "",
    }


def _position(position: types.StreamPosition | None) -> fanout.StreamPosition | None:
    if position is None:
        return None
    return fanout.StreamPosition(position.offset or 0, position.epoch or "")


def _chosen(value: types.BoolValue | None, otherwise: bool | None) -> bool | None:
    return otherwise if value is None else bool(value.value)


def _client_info(info: fanout.ClientInfo) -> types.ClientInfo:
    parts: dict[str, Any] = {}
    for name, value in (("conn_info", info.default_info), ("chan_info", info.channel_info)):
        if not value:
            continue
        if valid_json(value):
            parts[name] = Raw(value)
        else:
            parts[f"b64{name}"] = base64.b64encode(value).decode()
    return types.ClientInfo(user=info.user, client=info.client, **parts)


def _publication(message: Message) -> types.Publication:
    is_json = valid_json(message.data)
    return types.Publication(
        data=Raw(message.data) if is_json else Raw(b"null"),
        info=None if message.info is None else _client_info(message.info),
        offset=message.offset,
        tags=message.tags,
        b64data="" if is_json else base64.b64encode(message.data).decode(),
    )
