-- SPDX-License-Identifier: MIT
-- pool: pg.pool and what a pool can do. Who gets which connection, and when, is decided in
-- pool_slots.lua; how a session is made as new for the next user, in src/lend.c.
local codec = require "pg.codec"
local core = require "pg.core"
local errors = require "pg.errors"
local options = require "pg.options"
local slots = require "pg.pool_slots"

local pool = {}

---@class pg.Pool
local Pool = {}
Pool.__index = Pool
Pool.__name = "pg.pool"

local NAMES <const> = { "size", "min", "idle_timeout", "max_lifetime", "acquire_timeout" }
local DEFAULTS <const> = { size = 10, min = 0, idle_timeout = 60, max_lifetime = 3600,
  acquire_timeout = 30 }

-- --- errors at the caller's line -----------------------------------------------------------------

local HERE <const> = debug.getinfo(1, "S").short_src .. ":"

local function place(level)
  local info = debug.getinfo(level + 1, "Sl")
  return info and info.currentline > 0 and info.short_src .. ":" .. info.currentline or "?"
end

-- For xpcall: what was raised, and its text if it is blamed on this file.
local function raised(problem)
  local blamed = type(problem) == "string" and problem:sub(1, #HERE) == HERE
    and problem:match("^%d+: (.*)$", #HERE + 1)
  return { problem, blamed = blamed }
end

--- Calls a method of the connection for who called the pool at `level`: a mistake that it blames on
--- this file is theirs.
local function forward(level, name, ...)
  local method = core.methods[name]
  local ok, results = xpcall(function(...) return table.pack(method(...)) end, raised, ...)
  if ok then return table.unpack(results, 1, results.n) end
  if not results.blamed then error(results[1], 0) end
  error((results.blamed:gsub("^bad argument #%d+ to 'method'", "bad argument to '" .. name .. "'")),
    level + 1)
end

-- --- taking and giving back ----------------------------------------------------------------------

local function expect_open(self, level)
  if self.closed then error("the pool is closed", level + 1) end
end

local function seconds_of(given, level)
  if given == nil then return end
  if type(given) ~= "table" then
    error("options must be a table, not a " .. type(given), level + 1)
  end
  options.check(given, { "timeout" }, level + 1)
  local seconds = given.timeout
  if seconds ~= nil and not (math.type(seconds) and seconds >= 0) then
    error("timeout must be a number of seconds, 0 or more", level + 1)
  end
  return seconds
end

local function acquire(self, seconds, level, free, trust)
  expect_open(self, level + 1)
  return slots.acquire(self, seconds or self.acquire_timeout, place(level + 1), not free, trust)
end

--- A connection of one's own, until it is closed or released: both give it back.
---@param given? { timeout: number } seconds to wait at most; else the pool's acquire_timeout
---@return pg.Connection|nil
---@return pg.Error? # pool_timeout, or why none could be opened
function Pool:acquire(given)
  local db, err = acquire(self, seconds_of(given, 2), 2, true)
  return db, err
end

--- Calls the function with a connection, and gives it back however the function ends.
---@param body fun(db: pg.Connection): ...
---@param given? { timeout: number }
---@return any ... # what the function returned; or nil and why there was no connection
function Pool:use(body, given)
  if type(body) ~= "function" then error("use takes a function, not a " .. type(body), 2) end
  local db <close>, err = acquire(self, seconds_of(given, 2), 2)
  if not db then return nil, err end
  return body(db)
end

-- What makes sense for one call; the connection goes back with the answer.
for _, name in ipairs { "query", "insert", "update", "delete", "execute", "upsert", "pipeline",
  "copy_in", "copy_out", "describe", "tables", "explain", "check", "ping" } do
  Pool[name] = function(self, ...)
    local db <close>, err = acquire(self, nil, 2)
    if not db then return nil, err end
    return forward(2, name, db, ...)
  end
end

--- As db:codec, for all connections of the pool; one that is used has it from the next time on.
--- What a user sets by db:codec ends with the use.
---@param name string
---@param functions? pg.Codec
---@return true|nil
---@return pg.Error? # no such type, or why there was no connection
function Pool:codec(name, functions)
  codec.check(name, functions, 2)
  local db <close>, err = acquire(self, nil, 2)
  if not db then return nil, err end
  local full, problem = codec.name(db, name)
  if not full then return nil, problem end
  self.codecs = codec.with(self.codecs, full, functions)
  return true
end

--- The time for a connection, and the options with what is left of the deadline.
local function within(self, given)
  local deadline = type(given) == "table" and math.type(given.deadline) and given.deadline
  if not deadline then return self.acquire_timeout, function() return given end end
  local till = core.now() + deadline
  return math.min(self.acquire_timeout, deadline), function()
    local left = {}
    for name, value in pairs(given) do left[name] = value end
    left.deadline = math.max(till - core.now(), 1e-6)
    return left
  end
end

for _, name in ipairs { "bulk_insert", "bulk_update" } do
  Pool[name] = function(self, target, rows, given)
    local seconds, left = within(self, given)
    local db <close>, err = acquire(self, seconds, 2)
    if not db then return nil, err end
    return forward(2, name, db, target, rows, left())
  end
end

-- Seconds: a function that runs for nothing costs more than to ask a connection that was idle for
-- longer whether it lives.
local TRUSTED <const> = 1

local LOST <const> = { connection_lost = true, server_unavailable = true }

--- One try on one connection; answers first whether it was lost before anything was committed.
local function transact(self, name, body, seconds, given)
  local db <close>, err = acquire(self, seconds, 3, false, TRUSTED)
  if not db then return false, table.pack(nil, err) end
  local results = table.pack(forward(3, name, db, body, given()))
  local problem = results[2]
  local lost = results[1] == nil and errors.is(problem) and LOST[problem.kind]
    and db:status().state == "lost"
  return lost, results
end

-- For functions that call it in their last statement: level 2 is their caller.
local function transactions(self, name, body, given)
  local seconds, left = within(self, given)
  local retries = type(given) == "table" and math.tointeger(given.retries) or 0
  for attempt = 0, math.huge do
    local lost, results = transact(self, name, body, seconds, left)
    if not lost or attempt >= retries then return table.unpack(results, 1, results.n) end
  end
end

--- A transaction on a connection of the pool. With `retries`, one whose connection was lost before
--- its COMMIT runs again on another.
---@param body fun(tx: pg.Connection): ...
---@param given? pg.TransactionOptions `deadline` is for the wait for a connection, too
---@return any ...
function Pool:transaction(body, given)
  return transactions(self, "transaction", body, given)
end

--- The same, rolled back always.
---@param body fun(tx: pg.Connection): ...
---@param given? pg.TransactionOptions
---@return any ...
function Pool:dry_run(body, given)
  return transactions(self, "dry_run", body, given)
end

-- --- the pool itself -----------------------------------------------------------------------------

---@class pg.PoolStatus
---@field size integer connections that there may be
---@field open integer connections that there are: idle, used and opening
---@field idle integer
---@field used integer
---@field opening integer being opened, looked at or cleared
---@field waiting integer calls that wait for one
---@field created integer connections ever opened
---@field closed integer connections ever closed
---@field replaced integer of these: found broken or too old at hand-out
---@field acquired integer times that one was handed out
---@field timeouts integer times that none was free in time
---@field taken_back integer times that nobody could give it back any more

--- What there is now, and what was so far.
---@return pg.PoolStatus
function Pool:status()
  return slots.status(self)
end

--- Closes: what is idle at once, what is used when it is given back; who waits gets an error. Twice
--- is once.
function Pool:close()
  if self.closed then return end
  self.closed = true
  slots.close(self)
end
Pool.__close = Pool.close

function Pool:__tostring()
  local status = self:status()
  return ("pg.pool%s (%s%d of %d open, %d used)"):format(self.name and ": " .. self.name or "",
    self.closed and "closed, " or "", status.open, status.size, status.used)
end

local function expect(given, name, level)
  local value = given[name]
  if value == nil then return DEFAULTS[name] end
  local least = name == "size" and 1 or 0
  if name == "size" or name == "min" then
    if math.type(value) ~= "integer" or value < least then
      error(("%s must be an integer of %d or more"):format(name, least), level + 1)
    end
  elseif not math.type(value) or not (value > 0 or value == 0 and name == "acquire_timeout") then
    error(name .. " must be a number of seconds above 0", level + 1)
  end
  return value
end

--- How a connection is opened, and the `wait` and the name that it has.
local function opener(target, given, level)
  if type(target) == "string" and options.is_name(target) then
    if given.wait ~= nil then
      error("a saved connection is used whole: its own `wait` counts", level + 1)
    end
    return function(seconds) return core.open(target, seconds) end, core.saved_wait(target), target
  elseif core.limits().saved_only then
    error('this host allows saved connections only: pg.pool("name", { ... })', level + 1)
  end
  local spec = options.specification(target, level + 1, NAMES)
  if type(target) == "string" then
    spec.wait = options.specification({ wait = given.wait }, level + 1).wait
  end
  return function(seconds) return core.open(spec, seconds) end, spec.wait, spec.name
end

--- The options of a table, sorted into the connection's and the pool's.
local function sort(given)
  local connection, own = {}, {}
  for key, value in pairs(given) do connection[key] = value end
  for _, name in ipairs(NAMES) do own[name], connection[name] = given[name], nil end
  return connection, own
end

---@class pg.PoolOptions: pg.Options
---@field size? integer connections at most; default 10
---@field min? integer that idle_timeout leaves open; default 0
---@field idle_timeout? number seconds after which one that nobody uses is closed; default 60
---@field max_lifetime? number seconds it may live, up to a tenth less by chance; default 3600
---@field acquire_timeout? number seconds to wait for one; default 30

--- A pool of connections. None is opened before it is used.
---@param target pg.PoolOptions|string the options of both; or a saved name, URI or conninfo string
---@param given? pg.PoolOptions with a string: the pool's own options and `wait`
---@return pg.Pool
function pool.new(target, given)
  local own = given or {}
  if type(target) == "table" and given == nil then
    target, own = sort(target)
  elseif type(target) ~= "string" or type(own) ~= "table" then
    error("pg.pool takes a table of options, or a name or URI and a table", 2)
  else
    options.check(own, { "wait", table.unpack(NAMES) }, 2)
  end
  local self = { closed = false }
  for _, name in ipairs(NAMES) do self[name] = expect(own, name, 2) end
  if self.min > self.size then
    error(("min = %d is more than size = %d"):format(self.min, self.size), 2)
  end
  self.open, self.wait, self.name = opener(target, own, 2)
  self.release = function(slot) slots.release(self, slot) end
  slots.reset(self)
  return setmetatable(self, Pool)
end

return pool
