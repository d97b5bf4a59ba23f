import { createHash } from 'node:crypto'
import { placesInLua } from './place.ts'

/** A script that Redis runs as one step. Each write that needs memory comes before those that do not, so that a full Redis refuses all of it. */
export interface Script {
  readonly text: string
  readonly sha: string
}

function script(text: string): Script {
  const whole = `${placesInLua}${text}`
  return { text: whole, sha: createHash('sha1').update(whole).digest('hex') }
}

const clock = `
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
`

// Whoever writes has verified this epoch on this server, and nothing that it knows of may be missing. Else nothing, and the newest positions, see \`Meta\`.
const refusal = `
local function refusal(meta, log, epoch, server, known)
  local found = redis.call('HMGET', meta, 'epoch', 'server', 'last', 'lasting')
  if found[1] ~= epoch then return 'epoch' end
  if found[2] ~= server then return 'server' end
  if tonumber(found[3]) < tonumber(known) or redis.call('EXISTS', log) == 0 then return 'lost' end
  return nil, tonumber(found[3]), tonumber(found[4])
end
`

/**
 * KEYS: meta, log, volatile, members, sessions, revocations, writer, then an id each.
 * ARGV: epoch, server, known position, number of the group, clock or '', dedupe window in ms, how long the result is remembered in ms, 1 when it writes to both
 * streams, else '', and four of each step: kind, body, a, b.
 * Kinds: g events in a pack (a: how many, b: how many of them have an id; three more of each of those: its place in the pack, from 1, index of the id, digest),
 * v volatile event (a: index of the id, b: digest), m membership (a: field, b: row), s session-ended (a, b: range of fields),
 * r revocation (a: id, b: as in a row), l lifted (a: id, b: only if it has expired by then, or ''), p all else; M and R with a position: m and r, only if nothing newer than that stands there.
 * Answers ok and the outcomes in the order of the entries: s stored, d duplicate, c conflict, x superseded, with a position; a number behind a + says for how many
 * entries, with one position after the other.
 */
