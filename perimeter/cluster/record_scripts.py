"""The scripts of `perimeter.cluster.records`: each of them is one step for all other clients of Redis."""

from __future__ import annotations

from typing import Final

from perimeter.redis.script import Script

# KEYS: the record, its index by id, further indexes, lists by creation, the set of realms, then the ids of parents. ARGV: the
# value, milliseconds until it ends (0: never), the end (epoch seconds), the digest, the number of parents, the time, the number
# of lists, the time of creation, the realm, the beginning of the keys of records. A record whose parent has ended is not written.
# A list does not know when its records end: a few of them are tried each time.
KEEP: Final = Script("""
local life, parents, lists = tonumber(ARGV[2]), tonumber(ARGV[5]), tonumber(ARGV[7])
if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
for i = #KEYS - parents + 1, #KEYS do
    if redis.call('EXISTS', KEYS[i]) == 0 then return 0 end
end
if life > 0 then
    redis.call('SET', KEYS[1], ARGV[1], 'PX', life)
    redis.call('SET', KEYS[2], ARGV[4], 'PX', life)
else
    redis.call('SET', KEYS[1], ARGV[1])
    redis.call('SET', KEYS[2], ARGV[4])
end
local indexes = #KEYS - parents - 1 - lists
if lists > 0 then redis.call('SADD', KEYS[#KEYS - parents], ARGV[9]) end
for i = 3, indexes + lists do
    local new = redis.call('EXISTS', KEYS[i]) == 0
    if i <= indexes then
        redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[6])
        redis.call('ZADD', KEYS[i], ARGV[3], ARGV[4])
    else
        redis.call('ZADD', KEYS[i], ARGV[8], ARGV[4])
        for _, digest in ipairs(redis.call('ZRANDMEMBER', KEYS[i], 4)) do
            if redis.call('EXISTS', ARGV[10] .. digest) == 0 then redis.call('ZREM', KEYS[i], digest) end
        end
    end
    if life == 0 then redis.call('PERSIST', KEYS[i])
    elseif new then redis.call('PEXPIRE', KEYS[i], life)
    else redis.call('PEXPIRE', KEYS[i], life, 'GT') end
end
return 1
""")
# KEYS: the index by id. ARGV: the beginning of the keys of records.
BY_ID: Final = Script("""
local digest = redis.call('GET', KEYS[1])
if not digest then return {} end
return {digest, redis.call('GET', ARGV[1] .. digest)}
""")
# KEYS: the index. ARGV: the beginning of the keys of records, the time, how many to skip, how many to return.
BY_INDEX: Final = Script("""
local found = {}
for _, digest in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf', 'LIMIT', ARGV[3], ARGV[4])) do
    found[#found + 1] = digest
    found[#found + 1] = redis.call('GET', ARGV[1] .. digest)
end
return found
""")
# KEYS: a list. ARGV: the beginning of the keys of records, how many to skip, how many to return, 1 for the latest first. What has
# ended is dropped from the list, and others take its place.
LISTED: Final = Script("""
local found, first, count = {}, tonumber(ARGV[2]), tonumber(ARGV[3])
while count > 0 do
    local digests
    if ARGV[4] == '1' then digests = redis.call('ZREVRANGE', KEYS[1], first, first + count - 1)
    else digests = redis.call('ZRANGE', KEYS[1], first, first + count - 1) end
    if #digests == 0 then return found end
    for _, digest in ipairs(digests) do
        local value = redis.call('GET', ARGV[1] .. digest)
        if value then
            found[#found + 1] = digest
            found[#found + 1] = value
            first = first + 1
            count = count - 1
        else
            redis.call('ZREM', KEYS[1], digest)
        end
    end
end
return found
""")
# KEYS: the record, its index by id, further indexes and lists. ARGV: the value as it was read,
# the new one ('' to delete it), the digest.
EXCHANGE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] ~= '' then
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
    return 1
end
redis.call('DEL', KEYS[1], KEYS[2])
for i = 3, #KEYS do redis.call('ZREM', KEYS[i], ARGV[3]) end
return 1
""")
