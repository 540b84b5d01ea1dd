-- A rate limit by GCRA under the server's own clock. KEYS[1]: when the key is free again, in microseconds.
-- ARGV: microseconds between two, the most at once, how many are asked for.
-- Answers: 1 or 0 for admitted, microseconds of the span that are taken, microseconds to wait.
-- Numbers of Lua are exact up to 2^53: microseconds since 1970 are until 2255.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local interval = tonumber(ARGV[1])
local span = interval * tonumber(ARGV[2])
local from = tonumber(redis.call('GET', KEYS[1]) or now)
-- One that lies further ahead than any burst reaches is of a clock that went back since.
if from < now or from - now > span then
  from = now
end
local free_at = from + interval * tonumber(ARGV[3])
local wait = free_at - span - now
if wait > 0 then
  return {0, from - now, wait}
end
redis.call('SET', KEYS[1], string.format('%.0f', free_at), 'PX', math.max(1, math.ceil((free_at - now) / 1000)))
return {1, free_at - now, 0}
