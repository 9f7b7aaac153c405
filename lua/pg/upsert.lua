-- SPDX-License-Identifier: MIT
-- upsert: INSERT ... ON CONFLICT, of one row or of a list. A list is one
-- statement for each set of columns, all in one transaction; part by part where
-- only that can tell which of them were stored, or which one failed.
local core = require "pg.core"
local conflict = require "pg.conflict"
local insert = require "pg.insert"
local insert_error = require "pg.insert_error"
local locate = require "pg.locate"
local sql = require "pg.sql"
local transaction = require "pg.transaction"
local upsert_list = require "pg.upsert_list"

local upsert = {}

--- Of a list `insertedIds` and `rows` are in its order, false where nothing was
--- stored. The counts are absent where the relation cannot tell.
---@class pg.Upserted: pg.Inserted
---@field inserted? integer
---@field updated? integer
---@field insertedIds? any[]
---@field rows? (table|false)[]

local function is_list(values)
  return next(values) == nil or rawget(values, 1) ~= nil or core.is_list(values)
end

-- Whether it gives a column that no row before it gave.
local function is_new(row, checked)
  for name in next, row do
    if not checked[name] then return true end
  end
  return false
end

--- Raises unless it is a row, or a list of rows without gaps.
local function check(values, level)
  if not is_list(values) then return insert.check(values, level) end
  local count = 0
  for _ in next, values do count = count + 1 end
  if count ~= rawlen(values) then
    error("the list of rows has gaps, or other keys in it", level + 1)
  end
  local checked = {} -- names
  for i = 1, count do
    local row = values[i]
    sql.need_table(row, "row " .. i, level + 1)
    if is_new(row, checked) then
      insert.check(row, level + 1)
      for name in next, row do checked[name] = true end
    end
  end
end

-- Instead of an error: it is not certain which of the rows were stored.
local UNCERTAIN <const> = {}

--- What has been stored of a list.
---@class pg.upsert.Stored
---@field rows (table|false)[] what RETURNING gave, by the place on the list
---@field rowCount integer
---@field inserted integer? absent where nobody knows
---@field identity string[]|false the columns that tell stored rows apart
---@field seen table<any, integer> the place of each row by its identity

