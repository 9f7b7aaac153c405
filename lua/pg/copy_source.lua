-- SPDX-License-Identifier: MIT
-- copy_source: what db:copy_in sends: a list of rows, a function that gives them, or text from a
-- string, a function or a file. Asks a source for its next part and hands that to the core.
local core = require "pg.core"
local catalog = require "pg.catalog"
local copy_error = require "pg.copy_error"
local sql = require "pg.sql"

local copy_source = {}

local BLOCK <const> = 64 * 1024

---@class pg.CopyJob
---@field db pg.Connection with the call's own settings
---@field quoted string the table
---@field columns string[]? those that were given
---@field names string[]? those that are sent
---@field rows boolean rows are sent, and not text
---@field send fun(stream: userdata, job: pg.CopyJob): integer|true|nil, any
---@field next? fun(): any, any
---@field list? table
---@field progress? fun(done: integer, total: integer?)

--- The columns of a table that COPY itself would take: none that are computed. nil: all.
---@param relation pg.catalog.Relation
---@return string[]?
function copy_source.stored_columns(relation)
  local names = {}
  for _, column in ipairs(relation.columns) do
    if not column.generated then names[#names + 1] = column.name end
  end
  return #names > 0 and names or nil
end

--- Ends a COPY of which nothing shall be stored; nil and the error that was the reason.
local function give_up(stream, reason, err)
  core.copy_end(stream, reason)
  return nil, err
end

--- Sends a string; short ones are gathered first.
local function put(stream, chunk)
  if #chunk < BLOCK // 4 then
    if not core.copy_add(stream, chunk) then return true end
    return core.copy_put(stream)
  end
  local sent, err = core.copy_put(stream)
  if not sent then return nil, err end
  return core.copy_put(stream, chunk)
end

--- Sends the strings that the source gives, as they are. Answers how many bytes.
local function send_text(stream, job)
  local bytes = 0
  while true do
    local chunk, problem = job.next()
    if chunk == nil and problem == nil then return bytes end
    if type(chunk) ~= "string" then
      return give_up(stream, "its source failed", chunk == nil
        and copy_error.failure(job.db, "reading what to copy", problem)
        or copy_error.refuse(job.db, nil, nil, ("raw = true sends strings, and the source gave a "
          .. "%s"):format(type(chunk))))
    end
    local sent, err = put(stream, chunk)
    if not sent then return nil, err end
    bytes = bytes + #chunk
    if job.progress then job.progress(bytes) end
  end
end

local function refuse_row(stream, job, row, column, reason)
  return give_up(stream, ("row %d cannot be sent"):format(row),
    copy_error.refuse(job.db, row, column, reason))
end

--- Sends a list of rows. Answers true.
local function send_list(stream, job)
  local at, last = 1, #job.list
  while at <= last do
    local after, row, column, reason = core.copy_rows(stream, job.list, at, last)
    if not after then return refuse_row(stream, job, row, column, reason) end
    local sent, err = core.copy_put(stream)
    if not sent then return nil, err end
    at = after
    if job.progress then job.progress(at - 1, last) end
  end
  return true
end

--- Sends the rows that the source gives; the first has been asked for already.
local function send_rows(stream, job)
  local count, told = 0, 0
  local row, problem = job.first, nil
  while row ~= nil do
    count = count + 1
    local full, _, column, reason = core.copy_add(stream, row, count)
    if full == nil or type(row) == "string" then
      return refuse_row(stream, job, count, column, reason
        or "a row must be a table; raw = true sends strings as they are")
    end
    if full then
      local sent, err = core.copy_put(stream)
      if not sent then return nil, err end
      told = count
      if job.progress then job.progress(count) end
    end
    row, problem = job.next()
  end
  if problem ~= nil then
    return give_up(stream, "its source failed",
      copy_error.failure(job.db, "reading what to copy", problem))
  end
  if job.progress and told < count then job.progress(count) end
  return true
end

--- A source as what is to be called for the next part of it.
---@param source any
---@param raw boolean? a function gives text
---@param level integer
---@return pg.CopyJob
function copy_source.job(source, raw, level)
  local kind = io.type(source) or type(source)
  if kind == "file" then
    return { rows = false, send = send_text, next = function() return source:read(BLOCK) end }
  elseif kind == "string" then
    local rest = source
    return { rows = false, send = send_text, next = function()
      local chunk = rest
      rest = nil
      return chunk
    end }
  elseif kind == "function" then
    return { rows = not raw, send = raw and send_text or send_rows, next = source }
  elseif kind == "table" and not raw and not sql.is_raw(source) then
    if rawlen(source) == 0 and next(source) ~= nil then
      error("the source must be a list of rows, and begins with none: one row goes as { row }",
        level + 1)
    end
    return { rows = true, send = send_list, list = source }
  end
  error(("the source must be a list of rows, a function, a file or a string, not a %s"):format(
    kind == "table" and "table of strings" or kind), level + 1)
end

--- The columns that rows are for: those of the first row where it has names, else the table's.
local function columns_of(job, relation)
  if job.columns then return job.columns end
  local first = job.list and job.list[1] or job.first
  if type(first) == "table" and rawlen(first) == 0 and type(next(first)) == "string" then
    return sql.names(first, 4)
  end
  return copy_source.stored_columns(relation)
end

--- Readies rows to be made text: what each column takes. nil and an error.
---@param job pg.CopyJob
---@param stream userdata
---@return true|nil, any
function copy_source.prepare(job, stream)
  local relation, err = catalog.relation(job.db, job.quoted)
  if not relation then return nil, err end
  if job.send == send_rows then
    local problem
    job.first, problem = job.next()
    if job.first == nil and problem ~= nil then
      return nil, copy_error.failure(job.db, "reading what to copy", problem)
    end
  end
  local names = columns_of(job, relation) or {}
  local columns, described = {}, {}
  for i, name in ipairs(names) do
    local column = relation.columns[name] or { type = "text" }
    described[i] = column
    columns[i] = { name = name, type = column.native or column.type, oid = column.oid,
      array = column.array, element = column.element }
  end
  local known
  known, err = catalog.learn(job.db, described)
  if not known then return nil, err end
  core.copy_writes(stream, columns, getmetatable(sql.default))
  job.names = names
  return true
end

return copy_source
