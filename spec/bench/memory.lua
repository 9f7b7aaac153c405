-- SPDX-License-Identifier: MIT
-- memory: how much a process grows when a server sends far more than max_result: 10 million small
-- rows, and one row of 1 GB (for which the server itself takes 3 GB). Prints a table.
--
--   lua5.4 spec/bench/memory.lua      as the specs are run, in the project's folder
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local CHILD <const> = [[
  local pg, core = require "pg", require "pg.core"
  local options, sql, each = load("return " .. (...))(), select(2, ...)
  pg.limits { timeout = 600 } -- the server needs its time to make 1 GB
  local db = assert(pg.connect(options))
  assert(db:query "SELECT 1")
  local started = core.now()
  local err = watched(function()
    if not each then return select(2, db:query(sql)) end
    local count = 0
    for _ in db:each(sql) do count = count + 1 end
    assert(count == 1000000)
  end)
  print(err and err.kind or "none", db:status().state, core.now() - started)]]

local SHAPES <const> = {
  { "1 million rows by db:each", "SELECT i AS id, 'some text ' || i AS name, i / 7.0::float8 AS "
    .. "score FROM generate_series(1, 1000000) AS i", "each" },
  { "10 million small rows", "SELECT generate_series(1, 10000000) AS id, 'small'::text AS text" },
  { "one row of 1 GB", "SELECT repeat(repeat('x', 1024), 1024 * 1000) AS x" },
}

local function literal(options)
  local parts = {}
  for name, value in pairs(options) do parts[#parts + 1] = ("%s = %q"):format(name, value) end
  return "{" .. table.concat(parts, ", ") .. "}"
end

local folder <const> = support.folder()
local server <close> = assert(throwaway.start { ssl = true, settings = { jit = false } })
local host <const> = support.compile(folder, "spec/bench/memory.c",
  "$(pkg-config --cflags --libs lua5.4) -Wl,-E -lpthread")
support.write(folder .. "/child.lua", CHILD)

local WAYS <const> = {
  { "Unix socket", server.options },
  { "TCP", support.merge(server.tcp, { sslmode = "disable" }) },
  { "TLS", support.merge(server.tcp, { sslmode = "require" }) },
}

print "Peaks over what the idle process had, in MiB; max_result is 10 MiB.\n"
print "| shape | way | process | Lua's part | libpq's part | outcome | connection | seconds |"
print "|---|---|---|---|---|---|---|---|"
for _, shape in ipairs(SHAPES) do
  for _, way in ipairs(WAYS) do
    local output, errors = support.run(table.concat({ host, folder .. "/child.lua",
      support.quote(literal(way[2])), support.quote(shape[2]), shape[3] or "" }, " "))
    local whole, lua, others, kind, state, seconds =
      output:match "^(%d+) (%d+) (%d+)\n(%S+)\t(%S+)\t(%S+)"
    assert(whole, errors)
    print(("| %s | %s | %.1f | %.1f | %.1f | %s | %s | %.1f |"):format(shape[1], way[1],
      whole / 1024, lua / 1024, others / 1024, kind, state, seconds))
  end
end
os.execute("rm -rf '" .. folder .. "'")
