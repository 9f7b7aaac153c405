-- SPDX-License-Identifier: MIT
-- writer: sends the batches of a job, all of them or none. One statement stands
-- alone; more are a transaction, or a savepoint in the one that is open. What goes
-- wrong is told with its row and its column.
local core = require "pg.core"
local batch = require "pg.batch"
local catalog = require "pg.catalog"
local errors = require "pg.errors"
local insert_error = require "pg.insert_error"
local locate = require "pg.locate"
local unnest = require "pg.unnest"

local writer = {}

--- What one call works with.
---@class pg.Job
---@field db pg.Connection with the call's own settings
---@field quoted string the table
---@field relation pg.catalog.Relation
---@field batch pg.Batch
---@field build fun(job: pg.Job, group: pg.Group): string, table the statement, and its values
--- from the number of columns on; nil and the fault of a row
---@field adapt fun(job: pg.Job, relation: pg.catalog.Relation): true|nil, pg.Error? to what the
--- relation is
---@field always? table<string, any> columns that each statement needs, by name
---@field returning? string RETURNING's list
---@field place? string the column in which a statement says which rows it found
---@field progress? fun(done: integer, total: integer?)
---@field ends? number deadline, on core.now()'s clock

--- Seconds that the next statement may take; not above 0 when there are none.
local function left(job)
  local seconds = core.timeout(job.db)
  return job.ends and math.min(seconds, job.ends - core.now()) or seconds
end

--- The same for a statement that is sent in any case.
local function some(job) return math.max(left(job), 0.001) end

--- The deadline's error.
---@param db pg.Connection
---@param text? string the statement that was not sent
---@return nil, pg.Error
function writer.late(db, text)
  return core.fail({ kind = "query_timeout", sql = text,
    message = "the deadline had passed before all rows were sent: nothing was stored" }, db)
end

local function parameters(group, values)
  local texts = group.texts or {}
  for i, column in ipairs(group.columns) do
    values[i] = unnest.parameter(column, texts[i] or group.lists[i])
  end
  if #group.columns == 0 then values[1] = group.n end
  return values
end

--- Runs the statement of a group, or of a part of one. While the server works on the
--- last one of a batch, the next batch is made.
---@return pg.Result|nil, pg.Error?
local function send(job, tx, group, last)
  local statement = group.statement
  if not statement then
    local text, values = job.build(job, group)
    if not text then return nil, writer.refuse(tx, values) end
    statement = { query = text, parameters = values }
    group.statement = statement
  end
  parameters(group, statement.parameters)
  if job.ends then
    statement.timeout = left(job)
    if statement.timeout <= 0 then return writer.late(tx, statement.query) end
  end
  if last and not job.batch.ended then
    core.meanwhile(tx, function() job.batch:fill_ahead() end)
  end
  return tx:execute(statement)
end

-- --- results ----------------------------------------------------------------

