-- SPDX-License-Identifier: MIT
-- pool_slots: the connections of a pool. A slot is "opening" (somebody makes it ready, or ready for
-- the next one), "idle", "used" or "closed". One place decides who gets one: `acquire`. Nothing
-- runs in the background: all is done by those who take and give back. An error of a host's debug
-- hook may end any of this anywhere: a slot's state is all that tells where it belongs.
local codec = require "pg.codec"
local core = require "pg.core"
local errors = require "pg.errors"
local queue = require "pg.pool_queue"

local slots = {}

-- Seconds: after a refusal by a full server (doubled by each, up to the longest), for a statement
-- that was left in the middle to end, at least for one that is being made as new (it has begun
-- long ago), and that an idle connection is not asked whether it lives.
local BACKOFF <const>, LONGEST <const> = 0.05, 1
local CLEARING <const>, RENEWING <const>, TRUSTED <const> = 5, 0.5, 30

--- Slots, queue and counters of an empty pool. A slot's claim is what prepares or clears it, or the
--- lease of its user; its thread is the coroutine whose end is the end of that. One without a claim
--- was left behind by a coroutine or a handle that was collected.
---@param pool pg.Pool
function slots.reset(pool)
  pool.pid = core.pid()
  pool.slots = {}
  pool.claims = setmetatable({}, { __mode = "v" })
  pool.threads = setmetatable({}, { __mode = "v" })
  pool.types = {} -- what the connections know of the server's own types, by server
  pool.refusals, pool.retry_at = 0, 0
  pool.counters = { created = 0, closed = 0, replaced = 0, acquired = 0, timeouts = 0,
    taken_back = 0 }
  queue.reset(pool)
end

-- The clock's: math.random is the program's.
local function jitter() return core.now() * 1e6 % 1 end

-- --- slots -------------------------------------------------------------------------------------

local function close(pool, slot)
  if slot.db then
    core.discard(slot.db)
    slot.db = nil
    pool.counters.closed = pool.counters.closed + 1
  end
end

local function drop(pool, slot)
  close(pool, slot)
  slot.state = "closed"
  if not pool.slots[slot] then return end -- of another process
  pool.slots[slot], pool.claims[slot], pool.threads[slot] = nil, nil, nil
  queue.call(pool)
end

-- What an acquirer or one who gives back goes away from, in whatever way.
local Claim = {}

function Claim:__close()
  if self.slot then drop(self.pool, self.slot) end
  self.slot = nil
  queue.leave(self.pool, self)
  queue.call(self.pool)
end

local function claim_of(pool, deadline)
  return setmetatable({ pool = pool, thread = coroutine.running(), deadline = deadline }, Claim)
end

local function hold(claim, slot)
  slot.state, claim.slot = "opening", slot
  local pool = claim.pool
  pool.claims[slot], pool.threads[slot] = claim, claim.thread
end

-- Where a reset that waits would block the loop: `coroutine.close` and the like.
local function may_wait(pool)
  return not pool.wait or coroutine.isyieldable() or select(2, coroutine.running())
end

--- Has the session made as new for the next one. `wait`: also where a statement has to end first.
local function renew(slot, wait)
  local db = slot.db
  if not core.recall(db) then return false end
  if core.in_transaction(db) == nil then -- a statement was left in the middle
    if not wait then return false end
    core.settle(db, CLEARING)
  end
  return core.renew(db, core.cache(db) ~= slot.cache)
end

local function give_back(pool, slot, wait)
  if slot.state ~= "used" then return end
  local claim <close> = claim_of(pool, 0)
  hold(claim, slot)
  slot.place = nil
  local fit = not pool.closed and core.now() < slot.dies_at and renew(slot, wait)
  if not fit or pool.closed then return end
  slot.idle_since = core.now()
  slot.state = "idle"
  claim.slot, pool.claims[slot], pool.threads[slot] = nil, nil, nil
end

--- The user of a slot is done with it.
function slots.release(pool, slot)
  give_back(pool, slot, may_wait(pool))
end

-- Lua leaves the frames of a coroutine that died of an error as they are.
local function is_left(pool, slot)
  local thread = pool.threads[slot]
  return slot.state ~= "idle"
    and (not pool.claims[slot] or thread and coroutine.status(thread) == "dead")
end

