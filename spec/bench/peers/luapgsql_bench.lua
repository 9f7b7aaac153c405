-- SPDX-License-Identifier: MIT
-- luapgsql: rows by result:copy(true), which converts numbers and booleans (and NULL to 0 or "").
-- Arrays and jsonb are decoded here, bytea by its unescapeBytea; there are no array parameters, so
-- array literals are made here; statements are prepared by hand.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local pgsql = require "pgsql"
local work = require "work"

local db = pgsql.connectdb ""
assert(db:status() == pgsql.CONNECTION_OK, db:errorMessage())

local client = {}
local sql, records = work.sql, work.records

local function must(result)
  local status = result:status()
  assert(status ~= pgsql.PGRES_FATAL_ERROR and status ~= pgsql.PGRES_BAD_RESPONSE,
    result:errorMessage())
  return result
end

must(db:exec "SELECT 1")
if sql and sql:find "%$3" then
  must(db:prepare("work", sql, "", "", ""))
elseif sql and sql:find "%$1" then
  must(db:prepare("work", sql, 1))
elseif sql then
  must(db:prepare("work", sql))
end

function client.ask(statement) return must(db:exec(statement)):copy()[1].sum end

function client.int(i) return 1, must(db:execPrepared("work", i % 1000 + 1)):copy(true)[1].int4 end

function client.lookup(i) return 1, must(db:execPrepared("work", i % 1000 + 1)):copy(true)[1].id end

local function decode(rows, decoders)
  for column, decoder in pairs(decoders) do
    for _, row in ipairs(rows) do row[column] = decoder(row[column]) end
  end
end

function client.rows()
  local result <close> = must(db:execPrepared "work")
  local rows = result:copy(true)
  if work.text then decode(rows, work.text) end
  return #rows, rows
end

for _, name in ipairs { "catalog", "typed", "int_arrays", "float_arrays", "jsonb", "held" } do
  client[name] = client.rows
end

function client.bytea_10kb()
  local n, rows = client.rows()
  decode(rows, { data = pgsql.unescapeBytea })
  return n, rows
end

client.bytea_1mb = client.bytea_10kb

--- Calls f(row) for each row as it arrives.
local function single(f)
  assert(db:sendQueryPrepared "work")
  assert(db:setSingleRowMode())
  local result = db:getResult()
  while result do
    must(result)
    if #result > 0 then f(result:copy(true)[1]) end
    result:clear()
    result = db:getResult()
  end
end

function client.each(_, rows)
  local n = 0
  single(function(row)
    n = n + 1
    if rows then rows[n] = row end
  end)
  return n
end

function client.streamed()
  local n, sum = 0, 0
  single(function(row) n, sum = n + 1, sum + row.id end)
  return n, sum
end

local function literal(list, first, last, key)
  local values = work.column(list, first, last, key)
  for i, value in ipairs(values) do values[i] = value:gsub('["\\]', "\\%0") end
  return '{"' .. table.concat(values, '","') .. '"}'
end

function client.insert()
  must(db:exec(work.truncate))
  must(db:exec "BEGIN")
  work.batches(function(...)
    local function column(key, r, first, last) return literal(r, first, last, key) end
    must(db:execPrepared("work", column("level", ...), column("message", ...),
      column("created_at", ...)))
  end)
  must(db:exec "COMMIT")
  return #records
end

function client.singly()
  must(db:exec(work.truncate))
  for _, row in ipairs(records) do
    must(db:execPrepared("work", row.level, row.message, row.created_at))
  end
  return #records
end

function client.pipeline()
  must(db:exec(work.truncate))
  assert(db:enterPipelineMode())
  for _, row in ipairs(records) do
    assert(db:sendQueryPrepared("work", row.level, row.message, row.created_at))
  end
  assert(db:pipelineSync())
  for _ = 1, #records do
    must(db:getResult()):clear()
    assert(not db:getResult())
  end
  assert(db:getResult():status() == pgsql.PGRES_PIPELINE_SYNC)
  assert(db:exitPipelineMode())
  return #records
end

local text = work.name == "copy_in" and work.lines()

function client.copy_in()
  must(db:exec(work.truncate))
  must(db:exec "COPY bench_logs FROM STDIN")
  assert(db:putCopyData(text))
  assert(db:putCopyEnd())
  must(db:getResult())
  assert(not db:getResult())
  return #records
end

function client.copy_out()
  must(db:exec "COPY bench_rows TO STDOUT")
  local bytes, chunk = 0, db:getCopyData()
  while type(chunk) == "string" do
    bytes = bytes + #chunk
    chunk = db:getCopyData()
  end
  assert(chunk, db:errorMessage())
  local result = must(db:getResult())
  assert(not db:getResult())
  return tonumber(result:cmdTuples()), bytes
end

work.main(client)
