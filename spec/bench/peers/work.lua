-- SPDX-License-Identifier: MIT
-- work: what the Lua programs share: arguments, statements, the rows that are sent, checks, clocks.
-- Runs with Lua 5.4 and with LuaJIT; the clock is LuaSocket's.
local gettime = require("socket").gettime

local name, times = arg[1], tonumber(arg[2])
local work = { name = name }

local file = assert(io.open(arg[0]:gsub("[^/]*$", "") .. "sql.json"))
local SQL = require("cjson").decode(file:read "*a")
file:close()
work.sql, work.truncate = SQL[name], SQL.truncate

local MANY = { insert = true, copy_in = true }
local SENT = { insert = true, copy_in = true, singly = true, pipeline = true }

local function count(full)
  return math.max(1, math.floor(full * tonumber(os.getenv "BENCH_SCALE" or 1)))
end

--- The rows that this workload sends: none where it reads.
work.records = {}
for i = 0, SENT[name] and count(MANY[name] and 100000 or 10000) - 1 or -1 do
  work.records[i + 1] = {
    level = i % 9 > 0 and "info" or "error", message = "some message " .. i,
    created_at = ("2026-01-15T10:30:%02d"):format(i % 60),
  }
end

--- Calls f(records, first, last) for each statement's share.
function work.batches(f)
  local step, records = count(10000), work.records
  for first = 1, #records, step do f(records, first, math.min(first + step - 1, #records)) end
end

--- The column `key` of a batch.
function work.column(records, first, last, key)
  local values = {}
  for i = first, last do values[i - first + 1] = records[i][key] end
  return values
end

--- The records as COPY's text.
function work.lines()
  local lines = {}
  for i, row in ipairs(work.records) do
    lines[i] = ("%s\t%s\t%s\n"):format(row.level, row.message, row.created_at)
  end
  return table.concat(lines)
end

-- What a client leaves as text -----------------------------------------------

local function list(text)
  local values, n = {}, 0
  for value in text:gmatch "[^{},]+" do
    n = n + 1
    values[n] = tonumber(value)
  end
  return values
end

--- { column, decoder } for the columns of this workload that such clients give as text.
work.text = ({
  int_arrays = { list = list }, float_arrays = { list = list },
  jsonb = { doc = function(text) return require("cjson").decode(text) end },
})[name]

-- Checks ----------------------------------------------------------------------

local function whole(number)
  return number < 0 and math.ceil(number) or math.floor(number)
end

local function bytes(row) return #row.data + row.data:byte(1) + row.data:byte(-1) end

local function elements(row)
  local sum = 0
  for _, value in ipairs(row.list) do sum = sum + whole(value) end
  return sum
end

local function record(row)
  return row.id + #row.name + whole(row.score) + (row.active and 1 or 0)
end

local CHECKS = {
  rows = record, each = record,
  rows_array = function(row) return row[1] + #row[2] + whole(row[3]) + (row[4] and 1 or 0) end,
  catalog = function(row) return row.oid + #row.typname + (row.typbyval and 1 or 0) end,
  typed = function(row) return row.id + whole(row.amount) + tonumber(row.at:sub(18, 19)) end,
  int_arrays = elements, float_arrays = elements, bytea_1mb = bytes, bytea_10kb = bytes,
  jsonb = function(row) return row.doc.number + row.doc.user.age end,
  held = function(row) return row.id end,
}

local function check(rows)
  local sum, value = 0, CHECKS[name]
  for _, row in ipairs(rows) do sum = sum + value(row) end
  return sum
end

local function memory(field)
  for line in io.lines "/proc/self/status" do
    local kb = line:match("^" .. field .. ":%s*(%d+)")
    if kb then return tonumber(kb) end
  end
end

--- The check of the workload by its warm-up; nil where the timed part gives it.
local function warm_up(client, repetition)
  if name == "held" or name == "streamed" then return nil end
  if name == "int" or name == "lookup" then
    for i = 0, 9 do repetition(i) end
  elseif name == "each" then
    local rows = {}
    repetition(0, rows)
    return check(rows)
  else
    local _, result = repetition(0)
    if SENT[name] then return tonumber(client.ask(SQL.check)) end
    return type(result) == "table" and check(result) or result
  end
end

--- client[name](i) returns the units of a repetition and its result: the value of `int` and
--- `lookup`, the rows (`each` puts them into its second argument, if any), the sum of `streamed`,
--- the bytes of `copy_out`; client.ask(statement) returns one value, as text or number.
function work.main(client)
  local repetition = client[name]
  if not repetition then
    print "unsupported"
    os.exit(0)
  end
  local idle, checked = memory "VmRSS", warm_up(client, repetition)
  local units, sum, rows = 0, 0, nil
  local wall, cpu = gettime(), os.clock()
  for i = 0, times - 1 do
    local n, result = repetition(i)
    units = units + n
    if type(result) == "number" then sum = sum + result else rows = result end
  end
  wall, cpu = gettime() - wall, os.clock() - cpu
  local peak = not checked and name ~= "int" and name ~= "lookup"
  print(("%d %.6f %.6f %.0f%s"):format(units, wall, cpu,
    checked or name == "held" and check(rows) or sum,
    peak and " " .. memory "VmHWM" - idle or ""))
end

return work
