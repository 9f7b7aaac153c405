-- SPDX-License-Identifier: MIT
-- batch: rows from a list, from columns or from an iterator, as many at a time as
-- the limits allow, in groups of those that have the same columns. Keeps values,
-- never a row: an iterator may answer the same table again and again. Sends
-- nothing.
local core = require "pg.core"
local sql = require "pg.sql"
local unnest = require "pg.unnest"

local batch = {}

local NULL <const>, DEFAULT <const> = core.null, sql.default
-- Bytes that a value counts for besides those of a string.
local CELL <const> = 8

---@class pg.Group rows that have the same columns
---@field names string[]
---@field defaults string[] columns that the rows want DEFAULT for
---@field columns pg.catalog.Column[]
---@field lists table[] the values, a list a column, each with `n`
---@field places integer[] of the rows in the whole input, from 1
---@field n integer

---@class pg.Batch
---@field groups pg.Group[] those that have rows now, by their first row
---@field count integer rows in it
---@field done integer rows in the batches before
---@field total integer? rows in all, where that is known
local Batch = {}
Batch.__index = Batch

-- --- where rows come from ---------------------------------------------------

local wrapper_meta = getmetatable(core.json(true))

local function fault(row, column, reason)
  return { row = row, column = column, reason = reason }
end

local function from_list(rows)
  local total = math.type(rows.n) == "integer" and rows.n or #rows
  local at = 0
  return function()
    at = at + 1
    if at > total then return nil end
    if rows[at] == nil then return nil, fault(at, nil, "it is nil") end
    return rows[at]
  end, total
end

--- The columns' lists, and how many rows they make; raises unless they agree.
local function lengths(columns, level)
  local lists, total, first = {}, nil, nil
  for _, name in ipairs(sql.names(columns, level + 1)) do
    local list = columns[name]
    if getmetatable(list) == wrapper_meta then list = list[1] end
    if type(list) ~= "table" then
      error(("a table of columns holds lists: '%s' is a %s"):format(name, type(list)), level + 1)
    end
    local length = math.type(list.n) == "integer" and list.n or #list
    if total and length ~= total then
      error(("the columns differ in length: '%s' has %d values, '%s' has %d"):format(first, total,
        name, length), level + 1)
    end
    lists[name], total, first = list, length, first or name
  end
  return lists, total or 0
end

local function from_columns(columns, level)
  local lists, total = lengths(columns, level + 1)
  local at, row = 0, {}
  return function()
    at = at + 1
    if at > total then return nil end
    for name, list in next, lists do
      local value = list[at]
      if value == nil then
        if not list.n then
          return nil, fault(at, name, "nil: use pg.null, or give the length as n")
        end
        value = NULL
      end
      row[name] = value
    end
    return row
  end, total
end

--- Where rows come from, and how many there are if that is known. Raises at
--- `level` unless it is a list of rows, a table of columns, or a function.
---@param input table|fun(): table?
---@param level integer
---@return fun(): table?, pg.unnest.Fault?
---@return integer?
function batch.source(input, level)
  if type(input) == "function" then return input end
  if type(input) ~= "table" then
    error("rows must be a list of rows, a table of columns or an iterator, not a " .. type(input),
      level + 1)
  end
  local by_place, by_name
  for key, value in next, input do
    by_place = by_place or math.type(key) == "integer" or key == "n" and type(value) ~= "table"
    by_name = by_name or type(key) ~= "number" and (key ~= "n" or type(value) == "table")
    if by_place and by_name then
      error(("rows are a list, or go by column: not both, as with the key %s")
        :format(tostring(key)), level + 1)
    end
  end
  if by_name then return from_columns(input, level + 1) end
  return from_list(input)
end

-- --- groups -----------------------------------------------------------------

