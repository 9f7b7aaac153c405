-- SPDX-License-Identifier: MIT
-- Random rows of random values: written by insert, read in text and in binary, and compared by the
-- server with what was read.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local exactly, null, random = support.exactly, pg.null, math.random

-- Repeat a failed run with RANDOM_SEED=<the seed in the test's name>; RANDOM_ROWS=20000 for a soak.
local seed = math.tointeger(tonumber(os.getenv "RANDOM_SEED")) or os.time()
local rows = math.tointeger(tonumber(os.getenv "RANDOM_ROWS")) or 60

local PIECES <const> = { "a", "Z", " ", '"', "\\", ",", "{", "}", "'", "NULL", "é", "世",
  "\u{1f600}", "\n", "\t", ";", "(", ")", "$1", "%", "[1:2]=", "\\x" }

local function many(most, piece)
  local list = {}
  for i = 1, random(0, most) do list[i] = piece() end
  return table.concat(list)
end

local function text()
  return many(12, function() return PIECES[random(#PIECES)] end)
end

local function bytes()
  return many(20, function() return string.char(random(0, 255)) end)
end

-- Of any size, large and small alike.
local function integer(bits)
  local value = random(0) >> random(0, 63)
  if random(2) == 1 then value = ~value end
  local half = 1 << bits - 1
  return (value + half & 2 * half - 1) - half
end

local function long() return integer(64) end
local function boolean() return random(2) == 1 end
local function float() return (string.unpack("<d", string.pack("<i8", random(0)))) end
local function fraction() return random() end

local function numeric()
  local digits = random(0, 9) .. many(40, function() return tostring(random(0, 9)) end)
  local value = digits:gsub("^0+(%d)", "%1")
  if random(2) == 1 then value = value .. "." .. digits end
  return (random(2) == 1 and value:find "[1-9]" and "-" or "") .. value
end

local function json(depth)
  local kind = random(depth > 3 and 6 or 8)
  if kind == 1 then return null end
  if kind == 2 then return boolean() end
  if kind == 3 then return long() end
  if kind == 4 then return (random() - 0.5) * 10.0 ^ random(-20, 20) end
  if kind < 7 then return text() end
  local value = {}
  for i = 1, random(0, 4) do value[kind == 7 and i or text() .. i] = json(depth + 1) end
  return kind == 7 and pg.array(value) or value
end

-- A list of such values and NULLs, or a list of lists.
local function list(element)
  local function line(wide)
    local value = {}
    for i = 1, wide do value[i] = random(5) == 1 and null or element() end
    return value
  end
  return function()
    local wide = random(0, 4)
    if wide < 3 then return line(wide) end
    local value = {}
    for i = 1, random(1, 3) do value[i] = line(wide) end
    return value
  end
end

local function between(least, most)
  return function() return random(least, most) end
end

-- Seconds before and after a moment.
local function seconds() return (random() - 0.5) * 10.0 ^ random(-6, 11) end

-- A column's type, and the value that is sent and has to come back as it was sent; or what the
-- server makes a value of, and from which numbers.
local COLUMNS <const> = {
  { "boolean", boolean },
  { "int2", function() return integer(16) end },
  { "int4", function() return integer(32) end },
  { "int8", long },
  { "oid", between(0, 2 ^ 32 - 1) },
  { "float8", float },
  { "numeric", numeric },
  { "text", text },
  { "bytea", bytes },
  { "jsonb", function() return { json(0) } end },
  { "json", function() return { key = json(0) } end },
  { "int8[]", list(long) },
  { "float8[]", list(float) },
  { "text[]", list(text) },
  { "bytea[]", list(bytes) },
  { "numeric[]", list(numeric) },
  { "bool[]", list(boolean) },
  { "jsonb[]", function() return { { json(0) }, null, { a = json(0) } } end },
  { "float4", sql = "($1::float8 * 10 ^ $2::int)::float4", fraction, between(-37, 38) },
  { "date", sql = "date '2000-01-01' + $1::int", between(-2451545, 2145031948) },
  { "time", sql = "time '00:00' + $1::float8 * interval '24 hours'", fraction },
  { "timetz", sql = "(time '00:00' + $1::float8 * interval '24 hours')::text::timetz AT TIME ZONE "
    .. "make_interval(secs => $2)", fraction, between(-57599, 57599) },
  { "timestamp", sql = "timestamp '2000-01-01' + $1::float8 * interval '1 second'", seconds },
  { "timestamptz", sql = "timestamptz '2000-01-01 00:00Z' + $1::float8 * interval '1 second'",
    seconds },
  { "interval", sql = "make_interval(months => $1, days => $2, secs => $3)",
    function() return integer(32) end, function() return integer(32) end,
    function() return seconds() / 100 end },
  { "uuid", sql = "md5($1::text)::uuid", fraction },
  { "inet", sql = "'0.0.0.0'::inet + $1::int8", between(0, 2 ^ 32 - 1) },
  { "timestamptz[]", sql = "ARRAY[NULL, to_timestamp($1)]", function() return seconds() / 10 end },
}

describe("random rows", function()
  local server, db

  setup(function()
    server = assert(throwaway.start {})
    db = assert(pg.connect(server.options))
  end)

  teardown(function()
    db:close()
    server:stop()
  end)

  local function value_for(column)
    if not column.sql then return column[2]() end
    local numbers = {}
    for i = 2, #column do numbers[i - 1] = column[i]() end
    return support.value(db, "SELECT " .. column.sql, table.unpack(numbers))
  end

  local function create_table()
    local definitions, comparisons = {}, {}
    for i, column in ipairs(COLUMNS) do
      local cast = column[1] == "json" and "::jsonb" or ""
      definitions[i] = ("c%d %s"):format(i, column[1])
      comparisons[i] = ("c%d%s IS NOT DISTINCT FROM $%d::%s%s AS c%d"):format(i, cast, i + 1,
        column[1], cast, i)
    end
    assert(db:execute(("CREATE TABLE stored (id bigserial PRIMARY KEY, %s)"):format(
      table.concat(definitions, ", "))))
    return ("SELECT %s FROM stored WHERE id = $1"):format(table.concat(comparisons, ", "))
  end

  local function check(n, comparison)
    local row = {}
    for i, column in ipairs(COLUMNS) do
      if random(8) > 1 then row["c" .. i] = value_for(column) end
    end
    local id = assert(db:insert("stored", row)).insertedId
    -- the second run of a text comes in binary, since a column of bytea pays
    local read = "SELECT *, '\\x'::bytea AS paying FROM stored WHERE id = $1 -- " .. n
    local parameters = { id, n = #COLUMNS + 1 }
    for _, form in ipairs { "text", "binary" } do
      local found = assert(db:query(read, id)).rows[1]
      for i, column in ipairs(COLUMNS) do
        local name = "c" .. i
        assert(exactly(row[name], found[name]), ("row %d, %s in %s: %s instead of %s"):format(n,
          column[1], form, pg.encode { found[name] }, pg.encode { row[name] }))
        parameters[i + 1] = found[name]
      end
    end
    local same = assert(db:query { query = comparison, parameters = parameters }).rows[1]
    for i, column in ipairs(COLUMNS) do
      assert.is_true(same["c" .. i], ("row %d, %s: %s does not pass back"):format(n, column[1],
        pg.encode { row["c" .. i] }))
    end
  end

  it(("come back as they were stored, in text and in binary (seed %d)"):format(seed), function()
    math.randomseed(seed)
    local comparison = create_table()
    for n = 1, rows do check(n, comparison) end
  end)
end)
