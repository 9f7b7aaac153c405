-- SPDX-License-Identifier: MIT
-- forms: the actions that take a table's name and columns instead of SQL:
-- insert, and update and delete with { table =, set =, where = }.
local core = require "pg.core"
local catalog = require "pg.catalog"
local errors = require "pg.errors"
local options = require "pg.options"
local sql = require "pg.sql"

local forms = {}

local CALL = { "timeout", "max_result", "rows", "null", "numeric", "json" }
local INSERT = { "table", "columns", "returning", table.unpack(CALL) }
local UPDATE = { "table", "set", "where", "all", "returning", table.unpack(CALL) }
local DELETE = { "table", "where", "all", "returning", table.unpack(CALL) }

local function need_table(value, name, level)
  if type(value) ~= "table" then
    error(("%s must be a table of column = value, not %s"):format(name,
      value == nil and "nil" or "a " .. type(value)), level + 1)
  end
end

--- The statement's end and the call's own options.
local function finish(call, text, given, values, level)
  if given.returning then
    text = text .. " RETURNING " .. sql.returning(given.returning, level + 1)
  end
  for _, name in ipairs(CALL) do call[name] = given[name] end
  call.query, call.parameters = text, values
  return call
end

local function where_clause(action, given, values, level)
  local where = given.where
  if where ~= nil then need_table(where, "where", level + 1) end
  if given.all ~= nil and type(given.all) ~= "boolean" then
    error("all must be true or false, not a " .. type(given.all), level + 1)
  end
  if where ~= nil and next(where) ~= nil then
    return " WHERE " .. sql.where(where, values, level + 1)
  end
  if given.all == true then return "" end
  return nil, core.fail {
    kind = "invalid_parameter",
    message = ("%s without a condition would change every row: `where` is %s; `all = true` "
      .. "says that every row is meant"):format(action, where and
      "empty (a key whose value is nil is not there: pg.null is IS NULL)" or "absent"),
  }
end

local builders = {}

function builders.update(given, level)
  options.check(given, UPDATE, level + 1)
  need_table(given.set, "set", level + 1)
  local values, terms = sql.values(), {}
  for i, name in ipairs(sql.names(given.set, level + 1)) do
    terms[i] = sql.quote(name, level + 1) .. " = " .. sql.place(values, given.set[name])
  end
  if #terms == 0 then
    return nil, select(2, core.fail { kind = "invalid_parameter",
      message = "update has nothing to set: `set` is empty" })
  end
  local name = sql.table_name(given.table, level + 1)
  local where, _, err = where_clause("update", given, values, level + 1)
  if not where then return nil, err end
  local text = "UPDATE " .. name .. " SET " .. table.concat(terms, ", ") .. where
  return (finish({}, text, given, values, level + 1)) -- no tail call: levels count frames
end

function builders.delete(given, level)
  options.check(given, DELETE, level + 1)
  local values = sql.values()
  local name = sql.table_name(given.table, level + 1)
  local where, _, err = where_clause("delete", given, values, level + 1)
  if not where then return nil, err end
  return (finish({}, "DELETE FROM " .. name .. where, given, values, level + 1))
end

--- What pg.core calls for { table =, ... }: the call with SQL in it, or nil and
--- an error object. Levels count from the C function's caller.
---@param action "update"|"delete"
---@param given table
function forms.build(action, given)
  return builders[action](given, 2)
end

--- INSERT's text for a table and its columns, and the values in their order.
local function insert_statement(quoted, columns, level)
  local names, values, places = sql.names(columns, level + 1), sql.values(), {}
  local list = {}
  for i, name in ipairs(names) do
    list[i] = sql.quote(name, level + 1)
    places[i] = sql.place(values, columns[name])
  end
  if #names == 0 then return "INSERT INTO " .. quoted .. " DEFAULT VALUES", values, names end
  return ("INSERT INTO %s (%s) VALUES (%s)"):format(quoted, table.concat(list, ", "),
    table.concat(places, ", ")), values, names
end

