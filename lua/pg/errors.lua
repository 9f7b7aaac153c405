-- The one error object: from what the core or the Lua layer knows to kind, condition, cleaned
-- message and fixes. Knows no connection and no result; never raises, never waits.
-- How it looks is in error_text.lua, what it advises in fixes.lua and advice.lua.
-- SPDX-License-Identifier: MIT
local conditions <const> = require "pg.conditions"
local fixes <const> = require "pg.fixes"
local advice <const> = require "pg.advice"
local connect_text <const> = require "pg.connect_text"
local error_text <const> = require "pg.error_text"

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
---@field sql? string the statement, as it was sent
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
  "ceiling", "nearest", "lock_holder",
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

-- The end of a quoted value whose text begins at `from`; quotes inside are doubled.
local function value_end(text, from)
  while true do
    local quote = text:find("'", from, true)
    if not quote then
      return #text
    elseif text:sub(quote + 1, quote + 1) ~= "'" then
      return quote
    end
    from = quote + 2
  end
end

-- Parameter values do not stay in the context: "unnamed portal parameter $3 = '...'", and with
-- log_parameter_max_length_on_error "... with parameters: $1 = '...', $2 = '...'", in any language.
local function clean_context(e)
  -- A server's megabytes are not a place; this much holds any stack of calls.
  local text, from, count, number = e.context and e.context:sub(1, 65536), 1, 0, nil
  while text do
    local blank, open = text:find(" = '", from, true)
    if not blank then
      break
    end
    local before = text:sub(math.max(from, blank - 200), blank - 1):match("[^=\n,]*$")
    local close = value_end(text, open + 1)
    local name = before:match("%$(%d+)") or before:match("(%d+)%D*$")
    -- A quoted SQL statement may look like it, but does not end its line there.
    if name and (text:find("^[\n,]", close + 1) or close == #text) then
      text = text:sub(1, blank - 1) .. text:sub(close + 1)
      count, number, from = count + 1, name, blank
    else
      from = open
    end
  end
  if not text then
    return
  end
  if count == 1 and not text:find("%$%d+, ?%$%d+") then
    e.parameter = e.parameter or math.tointeger(tonumber(number))
  end
  e.context = text
  e.column = e.column or ("\n" .. text):match("\nCOPY [^,\n]+, %S+ %d+, %S+ ([^:\n]+): ")
end

local object_types <const> = {
  ["materialized view"] = "view", ["foreign table"] = "table", relation = "table", table = "table",
  view = "view", sequence = "sequence", schema = "schema", ["function"] = "function",
  procedure = "procedure", aggregate = "aggregate", database = "database", language = "language",
  type = "type", ["foreign server"] = "foreign server", index = "index",
}

-- schema.table, as messages write it; a name with more dots stays whole.
local function set_relation(e, name)
  local schema, rel = name:match("^([^.]+)%.([^.]+)$")
  e.table = e.table or rel or name
  e.schema = e.schema or schema
end

-- The schema that the SQL names for a table, so that a GRANT hits the right one.
local function schema_in_sql(sql, rel)
  for schema, name in sql:sub(1, 10000):gmatch('%f[%w_]([%w_]+)%.([%w_]+)') do
    if name:lower() == rel then
      return schema:lower()
    end
  end
end

-- What the server says only in words (English ones; other languages keep the words alone).
local function fields_from_message(e, raw)
  local text, state = raw.words or e.message, e.sqlstate
  if #text > 1000 then
    return
  end
  if state == "42501" then
    local what, name = text:match("^permission denied for ([%l%- ]+) (.+)$")
    local column, owner = text:match('^permission denied for column "?(.-)"? of relation "?(.-)"?$')
    local policy = text:match('row%-level security policy .- table "(.+)"$')
      or text:match('row%-level security policy for table "(.+)"$')
    if column then
      raw.object = { type = "column", name = column }
      e.column, e.table = e.column or column, e.table or owner
    elseif what and object_types[what] then
      raw.object = { type = object_types[what], name = name }
    elseif policy then
      e.table = e.table or policy
    else
      what, name = text:match("^must be owner of ([%l%- ]+) (.+)$")
      if what then
        raw.object = { type = what == "relation" and "table" or what, name = name, owner = true }
      end
    end
    local object = raw.object
    if object and (object.type == "table" or object.type == "view") then
      set_relation(e, object.name)
      e.schema = e.schema or e.sql and schema_in_sql(e.sql, e.table)
      if not object.owner then
        raw.object = nil -- the seed's own GRANT fits
      end
    elseif object and object.type == "schema" then
      e.schema = e.schema or object.name
    end
  elseif state == "42P01" then
    local name = text:match('^relation "(.+)" does not exist$')
    if name then
      set_relation(e, name)
    end
  elseif state == "42703" then
    local column, rel = text:match('^column "(.-)" of relation "(.+)" does not exist$')
    column = column or text:match('^column "(.+)" does not exist$')
    if not column then
      rel, column = text:match("^column ([^.]+)%.([^.]+) does not exist$")
    end
    e.column, e.table = e.column or column, e.table or rel
  elseif state == "42P18" or state == "42P02" then
    e.parameter = e.parameter or math.tointeger(tonumber(text:match("%$(%d+)")))
  end
end

-- 08P01 with two numbers: the count of parameters is wrong. Said in our words.
local function parameter_count(e, raw)
  local text = (e.message or ""):sub(1, 500):gsub('".-"', "")
  local given, needed = text:match(
    "^bind message supplies (%d+) parameters?, but .- requires (%d+)$")
  if not given then
    return text:find("%d+%D+%d+") and "invalid_parameter" or nil
  end
  raw.given, raw.needed = tonumber(given), tonumber(needed)
  e.message = ("the statement has %s parameter%s, but %s %s given"):format(
    needed == "0" and "no" or needed, needed == "1" and "" or "s",
    given == "0" and "none" or given, (given == "1" or given == "0") and "was" or "were")
  return "invalid_parameter"
end

-- The kind from an SQLSTATE that came with a statement.
local function kind_of_state(e, raw)
  local state, text = e.sqlstate, e.message or ""
  if state == "08P01" and raw.stage ~= "connect" then
    local kind = parameter_count(e, raw)
    if kind then
      return kind
    end
  end
  if raw.stage == "statement" and state == "3D000" then
    return "query_failed" -- ALTER DATABASE and the like; the session itself is fine
  elseif state == "57014" and text:find("statement timeout", 1, true) then
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
  elseif raw.stage == "connect" then
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

local stands <const> = "; it had finished before it could be cancelled: its changes stand"
local unknown <const> = "; the connection was closed, so whether it took effect is unknown"

-- The driver's own words where there are no others, and what became of the statement.
local function complete_message(e, raw)
  local entry = fixes.by_name[e.kind]
  local limited = e.kind == "query_timeout" or e.kind == "result_too_large"
  if limited and e.limit and e.sqlstate == "57014" then
    -- The server's "canceling statement due to user request" would blame the user.
    e.message = nil
  end
  if not e.message then
    e.message = fixes.fill(entry and entry.message or "an error without a message",
      advice.facts(e, raw))
    if limited and e.completed ~= true then
      e.message = e.message .. (e.completed == false and "; it was cancelled" or unknown)
    end
  end
  if e.completed == true and not e.message:find("changes stand", 1, true) then
    e.message = e.message .. stands
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
  if raw.stage == "connect" and e.message then
    connect_text.clean(e, raw)
  end
  clean_context(e)
  if e.sqlstate then
    e.condition = conditions[e.sqlstate] or conditions[e.sqlstate:sub(1, 2) .. "000"]
  end
  if e.message then
    fields_from_message(e, raw)
  end
  e.kind = decide_kind(e, raw)
  complete_message(e, raw)
  if type(e.retryable) ~= "boolean" then
    e.retryable = retryable(e, raw)
  end
  e.fixes = advice.fixes(e, raw)
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
    e.fixes, e.retryable = {}, false
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
