-- SPDX-License-Identifier: MIT
-- What a connection and its server say to each other, by libpq's own trace (spec/fault/trace.c),
-- and how often the client waits meanwhile.
local support = require "spec.support"

local trace = {}

--- The client has said all that it had to say, and waits for the answer.
---@class Trip
---@field sent string the messages by name, a space between two; none that carries rows
---@field got string
---@field bytes { sent: integer, got: integer }
---@field text string all of it

-- A message's length does not count the letter before it.
local LETTER <const> = 1

-- Rows, of any number. libpq before 17 has no name for those of COPY.
local ROWS <const> = { DataRow = true, CopyData = true, [""] = true }

--- The module, compiled into a new folder; answers a function that removes that.
function trace.load()
  local folder <const> = support.folder()
  local path = support.compile(folder, "spec/fault/trace.c", "-fPIC -shared -Isrc "
    .. "$(pkg-config --cflags lua5.4 2>/dev/null || pkg-config --cflags lua) "
    .. "$(pkg-config --cflags --libs libpq 2>/dev/null || echo -I$(pg_config --includedir) -lpq)")
  trace.begin = assert(package.loadlib(path, "luaopen_trace"))()
  return function() os.execute("rm -rf '" .. folder .. "'") end
end

local function add(trip, side, name, length)
  trip.bytes[side] = trip.bytes[side] + math.tointeger(length) + LETTER
  if not ROWS[name] then trip[side] = trip[side] == "" and name or trip[side] .. " " .. name end
end

--- The trips of a trace. One that sends nothing is the answer to what was sent before, without
--- waiting.
---@param text string
---@return Trip[]
function trace.trips(text)
  local trips, trip, before = {}, nil, nil
  for line in text:gmatch "[^\n]*\n" do
    local from, length, name = line:match "^([FB])\t(%d+)\t(%a*)" -- or an SQL text goes on
    if from and (not trip or from == "F" and before == "B") then
      trip = { sent = "", got = "", bytes = { sent = 0, got = 0 }, text = "" }
      trips[#trips + 1] = trip
    end
    if from then add(trip, from == "F" and "sent" or "got", name, length) end
    before = from or before
    trip.text = trip.text .. line
  end
  return trips
end

--- Follows a connection: a function that answers the trips since it was called last.
---@return fun(): Trip[]
function trace.follow(db)
  local file <const> = trace.begin(db)
  local at = 0
  return function()
    assert(file:seek("set", at))
    local text = file:read "a"
    at = file:seek "end"
    return trace.trips(text)
  end
end

return trace