export const appendScript = script(`${clock}${refusal}
-- What stands after one revocation has taken the place of another of its id: what was refused stays refused.
local function replaced(row, bounds, time)
  local e, i = string.match(row or '', '^%d+:([^:]*):([^:]*):')
  local expires, before = string.match(bounds, '^([^:]*):([^:]*)$')
  if not e or tonumber(e) <= time then return bounds end
  if tonumber(e) > tonumber(expires) then expires = e end
  if i == '' or before == '' then before = '' elseif tonumber(i) > tonumber(before) then before = i end
  return expires .. ':' .. before
end
-- A key of another kind fails here, before anything is written.
redis.call('XLEN', KEYS[2]); redis.call('XLEN', KEYS[3]); redis.call('HLEN', KEYS[4]); redis.call('ZCARD', KEYS[5]); redis.call('HLEN', KEYS[6])
local before = redis.call('GET', KEYS[7])
if before then
  local number, result = string.match(before, '^(%d+) (.*)$')
  if number == ARGV[4] then
    -- A write, so that WAIT has something to wait for.
    redis.call('PEXPIRE', KEYS[7], ARGV[7])
    return { 'ok', result }
  end
  if tonumber(number) > tonumber(ARGV[4]) then return { 'stale' } end
end
local refused, last, lasting = refusal(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
if refused then return { refused } end
local ids = {}
if #KEYS > 7 then ids = redis.call('MGET', unpack(KEYS, 8)) end
local base = firstAt(ARGV[5] == '' and now() or tonumber(ARGV[5]))
local window = tonumber(ARGV[6])
local out = {}
local stored = false
local mixed = ARGV[8] ~= ''
-- Each says what lasts and stands in front of it: whoever has not read that has missed it. Who waits for two streams is given what comes into the first of them: so
-- each also says that there may be more in the other.
local function add(...)
  local args = { ... }
  args[#args + 1] = 'a'
  args[#args + 1] = format(lasting)
  if mixed then
    args[#args + 1] = 'm'
    args[#args + 1] = '1'
  end
  return redis.call('XADD', unpack(args))
end
-- Takes the id for this position, or answers what became of it.
local function taken(index, digest, position)
  local first, of = string.match(ids[index] or '', '^(%d+):(.*)$')
  if first and timeOf(position) - timeOf(tonumber(first)) < window then return (of == digest and 'd' or 'c') .. first end
  ids[index] = format(position) .. ':' .. digest
  redis.call('SET', KEYS[7 + index], ids[index], 'PX', window)
end
local function say(position, count)
  if count > 0 then out[#out + 1] = 's' .. format(position) .. '+' .. count end
end
local function addPack(body, count, named, at)
  local first = math.max(base, last + 1)
  local passed
  local missing = 0
  for item = 1, named do
    local place = tonumber(ARGV[at])
    local known = taken(tonumber(ARGV[at + 1]), ARGV[at + 2], first + place - 1 - missing)
    if known then
      passed = passed or {}
      passed[place] = known
      missing = missing + 1
    end
    at = at + 3
  end
  if not passed then say(first, count)
  else
    local parts = {}
    local from, run = 1, 0
    for place = 1, count do
      local one, two, three, four = string.byte(body, from, from + 3)
      local behind = from + 4 + ((one * 256 + two) * 256 + three) * 256 + four
      if passed[place] then
        say(first + #parts - run, run)
        run = 0
        out[#out + 1] = passed[place]
      else
        parts[#parts + 1] = string.sub(body, from, behind - 1)
        run = run + 1
      end
      from = behind
    end
    say(first + #parts - run, run)
    body = table.concat(parts)
  end
  if count > missing then
    last = first + count - missing - 1
    stored = true
    add(KEYS[2], toId(last), 'p', body)
    lasting = last
  end
  return at
end
local function addOne(kind, older, body, a, b)
  local position = math.max(base, last + 1)
  if kind == 'v' and a ~= '' then
    local known = taken(tonumber(a), b, position)
    if known then
      out[#out + 1] = known
      return
    end
  end
  local row = kind == 'm' and redis.call('HGET', KEYS[4], a) or (kind == 'r' or kind == 'l') and redis.call('HGET', KEYS[6], a)
  local standing = older and row and tonumber(string.match(row, '^(%d+):'))
  if standing and standing >= older then
    out[#out + 1] = 'x' .. format(standing)
    return
  end
  last = position
  stored = true
  local id = toId(position)
  if kind == 'v' then add(KEYS[3], 'MAXLEN', '~', 10000, id, 'e', body)
  elseif kind == 'm' and row then add(KEYS[2], id, 'e', body, 'w', row)
  else add(KEYS[2], id, 'e', body) end
  if kind ~= 'v' then lasting = position end
  if kind == 'm' then
    redis.call('HSET', KEYS[4], a, format(position) .. ':' .. b)
    if string.sub(a, 1, 8) == 'session:' then redis.call('ZADD', KEYS[5], 0, a) end
  elseif kind == 's' then
    for _, field in ipairs(redis.call('ZRANGEBYLEX', KEYS[5], '[' .. a, '(' .. b)) do
      redis.call('HDEL', KEYS[4], field)
      redis.call('ZREM', KEYS[5], field)
    end
  elseif kind == 'r' then redis.call('HSET', KEYS[6], a, format(position) .. ':' .. replaced(row, b, timeOf(position)) .. ':' .. body)
  elseif kind == 'l' and row and (b == '' or tonumber(string.match(row, '^%d+:([^:]*):')) <= tonumber(b)) then redis.call('HDEL', KEYS[6], a) end
  out[#out + 1] = 's' .. format(position)
end
local at = 9
while at <= #ARGV do
  local kind, body, a, b = string.sub(ARGV[at], 1, 1), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local older = tonumber(string.sub(ARGV[at], 2))
  at = at + 4
  if kind == 'g' then at = addPack(body, tonumber(a), tonumber(b), at)
  else addOne(string.lower(kind), older, body, a, b) end
end
if stored then redis.call('HSET', KEYS[1], 'last', format(last), 'lasting', format(lasting)) end
local result = table.concat(out, ' ')
redis.call('SET', KEYS[7], ARGV[4] .. ' ' .. result, 'PX', ARGV[7])
return { 'ok', result }
`)

/**
 * KEYS: meta, log, canary, writers. ARGV: epoch, server, known position, node, token, after how many ms a silent node is forgotten.
 * Answers ok and the first kept position, when it is known.
 */
export const canaryScript = script(`${clock}${refusal}
local refused, _, lasting = refusal(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3])
if refused then return { refused } end
local time = now()
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 100, '*', 'token', ARGV[5], 'a', format(lasting))
redis.call('HSET', KEYS[1], 'at', format(time))
redis.call('HSET', KEYS[4], ARGV[4], format(time))
local writers = redis.call('HGETALL', KEYS[4])
for at = 1, #writers, 2 do
  if time - tonumber(writers[at + 1]) > tonumber(ARGV[6]) then redis.call('HDEL', KEYS[4], writers[at]) end
end
return { 'ok', redis.call('HGET', KEYS[1], 'first') or '' }
`)

/**
 * Everything before a position may go. KEYS: meta, log, volatile. ARGV: epoch, position, how long volatile events are kept in ms, clock or ''.
 * Also when Redis is full, which is when it matters: then what is kept is found out by who asks, as there is no room to write it down.
 */
