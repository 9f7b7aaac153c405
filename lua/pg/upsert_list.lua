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
---@field given table<string, true> the same
---@field width integer of all its columns
---@field raws string[] those with SQL instead, the same for all rows of the group
---@field sql table<string, string>
---@field defaults string[] those that are pg.default
---@field rows table[]
---@field places integer[] of the rows on the whole list

local function new_group(row, names)
  local group = { names = {}, given = {}, width = #names, raws = {}, sql = {}, defaults = {},
    rows = {}, places = {} }
  for _, name in ipairs(names) do
    local value = row[name]
    if value == sql.default then
      table.insert(group.defaults, name)
    elseif sql.is_raw(value) then
      table.insert(group.raws, name)
      group.sql[name] = value[1]
    else
      table.insert(group.names, name)
      group.given[name] = true
    end
  end
  return group
end

--- Whether the row gives the columns of the group, and no other, with values that are
--- neither pg.default nor pg.raw, which are tables.
local function fits(row, group)
  local count = 0
  for name, value in next, row do
    if not group.given[name] or type(value) == "table" then return false end
    count = count + 1
  end
  return count == group.width
end

--- Rows first..last by their columns, in the order in which each set first appears.
---@param rows table[]
---@param first integer
---@param last integer
---@return pg.upsert.Group[]
function upsert_list.groups(rows, first, last)
  local groups, known, group = {}, {}, nil
  for place = first, last do
    local row = rows[place]
    if not group or not fits(row, group) then
      local names, marks = sql.names(row, 1), {}
      for i, name in ipairs(names) do
        marks[i] = sql.is_raw(row[name]) and name .. "\0" .. row[name][1] or name
      end
      local mark = table.concat(marks, "\0\0")
      group = known[mark]
      if not group then
        group = new_group(row, names)
        known[mark], groups[#groups + 1] = group, group
      end
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
  for name, value in next, plan.set do set[name] = value end
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

-- Rows without values.
local SERIES <const> =
  "pg_catalog.generate_series(1, $1::pg_catalog.oid::pg_catalog.int8) AS u (place)"

--- The group's rows: FROM what, select what, into which columns, the values;
--- the fault where one of those cannot be sent.
local function source(job, group, relation)
  local columns = unnest.columns(relation, group.names)
  local from, items, values, fault = SERIES, {}, { n = 1, #group.rows }, nil
  if #columns > 0 then
    from, items = unnest.source(columns, 1, true)
    values, fault = unnest.values(columns, group.rows, 1, #group.rows, job.db)
  end
  local names = table.move(group.names, 1, #group.names, 1, {})
  for _, name in ipairs(group.raws) do
    names[#names + 1], items[#items + 1] = name, group.sql[name]
  end
  return from, table.concat(items, ", "), names, values, fault
end

---@class pg.upsert.Statement
---@field text string
---@field values table
---@field group pg.upsert.Group
---@field updates boolean
---@field flag? string the column that says whether a row was inserted

--- The statement of a group; nil and the fault where a value cannot be sent.
---@param job pg.insert.Job
---@param group pg.upsert.Group
---@param relation pg.catalog.Relation
---@param columns (string|table)[] of the conflict
---@param identity string[] columns to return, besides what was asked for
---@return pg.upsert.Statement|nil, pg.unnest.Fault?
function upsert_list.statement(job, group, relation, columns, identity)
  local from, list, names, values, fault = source(job, group, relation)
  if fault then
    fault.row = group.places[fault.row]
    return nil, fault
  end
  values.names = {}
  local plan = with_defaults(job.plan, columns, group.defaults)
  local clause, updates = conflict.clause(plan, columns, names, relation, values)
  local flag = updates and insert.flag(relation) or nil
  local returning = insert.returning(identity, job.returning, flag)
  if not (updates or job.returning or relation.key and #relation.key > 0) then returning = "" end
  local into = #names > 0 and " (" .. sql.quoted_list(names) .. ")" or ""
  return { group = group, values = values, updates = updates, flag = flag,
    text = ("INSERT INTO %s%s SELECT %s FROM %s ORDER BY u.place%s%s"):format(job.quoted, into,
      list, from, clause, returning) }
end

return upsert_list