--- The rows of a batch in the order of the input, by the places that they have.
local function append_placed(rows, b, results, places)
  local by_place = {}
  for i, group in ipairs(b.groups) do
    for at, row in ipairs(results[i].rows) do
      local place = group.places[places[i][at]]
      by_place[place] = by_place[place] or {}
      table.insert(by_place[place], row)
    end
  end
  for place = b.done + 1, b.done + b.count do
    for _, row in ipairs(by_place[place] or {}) do rows[#rows + 1] = row end
  end
end

--- The same, where each group got as many back as it had; else group after group.
local function append_rows(rows, groups, results, first)
  local whole, start = true, #rows
  for i, group in ipairs(groups) do whole = whole and #results[i].rows == group.n end
  for i, group in ipairs(groups) do
    for at, row in ipairs(results[i].rows) do
      if whole then
        rows[start + group.places[at] - first] = row
      else
        rows[#rows + 1] = row
      end
    end
  end
end

--- The place in the group that each row has, and how many these are. The rows lose
--- the column that said so.
local function take_places(result, column)
  local places, seen, count = {}, {}, 0
  for i, row in ipairs(result.rows) do
    local place = row[column]
    if not seen[place] then count = count + 1 end
    places[i], seen[place], row[column] = place, true, nil
  end
  return places, count
end

--- Adds what a batch did to the totals; nil and an error where a key came twice.
local function collect(job, tx, totals, results)
  local b, places = job.batch, {}
  for i, group in ipairs(b.groups) do
    totals.rowCount = totals.rowCount + (results[i].rowCount or 0)
    if job.place then
      local found
      places[i], found = take_places(results[i], job.place)
      local missing = group.n - found
      if missing > 0 then
        local first, last = locate.twice(tx, group, job.always, some(job))
        if first then
          return nil, writer.refuse(tx, batch.fault(group.places[last], job.key[1],
            ("row %d has the same key"):format(group.places[first])))
        elseif last then
          return nil, last
        end
      end
      totals.missing = totals.missing + missing
    end
  end
  if totals.rows and job.place then
    append_placed(totals.rows, b, results, places)
  elseif totals.rows then
    append_rows(totals.rows, b.groups, results, b.done)
  end
  if not job.place then totals.meta = getmetatable(results[#results]) end
  return true
end

-- --- errors -----------------------------------------------------------------

local function look_at(row, column)
  return ("Look at row %d of those given%s; none of them was stored."):format(row,
    column and (', column "%s"'):format(column) or "")
end

local function told(problem)
  return ("row %d%s: %s"):format(problem.row, problem.column
    and (", column '%s'"):format(problem.column) or "", problem.reason)
end

--- The error of a row that cannot be sent.
---@param db pg.Connection
---@param problem any a fault, or what an iterator answered beside its nil
---@return any
function writer.refuse(db, problem)
  if not batch.is_fault(problem) then return problem end
  local _, err = core.fail({ kind = "invalid_parameter", message = told(problem) }, db)
  err.row, err.column = problem.row, problem.column
  err.fixes = { look_at(err.row, err.column) }
  return err
end

--- The core names the parameter that it does not send, and its element: a NUL in a text, or a
--- number that no timestamp can be. The first row counts where several have a NUL.
local function explain_unsent(err, group)
  local place, at, reason = unnest.unsendable(group.columns, group.lists)
  if not place then
    at, place, reason = err.message:match "^parameter %$(%d+)%[(%d+)%]: (.+)$"
    at, place = tonumber(at), tonumber(place)
  end
  if not place or not group.names[at] then return end
  err.row, err.column, err.parameter = group.places[place], group.names[at], nil
  err.message = told { row = err.row, column = err.column, reason = reason }
  err.fixes = { look_at(err.row, err.column) }
end

-- What the server says of one value.
local OF_A_VALUE <const> = { "message", "detail", "hint", "schema", "table", "column", "constraint",
  "datatype", "context" }

--- What the server refuses is looked for in the batch. The first row of it need not be
--- the one that the server met first.
local function explain_value(job, err, group)
  local place, column, found = locate.find(job.db, group, err, { always = job.always,
    left = function() return some(job) end,
    send = function(tx, part) return send(job, tx, part) end })
  if not place then return end
  for _, name in ipairs(OF_A_VALUE) do err[name] = found[name] end
  err.row, err.column = group.places[place], err.column or column
  errors.advise(err)
  table.insert(err.fixes, 1, look_at(err.row, err.column))
end

--- The first column that the server fills by itself.
local function explain_generated(job, err, group)
  for _, column in ipairs(group.columns) do
    if column.generated or column.identity == "a" and not job.overriding then
      err.column = err.column or column.name
    end
  end
  errors.advise(err)
  table.insert(err.fixes, 1, "Leave the column out of the rows, or give pg.default: the server "
    .. "fills it by itself.")
  table.insert(err.fixes, 2, 'For an identity column: `overriding = "system"` stores the values '
    .. 'given, `overriding = "user"` ignores them.')
end

--- The rows on whose account ON CONFLICT met a row twice.
local function explain_twice(job, err, group)
  local keys = {}
  for _, column in ipairs(job.conflicting or {}) do
    if type(column) ~= "string" then return err end
    keys[column] = true
  end
  local first, last = locate.twice(job.db, group, keys, some(job))
  if not first then return err end
  return select(2, insert_error.twice(job.db, group.places[first], group.places[last]))
end

--- Completes the error of a statement, of the group that it was sent for.
local function explain(job, err, group)
  if err.row then return err end -- it is known already
  if err.sqlstate == "21000" then return explain_twice(job, err, group) end
  if err.kind == "invalid_parameter" and not err.sqlstate then
    explain_unsent(err, group)
  elseif locate.is_of_a_value(err) and left(job) > 0 then
    explain_value(job, err, group)
  elseif err.sqlstate == "42703" or err.sqlstate == "428C9" then
    err.row = group.places[1]
  end
  insert_error.explain({ db = job.db, quoted = job.quoted, plan = job.plan,
    returning = job.wanted, left = function() return some(job) end }, err,
    job.conflicting, group.names)
  if err.sqlstate == "428C9" then explain_generated(job, err, group) end
  return err
end

-- --- all of it --------------------------------------------------------------

--- Sends the batch that is filled; nil, the error, and the group it is about.
local function send_batch(job, tx, totals)
  local results = {}
  for i, group in ipairs(job.batch.groups) do
    local result, err = send(job, tx, group, i == #job.batch.groups)
    if not result then return nil, err, group end
    results[i] = result
  end
  return collect(job, tx, totals, results)
end

--- Sends this batch and all that follow.
local function send_all(job, tx, totals)
  local b = job.batch
  while true do
    local sent, err, group = send_batch(job, tx, totals)
    if not sent then return nil, err, group end
    if job.progress then job.progress(b.done + b.count, b.total) end
    if b.ended then return true end
    local more, problem = b:fill()
    if more == nil then return nil, writer.refuse(tx, problem) end
  end
end

--- Can it be a statement alone? What is called or read after the statement may
--- still fail, and then nothing shall be stored.
local function stands_alone(job)
  local b = job.batch
  return b.ended and #b.groups == 1 and not job.progress and not job.place and not job.returning
    and core.in_transaction(job.db) == false
end

-- Rolls the transaction back, whatever the reason is.
local REFUSED <const> = {}

--- Answers also the group whose statement failed, if that is what went wrong.
local function send_in_transaction(job, totals)
  local raised, reason, failed
  local given = job.ends and not core.in_transaction(job.db)
    and { deadline = math.max(job.ends - core.now(), 0.001) } or nil
  local done, err = job.db:transaction(function(tx)
    local ok, sent, problem, group = pcall(send_all, job, tx, totals)
    if ok and sent then return true end
    if ok then reason, failed = problem, group else raised = { sent } end -- as it is
    return nil, REFUSED
  end, given)
  if raised then error(raised[1], 0) end
  if err == REFUSED then err = reason end
  return done, err, err == reason and failed or nil
end

--- Sends what is filled, and all that follows; answers the totals.
local function attempt(job)
  local totals = { rowCount = 0, missing = 0, rows = job.returning and core.array {} or nil }
  if job.batch.count == 0 then return totals end
  local done, err, group
  if stands_alone(job) then
    done, err, group = send_batch(job, job.db, totals)
  else
    done, err, group = send_in_transaction(job, totals)
  end
  return done and totals, err, group
end

--- Sends everything. The rows are stored all, or none of them. Raises again what
--- an iterator or `progress` raised.
---@param job pg.Job
---@return table|nil, any
function writer.run(job)
  local b = job.batch
  local more, problem = b:fill()
  if more == nil then return nil, writer.refuse(job.db, problem) end
  local totals, err, group = attempt(job)
  local relation = group and b.done == 0
    and catalog.renewed(job.db, job.quoted, job.relation, err)
  if relation and job:adapt(relation) then
    b:adapt(relation)
    totals, err, group = attempt(job)
  end
  if not totals then
    if group then err = explain(job, err, group) end
    if errors.is(err) then core.spoil(job.db, err) end
    return nil, err
  end
  return setmetatable({ rowCount = totals.rowCount, rows = totals.rows,
    missing = job.place and totals.missing or nil },
    totals.meta or getmetatable(core.result {}))
end

return writer
