-- The one error object: from what the core or the Lua layer knows to kind, condition, cleaned
-- message and fixes. Knows no connection and no result; never raises, never waits.
-- What the words of libpq and the server tell is in connect_text.lua and message_text.lua, how the
-- error looks in error_text.lua, what it advises in fixes.lua and advice.lua.
-- SPDX-License-Identifier: MIT
local conditions <const> = require "pg.conditions"
local fixes <const> = require "pg.fixes"
local advice <const> = require "pg.advice"
local connect_text <const> = require "pg.connect_text"
local error_text <const> = require "pg.error_text"
local message_text <const> = require "pg.message_text"
local secrets <const> = require "pg.secrets"

---@class pg.Error
---@field kind string one word to branch on; the list is errors.kinds
---@field message string the server's or libpq's own text, or the driver's
---@field sqlstate? string five characters
---@field condition? string the SQLSTATE's name in PostgreSQL's Appendix A
---@field severity? string ERROR, FATAL or PANIC, in the server's language
---@field detail? string
---@field hint? string the server's
---@field position? integer place in `sql`, in characters from 1
---@field schema? string
---@field table? string
---@field column? string
---@field constraint? string
---@field datatype? string
---@field context? string where it happened inside the server, without parameter values
---@field parameter? integer number of the parameter, from 1
---@field row? integer place of the row in a list that was given, from 1
---@field index? integer place of the statement in a pipeline, from 1
---@field of? integer how many statements that has
---@field sql? string the statement, as it was sent but for the passwords in it, which are stars
---@field connection? string the connection's saved or given name
---@field server? string the server's version
---@field user? string
---@field database? string
---@field host? string
---@field port? string|integer
---@field elapsed? number seconds
---@field limit? number seconds, or bytes for result_too_large
---@field bytes? integer bytes counted until it was too much
---@field completed? boolean true: finished, changes stand; false: was cancelled; nil: unknown
---@field retryable boolean running the same again may help and cannot do it twice
---@field cause? any the error behind this one
---@field traceback? string where it was raised, of one that a transaction caught
---@field fixes string[] what to try, filled in
---@field report fun(self: pg.Error): string text for a support request, without secrets

local M = {}

---@type pg.Kind[] every kind as data, in the order of the manual
M.kinds = fixes.kinds
---@type table<string, string> texts a host may replace: allow_list, ceiling_timeout, ceiling_result
M.texts = fixes.texts
---@type table<string, string> versions for report(): module, libpq; whoever knows sets them
M.versions = error_text.versions
M.hide_quoted = connect_text.hide_quoted

-- What is not to be seen in pairs(err) but helps to show it; goes when the error goes.
local private <const> = setmetatable({}, { __mode = "k" })

local strings <const> = {
  "kind", "stage", "sqlstate", "message", "severity", "detail", "hint", "internal_query", "schema",
  "table", "column", "constraint", "datatype", "context", "sql", "connection", "server", "user",
  "database", "host", "sslmode", "nearest",
}
local numbers <const> = {
  "position", "internal_position", "parameter", "elapsed", "limit", "bytes", "ceiling",
}
local hidden <const> = {
  "stage", "internal_position", "internal_query", "sslmode", "ssl_in_use", "needs_password",
  "empty_password", "ceiling", "nearest", "lock_holder",
  "taken_back",
}

-- Drops what has the wrong type or is empty, and moves what stays inside to the second table.
local function sort_fields(e)
  for _, name in ipairs(strings) do
    local value = e[name]
    if type(value) == "number" then
      e[name] = tostring(value)
    elseif type(value) ~= "string" or value == "" then
      e[name] = nil
    end
  end
  for _, name in ipairs(numbers) do
    local n = tonumber(e[name])
    e[name] = n and n == n and (math.tointeger(n) or n) or nil
  end
  for _, name in ipairs { "position", "internal_position", "parameter" } do
    e[name] = math.type(e[name]) == "integer" and e[name] > 0 and e[name] or nil
  end
  if type(e.completed) ~= "boolean" then
    e.completed = nil
  end
  local raw = {}
  for _, name in ipairs(hidden) do
    raw[name], e[name] = e[name], nil
  end
  return raw
end

-- The kind from an SQLSTATE that came with a statement.
local function kind_of_state(e, raw)
  local state, text = e.sqlstate, e.message or ""
  if state == "08P01" and raw.stage ~= "connect" and message_text.parameter_count(e, raw) then
    return "invalid_parameter"
  elseif raw.stage == "statement" and state == "3D000" then
    return "query_failed" -- ALTER DATABASE and the like; the session itself is fine
  elseif state == "57014" and message_text.tells_timeout(text) then
    return "query_timeout"
  end
  return connect_text.kind_of_server_text(text, state, raw)
    or fixes.by_sqlstate[state] or fixes.by_sqlstate[state:sub(1, 2)] or "query_failed"
end

local lost <const> = {
  "server closed the connection unexpectedly", "no connection to the server",
  "terminating connection", "could not receive data from server", "could not send data to server",
  "SSL connection has been closed", "SSL SYSCALL error", "lost synchronization with server",
  "connection not open", "connection pointer is NULL",
}

local function decide_kind(e, raw)
  if e.kind then
    return e.kind
  elseif raw.stage == "connect" and (raw.kind or not e.sqlstate) then
    return connect_text.kind(e, raw)
  elseif e.sqlstate then
    return kind_of_state(e, raw)
  end
  for _, words in ipairs(lost) do
    if e.message and e.message:find(words, 1, true) then
      return "connection_lost"
    end
  end
  return "query_failed"
