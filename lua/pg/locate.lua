-- SPDX-License-Identifier: MIT
-- locate: which row and which column of a batch a server refuses. Runs the batch
-- again in halves, in a transaction or savepoint that is always rolled back.
local unnest = require "pg.unnest"

local locate = {}

-- What may be the fault of a value: of a type, of a constraint, of a view's
-- check option, or what a trigger says.
local CLASSES = { ["22"] = true, ["23"] = true, ["44"] = true }

---@param err pg.Error
---@return boolean
function locate.is_of_a_value(err)
  local state = err.sqlstate or ""
  return CLASSES[state:sub(1, 2)] or state == "P0001"
end

--- The first of 1..count where `try` meets the same error, when those before it
--- are done, and the error as it was there; nil when it does not come again.
--- Another value's error is not it.
---@param tx pg.Connection
---@param count integer
---@param state string SQLSTATE
---@param try fun(tx: pg.Connection, first: integer, last: integer): any, pg.Error?
---@return integer?, pg.Error?
local function bisect(tx, count, state, try)
  local found
  local function fails(first, last)
    local done, err = tx:transaction(function(inner) return try(inner, first, last) end)
    if not done and not locate.is_of_a_value(err) then return nil end
    local failed = not done and err.sqlstate == state
    if failed then found = err end
    return failed
  end
  local low, high = 0, count
  while high - low > 1 do
    local middle = (low + high) // 2
    local failed = fails(low + 1, middle)
    if failed == nil then return nil end
    if failed then high = middle else low = middle end
  end
  if fails(high, high) then return high, found end
end

--- Rows first..last of a group as one, with the columns from..to, or all; those
--- whose names are in `always` are never left out.
---@param group pg.Group
---@param first integer
---@param last integer
---@param from? integer
---@param to? integer
---@param always? table<string, any>
---@return pg.Group
local function part_of(group, first, last, from, to, always)
  local part = { names = {}, defaults = group.defaults, columns = {}, lists = {},
    n = last - first + 1 }
  for i, name in ipairs(group.names) do
    if not from or i >= from and i <= to or always and always[name] then
      local at = #part.names + 1
      part.names[at], part.columns[at] = name, group.columns[i]
      part.lists[at] = unnest.slice(group.lists[i], first, last)
    end
  end
  return part
end

local function parameters_of(part)
  local values = { n = #part.columns }
  for i, column in ipairs(part.columns) do
    values[i] = unnest.parameter(column, part.lists[i])
  end
  return values
end

--- Reads the values alone: only their types can refuse them.
local function read(tx, part, job)
  local from, items = unnest.source(part.columns, 1)
  return tx:execute { query = "SELECT " .. table.concat(items, ", ") .. " FROM " .. from,
    parameters = parameters_of(part), timeout = job.left() }
end

local function find_column(tx, group, row, state, job)
  for _, try in ipairs { read, job.send } do
    local always = try ~= read and job.always or nil
    local at, found = bisect(tx, #group.names, state, function(inner, from, to)
      return try(inner, part_of(group, row, row, from, to, always), job)
    end)
    if at then return group.names[at], found end
  end
end

--- The place in the group of the first row that meets the error, for an error of a
--- type (class 22) the column, and the error as that value alone meets it; nil when
--- it cannot be found.
---@param db pg.Connection
---@param group pg.Group
---@param err pg.Error
---@param job { send: function, always: table<string, any>?, left: fun(): number } how rows
--- are sent, the columns that each statement needs, and the seconds it may take
---@return integer? row, string? column, pg.Error? found
function locate.find(db, group, err, job)
  local row, column, found
  db:dry_run(function(tx)
    row, found = bisect(tx, group.n, err.sqlstate, function(inner, first, last)
      return job.send(inner, part_of(group, first, last))
    end)
    if row and err.sqlstate:sub(1, 2) == "22" and not found.column then
      local alone
      column, alone = find_column(tx, group, row, err.sqlstate, job)
      found = alone or found
    end
  end)
  return row, column, found
end

--- The places in a group of two rows that have the same values in these columns,
--- as the server sees it; nil when there are none, or where not all are given.
---@param db pg.Connection
---@param group pg.Group
---@param keys table<string, any> the columns by name
---@param timeout number
---@return integer? first, integer|pg.Error? last
function locate.twice(db, group, keys, timeout)
  local part = part_of(group, 1, group.n, 0, -1, keys)
  if #part.names == 0 then return nil end
  for name in pairs(keys) do
    if not group.by_name[name] then return nil end
  end
  local from, items = unnest.source(part.columns, 1, true)
  local answer, err = db:execute { query = ("SELECT pg_catalog.min(u.place) AS first, "
    .. "pg_catalog.max(u.place) AS last FROM %s GROUP BY %s "
    .. "HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 ORDER BY 2 LIMIT 1")
    :format(from, table.concat(items, ", ")), parameters = parameters_of(part), rows = "object",
    own = true, timeout = timeout }
  if not answer then return nil, err end
  local row = answer.rows[1]
  if row then return row.first, row.last end
end

return locate
