-- SPDX-License-Identifier: MIT
-- Moves data: a CSV file into a table, the table into another database's, and a report out of it
-- by decoded rows. Any amount of it would do: only a portion is ever held.
local pg = require "pg"
local db <close> = assert(pg.connect { name = "source" })
local other <close> = assert(pg.connect { name = "target" }) -- as well on another server

local LINES <const> = 100000
local path <const> = os.tmpname()
local function tidy()
  os.remove(path)
  return db:execute "DROP SCHEMA IF EXISTS lua_pg_copy CASCADE"
end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_copy;
  CREATE TABLE lua_pg_copy.visits (at timestamptz NOT NULL, page text, ms int CHECK (ms > 0));
  CREATE TABLE lua_pg_copy.archive (LIKE lua_pg_copy.visits)]])

local function write(last_ms)
  local file <close> = assert(io.open(path, "w"))
  file:write "at,page,ms\n"
  for n = 1, LINES do
    file:write(("2026-01-15T%02d:%02d:00Z,\"/page, %d\",%d\n"):format(n // 3600 % 24, n // 60 % 60,
      n % 7, n == LINES and last_ms or n * 7919 % 997 + 1))
  end
end

local function load_file()
  local file <close> = assert(io.open(path))
  return db:copy_in("lua_pg_copy.visits", { "at", "page", "ms" }, file,
    { format = "csv", header = true })
end

print "A file whose last line is wrong:"
write(-1)
local loaded, problem = load_file()
assert(not loaded)
print(("  %s (%s), line %d"):format(problem.kind, problem.constraint, problem.line))
print(("  rows in the table: %d"):format(
  assert(db:query "SELECT count(*) AS n FROM lua_pg_copy.visits").rows[1].n))

print "The file once more, corrected:"
write(1)
print(("  rowCount = %d"):format(assert(load_file()).rowCount))

print "To the other database:"
local moved = assert(db:copy_to(other, "lua_pg_copy.visits", { table = "lua_pg_copy.archive",
  progress = function(bytes) assert(bytes > 0) end }))
print(("  rowCount = %d"):format(moved.rowCount))

print "The slowest pages:"
local total <const>, count <const> = {}, {}
for row in other:copy_rows "SELECT page, ms FROM lua_pg_copy.archive" do
  total[row.page] = (total[row.page] or 0) + row.ms
  count[row.page] = (count[row.page] or 0) + 1
end
local pages <const> = {}
for page in pairs(total) do pages[#pages + 1] = page end
table.sort(pages, function(a, b) return total[a] / count[a] > total[b] / count[b] end)
for i = 1, 2 do
  print(("  %s: %.1f ms"):format(pages[i], total[pages[i]] / count[pages[i]]))
end
