-- SPDX-License-Identifier: MIT
-- insert_error: what is told of a failed INSERT beyond the server's words: the
-- column of a value, the nearest name, which columns are unique. Asks the
-- catalogue where the connection can still answer.
local core = require "pg.core"
local catalog = require "pg.catalog"
local errors = require "pg.errors"
local sql = require "pg.sql"

local insert_error = {}

-- What ON CONFLICT can name: the columns or expressions of each unique index.
local UNIQUE = [[
SELECT pg_catalog.array_agg(
         pg_catalog.pg_get_indexdef(i.indexrelid, place, true) ORDER BY place) AS columns,
       pg_catalog.pg_get_expr(i.indpred, i.indrelid, true) AS condition
  FROM pg_catalog.pg_index AS i
 CROSS JOIN LATERAL pg_catalog.generate_series(1, COALESCE(
       (pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.->>) 'indnkeyatts')::pg_catalog.int4,
       i.indnatts)) AS place -- before 11 an index has no other columns
 WHERE i.indrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
   AND i.indisunique AND i.indisvalid AND i.indimmediate
 GROUP BY i.indexrelid, i.indrelid, i.indpred, i.indisprimary
 ORDER BY i.indisprimary DESC, i.indexrelid LIMIT 20]]

-- A column or an expression of an index as the option `conflict` takes it.
local function as_option(texts)
  local list = {}
  for i, text in ipairs(texts) do
    local name = text:match '^"(.*)"$' or text:match "^[%l_][%w_]*$"
    list[i] = name and ("%q"):format((name:gsub('""', '"'))) or ("pg.raw %q"):format(text)
  end
  return #list == 1 and list[1] or "{ " .. table.concat(list, ", ") .. " }"
end

--- Fixes for 42P10: what may conflict, and how to make the columns unique.
local function advise_unique(db, err, quoted, columns)
  local answer = db:query { query = UNIQUE, parameters = { quoted }, rows = "object", own = true,
    null = false, max_result = core.limits().max_result }
  if not answer then return end
  local list = {}
  for i, index in ipairs(answer.rows) do
    list[i] = ("Say `conflict = %s%s`: that is unique."):format(as_option(index.columns),
      index.condition and (", where = pg.raw %q"):format(index.condition) or "")
  end
  if columns then
    list[#list + 1] = ("Make the columns unique: CREATE UNIQUE INDEX ON %s (%s)"):format(quoted,
      sql.quoted_list(columns))
    table.remove(err.fixes, 1) -- says the same without the names
  end
  err.fixes = table.move(err.fixes, 1, #err.fixes, #list + 1, list)
end

--- The place of a name on the list of parameters tells the column that a value
--- did not suit.
local function name_column(err, values)
  local name = err.parameter and not err.column and values.names[err.parameter]
  if name then
    err.column = name
    errors.advise(err)
  end
end

--- Every name that the statement has, in the order of their importance.
local function all_names(job, columns, names)
  local all = table.move(names, 1, #names, 1, {})
  local plan = job.plan or {}
  for _, list in ipairs { columns or {}, plan.update or {}, sql.names(plan.set or {}, 1),
    type(job.returning) == "table" and job.returning or {} } do
    for _, name in ipairs(list) do
      if type(name) == "string" then all[#all + 1] = name end
    end
  end
  return all
end

--- Two rows of a list that are the same one on the server.
---@param db pg.Connection
---@param first integer
---@param second integer
---@return nil, pg.Error
function insert_error.twice(db, first, second)
  return core.fail({ sqlstate = "21000", row = second, stage = "statement",
    message = "ON CONFLICT DO UPDATE command cannot affect row a second time",
    detail = ("Rows %d and %d of the list have the same key."):format(first, second),
    fixes = { ("Leave out one of the rows %d and %d, or make them one."):format(first, second),
      "Or upsert them one after the other, if the later one is to win." } }, db)
end

--- Completes the error of a statement that was built for `job`.
---@param job pg.insert.Job
---@param err pg.Error
---@param columns? (string|table)[] the conflict's
---@param names string[] the columns given
---@param values? table of sql.values()
---@return pg.Error
function insert_error.explain(job, err, columns, names, values)
  if values then name_column(err, values) end
  if core.in_transaction(job.db) ~= false then return err end
  local db = job.db:with { timeout = job.left() }
  if err.sqlstate == "42P10" then
    advise_unique(db, err, job.quoted, columns)
  elseif err.sqlstate == "42P01" or err.sqlstate == "42703" then
    local near = catalog.nearest(db, err, job.quoted, all_names(job, columns, names))
    if near and near ~= err.column then errors.advise(err, near) end
  end
  return err
end

return insert_error
