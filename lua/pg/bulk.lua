-- SPDX-License-Identifier: MIT
-- bulk: many rows by INSERT ... SELECT of unnest and UPDATE ... FROM unnest, all
-- or none of them. Rows come in batches (batch.lua), a batch of rows with the same
-- columns is one statement (unnest.lua); writer.lua sends them.
local core = require "pg.core"
local batch = require "pg.batch"
local catalog = require "pg.catalog"
local conflict = require "pg.conflict"
local insert = require "pg.insert"
local options = require "pg.options"
local sql = require "pg.sql"
local unnest = require "pg.unnest"
local writer = require "pg.writer"

local bulk = {}

local COMMON = { "batch", "batch_bytes", "progress", "returning", "deadline" }
for _, name in ipairs(options.SETTINGS) do
  if name ~= "rows" then COMMON[#COMMON + 1] = name end
end
local INSERT = { "overriding", table.unpack(conflict.OPTIONS) }
table.move(COMMON, 1, #COMMON, #INSERT + 1, INSERT)
local UPDATE = { "key", table.unpack(COMMON) }

local ROWS <const>, BYTES <const> = 10000, 8 * 1024 * 1024
local OVERRIDING = { system = " OVERRIDING SYSTEM VALUE", user = " OVERRIDING USER VALUE" }

-- --- statements -------------------------------------------------------------

--- INSERT for the rows of a group: its text, and the values after the lists.
---@param job pg.Job
---@param group pg.Group
---@return string text, table values
local function insert_text(job, group)
  local values = sql.values()
  values.n = math.max(#group.names, 1)
  local text = ("INSERT INTO %s SELECT FROM pg_catalog.generate_series("
      .. "1, $1::pg_catalog.oid::pg_catalog.int8)")
    :format(job.quoted)
  if #group.names > 0 then
    local from, items = unnest.source(group.columns, 1, job.returning ~= nil)
    text = ("INSERT INTO %s (%s)%s SELECT %s FROM %s%s"):format(job.quoted,
      sql.quoted_list(group.names), job.overriding or "", table.concat(items, ", "), from,
      job.returning and " ORDER BY u.place" or "")
  end
  if job.plan then
    text = text .. conflict.clause(job.plan, job.conflicting, group.names, job.relation, values)
  end
  return job.returning and text .. " RETURNING " .. job.returning or text, values
end

--- A key's column and its value, compared by PostgreSQL's own operator where the type is its own,
--- whatever the search_path; the operator of another type is where that was installed.
local function match_text(column, item)
  local own = column.type:find('"pg_catalog".', 1, true) == 1
  local equals = own and "OPERATOR(pg_catalog.=)" or "="
  return ("t.%s %s %s"):format(sql.quote(column.name), equals, item)
end

--- UPDATE for the rows of a group; nil and the fault where they lack a key's column, as
--- when another session has changed the key.
---@param job pg.Job
---@param group pg.Group
---@return string|nil text, table|pg.unnest.Fault values
local function update_text(job, group)
  local from, items = unnest.source(group.columns, 1, true)
  local terms, matches, returning, values = {}, {}, { job.returning }, sql.values()
  values.n = #group.names
  for i, name in ipairs(group.names) do
    if job.always[name] then
      matches[name] = match_text(group.columns[i], items[i])
      matches[#matches + 1] = matches[name]
    else
      terms[#terms + 1] = ("%s = %s"):format(sql.quote(name), items[i])
    end
  end
  for _, name in ipairs(job.key) do
    if not matches[name] then
      return nil, batch.fault(group.places[1], name, "the key must have a value")
    end
  end
  for _, name in ipairs(group.defaults) do terms[#terms + 1] = sql.quote(name) .. " = DEFAULT" end
  if #terms == 0 then -- only to see what the key does
    terms[1] = ("%s = t.%s"):format(sql.quote(job.key[1]), sql.quote(job.key[1]))
  end
  if #matches == 0 then matches[1] = "false" end -- no such table: the server will say so
  if job.place then
    returning[#returning + 1] = "u.place::pg_catalog.oid AS " .. sql.quote(job.place)
  end
  return ("UPDATE %s AS t SET %s FROM %s WHERE %s%s"):format(job.quoted,
    table.concat(terms, ", "), from, table.concat(matches, " AND "),
    #returning > 0 and " RETURNING " .. table.concat(returning, ", ") or ""), values
end

-- --- options ----------------------------------------------------------------

local function expect(given, name, right, what, level)
  local value = given[name]
  if value ~= nil and not right(value) then
    error(("%s must be %s, not %s"):format(name, what, type(value) == "string"
      and ("'%s'"):format(value) or tostring(value)), level + 1)
  end
end

local function is_count(value) return math.type(value) == "integer" and value > 0 end
local function is_seconds(value) return type(value) == "number" and value > 0 end
local function is_function(value) return type(value) == "function" end

--- What both have in common; raises at `level`.
---@return pg.Job
local function new_job(db, target, given, known, level)
  if given ~= nil and type(given) ~= "table" then
    error("options must be a table, not a " .. type(given), level + 1)
  end
  given = given or {}
  options.check(given, known, level + 1)
  expect(given, "batch", is_count, "a number of rows above 0", level + 1)
  expect(given, "batch_bytes", is_count, "a number of bytes above 0", level + 1)
  expect(given, "deadline", is_seconds, "a number of seconds above 0", level + 1)
  expect(given, "progress", is_function, "a function", level + 1)
  local settings = { rows = "object" }
  for _, name in ipairs(options.SETTINGS) do
    if name ~= "rows" then settings[name] = given[name] end
  end
  return { db = db:with(settings), given = given, quoted = sql.table_name(target, level + 1),
    progress = given.progress, ends = given.deadline and core.now() + given.deadline,
    limits = { rows = given.batch or ROWS, bytes = given.batch_bytes or BYTES } }
end

--- RETURNING's list, with `t.` before each name where it needs it.
local function returning_of(returning, prefix, level)
  if returning == nil then return nil end
  if returning == "*" then return prefix .. "*" end
  local list = sql.list(returning, "returning", level + 1)
  if #list == 0 then error("returning is an empty list", level + 1) end
  for i, name in ipairs(list) do list[i] = prefix .. sql.quote(name) end
  return table.concat(list, ", ")
end

-- --- insert -----------------------------------------------------------------

---@class pg.BulkOptions: pg.Settings
---@field batch? integer rows in a statement, at most; default 10,000
---@field batch_bytes? integer bytes of values in a statement, about; default 8 MiB
---@field progress? fun(done: integer, total: integer?) after each batch; `total` is nil for an
--- iterator
---@field returning? string|string[] columns to return, "*" for all: `rows`
---@field deadline? number seconds for the whole; `timeout` is for each batch

---@class pg.BulkInsertOptions: pg.BulkOptions, pg.Conflict
---@field overriding? "system"|"user" what becomes of values given for identity columns

---@param job pg.Job
---@param relation pg.catalog.Relation
local function adapt_insert(job, relation)
  job.relation = relation
  if job.plan then
    local columns, err = conflict.columns(job.plan, job.db, job.quoted, relation)
    if not columns then return nil, err end
    job.conflicting = columns
  end
  return true
end

local function run(job, source)
  local relation, err = catalog.relation(job.db, job.quoted)
  if not relation then return nil, err end
  local ok, problem = job:adapt(relation)
  if not ok then return nil, problem end
  if job.ends and not source.total then
    local next_row = source.next
    function source.next()
      local row, reason = next_row()
      if row ~= nil and core.now() >= job.ends then return writer.late(job.db) end
      return row, reason
    end
  end
  job.limits.check, job.limits.ordered = job.check, job.plan ~= nil
  job.limits.handle = job.db
  function job.limits.renew()
    local renewed = catalog.renewed(job.db, job.quoted, job.relation, { sqlstate = "42703" })
    return renewed and job:adapt(renewed) and renewed
  end
  job.batch = batch.new(source, relation, job.limits)
  return writer.run(job)
end

--- Inserts many rows, all or none of them: a list of rows, a table of columns
--- (`{ level = {...}, message = {...} }`), or an iterator that answers a row each
--- call (the table may be the same each time) until nil; `nil, err` ends it, too,
--- and nothing is stored. A column that a row lacks, or pg.default, takes its
--- default. It goes by batches, each a statement with one array a column; several are
--- one transaction, or a savepoint in the one that is open. With `returning`,
--- `rows` are in the order of the input: the statement sorts what it inserts by it,
--- and PostgreSQL returns rows as it inserts them. Where a trigger, a rule or
--- ON CONFLICT DO NOTHING stores fewer, `rowCount` is less and `rows` has what the
--- server returned. With a conflict the rows are sent in their order, a statement for
--- each run of rows with the same columns: of two with the same key, the later one
--- updates. A value that is refused is told in err.row (its place in the
--- input, from 1) and err.column: to find it, the batch is run again and rolled
--- back, which leaves no trace but in sequences.
---@param db pg.Connection
---@param target string|table
---@param rows table|fun(): table?
---@param given? pg.BulkInsertOptions
---@return { rowCount: integer, rows: table[]? }|nil
---@return pg.Error?
function bulk.insert(db, target, rows, given)
  local job = new_job(db, target, given, INSERT, 2)
  given = job.given
  expect(given, "overriding", function(value) return OVERRIDING[value] ~= nil end,
    '"system" or "user"', 2)
  job.plan = conflict.read(given, 2)
  job.overriding = OVERRIDING[given.overriding]
  job.returning = returning_of(given.returning, "", 2)
  job.wanted = type(given.returning) == "string" and { given.returning } or given.returning
  job.build, job.adapt = insert_text, adapt_insert
  return run(job, batch.source(rows, 2))
end

-- --- update -----------------------------------------------------------------

---@class pg.BulkUpdateOptions: pg.BulkOptions
---@field key? string|string[] the columns that say which row is meant; default: the primary key

-- Types whose whole numbers are the same however they are written.
local NUMBERS <const> = { int2 = true, int4 = true, int8 = true, oid = true, numeric = true }

--- A value of a key, the same for what its column takes as the same for sure; nil for none.
local function key_value(job, row, name)
  local value, column = rawget(row, name), job.relation.columns[name]
  local kind = math.type(value)
  if value == nil or value == core.null or value == sql.default then return nil end
  if column and NUMBERS[column.native] then
    local whole = kind and math.tointeger(value)
      or type(value) == "string" and #value < 20 and value:find "^%s*[+-]?%d+%s*$"
        and math.tointeger(tonumber(value))
    if whole then return whole end
  end
  return kind == "float" and ("%a"):format(value) or tostring(value) -- all of its digits
end

--- The row's key as one value; nil and the name of what it lacks.
local function key_of(job, row)
  local name = job.key[1]
  if #job.key == 1 then return key_value(job, row, name), name end
  local parts = {}
  for i, part in ipairs(job.key) do
    local value = key_value(job, row, part)
    if value == nil then return nil, part end
    parts[i] = ("%d:%s"):format(#tostring(value), value)
  end
  return table.concat(parts)
end

local function only_keys(job, row)
  for name in next, row do
    if not job.always[name] then return false end
  end
  return true
end

--- Looks at each row's key: there, not NULL, and not twice.
local function key_check(job)
  local seen, from = {}, 0
  return function(row, place)
    local b, key, name = job.batch, key_of(job, row)
    if not b.total and b.done ~= from then seen, from = {}, b.done end -- memory stays flat
    if key == nil then
      return batch.fault(place, name, "the key must have a value" .. (rawget(row, name) == core.null
        and ": NULL is equal to nothing" or ""))
    end
    if only_keys(job, row) then
      return batch.fault(place, nil, "it has the key alone, so there is nothing to set")
    end
    if seen[key] and #job.key > 0 then
      return batch.fault(place, job.key[1], ("row %d has the same key"):format(seen[key]))
    end
    seen[key] = place
  end
end

---@param job pg.Job
---@param relation pg.catalog.Relation
local function adapt_update(job, relation)
  job.relation, job.always, job.place = relation, {}, nil
  if job.given.key == nil then
    if relation.kind and (not relation.key or #relation.key == 0) then
      return core.fail({ kind = "invalid_parameter", message = ("%s has no primary key%s: `key` "
        .. "names the columns that say which row is meant"):format(job.quoted,
        relation.key and "" or " that may be read") }, job.db)
    end
    job.key = relation.key
  end
  for _, name in ipairs(job.key) do job.always[name] = true end
  if relation.updates_return then job.place = insert.alias(relation, "place") end
  return true
end

--- Updates many rows, all or none of them: each row has the key's columns, and the
--- columns to set; rows may differ in what they set. Given as for bulk_insert, with
--- batches and errors as there. `rowCount` is of the rows changed, `missing` of the
--- rows given that changed none: nothing had their key, or a trigger skipped what had
--- it (absent where rules stand between). `rows` are in the order of the input. A key
--- that comes twice is refused; of an iterator's, twice in a batch, and else the later
--- batch wins.
---@param db pg.Connection
---@param target string|table
---@param rows table|fun(): table?
---@param given? pg.BulkUpdateOptions
---@return { rowCount: integer, missing: integer?, rows: table[]? }|nil
---@return pg.Error?
function bulk.update(db, target, rows, given)
  local job = new_job(db, target, given, UPDATE, 2)
  given = job.given
  if given.key ~= nil then
    job.key = sql.list(given.key, "key", 2)
    if #job.key == 0 then error("key is an empty list", 2) end
  end
  job.returning = returning_of(given.returning, "t.", 2)
  job.wanted = type(given.returning) == "string" and { given.returning } or given.returning
  job.build, job.adapt, job.check = update_text, adapt_update, key_check(job)
  return run(job, batch.source(rows, 2))
end

return bulk
