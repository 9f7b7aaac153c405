-- SPDX-License-Identifier: MIT
-- Readings of sensors, checked one by one: whether the sensor is known is looked up, and what is
-- right is stored, each by a statement that the server has parsed once.
local pg = require "pg"
local db <close> = assert(pg.connect())

-- Tables of this session alone, gone with it.
assert(db:execute [[
  CREATE TEMP TABLE sensors (name text PRIMARY KEY, lowest float8, highest float8);
  CREATE TEMP TABLE readings (sensor text REFERENCES sensors, value float8);
  INSERT INTO sensors VALUES ('boiler', 10, 95), ('cellar', -5, 30), ('roof', -40, 60)]])

local find <close> = assert(db:prepare "SELECT lowest, highest FROM sensors WHERE name = $1")
local store <close> = assert(db:prepare "INSERT INTO readings VALUES ($1, $2)")

-- What is wrong with a reading, or nil.
local function problem(reading)
  local sensor = assert(find:query(reading.sensor)).rows[1]
  if not sensor then return "unknown sensor" end
  if reading.value < sensor.lowest then return ("below %g"):format(sensor.lowest) end
  if reading.value > sensor.highest then return ("above %g"):format(sensor.highest) end
end

local names = { "boiler", "cellar", "roof", "attic" }
local refused = {}
for i = 1, 2000 do
  local reading = { sensor = names[i % 4 + 1], value = i * 37 % 100 }
  local reason = problem(reading)
  if reason then
    local text = reading.sensor .. ": " .. reason
    refused[text] = (refused[text] or 0) + 1
  else
    assert(store:execute(reading.sensor, reading.value))
  end
end

print("Stored:")
for row in db:each [[SELECT sensor, count(*) AS n, min(value), max(value) FROM readings
    GROUP BY sensor ORDER BY sensor]] do
  print(("  %-8s %4d readings, %g to %g"):format(row.sensor, row.n, row.min, row.max))
end
print "Refused:"
local reasons = {}
for reason in pairs(refused) do reasons[#reasons + 1] = reason end
table.sort(reasons)
for _, reason in ipairs(reasons) do print(("  %-24s %4d"):format(reason, refused[reason])) end