--- The columns RETURNING has to give: the key's and those asked for.
local function wanted(key, returning, level)
  if returning == "*" then return "*" end
  local list, seen = {}, {}
  local asked = type(returning) == "string" and { returning } or returning or {}
  if type(asked) ~= "table" then
    error("returning must be a name or a list of names, not a " .. type(asked), level + 1)
  end
  for _, names in ipairs { key or {}, asked } do
    for _, name in ipairs(names) do
      if not seen[name] then list[#list + 1] = sql.quote(name, level + 1) end
      seen[name] = true
    end
  end
  return #list > 0 and table.concat(list, ", ") or nil
end

local function pick(row, names)
  local picked = {}
  for _, name in ipairs(names) do picked[name] = row[name] end
  return picked
end

--- {insertedId=, rowCount=, row=} from a statement's result.
local function shape(result, key, returning)
  local shaped = { rowCount = result.rowCount }
  local row = result.rows and result.rows[1]
  if row and key and #key == 1 then
    shaped.insertedId = row[key[1]]
  elseif row and key and #key > 1 then
    shaped.insertedId = pick(row, key)
  end
  if row and returning then
    shaped.row = returning == "*" and row
      or pick(row, type(returning) == "string" and { returning } or returning)
  end
  return setmetatable(shaped, getmetatable(result))
end

--- The place of a name on the list of parameters tells the column that a value
--- did not suit.
local function explain(db, err, quoted, columns, names)
  if err.parameter and not err.column then
    local at = 0
    for _, name in ipairs(names) do
      if not sql.is_raw(columns[name]) then at = at + 1 end
      if at == err.parameter then
        err.column = name
        errors.advise(err)
        break
      end
    end
  end
  if err.sqlstate == "42P01" or err.sqlstate == "42703" then
    local near = catalog.nearest(db, err, quoted, names)
    if near and near ~= err.column then errors.advise(err, near) end
  end
  return nil, err
end

--- The handle with the call's own settings, for the catalogue's questions too.
local function handle_for(db, given)
  local settings = {}
  for _, name in ipairs(CALL) do settings[name] = given[name] end
  return next(settings) == nil and db or db:with(settings)
end

--- Runs INSERT's text so that it returns the key and what was asked for.
local function send(db, text, values, key, returning, level)
  local list = wanted(key, returning, level + 1)
  return db:execute { query = list and text .. " RETURNING " .. list or text,
    parameters = values, rows = "object" }
end

-- What the server says when the key that was known is not the key any more, or
-- may not be read any more.
local STALE_KEY = { ["42703"] = true, ["42501"] = true }

--- Inserts one row: db:insert("users", { name = "John" }), or a form:
--- db:insert{ table = "users", columns = {...}, returning = {"id"} }.
---@param db pg.Connection
---@param target string|table the table's name, or the form
---@param columns? table column = value; pg.null, pg.default and pg.raw are values
---@param given? table returning = name, list of names or "*"; timeout and other settings
---@return {insertedId: any, rowCount: integer, row: table?}|nil
---@return pg.Error?
function forms.insert(db, target, columns, given)
  if type(target) == "table" and not sql.is_identifier(target) then
    if columns ~= nil or given ~= nil then
      error("one table takes all: values belong in its `columns`", 2)
    end
    given = target
    options.check(given, INSERT, 2)
    target, columns = given.table, given.columns
  elseif given ~= nil then
    need_table(given, "options", 2)
    options.check(given, INSERT, 2)
  end
  given = given or {}
  need_table(columns, "columns", 2)
  local quoted = sql.table_name(target, 2)
  local text, values, names = insert_statement(quoted, columns, 2)
  db = handle_for(db, given)
  local key, err = catalog.primary_key(db, quoted)
  if key == nil then return nil, err end
  local result, failure = send(db, text, values, key, given.returning, 2)
  if not result and STALE_KEY[failure.sqlstate] then
    local changed = catalog.changed_key(db, quoted, key)
    if changed ~= nil then
      key = changed
      result, failure = send(db, text, values, key, given.returning, 2)
    end
  end
  if not result then return explain(db, failure, quoted, columns, names) end
  return shape(result, key, given.returning)
end

return forms
