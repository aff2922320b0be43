"""What a backend answered, as the node's handlers return it."""

from __future__ import annotations

import base64
import binascii
import logging
from typing import NoReturn

from msgspec import Raw

from fanout import codes
from fanout._json import valid_json
from fanout.codes import ClientError, Disconnect
from fanout.events import Capability, PublishReply, SubscribeReply
from fanout.server.proxy.failures import BackendFailure
from fanout.server.proxy.messages import (
    ChannelsCapability,
    DisconnectAnswer,
    ErrorAnswer,
    Flag,
    Override,
    PublishResult,
    Subscription,
)

__all__ = [
    "capabilities", "optional_payload", "payload", "publish_reply", "refuse", "subscribe_reply",
]

log = logging.getLogger("fanout")

MAX_REASON = 123    # bytes, of a WebSocket close frame
MAX_VERSION = 0xFFFFFFFFFFFFFFFF
_ALLOW = frozenset(("sub", "pub", "prs", "hst"))
_NO_OVERRIDE = Override()


def refuse(error: ErrorAnswer | None, disconnect: DisconnectAnswer | None) -> None:
    """Raise what the backend wants the client to be told, if anything.

    Error codes are meant to be 400-1999, but any goes to the client as it is,
    as with Centrifugo; 100 stands in for none. A disconnect code that is not
    the protocol's becomes 3004: clients connect again for both.
    """
    if disconnect is not None:
        _disconnect(disconnect)
    if error is not None:
        if not error.code:
            raise codes.ERROR_INTERNAL()
        raise ClientError(error.code, error.message or "", bool(error.temporary))


def _disconnect(answer: DisconnectAnswer) -> NoReturn:
    code = answer.code or 0
    reason = (answer.reason or "").encode()[:MAX_REASON].decode(errors="ignore")
    if not 3000 <= code <= 4999:
        log.warning(
            "a proxy's backend disconnects with code %d, which must be 4000-4999: 3004 is sent",
            code)
        raise codes.DISCONNECT_INTERNAL()
    raise Disconnect(code, reason)


def payload(data: Raw, b64: str | None) -> bytes:
    """The bytes that stand in ``b64``, else in ``data``; ``b""`` for neither.

    Raises :exc:`BackendFailure` for what is no base64, or no JSON.
    """
    if b64:
        try:
            # Line ends are common in base64, and Go's decoder skips them too.
            return base64.b64decode(
                b64.replace("\r", "").replace("\n", ""), validate=True)
        except (binascii.Error, ValueError):
            raise BackendFailure("an answer with invalid base64") from None
    content = bytes(data)
    # msgspec checks less of what it only passes on.
    if content and not valid_json(content):
        raise BackendFailure("an answer with a payload that is no JSON in UTF-8")
    return content


def optional_payload(data: Raw, b64: str | None) -> bytes | None:
    """As :func:`payload`; None for neither."""
    return payload(data, b64) or None


def subscribe_reply(
    answer: Subscription, *, expire_at: float = 0.0, client_refresh: bool = True
) -> SubscribeReply:
    """A subscription with what the backend overrides, and None for what it does not."""
    override = answer.override or _NO_OVERRIDE
    return SubscribeReply(
        info=payload(answer.info, answer.b64info),
        data=payload(answer.data, answer.b64data),
        push_join_leave=_value(override.force_push_join_leave),
        recover=_value(override.force_recovery),
        position=_value(override.force_positioning),
        presence=_value(override.presence),
        join_leave=_value(override.join_leave),
        expire_at=expire_at,
        client_refresh=client_refresh,
    )


def publish_reply(answer: PublishResult) -> PublishReply:
    # Here "data" goes before "b64data", as in Centrifugo.
    data = payload(answer.data, None) or payload(answer.data, answer.b64data)
    version = answer.version or 0
    if version > MAX_VERSION:       # more than msgspec can check by itself
        raise BackendFailure(f"an answer with a version above {MAX_VERSION}")
    return PublishReply(
        data=data or None,
        tags=answer.tags or None,
        skip_history=bool(answer.skip_history),
        delta=bool(answer.delta),
        idempotency_key=answer.idempotency_key or "",
        version=version,
        version_epoch=answer.version_epoch or "",
    )


def capabilities(answer: list[ChannelsCapability] | None) -> tuple[Capability, ...]:
    """What a connection may do beside its channels' options; words unknown here allow nothing."""
    return tuple(
        Capability(tuple(one.channels or ()), _ALLOW.intersection(one.allow or ()), one.match or "")
        for one in answer or ())


def _value(flag: Flag | None) -> bool | None:
    return None if flag is None else bool(flag.value)
