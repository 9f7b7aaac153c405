-- SPDX-License-Identifier: MIT
-- insert: one row into a table, with or without ON CONFLICT; also upsert's way
-- with one row. The catalogue says which key comes back. All of it together takes
-- one timeout.
local core = require "pg.core"
local catalog = require "pg.catalog"
local conflict = require "pg.conflict"
local insert_error = require "pg.insert_error"
local options = require "pg.options"
local sql = require "pg.sql"

local insert = {}

local OPTIONS = table.move(conflict.OPTIONS, 1, #conflict.OPTIONS, 2, { "returning" })
table.move(options.SETTINGS, 1, #options.SETTINGS, #OPTIONS + 1, OPTIONS)
local FORM = table.move(OPTIONS, 1, #OPTIONS, 3, { "table", "columns" })

--- `returning` are columns to return, "*" for all.
---@class pg.InsertOptions: pg.Settings, pg.Conflict
---@field returning? string|string[]

--- `insertedId` is the primary key's value, a table by column when it has several;
--- absent without one, and where no row was stored.
---@class pg.Inserted
---@field rowCount integer
---@field insertedId? any
---@field row? table

--- What one call works with.
---@class pg.insert.Job
---@field db pg.Connection with the call's own settings
---@field quoted string the table
---@field values table what goes into it: a row, or a list of them
---@field plan? table of conflict.read: what to do on a conflict
---@field returning? string[]|"*"
---@field counts boolean say how many were inserted and how many updated
---@field left fun(): number seconds until the call's timeout

--- Raises unless the row has columns by name.
---@param row table
---@param level integer
function insert.check(row, level)
  for _, name in ipairs(sql.names(row, level + 1)) do sql.quote(name, level + 1) end
end

--- Reads what insert and upsert are called with: (table, values, options), or one
--- table of it all. Raises at `level` on what only a wrong program gives.
---@param db pg.Connection
---@param target string|table
---@param values? table
---@param given? table
---@param upserts boolean on a conflict of the primary key if nothing else is said
---@param level integer
---@param check fun(values: table, level: integer)
---@return pg.insert.Job
function insert.job(db, target, values, given, upserts, level, check)
  level = level + 1
  if type(target) == "table" and not sql.is_identifier(target) then
    if values ~= nil or given ~= nil then
      error("one table takes all: values belong in its `columns`", level)
    end
    given = target
    options.check(given, FORM, level)
    target, values = given.table, given.columns
  elseif given ~= nil then
    sql.need_table(given, "options", level)
    options.check(given, OPTIONS, level)
  end
  given = given or {}
  sql.need_table(values, "columns", level)
  check(values, level)
  local quoted, returning = sql.table_name(target, level), given.returning
  if returning ~= nil and returning ~= "*" then
    returning = sql.list(returning, "returning", level)
    if #returning == 0 then error("returning is an empty list", level) end
  end
  local plan = conflict.read(given, level, upserts)
  local settings = options.settings(given)
  if next(settings) ~= nil then db = db:with(settings) end
  local ends = core.now() + core.timeout(db)
  return { db = db, quoted = quoted, values = values, plan = plan, returning = returning,
    counts = upserts, left = function() return math.max(ends - core.now(), 0.001) end }
end

--- INSERT's text up to ON CONFLICT, for one row.
---@param quoted string
---@param row table<string, any>
---@param names string[] its columns
---@param values table of sql.values(), to which the row's are appended
---@return string
function insert.text(quoted, row, names, values)
  if #names == 0 then return "INSERT INTO " .. quoted .. " DEFAULT VALUES" end
  local places = {}
  for i, name in ipairs(names) do places[i] = sql.place(values, row[name], name) end
  return ("INSERT INTO %s (%s) VALUES (%s)"):format(quoted, sql.quoted_list(names),
    table.concat(places, ", "))
end

--- A name that none of the table's columns has.
---@param relation pg.catalog.Relation
---@param name string
---@return string
function insert.alias(relation, name)
  while relation.columns[name] do name = name .. "_" end
  return name
end

--- The name under which a statement says whether it inserted the row; nil where
--- that cannot be known.
---@param relation pg.catalog.Relation
---@return string?
function insert.flag(relation)
  if relation.kind ~= "r" or not relation.xmax_readable then return nil end
  return insert.alias(relation, "inserted")
end

--- RETURNING, with a space before it: the key, what was asked for, the flag.
---@param key string[]|false
---@param returning string[]|"*"|nil
---@param flag? string
---@return string
function insert.returning(key, returning, flag)
  local list, seen = {}, {}
  for _, names in ipairs { returning ~= "*" and key or {}, returning ~= "*" and returning or {} } do
    for _, name in ipairs(names) do
      if not seen[name] then list[#list + 1] = sql.quote(name) end
      seen[name] = true
    end
  end
  if returning == "*" then list[1] = "*" end
  if flag then
    list[#list + 1] = "(xmax OPERATOR(pg_catalog.=) 0)::pg_catalog.int4::pg_catalog.oid AS "
      .. sql.quote(flag)
  end
  return #list > 0 and " RETURNING " .. table.concat(list, ", ") or ""
end

--- Some columns of a row.
---@param row table
---@param names string[]
---@return table
function insert.pick(row, names)
  local picked = {}
  for _, name in ipairs(names) do picked[name] = row[name] end
  return picked
end

--- A row's key: its value, or a table by column when it has several.
---@param row table
---@param key string[]|false
---@return any
function insert.id(row, key)
  if not key or #key == 0 then return nil end
  if #key == 1 then return row[key[1]] end
  return insert.pick(row, key)
end

--- {insertedId=, rowCount=, row=} from a statement's result.
---@param job pg.insert.Job
---@param statement pg.insert.Statement
---@param result table
---@return pg.Inserted
function insert.result(job, statement, result)
  local relation, flag, updates = statement.relation, statement.flag, statement.updates
  local shaped, row = { rowCount = result.rowCount }, result.rows and result.rows[1]
  if job.counts and relation.kind == "r" and (flag or not updates) then
    shaped.updated = row and flag and row[flag] == 0 and 1 or 0
    shaped.inserted = result.rowCount - shaped.updated
  end
  if row then
    if flag then row[flag] = nil end
    shaped.insertedId = insert.id(row, relation.key)
    if job.returning then
      shaped.row = job.returning == "*" and row or insert.pick(row, job.returning)
    end
  end
  return setmetatable(shaped, getmetatable(result))
end

--- Runs `build` on what the catalogue says of the table, and once again when it
--- fails and that was out of date. The answers are kept for the connection's
--- statements; DDL or SET on this connection drops them, and an error that shows
--- that they are stale: a key that another session moves without one is not noticed.
---@param job pg.insert.Job
---@param build fun(relation: pg.catalog.Relation): table?, pg.Error?
---@return table|nil, pg.Error?
function insert.run(job, build)
  local relation, err = catalog.relation(job.db, job.quoted)
  if not relation then return nil, err end
  local result, failure = build(relation)
  if result then return result end
  local db = job.db:with { timeout = job.left() }
  local renewed = catalog.renewed(db, job.quoted, relation, failure)
  if not renewed then return nil, failure end
  return build(renewed)
end

--- The statement without RETURNING, its values, the flag, whether it updates.
local function build(job, relation, names, columns)
  local values = sql.values()
  local text = insert.text(job.quoted, job.values, names, values)
  if not job.plan then return text, values end
  local clause, updates = conflict.clause(job.plan, columns, names, relation, values)
  return text .. clause, values, updates and job.counts and insert.flag(relation) or nil, updates
end

--- What a job comes to, given what the catalogue says of its table.
---@class pg.insert.Statement
---@field relation pg.catalog.Relation
---@field names string[] the columns given
---@field columns? (string|table)[] the conflict's
---@field text? string
---@field values? table of sql.values()
---@field flag? string
---@field updates? boolean

--- Fills in the statement. False and an error when the catalogue cannot be asked.
local function complete(job, statement)
  local relation = statement.relation
  if job.plan then
    local columns, failure = conflict.columns(job.plan, job.db, job.quoted, relation)
    if not columns then return false, failure end
    statement.columns = columns
  end
  local text, values, flag, updates = build(job, relation, statement.names, statement.columns)
  statement.text = text .. insert.returning(relation.key, job.returning, flag)
  statement.values, statement.flag, statement.updates = values, flag, updates
  return true
end

--- The statement of a job that somebody else runs.
---@param job pg.insert.Job
---@return pg.insert.Statement|nil, pg.Error?
function insert.statement(job)
  local names = sql.names(job.values, 1)
  local relation, err = catalog.relation(job.db, job.quoted)
  if not relation then return nil, err end
  local statement = { relation = relation, names = names }
  local done, failure = complete(job, statement)
  if not done then return nil, failure end
  return statement
end

--- Says more of the error of a statement.
---@param job pg.insert.Job
---@param statement pg.insert.Statement
---@param err pg.Error
---@return pg.Error
function insert.explain(job, statement, err)
  return insert_error.explain(job, err, statement.columns, statement.names, statement.values)
end

--- Stores the row that is the job's values.
---@param job pg.insert.Job
---@return pg.Inserted|nil, pg.Error?
function insert.row(job)
  local statement = { names = sql.names(job.values, 1) }
  local result, err = insert.run(job, function(relation)
    statement.relation = relation
    local done, failure = complete(job, statement)
    if not done then return nil, failure end
    local answer, problem = job.db:execute { query = statement.text, rows = "object",
      parameters = statement.values, timeout = job.left() }
    if not answer then return nil, problem end
    return insert.result(job, statement, answer)
  end)
  if result then return result end
  return nil, insert.explain(job, statement, err)
end

--- Inserts one row: db:insert("users", { name = "John" }), or a form:
--- db:insert{ table = "users", columns = {...}, returning = {"id"} }.
---@param db pg.Connection
---@param target string|table the table's name, or the form
---@param columns? table column = value; pg.null, pg.default and pg.raw are values
---@param given? pg.InsertOptions
---@return pg.Inserted|nil
---@return pg.Error?
function insert.insert(db, target, columns, given)
  return insert.row(insert.job(db, target, columns, given, false, 2, insert.check))
end

return insert
