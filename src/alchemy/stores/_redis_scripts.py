"""What the Redis store has the server do in one step each, in Lua. Keys of one script share a hash tag.

A lease is JSON in the hash of those that are held, under its chain: `token nonce owner since ttl ends seq`, where
`ends` is in milliseconds of the server's clock and `seq` counts the commits made under it. The scripts that need a
lease answer `{1, …}`, or `{0, the lease that is held instead, what is known of the loss}`.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """A script, and the name by which a server that has seen it runs it again."""

    text: str
    digest: str


def _script(*parts: str) -> Script:
    text = "\n".join(part.strip() for part in parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_WITHIN = """
local function within(chain, above)
  return chain == above or string.sub(chain, 1, #above + 1) == above .. '/'
end
"""

# Time in milliseconds has 13 digits: both Lua's numbers and those of cjson (14 digits) hold it exactly.
_NOW = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""

_LOSE = """
local function lose(chain, how)
  if redis.call('HLEN', KEYS[2]) > 1000 then redis.call('DEL', KEYS[2]) end
  redis.call('HSET', KEYS[2], chain, how)
end
"""

# KEYS: held, lost, …  ARGV: chain, token, …
_HELD = """
local raw = redis.call('HGET', KEYS[1], ARGV[1])
local lease = raw and cjson.decode(raw)
if not lease or string.format('%.0f', lease.token) ~= ARGV[2] then
  return {0, raw or '', redis.call('HGET', KEYS[2], ARGV[1]) or ''}
end
"""

# A token is at least the time: should a failover lose the counter's last steps, no token comes twice all the same.
TAKE = _script(
    _WITHIN,
    _NOW,
    _LOSE,
    """
-- KEYS: held, lost, counter  ARGV: chain, nonce, ttl, since, owner, what those hear that have not renewed
local time, stale = now(), {}
local held = redis.call('HGETALL', KEYS[1])
for n = 1, #held, 2 do
  if within(held[n], ARGV[1]) or within(ARGV[1], held[n]) then
    local one = cjson.decode(held[n + 1])
    if one.nonce == ARGV[2] then return {1, held[n], held[n + 1]} end
    if one.ends > time then return {0, held[n], held[n + 1]} end
    stale[#stale + 1] = held[n]
  end
end
local token = math.max(tonumber(redis.call('GET', KEYS[3]) or '0') + 1, time)
redis.call('SET', KEYS[3], string.format('%.0f', token))
for _, chain in ipairs(stale) do
  redis.call('HDEL', KEYS[1], chain)
  lose(chain, ARGV[6])
end
local lease = cjson.encode({
  token = token, nonce = ARGV[2], owner = ARGV[5], since = ARGV[4], ttl = tonumber(ARGV[3]),
  ends = time + tonumber(ARGV[3]), seq = 0
})
redis.call('HSET', KEYS[1], ARGV[1], lease)
return {1, ARGV[1], lease}
""",
)

RENEW = _script(
    _NOW,
    _HELD,
    """
lease.ttl, lease.ends = tonumber(ARGV[3]), now() + tonumber(ARGV[3])
raw = cjson.encode(lease)
redis.call('HSET', KEYS[1], ARGV[1], raw)
return {1, raw}
""",
)

RELEASE = _script(
    _LOSE,
    _HELD,
    """
redis.call('HDEL', KEYS[1], ARGV[1])
lose(ARGV[1], ARGV[3])
return {1}
""",
)

# Asked again after an answer was lost, it must not break the next holder's lease: that is known by `how`.
BREAK = _script(
    _LOSE,
    """
-- KEYS: held, lost  ARGV: chain, how
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] and redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
  lose(ARGV[1], ARGV[2])
end
return {1}
""",
)

LOCKS = _script(
    _NOW,
    """
-- KEYS: held
local time, found = now(), {}
local held = redis.call('HGETALL', KEYS[1])
for n = 1, #held, 2 do
  if cjson.decode(held[n + 1]).ends > time then
    found[#found + 1] = held[n]
    found[#found + 1] = held[n + 1]
  end
end
return found
""",
)

CHECK = _script(_HELD, "return {1}")

LOAD = _script(_HELD, "return {1, redis.call('HGETALL', KEYS[3])}")

# A copy of a commit that was delayed on its way may come after later ones: it is told by its number.
COMMIT = _script(
    _WITHIN,
    _HELD,
    """
-- KEYS: held, lost, rows, units  ARGV: chain, token, seq, unit, clear, number of drops, drops…, (FQN, row)…
local seq, first = tonumber(ARGV[3]), 7 + tonumber(ARGV[6])
if lease.seq >= seq then return {1} end
lease.seq = seq
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(lease))
if ARGV[5] ~= '' then
  for _, fqn in ipairs(redis.call('HKEYS', KEYS[3])) do
    if within(fqn, ARGV[5]) then redis.call('HDEL', KEYS[3], fqn) end
  end
end
for n = 7, first - 1 do redis.call('HDEL', KEYS[3], ARGV[n]) end
for n = first, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[n], ARGV[n + 1]) end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('SADD', KEYS[4], ARGV[4])
else
  redis.call('SREM', KEYS[4], ARGV[4])
end
return {1}
""",
)

SAVE = _script(
    _HELD,
    """
-- KEYS: held, lost, blobs  ARGV: chain, token, name, content
if redis.call('HSETNX', KEYS[3], ARGV[3], ARGV[4]) == 1 then return {1, 1} end
return {1, redis.call('HGET', KEYS[3], ARGV[3]) == ARGV[4] and 1 or 0}
""",
)

CREATE = _script("""
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
""")

APPEND = _script("""
-- KEYS: names, parts  ARGV: name, part, lines
redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[3])
redis.call('SADD', KEYS[1], ARGV[1])
return 1
""")

DISCARD_LOGS = _script("""
-- KEYS: names, parts…  ARGV: name…
for n, name in ipairs(ARGV) do
  redis.call('SREM', KEYS[1], name)
  redis.call('DEL', KEYS[n + 1])
end
return 1
""")