--- Takes back what nobody can give back any more.
local function sweep(pool)
  local lost = {}
  for slot in pairs(pool.slots) do
    if is_left(pool, slot) then lost[#lost + 1] = slot end
  end
  for _, slot in ipairs(lost) do
    pool.counters.taken_back = pool.counters.taken_back + 1
    if slot.state == "used" then give_back(pool, slot, false) else drop(pool, slot) end
  end
  return #lost > 0
end

--- The idle slots that were used last and first.
local function idle(pool)
  local last, first
  for slot in pairs(pool.slots) do
    if slot.state == "idle" then
      if not last or slot.idle_since > last.idle_since then last = slot end
      if not first or slot.idle_since < first.idle_since then first = slot end
    end
  end
  return last, first
end

--- Closes those that nobody needed for long, but for the few to be kept.
local function reap(pool)
  local now = core.now()
  while queue.count(pool) > pool.min do
    local _, first = idle(pool)
    if not first or now - first.idle_since < pool.idle_timeout then return end
    drop(pool, first)
  end
end

--- The slot used last, or room for a new one; or nil.
local function take(pool)
  reap(pool)
  sweep(pool)
  local slot = idle(pool)
  if not slot and queue.room(pool) > 0 then
    slot = {}
    pool.slots[slot] = true
  end
  return slot
end

-- --- making ready ------------------------------------------------------------------------------

local function is_sound(slot, claim)
  local db, now, deadline = slot.db, core.now(), claim.deadline
  if now >= slot.dies_at or not core.settle(db, math.max(deadline - now, RENEWING)) then
    return false
  end
  if now - slot.idle_since < claim.trust then return true end
  local seconds = math.min(CLEARING, core.timeout(db), math.max(deadline - core.now(), 0.001))
  return db:query { query = "", timeout = seconds } ~= nil
end

--- Looks at the connection of a slot, and opens one where there is none, or none that is sound.
local function prepare(pool, slot, claim)
  if slot.db then
    if is_sound(slot, claim) then return true end
    close(pool, slot)
    pool.counters.replaced = pool.counters.replaced + 1
  end
  local db, err = pool.open(math.max(claim.deadline - core.now(), 0.001))
  if not db then return nil, err end
  core.share_types(db, pool.types)
  slot.db, slot.dies_at = db, core.now() + pool.max_lifetime * (0.9 + 0.1 * jitter())
  pool.counters.created = pool.counters.created + 1
  return true
end

--- The codecs are the pool's, whatever the last user made of them.
local function set_codecs(pool, db)
  if core.codecs(db) == pool.codecs then return end
  codec.set(db, pool.codecs)
  if not pool.codecs then core.share_types(db, pool.types) end
end

--- The handle for who acquires it.
local function lend(pool, claim, place)
  local slot = claim.slot
  set_codecs(pool, slot.db)
  local db, lease = core.lend(slot.db, pool.release, slot)
  slot.cache, slot.place, slot.state = core.cache(slot.db), place, "used"
  pool.threads[slot] = claim.scoped and claim.thread or nil
  pool.claims[slot], claim.slot = lease, nil
  pool.counters.acquired = pool.counters.acquired + 1
  return db
end

-- --- waiting -----------------------------------------------------------------------------------

--- "main.lua:10, jobs.lua:33 (2)": where those that are used were acquired.
local function places(pool)
  local counts, list = {}, {}
  for slot in pairs(pool.slots) do
    if slot.place then counts[slot.place] = (counts[slot.place] or 0) + 1 end
  end
  for place, n in pairs(counts) do
    list[#list + 1] = n > 1 and ("%s (%d)"):format(place, n) or place
  end
  table.sort(list)
  return table.concat(list, ", ", 1, math.min(#list, 10)) .. (#list > 10 and ", ..." or "")
end

local function fail(pool, message, fields)
  local err = { kind = "pool_timeout", connection = pool.name, message = message }
  for name, value in pairs(fields or {}) do err[name] = value end
  return nil, errors.new(err)
end

local function held(pool)
  local where, count, unused = places(pool), queue.count(pool)
  return ("%d of %d are in use%s"):format(count - unused, pool.size,
    where == "" and "" or ", acquired at " .. where)
end

local function time_out(pool, claim, cause)
  pool.counters.timeouts = pool.counters.timeouts + 1
  if cause and cause.kind == "too_many_connections" then return nil, cause end
  local waited = math.floor((core.now() - claim.since) * 1000 + 0.5) / 1000
  return fail(pool, ("no connection of the pool became free in %.3g s: %s"):format(waited,
    held(pool)), { elapsed = waited, limit = claim.limit, cause = cause })
end

local function exhausted(pool)
  pool.counters.timeouts = pool.counters.timeouts + 1
  return fail(pool, "no connection of the pool is free, and nobody could give one back while this "
    .. "call waits: " .. held(pool), { retryable = false, fixes = {
      "Give a connection back before you take the next one: leave the function of pool:use, or "
        .. "db:release().",
      "Make the pool larger: size = " .. pool.size + 1 .. ".",
      'To wait while other coroutines go on, give the pool the `wait` of your event loop, as in '
        .. 'wait = require "pg.wait.cqueues", and call it in a coroutine of the loop.',
    } })
end

--- Waits until it is worth to look again. Answers nil and an error when it is not any more.
local function wait(pool, claim, cause)
  local now = core.now()
  local refused = queue.count(pool) < pool.size and now < pool.retry_at
  local others = pool.wait and coroutine.isyieldable()
  if now >= claim.deadline or not (others or refused) then
    if claim.number or not others then collectgarbage() end -- what nobody holds any more is free
    if sweep(pool) then return true end
    if now >= claim.deadline and (others or refused) then return time_out(pool, claim, cause) end
    return exhausted(pool)
  end
  local till = refused and math.min(claim.deadline, pool.retry_at) or claim.deadline
  if queue.wait(pool, claim, till) then return true end
  if not refused then return exhausted(pool) end
  while core.now() < till do core.doze(till - core.now()) end
  return true
end

--- The server takes no more connections now: nobody tries again at once.
local function back_off(pool)
  pool.retry_at = core.now() + math.min(LONGEST, BACKOFF * 2 ^ pool.refusals) * (0.5 + jitter())
  pool.refusals = pool.refusals + 1
end

--- One try: a handle; or nil, and the error that ends the trying, and the one that does not.
local function try(pool, claim, place)
  local slot = not pool.closed and queue.is_next(pool, claim) and take(pool)
  if not slot then return end
  hold(claim, slot)
  local ready, err = prepare(pool, slot, claim)
  if ready and not pool.closed then
    pool.refusals = 0
    return lend(pool, claim, place)
  end
  claim.slot = nil
  if err and err.kind == "too_many_connections" then
    back_off(pool)
    drop(pool, slot)
    return nil, nil, err
  end
  drop(pool, slot)
  return nil, err
end

local function connect_failure(pool, claim, err, cause)
  if err.kind == "connect_timeout" and core.now() >= claim.deadline then
    return time_out(pool, claim, cause or err)
  end
  return nil, err
end

--- A connection for one user; or nil and an error.
---@param pool pg.Pool
---@param seconds number
---@param place string where in the program
---@param scoped? boolean for a call of the coroutine that runs, whose end is the end of the use
---@param trust? number seconds that an idle one is not asked whether it lives
---@return pg.Connection|nil
---@return pg.Error?
function slots.acquire(pool, seconds, place, scoped, trust)
  if pool.pid ~= core.pid() then slots.reset(pool) end -- after a fork: the parent's stay its own
  local now = core.now()
  local claim <close> = claim_of(pool, now + seconds)
  claim.since, claim.limit, claim.scoped, claim.trust = now, seconds, scoped, trust or TRUSTED
  local cause
  while true do
    local db, err, refused = try(pool, claim, place)
    if db then return db end
    if pool.closed then return fail(pool, "the pool was closed while this call waited", {
      retryable = false, fixes = {} }) end
    if err then return connect_failure(pool, claim, err, cause) end
    cause = refused or cause
    local again, problem = wait(pool, claim, cause)
    if not again then return nil, problem end
  end
end

--- Closes what is idle, and tells those that wait. What is used is closed when it comes back.
function slots.close(pool)
  for slot in idle, pool do drop(pool, slot) end
  queue.dismiss(pool)
end

--- Counts of the states.
function slots.status(pool)
  local status = { size = pool.size, open = queue.count(pool), idle = 0, used = 0, opening = 0,
    waiting = 0 }
  for _ in queue.each(pool) do status.waiting = status.waiting + 1 end
  for slot in pairs(pool.slots) do status[slot.state] = (status[slot.state] or 0) + 1 end
  for name, value in pairs(pool.counters) do status[name] = value end
  return status
end

return slots
