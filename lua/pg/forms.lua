-- SPDX-License-Identifier: MIT
-- forms: update and delete with { table =, set =, where = } instead of SQL.
local core = require "pg.core"
local options = require "pg.options"
local sql = require "pg.sql"

local forms = {}

local UPDATE = { "table", "set", "where", "all", "returning", table.unpack(options.SETTINGS) }
local DELETE = { "table", "where", "all", "returning", table.unpack(options.SETTINGS) }

--- The statement's end and the call's own options.
local function finish(call, text, given, values, level)
  if given.returning then
    text = text .. " RETURNING " .. sql.returning(given.returning, level + 1)
  end
  for _, name in ipairs(options.SETTINGS) do call[name] = given[name] end
  call.query, call.parameters = text, values
  return call
end

--- The clause, or nil and an error of `db` where none is given.
local function where_clause(db, action, given, values, level)
  local where = given.where
  if where ~= nil then sql.need_table(where, "where", level + 1) end
  if given.all ~= nil and type(given.all) ~= "boolean" then
    error("all must be true or false, not a " .. type(given.all), level + 1)
  end
  if where ~= nil and next(where) ~= nil then
    return " WHERE " .. sql.where(where, values, level + 1)
  end
  if given.all == true then return "" end
  return core.fail({ kind = "invalid_parameter",
    message = ("%s without a condition would change every row: `where` is %s; `all = true` "
      .. "says that every row is meant"):format(action, where and
      "empty (a key whose value is nil is not there: pg.null is IS NULL)" or "absent") }, db)
end

local builders = {}

function builders.update(db, given, level)
  options.check(given, UPDATE, level + 1)
  sql.need_table(given.set, "set", level + 1)
  local values, terms = sql.values(), {}
  for i, name in ipairs(sql.names(given.set, level + 1)) do
    terms[i] = sql.quote(name, level + 1) .. " = " .. sql.place(values, given.set[name])
  end
  if #terms == 0 then
    return core.fail({ kind = "invalid_parameter",
      message = "update has nothing to set: `set` is empty" }, db)
  end
  local name = sql.table_name(given.table, level + 1)
  local where, err = where_clause(db, "update", given, values, level + 1)
  if not where then return nil, err end
  local text = "UPDATE " .. name .. " SET " .. table.concat(terms, ", ") .. where
  return (finish({}, text, given, values, level + 1)) -- no tail call: levels count frames
end

function builders.delete(db, given, level)
  options.check(given, DELETE, level + 1)
  local values = sql.values()
  local name = sql.table_name(given.table, level + 1)
  local where, err = where_clause(db, "delete", given, values, level + 1)
  if not where then return nil, err end
  return (finish({}, "DELETE FROM " .. name .. where, given, values, level + 1))
end

--- What pg.core calls for { table =, ... }: the call with SQL in it, or nil and
--- an error object. Levels count from the C function's caller.
---@param db pg.Connection
---@param action "update"|"delete"
---@param given table
function forms.build(db, action, given)
  return builders[action](db, given, 2)
end

return forms
