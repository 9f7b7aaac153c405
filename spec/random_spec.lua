-- SPDX-License-Identifier: MIT
-- Random values of random types: what the module writes is what the server makes of SQL that says
-- the same, and it is read in text and in binary as it was.
local pg = require "pg"
local random_types = require "spec.random_types"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local values = require "spec.values"

local exactly, must, random = support.exactly, support.must, math.random

-- SEED=<the seed of a failure> repeats it; SECONDS=600 is a soak.
local seed = math.tointeger(tonumber(os.getenv "SEED")) or os.time()
local seconds = tonumber(os.getenv "SECONDS") or 8

local COLUMNS <const>, ROWS <const> = 8, 4

-- Some of these hold in each round.
local SETTINGS <const> = { { "DateStyle", "German" }, { "DateStyle", "SQL, DMY" },
  { "IntervalStyle", "sql_standard" }, { "TimeZone", "Asia/Kolkata" }, { "array_nulls", "off" },
  { "bytea_output", "escape" }, { "extra_float_digits", "-15" }, { "extra_float_digits", "3" },
  { "standard_conforming_strings", "off" } }

local server, db, version

setup(function()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
  version = tonumber(db:status().server:match "^%d+")
  values.create_paying(db)
end)

teardown(function()
  db:close()
  server:stop()
end)

local function shown(value)
  local text = pg.encode { value }
  return #text > 2000 and text:sub(1, 2000) .. "..." or text
end

local function expect(expected, value, where)
  if exactly(expected, value) then return end
  error(("%s: %s instead of %s"):format(where, shown(value), shown(expected)), 0)
end

-- The rows in text, and in binary once the types are known.
local function read(columns, from)
  local sql = values.unseen(("SELECT %s, decode('', 'hex')::paying AS paying FROM %s"):format(
    columns, from))
  local function rows() return must(db:query(sql)).rows end
  return { rows(), rows(), rows() }
end

local SAME <const> = "record_eq(ROW(%s), ROW(%s)) AND format('%%s', %s) = format('%%s', %s)"

local function same(one, other) return SAME:format(one, other, one, other) end

-- --- one value, for itself ------------------------------------------------------------------

-- What is wrong with a value that SQL makes, or nil.
local function problem(type, value)
  local expression = type.expression(value)
  local _, message = pcall(function()
    for _, rows in ipairs(read(expression .. " AS v", "(SELECT) AS nothing")) do
      expect({ { v = value, paying = "" } }, rows, "it is")
    end
    local sql = "SELECT " .. same("$1::" .. type.sql, expression) .. " AS same"
    expect(true, must(db:query(sql, value)).rows[1].same, "the parameter is the same")
  end)
  return message and ("%s;\nSELECT %s\nor $1::%s of %s: %s"):format(
    table.concat(random_types.needed(type, {}), ";\n"), expression, type.sql, shown(value),
    tostring(message))
end

-- The problem of a value, or of the smallest in it that has one.
local function smallest(type, value)
  local found, smaller = problem(type, value), nil
  if not found then return nil end
  if type.smaller then
    type.smaller(type, value, function(part, one) smaller = smaller or smallest(part, one) end)
  end
  return smaller or found
end

local function smallest_of(types, row)
  for i, type in ipairs(types) do
    local value = row["c" .. i]
    local found = value ~= nil and smallest(type, value)
    if found then return found end
  end
end

-- --- rows of a table ---------------------------------------------------------------------

-- A table of columns of random types, and as many that were dropped.
local function create(schema)
  local columns, definitions, dropped = {}, { "id int" }, {}
  for i = 1, COLUMNS do
    columns[i] = schema:any(1)
    definitions[#definitions + 1] = ("gone%d int, c%d %s"):format(i, i, columns[i].sql)
    dropped[i] = "DROP gone" .. i
  end
  must(db:execute "DROP SCHEMA IF EXISTS random CASCADE; CREATE SCHEMA random")
  must(db:execute "SET search_path TO random, public")
  for _, sql in ipairs(schema.create) do must(db:execute(sql)) end
  must(db:execute(("CREATE TABLE stored (%s); ALTER TABLE stored %s"):format(
    table.concat(definitions, ", "), table.concat(dropped, ", "))))
  return columns
end

-- The row as SQL that the server understands, and as parameters.
local function insert(columns, id, row)
  local names, expressions = { "id" }, { id }
  for i, type in ipairs(columns) do
    if row["c" .. i] ~= nil then
      names[#names + 1] = "c" .. i
      expressions[#expressions + 1] = type.expression(row["c" .. i])
    end
  end
  must(db:execute(("INSERT INTO stored (%s) SELECT %s"):format(table.concat(names, ", "),
    table.concat(expressions, ", "))))
  must(db:insert { table = "stored", columns = support.merge(row, { id = -id }), returning = "id" })
end

local function check(columns, id, row)
  local names, conditions, back = {}, {}, { id, n = #columns + 1 }
  for i, type in ipairs(columns) do
    names[i] = "c" .. i
    conditions[i] = ("%s AND %s AS c%d"):format(same("s.c" .. i, "p.c" .. i),
      same(("$%d::%s"):format(i + 1, type.sql), "s.c" .. i), i)
  end
  local expected = { support.merge(row, { paying = "" }) }
  for _, place in ipairs { id, -id } do
    local read_from = "stored WHERE id = " .. place
    for form, rows in ipairs(read(table.concat(names, ", "), read_from)) do
      expect(expected, rows, ("%s, read %d"):format(read_from, form))
      for i in ipairs(columns) do back[i + 1] = rows[1]["c" .. i] end
    end
  end
  local is_same = must(db:query { parameters = back, query = ("SELECT %s FROM stored AS s, "
    .. "stored AS p WHERE s.id = $1 AND p.id = - $1"):format(table.concat(conditions, ", ")) })
    .rows[1]
  for i in ipairs(columns) do expect(true, is_same["c" .. i], ("c%d passes back"):format(i)) end
end

-- Streams and COPY read all rows as they were, too.
local function check_streams(columns, stored)
  local names = {}
  for i in ipairs(columns) do names[i] = "c" .. i end
  local sql = ("SELECT %s FROM stored WHERE id > 0 ORDER BY id"):format(table.concat(names, ", "))
  for _, way in ipairs { "copy_rows", "each" } do
    local rows = {}
    for row in db[way](db, sql) do rows[#rows + 1] = row end
    expect(stored, rows, way)
  end
end

local function set()
  must(db:execute "RESET ALL")
  for _, setting in ipairs(SETTINGS) do
    if random(5) == 1 then must(db:execute(("SET %s TO '%s'"):format(setting[1], setting[2]))) end
  end
end

local function one_round()
  set()
  local schema = random_types.schema(db, version)
  local columns = create(schema)
  local stored = {}
  for id = 1, ROWS do
    local row = {}
    for i, type in ipairs(columns) do
      if random(8) > 1 then row["c" .. i] = type.make() end
    end
    stored[id] = row
    local ok, message = pcall(function()
      insert(columns, id, row)
      check(columns, id, row)
    end)
    if not ok then error(smallest_of(columns, row) or message, 0) end
  end
  check_streams(columns, stored)
end

describe("random values", function()
  it(("of random types are what the server says, both ways (seed %d)"):format(seed), function()
    local started, round = os.time(), seed
    repeat
      math.randomseed(round)
      local ok, message = pcall(one_round)
      if not ok then error(("SEED=%d: %s"):format(round, tostring(message)), 0) end
      round = round + 1
    until os.time() - started >= seconds
    assert.is_true(values.binary_count(db) >= round - seed)
  end)
end)
