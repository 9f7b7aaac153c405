-- SPDX-License-Identifier: MIT
-- Values beyond the samples of each type (samples_spec.lua): arrays, types that the server defines,
-- options, encodings.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local values = require "spec.values"

local null, exactly = pg.null, support.exactly

local server, db

setup(function()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
  values.create_paying(db)
end)

teardown(function()
  db:close()
  server:stop()
end)

describe("an array", function()
  it("keeps bounds that do not begin at 1 (R15)", function()
    local text, binary = values.both(db, [['[-2:0]={1,2,3}'::int[] AS one,
      '[0:1][-1:1]={{1,2,3},{4,5,6}}'::int[] AS two, '[5:5]={"]="}'::text[] AS text]])
    for _, row in ipairs { text, binary } do
      assert.is_true(exactly({ 1, 2, 3 }, row.one))
      assert.is_true(exactly({ { 1, 2, 3 }, { 4, 5, 6 } }, row.two))
      assert.is_true(exactly({ "]=" }, row.text))
      assert.is_true(exactly({ { -2 }, { 0, -1 }, { 5 } }, { getmetatable(row.one).lower,
        getmetatable(row.two).lower, getmetatable(row.text).lower }))
      local back = assert(db:query("SELECT $1::int[]::text AS one, $2::int[]::text AS two, "
        .. "$3::text[]::text AS text", row.one, row.two, row.text)).rows[1]
      assert.is_true(exactly({ one = "[-2:0]={1,2,3}", two = "[0:1][-1:1]={{1,2,3},{4,5,6}}",
        text = "[5:5]={]=}" }, back))
    end
  end)

  it("comes whole and in order, however long", function()
    for _, size in ipairs { 1, 127, 128, 129, 300 } do
      local plain, quoted, nested = {}, {}, {}
      for i = 1, size do
        plain[i], quoted[i], nested[i] = i, "a " .. i, { i, -i }
      end
      local text, binary = values.both(db, ([[ARRAY(SELECT generate_series(1, %d)) AS plain,
        ARRAY(SELECT 'a ' || i FROM generate_series(1, %d) AS i) AS quoted,
        ARRAY(SELECT ARRAY[i, -i] FROM generate_series(1, %d) AS i) AS nested]])
        :format(size, size, size))
      local expected = { plain = plain, quoted = quoted, nested = nested, paying = "" }
      assert.is_true(exactly(expected, text), size)
      assert.is_true(exactly(expected, binary), size)
    end
  end)

  it("is read by the delimiter that its type has", function()
    assert(db:execute [[CREATE TYPE piped;
      CREATE FUNCTION piped_in(cstring) RETURNS piped IMMUTABLE STRICT
        LANGUAGE internal AS 'textin';
      CREATE FUNCTION piped_out(piped) RETURNS cstring IMMUTABLE STRICT
        LANGUAGE internal AS 'textout';
      CREATE TYPE piped (INPUT = piped_in, OUTPUT = piped_out, LIKE = text, DELIMITER = '|')]])
    local row = assert(db:query "SELECT '{a,b|c;d|\"|\"}'::piped[] AS list").rows[1]
    assert.same({ "a,b", "c;d", "|" }, row.list)
  end)

  it("that is empty encodes as [], and its emptiness passes back, whatever its type", function()
    for _, type in ipairs { "int", "text", "bytea", "jsonb", "point", "timestamptz", "float8" } do
      local text, binary = values.both(db, ("'{}'::%s[] AS list"):format(type))
      assert.are.equal("[]", pg.encode(text.list))
      assert.are.equal("[]", pg.encode(binary.list))
      local row = assert(db:query(("SELECT $1::%s[] = '{}' AS same"):format(
        type == "point" and "text" or type), binary.list)).rows[1]
      assert.is_true(row.same)
    end
  end)

  it("takes its length from n, for lists that end in nil", function()
    local row = assert(db:query("SELECT $1::int[] AS list", { 1, nil, 3, nil, n = 4 })).rows[1]
    assert.is_true(exactly({ 1, null, 3, null }, row.list))
  end)
end)

