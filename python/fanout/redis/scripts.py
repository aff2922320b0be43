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

# KEYS: meta, messages. ARGV: topic, size, lifetime of the messages, of the meta
# data from now on, by how much that is longer, "1" to drop when inactive, a new
# epoch, message.
_PUBLISH = """
local meta = redis.call('HMGET', KEYS[1], 'e', 'l')
if ARGV[6] == '1' and redis.call('EXISTS', KEYS[2]) == 0
and redis.call('PUBSUB', '{numsub}', ARGV[1])[2] == 0 then
redis.call('{publish}', ARGV[1], ARGV[8])
return {{0, ''}}
end
local epoch, top = meta[1], 1
if epoch then
top = redis.call('HINCRBY', KEYS[1], 's', 1)
if meta[2] ~= ARGV[5] then redis.call('HSET', KEYS[1], 'l', ARGV[5]) end
else
epoch = ARGV[7]
redis.call('HSET', KEYS[1], 'e', epoch, 's', 1, 'l', ARGV[5])
redis.call('DEL', KEYS[2])
end
local offset = string.format('%.0f', top)
{append}
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('{publish}', ARGV[1], '{stored}' .. offset .. ':' .. epoch .. ':' .. ARGV[8])
return {{top, epoch}}
"""

_APPEND_TO_STREAM = "redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], offset .. '-0', 'd', ARGV[8])"
_APPEND_TO_LIST = """
redis.call('RPUSH', KEYS[2], ARGV[8])
redis.call('LTRIM', KEYS[2], '-' .. ARGV[2], -1)
"""

# KEYS: meta, messages. ARGV: a new epoch, or "" to create and renew nothing; the
# lifetime of new meta data; offset and epoch to start behind, "" for none; how
# many at most, -1 for all; "1" to take the newest of those before the offset.
# Gives the epoch, the newest offset, the oldest that is kept, the first offset
# that is returned, and the messages in the order of their offsets.
_READ = """
local meta = redis.call('HMGET', KEYS[1], 'e', 's', 'l')
local epoch = meta[1]
if not epoch then
if ARGV[1] ~= '' then
redis.call('HSET', KEYS[1], 'e', ARGV[1], 's', 0, 'l', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
end
return {{ARGV[1], 0, 1, 1, {{}}}}
end
local top = tonumber(meta[2])
local count = redis.call('{length}', KEYS[2])
local oldest = top - count + 1
if count == 0 and ARGV[1] ~= '' and redis.call('PTTL', KEYS[1]) < tonumber(meta[3]) then
redis.call('PEXPIRE', KEYS[1], meta[3])
end
local low, high = oldest, top + 1
if ARGV[3] ~= '' then
local since = tonumber(ARGV[3])
if since > top or (ARGV[4] ~= '' and ARGV[4] ~= epoch) then low = high
elseif ARGV[6] == '1' then high = math.max(since, oldest)
else low = math.max(since + 1, oldest) end
end
local limit = tonumber(ARGV[5])
if limit >= 0 and high - low > limit then
if ARGV[6] == '1' then low = high - limit else high = low + limit end
end
local found = {{}}
if high > low then found = {range} end
return {{epoch, top, oldest, low, found}}
"""

_STREAM_RANGE = (
    "redis.call('XRANGE', KEYS[2], string.format('%.0f-0', low), "
    "string.format('%.0f-0', high - 1))"
)
_LIST_RANGE = "redis.call('LRANGE', KEYS[2], low - oldest, high - oldest - 1)"


class HistoryScripts:
    """The scripts of channels with history.

    With ``lists`` messages are kept in lists; with ``sharded`` topics are
    those of sharded pub/sub.
    """

    def __init__(self, *, lists: bool, sharded: bool) -> None:
        self.publish = Script(
            _PUBLISH.format(
                numsub="SHARDNUMSUB" if sharded else "NUMSUB",
                publish="SPUBLISH" if sharded else "PUBLISH",
                append=_APPEND_TO_LIST if lists else _APPEND_TO_STREAM,
                stored=STORED,
            ),
            2, 8)
        self.read = Script(
            _READ.format(
                length="LLEN" if lists else "XLEN",
                range=_LIST_RANGE if lists else _STREAM_RANGE,
            ),
            2, 6)
        self.messages = b"list" if lists else b"stream"
        """The kind of key that has the messages."""


# KEYS: data, expire, users. Presence is a hash of who is on a channel, the user's
# name in front with its length before that; a sorted set of when each ends; and
# a hash of how many connections each user has. What has ended is removed by
# whatever comes next, so much at a time.
_PRESENCE = """
local function user_of(value)
local size, at = string.match(value, '^(%d+):()')
return string.sub(value, at, at + size - 1)
end
local function leave(user)
if redis.call('HINCRBY', KEYS[3], user, -1) < 1 then redis.call('HDEL', KEYS[3], user) end
end
local function remove(conn)
local value = redis.call('HGET', KEYS[1], conn)
redis.call('ZREM', KEYS[2], conn)
if value then
redis.call('HDEL', KEYS[1], conn)
leave(user_of(value))
end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function purge(most)
local ended = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, most)
for _, conn in ipairs(ended) do remove(conn) end
return #ended < most
end
"""

# ARGV: connection, user, value, lifetime.
_ADD = _PRESENCE + """
purge(100)
local old = redis.call('HGET', KEYS[1], ARGV[1])
local before = old and user_of(old)
if before ~= ARGV[2] then
if before then leave(before) end
redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
for at = 1, 3 do
if redis.call('PTTL', KEYS[at]) < tonumber(ARGV[4]) then
redis.call('PEXPIRE', KEYS[at], ARGV[4])
end
end
"""

# ARGV: connection.
_REMOVE = _PRESENCE + "remove(ARGV[1])"

# Nothing when more has ended than one step removes: ask again.
_ENTRIES = _PRESENCE + "if purge(1000) then return redis.call('HGETALL', KEYS[1]) end"
_STATS = _PRESENCE + """
if purge(1000) then return {redis.call('HLEN', KEYS[1]), redis.call('HLEN', KEYS[3])} end
"""


class PresenceScripts:
    """The scripts of presence; each has three keys."""

    def __init__(self) -> None:
        self.add = Script(_ADD, 3, 4)
        self.remove = Script(_REMOVE, 3, 1)
        self.entries = Script(_ENTRIES, 3, 0)
        self.stats = Script(_STATS, 3, 0)
