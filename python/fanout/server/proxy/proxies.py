"""The backends that decide what clients may do, as the configuration has them."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from msgspec import Raw, Struct

from fanout import codes
from fanout._json import valid_json
from fanout.codes import ClientError
from fanout.errors import UnsupportedError
from fanout.events import (
    ConnectEvent,
    ConnectReply,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RPCEvent,
    RPCReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.server.config import Config, ConfigError, NamespaceOptions
from fanout.server.config.proxies import EventProxyConfig, ProxyConfig
from fanout.server.proxy import messages
from fanout.server.proxy.answers import (
    capabilities,
    optional_payload,
    payload,
    publish_reply,
    refuse,
    subscribe_reply,
)
from fanout.server.proxy.backend import Backend
from fanout.server.proxy.failures import BackendFailure, TooManyCallsError
from fanout.server.proxy.link import MAX_CALLS, Link

__all__ = ["ProxiedClient", "Proxies", "ProxyStats"]

log = logging.getLogger("fanout")

Result = TypeVar("Result", bound=Struct)
Prolongation = TypeVar("Prolongation", messages.RefreshResult, messages.SubRefreshResult)
Answer = TypeVar("Answer")

DEFAULT = "default"
POSTPONED = 60.0    # seconds by which a refresh is put off while its backend fails


class ProxiedClient(Protocol):
    """What a backend is told about a connection.

    ``headers`` (lower-case names) and ``emulated_headers`` are at least those
    of its :class:`~fanout.events.ConnectEvent` that :meth:`Proxies.kept`
    returned; ``meta`` is JSON, or empty.
    """

    @property
    def id(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def meta(self) -> bytes: ...
    @property
    def transport(self) -> str: ...
    @property
    def encoding(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def emulated_headers(self) -> Mapping[str, str]: ...


class NamespaceLookup(Protocol):
    """Where a channel's options come from: :class:`fanout.server.permissions.Permissions`."""

    def resolve(self, channel: str) -> HasOptions | None: ...


class HasOptions(Protocol):
    @property
    def options(self) -> NamespaceOptions: ...


@dataclass(frozen=True, slots=True)
class ProxyStats:
    """What one proxy did about one kind of event; ``seconds`` is the time of all its calls."""

    event: str
    name: str
    num_calls: int
    num_failures: int
    num_in_flight: int
    seconds: float


