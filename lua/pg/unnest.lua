-- SPDX-License-Identifier: MIT
-- unnest: lists of values as a FROM item, one parameter a column. Text and values
-- out; nothing is sent but the question what a type is made of. A type stands
-- without a length, so that what is too long for the column is the column's error
-- and is never cut.
--
--   local columns = unnest.columns(relation, names)
--   local from, items = unnest.source(columns, 1)
--   local values, fault = unnest.values(columns, rows, 1, #rows)
--   "INSERT INTO t (...) SELECT " .. table.concat(items, ", ") .. " FROM " .. from
local catalog = require "pg.catalog"
local core = require "pg.core"
local sql = require "pg.sql"

local unnest = {}

local TEXT <const> = '"pg_catalog"."text"'
local wrapper_meta = getmetatable(core.json(true))

--- The relation's columns of these names. One that it does not have is taken for
--- text: the statement itself will say so.
---@param relation pg.catalog.Relation
---@param names string[]
---@return pg.catalog.Column[]
function unnest.columns(relation, names)
  local columns = {}
  for i, name in ipairs(names) do
    columns[i] = relation.columns[name] or { name = name, type = TEXT, native = "text" }
  end
  return columns
end

--- The column whose values would have to go through a codec's `encode`, which is
--- not called here, and the reason; nil: there is none.
---@param columns pg.catalog.Column[]
---@param handle? pg.Connection
---@return string? name, string? reason
function unnest.coded(columns, handle)
  if not (handle and core.codecs(handle)) then return nil end
  handle:ping() -- which types these are is asked now, if it is not known
  if not catalog.learn(handle, columns) then return nil end -- which the statement will tell
  for _, column in ipairs(columns) do
    if column.oid and core.encodes(handle, column.oid) then
      return column.name, "a list does not go through the encode of db:codec: use insert or copy_in"
    end
  end
end

--- The FROM item, and the values in it, column by column: u.c1, u.c2, ... cast
--- to the column's type where they go as text. The row's place, from 1, is u.place,
--- if it is asked for: then the lists are a function in FROM, of which the planner
--- knows the length and the order, but which the server makes a table of first. Else
--- it goes through them side by side, alike in length as they are.
---@param columns pg.catalog.Column[] one at least
---@param first integer number of the first parameter
---@param placed? boolean
---@return string from, string[] items
function unnest.source(columns, first, placed)
  local arrays, names, items = {}, {}, {}
  for i, column in ipairs(columns) do
    names[i] = "c" .. i
    arrays[i] = ("$%d::%s[]"):format(first + i - 1, column.native and column.type or TEXT)
    items[i] = "u.c" .. i .. (column.native and "" or "::" .. column.type)
  end
  if placed then
    -- Of several arguments only the bare name makes columns; it means pg_catalog's whatever the
    -- search_path.
    return ("%s(%s) WITH ORDINALITY AS u (%s, place)"):format(#columns == 1
      and "pg_catalog.unnest" or "unnest", table.concat(arrays, ", "), table.concat(names, ", ")),
      items
  end
  for i, name in ipairs(names) do
    arrays[i] = ("pg_catalog.unnest(%s) AS %s"):format(arrays[i], name)
  end
  return ("(SELECT %s) AS u"):format(table.concat(arrays, ", ")), items
end

--- A list of values, its length in `n`, as the parameter of its column.
---@param column pg.catalog.Column
---@param list table|string the same as text, of unnest.text
---@return table
function unnest.parameter(column, list)
  return core.column(list, column.native or "text", not column.native)
end

--- A list of values as PostgreSQL writes it; nil: the parameter will say why not.
---@param column pg.catalog.Column
---@param list table
---@param handle? pg.Connection whose settings count
---@return string?
function unnest.text(column, list, handle)
  return (core.text(list, (column.native or "text") .. "[]", handle))
end

local function unwrap(column, wrapper, handle)
  local value, kind = wrapper[1], wrapper[2]
  if getmetatable(value) == wrapper_meta then return nil, "a wrapped value is wrapped again" end
  if kind ~= "pg.json" then
    return unnest.cell(column, value == nil and core.null or value, handle)
  end
  local text, err = core.encode(value)
  return text, err and err.message
end

-- A value of a type that the server defines.
local function own_text(column, value, handle)
  local known, err = catalog.learn(handle, { column })
  if not known then return nil, err.message end
  local text, reason = core.text(value, column.oid, handle)
  if not text then core.forget_types(handle) end -- another session may have altered it
  return text or nil, reason or ("the type %s is not known"):format(column.type)
end

local function table_cell(column, value, handle)
  if sql.is_raw(value) then
    return nil, value == sql.default and "pg.default cannot be told from a value here"
      or "pg.raw is SQL, and a list holds values: compute it first, or use insert"
  elseif getmetatable(value) == wrapper_meta then
    return unwrap(column, value, handle)
  elseif column.array and (column.element or not handle) then
    return core.array_text(value, column.element, handle)
  elseif column.native then
    return core.text(value, column.native, handle)
  elseif handle and column.oid then
    return own_text(column, value, handle)
  end
  return nil, ("a table does not fit the type %s: give it as a string, as PostgreSQL writes it")
    :format(column.type)
end

--- A value as it stands in its column's list; nil and the reason where it cannot.
---@param column pg.catalog.Column
---@param value any not nil
---@param handle? pg.Connection whose settings count, and which knows types
---@return string|number|boolean|lightuserdata|nil
---@return string?
function unnest.cell(column, value, handle)
  local kind = type(value)
  if kind == "table" then return table_cell(column, value, handle) end
  if kind == "string" then
    if column.native ~= "bytea" and value:find("\0", 1, true) then
      return nil, "a text cannot hold a NUL byte (only bytea can)"
    end
  elseif kind ~= "number" and kind ~= "boolean" and value ~= core.null then
    return nil, "cannot send a " .. kind
  end
  return value
end

---@class pg.unnest.Fault
---@field row integer place in the list, from 1
---@field column string
---@field reason string

--- Rows first..last as one parameter a column. A column that a row lacks is NULL.
--- nil and the fault where a value cannot be sent.
---@param columns pg.catalog.Column[]
---@param rows table[]
---@param first integer
---@param last integer
---@param handle? pg.Connection whose settings count, and which knows types
---@return table|nil values, pg.unnest.Fault? fault
function unnest.values(columns, rows, first, last, handle)
  local values = { n = #columns }
  local coded, why = unnest.coded(columns, handle)
  if coded then return nil, { row = first, column = coded, reason = why } end
  for i, column in ipairs(columns) do
    local list, name = { n = last - first + 1 }, column.name
    for row = first, last do
      local given = rows[row][name]
      local value, reason = unnest.cell(column, given == nil and core.null or given, handle)
      if value == nil then return nil, { row = row, column = name, reason = reason } end
      list[row - first + 1] = value
    end
    values[i] = unnest.parameter(column, list)
  end
  return values
end

--- A part of a column's list, as a list of its own.
---@param list table
---@param first integer
---@param last integer
---@return table
function unnest.slice(list, first, last)
  return table.move(list, first, last, 1, { n = last - first + 1 })
end

--- The first value in the lists that cannot be sent after all: a NUL in a text.
---@param columns pg.catalog.Column[]
---@param lists table[]
---@return integer? place, integer? column, string? reason
function unnest.unsendable(columns, lists)
  local first, at, reason
  for i, column in ipairs(columns) do
    for place = 1, math.min(lists[i].n, (first or math.huge) - 1) do
      local value, why = unnest.cell(column, lists[i][place])
      if value == nil then
        first, at, reason = place, i, why
        break
      end
    end
  end
  return first, at, reason
end

return unnest
