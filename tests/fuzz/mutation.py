"""Changes of JSON that leave it JSON: what is behind the parser is reached that way.

An input is what the target has in front, then JSON texts between separators
(a line end, or the byte 0x1E). One text is changed, or the texts are.
"""

from __future__ import annotations

import json
import random
import re
from typing import Any

__all__ = ["mutated"]

_SEPARATORS = re.compile(rb"([\n\x1e]+)")
_WORDS = (
    "", "a", "b", "plain:a", "cache:a", "users:a#1", "names:abc", "object:a", "none:a", "$a", "#",
    "\0", "é", "\ud83d", "🙂", "x" * 256, "fossil", "eq", "neq", "in", "nin", "ex", "nex", "sw",
    "ew", "ct", "gt", "gte", "lt", "lte", "and", "or", "not", "user", "e30=", "sub", "pub",
    "wildcard", "regex", "publish", "history", "s",
    0, 1, -1, 2, 5, 109, 107, 300, 3000, 3500, 4000, 4999, 5000, 1 << 31, 1 << 32, 1 << 53,
    1 << 63, 1 << 64, -(1 << 63), 1.5, -0.0, 1e308, 10**400, 1_800_000_000, 1_700_000_000,
    None, True, False, [], {}, [[]], {"": {}}, [None], {"value": True}, {"value": None},
)
_KEYS = (
    "id", "connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats",
    "history", "ping", "send", "rpc", "refresh", "sub_refresh", "channel", "channels", "data",
    "b64data", "token", "recover", "offset", "epoch", "positioned", "recoverable", "join_leave",
    "delta", "tf", "flag", "type", "limit", "since", "reverse", "subs", "headers", "name",
    "version", "method", "params", "op", "key", "cmp", "val", "vals", "nodes", "node", "session",
    "user", "client", "info", "b64info", "tags", "skip_history", "idempotency_key",
    "version_epoch", "commands", "parallel", "disconnect", "code", "reason", "whitelist",
    "expire_at", "expired", "recover_since", "override", "presence", "force_recovery", "pattern",
    "result", "error", "message", "temporary", "caps", "allow", "match", "meta", "exp", "nbf",
    "iat", "jti", "aud", "iss", "sub", "uid", "alg", "kid", "crit", "a", "",
)


def mutated(data: bytes, seed: int) -> bytes | None:
    """``data`` with a change of its JSON; None when it has none."""
    chance = random.Random(seed)
    start = min((at for at in (data.find(b"{"), data.find(b"[")) if at >= 0), default=-1)
    if start < 0:
        return None
    parts = _SEPARATORS.split(data[start:])
    at = chance.randrange(0, len(parts), 2)
    if len(parts) > 1 and chance.random() < 0.2:
        other = chance.randrange(0, len(parts), 2)
        parts[at] = chance.choice([parts[other], b"", parts[other] + b"\n" + parts[at]])
    else:
        try:
            parts[at] = _written(_changed(json.loads(parts[at]), chance))
        except (ValueError, RecursionError):
            return None
    return data[:start] + b"".join(parts)


def _written(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _changed(value: Any, chance: random.Random) -> Any:
    """Walk down to somewhere, and change that."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], _changed(value[at], chance), *value[at + 1:]]
    kind = chance.random()
    if isinstance(value, dict) and kind < 0.8:
        if value and kind < 0.25:
            gone = chance.choice(list(value))
            return {key: inner for key, inner in value.items() if key != gone}
        return {**value, chance.choice(_KEYS): chance.choice((*_WORDS, *value.values()))}
    if isinstance(value, list) and kind < 0.7:
        return chance.choice([value + value[:1], value[1:], [*value, chance.choice(_WORDS)]])
    if isinstance(value, str) and kind < 0.4:
        cut = chance.randrange(len(value) + 1)
        return value[:cut] + str(chance.choice(_WORDS)) + value[cut:]
    if isinstance(value, int) and kind < 0.4:
        return value + chance.choice([-1, 1, 1 << 32])
    return chance.choice([*_WORDS, [value], {chance.choice(_KEYS): value}])
