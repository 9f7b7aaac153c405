-- SPDX-License-Identifier: MIT
-- module: the work of the benchmarks through the module. module.lua <workload> <times> [size],
-- server by the PG* environment; prints units, wall seconds, CPU seconds, the check and the peak of
-- memory (protocol.md). A work is { run = f(db, i, keep), check = f(what it kept) }: `run` does a
-- repetition and answers how many units it had and what came.
local core = require "pg.core"
local pg = require "pg"

local name, times <const>, size <const> = arg[1], tonumber(arg[2]), tonumber(arg[3])
local WORK <const> = require "spec.bench.module_write"

pg.limits { max_result = math.huge } -- raw libpq has no limits, either

--- A query, and what its check is. A keyed one has the key of its repetition as $1, and that in the
--- column `keyed` of its row.
local function query(sql, options, check, keyed)
  return {
    options = options, check = check, keyed = keyed,
    run = keyed and function(db, i)
      local result = assert(db:query(sql, i % 1000 + 1))
      return result.rowCount, result.rows
    end or function(db)
      local result = assert(db:query(sql))
      return result.rowCount, result.rows
    end,
  }
end

--- Rows one by one; kept where they are looked at afterwards.
local function stream(method, what, check)
  return {
    check = check,
    run = function(db, _, keep)
      local count, rows = 0, keep and {}
      for row in db[method](db, what) do
        count = count + 1
        if rows then rows[count] = row end
      end
      return count, rows
    end,
  }
end

--- Adds up f(row) of a list of rows.
local function sum_of(f)
  return function(rows)
    local sum = 0
    for i = 1, #rows do sum = sum + f(rows[i]) end
    return sum
  end
end

local function whole(number) -- without its fraction, as C casts it
  return math.tointeger(number < 0 and math.ceil(number) or math.floor(number))
end

local row_check <const> = sum_of(function(row)
  return row.id + #row.name + whole(row.score) + (row.active and 1 or 0)
end)

local list_check <const> = sum_of(function(row)
  local sum, list = 0, row.list
  for i = 1, #list do sum = sum + whole(list[i]) end
  return sum
end)

local function columns_check(columns)
  local sum = 0
  for i = 1, #columns.id do
    sum = sum + columns.id[i] + #columns.name[i] + whole(columns.score[i])
      + (columns.active[i] and 1 or 0)
  end
  return sum
end

local bytes_check <const> = sum_of(function(row)
  return #row.data + row.data:byte(1) + row.data:byte(-1)
end)

local json_check <const> = sum_of(function(row) return row.doc.number + row.doc.user.age end)
local id_check <const> = sum_of(function(row) return row.id end)

WORK.int = query("SELECT $1::int", nil, nil, "int4")
WORK.lookup = query("SELECT * FROM bench_lookup WHERE id = $1", nil, nil, "id")
WORK.rows = query("SELECT * FROM bench_rows", nil, row_check)
WORK.rows_array = query("SELECT * FROM bench_rows", { rows = "array" }, sum_of(function(row)
  return row[1] + #row[2] + whole(row[3]) + (row[4] and 1 or 0)
end))
WORK.rows_columns = query("SELECT * FROM bench_rows", { rows = "columns" }, columns_check)
WORK.each = stream("each", "SELECT * FROM bench_rows", row_check)
WORK.copy_rows = stream("copy_rows", "bench_rows", row_check)
WORK.catalog = query([[SELECT oid, typname, typnamespace, typowner, typlen, typbyval, typtype,
  typcategory, typispreferred, typisdefined, typdelim, typrelid FROM pg_type]], nil,
  sum_of(function(row) return row.oid + #row.typname + (row.typbyval and 1 or 0) end))
WORK.typed = query("SELECT * FROM bench_typed", nil, sum_of(function(row)
  return row.id + tonumber(row.at:sub(18, 19)) + tonumber(row.amount:match "^%d+")
end))
WORK.int_arrays = query("SELECT * FROM bench_ints", nil, list_check)
WORK.float_arrays = query("SELECT * FROM bench_floats", nil, list_check)
WORK.bytea_1mb = query("SELECT data FROM bench_large", nil, bytes_check)
WORK.bytea_10kb = query("SELECT data FROM bench_medium", nil, bytes_check)
WORK.jsonb = query("SELECT doc FROM bench_json", nil, json_check)
WORK.held = query("SELECT * FROM bench_million", nil, id_check)
WORK.held.cold = true

--- The same documents, by lua-cjson of their text: what a program had to do without a codec here.
WORK.jsonb_cjson = query("SELECT doc FROM bench_json", { json = "text" }, json_check)
do
  local found, cjson = pcall(require, "cjson")
  local texts <const> = WORK.jsonb_cjson.run
  WORK.jsonb_cjson.missing = not found
  function WORK.jsonb_cjson.run(db)
    local count, rows = texts(db)
    for i = 1, count do rows[i].doc = cjson.decode(rows[i].doc) end
    return count, rows
  end
end

WORK.streamed = {
  cold = true,
  check = function(sum) return sum end,
  run = function(db)
    local count, sum = 0, 0
    for row in db:each "SELECT * FROM bench_million" do
      count, sum = count + 1, sum + row.id
    end
    return count, sum
  end,
}

--- A line of the kernel's about this process, in KB: VmHWM is the peak of its memory.
local function memory(key)
  local file <close> = io.open "/proc/self/status"
  return file and tonumber(file:read("a"):match(key .. ":%s*(%d+)")) or 0
end

local function warm_up(work, db)
  if work.cold then return end
  if not work.keyed then return work.check(select(2, work.run(db, 0, true)), db) end
  for i = 0, 10 * (size or 1) - 1 do work.run(db, i) end
end

--- What a repetition of known values gave goes into the check at once, else the warm-up is it.
local function measure(work, db)
  local check = warm_up(work, db) or 0
  local keyed, run, units, last = work.keyed, work.run, 0, nil
  local wall <const>, cpu <const> = core.now(), os.clock()
  for i = 0, times - 1 do
    local count, rows = run(db, i)
    units = units + count
    if keyed then
      check = check + rows[1][keyed]
    elseif work.cold then
      last = rows
    end
  end
  local took, used = core.now() - wall, os.clock() - cpu
  local peak <const> = memory "VmHWM"
  if work.cold then check = work.check(last) * times end
  return units, took, used, check, peak
end

local work <const> = WORK[name] or (size and require("spec.bench.module_linear")(name, size))
if not work or work.missing then
  print "unsupported"
  os.exit()
end
local connection <close> = assert(pg.connect())
assert(connection:query "SELECT 1")
if work.ready then work.ready(connection) end
local before <const> = memory "VmRSS"
local db <const> = work.options and connection:with(work.options) or connection
local units, wall, cpu, check, peak = measure(work, db)
print(("%d %.6f %.6f %d %d"):format(units, wall, cpu, check, peak - before))
