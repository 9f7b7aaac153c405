-- SPDX-License-Identifier: MIT
-- The table of built-in types, held against the server's own catalogue.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local server, db, catalogue

-- What no column has outside of the system's own catalogues: it is text, without a type's name.
local internal <const> = {
  pg_node_tree = true, pg_ndistinct = true, pg_dependencies = true, pg_mcv_list = true,
  pg_brin_bloom_summary = true, pg_brin_minmax_multi_summary = true,
}

setup(function()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
  catalogue = assert(db:query [[
    SELECT t.oid, t.typname AS name, format_type(t.oid, NULL) AS type,
           nullif(t.typarray, 0) AS array
      FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
     WHERE t.typtype IN ('b', 'r', 'm') AND t.typnamespace = 'pg_catalog'::regnamespace
       AND coalesce(e.typtype, 'b') <> 'c'
     ORDER BY t.oid]]).rows
end)

teardown(function()
  db:close()
  server:stop()
end)

-- Calls f(types) for some types at a time.
local function each_few(list, f)
  for first = 1, #list, 50 do f(table.move(list, first, math.min(first + 49, #list), 1, {})) end
end

local function columns_of(types, more)
  local columns = {}
  for i, entry in ipairs(types) do columns[i] = ("NULL::%s AS c%d"):format(entry.type, i) end
  return "SELECT " .. table.concat(columns, ", ") .. (more or "")
end

describe("a built-in type", function()
  it("has the name and the number that the server gives it", function()
    assert.is_true(#catalogue > 150)
    each_few(catalogue, function(types)
      local result = assert(db:query(columns_of(types)))
      for i, column in ipairs(result:columns()) do
        assert.are.equal("c" .. i, column.name)
        assert.are.equal(types[i].oid, column.oid)
        if internal[types[i].name] then
          assert.is_nil(column.type)
        else
          assert.are.equal(types[i].type, column.type)
        end
      end
    end)
  end)

  it("is asked for in binary only where the server has its binary form", function()
    for _, entry in ipairs(catalogue) do
      local sql = columns_of({ entry }, ", '\\x'::bytea AS paying")
      for _ = 1, 2 do
        local result, err = db:query(sql)
        assert(result, ("%s: %s"):format(entry.type, tostring(err)))
        assert.is_true(support.exactly({ rows = { { paying = "" } }, rowCount = 1 }, result))
      end
    end
  end)

  it("is named alike to pg.typed and pg.array", function()
    for _, entry in ipairs(catalogue) do
      if not internal[entry.name] then
        local row = assert(db:query("SELECT pg_typeof($1)::oid AS oid",
          pg.typed(pg.null, entry.type))).rows[1]
        assert.are.equal(entry.oid, row.oid)
        if entry.array then
          row = assert(db:query("SELECT pg_typeof($1)::oid AS oid, cardinality($1) AS n",
            pg.array({}, entry.type))).rows[1]
          assert.is_true(support.exactly({ oid = entry.array, n = 0 }, row), entry.type)
        end
      end
    end
  end)

  it("may be named as SQL allows, with [] for an array of it", function()
    local names = {
      bool = "boolean", int = "integer", int2 = "smallint", int4 = "integer", int8 = "bigint",
      float4 = "real", float8 = "double precision", decimal = "numeric", char = "character",
      bpchar = "character", varchar = "character varying", varbit = "bit varying",
      time = "time without time zone", timetz = "time with time zone",
      timestamp = "timestamp without time zone", timestamptz = "timestamp with time zone",
    }
    for name, meant in pairs(names) do
      local row = assert(db:query("SELECT pg_typeof($1)::text AS one, pg_typeof($2)::text AS list",
        pg.typed(nil, name), pg.typed(nil, name .. "[]"))).rows[1]
      assert.is_true(support.exactly({ one = meant, list = meant .. "[]" }, row), name)
    end
  end)

  it("that a value says it has is its own, not the statement's", function()
    local sql = "SELECT pg_typeof($1)::text AS type, format('%s', $1) AS text"
    local cases = {
      { pg.array({ 1, 2 }, "int"), "integer[]", "{1,2}" }, { pg.bytea "\\\0", "bytea", "\\x5c00" },
      { pg.typed("a\\b", "text"), "text", "a\\b" }, { pg.typed(1, "int8"), "bigint", "1" },
      { pg.typed({ 1, {} }, "json"), "json", "[1,{}]" }, { pg.typed('{"a": 1}', "json"), "json",
        '{"a": 1}' }, { pg.typed('{"a":1}', "jsonb"), "jsonb", '{"a": 1}' },
      { pg.typed({ 1 }, "text"), "text", "[1]" },
    }
    for _ = 1, 2 do
      for _, case in ipairs(cases) do
        local result = assert(db:query(sql, case[1]))
        support.same({ { type = case[2], text = case[3] } }, result.rows)
      end
      local err = support.failed("invalid_parameter", db:query(sql, pg.json { 1 }))
      assert.are.equal("42P18", err.sqlstate)
      assert(table.concat(err.fixes, " "):find("pg.typed", 1, true))
    end
  end)

  it("is told with others that the server has to be asked about", function()
    local sql = "SELECT $1::jsonb AS doc, pg_typeof($2)::text AS type, $3::bytea AS b"
    local row = assert(db:query(sql, { 1 }, pg.typed("1", "numeric"), "\\")).rows[1]
    support.same({ doc = { 1 }, type = "numeric", b = "\\" }, row)
    -- what was told is not taken for the statement's own: the next value may say something else
    row = assert(db:query(sql, { 2 }, pg.array({ "x" }, "text"), "\0")).rows[1]
    support.same({ doc = { 2 }, type = "text[]", b = "\0" }, row)
  end)

  it("of too many values does not hide that they are too many", function()
    for _ = 1, 2 do
      for _, extra in ipairs { 2, "\\", pg.array({}, "int"), pg.bytea "x" } do
        local err = support.failed("invalid_parameter", db:query("SELECT $1::int[]", { 1 }, extra))
        assert.are.equal("the statement has 1 parameter, but 2 were given", err.message)
      end
      local err = support.failed("invalid_parameter", db:query("SELECT 1", pg.typed(1, "int")))
      assert.are.equal("the statement has no parameters, but 1 was given", err.message)
    end
  end)

  it("that is not one is refused, and a cast is the advice", function()
    local unknown = { "mood", "int5", "", "[]", "int[][]", "int4 ", "INTEGER", "numeric(10,2)" }
    for _, name in ipairs(unknown) do
      local err = support.failed("invalid_parameter",
        db:query("SELECT $1, $2", 1, pg.typed("x", name)))
      assert.are.equal(2, err.parameter)
      assert(err.message:find("$1::" .. name, 1, true) or err.message:find("cast", 1, true))
    end
  end)
end)
