-- SPDX-License-Identifier: MIT
-- copy: COPY between a server and files, functions, rows and other servers, any amount of it in
-- flat memory. The core sends and takes portions; sources and sinks are called from here, where
-- they may wait, raise, and use other connections.
local core = require "pg.core"
local catalog = require "pg.catalog"
local copy_error = require "pg.copy_error"
local copy_source = require "pg.copy_source"
local errors = require "pg.errors"
local options = require "pg.options"
local sql = require "pg.sql"

local copy = {}

local FORMAT = { "format", "header", "delimiter", "null", "quote", "escape", "encoding" }
local function with_format(...)
  return table.move(FORMAT, 1, #FORMAT, select("#", ...) + 1, { ... })
end
local IN = with_format("raw", "progress", "timeout")
local OUT = with_format("columns", "progress", "timeout", "max_result")
local TO = { "table", "columns", "progress", "timeout", "max_result" }
local ROWS = { "columns", table.unpack(options.SETTINGS) }
local FORMATS <const> = { text = true, csv = true, binary = true }

-- --- options ----------------------------------------------------------------

local function expect(given, name, kind, level)
  local value = given[name]
  if value ~= nil and type(value) ~= kind then
    error(("%s must be a %s, not a %s"):format(name, kind, type(value)), level + 1)
  end
end

--- The call's options, checked, and the handle with those that are settings.
local function take(db, given, known, level)
  if given ~= nil and type(given) ~= "table" then
    error("options must be a table, not a " .. type(given), level + 1)
  end
  given = given or {}
  options.check(given, known, level + 1)
  expect(given, "progress", "function", level + 1)
  if given.format ~= nil and not FORMATS[given.format] then
    error(("format must be 'text', 'csv' or 'binary', not '%s'"):format(tostring(given.format)),
      level + 1)
  end
  local settings = { timeout = given.timeout, max_result = given.max_result }
  return given, db:with(settings)
end

--- FORMAT and its like, as COPY's WITH has them; "" for none.
local function format_text(given, level)
  local list = {}
  if given.format then list[1] = "FORMAT " .. given.format end
  if given.header == "match" then
    list[#list + 1] = "HEADER match"
  elseif given.header ~= nil then
    if type(given.header) ~= "boolean" then
      error("header must be true, false or 'match', not " .. tostring(given.header), level + 1)
    end
    list[#list + 1] = "HEADER " .. tostring(given.header)
  end
  for _, name in ipairs { "delimiter", "null", "quote", "escape", "encoding" } do
    expect(given, name, "string", level + 1)
    if given[name] then
      list[#list + 1] = name:upper() .. " " .. sql.literal(given[name], level + 1)
    end
  end
  return #list > 0 and (" WITH (%s)"):format(table.concat(list, ", ")) or ""
end

local function column_list(columns, level)
  if columns == nil then return nil end
  local names = sql.list(columns, "columns", level + 1)
  if #names == 0 then error("columns is an empty list", level + 1) end
  return names
end

-- --- what is copied ---------------------------------------------------------

local QUERIES <const> = { SELECT = true, WITH = true, VALUES = true, TABLE = true }

--- Whether the text is a query, by its first word; any other is a table's name.
local function is_query(text)
  local word, rest = text:gsub("/%*.-%*/", " "):gsub("%-%-[^\n]*", " ")
    :match "^[%s(]*(%a+)(.*)$"
  return word ~= nil and QUERIES[word:upper()] == true and rest:find "^[%s('\"$*+-]" ~= nil
end

--- A query, described first: so it is one statement, and errors point into it.
---@return string|nil text, table|pg.Error about
local function described(db, text)
  text = text:gsub("[%s;]+$", "")
  local about, err = core.describe(db, text)
  if not about then return nil, err end
  if #about.parameters > 0 then
    return core.fail({ kind = "invalid_parameter", sql = text,
      message = "COPY takes no parameters, and the query has $1",
      fixes = { "Put the value into the text: pg.literal(value) quotes a string, a number or a "
        .. "boolean." } }, db)
  end
  return text .. (text:find("--", 1, true) and "\n" or ""), about
end

--- The query whose rows are copied, and what the server says of it where it was asked; nil and
--- an error.
---@param needs? "names"|"types" what has to be known of its columns
---@return string|nil text, table|pg.Error|nil about
local function query_of(db, what, columns, needs, level)
  if sql.is_raw(what) or type(what) == "string" and is_query(what) then
    if columns then error("columns goes with a table; a query names its own", level + 1) end
    return described(db, sql.is_raw(what) and what[1] or what)
  end
  local quoted = sql.table_name(what, level + 1)
  if not columns and needs ~= "types" then
    local relation, err = catalog.relation(db, quoted)
    if not relation then return nil, err end
    columns = copy_source.stored_columns(relation)
  end
  local text = ("SELECT %s FROM %s"):format(columns and sql.quoted_list(columns) or "*", quoted)
  if not needs then return text end
  return described(db, text)
end

--- Sends COPY; nil and an error. The COPY is to be closed.
local function begin(db, text, method, incoming, prepared)
  return core.copy_begin(db, text, prepared or core.copy(db), method, incoming)
end

-- --- to the server ----------------------------------------------------------

---@class pg.CopyFormat
---@field format? "text"|"csv"|"binary" default: text
---@field header? boolean|"match" csv: the first line has the columns' names
---@field delimiter? string
---@field null? string what NULL looks like; default: \N in text, nothing in csv
---@field quote? string
---@field escape? string
---@field encoding? string of the text; default: UTF8

---@class pg.CopyInOptions: pg.CopyFormat
---@field raw? boolean the source gives strings, in COPY's format
---@field progress? fun(done: integer, total: integer?) rows of rows, bytes of strings
---@field timeout? number seconds that each wait for the server may take

--- COPY table FROM STDIN. Sends a list of rows, or the rows that a function gives one by one
--- until it answers nil: values in the order of the columns, or by name. A file, a string, and
--- with `raw` a function that gives strings, go as they are, in COPY's own formats. All is stored,
--- or nothing. nil and an error; raises again what the source raised.
---@param db pg.Connection
---@param target string|table the table's name
---@param columns? string|string[] default: the names in the first row, else the table's
---@param source table|fun(): any|string|file*
---@param given? pg.CopyInOptions
---@return { rowCount: integer, bytes: integer? }|nil
---@return pg.Error?
function copy.copy_in(db, target, columns, source, given)
  local handle
  given, handle = take(db, given, IN, 2)
  local job = copy_source.job(source, given.raw, 2)
  job.db, job.quoted, job.progress = handle, sql.table_name(target, 2), given.progress
  job.columns = column_list(columns, 2)
  local format = format_text(given, 2)
  if job.rows and format ~= "" then
    error("rows are sent as they have to be: format and its like go with files and strings", 2)
  end
  job.names = job.columns
  local stream <close> = core.copy(handle)
  if job.rows then
    local ready, err = copy_source.prepare(job, stream)
    if not ready then return nil, err end
  end
  local list = job.names and #job.names > 0 and (" (%s)"):format(sql.quoted_list(job.names)) or ""
  local begun, err = begin(handle, ("COPY %s%s FROM STDIN%s"):format(job.quoted, list, format),
    "copy_in", true, stream)
  if not begun then return nil, copy_error.explain(handle, err, job) end
  local sent, problem = job.send(stream, job)
  local rest, result
  if sent then rest, problem = core.copy_put(stream) end
  if rest then result, problem = core.copy_end(stream) end
  if not result then return nil, copy_error.explain(handle, problem, job) end
  if not job.rows then result.bytes = sent end
  return result
end

-- --- from the server --------------------------------------------------------

--- Lets go of what still comes, so that the connection is free again.
local function leave(db, stream)
  core.copy_close(stream)
  db:query ""
end

--- What is to be called with each portion.
local function sink_of(sink, level)
  local kind = io.type(sink) or type(sink)
  if kind == "file" then return function(chunk) return sink:write(chunk) end end
  if kind == "function" then return sink end
  error(("the sink must be a function or a file, not a %s"):format(kind), level + 1)
end

---@class pg.CopyOutOptions: pg.CopyFormat
---@field columns? string|string[] of the table; default: all but computed ones
---@field progress? fun(bytes: integer)
---@field timeout? number seconds that each wait for the server may take
---@field max_result? number bytes that one row may have

--- COPY (query) TO STDOUT. The rows of a table or a query go to a file, or to a function in
--- portions of whole rows. A function that answers nil or false and a reason ends it.
---@param db pg.Connection
---@param what string|table a table's name; or a query, which begins with SELECT, WITH, VALUES or
--- TABLE, or is a pg.raw
---@param sink fun(chunk: string): any, any|file*
---@param given? pg.CopyOutOptions
---@return { rowCount: integer, bytes: integer }|nil
---@return pg.Error?
function copy.copy_out(db, what, sink, given)
  local handle
  given, handle = take(db, given, OUT, 2)
  local write, format = sink_of(sink, 2), format_text(given, 2)
  local text, err = query_of(handle, what, column_list(given.columns, 2), nil, 2)
  if not text then return nil, err end
  local stream <close>, problem = begin(handle, ("COPY (%s) TO STDOUT%s"):format(text, format),
    "copy_out")
  if not stream then return nil, problem end
  local bytes = 0
  while true do
    local chunk
    chunk, problem = core.copy_get(stream)
    if not chunk then break end
    local written, reason = write(chunk)
    if not written and reason ~= nil then
      leave(handle, stream)
      return nil, copy_error.failure(handle, "writing what was copied", reason)
    end
    bytes = bytes + #chunk
    if given.progress then given.progress(bytes) end
  end
  if problem then return nil, problem end
  local result = core.copy_result(stream)
  result.bytes = bytes
  return result
end

---@class pg.CopyRowsOptions: pg.Settings
---@field columns? string|string[] of the table; default: all

--- The rows of a table or a query for a generic `for`, by COPY: the fastest read there is. Values
--- are as those of query. Raises errors, as db:each does.
---@param db pg.Connection
---@param what string|table as for copy_out
---@param given? pg.CopyRowsOptions
---@return fun(): table?, any, nil, any
function copy.copy_rows(db, what, given)
  if given ~= nil and type(given) ~= "table" then
    error("options must be a table, not a " .. type(given), 2)
  end
  given = given or {}
  options.check(given, ROWS, 2)
  if given.rows == "columns" then
    error('db:copy_rows gives row by row, rows = "columns" does not', 2)
  end
  local handle = db:with(options.settings(given))
  local text, about = query_of(handle, what, column_list(given.columns, 2), "types", 2)
  if not text then error(about, 0) end
  local stream = core.copy(handle)
  local format = core.copy_reads(stream, about.columns) and " WITH (FORMAT binary)" or ""
  local begun, err = begin(handle, ("COPY (%s) TO STDOUT%s"):format(text, format), "copy_rows",
    false, stream)
  if not begun then error(err, 0) end
  return core.copy_row, stream, nil, stream
end

-- --- from one to the other --------------------------------------------------

--- Whether the binary format means the same to both.
local function same_types(db, other, about, target)
  if core.version(db) // 10000 ~= core.version(other) // 10000
    or #about.columns ~= #target.columns then
    return false
  end
  for i, column in ipairs(about.columns) do
    if column.oid ~= target.columns[i].oid then return false end
  end
  return core.copy_reads(core.copy(db), about.columns, true)
end

--- Everything from one to the other, portion by portion; nil and an error.
local function pour(from, into, progress)
  local bytes = 0
  while true do
    local chunk, problem = core.copy_get(from)
    if problem then
      core.copy_end(into, "its source failed")
      return nil, copy_error.on(problem, "source")
    elseif not chunk then
      local result, err = core.copy_end(into)
      if result then result.bytes = bytes end
      return result, err
    end
    local sent, err = core.copy_put(into, chunk)
    if not sent then return nil, err end
    bytes = bytes + #chunk
    if progress then progress(bytes) end
  end
end

---@class pg.CopyToOptions
---@field table? string|table the table to copy into; default: of the same name
---@field columns? string|string[] of the target; default: those of the source
---@field progress? fun(bytes: integer)
---@field timeout? number seconds that each wait for a server may take
---@field max_result? number bytes that one row may have

--- The rows of a table or a query into a table of another database, without decoding them. All
--- are stored, or none. err.side is "source" or "target".
---@param db pg.Connection
---@param other pg.Connection
---@param what string|table as for copy_out
---@param given? pg.CopyToOptions
---@return { rowCount: integer, bytes: integer }|nil
---@return pg.Error?
function copy.copy_to(db, other, what, given)
  local source, target
  given, source = take(db, given, TO, 2)
  if core.is_same(db, other) then
    error("copy_to needs two connections: one cannot read and write at a time", 2)
  end
  target = select(2, take(other, given, TO, 2))
  local columns = column_list(given.columns, 2)
  local queries = sql.is_raw(what) or type(what) == "string" and is_query(what)
  if queries and not given.table then error("a query's rows need a `table` to go into", 2) end
  local quoted = sql.table_name(given.table or what, 2)
  local text, about = query_of(source, what, not queries and columns or nil, "names", 2)
  if not text then return nil, copy_error.on(about, "source") end
  local names = columns or {}
  if not columns then
    for i, column in ipairs(about.columns) do names[i] = column.name end
  end
  local list = sql.quoted_list(names)
  local there, err = core.describe(target, ("SELECT %s FROM %s"):format(list, quoted))
  if not there then
    return nil, copy_error.on(copy_error.explain(target, err, { quoted = quoted, names = names }),
      "target")
  end
  local format = same_types(source, target, about, there) and " WITH (FORMAT binary)" or ""
  local from <close>, problem = begin(source, ("COPY (%s) TO STDOUT%s"):format(text, format),
    "copy_to")
  if not from then return nil, copy_error.on(problem, "source") end
  local into <close>, refusal = begin(target, ("COPY %s (%s) FROM STDIN%s"):format(quoted, list,
    format), "copy_to", true)
  local result, failed
  if into then result, failed = pour(from, into, given.progress) else failed = refusal end
  if result then return result end
  if not (errors.is(failed) and failed.side == "source") then
    leave(source, from)
    failed = copy_error.on(copy_error.explain(target, failed, { quoted = quoted, names = names }),
      "target")
  end
  return nil, failed
end

return copy
