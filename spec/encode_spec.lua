-- SPDX-License-Identifier: MIT
-- Lua values inside of tables, by the type that they have there: what fits, what is refused with
-- its place before anything is sent, and how arrays are told from their elements.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local values = require "spec.values"

local null, failed, same = pg.null, support.failed, support.same
local inf <const>, nan <const> = math.huge, 0 / 0

local server, db

setup(function()
  server = assert(throwaway.start { settings = { log_statement = "all" } })
  db = assert(pg.connect(server.options))
  values.create_paying(db)
  assert(db:execute [[
    CREATE DOMAIN small AS smallint;
    CREATE DOMAIN ints AS int[];
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE mood AS ENUM ('sad', 'true')]])
end)

teardown(function()
  db:close()
  server:stop()
end)

local function value(sql, ...)
  return support.value(db, sql, ...)
end

describe("a value in a list", function()
  local fits = {
    -- type, given, PostgreSQL's text
    { "smallint", -32768, "-32768" }, { "smallint", 32767.0, "32767" }, { "smallint", " 7 ", "7" },
    { "integer", -2147483648, "-2147483648" }, { "integer", 2147483647, "2147483647" },
    { "integer", -0.0, "0" }, { "bigint", math.mininteger, "-9223372036854775808" },
    { "bigint", -2.0 ^ 63, "-9223372036854775808" }, { "bigint", 2.0 ^ 53, "9007199254740992" },
    { "oid", 4294967295, "4294967295" }, { "oid", 0, "0" }, { "real", 0.1, "0.1" },
    { "real", 3, "3" }, { "double precision", nan, "NaN" }, { "double precision", -inf,
      "-Infinity" }, { "double precision", 5e-324, "5e-324" }, { "numeric", 0.1, "0.1" },
    { "numeric", math.maxinteger, "9223372036854775807" }, { "numeric", "1e400",
      "1" .. ("0"):rep(400) }, { "boolean", true, "t" }, { "boolean", 0, "f" },
    { "boolean", -0.0, "f" }, { "boolean", false, "f" },
    { "boolean", 1.0, "t" }, { "boolean", "yes", "t" }, { "text", true, "true" },
    { "text", 1.5, "1.5" }, { "text", "", '""' }, { "text", "null", '"null"' },
    { "bytea", "\\", '"\\\\x5c"' }, { "bytea", 5, '"\\\\x35"' }, { "uuid",
      "6BA7B8109DAD11D180B400C04FD430C8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8" },
    { "date", "15 Jan 2026", "2026-01-15" }, { "money", 12.5, "$12.50" }, { "xid", 7, "7" },
    { "mood", "true", "true" }, { "mood", true, "true" }, { "small", 7, "7" },
    { "jsonb", true, "true" }, { "jsonb", 1.0, "1.0" }, { "jsonb", '"x"', [["\"x\""]] },
    { "jsonb", { a = { 1 } }, [["{\"a\": [1]}"]] }, { "jsonb", pg.json(nil), '"null"' },
    { "regclass", "pg_type", "pg_type" }, { "point", "(1,2)", '"(1,2)"' },
    { "text", pg.json { 1 }, "[1]" }, { "text", pg.typed(true, "bool"), "true" },
    { "pair", pg.typed("(1,x)", "text"), '"(1,x)"' }, { "integer", pg.typed("7", "int4"), "7" },
    { "ints", { 1, 2 }, '"{1,2}"' }, { "ints", "{1,2}", '"{1,2}"' },
  }
  for i, case in ipairs(fits) do
    it(("P8 P11: of type %s is %s (%d)"):format(case[1], case[3]:sub(1, 30), i), function()
      local text = value(("SELECT $1::%s[]::text"):format(case[1]), { case[2], null })
      assert.equal("{" .. case[3] .. ",NULL}", text)
    end)
  end

  local refused = {
    { "smallint", 32768, "32768 does not fit the type smallint" },
    { "smallint", -32769, "-32769 does not fit the type smallint" },
    { "integer", 2 ^ 31, "2147483648 does not fit the type integer" },
    { "integer", 1.5, "1.5 does not fit the type integer" },
    { "integer", nan, "NaN does not fit the type integer" },
    { "integer", true, "a boolean does not fit the type integer" },
    { "bigint", 2.0 ^ 63, "9.223372036854776e18 does not fit the type bigint" },
    { "bigint", -inf, "-Infinity does not fit the type bigint" },
    { "oid", -1, "-1 does not fit the type oid" },
    { "oid", 1 << 32, "4294967296 does not fit the type oid" },
    { "small", 40000, "40000 does not fit the type small" },
    { "real", true, "a boolean does not fit the type real" },
    { "numeric", false, "a boolean does not fit the type numeric" },
    { "boolean", 2, "2 does not fit the type boolean" },
    { "boolean", nan, "NaN does not fit the type boolean" },
    { "date", true, "a boolean does not fit the type date" },
    { "timestamptz", true, "a boolean does not fit the type timestamp with time zone" },
    { "uuid", true, "a boolean does not fit the type uuid" },
    { "jsonb", nan, "cannot send nan as JSON" },
    { "text", "a\0", "a text cannot hold a NUL byte (only bytea can; pg.bytea(s) says so)" },
    { "integer", print, "cannot send a function" },
    { "integer", io.stdout, "cannot send a userdata" },
    { "integer", pg.typed(1, "mood"), 'the type "mood" is not a built-in one: cast the parameter '
      .. "in the SQL instead" },
    { "integer", pg.typed(pg.typed(1, "int4"), "int4"), "a wrapped value is wrapped again" },
    { "ints", { true }, "[1]: a boolean does not fit the type integer" },
  }
  for i, case in ipairs(refused) do
    it(("P8 P14: of type %s is refused before anything is sent: %s (%d)"):format(case[1], case[3],
      i), function()
      local sql = ("SELECT $1::%s[]"):format(case[1])
      assert(db:query(sql, {})) -- from now on the type is known
      support.lacks(support.logged(server, function()
        local err = failed("invalid_parameter", db:query(sql, { null, case[2] }))
        assert.equal("parameter $1[2]" .. (case[3]:sub(1, 1) == "[" and "" or ": ") .. case[3],
          err.message)
      end), sql)
    end)
  end

  it("P8: is refused by type and place in a pipeline and a COPY, too", function()
    assert(db:execute "CREATE TEMPORARY TABLE lists (id int, list int[], at int4range)")
    local err = failed("invalid_parameter", db:pipeline(function(p)
      p:query("SELECT $1::int[]", { 1, true })
    end))
    assert.equal("parameter $1[2]: a boolean does not fit the type integer", err.message)
    err = failed("invalid_parameter", db:copy_in("lists", nil, { { 1, { 1, 1.5 } } }))
    support.contains(err.message, "list", "[2]: 1.5 does not fit the type integer")
    err = failed("invalid_parameter", db:bulk_insert("lists", { { id = 1, at = { lower = {} } } }))
    support.contains(err.message, "at", ".lower: a table does not fit the type integer")
    local rows = { { id = 1, list = { { 1 }, { 2 } }, at = { lower = 1, bounds = "[)" } },
      { id = 2, at = { empty = true } } }
    assert(db:copy_in("lists", { "id", "list", "at" }, rows))
    assert(db:bulk_insert("lists", rows))
    same({ rows[1], rows[1], rows[2], rows[2] },
      assert(db:query "SELECT * FROM lists ORDER BY id").rows)
  end)

  it("is told by its column's type in bulk_insert, upsert, bulk_update and copy_in", function()
    assert(db:execute [[CREATE TABLE kept (id int PRIMARY KEY, p pair, ps pair[], ms mood[],
      small small, ints ints)]])
    local rows = { { id = 1, p = { a = 1, b = "x\t,\\" }, ps = { { a = 1 }, { b = "" } },
      ms = { "sad", null }, small = 7, ints = { 1, null } }, { id = 2 } }
    local function kept()
      return assert(db:query "SELECT * FROM kept ORDER BY id").rows
    end
    assert(db:bulk_insert("kept", rows))
    same(rows, kept())
    rows[1].p, rows[2].ps = { b = "y" }, { { a = 2 } }
    assert(db:bulk_update("kept", { { id = 1, p = rows[1].p }, { id = 2, ps = rows[2].ps } }))
    same(rows, kept())
    rows[1].ps = {}
    assert(db:upsert("kept", { { id = 1, ps = pg.array {} }, { id = 2, p = {} } }))
    rows[2].p = {}
    same(rows, kept())
    assert(db:execute "TRUNCATE kept")
    assert(db:copy_in("kept", { "id", "p", "ps", "ms", "small", "ints" }, rows))
    same(rows, kept())
    for column, case in pairs {
      p = { { a = true }, ".a: a boolean does not fit the type integer" },
      ps = { { { a = 1, c = 2 } }, "[1]: pair has no field 'c'; it has a, b" },
      ints = { { 1, 2.5 }, "[2]: 2.5 does not fit the type integer" },
    } do
      for _, err in ipairs {
        failed("invalid_parameter", db:bulk_insert("kept", { { id = 3 }, { id = 4,
          [column] = case[1] } })),
        failed("invalid_parameter", db:copy_in("kept", { "id", column }, { { 3 },
          { 4, case[1] } })),
      } do
        support.contains(err.message, "row 2", column, case[2])
        assert.equal(2, err.row)
        assert.equal(column, err.column)
      end
    end
    same(rows, kept())
  end)

  it("keeps quotes, commas and braces to itself at every level", function()
    for _, odd in ipairs { '"', "\\", ",", "{", "}", "(", ")", "[", " ", "a b", "NULL", "", "\n",
      "'", ";", ":", "=", '\\"', '""', "é" } do
      local given = { { a = 1, b = odd }, { b = odd .. odd } }
      same(given, value("SELECT $1::pair[]", given))
    end
  end)
end)

