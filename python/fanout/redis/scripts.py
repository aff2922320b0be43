"""What the server does in one step: publishing with history, reading it, presence.

Times are the server's, in milliseconds. Of a channel with history the server
keeps a hash, its meta data (``e`` the epoch, ``s`` the offset of the newest
message, ``l`` for how long that outlives the messages), and the messages in a
stream, whose entries are numbered with the offsets, or in a list.
"""

from __future__ import annotations

from fanout.redis.envelope import STORED
from fanout.redis.script import Script

__all__ = ["HistoryScripts", "PresenceScripts"]

_MOST_PUBLISHED = 64
"""In one step: as long as the server does nothing else, half a millisecond or so."""

# Keys: meta, messages. Arguments: topic, size, lifetime of the messages, of the meta
# data from now on, by how much that is longer, "1" to drop when inactive, a new
# epoch, message.
_PUBLISH = """
local meta, messages = KEYS[k + 1], KEYS[k + 2]
local topic, message = ARGV[a + 1], ARGV[a + 8]
{repeated}
local known = redis.call('HMGET', meta, 'e', 'l')
{outdated}
if ARGV[a + 6] == '1' and redis.call('EXISTS', messages) == 0
and redis.call('PUBSUB', '{numsub}', topic)[2] == 0 then
redis.call('{publish}', topic, message)
{remember_none}
return {{0, ''}}
end
local epoch, top = known[1], 1
if epoch then
top = redis.call('HINCRBY', meta, 's', 1)
if known[2] ~= ARGV[a + 5] then redis.call('HSET', meta, 'l', ARGV[a + 5]) end
else
epoch = ARGV[a + 7]
redis.call('HSET', meta, 'e', epoch, 's', 1, 'l', ARGV[a + 5])
redis.call('DEL', messages)
end
local offset = string.format('%.0f', top)
{append}
redis.call('PEXPIRE', messages, ARGV[a + 3])
{set_version}
redis.call('PEXPIRE', meta, ARGV[a + 4])
redis.call('{publish}', topic, '{stored}' .. offset .. ':' .. epoch .. ':' .. message)
{remember}
return {{top, epoch}}
"""

# The same with a third key, the result's, and three arguments more: the result's
# lifetime, "" for none; a version with zeros in front, so that the order of texts is
# that of numbers, which are exact up to 53 bits only, "" for none; and its epoch.
_GUARDED = {
    "repeated": """
local result, lifetime, version = KEYS[k + 3], ARGV[a + 9], ARGV[a + 10]
if lifetime ~= '' then
local before = redis.call('GET', result)
if before then
local offset, epoch = string.match(before, '^(%d+):(.*)$')
return {tonumber(offset), epoch}
end
end
""",
    "outdated": """
if known[1] and version ~= '' then
local last = redis.call('HMGET', meta, 'v', 've', 's')
if last[1] and last[2] == ARGV[a + 11] and version <= last[1] then
return {tonumber(last[3]), known[1]}
end
end
""",
    "set_version": (
        "if version ~= '' then "
        "redis.call('HSET', meta, 'v', version, 've', ARGV[a + 11]) end"),
    "remember": (
        "if lifetime ~= '' then "
        "redis.call('SET', result, offset .. ':' .. epoch, 'PX', lifetime) end"),
    "remember_none": "if lifetime ~= '' then redis.call('SET', result, '0:', 'PX', lifetime) end",
}
_UNGUARDED = dict.fromkeys(_GUARDED, "")

# Keys: result. Arguments: topic, message, the result's lifetime. Gives the result of
# who was first, where that was another.
_PUBLISH_ONCE = """
local before = redis.call('GET', KEYS[k + 1])
if before then
local offset, epoch = string.match(before, '^(%d+):(.*)$')
return {{tonumber(offset), epoch}}
end
redis.call('{publish}', ARGV[a + 1], ARGV[a + 2])
redis.call('SET', KEYS[k + 1], '0:', 'PX', ARGV[a + 3])
return {{0, ''}}
"""

_APPEND_TO_STREAM = (
    "redis.call('XADD', messages, 'MAXLEN', ARGV[a + 2], offset .. '-0', 'd', message)")
_APPEND_TO_LIST = """
redis.call('RPUSH', messages, message)
redis.call('LTRIM', messages, '-' .. ARGV[a + 2], -1)
"""

