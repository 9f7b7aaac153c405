-- SPDX-License-Identifier: MIT
-- conflict: ON CONFLICT, the same for insert, upsert and bulk_insert. Reads
-- their options, finds the columns that a key or a constraint has, builds the
-- clause. Sends nothing.
--
--   options.check(given, { ..., table.unpack(conflict.OPTIONS) }, level)
--   local plan = conflict.read(given, level)              nil: a plain INSERT
--   local columns, err = conflict.columns(plan, db, quoted, relation)
--   local text, updates = conflict.clause(plan, columns, names, relation, values)
--
-- `text` begins with a space and stands before RETURNING; the values that it
-- binds are appended to `values`. Rows that have other columns have another
-- clause: what a row does not have is not touched by the update.
local core = require "pg.core"
local catalog = require "pg.catalog"
local sql = require "pg.sql"

local conflict = {}

---@class pg.Conflict
---@field conflict? string|string[]|table|true columns; pg.raw: an expression; true: the primary key
---@field constraint? string or the name of a constraint
---@field where? table the condition of a partial unique index: column = value, or pg.raw
---@field update? string|string[]|false default: all given columns outside of the conflict's
---@field set? table<string, any> what else to update: column = value

--- The names of the options, for options.check.
conflict.OPTIONS = { "conflict", "constraint", "where", "update", "set" }

local function target_of(given, level)
  local target = given.conflict
  if target == nil or target == true then return nil end
  if sql.is_raw(target) then return { target } end
  local list = sql.list(target, "conflict", level + 1, true)
  if #list == 0 then error("conflict is an empty list", level + 1) end
  return list
end

-- Values that a condition can be compared with, besides pg.null and pg.raw.
local LITERAL = { string = true, number = true, boolean = true }

--- The condition as text. What it compares with stands in it literally: the
-- server has to prove at planning that it implies the index's condition.
local function predicate(where, level)
  if sql.is_raw(where) then return where[1] end
  if type(where) ~= "table" then
    error("where must be a table of column = value or pg.raw, not a " .. type(where), level + 1)
  end
  local terms = {}
  for i, name in ipairs(sql.names(where, level + 1)) do
    local column, value = sql.quote(name, level + 1), where[name]
    if value == core.null then
      terms[i] = column .. " IS NULL"
    elseif sql.is_raw(value) then
      terms[i] = column .. " = " .. value[1]
    elseif not LITERAL[type(value)] then
      error(("where compares with a string, a number, a boolean, pg.null or pg.raw, not a %s")
        :format(type(value)), level + 1)
    else
      terms[i] = column .. " = " .. sql.literal(value, level + 1)
    end
  end
  if #terms == 0 then error("where is empty", level + 1) end
  return table.concat(terms, " AND ")
end

local function assignments(set, level)
  if type(set) ~= "table" then
    error("set must be a table of column = value, not a " .. type(set), level + 1)
  end
  for _, name in ipairs(sql.names(set, level + 1)) do sql.quote(name, level + 1) end
  return set
end

local function check_pairs(given, level)
  if given.conflict ~= nil and given.constraint ~= nil then
    error("conflict and constraint say the same thing: give one of them", level + 1)
  elseif given.constraint ~= nil and given.where ~= nil then
    error("where belongs to conflict: a constraint has no condition", level + 1)
  elseif given.where ~= nil and (given.conflict == nil or given.conflict == true) then
    error("where needs the columns of its index in `conflict`", level + 1)
  elseif given.update == false and given.set ~= nil then
    error("update = false does nothing on a conflict, so there is nothing to set", level + 1)
  end
end

--- Checks the options: raises at `level` on what only a wrong program gives.
--- nil when they name no conflict, unless `always`: then it is the primary key.
---@param given pg.Conflict
---@param level integer
---@param always? boolean
---@return table? plan for the other functions; not changed by them
function conflict.read(given, level, always)
  check_pairs(given, level + 1)
  if given.conflict == nil and given.constraint == nil and not always then
    for _, name in ipairs { "where", "update", "set" } do
      if given[name] ~= nil then
        error(("%s is for a conflict: say which, in `conflict` or `constraint`"):format(name),
          level + 1)
      end
    end
    return nil
  end
  local plan = { target = target_of(given, level + 1), update = given.update, set = {} }
  if given.constraint ~= nil then
    plan.constraint = sql.quote(given.constraint, level + 1)
    plan.constraint_name = given.constraint
  end
  if given.where ~= nil then plan.where = predicate(given.where, level + 1) end
  if plan.update then plan.update = sql.list(plan.update, "update", level + 1) end
  if given.set ~= nil then plan.set = assignments(given.set, level + 1) end
  return plan
end

--- The columns of the conflict: names, and pg.raw for expressions. nil and an
--- error where there is no key to take them from.
---@param plan table
---@param db pg.Connection
---@param quoted string
---@param relation table as catalog.relation answers it
---@return (string|table)[]|nil, pg.Error?
function conflict.columns(plan, db, quoted, relation)
  if plan.target then return plan.target end
  if plan.constraint then
    local columns, err = catalog.constraint(db, quoted, plan.constraint_name)
    if err then return nil, err end
    return columns or {}
  end
  if not relation.kind then return { "ctid" } end -- no such table: the statement will say so
  if relation.key and #relation.key > 0 then return relation.key end
  local message = relation.key and "%s has no primary key that could conflict"
    or "the primary key of %s cannot be read here"
  return core.fail({ kind = "invalid_parameter", message = message:format(quoted),
    sqlstate = "42P10", -- as the server would answer
    fixes = { "Name what is unique: conflict = \"email\", conflict = { \"a\", \"b\" }, or "
      .. "constraint = \"users_email_key\". A view takes the columns of its table." } }, db)
end

--- What is updated: the columns that this statement gives, or those of them
--- that were asked for. A name that the table lacks is left to the server.
local function updated(plan, columns, names, relation)
  local skip, given, list = {}, {}, {}
  for name in next, plan.set do skip[name] = true end
  for _, name in ipairs(names) do given[name] = true end
  if not plan.update then
    for _, name in ipairs(columns) do skip[name] = true end
  end
  for _, name in ipairs(plan.update or names) do
    local known = not relation.columns or relation.columns[name]
    if not skip[name] and (given[name] or not known) then list[#list + 1] = name end
    skip[name] = true
  end
  return list
end

local function target_text(plan, columns)
  if plan.constraint then return " ON CONFLICT ON CONSTRAINT " .. plan.constraint end
  local where = plan.where and " WHERE " .. plan.where or ""
  return " ON CONFLICT (" .. sql.quoted_list(columns) .. ")" .. where
end

--- The clause for an INSERT that gives the columns `names`, and whether it
--- updates: with nothing to update it is DO NOTHING.
---@param plan table
---@param columns (string|table)[] what conflict.columns answered
---@param names string[] that sql.quote takes
---@param relation table
---@param values table of sql.values()
---@return string text, boolean updates
function conflict.clause(plan, columns, names, relation, values)
  local target, terms = target_text(plan, columns), {}
  if plan.update == false then return target .. " DO NOTHING", false end
  for i, name in ipairs(updated(plan, columns, names, relation)) do
    local column = sql.quote(name)
    terms[i] = column .. " = EXCLUDED." .. column
  end
  for _, name in ipairs(sql.names(plan.set, 1)) do
    terms[#terms + 1] = sql.quote(name) .. " = " .. sql.place(values, plan.set[name], name)
  end
  if #terms == 0 then return target .. " DO NOTHING", false end
  return target .. " DO UPDATE SET " .. table.concat(terms, ", "), true
end

return conflict
