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
-- A group for no row at all: its width is none that core.gather finds, nor the -1 of a row
-- that does not fit.
local NONE <const> = { by_name = {}, places = {}, n = 0, width = -2 }
-- Groups whose columns are compared with a row's before its names are sorted.
local NEAR <const> = 4

---@class pg.Group rows that have the same columns
---@field signature string
---@field names string[]
---@field defaults string[] columns that the rows want DEFAULT for
---@field columns pg.catalog.Column[]
---@field lists table[] the values, a list a column, each with `n`
---@field places integer[] of the rows in the whole input, from 1
---@field n integer
---@field width integer of columns
---@field texts string[]? the lists as text, where they were written ahead

---@class pg.Batch
---@field groups pg.Group[] those that have rows now, by their first row
---@field count integer rows in it
---@field done integer rows in the batches before
---@field total integer? rows in all, where that is known
local Batch = {}
Batch.__index = Batch

-- --- where rows come from ---------------------------------------------------

local wrapper_meta = getmetatable(core.json(true))

local fault_meta = {}

--- What is wrong with a row.
---@param row integer
---@param column string?
---@param reason string
---@return pg.unnest.Fault
local function fault(row, column, reason)
  return setmetatable({ row = row, column = column, reason = reason }, fault_meta)
end
batch.fault = fault

--- Whether it is a fault of a row, and not what an iterator answered beside nil.
---@return boolean
function batch.is_fault(problem) return getmetatable(problem) == fault_meta end

--- How many a list has: `n`, or up to its last one. Raises for what has no place in it.
local function length(list, level)
  local count = core.sequence(list)
  if count then return count end
  local last = #list -- of what only seems to be a list: none is found in it
  for key in next, list do
    if type(key) == "number" then
      if math.type(key) ~= "integer" or key < 1 then
        error("a list begins at 1: there is something under the key " .. key, level + 1)
      end
      last = math.max(last, key)
    end
  end
  local n = rawget(list, "n")
  return math.type(n) == "integer" and n >= 0 and n or last
end

local function from_list(rows, total)
  local source = { list = rows, at = 0, total = total }
  function source.next()
    local at = source.at + 1
    source.at = at
    if at > source.total then return nil end
    local row = rawget(rows, at)
    if row == nil then return nil, fault(at, nil, "it is nil") end
    return row
  end
  return source
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
    local count = length(list, level + 1)
    if total and count ~= total then
      error(("the columns differ in length: '%s' has %d values, '%s' has %d"):format(first, total,
        name, count), level + 1)
    end
    lists[name], total, first = list, count, first or name
  end
  return lists, total or 0
end

local function from_columns(columns, level)
  local lists, total = lengths(columns, level + 1)
  local at, row = 0, {}
  local function next_row()
    at = at + 1
    if at > total then return nil end
    for name, list in next, lists do
      local value = rawget(list, at)
      if value == nil then
        if not rawget(list, "n") then
          return nil, fault(at, name, "nil: use pg.null, or give the length as n")
        end
        value = NULL
      end
      row[name] = value
    end
    return row
  end
  return { next = next_row, total = total }
end

---@class pg.Source
---@field next fun(): table?, any the next row; or nil; or nil and what is wrong
---@field total integer? rows in all, where that is known
---@field list? table[] the rows, where they are a list already
---@field at? integer the row of the list that came last

--- Where rows come from. Raises at `level` unless it is a list of rows, a table of
--- columns, or a function.
---@param input table|fun(): table?
---@param level integer
---@return pg.Source
function batch.source(input, level)
  if type(input) == "function" then return { next = input } end
  if type(input) ~= "table" then
    error("rows must be a list of rows, a table of columns or an iterator, not a " .. type(input),
      level + 1)
  end
  local count = core.sequence(input) -- nearly always; the rest is for what is wrong, or columns
  if count then return from_list(input, count) end
  local by_place, by_name
  for key, value in next, input do
    by_place = by_place or math.type(key) == "integer" or key == "n" and type(value) ~= "table"
    by_name = by_name or type(key) ~= "number" and (key ~= "n" or type(value) == "table")
    if by_place and by_name then
      error(("rows are a list, or go by column: not both, as with the key %s")
        :format(tostring(key)), level + 1)
    end
  end
  if not by_name then return from_list(input, length(input, level + 1)) end
  return (from_columns(input, level + 1)) -- no tail call: levels count frames
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