describe("a type that the server defines", function()
  setup(function()
    assert(db:execute [[
      CREATE TYPE mood AS ENUM ('sad', 'very, "happy"', '{}');
      CREATE TYPE pair AS (a int, b text);
      CREATE DOMAIN positive AS int CHECK (VALUE > 0);
      CREATE DOMAIN blob AS bytea;
      CREATE DOMAIN ints AS int[];
      CREATE TYPE span AS RANGE (subtype = float8)]])
  end)

  it("is what it is made of, and its column's type has its name (R16, R17)", function()
    local cases = {
      { [['very, "happy"'::mood]], 'very, "happy"' },
      { [=[ARRAY['sad', 'very, "happy"']::mood[]]=], { "sad", 'very, "happy"' } },
      { [[ROW(1, 'x "y"')::pair]], { a = 1, b = 'x "y"' } },
      { "ARRAY[ROW(1, NULL)]::pair[]", { { a = 1 } } },
      { "'[1,2]'::span", { lower = 1.0, upper = 2.0, bounds = "[]" } },
    }
    for _, case in ipairs(cases) do
      local sql = "SELECT " .. case[1] .. " AS v, decode('', 'hex') AS b"
      local type = db:query("SELECT pg_typeof(" .. case[1] .. ")::text AS name").rows[1].name
      for _ = 1, 2 do
        local result = assert(db:query(sql))
        assert.is_true(exactly(case[2], result.rows[1].v), case[1])
        assert.are.equal(type, result:columns()[1].type)
        assert.is_true(result:columns()[1].oid >= 16384)
      end
      local back = assert(db:query(("SELECT $1::%s = %s AS same"):format(type, case[1]), case[2]))
      assert.is_true(back.rows[1].same)
    end
  end)

  it("is its base type where it is a domain, also in arrays (R16)", function()
    local text, binary = values.both(db, [[7::positive AS n, decode('00ff', 'hex')::blob AS bytes,
      '{1,NULL}'::ints AS list]])
    assert.is_true(exactly({ n = 7, bytes = "\0\255", list = { 1, null }, paying = "" }, text))
    assert.is_true(exactly(text, binary))
    local row = assert(db:query("SELECT ARRAY[7]::positive[] AS list")).rows[1]
    assert.is_true(exactly({ 7 }, row.list))
    row = assert(db:query([[SELECT $1::positive = 7 AND $2::blob = decode('00ff', 'hex')
      AND $3::ints = '{1,NULL}' AS same]], text.n, text.bytes, text.list)).rows[1]
    assert.is_true(row.same)
  end)

  it("takes as a domain what its base type takes (R16)", function()
    assert(db:execute [[
      CREATE DOMAIN text_blob AS blob CHECK (octet_length(VALUE) < 10);
      CREATE DOMAIN document AS jsonb;
      CREATE TABLE domains (bytes text_blob, doc document, docs document[], list ints)]])
    local insert = "INSERT INTO domains VALUES ($1, $2, $3, $4) RETURNING *, docs::text AS docs"
    for _ = 1, 2 do
      -- read as bytea's escapes this would be three bytes
      local row = assert(db:query(insert, "a\\134b", pg.array {},
        { { a = 1 }, pg.array {} }, { 1, null })).rows[1]
      assert.is_true(exactly({ bytes = "a\\134b", doc = {}, docs = [[{"{\"a\": 1}",[]}]],
        list = { 1, null } }, row), pg.encode(row))
      assert.are.equal("[]", pg.encode(row.doc))
    end
    local err = support.failed("constraint_violation",
      db:query("SELECT $1::text_blob", ("\\"):rep(10)))
    assert.are.equal("check_violation", err.condition)
    -- what the module asks for itself does not count as the script's result
    assert(db:with { max_result = 1 }:execute("INSERT INTO domains (bytes) VALUES ($1)", "\\"))
  end)

  it("is a list of texts when it is anonymous, and text when it is of any type", function()
    local text, binary = values.both(db, "ROW(1, 'x') AS record")
    assert.is_true(exactly({ "1", "x" }, text.record))
    assert.is_true(exactly({ "1", "x" }, binary.record))
    local row = assert(db:query [[SELECT most_common_vals AS v FROM pg_stats
      WHERE most_common_vals IS NOT NULL LIMIT 1]]).rows[1]
    assert(row == nil or type(row.v) == "string")
  end)
end)

