-- SPDX-License-Identifier: MIT
-- A server that welcomes a client and then answers each statement with what the spec wants it to
-- say, true or not.
local mock = require "spec.fault.mock"
local pg = require "pg"

local impostor = {}

-- What connecting asks: the pid, that no pooler stands between, and extra_float_digits.
local SET_UP <const> = { columns = { { "pid", 23 }, { "digits", 23 } }, rows = { { "4711", "1" } } }

local function describe_columns(session, columns)
  local fields = {}
  for i, column in ipairs(columns) do
    fields[i] = string.pack(">zI4I2I4i2i4I2", column[1], 0, 0, column[2], -1, -1, column[3] or 0)
  end
  session:send("T", string.pack(">I2", #fields), table.concat(fields))
end

local function send_row(session, row)
  local cells = {}
  for i, cell in ipairs(row) do
    cells[i] = cell and string.pack(">s4", cell) or string.pack(">i4", -1)
  end
  session:send("D", string.pack(">I2", #cells), table.concat(cells))
end

local function send_answer(session, extended, answer)
  if answer.before then answer.before(session) end
  if extended then session:send("1") session:send("2") end
  if answer.columns then describe_columns(session, answer.columns) end
  for _, row in ipairs(answer.rows or {}) do send_row(session, row) end
  session:send("C", answer.tag or "SELECT 1", "\0")
  session:send("Z", "I")
end

local function serve(session, next_answer)
  if not session:startup() then return end
  session:welcome { server_version = "15.0", server_encoding = "UTF8", client_encoding = "UTF8",
    DateStyle = "ISO, MDY", IntervalStyle = "postgres", standard_conforming_strings = "on" }
  local answer = SET_UP
  while true do
    local kind = session:read(1)
    local length = kind and session:read(4)
    local body = length and session:read(string.unpack(">I4", length) - 4)
    if not body or kind == "X" then return end
    if kind == "Q" or kind == "S" then -- a simple statement; the end of an extended one
      send_answer(session, kind == "S", answer or next_answer())
      answer = nil
    end
  end
end

--- Calls body(ask, server): ask(answer, settings) gives what a query gives that is answered so. An
--- answer is { columns = { { name, oid, format } }, rows = { { bytes or false } }, tag =,
--- before = f(session) }. Statements are "statement 1", "statement 2" and so on.
function impostor.asked(body)
  local given
  local server <close> = mock.start(function(session)
    serve(session, function() return given end)
  end)
  mock.call(function()
    local db <close> = assert(pg.connect(server.options))
    local count = 0
    body(function(answer, settings)
      given, count = answer, count + 1
      return db:with(settings or {}):query("statement " .. count)
    end, server)
  end)
end

return impostor