describe("an array", function()
  local cases = {
    -- type, SQL, value, lower bounds
    { "int[]", "'[0:1]={1,2}'", { 1, 2 }, { 0 } },
    { "int[]", "'[-2147483648:-2147483647]={1,NULL}'", { 1, null }, { -2147483648 } },
    { "text[]", [['[2:3][-1:0]={{a,"b,"},{"\"",NULL}}']], { { "a", "b," }, { '"', null } },
      { 2, -1 } },
    { "int[]", "'[1:1][1:1][1:1][1:1][1:1][2:2]={{{{{{7}}}}}}'", { { { { { { 7 } } } } } },
      { 1, 1, 1, 1, 1, 2 } },
    { "jsonb[]", [==['{{"[1,2]","[3]"}}']==], { { { 1, 2 }, { 3 } } }, { 1, 1 } },
    { "jsonb[]", [==['[3:3]={"{\"a\": {}}"}']==], { { a = {} } }, { 3 } },
    { "pair[]", [['[0:0]={"(1,\"x\")"}']], { { a = 1, b = "x" } }, { 0 } },
    { "int4range[]", [['[0:0]={"[1,2)"}']], { { lower = 1, upper = 2, bounds = "[)" } }, { 0 } },
    { "ints[]", "'[0:0]={\"{1,2}\"}'", { { 1, 2 } }, { 0 } },
    { "box[]", "'[0:1]={(1,1),(0,0);(2,2),(0,0)}'", { "(1,1),(0,0)", "(2,2),(0,0)" }, { 0 } },
  }
  for i, case in ipairs(cases) do
    it(("R15: keeps its bounds in text and binary, and back (%s, %d)"):format(case[1], i),
      function()
        local sql = case[2] .. "::" .. case[1]
        for _, row in ipairs { values.both(db, sql .. " AS v") } do
          same(case[3], row.v)
          same(case[4], getmetatable(row.v).lower)
          assert.equal("pg.array", getmetatable(row.v).__name)
          assert.equal(pg.encode(case[3]), pg.encode(row.v))
          assert.is_true(value(("SELECT $1::%s::text = %s::text"):format(case[1], sql), row.v))
        end
      end)
  end

  it("R15: has no mark where its bounds are the usual ones", function()
    for _, row in ipairs { values.both(db, "'{1}'::int[] AS a, '{{1},{2}}'::int[] AS b, "
      .. "'[1:1]={x}'::text[] AS c") } do
      for _, list in ipairs { row.a, row.b, row.c } do assert.is_nil(getmetatable(list)) end
    end
  end)

  it("R15: gives up its bounds to pg.array", function()
    local list = value "SELECT '[0:1]={1,2}'::int[]"
    assert.equal("[0:2]={1,2,3}", (function()
      list[3] = 3
      return value("SELECT $1::int[]::text", list)
    end)())
    assert.equal("{1,2,3}", value("SELECT $1::int[]::text", pg.array(list)))
  end)

  it("R15: is refused with bounds that a program has broken", function()
    for text, break_it in pairs {
      [": its lower bounds are not one to six integers"] = function(meta) meta.lower[1] = "x" end,
      [": its lower bounds are not one to six integers "] = function(meta) meta.lower[1] = nil end,
      [": its lower bounds are not one to six integers  "] = function(meta)
        meta.lower[1] = 1 << 31
      end,
      ["[1]: a plain value where its siblings are tables"] = function(meta) meta.lower[2] = 0 end,
    } do
      local list = value "SELECT '[0:1]={1,2}'::int[]"
      break_it(getmetatable(list))
      assert.equal("parameter $1" .. text:gsub(" +$", ""), failed("invalid_parameter",
        db:query("SELECT $1::int[]", list)).message)
    end
    local forged = setmetatable({ 1 }, { lower = { 5 }, __name = "pg.array" })
    assert.equal("{1}", value("SELECT $1::int[]::text", forged))
    local list = value "SELECT '[0:1]={1,2}'::int[]"
    getmetatable(list).lower = nil
    assert.equal("{1,2}", value("SELECT $1::int[]::text", list))
    list = value "SELECT '[2147483646:2147483646]={1}'::int[]"
    list[2], list[3] = 2, 3
    assert(select(2, db:query("SELECT $1::int[]", list)).kind == "invalid_value")
  end)

  it("has the dimensions of its tables, up to its elements", function()
    same({ { a = 1 }, { a = 2 } }, value("SELECT $1::pair[]", { { a = 1 }, { a = 2 } }))
    same({ { { a = 1 } }, { { a = 2 } } }, value("SELECT $1::pair[]",
      { { { a = 1 } }, { { a = 2 } } }))
    same({ { 1, 2 }, { 3 } }, value("SELECT $1::jsonb[]", { { 1, 2 }, { 3 } }))
    same({ { 1, 2 }, { 3 } }, value("SELECT $1::ints[]", { { 1, 2 }, { 3 } }))
    assert.equal(1, value("SELECT array_ndims($1::ints[])", { { 1, 2 }, { 3 } }))
    assert.equal(2, value("SELECT array_ndims($1::int[])", { { 1, 2 }, { 3, 4 } }))
  end)
end)