describe("a view of values", function()
  it("gives numerics as numbers: integers while 64 bits hold them, else floats", function()
    local cases = {
      { "12.50", 12.5 }, { "3.00", 3 }, { "-0.0", 0 }, { "9223372036854775807", math.maxinteger },
      { "9223372036854775808", 2.0 ^ 63 }, { "-9223372036854775808.0", math.mininteger },
      { "1e300", 1e300 }, { "1e400", math.huge }, { "-1e400", -math.huge }, { "1e-400", 0.0 },
      { "NaN", 0 / 0 }, { "0.1", 0.1 }, { "123456789012345678.9", 123456789012345678.9 },
      { "48.20100000000000000000", 48.201 }, { "0.00014285714285714287", 0.00014285714285714287 },
    }
    local numbers = db:with { numeric = "number" }
    for _, case in ipairs(cases) do
      local columns = ("'%s'::numeric AS v, ARRAY['%s', NULL]::numeric[] AS list")
        :format(case[1], case[1])
      local text, binary = values.both(numbers, columns)
      assert.is_true(exactly({ v = case[2], list = { case[2], null }, paying = "" }, text), case[1])
      assert.is_true(exactly(text, binary), case[1])
    end
  end)

  it("gives JSON as its text", function()
    local texts = db:with { json = "text" }
    local columns = [=[' { "a" : 1.00 } '::json AS v, '{"b": null}'::jsonb AS b, 'null'::json AS n,
      ARRAY['[1]', 'null', NULL]::json[] AS list, '"\ud800"'::json AS surrogate]=]
    local text, binary = values.both(texts, columns)
    assert.is_true(exactly({ v = ' { "a" : 1.00 } ', b = '{"b": null}', n = "null",
      list = { "[1]", "null", null }, surrogate = '"\\ud800"', paying = "" }, text))
    assert.is_true(exactly(text, binary))
    local row = assert(texts:query("SELECT $1::json::text AS v", text.v)).rows[1]
    assert.are.equal(' { "a" : 1.00 } ', row.v)
  end)

  it("cannot show what JSON cannot mean: it names the column and reads the next (R21, R22)",
    function()
      local depth = ("["):rep(1001) .. ("]"):rep(1001)
      for problem, json in pairs {
        ["nested deeper than 1000"] = depth, ["an invalid escape"] = [=[["\ud800"]]=],
      } do
        local sql = ("SELECT 1 AS n, $q$%s$q$::json AS doc, '\\x'::bytea AS b"):format(json)
        for _ = 1, 2 do
          local err = support.failed("invalid_value", db:query(sql))
          assert.are.equal("doc", err.column)
          assert(err.message:find(problem, 1, true), err.message)
          assert(err.message:find("row 1", 1, true), err.message)
          assert.are.equal("idle", db:status().state)
        end
        local row = assert(db:with { json = "text" }:query(sql)).rows[1]
        assert.are.equal(json, row.doc)
      end
    end)
end)

describe("text", function()
  local function connect(encoding)
    assert(db:execute(("CREATE DATABASE %s ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C' "
      .. "TEMPLATE template0"):format(encoding:lower(), encoding)))
    return assert(pg.connect(support.with(server.options, { database = encoding:lower() })))
  end

  it("is UTF-8 here and in the server's encoding there (R24)", function()
    local latin <close> = connect "LATIN1"
    local sql = "SELECT $1::text AS v, octet_length($1) AS n, ARRAY[$1] AS list, $2::bytea AS b, "
      .. "$3::jsonb AS doc, chr(233) AS e"
    for _ = 1, 2 do
      local row = assert(latin:query(sql, "naïve", "é\0\xff\\", { "ü" })).rows[1]
      assert.is_true(exactly({ v = "naïve", n = 5, list = { "naïve" }, b = "é\0\xff\\",
        doc = { "ü" }, e = "é" }, row))
    end
    local err = support.failed("invalid_value", latin:query("SELECT $1::text", "世"))
    assert.are.equal("22P05", err.sqlstate)
    -- bytea without a backslash, a NUL or anything that is not UTF-8 must not be converted either
    local row = assert(latin:query("SELECT octet_length($1::bytea) AS n", "é")).rows[1]
    assert.are.equal(2, row.n)
  end)

  it("is whatever bytes it is where the server has no encoding (R18)", function()
    local ascii <close> = connect "SQL_ASCII"
    local sql = "SELECT $1::text AS v, octet_length($1) AS n, ARRAY[$1] AS list, $2::bytea AS b, "
      .. "chr(233) AS e, '[\"\xff\"]'::json AS doc"
    for _ = 1, 2 do
      local row = assert(ascii:query(sql, "\xe9\xff\x80é", "\xff\0")).rows[1]
      assert.is_true(exactly({ v = "\xe9\xff\x80é", n = 5, list = { "\xe9\xff\x80é" }, e = "\xe9",
        b = "\xff\0", doc = { "\xff" } }, row))
    end
  end)

  it("stays UTF-8 when a script changes client_encoding (R24)", function()
    local same <close> = assert(pg.connect(server.options))
    assert(same:execute "SET client_encoding TO 'LATIN1'")
    local sql = "SELECT 'é'::text AS v, octet_length($1::text) AS n"
    local row = assert(same:query(sql, "é")).rows[1]
    assert.is_true(exactly({ v = "é", n = 2 }, row))
    assert(same:execute "BEGIN; SET LOCAL client_encoding TO 'LATIN1'")
    row = assert(same:query("SELECT chr(233) AS v, $1::text = chr(233) AS same", "é")).rows[1]
    assert.is_true(exactly({ v = "é", same = true }, row))
  end)
end)