--- The names of a row, sorted, and of those that want their default; or the fault.
local function names_of(row, place)
  local names, defaults = {}, {}
  for name, value in next, row do
    if type(name) ~= "string" then
      return nil, fault(place, nil, ("columns go by name: there is a value under the %s key %s")
        :format(type(name), tostring(name)))
    elseif not pcall(sql.quote, name) then
      local _, reason = pcall(sql.quote, name, 0)
      return nil, fault(place, name, reason)
    end
    local list = value == DEFAULT and defaults or names
    list[#list + 1] = name
  end
  table.sort(names)
  table.sort(defaults)
  return names, defaults
end

---@param self pg.Batch
---@return pg.Group|nil, pg.unnest.Fault?
local function group_for(self, row, place)
  local names, defaults = names_of(row, place)
  if not names then return nil, defaults end
  local signature = table.concat(names, "\0") .. "\0\0" .. table.concat(defaults, "\0")
  local group = self.known[signature]
  if not group then
    group = { names = names, defaults = defaults, lists = {}, by_name = {}, places = {}, n = 0,
      columns = unnest.columns(self.relation, names) }
    for i, name in ipairs(names) do
      group.lists[i] = { n = 0 }
      group.by_name[name] = group.lists[i]
    end
    self.known[signature] = group
  end
  if group.n == 0 then self.groups[#self.groups + 1] = group end
  return group
end

--- A value that is neither nil nor plain, as it stands in the list.
local function convert(self, name, value, place)
  local column = self.relation.columns[name] or unnest.columns(self.relation, { name })[1]
  local cell, reason = unnest.cell(column, value)
  if cell == nil then return nil, fault(place, name, reason) end
  return cell, type(cell) == "string" and #cell or 0
end

--- Adds a row that has the columns of the group, and no other, and answers its
--- bytes; false when it is not so; nil and the fault.
local function put(self, group, row, place)
  local by_name, n, width, bytes = group.by_name, group.n + 1, 0, 0
  for name, value in next, row do
    local list, kind = by_name[name], type(value)
    if not list or value == DEFAULT then return false end
    if kind == "string" then
      bytes = bytes + #value -- a NUL in it the core will find
    elseif kind ~= "number" and kind ~= "boolean" and value ~= NULL then
      local more
      value, more = convert(self, name, value, place)
      if value == nil then return nil, more end
      bytes = bytes + more
    end
    list[n] = value
    width = width + 1
  end
  if width ~= #group.lists then return false end
  group.n, group.places[n] = n, place
  return bytes + width * CELL
end

--- Adds any row, to the group that has its columns.
local function put_anywhere(self, row, place)
  local group, problem = group_for(self, row, place)
  if not group then return nil, problem end
  if #group.defaults == 0 then
    self.usual = group
    return put(self, group, row, place)
  end
  local values = {}
  for _, name in ipairs(group.names) do values[name] = row[name] end
  return put(self, group, values, place)
end

--- Adds the row; its bytes, or nil and the fault.
local function add(self, row, place)
  if type(row) ~= "table" then
    return nil, fault(place, nil, ("it must be a table of column = value, not a %s")
      :format(type(row)))
  end
  local usual = self.usual
  local bytes, problem = false, nil
  if usual and usual.n > 0 then bytes, problem = put(self, usual, row, place) end
  if bytes == false then bytes, problem = put_anywhere(self, row, place) end
  if bytes and self.check then
    problem = self.check(row, place)
    if problem then return nil, problem end
  end
  return bytes, problem
end

-- --- batches ----------------------------------------------------------------

--- Groups that had no rows this time are dropped, so that their number stays
--- small whatever comes.
local function clear(self)
  self.done, self.count, self.groups, self.usual = self.done + self.count, 0, {}, nil
  for signature, group in pairs(self.known) do
    if group.n == 0 then self.known[signature] = nil end
    group.n = 0
  end
end

--- Takes the next rows, until the limits are reached or there are no more. False
--- when there was none; nil and the fault at the first row that cannot be sent.
---@return boolean|nil, pg.unnest.Fault?
function Batch:fill()
  clear(self)
  local row, bytes, problem = self.ahead, 0, nil
  self.ahead = nil
  if row == nil and not self.ended then row, problem = self.source() end
  while row ~= nil do
    local more
    more, problem = add(self, row, self.done + self.count + 1)
    if problem then break end
    self.count, bytes = self.count + 1, bytes + more
    row, problem = self.source()
    if row ~= nil and (self.count >= self.rows or bytes >= self.bytes) then
      self.ahead = row
      break
    end
  end
  if problem then return nil, problem end
  self.ended = self.ahead == nil
  for _, group in ipairs(self.groups) do
    for _, list in ipairs(group.lists) do list.n = group.n end
  end
  return self.count > 0
end

--- Rows as they have to be written to another relation than was thought.
---@param relation pg.catalog.Relation
function Batch:adapt(relation)
  self.relation = relation
  for _, group in pairs(self.known) do
    group.columns, group.statement = unnest.columns(relation, group.names), nil
  end
end

---@class pg.BatchOptions
---@field rows integer in a batch, at most
---@field bytes integer about, at most
---@field check? fun(row: table, place: integer): pg.unnest.Fault? looks at each row

---@param source fun(): table?, pg.unnest.Fault?
---@param total integer?
---@param relation pg.catalog.Relation
---@param given pg.BatchOptions
---@return pg.Batch
function batch.new(source, total, relation, given)
  return setmetatable({ source = source, total = total, relation = relation, rows = given.rows,
    bytes = given.bytes, check = given.check, known = {}, groups = {}, count = 0, done = 0,
    ended = false }, Batch)
end

return batch