# Keys: meta, messages. Arguments: a new epoch, or "" to create and renew nothing; the
# lifetime of new meta data; offset and epoch to start behind, "" for none; how
# many at most, -1 for all; "1" to take the newest of those before the offset.
# Gives the epoch, the newest offset, the oldest that is kept, the first offset
# that is returned, and the messages in the order of their offsets.
_READ = """
local meta, messages = KEYS[k + 1], KEYS[k + 2]
local fresh, reverse = ARGV[a + 1], ARGV[a + 6] == '1'
local known = redis.call('HMGET', meta, 'e', 's', 'l')
local epoch = known[1]
if not epoch then
if fresh ~= '' then
redis.call('HSET', meta, 'e', fresh, 's', 0, 'l', ARGV[a + 2])
redis.call('PEXPIRE', meta, ARGV[a + 2])
redis.call('DEL', messages)
end
return {{fresh, 0, 1, 1, {{}}}}
end
local top = tonumber(known[2])
local count = redis.call('{length}', messages)
local oldest = top - count + 1
if count == 0 and fresh ~= '' and redis.call('PTTL', meta) < tonumber(known[3]) then
redis.call('PEXPIRE', meta, known[3])
end
local low, high = oldest, top + 1
if ARGV[a + 3] ~= '' then
local since = tonumber(ARGV[a + 3])
if since > top or (ARGV[a + 4] ~= '' and ARGV[a + 4] ~= epoch) then low = high
elseif reverse then high = math.max(since, oldest)
else low = math.max(since + 1, oldest) end
end
local limit = tonumber(ARGV[a + 5])
if limit >= 0 and high - low > limit then
if reverse then low = high - limit else high = low + limit end
end
local found = {{}}
if high > low then found = {range} end
return {{epoch, top, oldest, low, found}}
"""

_STREAM_RANGE = (
    "redis.call('XRANGE', messages, string.format('%.0f-0', low), "
    "string.format('%.0f-0', high - 1))"
)
_LIST_RANGE = "redis.call('LRANGE', messages, low - oldest, high - oldest - 1)"


class HistoryScripts:
    """The scripts of channels with history.

    With ``lists`` messages are kept in lists; with ``sharded`` topics are
    those of sharded pub/sub.
    """

    def __init__(self, *, lists: bool, sharded: bool) -> None:
        publish = "SPUBLISH" if sharded else "PUBLISH"

        def publisher(guards: dict[str, str]) -> str:
            return _PUBLISH.format(
                numsub="SHARDNUMSUB" if sharded else "NUMSUB",
                publish=publish,
                append=_APPEND_TO_LIST if lists else _APPEND_TO_STREAM,
                stored=STORED,
                **guards,
            )

        self.publish = Script(publisher(_UNGUARDED), 2, 8, most=_MOST_PUBLISHED)
        self.publish_guarded = Script(publisher(_GUARDED), 3, 11, most=_MOST_PUBLISHED)
        """With an idempotency key, a version, or both."""
        self.publish_once = Script(
            _PUBLISH_ONCE.format(publish=publish), 1, 3, most=_MOST_PUBLISHED)
        """Without history, and with an idempotency key."""
        self.read = Script(
            _READ.format(
                length="LLEN" if lists else "XLEN",
                range=_LIST_RANGE if lists else _STREAM_RANGE,
            ),
            2, 6, most=1)
        self.messages = b"list" if lists else b"stream"
        """The kind of key that has the messages."""


_MOST_CHANGED = 64
"""Presence entries in one step."""

# Presence is a hash of who is on a channel, the user's name in front with its
# length before that; a sorted set of when each ends; and a hash of how many
# connections each user has: the keys data, ends, users. What has ended is removed
# by whatever comes next, so much at a time.
_PRESENCE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function user_of(value)
local size, at = string.match(value, '^(%d+):()')
return string.sub(value, at, at + size - 1)
end
local function leave(users, user)
if redis.call('HINCRBY', users, user, -1) < 1 then redis.call('HDEL', users, user) end
end
local function remove(data, ends, users, conn)
local value = redis.call('HGET', data, conn)
redis.call('ZREM', ends, conn)
if value then
redis.call('HDEL', data, conn)
leave(users, user_of(value))
end
end
local function purge(data, ends, users, most)
local ended = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, most)
for _, conn in ipairs(ended) do remove(data, ends, users, conn) end
return #ended < most
end
"""

_KEYS = "local data, ends, users = KEYS[k + 1], KEYS[k + 2], KEYS[k + 3]\n"

# Arguments: connection, user, value, lifetime.
_ADD = _KEYS + """
purge(data, ends, users, 100)
local conn, user, lifetime = ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 4])
local old = redis.call('HGET', data, conn)
local before = old and user_of(old)
if before ~= user then
if before then leave(users, before) end
redis.call('HINCRBY', users, user, 1)
end
redis.call('HSET', data, conn, ARGV[a + 3])
redis.call('ZADD', ends, now + lifetime, conn)
for at = k + 1, k + 3 do
if redis.call('PTTL', KEYS[at]) < lifetime then redis.call('PEXPIRE', KEYS[at], lifetime) end
end
"""

# Arguments: connection.
_REMOVE = _KEYS + "remove(data, ends, users, ARGV[a + 1])"

# Nothing when more has ended than one step removes: ask again.
_ENTRIES = _KEYS + "return purge(data, ends, users, 1000) and redis.call('HGETALL', data)"
_STATS = _KEYS + """
return purge(data, ends, users, 1000) and {redis.call('HLEN', data), redis.call('HLEN', users)}
"""


class PresenceScripts:
    """The scripts of presence; each has three keys."""

    def __init__(self) -> None:
        self.add = Script(_ADD, 3, 4, most=_MOST_CHANGED, prelude=_PRESENCE)
        self.remove = Script(_REMOVE, 3, 1, most=_MOST_CHANGED, prelude=_PRESENCE)
        self.entries = Script(_ENTRIES, 3, 0, most=1, prelude=_PRESENCE)
        self.stats = Script(_STATS, 3, 0, most=1, prelude=_PRESENCE)
