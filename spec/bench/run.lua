-- SPDX-License-Identifier: MIT
-- run: `make bench`. The module beside raw libpq and what peers are installed, on a throwaway
-- server. run.lua <folder> [works]: the folder has the program `raw` and gets the Markdown files;
-- works are names of lines.lua, or `linear` (or one of its series), or `memory`. Environment:
-- ROUNDS (5), SCALE (1: of the numbers of rows), PEERS (0: none; or names), INSTRUCTIONS (0: none),
-- PIN (1: server and programs on a core each). Tables go to stdout, progress to stderr.
local compare = require "spec.bench.compare"
local linear = require "spec.bench.linear"
local lines = require "spec.bench.lines"
local measure = require "spec.bench.measure"
local pg = require "pg"
local report = require "spec.bench.report"
local throwaway = require "pg.throwaway"

local FOLDER <const>, WORKS <const> = arg[1], arg[2] or ""
local LUA <const> = os.getenv "LUA" or "lua5.4"
local function setting(name, default) return tonumber(os.getenv(name) or default) end
local ROUNDS <const>, SCALE <const> = setting("ROUNDS", 5), setting("SCALE", 1)
local TERMINAL <const> = measure.exists "test -t 2 <&2"

local function say(text)
  if TERMINAL then io.stderr:write "\r\27[K" end
  print(text)
  io.stdout:flush()
end

local function progress(text)
  io.stderr:write(TERMINAL and "\r\27[K" or "", text, TERMINAL and "" or "\n")
end

--- The lines of the works named; raises for a name that none has.
local function chosen(names)
  if names == "" then return lines end
  local wanted, known, list = {}, {}, {}
  for name in names:gmatch "[^%s,]+" do wanted[name] = true end
  for _, line in ipairs(lines) do
    if wanted[line.name] then list[#list + 1] = line end
    known[#known + 1] = not known[line.name] and line.name or nil
    known[line.name] = true
  end
  for name in pairs(wanted) do
    if not known[name] then
      local all = table.concat(known, ", ")
      error(("no work %s; there are: %s, linear, memory"):format(name, all), 0)
    end
  end
  return list
end

local notes <const> = {} -- said, and written below the tables

local function note(text)
  notes[#notes + 1] = text
  say(text)
end

--- The peers that are installed; notes which are not.
local function peers()
  local wanted <const> = os.getenv "PEERS" or ""
  local load = wanted ~= "0" and loadfile "spec/bench/peers/init.lua"
  local list = {}
  for _, peer in ipairs(load and load() or list) do
    if wanted == "" or ("," .. wanted .. ","):find("," .. peer.name .. ",", 1, true) then
      if measure.exists("( " .. peer.probe .. " )") then
        list[#list + 1] = peer
      else
        note(peer.name .. ": not installed, skipped")
      end
    end
  end
  return list
end

--- A server for so many connections.
local function served(connections)
  return assert(throwaway.start { tcp = true, settings = {
    TimeZone = "UTC", jit = false, autovacuum = false, shared_buffers = "512MB",
    max_wal_size = "4GB", max_connections = connections,
  } })
end

local function fill(db)
  local file <close> = assert(io.open "spec/bench/schema.sql")
  local sql <const> = file:read("a"):gsub("{(%d+)}", function(count)
    return ("%d"):format(math.max(1, math.floor(tonumber(count) * SCALE)))
  end)
  assert(db:execute(sql))
  assert(db:execute "VACUUM ANALYZE")
  assert(db:execute "CHECKPOINT")
end

--- The postmaster to the first core; what it starts from now on stays there.
local function pin(db)
  local pid = assert(db:query "SELECT pg_read_file('postmaster.pid') AS text").rows[1].text
    :match "^%d+"
  return measure.exists("taskset -cp 0 " .. pid)
end

local function command()
  local words = { "make bench" }
  if WORKS ~= "" then words[2] = "W=" .. WORKS end
  for _, name in ipairs { "ROUNDS", "SCALE", "PEERS", "INSTRUCTIONS", "PIN" } do
    local value = os.getenv(name)
    if value then words[#words + 1] = name .. "=" .. value end
  end
  return table.concat(words, " ")
end

local LEGEND <const> = [[
raw: the same work in C on libpq alone, values looked at but not converted. Ratio: module to raw,
the median of the rounds' ratios, min..max of them. CPU: the client's, microseconds a unit. Instr.:
instructions a unit in the client's process, by callgrind. Peak: over the idle process.]]

--- What was measured on what: printed, and kept for the page.
local function about(db, job, pinned)
  local texts = report.circumstances(db, LUA, command())
  if pinned then texts[#texts + 1] = "server and programs on a core each" end
  if job.instructions and not job.measure.counts then
    texts[#texts + 1] = "valgrind: not installed, instructions skipped"
  end
  for _, text in ipairs(texts) do say(text) end
  return "- " .. table.concat(texts, "\n- ") .. "\n"
end

--- Tables and notes as a page of Markdown.
local function write(name, head, sheets)
  local parts = { head }
  for _, sheet in ipairs(sheets) do parts[#parts + 1] = sheet:markdown() end
  for _, text in ipairs(notes) do parts[#parts + 1] = "- " .. text end
  local path <const> = ("%s/%s.md"):format(FOLDER, name)
  report.write(path, parts)
  say("\nwritten to " .. path)
end

local function main()
  local list = not linear.has(WORKS) and chosen(WORKS)
  local server <close> = served(list and 20 or 1020)
  local db <close> = assert(pg.connect(server.options))
  progress "filling the tables"
  fill(db)
  local pinned = os.getenv "PIN" == "1" and pin(db)
  local measured <close> = measure.new(server, SCALE, pinned)
  local job = {
    rounds = ROUNDS, scale = SCALE, instructions = setting("INSTRUCTIONS", 1) > 0,
    measure = measured, say = say, note = note, progress = progress,
    programs = { raw = FOLDER .. "/raw", module = LUA .. " spec/bench/module.lua" },
  }
  local head = about(db, job, pinned)
  if not list then return write("linear", head, linear.run(WORKS, job)) end
  job.peers = peers()
  say(LEGEND .. "\n")
  write("results", head .. "\n" .. LEGEND .. "\n", { compare.run(list, job) })
end

if WORKS == "memory" then return dofile "spec/bench/memory.lua" end
main()
