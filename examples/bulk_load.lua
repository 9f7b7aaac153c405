-- SPDX-License-Identifier: MIT
-- Loads a log file of 100,000 lines into a table, line by line: only a batch of rows is ever held.
-- A bar in the terminal shows how far it is. All of the lines are stored, or none of them.
local pg = require "pg"
local db <close> = assert(pg.connect())

-- A table to load into, in a schema of its own, and a file to load.
local LINES <const> = 100000
local path = os.tmpname()
local function tidy()
  os.remove(path)
  return db:execute "DROP SCHEMA IF EXISTS lua_pg_bulk CASCADE"
end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_bulk;
  SET search_path TO lua_pg_bulk;
  CREATE TABLE logs (
    id bigserial PRIMARY KEY, at timestamp NOT NULL, level varchar(5) NOT NULL, message text,
    seen boolean NOT NULL DEFAULT false)]])

local function write(last_level)
  local file <close> = assert(io.open(path, "w"))
  for n = 1, LINES do
    local level = n == LINES and last_level or n % 50 == 0 and "error" or "info"
    file:write(("2026-01-15T%02d:%02d:%02d %s request %d took %d ms\n"):format(n // 3600 % 24,
      n // 60 % 60, n % 60, level, n, n * 7919 % 997))
  end
end

--- A row for each line. The same table each time will do: it is not kept.
local function lines()
  local next_line, row = io.lines(path), {}
  return function()
    local line = next_line()
    if not line then return nil end
    row.at, row.level, row.message = line:match "^(%S+) (%S+) (.*)$"
    return row
  end
end

-- A bar that is drawn over itself in a terminal; elsewhere its end alone.
local terminal = os.execute "test -t 1"
local function bar(done)
  local part = done / LINES
  if not terminal and part < 1 then return end
  io.write(terminal and "\r" or "", ("  [%s%s] %3d %%  %6d rows"):format(("#"):rep(part * 40 // 1),
    ("."):rep(40 - part * 40 // 1), part * 100 // 1, done), part == 1 and "\n" or "")
  io.flush()
end

print "A line near the end has a level that is too long:"
write "warning"
local loaded, problem = db:bulk_insert("logs", lines(), { batch = 5000, progress = bar })
assert(not loaded)
if terminal then print() end
print(("  %s: line %d, column %s: %s"):format(problem.kind, problem.row or 0, problem.column,
  problem.message))
print(("  rows in the table: %d"):format(
  assert(db:query "SELECT count(*) AS n FROM logs").rows[1].n))

print "The file once more, corrected:"
write "warn"
loaded = assert(db:bulk_insert("logs", lines(), { batch = 5000, progress = bar, deadline = 300 }))
print(("  rowCount = %d"):format(loaded.rowCount))

print "Every error is marked as seen, each by its key:"
local errors = assert(db:query "SELECT id FROM logs WHERE level = 'error' ORDER BY id").rows
for _, row in ipairs(errors) do row.seen = true end
local marked = assert(db:bulk_update("logs", errors))
print(("  rowCount = %d, missing = %d"):format(marked.rowCount, marked.missing))
