-- SPDX-License-Identifier: MIT
-- transaction: BEGIN, a function, COMMIT or ROLLBACK; inside of another one a
-- savepoint. BEGIN goes in the trip of the first statement, and without one there
-- is nothing to begin. The core keeps the first failure of a statement while the function
-- runs, and refuses what comes after it (src/transaction.h).
local core = require "pg.core"
local errors = require "pg.errors"
local options = require "pg.options"

local transaction = {}

local OPTIONS = { "isolation", "readonly", "deferrable", "retries", "deadline" }
local ISOLATION = { ["read committed"] = true, ["repeatable read"] = true, serializable = true }
local RETRIED = { serialization_failure = true, deadlock_detected = true }

-- Seconds to wait before the second try; twice as long before each later one.
local BACKOFF <const>, LONGEST <const> = 0.01, 1

local function expect(given, name, kind, level)
  local value = given[name]
  if value == nil then return end
  local right = kind == "integer" and math.type(value) == "integer" and value >= 0
    or kind == "number" and type(value) == "number" and value > 0
    or kind == "boolean" and type(value) == "boolean"
  if not right then
    error(("%s must be %s, not %s"):format(name, kind == "boolean" and "true or false"
      or kind == "integer" and "an integer of 0 or more" or "a number of seconds above 0",
      tostring(value)), level + 1)
  end
end

--- BEGIN as the options say. The function and they are checked at the caller's line.
---@return string
local function begin_text(given, level)
  options.check(given, OPTIONS, level + 1)
  expect(given, "readonly", "boolean", level + 1)
  expect(given, "deferrable", "boolean", level + 1)
  expect(given, "retries", "integer", level + 1)
  expect(given, "deadline", "number", level + 1)
  local text = "BEGIN"
  if given.isolation ~= nil then
    if not ISOLATION[given.isolation] then
      error(('isolation must be "read committed", "repeatable read" or "serializable", not %s')
        :format(tostring(given.isolation)), level + 1)
    end
    text = text .. " ISOLATION LEVEL " .. given.isolation:upper()
  end
  if given.readonly ~= nil then
    text = text .. (given.readonly and " READ ONLY" or " READ WRITE")
  end
  if given.deferrable ~= nil then
    text = text .. (given.deferrable and " DEFERRABLE" or " NOT DEFERRABLE")
  end
  return text
end

-- For xpcall: where an error object came from is told only now.
local function locate(raised)
  if errors.is(raised) and not raised.traceback then
    raised.traceback = debug.traceback(nil, 2)
  end
  return raised
end

local RETURN_OR_RAISE <const> = "Return from the function to commit, raise an error to roll back. "
  .. "A transaction inside of it, tx:transaction(...), is a savepoint."

local function fail(db, kind, message, fields)
  fields = fields or {}
  fields.kind, fields.message = kind, message
  return select(2, core.fail(fields, db))
end

--- How one try ended: the body's `values`, with the `err` among them that rolled
--- it back; or `err` alone; or what it `raised`. `broken`: what was begun may have
--- been ended, and committed, under it.
---@class pg.Outcome
---@field values? table
---@field err? any
---@field raised? { [1]: any }
---@field broken? boolean

--- Runs the body; answers also whether to commit, and whether there is nothing to.
---@return pg.Outcome, boolean, boolean?
local function run(db, scope, body, tx)
  local _, was_broken = core.guard(scope, true)
  local values = was_broken and { true, n = 1 } or table.pack(xpcall(body, locate, tx))
  local failure, broken, _, unbegun = core.guard(scope, false)
  local ok, first, second = values[1], values[2], values[3]
  if not ok and not errors.is(first) then
    return { raised = { first }, broken = broken }, false
  elseif failure or not ok then
    return { err = failure or first, broken = broken }, false
  elseif broken or was_broken then
    return { err = fail(db, "transaction_failed", "the transaction was ended inside of its "
      .. "function, or something in it was left in the middle: a COMMIT or ROLLBACK of its own, "
      .. "a connection closed or made anew, a statement or a transaction of another coroutine",
      { fixes = { RETURN_OR_RAISE } }), broken = true }, false
  end
  local err = not first and second or nil
  return { values = values, err = err }, err == nil, unbegun
