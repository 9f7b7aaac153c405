-- SPDX-License-Identifier: MIT
-- Runs the examples one after another. `make demo` does it on a throwaway server;
-- lua5.4 examples/demo.lua does it on the server that PGHOST and the like name.
local pg = require "pg"
local folder = arg[0]:match "^(.*/)" or "./"

local examples = {
  { "quickstart", "The first ten lines" },
  { "report", "A daily report" },
  { "check", "Data that breaks the rules" },
  { "sync", "Orders to an external system" },
  { "audit", "An audit log" },
  { "migrate", "Tables to another database" },
  { "validate", "Rows that are looked at before they are loaded" },
  { "upsert_zones", "Time zones from a file, again and again" },
  { "bulk_load", "A log file of 100,000 lines" },
  { "copy", "A file, two databases and a report" },
  { "stream", "A report over a million rows" },
  { "prepared", "Readings, checked one by one" },
  { "pipeline", "An order and its lines in one round trip" },
  { "pool", "200 webhooks on four connections" },
  { "errors", "An error, and what to do about it" },
}

local server, problem = pg.test()
if not server then
  io.stderr:write(tostring(problem), "\n")
  os.exit(1)
end
print(("PostgreSQL %s, database %s, user %s"):format(server.server, server.database, server.user))

local failed = 0
for _, example in ipairs(examples) do
  local file, title = table.unpack(example)
  local path = folder .. file .. ".lua"
  print(("\n%s\n%s  (%s)\n%s\n"):format(("-"):rep(76), title, path, ("-"):rep(76)))
  local ok, message = pcall(dofile, path)
  if not ok then
    failed = failed + 1
    io.stderr:write(tostring(message), "\n")
  end
end
os.exit(failed == 0, true)
