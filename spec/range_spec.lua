-- SPDX-License-Identifier: MIT
-- Ranges and multiranges: as results in text and in binary, as parameters, what is refused before
-- anything is sent, and bytes that are none.
local pg = require "pg"
local codecs = require "spec.codecs"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local values = require "spec.values"

local null, exactly, failed, same = pg.null, support.exactly, support.failed, support.same

local server, db

setup(function()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
  values.create_paying(db)
  assert(db:execute [[
    CREATE TYPE words AS RANGE (subtype = text);
    CREATE TYPE floats AS RANGE (subtype = float8);
    CREATE TYPE place AS (street text, number int);
    CREATE TYPE places AS RANGE (subtype = place);
    CREATE DOMAIN age AS int;
    CREATE TYPE ages AS RANGE (subtype = age);
    CREATE DOMAIN span AS int4range CHECK (upper(VALUE) < 100)]])
end)

teardown(function()
  db:close()
  server:stop()
end)

local function value(sql, ...)
  return support.value(db, sql, ...)
end

local function range(lower, upper, bounds)
  return { lower = lower, upper = upper, bounds = bounds or "[)" }
end

describe("a range", function()
  local empty <const> = { empty = true }
  local cases = {
    -- type, literal, value
    { "int4range", "empty", empty }, { "int4range", "(,)", { bounds = "()" } },
    { "int4range", "[1,]", { lower = 1, bounds = "[)" } },
    { "int4range", "(,5]", { upper = 6, bounds = "()" } },
    { "int4range", "[-2147483648,2147483647)", range(-2147483648, 2147483647) },
    { "int8range", "[9223372036854775806,9223372036854775807)",
      range(math.maxinteger - 1, math.maxinteger) },
    { "numrange", "(1.50,2]", range("1.50", "2", "(]") },
    { "daterange", "[2026-01-15,infinity]", range("2026-01-15", "infinity", "[]") },
    { "tstzrange", "[2026-01-15 10:30Z,)", { lower = "2026-01-15T10:30:00Z", bounds = "[)" } },
    { "floats", "(-infinity,NaN]", range(-math.huge, 0 / 0, "(]") },
    { "floats", "[-0,0.1]", range(-0.0, 0.1, "[]") },
    { "words", '["",a)', range("", "a") },
    { "words", [==[["a \"b\" \\c, d","x)(]["""]]==], range([[a "b" \c, d]], 'x)(]["', "[]") },
    { "words", "[NULL,null]", range("NULL", "null", "[]") },
    { "words", '[" ","é\n"]', range(" ", "é\n", "[]") },
    { "places", [[["(""a """"b"""""",1)","(c,)")]], range({ street = 'a "b"', number = 1 },
      { street = "c" }) },
    { "ages", "[1,2]", range(1, 2, "[]") },
    { "span", "[1,2]", range(1, 3) },
  }

  for i, case in ipairs(cases) do
    local kind, literal, expected = table.unpack(case)
    it(("R16: %s %s is the same in text and binary and passes back (%d)"):format(kind,
      literal:gsub("%c", " "), i), function()
      local sql = ("'%s'::%s"):format(literal, kind)
      local columns = ("%s AS one, ARRAY[%s, NULL]::%s[] AS list"):format(sql, sql, kind)
      for _, row in ipairs { values.both(db, columns) } do
        assert.is_true(exactly(expected, row.one), pg.encode(row.one))
        assert.is_true(exactly({ expected, null }, row.list), pg.encode(row.list))
        local back = ("SELECT $1::%s IS NOT DISTINCT FROM %s AND $1::%s::text = %s::text "
          .. "AND $2::%s[] IS NOT DISTINCT FROM ARRAY[%s, NULL]::%s[]"):format(kind, sql, kind, sql,
          kind, sql, kind)
        assert.is_true(value(back, row.one, row.list))
      end
    end)
  end

  it("arrives in binary where the statement is binary", function()
    local before = values.binary_count(db)
    values.both(db, "'[1,2)'::int4range AS a, '{[1,2)}'::int4multirange AS b, "
      .. "ARRAY['[1,2)'::words] AS c, '[a,b)'::words AS d")
    assert.equal(1, values.binary_count(db) - before)
  end)

  it("has defaults: bounds of [), and what is absent or pg.null is infinite", function()
    for text, given in pairs {
      ["[1,5)"] = { lower = 1, upper = 5 }, ["[1,)"] = { lower = 1, upper = null }, ["(,)"] = {},
      ["[2,6)"] = { lower = 1, upper = 5, bounds = "(]" }, ["[7,8)"] = { lower = "7", upper = 8.0 },
      ["empty"] = { empty = true }, ["[3,)"] = { lower = 3, empty = false },
      ["(,9)"] = { upper = pg.typed("9", "int4") },
    } do
      assert.equal(text, value("SELECT $1::int4range::text", given))
      same({ text }, value("SELECT $1::int4range[]::text[]", { given }))
    end
    assert.equal("[1,6)", value("SELECT $1::int4range::text", "[1,5]"))
    assert.equal('{"[1,6)",empty}', value("SELECT $1::int4range[]::text", { "[1,5]", "empty" }))
  end)

  it("P15: has its type said where the SQL leaves it open", function()
    for kind, text in pairs { int4range = "[1,5)", numrange = "[1,5)", int8range = "[1,5)" } do
      local given = { lower = 1, upper = 5 }
      assert.equal(kind, value("SELECT pg_typeof($1)::text", pg.typed(given, kind)))
      assert.equal(text, value("SELECT $1::text", pg.typed(given, kind)))
      assert.equal(kind .. "[]", value("SELECT pg_typeof($1)::text", pg.array({ given }, kind)))
      same({ text }, value("SELECT $1::text[]", pg.typed({ given }, kind .. "[]")))
    end
  end)

  local refused = {
    { "int4range", { lower = true }, ".lower: a boolean does not fit the type integer" },
    { "int4range", { upper = 1.5 }, ".upper: 1.5 does not fit the type integer" },
    { "int4range", { upper = 1 << 31 }, ".upper: 2147483648 does not fit the type integer" },
    { "int4range", { lower = {} }, ".lower: a table does not fit the type integer" },
    { "int4range", { lower = print }, ".lower: cannot send a function" },
    { "int4range", { lower = "\0" }, ".lower: a text cannot hold a NUL byte (only bytea can; "
      .. "pg.bytea(s) says so)" },
    { "int4range", { lower = 1, upper = 2, bounds = "[" },
      ': bounds must be one of "[)", "[]", "(]" and "()"' },
    { "int4range", { bounds = 1 }, ': bounds must be one of "[)", "[]", "(]" and "()"' },
    { "int4range", { low = 1 }, ": a range has no 'low'; it has lower, upper, bounds or empty" },
    { "int4range", { ["lower\0"] = 1 },
      ": a range has no 'lower'; it has lower, upper, bounds or empty" },
    { "int4range", { 1, 5 }, ": a range is {lower =, upper =, bounds =}, not a list" },
    { "int4range", { empty = true, lower = 1 }, ": a range that is empty has no bounds" },
    { "int4range", { empty = 1 }, ": empty must be true or false" },
    { "int4range[]", { { lower = 1 }, { lower = false } },
      "[2].lower: a boolean does not fit the type integer" },
    { "places", { lower = { number = "x", street = print } },
      ".lower.street: cannot send a function" },
    { "int4multirange", { { lower = 1 }, null }, "[2]: a multirange cannot hold NULL" },
    { "int4multirange", { { lower = 1 }, 5 }, "[2]: 5 does not fit the type int4range" },
    { "int4multirange", { lower = 1 }, ": a table with keys where a sequence is wanted" },
    { "int4multirange[]", { { { lower = 1 }, { upper = {} } } },
      "[1][2].upper: a table does not fit the type integer" },
  }
  for _, case in ipairs(refused) do
    it(("is refused with its place, as %s: %s"):format(case[1], case[3]), function()
      local err = failed("invalid_parameter", db:query(("SELECT $1::%s"):format(case[1]), case[2]))
      assert.equal("parameter $1" .. case[3], err.message)
      assert.equal(1, err.parameter)
    end)
  end

  it("is stored by insert, update, upsert and where", function()
    assert(db:execute [[
      CREATE TABLE bookings (id int PRIMARY KEY, at int4range, all_ int4multirange)]])
    assert(db:insert("bookings", { id = 1, at = range(1, 5), all_ = { range(1, 2), range(4, 5) } }))
    assert(db:update { table = "bookings", set = { at = range(2, 5) },
      where = { at = range(1, 5) } })
    assert(db:upsert("bookings", { { id = 1, at = { empty = true } }, { id = 2, at = range(7) } }))
    same({ { id = 1, at = { empty = true }, all_ = { range(1, 2), range(4, 5) } },
      { id = 2, at = { lower = 7, bounds = "[)" } } },
      assert(db:query "SELECT * FROM bookings ORDER BY id").rows)
  end)

  it("is an object in JSON", function()
    local row = assert(db:query([[SELECT '[1,5)'::int4range AS a, 'empty'::int4range AS b,
      '{}'::int4multirange AS c]])).rows[1]
    same({ a = range(1, 5), b = { empty = true }, c = {} },
      value("SELECT $1::jsonb", pg.encode(row)))
    assert.equal("[]", pg.encode(row.c))
  end)
end)

describe("a multirange", function()
  local cases = {
    { "int4multirange", "{}", {} }, { "int4multirange", "{(,)}", { { bounds = "()" } } },
    { "int4multirange", "{[1,2),[5,)}", { range(1, 2), { lower = 5, bounds = "[)" } } },
    { "nummultirange", "{(1.5,2],[3,4]}", { range("1.5", "2", "(]"), range("3", "4", "[]") } },
    { "tsmultirange", '{["2026-01-15 10:30:00","2026-01-16 00:00:00"]}',
      { range("2026-01-15T10:30:00", "2026-01-16T00:00:00", "[]") } },
    { "multiwords", [[{["a,\"b\"","c}"),[d,"e)]("]}]], { range('a,"b"', "c}"),
      range("d", "e)](", "[]") } },
  }
  for i, case in ipairs(cases) do
    local kind, literal, expected = table.unpack(case)
    it(("R16: %s is the same in text and binary and passes back (%d)"):format(kind, i), function()
      if not values.known(db, { since = 14 }) then return pending "needs PostgreSQL 14" end
      if kind == "multiwords" then
        kind = value [[SELECT rngmultitypid::regtype::text FROM pg_range
          WHERE rngtypid = 'words'::regtype]]
      end
      local sql = ("'%s'::%s"):format(literal, kind)
      local columns = ("%s AS one, ARRAY[%s, NULL]::%s[] AS list, ARRAY[ARRAY[%s], ARRAY[%s]] "
        .. "AS two"):format(sql, sql, kind, sql, sql)
      for _, row in ipairs { values.both(db, columns) } do
        same(expected, row.one)
        same({ expected, null }, row.list)
        same({ { expected }, { expected } }, row.two)
        assert.is_true(value(("SELECT $1::%s = %s AND $2::%s[] IS NOT DISTINCT FROM "
          .. "ARRAY[%s, NULL]::%s[] AND $3::%s[] = ARRAY[ARRAY[%s], ARRAY[%s]]"):format(kind, sql,
          kind, sql, kind, kind, sql, sql), row.one, row.list, row.two))
      end
      same(expected, value(("SELECT $1::%s"):format(kind), literal))
    end)
  end
end)

describe("the bytes of a range", function()
  local module, remove

  setup(function() module, remove = codecs.load() end)
  teardown(function() remove() end)

  local words <const> = { kind = "range", name = "words", part = "text" }
  local all <const> = { kind = "multirange", part = words }
  local wrong = {
    { words, "text", "" }, { words, "text", "[a" }, { words, "text", "[a,b" },
    { words, "text", "a,b)" }, { words, "text", "[a,b)x" }, { words, "text", "[a)" },
    { words, "text", '["a,b)' }, { words, "text", "[a,b\\" }, { words, "text", "emptyy" },
    { "int4range", "text", "[a,1)" }, { "int4range", "text", '["",1)' },
    { "int4range", "text", "[,x)" },
    { all, "text", "" }, { all, "text", "{" }, { all, "text", "{[a,b)" },
    { all, "text", "{[a,b)]" },
    { all, "text", "{[a,b)}}" }, { all, "text", "{[a,b),}" }, { all, "text", "{,}" },
    { all, "text", "{[a,b\\" },
    { words, "binary", "" }, { words, "binary", "\2" }, { words, "binary", "\1x" },
    { words, "binary", "\2\0\0\0\1a" }, { words, "binary", "\2\0\0\0\9a\0\0\0\1b" },
    { words, "binary", "\2\255\255\255\255\0\0\0\1b" }, { words, "binary", "\24x" },
    { words, "binary", "\2\255\255\255\254" }, { "int4range", "binary", "\18\0\0\0\1a" },
    { all, "binary", "" }, { all, "binary", "\0\0\0\1" }, { all, "binary", "\255\255\255\255" },
    { all, "binary", "\0\0\0\1\255\255\255\255" }, { all, "binary", "\0\0\0\0x" },
    { { kind = "range", part = { kind = "record", fields = {} } }, "text", "[x,)" },
    { { kind = "range" }, "binary", "\2\0\0\0\1a\0\0\0\1b" },
  }
  for i, case in ipairs(wrong) do
    it(("that are none are told (%d)"):format(i), function()
      local read, reason = module.decode(table.unpack(case))
      assert.is_nil(read)
      assert(#reason > 0)
    end)
  end

  it("may be cut or changed at any place", function()
    for sql, type in pairs {
      ["'[\"a \\\"b\",c)'::words"] = words, ["'[1,)'::int4range"] = "int4range",
      ["'empty'::words"] = words, ["'[-1.5,2026.25]'::numrange"] = "numrange",
    } do
      assert.same({}, codecs.broken(module, type, "text", value("SELECT " .. sql .. "::text")))
      assert.same({}, codecs.broken(module, type, "binary",
        value("SELECT range_send(" .. sql .. ")")))
    end
    if not values.known(db, { since = 14 }) then return end
    local sql = "'{[1,2),[5,)}'::int4multirange"
    assert.same({}, codecs.broken(module, "int4multirange", "text",
      value("SELECT " .. sql .. "::text")))
    assert.same({}, codecs.broken(module, "int4multirange", "binary",
      value("SELECT multirange_send(" .. sql .. ")")))
  end)
end)
