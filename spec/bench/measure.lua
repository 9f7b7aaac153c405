-- SPDX-License-Identifier: MIT
-- measure: runs the programs of the benchmarks (protocol.md), each time in a fresh process, and
-- counts their instructions.
local measure = {}
measure.__index = measure

local VALGRIND <const> = "valgrind --tool=callgrind --callgrind-out-file=/dev/null "

local function quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function exists(command)
  return os.execute(command .. " >/dev/null 2>&1") == true
end

measure.exists = exists

--- Of a throwaway server with TCP. `scale` multiplies the numbers of rows; `pinned`: the server on
--- the first core, the programs on the second.
function measure.new(server, scale, pinned)
  local words = { "unset PGSERVICE PGOPTIONS PGHOSTADDR PGAPPNAME; env", "PGSSLMODE=disable" }
  for key, name in pairs { host = "PGHOST", port = "PGPORT", user = "PGUSER",
    database = "PGDATABASE", password = "PGPASSWORD" } do
    words[#words + 1] = name .. "=" .. quote(server.tcp[key])
  end
  words[#words + 1] = "BENCH_SCALE=" .. scale
  words[#words + 1] = "LUA_PATH=" .. quote(package.path)
  words[#words + 1] = "LUA_CPATH=" .. quote(package.cpath)
  if pinned then words[#words + 1] = "taskset -c 1" end
  return setmetatable({ prefix = table.concat(words, " "), errors = os.tmpname(),
    counts = exists "valgrind --version" }, measure)
end

function measure:__close()
  os.remove(self.errors)
end

--- What a program prints, what it says on stderr, and whether it ended well.
local function run(self, tool, command, arguments)
  local pipe <close> = assert(io.popen(("%s %s%s %s 2>%s"):format(self.prefix, tool, command,
    arguments, self.errors)))
  local output = pipe:read "a"
  local ok = pipe:close()
  local file <close> = assert(io.open(self.errors))
  return output, file:read "a", ok
end

--- What a program answers: numbers; or nil for a work that it has not; or nil and its complaint.
local function ask(self, tool, command, arguments)
  local output, errors, ok = run(self, tool, command, arguments)
  if ok and output:find "^unsupported" then return nil end
  local units, wall, cpu, check, peak = output:match "^(%d+) ([%d.]+) ([%d.]+) (%S+) ?(%d*)"
  if not (ok and units) then
    return nil, ("%s %s failed: %s%s"):format(command, arguments, output, errors)
  end
  return { units = tonumber(units), wall = tonumber(wall), cpu = tonumber(cpu), check = check,
    peak = tonumber(peak) }, errors
end

local function arguments(work, times)
  return ("%s %d %s"):format(work.name, times, work.size or "")
end

--- Rounds of works ({ command=, name=, times=, size= }), interleaved, every other round the other
--- way round, so that what changes with time meets all alike: for each work a list of its rounds;
--- false where the program has it not; or its complaint, a string.
function measure:rounds(works, count, progress)
  local all = {}
  for i = 1, #works do all[i] = {} end
  for round = 1, count do
    progress(round)
    for k = 1, #works do
      local i = round % 2 == 1 and k or #works + 1 - k
      local work <const> = works[i]
      if type(all[i]) == "table" then
        local answer, complaint = ask(self, "", work.command, arguments(work, work.times))
        if answer then all[i][round] = answer else all[i] = complaint or false end
      end
    end
  end
  return all
end

--- Instructions a unit: of two runs, one of `few` and one of `many` repetitions, the difference, so
--- that starting, connecting and warming up do not count. Nil without valgrind.
function measure:instructions(work, few, many)
  if not self.counts then return nil end
  local counts, units = {}, {}
  for i, times in ipairs { few, many } do
    local answer, errors = ask(self, VALGRIND, work.command, arguments(work, times))
    local count = answer and errors:match "Collected : (%d+)"
    if not count then return nil end
    counts[i], units[i] = tonumber(count), answer.units
  end
  return (counts[2] - counts[1]) / (units[2] - units[1])
end

--- The middle, the least and the most of f(i) for i = 1, count.
function measure.median(count, f)
  local values = {}
  for i = 1, count do values[i] = f(i) end
  table.sort(values)
  local middle = (values[(count + 1) // 2] + values[count // 2 + 1]) / 2
  return middle, values[1], values[count]
end

return measure
