-- SPDX-License-Identifier: MIT
-- Keeps a table of the world's time zones up to date from a file of the tz database:
-- what is new there is inserted, what is known is updated, and nothing is there twice,
-- however often it runs and from however many places at once.
local pg = require "pg"
local db <close> = assert(pg.connect())

local path = (os.getenv "TZDIR" or "/usr/share/zoneinfo") .. "/zone1970.tab"

-- The table, in a schema of its own.
local function tidy() return db:execute "DROP SCHEMA IF EXISTS lua_pg_zones CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_zones;
  SET search_path TO lua_pg_zones;
  CREATE TABLE zones (
    id serial PRIMARY KEY, name text NOT NULL UNIQUE, countries text[] NOT NULL,
    latitude numeric(7, 4), longitude numeric(7, 4), remark text,
    note text, changed timestamptz NOT NULL DEFAULT now())]])

-- +DDMM, +DDDMM, +DDMMSS or +DDDMMSS as degrees.
local function degrees(text, digits)
  local sign, whole, minutes, seconds = text:match("^([+-])(" .. ("%d"):rep(digits)
    .. ")(%d%d)(%d*)$")
  local value = whole + minutes / 60 + (tonumber(seconds) or 0) / 3600
  return sign == "-" and -value or value
end

-- The file's lines as rows: "AT,DE<tab>+5230+01322<tab>Europe/Berlin<tab>a remark, or none"
local function read_zones()
  local file <close> = io.open(path) or error(path .. " is not there. Debian, Ubuntu: apt-get "
    .. "install tzdata; Fedora: dnf install tzdata; Alpine: apk add tzdata", 0)
  local rows = {}
  for line in file:lines() do
    local codes, latitude, longitude, name, remark =
      line:match "^([%u,]+)\t([+-]%d+)([+-]%d+)\t([^\t]+)\t?(.*)$"
    if codes then
      local countries = {}
      for code in codes:gmatch "%u+" do countries[#countries + 1] = code end
      rows[#rows + 1] = { name = name, countries = countries, latitude = degrees(latitude, 2),
        longitude = degrees(longitude, 3),
        remark = remark ~= "" and remark or pg.null } -- nil would keep the one that is stored
    end
  end
  return rows
end

local function load_zones(when)
  local result = assert(db:upsert("zones", read_zones(),
    { conflict = "name", set = { changed = pg.raw "now()" } })) -- `note` is not touched
  print(("%-13s %3d zones: %3d inserted, %3d updated"):format(when, result.rowCount,
    result.inserted, result.updated))
end

load_zones "First run:"

-- Time passes: somebody adds a note, a zone is lost, another gets a wrong country.
assert(db:update { table = "zones", set = { note = "our office" },
  where = { name = "Europe/Berlin" } })
assert(db:delete { table = "zones", where = { name = { "Asia/Tokyo", "America/Lima" } } })
assert(db:update { table = "zones", set = { countries = { "XX" } },
  where = { name = "Europe/Rome" } })
load_zones "Second run:"

print "\nThe zones that most countries share:"
local zones = assert(db:query [[
  SELECT name, cardinality(countries) AS n FROM zones ORDER BY n DESC, name LIMIT 5]]).rows
for _, zone in ipairs(zones) do print(("  %-20s %2d"):format(zone.name, zone.n)) end
local check = assert(db:query [[
  SELECT count(*) FILTER (WHERE 'XX' = ANY(countries)) AS wrong,
         count(*) FILTER (WHERE note IS NOT NULL) AS notes FROM zones]]).rows[1]
print(("%d with the wrong country, %d with a note"):format(check.wrong, check.notes))
