-- SPDX-License-Identifier: MIT
-- upsert_list: the statements for a list of rows, one for each set of columns:
-- the rows as lists by unnest, in their order. Pure: text and values out.
local conflict = require "pg.conflict"
local insert = require "pg.insert"
local sql = require "pg.sql"
local unnest = require "pg.unnest"

local upsert_list = {}

--- Rows that give the same columns.
---@class pg.upsert.Group
---@field names string[] the columns with values
---@field raws string[] those with SQL instead, the same for all rows of the group
---@field sql table<string, string>
---@field defaults string[] those that are pg.default
---@field rows table[]
---@field places integer[] of the rows on the whole list

local function new_group(row, names)
  local group = { names = {}, raws = {}, sql = {}, defaults = {}, rows = {}, places = {} }
  for _, name in ipairs(names) do
    local value = row[name]
    if value == sql.default then
      table.insert(group.defaults, name)
    elseif sql.is_raw(value) then
      table.insert(group.raws, name)
      group.sql[name] = value[1]
    else
      table.insert(group.names, name)
    end
  end
  return group
end

--- The rows by their columns, in the order in which each set first appears.
---@param rows table[]
---@return pg.upsert.Group[]
function upsert_list.groups(rows)
  local groups, known = {}, {}
  for place, row in ipairs(rows) do
    local names, marks = sql.names(row, 1), {}
    for i, name in ipairs(names) do
      marks[i] = sql.is_raw(row[name]) and name .. "\0" .. row[name][1] or name
    end
    local mark = table.concat(marks, "\0\0")
    local group = known[mark]
    if not group then
      group = new_group(row, names)
      known[mark], groups[#groups + 1] = group, group
    end
    group.rows[#group.rows + 1], group.places[#group.places + 1] = row, place
  end
  return groups
end

--- Every column that the groups give.
---@param groups pg.upsert.Group[]
---@return string[]
function upsert_list.names(groups)
  local names, seen = {}, {}
  for _, group in ipairs(groups) do
    for _, list in ipairs { group.names, group.raws, group.defaults } do
      for _, name in ipairs(list) do
        if not seen[name] then names[#names + 1] = name end
        seen[name] = true
      end
    end
  end
  return names
end

--- A column set to its default is updated to it, where it is updated at all.
local function with_defaults(plan, columns, defaults)
  if #defaults == 0 or plan.update == false then return plan end
  local set, skip = {}, {}
  for name, value in pairs(plan.set) do set[name] = value end
  if plan.update then
    for _, name in ipairs(defaults) do skip[name] = true end
    for _, name in ipairs(plan.update) do skip[name] = nil end
  else
    for _, name in ipairs(columns) do skip[name] = true end
  end
  for _, name in ipairs(defaults) do
    if not skip[name] and set[name] == nil then set[name] = sql.default end
  end
  return setmetatable({ set = set }, { __index = plan })
end

local function quoted(names)
  local list = {}
  for i, name in ipairs(names) do list[i] = sql.quote(name) end
  return table.concat(list, ", ")
end

-- Rows without values.
local SERIES <const> = "pg_catalog.generate_series(1, $1::pg_catalog.int4) AS u (place)"

--- The group's rows: FROM what, select what, into which columns, the values;
--- the fault where one of those cannot be sent.
local function source(group, relation)
  local columns = unnest.columns(relation, group.names)
  local from, items, values, fault = SERIES, {}, { n = 1, #group.rows }, nil
  if #columns > 0 then
    from, items = unnest.source(columns, 1)
    values, fault = unnest.values(columns, group.rows, 1, #group.rows)
  end
  local names = table.move(group.names, 1, #group.names, 1, {})
  for _, name in ipairs(group.raws) do
    names[#names + 1], items[#items + 1] = name, group.sql[name]
  end
  return from, table.concat(items, ", "), names, values, fault
end

-- Which of the rows each stored one is: they are matched by the columns of the conflict, and
-- those of the same in their order. `place` is NULL where that is not certain: a trigger or the
-- column's type has changed the value, or fewer than given were stored of the same and it need not
-- be the first of them.
local MAPPED <const> = [[
WITH input ({cs}, place) AS (SELECT {list}, u.place FROM {from}),
stored AS (INSERT INTO {table} ({names}) SELECT {cs} FROM input ORDER BY place{clause}{returning}),
numbered AS (SELECT pg_catalog.row_number() OVER () AS {at}, * FROM stored)
SELECT m.place AS {place}, n.* FROM numbered AS n JOIN (
  SELECT CASE WHEN pg_catalog.max(inputs) OPERATOR(pg_catalog.<>) pg_catalog.max(outputs)
               AND ({nulls} OR {unsure})
              THEN NULL ELSE pg_catalog.min(place) END AS place, pg_catalog.min(at) AS at
    FROM (SELECT {inputs}, place, NULL::pg_catalog.int8,
                 pg_catalog.row_number() OVER (PARTITION BY {inputs} ORDER BY place),
                 pg_catalog.count(*) OVER (PARTITION BY {inputs}), NULL::pg_catalog.int8
            FROM input
          UNION ALL
          SELECT {outputs}, NULL, {at},
                 pg_catalog.row_number() OVER (PARTITION BY {outputs} ORDER BY {at}),
                 NULL, pg_catalog.count(*) OVER (PARTITION BY {outputs})
            FROM numbered) AS sides ({ks}, place, at, nth, inputs, outputs)
   GROUP BY {ks}, nth HAVING pg_catalog.min(at) IS NOT NULL
) AS m ON m.at OPERATOR(pg_catalog.=) n.{at} ORDER BY n.{at}]]

-- A BEFORE trigger can skip any row.
local TRIGGERED <const> = [[EXISTS (SELECT 1 FROM pg_catalog.pg_trigger
  WHERE tgrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)
    AND tgtype OPERATOR(pg_catalog.&) 7::pg_catalog.int2 OPERATOR(pg_catalog.=) 7)]]

--- Whether another than the first of the same may be the stored one, as SQL.
local function unsure_text(job, relation)
  if relation.kind ~= "r" or job.plan.where or job.plan.constraint then return "true" end
  return TRIGGERED:format(sql.literal(job.quoted))
end

--- c1, c2, ...: names that nothing else in MAPPED has.
local function numbered(letter, count)
  local list = {}
  for i = 1, count do list[i] = letter .. i end
  return table.concat(list, ", ")
end

--- MAPPED filled in; the statement is told its further columns.
local function mapped(job, statement, relation, returning)
  local place, at = insert.alias(relation, "place"), insert.alias(relation, "at")
  local inputs, outputs, nulls, internal = {}, {}, {}, { place, at }
  for i, name in ipairs(statement.conflict) do
    internal[i + 2] = insert.alias(relation, "conflict " .. i)
    outputs[i], nulls[i] = sql.quote(internal[i + 2]), "k" .. i .. " IS NULL"
    returning = ("%s%s%s AS %s"):format(returning, returning == "" and " RETURNING " or ", ",
      sql.quote(name), outputs[i])
    for j, given in ipairs(statement.names) do
      if given == name then inputs[i] = "c" .. j end
    end
  end
  statement.place, statement.internal = place, internal
  return (MAPPED:gsub("{(%w+)}", {
    list = statement.list, from = statement.from, table = job.quoted,
    names = quoted(statement.names), clause = statement.clause, returning = returning,
    at = sql.quote(at), place = sql.quote(place), cs = numbered("c", #statement.names),
    ks = numbered("k", #inputs), inputs = table.concat(inputs, ", "),
    outputs = table.concat(outputs, ", "), nulls = table.concat(nulls, " OR "),
    unsure = unsure_text(job, relation),
  }))
end

--- Whether the columns of the conflict are known and given: rows can be matched by them.
local function can_map(columns, names)
  local given = {}
  for _, name in ipairs(names) do given[name] = true end
  for _, column in ipairs(columns) do
    if not given[column] then return false end
  end
  return #columns > 0
end

---@class pg.upsert.Statement
---@field text string
---@field values table
---@field group pg.upsert.Group
---@field updates boolean
---@field flag? string the column that says whether a row was inserted
---@field place? string the column that says which row it was; else all come, in their order
---@field internal string[] the columns that are not the caller's

--- The statement of a group; nil and the fault where a value cannot be sent.
---@param job pg.insert.Job
---@param group pg.upsert.Group
---@param relation pg.catalog.Relation
---@param columns (string|table)[] of the conflict
---@param identity string[] columns to return, besides what was asked for
---@return pg.upsert.Statement|nil, pg.unnest.Fault?
function upsert_list.statement(job, group, relation, columns, identity)
  local from, list, names, values, fault = source(group, relation)
  if fault then
    fault.row = group.places[fault.row]
    return nil, fault
  end
  values.names = {}
  local plan = with_defaults(job.plan, columns, group.defaults)
  local clause, updates = conflict.clause(plan, columns, names, relation, values)
  local flag = updates and insert.flag(relation) or nil
  local statement = { group = group, from = from, list = list, names = names,
    clause = clause, conflict = columns, values = values, updates = updates, flag = flag,
    internal = { flag } }
  local returning = insert.returning(identity, job.returning, flag)
  local wanted = updates or job.returning or relation.key and #relation.key > 0
  if not wanted then returning = "" end
  if not updates and wanted and can_map(columns, names) then
    statement.text = mapped(job, statement, relation, returning)
  else
    statement.text = ("INSERT INTO %s%s SELECT %s FROM %s ORDER BY u.place%s%s"):format(job.quoted,
      #names > 0 and " (" .. quoted(names) .. ")" or "", list, from, clause, returning)
  end
  return statement
end

return upsert_list
