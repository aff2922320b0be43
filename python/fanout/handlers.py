"""Where the application decides who may do what."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from fanout.codes import Disconnect
from fanout.events import (
    ConnectEvent,
    ConnectReply,
    HistoryEvent,
    Interruption,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    Restoration,
    RPCEvent,
    RPCReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.types import AdminMessage

if TYPE_CHECKING:
    from fanout.client import Client

__all__ = ["Handlers"]

T = TypeVar("T")

OnConnect = Callable[[ConnectEvent], ConnectReply | Awaitable[ConnectReply]]
OnSubscribe = Callable[
    ["Client", SubscribeEvent], SubscribeReply | Awaitable[SubscribeReply | None] | None]
OnPublish = Callable[
    ["Client", PublishEvent], PublishReply | Awaitable[PublishReply | None] | None]
OnPresence = Callable[["Client", str], Awaitable[None] | None]
OnHistory = Callable[["Client", HistoryEvent], Awaitable[None] | None]
OnRPC = Callable[["Client", RPCEvent], RPCReply | Awaitable[RPCReply | None] | None]
OnClientMessage = Callable[["Client", bytes], Awaitable[None] | None]
OnRefresh = Callable[
    ["Client", RefreshEvent], RefreshReply | Awaitable[RefreshReply | None] | None]
OnSubRefresh = Callable[
    ["Client", SubRefreshEvent], SubRefreshReply | Awaitable[SubRefreshReply | None] | None]
OnConnected = Callable[["Client"], Awaitable[None] | None]
OnDisconnect = Callable[["Client", Disconnect], Awaitable[None] | None]
OnAdmin = Callable[[AdminMessage], object]
OnInterruption = Callable[[Interruption], Awaitable[None] | None]
OnRestoration = Callable[[Restoration], Awaitable[None] | None]


class Handlers:
    """The functions that an application registered with its node, one for each event.

    A handler is a function or a coroutine function. It refuses by raising
    :exc:`fanout.ClientError` or :exc:`fanout.Disconnect`; any other exception
    is logged and reaches the client as the protocol's internal error.
    """

    connect: OnConnect | None = None
    connected: OnConnected | None = None
    subscribe: OnSubscribe | None = None
    publish: OnPublish | None = None
    presence: OnPresence | None = None
    history: OnHistory | None = None
    rpc: OnRPC | None = None
    client_message: OnClientMessage | None = None
    refresh: OnRefresh | None = None
    sub_refresh: OnSubRefresh | None = None
    disconnect: OnDisconnect | None = None
    admin: OnAdmin | None = None
    interruption: OnInterruption | None = None
    restoration: OnRestoration | None = None

    def __init__(self) -> None:
        self._defaults: set[str] = set()

    def register(self, name: str, handler: Any, *, default: bool = False) -> None:
        """Have ``handler`` asked. The one that replaces a ``default`` may call it.

        A default is a configuration's: the application's own comes after it and
        wins. Of what a handler is only told, both are. Raises ``TypeError`` for
        what cannot be called with the event's arguments: a client would find it
        out otherwise, much later.
        """
        if not callable(handler):
            raise TypeError(f"a handler must be callable, not {handler!r}")
        _check_arguments(name, handler)
        present = getattr(self, name)
        if present is not None and name not in self._defaults:
            raise ValueError(f"on_{name} has a handler already: {present!r}")
        if default:
            self._defaults.add(name)
        else:
            self._defaults.discard(name)
            if present is not None and name in _TOLD:
                handler = _both(present, handler)
        setattr(self, name, handler)

    def is_default(self, name: str) -> bool:
        """Whether the application left this to what was there before."""
        return name in self._defaults


# What each handler is called with.
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "connect": ("event",),
    "connected": ("client",),
    "subscribe": ("client", "event"),
    "publish": ("client", "event"),
    "presence": ("client", "channel"),
    "history": ("client", "event"),
    "rpc": ("client", "event"),
    "client_message": ("client", "data"),
    "refresh": ("client", "event"),
    "sub_refresh": ("client", "event"),
    "disconnect": ("client", "disconnect"),
    "admin": ("message",),
    "interruption": ("interruption",),
    "restoration": ("restoration",),
}


def _check_arguments(name: str, handler: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return      # some of those written in C do not tell
    arguments = _ARGUMENTS[name]
    try:
        signature.bind(*arguments)
    except TypeError:
        shown = getattr(handler, "__qualname__", None) or repr(handler)
        event = "admin_message" if name == "admin" else name
        raise TypeError(
            f"on_{event} calls its handler with ({', '.join(arguments)}), "
            f"which {shown}({', '.join(signature.parameters)}) does not take") from None


# The events that decide nothing: what a configuration does at them has to be done.
_TOLD = frozenset({"connected", "disconnect", "interruption", "restoration"})


def _both(first: Callable[..., Any], second: Callable[..., Any]) -> Callable[..., Any]:
    async def both(*arguments: object) -> None:
        try:
            await answer(first, *arguments)
        finally:
            await answer(second, *arguments)

    return both


async def answer(handler: Callable[..., Any], *arguments: object) -> Any:
    """What a handler returns, awaited when it is a coroutine function."""
    value = handler(*arguments)
    if inspect.isawaitable(value):
        value = await value
    return value


async def answer_of_type(
    kind: type[T], default: T, name: str, handler: Callable[..., Any], *arguments: object
) -> T:
    """As :func:`answer`; None becomes ``default``, another type is the handler's mistake."""
    value = await answer(handler, *arguments)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise TypeError(f"on_{name} must return a {kind.__name__} or None, not {value!r}")
    return value


