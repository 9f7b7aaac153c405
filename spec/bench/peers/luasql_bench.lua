-- SPDX-License-Identifier: MIT
-- LuaSQL: no parameters (so no `int`, `lookup`, `singly`; its inserts are escaped by hand), no
-- streams, no pipelines, no COPY, no way to read bytea; every value is a string, decoded here.
package.path = arg[0]:gsub("[^/]*$", "") .. "?.lua;" .. package.path
local luasql = require "luasql.postgres"
local work = require "work"

local environment = assert(luasql.postgres())
local db = assert(environment:connect(os.getenv "PGDATABASE", os.getenv "PGUSER",
  os.getenv "PGPASSWORD", os.getenv "PGHOST", os.getenv "PGPORT"))

local client = {}

local NUMBERS = "id score amount oid typnamespace typowner typlen typrelid"
local BOOLEANS = "active typbyval typispreferred typisdefined"
local decoders = work.text or {}
for name in NUMBERS:gmatch "%a+" do decoders[name] = tonumber end
for name in BOOLEANS:gmatch "%a+" do decoders[name] = function(text) return text == "t" end end

function client.ask(statement)
  local cursor = assert(db:execute(statement))
  local value = cursor:fetch()
  cursor:close()
  return value
end

--- Decoders of the cursor's columns by name ("a") or by number ("n").
local function columns(cursor, mode)
  local used = {}
  for i, name in ipairs(cursor:getcolnames()) do
    used[mode == "n" and i or name] = decoders[name]
  end
  return used
end

local function fetch(mode)
  local cursor = assert(db:execute(work.sql))
  local used, rows, n = columns(cursor, mode), {}, 0
  local row = cursor:fetch({}, mode)
  while row do
    for name, decoder in pairs(used) do
      local value = row[name]
      if value then row[name] = decoder(value) end
    end
    n = n + 1
    rows[n] = row
    row = cursor:fetch({}, mode)
  end
  cursor:close()
  return n, rows
end

function client.rows() return fetch "a" end

function client.rows_array() return fetch "n" end

for _, name in ipairs { "catalog", "typed", "int_arrays", "float_arrays", "jsonb", "held" } do
  client[name] = client.rows
end

local function insert(records, first, last)
  local values = {}
  for i = first, last do
    local row = records[i]
    values[#values + 1] = ("('%s','%s','%s')"):format(db:escape(row.level),
      db:escape(row.message), db:escape(row.created_at))
  end
  assert(db:execute("INSERT INTO bench_logs VALUES " .. table.concat(values, ",")))
end

function client.insert()
  assert(db:execute(work.truncate))
  assert(db:setautocommit(false))
  work.batches(insert)
  assert(db:commit())
  assert(db:setautocommit(true))
  return #work.records
end

assert(client.ask "SELECT 1")
work.main(client)