end

-- What became of a statement that a limit ended, in a few words.
local function fate(e, raw)
  if raw.taken_back then return "; its transaction is rolled back" end
  local reads = e.sql and message_text.only_reads(e.sql)
  if e.completed == nil then
    return reads and "; the connection was closed"
      or "; the connection was closed, so whether it took effect is unknown"
  elseif e.completed == false then
    return e.kind == "result_too_large" and "; the statement was cancelled" or "; it was cancelled"
  elseif reads then
    return "; the statement ran to its end, and its rows were dropped"
  end
  return "; the statement ran to its end before it could be cancelled, so its changes stand"
end

-- The driver's own words where there are no others, and what became of the statement.
local function complete_message(e, raw)
  local entry = fixes.by_name[e.kind]
  local limited = e.kind == "query_timeout" or e.kind == "result_too_large"
  local told = e.message
  local timed_out = e.kind == "connect_timeout" and e.limit ~= nil
  if limited and e.limit and not e.sqlstate or timed_out or not told then
    e.message = fixes.fill(entry and entry.message or "an error without a message",
      advice.facts(e, raw))
  end
  if limited and e.message ~= told or e.completed == true then
    e.message = e.message .. fate(e, raw)
  elseif timed_out and told then
    e.message = e.message .. "\n" .. told -- what the other hosts said
  end
end

local safe_to_retry <const> = {
  connect_timeout = true, too_many_connections = true, pool_timeout = true,
  serialization_failure = true, deadlock_detected = true, lock_timeout = true,
}

local function retryable(e, raw)
  if e.kind == "connection_refused" then
    return not raw.not_postgres
  elseif e.kind == "server_unavailable" then
    -- 57P01 and 57P02 in a session may come after the commit and before its answer.
    return raw.stage == "connect" or e.sqlstate == "57P03"
  elseif raw.stage == "statement" and e.sql and message_text.may_commit(e.sql) then
    return false -- a part of it may be stored
  elseif e.kind == "query_timeout" or e.kind == "cancelled" then
    return e.completed == false
  end
  return safe_to_retry[e.kind] or false
end

local function complete(e)
  local raw = sort_fields(e)
  private[e] = raw
  if not raw.stage and e.message and e.message:find("^connection to server ") then
    raw.stage = "connect"
  end
  if raw.stage == "connect" and e.message and not e.sqlstate then
    connect_text.clean(e, raw)
  end
  message_text.clean_context(e)
  if e.message and not e.sqlstate then
    -- libpq's text ends with a newline, and with what it says to being asked again
    e.message = e.message:gsub("%s+$", ""):gsub("%s+invalid socket$", "")
  end
  if e.sqlstate then
    e.condition = conditions[e.sqlstate] or conditions[e.sqlstate:sub(1, 2) .. "000"]
  end
  if e.message then
    message_text.read(e, raw)
  end
  e.kind = decide_kind(e, raw)
  if e.sqlstate == "57014" and raw.stage == "statement" and e.completed == nil then
    e.completed = false -- the server itself says so
  end
  complete_message(e, raw)
  if type(e.retryable) ~= "boolean" then
    e.retryable = retryable(e, raw)
  end
  secrets.scrub(e, raw)
  if type(e.fixes) ~= "table" then -- whoever made the error may know better
    e.fixes = advice.fixes(e, raw)
  end
end

local meta = { __name = "pg.error", __index = {} }

function meta.__tostring(e)
  local ok, text = pcall(error_text.block, e, private[e] or {})
  return ok and text or "pg: " .. tostring(rawget(e, "message"))
end

function meta.__concat(a, b)
  return tostring(a) .. tostring(b)
end

---The text for a support request: versions, settings, kind, SQLSTATE, SQL, times and fixes; without
---passwords, keys, tokens and parameter values.
---@param self pg.Error
---@return string
function meta.__index.report(self)
  local ok, text = pcall(error_text.report, self, private[self] or {})
  return ok and text or "pg error report: kind " .. tostring(rawget(self, "kind"))
end

---Completes a table of what is known into an error object, in place. Never raises, never waits.
---@param fields table
---@return pg.Error
function M.new(fields)
  local e = type(fields) == "table" and fields or { message = tostring(fields) }
  local other = getmetatable(e)
  if other == meta then
    return e
  elseif other ~= nil then -- somebody's object: its metamethods must not run
    e = {}
    for name, value in next, fields do
      e[name] = value
    end
  end
  if not pcall(complete, e) then -- a fault of ours must not hide the error
    e.kind = type(e.kind) == "string" and e.kind or "query_failed"
    e.message = type(e.message) == "string" and e.message or "an error without a message"
    e.fixes, e.retryable, e.sql = {}, false, nil
  end
  return setmetatable(e, meta)
end

---Makes the fixes anew when more is known: e.column has been set, or a name that is near.
---@param e pg.Error
---@param nearest? string
function M.advise(e, nearest)
  local raw = private[e] or {}
  raw.nearest = nearest or raw.nearest
  e.fixes = advice.fixes(e, raw)
end

---@param value any
---@return boolean # whether it is an error object of this module
function M.is(value)
  return type(value) == "table" and getmetatable(value) == meta
end

return M