end

--- Takes back what the scope has begun. A connection where that fails is cut, but
--- for one whose transaction the server has failed anyway. One that cannot be used
--- now (another coroutine's statement runs on it) does it before its next statement.
local function roll_back(db, scope, savepoint)
  local _, _, open = core.guard(scope, false)
  if not open then return end
  local state = db:status().state
  if state == "busy" and not core.is_free(db) then return core.abandon(scope) end
  if state ~= "closed" and state ~= "lost" and core.in_transaction(db) ~= false then
    local done, err = db:execute(savepoint and "ROLLBACK TO SAVEPOINT " .. savepoint or "ROLLBACK")
    if done and savepoint then done, err = db:execute("RELEASE SAVEPOINT " .. savepoint) end
    if not done and not (savepoint and db:status().state == "failed") then core.lose(db, err) end
  end
  core.leave(scope)
end

-- What ends a transaction that was not committed, for sure.
local KNOWN = { ["25P03"] = true } -- idle_in_transaction_session_timeout

--- COMMIT's error, or nil. `unbegun`: nothing was sent that could be committed.
local function commit(db, scope, savepoint, deadline, unbegun)
  if deadline and core.now() >= deadline then
    roll_back(db, scope, savepoint)
    return fail(db, "query_timeout", "the transaction's deadline had passed before its COMMIT: "
      .. "it was rolled back", { completed = false, retryable = true })
  elseif unbegun then
    core.leave(scope)
    return nil
  end
  local was_lost = db:status().state == "lost"
  local done, err = db:execute(savepoint and "RELEASE SAVEPOINT " .. savepoint or "COMMIT")
  local state, command = db:status().state, core.command(db)
  if savepoint or was_lost then
    if not done then roll_back(db, scope, savepoint) end
  elseif state == "lost" then
    if not KNOWN[err.sqlstate] then err = fail(db, "commit_unknown", nil, { cause = err }) end
  elseif state ~= "idle" then
    err = err or fail(db, "transaction_failed", "the transaction was still open after COMMIT: it "
      .. "was rolled back", { fixes = { "Look in the server's log." } })
    roll_back(db, scope)
  elseif done and command ~= "COMMIT" then
    err = fail(db, "transaction_failed", "COMMIT was answered by " .. command
      .. ": the server has rolled the transaction back", {
      fixes = { "Look in the server's log." } })
  end
  if err and RETRIED[err.kind] then err.retryable = true end -- it has stored nothing
  core.leave(scope)
  return err
end

--- SAVEPOINT, or a BEGIN that goes with the first statement. The handle for the body; or
--- nil and an error.
local function begin(db, scope, savepoint, plan)
  if plan.deadline and core.now() >= plan.deadline then
    return nil, fail(db, "query_timeout", "the transaction's deadline had passed before its BEGIN",
      { completed = false })
  elseif not plan.nested and core.in_transaction(db) then
    return nil, fail(db, "transaction_failed", "the connection is in another transaction now, so "
      .. "this one cannot be run again")
  end
  local tx, err = core.enter(scope, db, plan.deadline, plan.begin, savepoint)
  if not tx or not savepoint then return tx, err end
  local set, problem = db:execute("SAVEPOINT " .. savepoint)
  if set then return tx end
  core.leave(scope)
  core.spoil(db, problem)
  return nil, problem
end

---@return pg.Outcome
local function try(db, body, plan)
  local savepoint = plan.nested and ("pg_%x"):format(core.now() * 1e9 // 1 | 0) or nil
  local scope <close> = core.scope(db)
  local tx, err = begin(db, scope, savepoint, plan)
  if not tx then return { err = err } end
  local running = true
  local _ <close> = setmetatable({}, { __close = function() -- of a coroutine, closed
    if running then roll_back(db, scope, savepoint) end
  end })
  local outcome, good, unbegun = run(db, scope, body, tx)
  running = false
  if good and not plan.dry then
    outcome.err = commit(db, scope, savepoint, plan.deadline, unbegun)
    if outcome.err then outcome.values = nil end
  else
    roll_back(db, scope, savepoint)
  end
  return outcome
end

--- Sleeps before another try, unless the deadline comes first. The jitter is the
--- clock's: math.random is the program's.
local function back_off(db, attempt, deadline)
  local now = core.now()
  local seconds = math.min(LONGEST, BACKOFF * 2 ^ attempt) * (0.5 + now * 1e6 % 1)
  if deadline and now + seconds >= deadline then return false end
  while core.now() < now + seconds do core.pause(db, now + seconds - core.now()) end
  return true
end

local function may_retry(outcome, plan, attempt)
  local err = outcome.err
  return attempt < plan.retries and errors.is(err) and RETRIED[err.kind] and not outcome.broken
end

local function results(outcome)
  if outcome.raised then error(outcome.raised[1], 0) end
  local values = outcome.values
  if not values then return nil, outcome.err end
  if values.n == 1 then return true end
  return table.unpack(values, 2, values.n)
end

local function plan_of(db, body, given, dry, level)
  if type(body) ~= "function" then
    error("a transaction takes a function, not " .. type(body), level + 1)
  elseif given ~= nil and type(given) ~= "table" then
    error("options must be a table, not " .. type(given), level + 1)
  end
  given = given or {}
  local plan = { begin = begin_text(given, level + 1), dry = dry, retries = given.retries or 0,
    deadline = given.deadline and core.now() + given.deadline }
  if core.in_transaction(db) == nil then -- what was left in the middle ends first
    db:query { query = "", timeout = math.min(core.timeout(db), given.deadline or math.huge) }
  end
  plan.nested = core.in_transaction(db)
  if not plan.nested and given.readonly == false and core.is_readonly(db) then
    error("the connection is read-only: its transactions cannot write", level + 1)
  end
  if plan.nested and next(given) ~= nil then
    error(("'%s' belongs to the outermost transaction: this one is a savepoint")
      :format(next(given)), level + 1)
  end
  return plan
end

-- For functions that call it in their last statement: level 2 is their caller.
local function transact(db, body, given, dry)
  local plan, attempt = plan_of(db, body, given, dry, 2), 0
  while true do
    local outcome = try(db, body, plan)
    if not may_retry(outcome, plan, attempt) or not back_off(db, attempt, plan.deadline) then
      return results(outcome)
    end
    attempt = attempt + 1
  end
end

---@class pg.TransactionOptions
---@field isolation? "read committed"|"repeatable read"|"serializable"
---@field readonly? boolean
---@field deferrable? boolean of a serializable, read-only one: it waits for a safe snapshot
---@field retries? integer more tries on serialization_failure (40001) and deadlock_detected
--- (40P01): the function must bear to be run again; default 0
---@field deadline? number seconds for the whole: statements, tries and the waits between them

--- Runs the function in a transaction and commits; answers what it returned, or
--- true when that was nothing. It is rolled back when the function raises, when it
--- returns nil or false and an error, or when a statement in it failed, whatever
--- the function did about it: the first such error is answered. An error object of
--- this module that was raised is answered, too; anything else is raised again. In
--- a transaction it is a savepoint, and what fails in it leaves the outer one whole.
---@param db pg.Connection
---@param body fun(tx: pg.Connection): ... `tx` is the connection, until the end
---@param given? pg.TransactionOptions
---@return any ...
function transaction.transaction(db, body, given)
  return transact(db, body, given, false)
end

--- The same, but rolled back always; sequences keep what they have given out.
---@param db pg.Connection
---@param body fun(tx: pg.Connection): ...
---@param given? pg.TransactionOptions
---@return any ...
function transaction.dry_run(db, body, given)
  return transact(db, body, given, true)
end

return transaction
