-- SPDX-License-Identifier: MIT
-- Values: every built-in type in text and in binary, alone and in arrays, and back as a parameter;
-- the same under settings that change how the server writes and reads them.
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

describe("a value", function()
  for _, kind in ipairs(values.types) do
    it(("of type %s is the same in text and binary and passes back %s"):format(kind[1],
      kind.title and "(" .. kind.title .. ")" or ""), function()
      if not values.known(db, kind) then
        return pending("needs PostgreSQL " .. kind.since)
      elseif kind.needs and not db:query("SELECT " .. kind.needs) then
        return pending("this server was built without " .. kind[1])
      end
      local before = values.binary_count(db)
      values.check(db, kind, values.samples(db, kind))
      assert.are.equal(kind.text_only and 0 or 1, values.binary_count(db) - before)
    end)
  end
end)

describe("an array", function()
  local cases = {
    { "an empty one", "'{}'::int[]", {} },
    { "NULL beside 'NULL' (R15)", [=['{NULL,"NULL",null,"null",nULL,NULLS}'::text[]]=],
      { null, "NULL", null, "null", null, "NULLS" } },
    { "only NULLs", "'{NULL,NULL}'::float8[]", { null, null } },
    { "quotes, backslashes, commas, braces, spaces, emptiness (R15)",
      [=[ARRAY['a"b', E'c\\d', 'e,f', '{g}', '', ' h ', E'\n', '[1:1]={}', '""', E'\\']]=],
      { 'a"b', "c\\d", "e,f", "{g}", "", " h ", "\n", "[1:1]={}", '""', "\\" } },
    { "two dimensions with NULLs", "'{{1,NULL},{NULL,4}}'::bigint[]",
      { { 1, null }, { null, 4 } } },
    { "six dimensions (R15)", "'{{{{{{1,2}},{{3,4}}}}}}'::int[]",
      { { { { { { 1, 2 } }, { { 3, 4 } } } } } } },
    { "six dimensions of text", [=['{{{{{{"{"},{"}"},{","}}}}}}'::text[]]=],
      { { { { { { "{" }, { "}" }, { "," } } } } } } },
    { "bytes", "ARRAY[decode('00ff5c22', 'hex'), '', decode('7b2c7d', 'hex'), NULL]",
      { "\0\255\\\"", "", "{,}", null } },
    { "JSON documents", [=[ARRAY['{"a":[1,"\"{},"]}', '[]', '{}', '"x"', '2']::jsonb[]]=],
      { { a = { 1, '"{},' } }, {}, {}, '"x"', 2 } },
    { "boxes, between semicolons", "'{(2,2),(1,1);(4,4),(3,3)}'::box[]",
      { "(2,2),(1,1)", "(4,4),(3,3)" } },
    { "times", "ARRAY['infinity', '0001-01-01 00:00:00Z BC']::timestamptz[]",
      { "infinity", "0001-01-01T00:00:00Z BC" } },
    { "vectors", "ARRAY['1 2', '']::int2vector[]", { "1 2", "" } },
    { "ten thousand elements", "(SELECT array_agg(i - 5000) FROM generate_series(1, 10000) i)",
      (function()
        local list = {}
        for i = 1, 10000 do list[i] = i - 5000 end
        return list
      end)() },
  }

  for _, case in ipairs(cases) do
    local name, expression, expected = table.unpack(case)
    it("of " .. name .. " is a sequence in text and binary and passes back", function()
      local text, binary = values.both(db, expression .. " AS list")
      assert.is_true(exactly(expected, text.list), pg.encode(text.list))
      assert.is_true(exactly(expected, binary.list), pg.encode(binary.list))
      local type = db:query("SELECT pg_typeof(" .. expression .. ")::text AS name").rows[1].name
      local back = assert(db:query(("SELECT $1::%s::text = (%s)::text AS same")
        :format(type, expression), text.list)).rows[1]
      assert.is_true(back.same)
    end)
  end

  it("drops bounds that do not begin at 1 (R15)", function()
    local text, binary = values.both(db, [['[-2:0]={1,2,3}'::int[] AS one,
      '[0:1][-1:1]={{1,2,3},{4,5,6}}'::int[] AS two, '[5:5]={"]="}'::text[] AS text]])
    for _, row in ipairs { text, binary } do
      assert.is_true(exactly({ 1, 2, 3 }, row.one))
      assert.is_true(exactly({ { 1, 2, 3 }, { 4, 5, 6 } }, row.two))
      assert.is_true(exactly({ "]=" }, row.text))
    end
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

  it("is text, and its column's type has no name (R16, R17)", function()
    local cases = {
      { [['very, "happy"'::mood]], 'very, "happy"' },
      { [=[ARRAY['sad', 'very, "happy"']::mood[]]=], [[{sad,"very, \"happy\""}]] },
      { [[ROW(1, 'x "y"')::pair]], [[(1,"x ""y""")]] },
      { "ARRAY[ROW(1, NULL)]::pair[]", [[{"(1,)"}]] },
      { "'[1,2]'::span", "[1,2]" },
    }
    for _, case in ipairs(cases) do
      local sql = "SELECT " .. case[1] .. " AS v, decode('', 'hex') AS b"
      for _ = 1, 2 do
        local result = assert(db:query(sql))
        assert.are.equal(case[2], result.rows[1].v)
        assert.is_nil(result:columns()[1].type)
        assert.is_true(result:columns()[1].oid >= 16384)
      end
      local type = db:query("SELECT pg_typeof(" .. case[1] .. ")::text AS name").rows[1].name
      local back = assert(db:query(("SELECT $1::%s = %s AS same"):format(type, case[1]), case[2]))
      assert.is_true(back.rows[1].same)
    end
  end)

  it("is its base type where it is a domain, but not within arrays (R16)", function()
    local text, binary = values.both(db, [[7::positive AS n, decode('00ff', 'hex')::blob AS bytes,
      '{1,NULL}'::ints AS list]])
    assert.is_true(exactly({ n = 7, bytes = "\0\255", list = { 1, null }, paying = "" }, text))
    assert.is_true(exactly(text, binary))
    local row = assert(db:query("SELECT ARRAY[7]::positive[] AS list")).rows[1]
    assert.are.equal("{7}", row.list)
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

  it("is text too when it is anonymous or made of many types", function()
    local text, binary = values.both(db, "ROW(1, 'x') AS record")
    assert.are.equal("(1,x)", text.record)
    assert.are.equal("(1,x)", binary.record)
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

-- What the server's settings could change.
local sensitive <const> = {
  ["real"] = true, ["double precision"] = true, numeric = true, text = true, bytea = true,
  name = true, date = true, time = true, timetz = true, timestamp = true, timestamptz = true,
  interval = true, json = true, jsonb = true, inet = true, bit = true, ['"char"'] = true,
  int4range = true, point = true, tsvector = true,
}

local function check_sensitive(hostile)
  for _, kind in ipairs(values.types) do
    if sensitive[kind[1]] then values.check(hostile, kind, values.samples(hostile, kind, true)) end
  end
end

describe("values", function()
  -- Settings in pairs of name and value.
  local all <const> = { "DateStyle", "SQL, YMD", "IntervalStyle", "sql_standard", "TimeZone",
    "Europe/Amsterdam", "bytea_output", "escape", "extra_float_digits", "-15",
    "standard_conforming_strings", "off", "array_nulls", "off" }
  local cases = {
    { "R12", "DateStyle", "German, DMY" }, { "R12", "DateStyle", "SQL, DMY" },
    { "R12", "DateStyle", "Postgres, MDY" }, { "S039", "DateStyle", "ISO, YMD" },
    { "R13", "IntervalStyle", "sql_standard" }, { "R13", "IntervalStyle", "postgres_verbose" },
    { "R13", "IntervalStyle", "iso_8601" }, { "R13", "bytea_output", "escape" },
    { "S039", "TimeZone", "Asia/Kolkata" }, { "S039", "TimeZone", "America/St_Johns" },
    { "R14", "TimeZone", "<-0123>+01:23" }, { "S039", "TimeZone", "UTC" },
    { "R11", "extra_float_digits", "-15" }, { "R11", "extra_float_digits", "0" },
    { "R11", "extra_float_digits", "3" }, { "R25", "standard_conforming_strings", "off" },
    { "R15", "array_nulls", "off" }, { "R8", "lc_numeric", "POSIX", "quote_all_identifiers", "on" },
    { "R11, R12, R13", table.unpack(all) },
  }

  setup(function() assert(db:execute "CREATE ROLE hostile SUPERUSER LOGIN") end)

  local function make_default(settings)
    assert(db:execute "ALTER ROLE hostile RESET ALL")
    for i = 1, #settings, 2 do
      assert(db:execute(("ALTER ROLE hostile SET %s TO '%s'"):format(settings[i], settings[i + 1])))
    end
    return assert(pg.connect(support.with(server.options, { user = "hostile" })))
  end

  local function set(hostile, settings, scope)
    for i = 1, #settings, 2 do
      assert(hostile:execute(("SET %s %s TO '%s'"):format(scope, settings[i], settings[i + 1])))
    end
  end

  for _, case in ipairs(cases) do
    local settings, shown = table.move(case, 2, #case, 1, {}), {}
    for i = 1, #settings, 2 do shown[#shown + 1] = settings[i] .. " = " .. settings[i + 1] end
    shown = ("%s (%s)"):format(table.concat(shown, ", "), case[1])

    it("are the same where the role's default is " .. shown, function()
      local hostile <close> = make_default(settings)
      check_sensitive(hostile)
    end)

    it("are the same after SET " .. shown, function()
      local hostile <close> = assert(pg.connect(server.options))
      set(hostile, settings, "SESSION")
      check_sensitive(hostile)
    end)
  end

  it("are the same in a transaction with settings of its own, and after it", function()
    local hostile <close> = assert(pg.connect(server.options))
    for _, last in ipairs { "COMMIT", "ROLLBACK" } do
      for _, scope in ipairs { "LOCAL", "SESSION" } do
        assert(hostile:execute "BEGIN")
        set(hostile, all, scope)
        check_sensitive(hostile)
        assert(hostile:execute(last))
        check_sensitive(hostile)
      end
    end
  end)

  it("are stored as they are by insert, update and pg.literal under all of these (R25)", function()
    local hostile <close> = make_default(all)
    assert(hostile:execute [[CREATE TEMPORARY TABLE stored (id serial PRIMARY KEY, text text,
      bytes bytea, number float8, list text[], at timestamptz, span interval)]])
    local row = { text = [[a\'b"c\\ $1]], bytes = [[\'\\x00]] .. "\0\255", number = 0.1 + 0.2,
      list = { [[\]], "'", null, "NULL" }, at = "0044-03-15T10:00:00.5Z BC", span = "P-1Y2DT-0.5S" }
    row.id = assert(hostile:insert("stored", row)).insertedId
    local read = "SELECT * FROM stored WHERE text = "
    assert.is_true(exactly({ row }, assert(hostile:query(read .. "$1", row.text)).rows))
    assert.is_true(exactly({ row }, assert(hostile:query(read .. pg.literal(row.text))).rows))
    row.text = row.text:reverse()
    local changed = { set = { text = row.text }, where = { bytes = row.bytes, span = row.span } }
    changed.table = "stored"
    assert.are.equal(1, assert(hostile:update(changed)).rowCount)
    assert.is_true(exactly({ row }, assert(hostile:query(read .. pg.literal(row.text))).rows))
  end)

  it("are the same after the role's defaults came back", function()
    local hostile <close> = make_default(all)
    for _, reset in ipairs { "RESET ALL", "DISCARD ALL", "RESET extra_float_digits" } do
      assert(hostile:execute(reset))
      check_sensitive(hostile)
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

describe("numbers under a locale with a decimal comma", function()
  -- In a process of its own: LOCPATH has to stand before it starts.
  local program = [[
    local pg = require "pg"
    local values = require "spec.values"
    assert(os.setlocale(...), "setlocale")
    assert(("%.1f"):format(0.5) == "0,5", "this locale has no decimal comma")
    local db <close> = assert(pg.connect())
    for _, kind in ipairs(values.types) do
      local samples = values.samples(db, kind, true)
      if #samples > 0 and not kind.needs then values.check(db, kind, samples) end
    end
    local row = assert(db:with { numeric = "number" }:query("SELECT 12.25 AS n, $1::numeric = 0.1 "
      .. "AS same, $2::text AS text", 0.1, 1.5)).rows[1]
    assert(row.n == 12.25 and row.same and row.text == "1.5", "numeric")
    assert(pg.encode { 0.5, 1e300, 5e-324 } == "[0.5,1e300,5e-324]", "JSON")
    io.write "all the same"
  ]]

  it("are those of any other (R11)", function()
    local folder <const> = support.folder()
    local removed <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() os.execute("rm -rf " .. folder) end,
    })
    local _, message, code = support.run("localedef -i de_DE -f ISO-8859-1 " .. folder .. "/comma")
    if code ~= 0 then return pending("no locale can be made: " .. message) end
    support.write(folder .. "/program.lua", program)
    local output, errors = support.run(("%s LOCPATH=%s %s %s/program.lua comma"):format(
      server:environment(), folder, support.lua, folder))
    assert.are.equal("all the same", output .. errors)
  end)
end)
