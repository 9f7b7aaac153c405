-- SPDX-License-Identifier: MIT
-- compare: the module beside the floor and the peers, line by line. Each ratio is the median of
-- the ratios of the rounds, with the least and the most of them: how far apart they lie is what
-- the ratio is worth. Each speed is the median of the speeds.
local measure = require "spec.bench.measure"
local report = require "spec.bench.report"

local compare = {}

local MET <const> = 13 -- the column

local count, digits <const> = report.count, report.digits

local function pair(a, b, form)
  if not (a and b) then return "" end
  return ("%s / %s"):format(form(a), form(b))
end

local function heads(peers)
  local list = { { "workload", 31 }, { "unit", 9 }, { "raw/s", -6 }, { "module/s", -8 },
    { "ratio", -5 }, { "min..max", 10 }, { "CPU us raw / module", 19 }, { "ratio", -5 },
    { "instr. raw / module", 19 }, { "ratio", -5 }, { "peak MB", 9 }, { "aim", 28 },
    { "met", 9 } }
  for _, peer in ipairs(peers) do
    list[#list + 1] = { peer.name .. "/s", -math.max(6, #peer.name + 2) }
  end
  return list
end

local function speed(rounds)
  return (measure.median(#rounds, function(i) return rounds[i].units / rounds[i].wall end))
end

local function cpu(rounds) -- microseconds a unit
  return (measure.median(#rounds, function(i) return rounds[i].cpu / rounds[i].units * 1e6 end))
end

--- What is wrong with a program's answers beside the module's: all did the same work.
local function disagreement(rounds, others)
  for i, round in ipairs(rounds) do
    local other = others[i]
    if round.units ~= other.units then
      return ("%d units, not %d"):format(round.units, other.units)
    elseif round.check ~= other.check and round.check ~= "-" and other.check ~= "-" then
      return ("check %s, not %s"):format(round.check, other.check)
    end
  end
end

local function fastest(aim, speeds)
  local best, name
  for i = 2, #aim do
    local found = speeds[aim[i]]
    if found and found > (best or 0) then best, name = found, aim[i] end
  end
  return best, name
end

--- The aims of a line in words, and whether they were met; in brackets what cannot be judged here.
local function judge(aims, m, speeds)
  local words, missed, judged = {}, {}, false
  local function one(key, form, value, good)
    local aim = aims[key]
    local text = form:format(type(aim) == "table" and aim[1] or aim)
    words[#words + 1] = value and text or "(" .. text .. ")"
    if not value then return end
    judged = true
    if not good(value) then missed[#missed + 1] = key end
  end
  local function at_most(key)
    return function(value) return value <= aims[key] end
  end
  if aims.ratio then one("ratio", ">=%g", m.ratio, function(v) return v >= aims.ratio end) end
  if aims.cpu then one("cpu", "CPU<=%g", m.cpu_ratio, at_most "cpu") end
  if aims.instr then one("instr", "instr<=%g", m.instr_ratio, at_most "instr") end
  if aims.memory then one("memory", "<=%g MB", m.peak, at_most "memory") end
  if aims.peers then
    local best, name = fastest(aims.peers, speeds)
    one("peers", ">=%gx " .. (name or table.concat(aims.peers, "/", 2)), best and m.speed / best,
      function(v) return v >= aims.peers[1] end)
  end
  local met = not judged and "" or #missed == 0 and "yes" or "no: " .. table.concat(missed, " ")
  return table.concat(words, " "), met
end

--- The works of a line: the floor's, the module's, the peers'.
local function works(line, times, programs, peers)
  local list = {
    { command = programs[line.by or "raw"], name = line.floor or line.name, times = times },
    { command = programs.module, name = line.name, times = times },
  }
  for i, peer in ipairs(peers) do
    list[i + 2] = { command = peer.command, name = line.name, times = times }
  end
  return list
end

local function must(rounds, who)
  if type(rounds) == "table" then return rounds end
  error(who .. ": " .. (rounds or "it has no such work"), 0)
end

--- The speeds of the peers by name, and their cells; what was wrong with one is noted.
local function peers_of(all, modules, peers, line, job)
  local speeds, cells = {}, {}
  for i, peer in ipairs(peers) do
    local rounds = all[i + 2]
    local wrong = type(rounds) == "string" and rounds
      or rounds and disagreement(rounds, modules)
    if wrong then
      job.note(("%s, %s: %s"):format(peer.name, line.name, wrong))
    elseif rounds then
      speeds[peer.name] = speed(rounds)
    end
    cells[i] = wrong and "wrong" or rounds and count(speeds[peer.name]) or "-"
  end
  return speeds, cells
end

local function numbers(floors, modules, a, b)
  local rounds = #modules
  local m = { speed = speed(modules), floor = speed(floors), cpu = cpu(modules),
    floor_cpu = cpu(floors), instr = b, floor_instr = a, instr_ratio = a and b and b / a }
  m.ratio, m.least, m.most = measure.median(rounds, function(i)
    return floors[i].wall / modules[i].wall
  end)
  m.cpu_ratio = measure.median(rounds, function(i) return modules[i].cpu / floors[i].cpu end)
  local function megabytes(list)
    return (measure.median(rounds, function(i) return (list[i].peak or 0) / 1024 end))
  end
  m.peak, m.floor_peak = megabytes(modules), megabytes(floors)
  return m
end

local function texts(line, m, speeds)
  local aim, met = judge(line.aims or {}, m, speeds)
  return { line.title, line.unit, count(m.floor), count(m.speed), digits(m.ratio),
    digits(m.least) .. ".." .. digits(m.most), pair(m.floor_cpu, m.cpu, digits),
    digits(m.cpu_ratio), pair(m.floor_instr, m.instr, count), digits(m.instr_ratio),
    line.once and pair(m.floor_peak, m.peak, digits) or "", aim, met }
end

--- Measures a line; its cells, or why it is skipped. Raises where the module or the floor fail or
--- do not agree.
local function measured(line, peers, job)
  local times = line.times
  if line.unit == "queries" then times = math.max(1, math.floor(times * job.scale)) end
  local list = works(line, times, job.programs, peers)
  local all = job.measure:rounds(list, job.rounds, function(round)
    job.progress(("%s: round %d of %d"):format(line.name, round, job.rounds))
  end)
  if all[1] == false and line.by == "module" then
    return nil, line.title:match "beside ([%w-]+)" .. ": not installed, skipped"
  end
  local floors, modules = must(all[1], "the floor"), must(all[2], "the module")
  local wrong = disagreement(floors, modules)
  if wrong then error(("%s: the floor and the module disagree: %s"):format(line.name, wrong), 0) end
  local a, b
  if job.instructions and not line.once then
    job.progress(line.name .. ": instructions")
    local few, many = 1, line.counted or 3
    if line.unit == "queries" then few, many = 500, 3000 end
    a = job.measure:instructions(list[1], few, many)
    b = job.measure:instructions(list[2], few, many)
  end
  local speeds, of_peers = peers_of(all, modules, peers, line, job)
  local cells = texts(line, numbers(floors, modules, a, b), speeds)
  table.move(of_peers, 1, #of_peers, MET + 1, cells)
  if job.scale ~= 1 then cells[MET] = "" end
  return cells
end

--- Measures the lines one by one, printing each; peers where their work stands first. Answers the
--- table.
function compare.run(lines, job)
  local sheet, seen = report.table(heads(job.peers)), {}
  job.say(sheet:head())
  for _, line in ipairs(lines) do
    local cells, skipped = measured(line, seen[line.name] and {} or job.peers, job)
    seen[line.name] = true
    if cells then job.say(sheet:add(cells)) else job.note(skipped) end
  end
  return sheet
end

return compare