class Proxies:
    """Everything that the configuration leaves to backends.

    The predicates say whether a backend is in charge; only then may it be
    asked. A question is answered with what a handler of the node returns, or
    with :exc:`fanout.ClientError` or :exc:`fanout.Disconnect` as the backend
    has it. Where it gives no usable answer the client gets error 100
    (temporary), or 111 (temporary) when ``max_calls`` are in flight already;
    a refresh is put off by a minute instead.

    Raises :exc:`~fanout.server.config.ConfigError`.
    """

    def __init__(
        self, config: Config, namespaces: NamespaceLookup, *, max_calls: int = MAX_CALLS
    ) -> None:
        self._namespaces = namespaces
        self._rpc = config.rpc
        self._rpc_namespaces = {one.name: one for one in config.rpc.namespaces}
        self._named = {one.name: one for one in config.proxies}
        self._link = Link(max_calls)
        client, channel = config.client.proxy, config.channel.proxy
        self._connect = self._switched("connect", client.connect, messages.ConnectResult)
        self._refresh = self._switched("refresh", client.refresh, messages.RefreshResult)
        options = (config.channel.without_namespace, *config.channel.namespaces)
        self._subscribe = self._per_namespace(
            "subscribe", "channel.proxy.subscribe", channel.subscribe, messages.SubscribeResult,
            (one.subscribe_proxy_name for one in options if one.subscribe_proxy_enabled))
        self._publish = self._per_namespace(
            "publish", "channel.proxy.publish", channel.publish, messages.PublishResult,
            (one.publish_proxy_name for one in options if one.publish_proxy_enabled))
        self._sub_refresh = self._per_namespace(
            "sub_refresh", "channel.proxy.sub_refresh", channel.sub_refresh,
            messages.SubRefreshResult,
            (one.sub_refresh_proxy_name for one in options if one.sub_refresh_proxy_enabled))
        self._calls = self._per_namespace(
            "rpc", "rpc.proxy", config.rpc.proxy, messages.RPCResult,
            (one.proxy_name for one in (config.rpc.without_namespace, *config.rpc.namespaces)
             if one.proxy_enabled))
        later = [one for one in self._backends() if one.event != "connect"]
        self._later_headers = frozenset[str]().union(*(one.headers.transport for one in later))
        self._later_emulated = frozenset[str]().union(*(one.headers.emulated for one in later))

    async def start(self) -> None:
        """Make the questions possible; they are asked in the loop that this runs in."""
        self._link.open()

    async def close(self) -> None:
        """Cut the questions that have no answer yet."""
        await self._link.close()

    # ---- who is in charge ----------------------------------------------

    @property
    def connects(self) -> bool:
        """A backend says who connects, when the client shows no token."""
        return self._connect is not None

    @property
    def refreshes(self) -> bool:
        """A backend says which connections go on; clients are not told that theirs expire."""
        return self._refresh is not None

    def subscribes(self, channel: str) -> bool:
        """A backend says who may subscribe, unless a token or the channel's name does."""
        return self._name(channel, "subscribe") != ""

    def sub_refreshes(self, channel: str) -> bool:
        """A backend says which subscriptions go on; clients are not told that theirs expire."""
        return self._name(channel, "sub_refresh") != ""

    def publishes(self, channel: str) -> bool:
        """A backend says who may publish."""
        return self._name(channel, "publish") != ""

    def kept(self, event: ConnectEvent) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Those of a client's headers, and of its emulated ones, that later questions need."""
        return (
            {name: event.headers[name] for name in self._later_headers & event.headers.keys()},
            {name: value for name, value in event.emulated_headers.items()
             if name.lower() in self._later_emulated} if self._later_emulated else {},
        )

    def stats(self) -> list[ProxyStats]:
        """What the backends did since the start, one for each proxy and kind of event."""
        return [
            ProxyStats(one.event, one.name, one.num_calls, one.num_failures,
                       one.num_in_flight, one.seconds)
            for one in self._backends()]

    # ---- questions -----------------------------------------------------

    async def connect(self, event: ConnectEvent) -> ConnectReply | None:
        """Who connects; None when the backend leaves that to the configuration."""
        backend = _in_charge(self._connect)
        request = messages.ConnectRequest(
            client=event.client, transport=event.transport, protocol=event.encoding,
            encoding=_encoding(backend), name=event.name, version=event.version,
            channels=list(event.subs), **_payload(backend, event.data))
        return await self._decide(
            backend, request, event.headers, event.emulated_headers, self._connect_reply)

    async def refresh(self, client: ProxiedClient, event: RefreshEvent) -> RefreshReply:
        """Whether the connection goes on."""
        backend = _in_charge(self._refresh)

        def read(result: messages.RefreshResult) -> RefreshReply:
            return RefreshReply(
                expire_at=result.expire_at or 0.0,
                info=optional_payload(result.info, result.b64info),
                meta=optional_payload(result.meta, None))

        request = messages.RefreshRequest(**_about(backend, client))
        return await self._prolong(backend, request, client, read, RefreshReply)

    async def subscribe(self, client: ProxiedClient, event: SubscribeEvent) -> SubscribeReply:
        """Whether, and how, the client may subscribe."""
        backend = _in_charge(self._subscribe.get(self._name(event.channel, "subscribe")))

        def read(result: messages.SubscribeResult) -> SubscribeReply:
            return subscribe_reply(
                result, expire_at=result.expire_at or 0.0,
                client_refresh=not self.sub_refreshes(event.channel))

        request = messages.SubscribeRequest(
            channel=event.channel, token=event.token, **_about(backend, client),
            **_payload(backend, event.data))
        reply = await self._decide(
            backend, request, client.headers, client.emulated_headers, read)
        return read(messages.SubscribeResult()) if reply is None else reply

    async def sub_refresh(self, client: ProxiedClient, event: SubRefreshEvent) -> SubRefreshReply:
        """Whether the subscription goes on."""
        backend = _in_charge(self._sub_refresh.get(self._name(event.channel, "sub_refresh")))

        def read(result: messages.SubRefreshResult) -> SubRefreshReply:
            return SubRefreshReply(
                expire_at=result.expire_at or 0.0,
                info=optional_payload(result.info, result.b64info))

        request = messages.SubRefreshRequest(channel=event.channel, **_about(backend, client))
        return await self._prolong(backend, request, client, read, SubRefreshReply)

    async def publish(self, client: ProxiedClient, event: PublishEvent) -> PublishReply:
        """Whether, and what, the client may publish."""
        backend = _in_charge(self._publish.get(self._name(event.channel, "publish")))
        request = messages.PublishRequest(
            channel=event.channel, **_about(backend, client), **_payload(backend, event.data))
        reply = await self._decide(
            backend, request, client.headers, client.emulated_headers, publish_reply)
        return PublishReply() if reply is None else reply

    async def rpc(self, client: ProxiedClient, event: RPCEvent) -> RPCReply:
        """The answer to a call, or error 104 or 108 where none of the backends gives one."""
        ping = self._rpc.ping
        if ping.enabled and event.method == ping.method:
            return RPCReply()
        if not self._calls:
            raise (codes.ERROR_METHOD_NOT_FOUND if ping.enabled else codes.ERROR_NOT_AVAILABLE)()
        boundary = self._rpc.namespace_boundary
        name, found, _ = event.method.partition(boundary) if boundary else ("", "", "")
        # A method that begins with the boundary has no namespace.
        options = self._rpc_namespaces.get(name) if found and name else self._rpc.without_namespace
        if options is None:
            raise codes.ERROR_METHOD_NOT_FOUND()
        if not options.proxy_enabled:
            raise codes.ERROR_NOT_AVAILABLE()
        backend = self._calls[options.proxy_name]
        request = messages.RPCRequest(
            method=event.method, **_about(backend, client), **_payload(backend, event.data))
        reply = await self._decide(
            backend, request, client.headers, client.emulated_headers,
            lambda result: RPCReply(payload(result.data, result.b64data)))
        return RPCReply() if reply is None else reply

    async def _decide(
        self, backend: Backend[Result], request: messages.Request, headers: Mapping[str, str],
        emulated: Mapping[str, str], read: Callable[[Result], Answer],
    ) -> Answer | None:
        """What ``read`` makes of the backend's result; None when it has none."""
        try:
            reply = await backend.ask(request, headers, emulated)
            refuse(reply.error, reply.disconnect)
            return None if reply.result is None else read(reply.result)
        except BackendFailure as failure:
            backend.failed(failure)
            busy = isinstance(failure, TooManyCallsError)
        raise (codes.ERROR_TOO_MANY_REQUESTS if busy else codes.ERROR_INTERNAL)()

    async def _prolong(
        self, backend: Backend[Prolongation], request: messages.Request, client: ProxiedClient,
        read: Callable[[Prolongation], Answer], reply_type: Callable[..., Answer],
    ) -> Answer:
        """What becomes of something that expires: no result, no future."""
        try:
            reply = await backend.ask(request, client.headers, client.emulated_headers)
            if reply.result is None or reply.result.expired:
                return reply_type(expired=True)
            return read(reply.result)
        except BackendFailure as failure:
            backend.failed(failure)
            return reply_type(expire_at=time.time() + POSTPONED)
        except ClientError:     # the client's headers are none that can be sent
            return reply_type(expired=True)

    def _connect_reply(self, result: messages.ConnectResult) -> ConnectReply:
        named = dict.fromkeys(result.channels or (), messages.Subscription())
        named |= {name: one or messages.Subscription() for name, one in (result.subs or {}).items()}
        for name in named:
            if self._options(name) is None:
                log.warning("a connect proxy's backend subscribes to %r: unknown namespace", name)
                raise codes.ERROR_UNKNOWN_CHANNEL()
        return ConnectReply(
            user=result.user or "",
            info=payload(result.info, result.b64info),
            data=payload(result.data, result.b64data),
            meta=payload(result.meta, None),
            expire_at=result.expire_at or 0.0,
            client_refresh=not self.refreshes,
            subs={name: subscribe_reply(one) for name, one in named.items()},
            capabilities=capabilities(result.caps),
        )

    # ---- the configuration ---------------------------------------------

    def _switched(
        self, event: str, config: EventProxyConfig, result: type[Result]
    ) -> Backend[Result] | None:
        if not config.enabled:
            return None
        return Backend(self._link, event, DEFAULT, f"client.proxy.{event}", config, result)

    def _per_namespace(
        self, event: str, place: str, default: ProxyConfig, result: type[Result],
        names: Iterable[str],
    ) -> dict[str, Backend[Result]]:
        """The backends that some namespace uses, by what it calls them."""
        backends = {}
        for name in sorted(set(names)):
            config: ProxyConfig | None = default
            if name != DEFAULT:
                config, place = self._named.get(name), f"proxies.{name}"
            if config is None:
                raise ConfigError("proxies", f"has none of the name that is used for {event}", name)
            backends[name] = Backend(self._link, event, name, place, config, result)
        return backends

    def _backends(self) -> list[Backend[Any]]:
        alone = [one for one in (self._connect, self._refresh) if one is not None]
        return [*alone, *self._subscribe.values(), *self._publish.values(),
                *self._sub_refresh.values(), *self._calls.values()]

    def _options(self, channel: str) -> NamespaceOptions | None:
        rules = self._namespaces.resolve(channel)
        return None if rules is None else rules.options

    def _name(self, channel: str, event: str) -> str:
        """What the channel's namespace calls the proxy of such events; ``""``: it uses none."""
        options = self._options(channel)
        if options is None or not getattr(options, f"{event}_proxy_enabled"):
            return ""
        name: str = getattr(options, f"{event}_proxy_name")
        return name


def _in_charge(backend: Backend[Result] | None) -> Backend[Result]:
    if backend is None:
        raise UnsupportedError("no proxy is in charge of this")
    return backend


def _encoding(backend: Backend[Any]) -> str:
    return "binary" if backend.binary else "json"


def _about(backend: Backend[Any], client: ProxiedClient) -> dict[str, Any]:
    """The fields that tell who asks."""
    fields: dict[str, Any] = {
        "client": client.id, "transport": client.transport, "protocol": client.encoding,
        "encoding": _encoding(backend), "user": client.user}
    if backend.includes_meta and client.meta:
        fields["meta"] = Raw(client.meta)
    return fields


def _payload(backend: Backend[Any], data: bytes) -> dict[str, Any]:
    """The fields for what the client sent along; error 107 for what is no JSON and should be.

    Unchecked it could bring fields of its own into the request.
    """
    if not data:
        return {}
    if backend.binary:
        return {"b64data": base64.b64encode(data).decode()}
    if not valid_json(data):
        raise codes.ERROR_BAD_REQUEST()
    return {"data": Raw(data)}
