-- SPDX-License-Identifier: MIT
-- check: the checklist before a connection and a statement go to work. Asks and tries; leaves the
-- connection and the data as they were.
local check_item = require "pg.check_item"
local check_session = require "pg.check_session"
local check_statement = require "pg.check_statement"
local core = require "pg.core"
local options = require "pg.options"
local sql = require "pg.sql"

local check = {}

local OPTIONS <const> = { "query", "parameters", "expect", "privileges", "ssl", "timeout",
  "max_result" }
local EXPECT <const> = { "columns", "rowCount", "min", "max" }
local VERBS <const> = { "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES",
  "TRIGGER", "MAINTAIN" }

--- The first question.
check.session_query = [[
SELECT current_user::pg_catalog.text AS role, pg_catalog.current_database() AS database,
       pg_catalog.current_setting('transaction_read_only') AS read_only]]

local ORDER <const> = { "connect", "ssl", "privileges", "syntax", "result", "parameters", "errors",
  "reuse" }

local ITEMS <const> = {
  connect = check_session.connect, ssl = check_session.ssl, privileges = check_session.privileges,
  syntax = check_statement.syntax, result = check_statement.result,
  parameters = check_statement.parameters, errors = check_session.errors,
  reuse = check_session.reuse,
}

local function expect_type(given, name, wanted, level)
  local value = given[name]
  if value ~= nil and type(value) ~= wanted and math.type(value) ~= wanted then
    error(("%s must be %s %s, not a %s"):format(name, wanted == "integer" and "an" or "a", wanted,
      math.type(value) or type(value)), level + 1)
  end
end

local function need_verb(verb, level)
  if type(verb) ~= "string" then error("a privilege's verb must be a string", level + 1) end
  for _, known in ipairs(VERBS) do
    if verb:upper() == known then return known end
  end
  local near = options.nearest(verb, VERBS)
  error(("unknown privilege '%s'%s"):format(verb, near and (" (did you mean '%s'?)"):format(near)
    or ""), level + 1)
end

-- { users = {"SELECT"}, ... } as a list by name, the verbs in capitals.
local function privileges_given(privileges, level)
  local list = {}
  for name, verbs in pairs(privileges) do
    sql.table_name(name, level + 1)
    if type(verbs) == "string" then verbs = { verbs } end
    if type(verbs) ~= "table" or #verbs == 0 then
      error('privileges are lists of verbs by table: { users = { "SELECT" } }', level + 1)
    end
    local entry = { name = name, verbs = {} }
    for i, verb in ipairs(verbs) do entry.verbs[i] = need_verb(verb, level + 1) end
    list[#list + 1] = entry
  end
  table.sort(list, function(a, b) return tostring(a.name) < tostring(b.name) end)
  return list
end

local function checked(given, level)
  if given ~= nil and type(given) ~= "table" then
    error("check takes a table, not a " .. type(given), level + 1)
  end
  given = given or {}
  options.check(given, OPTIONS, level + 1)
  for name, wanted in pairs { query = "string", parameters = "table", expect = "table",
    privileges = "table", ssl = "boolean" } do
    expect_type(given, name, wanted, level + 1)
  end
  if not given.query and (given.parameters or given.expect) then
    error("parameters and expect belong to a query", level + 1)
  end
  if given.parameters then
    expect_type(given.parameters, "n", "integer", level + 1)
    if (given.parameters.n or 0) < 0 then error("parameters.n is below 0", level + 1) end
  end
  if given.expect then
    options.check(given.expect, EXPECT, level + 1)
    expect_type(given.expect, "columns", "table", level + 1)
    for _, name in ipairs(given.expect.columns or {}) do sql.quote(name, level + 1) end
    for _, name in ipairs { "rowCount", "min", "max" } do
      expect_type(given.expect, name, "integer", level + 1)
    end
  end
  local what = {}
  for name, value in pairs(given) do what[name] = value end
  what.privileges = given.privileges and privileges_given(given.privileges, level + 1)
  return what
end

---@class pg.Expectation
---@field columns? string[] their names, in order
---@field rowCount? integer how many rows
---@field min? integer at least so many
---@field max? integer at most so many

---@class pg.Check
---@field query? string a statement: its grammar, names, parameters and privileges; it is not run
---@field parameters? table its values
---@field expect? pg.Expectation it is run, read-only and undone, and has to give this; locks of the
--- session and numbers of sequences stay taken
---@field privileges? table<string|table, string[]|string> the verbs that the role needs, by table
---@field ssl? boolean whether SSL is required; default: where the server is another machine
---@field timeout? number
---@field max_result? number

---@class pg.CheckItem
---@field item "connect"|"ssl"|"privileges"|"syntax"|"result"|"parameters"|"errors"|"reuse"
---@field ok boolean
---@field message string a sentence or two
---@field fixes string[] what to do; of an item that is ok: what would be better

--- Checks the connection, and the statement and privileges that are given.
---@param db pg.Connection
---@param given? pg.Check
---@return pg.CheckItem[]|nil
---@return pg.Error?
function check.check(db, given)
  local what = checked(given, 2)
  db = db:with { timeout = what.timeout, max_result = what.max_result }
  local started = core.now()
  local session, err = check_item.ask(db, check.session_query)
  if not session then return nil, err end
  local facts = session.rows[1]
  facts.seconds = core.now() - started
  if what.query then check_statement.describe(db, what, facts) end
  local list = {}
  for _, name in ipairs(ORDER) do
    list[#list + 1] = ITEMS[name](db, what, facts)
    if db:status().state == "lost" then return nil, select(2, db:query "") end
  end
  return list
end

return check
