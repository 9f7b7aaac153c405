-- SPDX-License-Identifier: MIT
-- module: the same work as raw.c through the module. module.lua <workload>
-- <repetitions>, server by the PG* environment; prints the units done, wall seconds, CPU seconds.
local core = require "pg.core"
local pg = require "pg"

-- The rows that the work sends, and no more: the collector would have to look at them, too.
local LOGS <const> = { insert = 100000, copy_list = 100000, pipeline = 10000, singly = 10000 }
local logs = {}
for i = 0, (LOGS[arg[1]] or 0) - 1 do
  logs[i + 1] = { level = i % 9 > 0 and "info" or "error", message = "some message " .. i,
    created_at = ("2026-01-15T10:30:%02d"):format(i % 60) }
end

local INSERT <const> = "INSERT INTO bench_logs VALUES ($1, $2, $3)"

--- 10,000 inserts: f(db, sql, ...) for each.
local function inserts(db, f)
  for i = 1, 10000 do
    local row = logs[i]
    f(db, INSERT, row.level, row.message, row.created_at)
  end
  return 10000
end

local WORK = {
  int = function(db, i) return db:query("SELECT $1::int", i % 1000 + 1).rowCount end,
  lookup = function(db, i)
    return db:query("SELECT * FROM bench_lookup WHERE id = $1", i % 1000 + 1).rowCount
  end,
  rows = function(db) return db:query("SELECT * FROM bench_rows").rowCount end,
  insert = function(db) return assert(db:bulk_insert("bench_logs", logs)).rowCount end,
  pipeline = function(db)
    return #assert(db:pipeline(function(p) inserts(p, p.execute) end))
  end,
  singly = function(db)
    return inserts(db, function(...) assert(db.execute(...)) end)
  end,
}

WORK.prepared = WORK.lookup

function WORK.each(db)
  local count = 0
  for _ in db:each "SELECT * FROM bench_rows" do count = count + 1 end
  return count
end

local lines -- of a file, as text
if arg[1] == "copy_in" then
  local list = {}
  for i = 0, 99999 do
    list[i + 1] = ("%s\tsome message %d\t2026-01-15T10:30:%02d\n"):format(
      i % 9 > 0 and "info" or "error", i, i % 60)
  end
  lines = table.concat(list)
end

function WORK.copy_in(db)
  assert(db:execute "TRUNCATE bench_logs")
  return assert(db:copy_in("bench_logs", nil, lines)).rowCount
end

function WORK.copy_list(db)
  assert(db:execute "TRUNCATE bench_logs")
  return assert(db:copy_in("bench_logs", nil, logs)).rowCount
end

function WORK.copy_out(db)
  local bytes = 0
  assert(db:copy_out("bench_rows", function(chunk) bytes = bytes + #chunk end))
  return bytes
end

function WORK.copy_rows(db)
  local count = 0
  for _ in db:copy_rows "bench_rows" do count = count + 1 end
  return count
end

local work, times = WORK[arg[1]], tonumber(arg[2])
local db <close> = assert(pg.connect())
assert(db:query "SELECT 1")
local sum, wall, cpu = 0, core.now(), os.clock()
for i = 0, times - 1 do sum = sum + work(db, i) end
print(("%d %.6f %.6f %d"):format(times, core.now() - wall, os.clock() - cpu, sum))