local function new_group(relation, signature, names, defaults)
  local group = { signature = signature, names = names, defaults = defaults, lists = {},
    by_name = {}, places = {}, n = 0, width = #names, columns = unnest.columns(relation, names) }
  for i, name in ipairs(names) do
    group.lists[i] = { n = 0 }
    group.by_name[name] = group.lists[i]
  end
  return group
end

--- The relation may be older than a column that it lacks: it is asked for once more.
local function look_again(self, names)
  for _, name in ipairs(names) do
    if self.renew and not self.relation.columns[name] then
      local relation = self.renew()
      self.renew = nil
      if relation then self:adapt(relation) end
    end
  end
end

---@param self pg.Batch
---@return pg.Group|nil, pg.unnest.Fault?
local function group_for(self, row, place)
  local names, defaults = names_of(row, place)
  if not names then return nil, defaults end
  look_again(self, names)
  local signature = table.concat(names, "\0") .. "\0\0" .. table.concat(defaults, "\0")
  local group = self.known[signature]
  if group and self.ordered and group.n > 0 and group ~= self.groups[#self.groups] then
    group = nil
  end
  if not group then
    group = new_group(self.relation, signature, names, defaults)
    local coded, reason = unnest.coded(group.columns, self.handle)
    if coded then return nil, fault(place, coded, reason) end
    self.known[signature] = group
  end
  if group.n == 0 then self.groups[#self.groups + 1] = group end
  return group
end

--- A value that is neither nil nor plain, as it stands in the list.
local function convert(self, name, value, place)
  local column = self.relation.columns[name] or unnest.columns(self.relation, { name })[1]
  local cell, reason = unnest.cell(column, value, self.handle)
  if cell == nil then return nil, fault(place, name, reason) end
  return cell, type(cell) == "string" and #cell or 0
end

--- The same as core.gather of one row, where not all values are plain: how many
--- there are and their bytes; nil where the group lacks a column; nil and the fault.
local function gather(self, lists, row, n, place)
  local width, bytes = 0, 0
  for name, value in next, row do
    local list, kind = lists[name], type(value)
    if not list or value == DEFAULT then return nil end
    if kind == "string" then
      bytes = bytes + #value -- a NUL in it the core will find
    elseif kind ~= "number" and kind ~= "boolean" then
      local more
      value, more = convert(self, name, value, place)
      if value == nil then return nil, more end
      bytes = bytes + more
    end
    list[n] = value
    width = width + 1
  end
  return width, bytes
end

--- Adds a row that has the columns of the group, and no other, and answers its
--- bytes; false when it is not so; nil and the fault.
local function put(self, group, row, place)
  local n = group.n + 1
  local width, bytes = gather(self, group.by_name, row, n, place)
  if not width and bytes then return nil, bytes end
  if width ~= group.width then return false end
  group.n, group.places[n], group.texts = n, place, nil
  return bytes + width * CELL
end

--- Adds any row, to the group that has its columns.
local function put_anywhere(self, row, place)
  local group, problem = group_for(self, row, place)
  if not group then return nil, problem end
  if self.ordered then self.usual = NONE end
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
  local groups, bytes, problem = self.groups, false, nil
  for i = math.max(1, #groups - (self.ordered and 0 or NEAR)), #groups do
    if #groups[i].defaults == 0 then bytes, problem = put(self, groups[i], row, place) end
    if bytes ~= false then break end
  end
  if bytes == false then bytes, problem = put_anywhere(self, row, place) end
  if bytes and self.check then problem = self.check(row, place) end
  return bytes, problem
end

--- Adds rows that are like the one before them and whose values are plain, most of
--- all rows, a run of them at once from a list; how many they were, and their bytes,
--- and the fault of one that is not right.
local function add_alike(self, row, count, bytes)
  local group, source, one = self.usual, self.source, self.one
  local n, first, last, rows = group.n, 1, 1, one
  if source.list then
    rows, first = source.list, source.at
    last = math.min(source.total, first + self.rows - count - 1)
  else
    one[1] = row
  end
  local taken, more = core.gather(group.by_name, group.width, rows, first, last, n,
    self.bytes - bytes)
  for i = 1, taken do
    local place = self.done + count + i
    local problem = self.check and self.check(rows[first + i - 1], place)
    if problem then return i, more, problem end
    group.places[n + i] = place
  end
  group.n, group.texts = n + taken, nil
  if source.list and taken > 0 then source.at = first + taken - 1 end
  return taken, more
end

-- --- batches ----------------------------------------------------------------

--- Begins a batch after `done` rows. Groups that had no rows the last time are
--- dropped, so that their number stays small whatever comes.
local function clear(self, done)
  self.done, self.count, self.groups = done, 0, {}
  self.usual = NONE
  for signature, group in pairs(self.known) do
    if group.n == 0 then self.known[signature] = nil end
    group.n, group.texts = 0, nil
  end
end

-- Bytes of a batch that is also written as text ahead: of large values it would be a copy.
local TEXTS <const> = 1024 * 1024
-- Of each there are two: a batch is filled ahead while the one before it is sent.
local STATE <const> = { "groups", "known", "usual", "count", "done", "bytes_ahead" }

local function swap(self)
  local other = self.other
  for _, name in ipairs(STATE) do self[name], other[name] = other[name], self[name] end
end

--- The groups' lists are as long as they are.
local function measure(self)
  for _, group in ipairs(self.groups) do
    for _, list in ipairs(group.lists) do list.n = group.n end
  end
end

--- Takes the next rows, until the limits are reached or there are no more. False
--- when there was none; nil and the fault at the first row that cannot be sent, or
--- nil and what the iterator answered beside its nil.
---@return boolean|nil, any
function Batch:fill()
  if self.other.count > 0 then
    swap(self)
    self.other.count = 0
  else
    clear(self, self.done + self.count)
  end
  local next_row, limit, count, bytes = self.source.next, self.bytes, self.count, self.bytes_ahead
  local row, problem = self.ahead, nil
  if row == nil then row, problem = next_row() end
  while row ~= nil and count < self.rows and (bytes < limit or count == 0) do
    local taken, more
    taken, more, problem = add_alike(self, row, count, bytes)
    if taken == 0 then
      taken = 1
      more, problem = add(self, row, self.done + count + 1)
    end
    if problem then return nil, problem end
    count, bytes = count + taken, bytes + more
    row, problem = next_row()
  end
  if row == nil and problem then return nil, problem end
  self.ahead, self.count, self.ended, self.bytes_ahead = row, count, row == nil, 0
  measure(self)
  return count > 0
end

--- The same ahead of time, as far as nobody is asked: rows of a list that are like the
--- last ones, and plain. The batch that is filled stays as it is.
function Batch:fill_ahead()
  local like, row, done = self.usual, self.ahead, self.done + self.count
  if self.ended or self.check or not self.source.list or like == NONE
    or self.other.count > 0 then -- it is there: this batch is sent once more
    return
  end
  swap(self)
  clear(self, done)
  local group = self.known[like.signature]
    or new_group(self.relation, like.signature, like.names, like.defaults)
  self.known[like.signature], self.groups[1], self.usual = group, group, group
  self.count, self.bytes_ahead = add_alike(self, row, 0, 0)
  if self.count > 0 then self.ahead = nil end
  if self.bytes_ahead <= TEXTS
    and (self.count == self.rows or self.source.at == self.total) then
    measure(self)
    group.texts = {}
    for i, column in ipairs(group.columns) do
      group.texts[i] = unnest.text(column, group.lists[i], self.handle)
    end
  end
  swap(self)
end

--- Rows as they have to be written to another relation than was thought.
---@param relation pg.catalog.Relation
function Batch:adapt(relation)
  self.relation = relation
  -- A group may be sent that is not known by its signature any more; of what is ahead all are.
  for _, groups in ipairs { self.known, self.groups, self.other.known } do
    for _, group in pairs(groups) do
      group.columns, group.statement = unnest.columns(relation, group.names), nil
      group.texts = nil
    end
  end
end

---@class pg.BatchOptions
---@field rows integer in a batch, at most
---@field bytes integer about, at most
---@field check? fun(row: table, place: integer): pg.unnest.Fault? looks at each row
---@field ordered? boolean groups are runs of rows: what is sent group by group is in order
---@field renew? fun(): pg.catalog.Relation? the relation, where it has changed
---@field handle? pg.Connection whose settings count, and which knows types

---@param source pg.Source
---@param relation pg.catalog.Relation
---@param given pg.BatchOptions
---@return pg.Batch
function batch.new(source, relation, given)
  return setmetatable({ source = source, total = source.total, relation = relation,
    rows = given.rows, bytes = given.bytes, check = given.check, ordered = given.ordered,
    renew = given.renew, handle = given.handle, known = {}, groups = {}, count = 0,
    done = 0, bytes_ahead = 0, ended = false, one = {},
    other = { known = {}, groups = {}, count = 0, done = 0, bytes_ahead = 0 } }, Batch)
end

return batch
