-- SPDX-License-Identifier: MIT
-- pgmoon on LuaJIT with LuaSocket. It has no prepared statements, streams, pipelines or COPY;
-- parameters go by the extended protocol, numbers as numeric (hence the casts). Times stay text,
-- numeric becomes a float.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local pgmoon = require "pgmoon"
local PostgresArray = require("pgmoon.arrays").PostgresArray
local work = require "work"

local db = pgmoon.new {
  host = os.getenv "PGHOST", port = os.getenv "PGPORT", database = os.getenv "PGDATABASE",
  user = os.getenv "PGUSER", password = os.getenv "PGPASSWORD",
}
assert(db:connect())
assert(db:query "SELECT 1")

local client = {}
local sql = work.sql

function client.ask(statement) return assert(db:query(statement))[1].sum end

function client.int(i) return 1, assert(db:query(sql, i % 1000 + 1))[1].int4 end

function client.lookup(i) return 1, assert(db:query(sql, i % 1000 + 1))[1].id end

function client.rows()
  local rows = assert(db:query(sql))
  return #rows, rows
end

for _, name in ipairs { "catalog", "typed", "int_arrays", "float_arrays", "bytea_1mb", "bytea_10kb",
  "jsonb", "held" } do client[name] = client.rows end

function client.insert()
  assert(db:query(work.truncate))
  assert(db:query "BEGIN")
  work.batches(function(records, first, last)
    local function column(key) return PostgresArray(work.column(records, first, last, key)) end
    assert(db:query(sql, column "level", column "message", column "created_at"))
  end)
  assert(db:query "COMMIT")
  return #work.records
end

function client.singly()
  assert(db:query(work.truncate))
  for _, row in ipairs(work.records) do
    assert(db:query(sql, row.level, row.message, row.created_at))
  end
  return #work.records
end

work.main(client)
