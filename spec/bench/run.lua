-- SPDX-License-Identifier: MIT
-- run: the module beside raw libpq in the same run: interleaved rounds in
-- fresh processes on a throwaway server, medians, ratios. `make bench`.
local throwaway = require "pg.throwaway"

local OUT, LUA = arg[1], arg[2]
local ROUNDS = tonumber(os.getenv "ROUNDS" or 5)
local WORKLOADS = {
  { name = "int", title = "SELECT $1::int", times = 20000, unit = "queries" },
  { name = "lookup", title = "key lookup, 8 columns", times = 20000, unit = "queries" },
  { name = "prepared", title = "  beside prepared", times = 20000, unit = "queries" },
  { name = "rows", title = "100,000 rows x 4", times = 5, unit = "rows", per = 100000 },
  { name = "each", title = "  by db:each", times = 10, unit = "rows", per = 100000 },
  { name = "insert", title = "bulk insert, 3 columns", times = 3, unit = "rows", per = 100000 },
  { name = "pipeline", title = "10,000 pipelined inserts", times = 30, unit = "rows", per = 10000 },
  { name = "pipeline", module = "singly", title = "  and one by one", times = 1, unit = "rows",
    per = 10000 },
  { name = "copy_in", title = "COPY in, text", times = 5, unit = "rows", per = 100000 },
  { name = "copy_in", module = "copy_list", title = "  from rows", times = 5, unit = "rows",
    per = 100000 },
  { name = "copy_out", title = "COPY out, text", times = 10, unit = "rows", per = 100000 },
  { name = "copy_rows", title = "COPY out, decoded", times = 10, unit = "rows", per = 100000 },
}

local SCHEMA = [[
CREATE TABLE bench_lookup AS
  SELECT i AS id, 'name ' || i AS name, 'user' || i || '@example.com' AS email, i % 2 = 0 AS active,
         i * 1.5::float8 AS score, '2026-01-15T10:30:00Z'::timestamptz AS created_at,
         (i * 100)::int8 AS total, NULL::text AS note
    FROM generate_series(1, 1000) AS i;
ALTER TABLE bench_lookup ADD PRIMARY KEY (id);
CREATE TABLE bench_rows AS
  SELECT i::int8 AS id, 'some text ' || i AS name, i / 7.0::float8 AS score, i % 2 = 0 AS active
    FROM generate_series(1, 100000) AS i;
CREATE UNLOGGED TABLE bench_logs (level text, message text, created_at timestamp);
ANALYZE;]]

local server <close> = assert(throwaway.start { tcp = true })
local db <close> = assert(require("pg").connect(server.options))
assert(db:execute(SCHEMA))
local host, port = server.tcp.host, server.tcp.port
local environment = ("PGHOST=%s PGPORT=%d PGUSER=postgres PGDATABASE=postgres PGPASSWORD='%s' ")
  :format(host, port, server.tcp.password)
local module = ("%s LUA_PATH='%s' LUA_CPATH='%s' %%s %s spec/bench/module.lua %%s %%d")
  :format(environment, package.path, package.cpath, LUA)
local raw = ("%s %%s %s/bench/raw %%s %%d"):format(environment, OUT)

local function capture(template, prefix, name, times)
  local pipe <close> = assert(io.popen(template:format(prefix, name, times) .. " 2>&1"))
  return pipe:read "a"
end

local function measure(template, work)
  local text = capture(template, "", template == module and work.module or work.name, work.times)
  local units, wall, cpu = text:match "^(%d+) ([%d.]+) ([%d.]+)"
  assert(units, text)
  return { wall = tonumber(wall), cpu = tonumber(cpu) }
end

local function median(list, field)
  local values = {}
  for i, item in ipairs(list) do values[i] = item[field] end
  table.sort(values)
  return values[(#values + 1) // 2]
end

--- Instructions a unit, from two runs of different length.
local function instructions(template, work)
  local function count(times)
    local text = capture(template, "valgrind --tool=callgrind --callgrind-out-file=/dev/null",
      work.name, times)
    local digits = text:match "Collected : (%d+)"
    return digits and tonumber(digits)
  end
  local few, many = work.per and 1 or 100, work.per and 2 or 600
  local a, b = count(few), count(many)
  return a and b and (b - a) / ((many - few) * (work.per or 1))
end

print(("%-24s %12s %12s %8s %10s %10s %8s %10s %10s %8s"):format("workload", "raw/s", "module/s",
  "ratio", "raw us", "module us", "CPU", "raw instr", "mod instr", "ratio"))
for _, work in ipairs(WORKLOADS) do
  local raws, modules = {}, {}
  for round = 1, ROUNDS do
    raws[round] = measure(raw, work)
    modules[round] = measure(module, work)
  end
  local units = work.times * (work.per or 1)
  local a, b = units / median(raws, "wall"), units / median(modules, "wall")
  local c, d = median(raws, "cpu") / units * 1e6, median(modules, "cpu") / units * 1e6
  local e, f = instructions(raw, work), instructions(module, work)
  print(("%-24s %12.0f %12.0f %8.3f %10.3f %10.3f %8.3f %10.0f %10.0f %8.2f"):format(work.title, a,
    b, b / a, c, d, d / c, e or 0, f or 0, e and f and f / e or 0))
end
