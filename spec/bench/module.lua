-- SPDX-License-Identifier: MIT
-- module: the same work as raw.c through the module. module.lua <workload>
-- <repetitions>, server by the PG* environment; prints the units done, wall seconds, CPU seconds.
local core = require "pg.core"
local pg = require "pg"

local logs = {}
if arg[1] == "insert" then
  for i = 0, 99999 do
    logs[i + 1] = { level = i % 9 > 0 and "info" or "error", message = "some message " .. i,
      created_at = ("2026-01-15T10:30:%02d"):format(i % 60) }
  end
end

local WORK = {
  int = function(db, i) return db:query("SELECT $1::int", i % 1000 + 1).rowCount end,
  lookup = function(db, i)
    return db:query("SELECT * FROM bench_lookup WHERE id = $1", i % 1000 + 1).rowCount
  end,
  rows = function(db) return db:query("SELECT * FROM bench_rows").rowCount end,
  insert = function(db) return assert(db:bulk_insert("bench_logs", logs)).rowCount end,
}

local work, times = WORK[arg[1]], tonumber(arg[2])
local db <close> = assert(pg.connect())
assert(db:query "SELECT 1")
local sum, wall, cpu = 0, core.now(), os.clock()
for i = 0, times - 1 do sum = sum + work(db, i) end
print(("%d %.6f %.6f %d"):format(times, core.now() - wall, os.clock() - cpu, sum))
