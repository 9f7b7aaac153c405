-- SPDX-License-Identifier: MIT
-- pipeline: db:pipeline(f): what f queues goes out in one round trip, as one
-- transaction. The core queues and sends (src/pipeline.h); here are insert, and
-- what is told of a failure.
local core = require "pg.core"
local catalog = require "pg.catalog"
local insert = require "pg.insert"
local options = require "pg.options"
local sql = require "pg.sql"

local pipeline = {}

local OPTIONS = { "timeout" }

-- By pipeline: the handle, and the insert at each place.
local private <const> = setmetatable({}, { __mode = "k" })

local methods = core.pipeline_methods

--- The row's values for the text of the insert before it, when that has the same
--- table and columns, and no value is SQL; else nil.
local function same_text(last, target, row)
  if target ~= last.target then return nil end
  local values, places, count = { n = last.count }, last.places, 0
  for name, value in next, row do
    local place = places[name]
    if not place or type(value) == "table" and sql.is_raw(value) then return nil end
    values[place], count = value, count + 1
  end
  return count == last.count and values or nil
end

--- What the next row may have in common with this one.
local function remember(state, target, job, statement)
  local names, places = statement.names, {}
  state.last = nil
  if type(target) ~= "string" or job.plan or job.returning or job.db ~= state.db
    or statement.values.n ~= #names then return end
  for i, name in ipairs(names) do places[name] = i end
  state.last = { target = target, count = #names, places = places, job = job,
    statement = statement }
end

local function queue(p, state, job, statement, values, settings)
  settings.query, settings.parameters, settings.rows = statement.text, values, "object"
  local place, err = p:execute(settings)
  if not place then return nil, err end
  state.inserts[place] = { job = job, statement = statement }
  return place
end

--- Queues what db:insert would do.
---@param target string|table the table's name, or the form
---@param columns? table<string, any>
---@param given? pg.InsertOptions
---@return integer|nil place in the results
---@return pg.Error?
function methods:insert(target, columns, given)
  local state = private[self]
  if not state then error("insert is called on a pipeline, not on a " .. type(self), 2) end
  local last = state.last
  local values = last and given == nil and type(columns) == "table"
    and getmetatable(columns) == nil and same_text(last, target, columns)
  if values then return queue(self, state, last.job, last.statement, values, {}) end
  if not core.pipeline_open(self) then error("the pipeline has ended", 2) end
  local job = insert.job(state.db, target, columns, given, false, 2, insert.check)
  local statement, err = insert.statement(job)
  if not statement then
    core.refuse_pipeline(self, err)
    return nil, err
  end
  remember(state, target, job, statement)
  local form = given or columns == nil and target or {}
  return queue(self, state, job, statement, statement.values, options.settings(form))
end

--- What is known of the failure beyond the server's words.
local function explain(p, state, err)
  local db = state.db
  local index, count = core.pipeline_failure(p)
  err.index, err.of = err.index or index, count
  if db:status().state == "lost" then return err end
  if err.completed == nil then err.completed = false end
  if not err.index then return err end
  local failed = state.inserts[err.index]
  if not failed then return err end
  local job, statement = failed.job, failed.statement
  insert.explain(job, statement, err)
  catalog.renewed(job.db, job.quoted, statement.relation, err) -- for the next one
  return err
end

---@class pg.PipelineOptions
---@field timeout? number seconds for all of it

--- Calls the function with a pipeline, whose query, insert, update, delete and
--- execute queue what they would do on a connection, and answer the place that
--- its result will have. Then sends it all in one round trip, as one transaction:
--- answers the list of results, or nil and the error of the statement that
--- failed, whose place is err.index; then nothing of it has taken effect. When the
--- function raises nothing is sent, and the error goes on.
---@param db pg.Connection
---@param f fun(p: pg.Pipeline)
---@param given? pg.PipelineOptions
---@return table[]|nil
---@return pg.Error?
function pipeline.pipeline(db, f, given)
  if type(f) ~= "function" then
    error("a pipeline takes a function that queues into it, not " .. type(f), 2)
  elseif given ~= nil then
    sql.need_table(given, "options", 2)
    options.check(given, OPTIONS, 2)
    db = db:with(given)
  end
  local p <close> = core.pipeline(db)
  local state = { db = db, inserts = {} }
  private[p] = state
  f(p)
  local results, err = core.send_pipeline(p)
  if not results then return nil, explain(p, state, err) end
  for place, one in pairs(state.inserts) do
    results[place] = insert.result(one.job, one.statement, results[place])
  end
  return results
end

return pipeline