export const trimScript = script(`${clock}
local found = redis.call('HMGET', KEYS[1], 'epoch', 'first', 'last')
if found[1] ~= ARGV[1] then return { 'epoch' } end
local first = tonumber(found[2] or '')
local wanted = tonumber(ARGV[2])
if not first then
  local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
  first = oldest and toPosition(oldest[1]) or tonumber(found[3]) + 1
  if wanted <= first then redis.pcall('HSET', KEYS[1], 'first', format(first)) end
end
if wanted > first then
  local failed = redis.pcall('HSET', KEYS[1], 'first', ARGV[2])
  if type(failed) == 'table' and failed.err then redis.call('HDEL', KEYS[1], 'first') end
  redis.call('XTRIM', KEYS[2], 'MINID', '~', toId(wanted))
end
redis.call('XTRIM', KEYS[3], 'MINID', '~', format((ARGV[4] == '' and now() or tonumber(ARGV[4])) - tonumber(ARGV[3])))
return { 'ok' }
`)

/**
 * Begins another epoch, over the data that is there. KEYS: meta, log, canary, writers.
 * ARGV: the epoch that it ends ('' for none), the new one, secret, id of a run, server, known position, clock or ''. Answers ok or raced.
 */
export const renewScript = script(`${clock}
local found = redis.call('HMGET', KEYS[1], 'epoch', 'last', 'first', 'lasting')
if (found[1] or '') ~= ARGV[1] then return { 'raced' } end
local time = now()
local place = firstAt(ARGV[7] == '' and time or tonumber(ARGV[7]))
local last = math.max(tonumber(found[2] or '0'), tonumber(ARGV[6]))
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if newest then last = math.max(last, toPosition(newest[1])) end
local lasting = tonumber(found[4] or '') or newest and toPosition(newest[1]) or last
-- A log that is new begins at 0. In one that is not, what comes after is told from all that was lost.
if last > 0 or ARGV[1] ~= '' then last = math.max(last, place) end
redis.call('HSET', KEYS[1], 'format', '3', 'epoch', ARGV[2], 'secret', ARGV[3], 'runs', ARGV[4] .. ':0', 'server', ARGV[5], 'last', format(last),
  'lasting', format(lasting), 'start', format(math.max(last, place)), 'at', format(time))
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('XADD', KEYS[2], last > 0 and toId(last) or '0-1', 'e', '')
  redis.call('XTRIM', KEYS[2], 'MAXLEN', 0)
  redis.call('HSET', KEYS[1], 'first', format(last + 1))
elseif not found[3] then redis.call('HDEL', KEYS[1], 'first') end
redis.call('DEL', KEYS[4])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 100, '*', 'epoch', ARGV[2])
return { 'ok' }
`)

/**
 * The epoch goes on, on another server. KEYS: meta. ARGV: epoch, the server so far, this one, the runs so far, id of the new run. Answers ok or raced.
 */
export const adoptScript = script(`${clock}
local found = redis.call('HMGET', KEYS[1], 'epoch', 'server', 'last')
if found[1] ~= ARGV[1] or found[2] ~= ARGV[2] then return { 'raced' } end
local runs = ARGV[4] .. ',' .. ARGV[5] .. ':' .. format(tonumber(found[3]) + 1)
redis.call('HSET', KEYS[1], 'server', ARGV[3], 'runs', runs, 'at', format(now()))
return { 'ok' }
`)

/**
 * Whether this user may run all that the scripts run; without it one of them could end half-way. KEYS: one that nothing else uses.
 * Errors of other kinds pass: they are met where they matter.
 */
export const permissionScript = script(`
local key = KEYS[1]
-- Each version says it in words of its own: Redis 6.2, 7.0, 7.2 and Valkey, and of a command that there is not.
local lacking = { "can't", 'NOPERM', 'ACL failure', 'nknown' }
for _, command in ipairs({
  { 'TIME' }, { 'EXISTS', key }, { 'DEL', key },
  { 'HSET', key, 'a', 'b' }, { 'HGET', key, 'a' }, { 'HMGET', key, 'a' }, { 'HGETALL', key }, { 'HLEN', key }, { 'HDEL', key, 'a' },
  { 'ZADD', key, 0, 'a' }, { 'ZCARD', key }, { 'ZRANGEBYLEX', key, '[a', '(b' }, { 'ZREM', key, 'a' },
  { 'XADD', key, '*', 'a', 'b' }, { 'XLEN', key }, { 'XRANGE', key, '-', '+', 'COUNT', 1 }, { 'XREVRANGE', key, '+', '-', 'COUNT', 1 },
  { 'XTRIM', key, 'MAXLEN', 0 }, { 'DEL', key }, { 'SET', key, 'a', 'PX', 1000 }, { 'GET', key }, { 'MGET', key }, { 'PEXPIRE', key, 1000 }, { 'DEL', key },
}) do
  local answer = redis.pcall(unpack(command))
  for _, words in ipairs(lacking) do
    -- Returned, not raised: Redis 6.2 cannot raise a table.
    if type(answer) == 'table' and answer.err and string.find(answer.err, words, 1, true) then return { err = answer.err } end
  end
end
return 'ok'
`)
