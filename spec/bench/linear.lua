-- SPDX-License-Identifier: MIT
-- linear: does the cost of a unit stay the same when there are more of them? For rows streamed,
-- columns of a row, statements cached, connections of one Lua state. A unit's cost may fall, as
-- what is done once is shared by more of them; it may not grow: `growth` is the module's time a
-- unit over the least of the sizes before. The floor stands beside it, as the server's part of the
-- time may grow, too.
local measure = require "spec.bench.measure"
local report = require "spec.bench.report"

local linear = {}

local MOST <const> = 1.10 -- growth

-- `times` of a size: repetitions (at scale 1); `few` and `many` for instructions, where that does
-- not take long.
local SERIES <const> = {
  { name = "linear_rows", title = "rows streamed by db:each", unit = "row",
    sizes = { 1000, 10000, 100000, 1000000, 10000000 },
    times = function(size) return math.max(1, 1000000 // size) end,
    instructions = function(size)
      local few = math.max(1, 20000 // size)
      if size <= 100000 then return few, 2 * few end
    end },
  { name = "linear_columns", title = "columns of a row, 320,000 cells", unit = "cell",
    sizes = { 1, 4, 16, 64, 256, 1600 },
    times = function() return 5 end,
    instructions = function() return 1, 2 end },
  { name = "linear_statements", title = "texts run in turn, cached", unit = "query",
    sizes = { 1, 10, 100, 400, 1000 },
    times = function() return 10000 end,
    instructions = function() return 500, 3000 end },
  { name = "linear_connections", title = "connections in one Lua state", unit = "query",
    sizes = { 1, 10, 100, 1000 },
    times = function() return 10000 end,
    instructions = function(size)
      if size <= 10 then return 500, 3000 end
    end },
}

local function per_unit(rounds, field) -- nanoseconds
  return (measure.median(#rounds, function(i) return rounds[i][field] / rounds[i].units * 1e9 end))
end

--- Growth over the least before, kept in `least` under the key.
local function growth(least, key, value)
  if not value then return nil end
  local before = least[key]
  least[key] = math.min(before or value, value)
  return before and value / before or 1
end

local function scaled(size, job)
  return math.max(1, math.floor(size * job.scale))
end

--- The rounds of raw and module at a size, and the module's instructions; `full`: before scaling.
local function measured(series, size, full, job)
  local times = series.times(full)
  if series.unit == "query" then times = scaled(times, job) end
  local works = {}
  for i, who in ipairs { "raw", "module" } do
    works[i] = { command = job.programs[who], name = series.name, times = times, size = size }
  end
  local all = job.measure:rounds(works, job.rounds, function(round)
    job.progress(("%s %d: round %d of %d"):format(series.name, size, round, job.rounds))
  end)
  for i = 1, 2 do
    if type(all[i]) ~= "table" then error(all[i] or "unsupported", 0) end
  end
  if all[1][1].units ~= all[2][1].units or all[1][1].check ~= all[2][1].check then
    error(series.name .. ": the floor and the module disagree", 0)
  end
  local few, many = series.instructions(size)
  local instructions
  if few and job.instructions then
    job.progress(("%s %d: instructions"):format(series.name, size))
    instructions = job.measure:instructions(works[2], few, many)
  end
  return all[1], all[2], instructions
end

--- The cells of a size; how much the module's and raw's time and the instructions have grown.
local function texts(size, raws, modules, instructions, least)
  local raw, own = per_unit(raws, "wall"), per_unit(modules, "wall")
  local raw_cpu, own_cpu = per_unit(raws, "cpu"), per_unit(modules, "cpu")
  local grown = { size = size, raw = growth(least, "raw", raw), own = growth(least, "own", own),
    instructions = growth(least, "instructions", instructions) }
  local count, digits <const> = report.count, report.digits
  return { ("%d"):format(size), count(raw), digits(grown.raw), count(own), digits(grown.own),
    count(raw_cpu) .. " / " .. count(own_cpu), digits(growth(least, "cpu", own_cpu)),
    count(instructions), digits(grown.instructions) }, grown
end

--- Whether a series is linear, by the size whose time grew most: where raw grew alike, it is the
--- server that did.
local function verdict(series, all)
  local worst, most = all[1], nil
  for _, grown in ipairs(all) do
    if grown.own > worst.own then worst = grown end
    if grown.instructions then most = math.max(most or 0, grown.instructions) end
  end
  local word = worst.own <= MOST and "linear"
    or worst.own <= MOST * worst.raw and "linear but for the server" or "NOT linear"
  return ("%s: %s; time grows at most %.2f times (at %d; raw there %.2f), instructions %s")
    :format(series.title, word, worst.own, worst.size, worst.raw,
      most and ("%.2f"):format(most) or "were not counted")
end

--- A series' table; prints its lines and whether it is linear, which is noted.
local function run_series(series, job)
  local sheet = report.table { { series.title, 32 }, { "raw ns/" .. series.unit, -12 },
    { "growth", -6 }, { "module ns/" .. series.unit, -15 }, { "growth", -6 },
    { "CPU ns raw / module", 19 }, { "growth", -6 }, { "instructions", -12 }, { "growth", -6 } }
  job.say("\n" .. sheet:head())
  local least, all, last = {}, {}, nil
  for _, full in ipairs(series.sizes) do
    local size = scaled(full, job)
    if size ~= last then
      local raws, modules, instructions = measured(series, size, full, job)
      local cells
      cells, all[#all + 1] = texts(size, raws, modules, instructions, least)
      job.say(sheet:add(cells))
    end
    last = size
  end
  job.note(verdict(series, all))
  return sheet
end

--- Is it the name of a series, or of all?
function linear.has(name)
  if name == "linear" then return true end
  for _, series in ipairs(SERIES) do
    if series.name == name then return true end
  end
  return false
end

--- Measures the series of the name; the tables.
function linear.run(name, job)
  local sheets = {}
  for _, series in ipairs(SERIES) do
    if name == "linear" or name == series.name then
      sheets[#sheets + 1] = run_series(series, job)
    end
  end
  return sheets
end

return linear