--- The identity's values as a key; nil where one of them is NULL or has no text. Values of
--- a column that are not all strings (jsonb) hold no NUL.
local function mark_of(row, identity)
  local parts = {}
  for i, name in ipairs(identity) do
    local value = row[name]
    if value == nil or value == core.null then return nil end
    local kind = math.type(value) or type(value)
    if #identity == 1 and (kind == "integer" or kind == "string") then return value end
    local text = kind == "string" and value or core.encode(value)
    if not text then return nil end
    parts[i] = ("%s%d:%s"):format(type(value), #text, text)
  end
  return "\0" .. table.concat(parts)
end

--- Takes in one row; nil and an error when another of the list has been stored
--- as the same one.
local function take(stored, db, place, row, inserted)
  stored.rows[place] = row
  if not row then return true end
  if inserted == nil then
    stored.inserted = nil
  elseif stored.inserted and inserted then
    stored.inserted = stored.inserted + 1
  end
  local mark = stored.identity and mark_of(row, stored.identity)
  if mark and stored.seen[mark] and not inserted then
    return insert_error.twice(db, stored.seen[mark], place)
  elseif mark then
    stored.seen[mark] = place
  end
  return true
end

--- Takes in what the statements have stored.
local function take_all(stored, tx, statements, answers)
  for i, statement in ipairs(statements) do
    local places, answer = statement.group.places, answers[i]
    for _, place in ipairs(places) do stored.rows[place] = false end
    stored.rowCount = stored.rowCount + answer.rowCount
    if statement.updates and not statement.flag then
      stored.inserted = nil
    elseif not answer.rows and stored.inserted then
      stored.inserted = stored.inserted + answer.rowCount
    end
    for at, row in ipairs(answer.rows or {}) do
      local inserted = not statement.updates
      if statement.flag then inserted, row[statement.flag] = row[statement.flag] == 1, nil end
      local taken, err = take(stored, tx, places[at], row, inserted)
      if not taken then return nil, err end
    end
  end
  return stored
end

--- Sends the statements of the list, or of a part of it; their results. Rows come
--- back in the order in which they went, but where some were not stored nobody
--- knows which.
local function send(job, tx, statements)
  local answers = {}
  for i, statement in ipairs(statements) do
    local answer, err = tx:execute { query = statement.text, parameters = statement.values,
      rows = "object", timeout = job.left() }
    if not answer then return nil, err end
    local count = answer.rows and #answer.rows or 0
    if count > 0 and count < #statement.group.places then return nil, UNCERTAIN end
    answers[i] = answer
  end
  return answers
end

--- The list at once.
local function whole(job, tx, stored, statements)
  local answers, err = send(job, tx, statements)
  if not answers then return nil, err end
  stored.meta = #statements == 1 and getmetatable(answers[1]) or nil
  return take_all(stored, tx, statements, answers)
end

--- One row of the list.
local function one(job, tx, stored, place)
  local returning = job.returning
  if returning ~= "*" and stored.identity then
    returning = table.move(returning or {}, 1, #(returning or {}), 1, {})
    table.move(stored.identity, 1, #stored.identity, #returning + 1, returning)
  end
  local answer, err = insert.row { db = tx, quoted = job.quoted, values = job.values[place],
    plan = job.plan, returning = returning, counts = true, left = job.left }
  if not answer then
    err.row = place
    return nil, err
  end
  stored.rowCount = stored.rowCount + answer.rowCount
  local row, inserted = answer.rowCount > 0 and (answer.row or {}), nil
  if answer.inserted then inserted = answer.inserted == 1 end
  return take(stored, tx, place, row, inserted)
end

-- Errors that come of one row: of its values, of a constraint, of a key that is there twice.
local function is_of_a_row(err)
  return locate.is_of_a_value(err) or err.sqlstate == "21000"
end

-- So many rows one by one cost about as much as one savepoint that is rolled back.
local FEW <const> = 8

--- A part of the list: a few rows one by one, more at once and in a savepoint.
--- False when it has to be smaller; nil and an error when that is of no use.
local function part(job, tx, stored, build, first, last)
  if last - first < FEW then
    for place = first, last do
      local done, err = one(job, tx, stored, place)
      if not done then return nil, err end
    end
    return true
  end
  local statements, failure = build(first, last)
  if not statements then return nil, failure end
  local answers, err = tx:transaction(function(inner) return send(job, inner, statements) end)
  if answers then return take_all(stored, tx, statements, answers) end
  if err == UNCERTAIN or is_of_a_row(err) then return false end
  return nil, err
end

--- The list in parts: twice as long after one that is certain, half as long after
--- one that is not.
local function by_parts(job, tx, stored, build)
  local first, size, count = 1, FEW, rawlen(job.values)
  while first <= count do
    local last = math.min(first + size - 1, count)
    local done, err = part(job, tx, stored, build, first, last)
    if done == nil then return nil, err end
    if done then first, size = last + 1, size * 2 else size = (last - first + 1) // 2 end
  end
  return stored
end

--- What `work` stores, in a transaction. Two lists in different orders can be a
--- deadlock: one of them begins anew.
local function store(job, run, work, identity, source)
  return run(job.db, function(tx)
    return work(job, tx, { rows = {}, rowCount = 0, inserted = 0, seen = {}, identity = identity },
      source)
  end, core.in_transaction(job.db) == false and { deadline = job.left(), retries = 5 } or nil)
end

--- Rows of the list as statements; nil and an error where a value cannot be sent.
local function statements_of(job, groups, relation, columns, identity)
  local statements = {}
  for i, group in ipairs(groups) do
    local statement, fault = upsert_list.statement(job, group, relation, columns, identity or {})
    if not statement then
      return core.fail({ kind = "invalid_parameter", row = fault.row, column = fault.column,
        message = ("row %d, column %q: %s"):format(fault.row, fault.column, fault.reason) }, job.db)
    end
    statements[i] = statement
  end
  return statements
end

--- What tells stored rows apart: the key, or else the columns of the conflict.
local function identity_of(job, relation, columns)
  if relation.key and #relation.key > 0 then return relation.key end
  for _, column in ipairs(columns) do
    if type(column) ~= "string" then return false end
  end
  return relation.key and #columns > 0 and not job.plan.where and columns or false
end

local function shape(job, stored, relation)
  local key, list = relation.key, core.json_decode "[]"
  local shaped = { rowCount = stored.rowCount }
  if relation.kind == "r" and stored.inserted then
    shaped.inserted, shaped.updated = stored.inserted, stored.rowCount - stored.inserted
  end
  if key and #key > 0 then
    shaped.insertedIds = list
    for i, row in ipairs(stored.rows) do list[i] = row and insert.id(row, key) end
  end
  if job.returning then
    shaped.rows = core.json_decode "[]"
    for i, row in ipairs(stored.rows) do
      shaped.rows[i] = row and (job.returning == "*" and row or insert.pick(row, job.returning))
    end
  end
  return setmetatable(shaped, stored.meta or getmetatable(core.result {}))
end

---@param job pg.insert.Job
---@return pg.Upserted|nil, pg.Error?
local function list(job)
  if rawlen(job.values) == 0 then
    return core.result { rowCount = 0, inserted = 0, updated = 0,
      insertedIds = core.json_decode "[]" }
  end
  local columns
  local result, err = insert.run(job, function(relation)
    local failure, statements, stored
    columns, failure = conflict.columns(job.plan, job.db, job.quoted, relation)
    if not columns then return nil, failure end
    local identity = identity_of(job, relation, columns)
    local function build(first, last)
      return statements_of(job, upsert_list.groups(job.values, first, last), relation, columns,
        identity)
    end
    statements, failure = build(1, rawlen(job.values))
    if not statements then return nil, failure end
    stored, failure = store(job, transaction.transaction, whole, identity, statements)
    if failure == UNCERTAIN then
      stored, failure = store(job, transaction.transaction, by_parts, identity, build)
    elseif failure and is_of_a_row(failure) and not failure.row then
      local _, found = store(job, transaction.dry_run, by_parts, identity, build)
      if found and found.sqlstate == failure.sqlstate then failure = found end
    end
    if not stored then return nil, failure end
    return shape(job, stored, relation)
  end)
  if result then return result end
  err = insert_error.explain(job, err, columns,
    upsert_list.names(upsert_list.groups(job.values, 1, rawlen(job.values))))
  return core.fail(err, job.db) -- for the transaction around ours
end

--- Inserts a row, or updates the one that it conflicts with; or does so with a list
--- of rows, all or none of them.
---@param db pg.Connection
---@param target string|table the table's name, or one table of it all, as insert takes it
---@param values? table column = value, or a list of such rows
---@param given? pg.InsertOptions `conflict` is the primary key unless given
---@return pg.Upserted|nil
---@return pg.Error?
function upsert.upsert(db, target, values, given)
  local job = insert.job(db, target, values, given, true, 2, check)
  if is_list(job.values) then return list(job) end
  return insert.row(job)
end

return upsert
