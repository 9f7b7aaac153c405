-- SPDX-License-Identifier: MIT
-- check_statement: the items of a checklist that are about a statement: that it is valid, that the
-- role may run it, that it gives what is expected, and how its values are passed.
local core = require "pg.core"
local check_item = require "pg.check_item"
local check_text = require "pg.check_text"

local ask <const>, contained <const> = check_item.ask, check_item.contained
local item <const>, failed <const> = check_item.new, check_item.failed
local number_of <const> = check_item.count

local M = {}

local TYPES <const> = [[
SELECT pg_catalog.array_agg(pg_catalog.format_type(t.type, NULL) ORDER BY t.place) AS types
  FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY AS t (type, place)]]

--- The questions to the catalogue.
M.queries = { types = TYPES }

--- Adds to the facts what the server says of the statement: its `description`, or what is `wrong`;
--- and whether EXPLAIN takes it, as it does what reads or changes rows. A value that fits no
--- parameter is a `misfit`, the matter of another item.
function M.describe(db, given, facts)
  local values = given.parameters or {}
  local count = math.min(values.n or #values, 65536) -- one more than there can be
  local function tell(text)
    return contained(db, function(x)
      return core.describe(x, text, table.unpack(values, 1, count))
    end)
  end
  local told, err = tell(given.query)
  if not told and err.kind == "invalid_parameter" and not err.sqlstate then
    facts.misfit, count = err, 0
    told, err = tell(given.query)
  end
  facts.description, facts.wrong = told, err
  facts.explained = told and tell(check_item.explain_text(given.query)) ~= nil
end

local function names_of(columns)
  local names = {}
  for i, column in ipairs(columns) do names[i] = column.name end
  return #names > 0 and table.concat(names, ", ") or "none"
end

-- Of these errors nothing follows for the statement.
local UNDECIDED <const> = { query_timeout = true, lock_timeout = true, cancelled = true,
  result_too_large = true, wrong_action = true, permission_denied = true, server_unavailable = true,
  connection_lost = true }

function M.syntax(_, given, facts)
  if not given.query then return end
  local told = facts.description
  if not told then
    return failed("syntax", UNDECIDED[facts.wrong.kind] and "The server did not say if it is valid"
      or "The statement is not valid", facts.wrong)
  end
  if not facts.explained then
    return item("syntax", true, "The statement's grammar is valid; what it names is looked at only "
      .. "when it runs.")
  end
  return item("syntax", true, ("The statement is valid: %s, columns: %s."):format(
    number_of(#told.parameters, "parameter"), names_of(told.columns)))
end

-- What is not as it was expected, in words.
local function surprises(expect, result)
  local list, columns, count = {}, result:columns(), #result.rows
  if #columns == 0 then count = result.rowCount end
  if expect.columns then
    local same = #expect.columns == #columns
    for i, column in ipairs(columns) do same = same and expect.columns[i] == column.name end
    if not same then
      list[1] = ("the columns are %s, not %s"):format(names_of(columns),
        #expect.columns > 0 and table.concat(expect.columns, ", ") or "none")
    end
  end
  if expect.rowCount and count ~= expect.rowCount
    or expect.min and count < expect.min or expect.max and count > expect.max then
    list[#list + 1] = ("it gives %s, not %s"):format(number_of(count, "row"), expect.rowCount
      or (expect.min and ("at least %d"):format(expect.min) or "")
      .. (expect.min and expect.max and " and " or "")
      .. (expect.max and ("at most %d"):format(expect.max) or ""))
  end
  return list, columns, count
end

function M.result(db, given, facts)
  if not given.expect then return end
  if not facts.explained then
    return item("result", false, "It was not run: " .. (facts.description
      and "a check runs only what reads rows." or "see the item syntax."))
  end
  local result, err = db:dry_run(function(tx)
    local guarded, problem = tx:execute "SET TRANSACTION READ ONLY"
    if not guarded then return nil, problem end
    return tx:query { query = given.query, parameters = given.parameters, rows = "array" }
  end)
  if not result and err.kind == "read_only" then
    return item("result", false, ("It was not run, since a check is read-only: %s."):format(
      err.message), { "See what it does, undone again: db:dry_run(function(tx) return "
      .. "tx:query(...) end)" })
  elseif not result then
    return failed("result", "The statement fails when it runs", err)
  end
  local list, columns, count = surprises(given.expect, result)
  if #list > 0 then
    return item("result", false, ("Not what was expected: %s."):format(table.concat(list, "; ")),
      { "Run it and look: db:query(...).rows, result:columns()" })
  end
  return item("result", true, ("It gives %s; columns: %s."):format(number_of(count, "row"),
    names_of(columns)))
end

-- The values against the types. The error is no failure of a transaction that the program is in.
local function misfit(db, given, facts)
  local needed, count = #facts.description.parameters, given.parameters.n or #given.parameters
  if needed ~= count then
    return select(2, core.fail { kind = "invalid_parameter", message =
      ("the statement has %s, but %d %s given"):format(number_of(needed, "parameter"), count,
        count == 1 and "was" or "were") })
  elseif facts.misfit or not facts.explained then
    return facts.misfit
  end
  local _, err = check_item.explain(db, given.query, given.parameters)
  if err and (err.kind == "invalid_parameter" or err.kind == "invalid_value") then return err end
end

local function types_of(db, oids)
  local answer = #oids > 0 and contained(db, function(x) return ask(x, TYPES, oids) end)
  local list = {}
  for i, name in ipairs(answer and answer.rows[1].types or {}) do
    list[i] = ("$%d %s"):format(i, name)
  end
  return #list > 0 and "It takes " .. table.concat(list, ", ") or "It takes no parameters"
end

function M.parameters(db, given, facts)
  if not given.query then return end
  local told = facts.description
  local err = told and given.parameters and misfit(db, given, facts)
  local messages = { told and types_of(db, told.parameters)
    or "What parameters it takes cannot be told: see the item syntax" }
  local ok, fixes = told ~= nil and not err, {}
  if err then
    messages[2] = err.message
    table.move(err.fixes, 1, #err.fixes, 1, fixes)
  end
  local count = math.max(told and #told.parameters or 0,
    given.parameters and (given.parameters.n or #given.parameters) or 0)
  for _, finding in ipairs(check_text.findings(given.query, count)) do
    ok = ok and not finding.wrong
    messages[#messages + 1], fixes[#fixes + 1] = finding.message, finding.fix
  end
  return item("parameters", ok, table.concat(messages, "; ") .. ".", fixes)
end

return M
