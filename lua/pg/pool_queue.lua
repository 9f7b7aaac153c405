-- SPDX-License-Identifier: MIT
-- pool_queue: who waits for a connection of a pool, first come first. Only the coroutine that waits
-- keeps its claim alive; one that is collected, died or does not come is passed over.
local core = require "pg.core"

local queue = {}

--- Seconds before a waiter looks for itself, and that one who was called may take to come.
local TURN <const> = 1
-- So many that wait have a descriptor to be called by; those behind them sleep as long as it takes
-- at least until they are among them.
local CALLED <const>, SERVED_A_SECOND <const> = 100, 10000

---@param pool pg.Pool
function queue.reset(pool)
  pool.queue, pool.head, pool.tail = setmetatable({}, { __mode = "v" }), 1, 0
end

local function waits(claim)
  return claim and not claim.slot and claim.deadline > core.now()
    and coroutine.status(claim.thread) ~= "dead"
end

local function next_waiting(pool, i)
  repeat i = i + 1 until i > pool.tail or waits(pool.queue[i])
  return i <= pool.tail and i or nil, pool.queue[i]
end

--- For a loop over the numbers and claims of those that wait.
function queue.each(pool)
  while pool.head <= pool.tail and not pool.queue[pool.head] do pool.head = pool.head + 1 end
  return next_waiting, pool, pool.head - 1
end

--- How many connections there are, and how many of them are idle.
function queue.count(pool)
  local count, idle = 0, 0
  for slot in pairs(pool.slots) do
    count = count + 1
    if slot.state == "idle" then idle = idle + 1 end
  end
  return count, idle
end

--- How many connections may be opened now.
function queue.room(pool)
  return core.now() >= pool.retry_at and pool.size - queue.count(pool) or 0
end

--- Calls as many of those that wait as there are connections for.
function queue.call(pool)
  local _, idle = queue.count(pool)
  local free = idle + queue.room(pool)
  for _, claim in queue.each(pool) do
    if free <= 0 then return end
    free = free - 1
    if not claim.called then
      claim.called = core.now()
      if claim.wakeup then claim.wakeup:set() end
    end
  end
end

--- Calls all.
function queue.dismiss(pool)
  for _, claim in queue.each(pool) do
    if claim.wakeup then claim.wakeup:set() end
  end
end

--- Whether nobody is before the claim.
function queue.is_next(pool, claim)
  for _, other in queue.each(pool) do
    if other == claim then return true end
    if not other.called or core.now() - other.called < TURN then return false end
  end
  return true
end

function queue.leave(pool, claim)
  local _ <close> = claim.wakeup
  if claim.number then pool.queue[claim.number] = nil end
  claim.deadline = 0
end

--- Waits until the claim is called, or till then, or for a turn. Answers false where that cannot
--- yield.
function queue.wait(pool, claim, till)
  local now = core.now()
  if not claim.number then
    pool.tail = pool.tail + 1
    claim.number, pool.queue[pool.tail] = pool.tail, claim
  end
  local ahead = claim.number - pool.head
  if not claim.wakeup and ahead < CALLED then claim.wakeup = core.wakeup() end
  local fd = claim.wakeup and claim.wakeup:fd()
  local most = fd and TURN or math.max(ahead, CALLED) / SERVED_A_SECOND
  local yielded = pool.wait and coroutine.isyieldable()
    and pool.wait(fd, "r", math.min(till - now, most)) ~= false
  if claim.wakeup then claim.wakeup:clear() end
  claim.called = nil
  return yielded
end

return queue
