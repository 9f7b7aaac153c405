-- SPDX-License-Identifier: MIT
-- Composite types, anonymous records, hstore and vector: as results in text and in binary, as
-- parameters, what is refused before anything is sent, and bytes that are none.
local pg = require "pg"
local codecs = require "spec.codecs"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local values = require "spec.values"

local null, failed, same = pg.null, support.failed, support.same

local server, db

setup(function()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
  values.create_paying(db)
  assert(db:execute [[
    CREATE TYPE mood AS ENUM ('sad', 'very, "happy"');
    CREATE DOMAIN age AS int CHECK (VALUE >= 0);
    CREATE TYPE address AS (street text, number int);
    CREATE TYPE person AS (name text, "Age in years" age, home address, moods mood[], seen tsrange,
      data jsonb, key bytea, homes address[]);
    CREATE TYPE one AS (v text);
    CREATE TYPE nothing AS ();
    CREATE DOMAIN home AS address;
    CREATE TABLE changed (a int, dropped text, b text);
    ALTER TABLE changed DROP COLUMN dropped;
    CREATE TYPE list AS (n int, items int[]);
    CREATE EXTENSION hstore]])
end)

teardown(function()
  db:close()
  server:stop()
end)

local function value(sql, ...)
  return support.value(db, sql, ...)
end

-- A type `level1` that holds a `level0` that holds a number, and so on.
local function nested_types(depth)
  local sql = { "CREATE TYPE level0 AS (v int)" }
  for i = 1, depth do sql[#sql + 1] = ("CREATE TYPE level%d AS (v level%d)"):format(i, i - 1) end
  return table.concat(sql, ";")
end

local function nest(depth, inner)
  for _ = 1, depth do inner = { v = inner } end
  return inner
end

local odd <const> = [[a "b" \c, (d) {e} ]] .. "\n\t' "

describe("a composite value", function()
  local full <const> = { name = odd, ["Age in years"] = 7, home = { street = "", number = -1 },
    moods = { "sad", null, 'very, "happy"' }, seen = { lower = "2026-01-15T10:30:00",
    bounds = "[)" }, data = { a = { 1, "x,y" } }, key = "\0\\\"", homes = { { street = odd },
    null, {} } }
  local cases = {
    -- type, SQL, value
    { "address", "ROW('x', 1)", { street = "x", number = 1 } },
    { "address", "ROW(NULL, NULL)", {} }, { "address", "ROW('', NULL)", { street = "" } },
    { "address", "ROW('NULL', 2147483647)", { street = "NULL", number = 2147483647 } },
    { "address", [[ROW(E'a "b" \\c, (d) {e} \n\t'' ', 0)]], { street = odd, number = 0 } },
    { "one", "ROW('')", { v = "" } }, { "one", "ROW(NULL)", {} },
    { "one", "ROW(',')", { v = "," } },
    { "one", "ROW('\"')", { v = '"' } }, { "one", "ROW('\"\"')", { v = '""' } },
    { "one", "ROW(')')", { v = ")" } }, { "one", "ROW(repeat('\"\\', 5000))",
      { v = ('"\\'):rep(5000) } },
    { "nothing", "ROW()", {} }, { "home", "ROW('x', 1)::address", { street = "x", number = 1 } },
    { "changed", "ROW(1, 'b')", { a = 1, b = "b" } },
    { "list", "ROW(2, '[0:1]={1,2}')", { n = 2, items = { 1, 2 } } },
    { "person", "ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)", {} },
    { "person", [[ROW(E'a "b" \\c, (d) {e} \n\t'' ', 7, ROW('', -1),
      ARRAY['sad', NULL, 'very, "happy"']::mood[], '[2026-01-15 10:30,)', '{"a": [1, "x,y"]}',
      decode('005c22', 'hex'), ARRAY[ROW(E'a "b" \\c, (d) {e} \n\t'' ', NULL), NULL,
      ROW(NULL, NULL)]::address[])]], full },
  }

  for i, case in ipairs(cases) do
    local kind, row, expected = table.unpack(case)
    local title = ("R17: of %s is the same in text and binary and passes back (%d)"):format(kind, i)
    it(title, function()
      local sql = ("(%s)::%s"):format(row, kind)
      local columns = ("%s AS one, ARRAY[%s, NULL]::%s[] AS list, ARRAY[ARRAY[%s], ARRAY[%s]] "
        .. "AS two"):format(sql, sql, kind, sql, sql)
      for _, got in ipairs { values.both(db, columns) } do
        same(expected, got.one)
        same({ expected, null }, got.list)
        same({ { expected }, { expected } }, got.two)
        local back = ("SELECT $1::%s::text = %s::text, $2::%s[]::text = ARRAY[%s, NULL]::%s[]::text"
          .. ", $3::%s[]::text = ARRAY[ARRAY[%s], ARRAY[%s]]::text"):format(kind, sql, kind, sql,
          kind, kind, sql, sql)
        same({ { true, true, true } }, assert(db:with { rows = "array" }:query(back, got.one,
          got.list, got.two)).rows)
      end
    end)
  end

  it("arrives in binary where the statement is binary", function()
    local before = values.binary_count(db)
    local text, binary = values.both(db, "ROW('x', 1)::address AS a, ARRAY[ROW(1, 'b')::changed] "
      .. "AS b, ROW(NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL)::person AS c")
    assert.equal(1, values.binary_count(db) - before)
    same(text, binary)
  end)

  it("keeps NULL fields as pg.null where rows do", function()
    local kept = db:with { null = null }
    for _, row in ipairs { values.both(kept, "ROW(NULL, 1)::address AS a, "
      .. "ARRAY[ROW('x', NULL)]::address[] AS b, ROW(ROW(NULL, NULL)::address) AS c") } do
      same({ street = null, number = 1 }, row.a)
      same({ { street = "x", number = null } }, row.b)
      assert.equal("(,1)", value("SELECT $1::address::text", row.a))
    end
  end)

  it("keeps a JSON null apart from NULL", function()
    for _, row in ipairs { values.both(db, "ROW(NULL, NULL, NULL, NULL, NULL, 'null', NULL, NULL)"
      .. "::person AS v") } do
      same({ data = null }, row.v)
    end
  end)

  it("may lie in others, deeply", function()
    local depth <const> = 12
    assert(db:execute(nested_types(depth)))
    local given = nest(depth, { v = 5 })
    for _ = 1, 2 do
      same(given, value(("SELECT $1::level%d"):format(depth), given))
      same(given, value(("SELECT $1::level%d AS v"):format(depth), given))
    end
    local err = failed("invalid_parameter", db:query(("SELECT $1::level%d"):format(depth),
      nest(depth, { v = true })))
    assert.equal("parameter $1" .. (".v"):rep(depth + 1)
      .. ": a boolean does not fit the type integer", err.message)
  end)

  it("takes as fields what their types take", function()
    assert.equal("(x,1)", value("SELECT $1::address::text", { street = "x", number = "1" }))
    assert.equal("(true,1)", value("SELECT $1::address::text", { street = true, number = 1.0 }))
    assert.equal('("{""a"":1}",)', value("SELECT $1::address::text", { street = { a = 1 } }))
    assert.equal("(,)", value("SELECT $1::address::text", { street = null }))
    assert.equal("(a,2)", value("SELECT $1::address::text", "(a,2)"))
    assert.equal('{"(a,2)","(b,)",NULL}', value("SELECT $1::address[]::text",
      { "(a,2)", { street = "b" }, null }))
    assert.equal("\0", value("SELECT ($1::person).key", { key = pg.bytea "\0" }))
    same({ 1, "x" }, value("SELECT ($1::person).data", { data = pg.json { 1, "x" } }))
    same({ { n = 3 }, { n = 4 } }, value("SELECT $1::list[]", { { n = 3 }, { n = 4 } }))
  end)

  local refused = {
    { "address", { street = "x", nmber = 1 },
      ": address has no field 'nmber'; it has street, number" },
    { "address", { "x", 1 }, ": the fields of address are given by name: street, number" },
    { "address", { ["street\0"] = "x" }, ": address has no field 'street'; it has street, number" },
    { "address", 5, nil }, -- the server's word
    { "address", { number = {} }, ".number: a table does not fit the type integer" },
    { "address", { number = 2 ^ 31 }, ".number: 2147483648 does not fit the type integer" },
    { "address", { street = print }, ".street: cannot send a function" },
    { "address", { street = "\0" }, ".street: a text cannot hold a NUL byte (only bytea can; "
      .. "pg.bytea(s) says so)" },
    { "address[]", { {}, { number = true } },
      "[2].number: a boolean does not fit the type integer" },
    { "address[]", { { { street = "x" } }, { { number = false } } },
      "[2][1].number: a boolean does not fit the type integer" },
    { "address[]", { {}, 5 }, "[2]: 5 does not fit the type address" },
    { "person", { ["Age in years"] = "\0" }, '["Age in years"]: a text cannot hold a NUL byte '
      .. "(only bytea can; pg.bytea(s) says so)" },
    { "person", { homes = { { number = 1 }, { number = 0.5 } } },
      ".homes[2].number: 0.5 does not fit the type integer" },
    { "person", { seen = { lowest = 1 } },
      ".seen: a range has no 'lowest'; it has lower, upper, bounds or empty" },
    { "person", { data = { a = print } }, ".data.a: cannot send a function" },
    { "person", { moods = { "sad", {} } },
      ".moods[2]: a table where its siblings are plain values" },
    { "home", { streets = "x" }, ": address has no field 'streets'; it has street, number" },
    { "nothing", { a = 1 }, ": nothing has no field 'a'; it has none" },
  }
  for i, case in ipairs(refused) do
    it(("is refused with its place, as %s: %s (%d)"):format(case[1], case[3], i), function()
      local sql = ("SELECT $1::int[], $2::%s"):format(case[1])
      local err = select(2, db:query(sql, {}, case[2]))
      if not case[3] then return failed("invalid_value", nil, err) end
      failed("invalid_parameter", nil, err)
      assert.equal("parameter $2" .. case[3], err.message)
      assert.equal(2, err.parameter)
    end)
  end

  it("P12: that holds itself is refused", function()
    local home = {}
    home.home = home
    support.contains(failed("invalid_parameter", db:query("SELECT $1::person", home)).message,
      "parameter $1.home: address has no field 'home'")
    local list = { n = 1, items = {} }
    list.items[1] = list.items
    support.contains(failed("invalid_parameter", db:query("SELECT $1::list", list)).message,
      "parameter $1.items[1]", "more than six dimensions, or a cycle")
  end)
end)

describe("an anonymous record", function()
  it("R17: is a list of texts, NULL is pg.null", function()
    local cases = {
      { "ROW(1, 'x')", { "1", "x" } }, { "ROW(NULL, '')", { null, "" } }, { "ROW(NULL)", { null } },
      { "ROW(ROW(1, 'a,b'), ARRAY[1, 2])", { '(1,"a,b")', "{1,2}" } },
      { "ROW('a \"b\" \\c')", { [[a "b" \c]] } }, { "ROW(true, 1.5, '2026-01-15'::date)",
        { "t", "1.5", "2026-01-15" } },
    }
    for _, case in ipairs(cases) do
      for _, row in ipairs { values.both(db, ("%s AS one, ARRAY[%s, NULL] AS list"):format(case[1],
        case[1])) } do
        same(case[2], row.one)
        same({ case[2], null }, row.list)
      end
    end
    same({ { "1", "a" }, { "2", "b" } },
      value "SELECT array_agg(t) FROM (VALUES (1, 'a'), (2, 'b')) t")
  end)
end)

describe("an hstore", function()
  local cases = {
    { "''", {} }, { [['a=>1, "b c"=>"d \"e\"\\", n=>NULL, "NULL"=>"NULL"']],
      { a = "1", ["b c"] = [[d "e"\]], n = null, NULL = "NULL" } },
    { [['""=>"", "=>"=>", "']], { [""] = "", ["=>"] = ", " } },
    { "hstore('é', E'\n')", { ["é"] = "\n" } },
  }
  for i, case in ipairs(cases) do
    it(("is a table of strings in text and binary and passes back (%d)"):format(i), function()
      local sql = case[1] .. "::hstore"
      local columns = sql .. " AS one, ARRAY[" .. sql .. ", NULL] AS list"
      for _, row in ipairs { values.both(db, columns) } do
        same(case[2], row.one)
        same({ case[2], null }, row.list)
        assert.is_true(value(("SELECT $1::hstore = %s AND $2::hstore[] IS NOT DISTINCT FROM "
          .. "ARRAY[%s, NULL]"):format(sql, sql), row.one, row.list))
      end
    end)
  end

  it("takes numbers and booleans as texts, pg.null as NULL", function()
    same({ a = "1", b = "true", c = "0.5", d = null, e = "x" }, value("SELECT $1::hstore",
      { a = 1, b = true, c = 0.5, d = null, e = "x" }))
    same({ a = "1" }, value("SELECT $1::hstore", "a=>1"))
    assert.equal("1", value("SELECT $1::hstore -> 'a'", { a = 1 }))
  end)

  for text, given in pairs {
    [".a: a table does not fit the type hstore"] = { a = {} },
    [": the keys of an hstore are strings, and one is a number"] = { "a" },
    [": a key of an hstore cannot hold a NUL byte"] = { ["a\0"] = "b" },
    [".a: a text cannot hold a NUL byte (only bytea can; pg.bytea(s) says so)"] = { a = "\0" },
    [".a: cannot send a function"] = { a = print },
  } do
    it("is refused with its place" .. text, function()
      assert.equal("parameter $1" .. text, failed("invalid_parameter",
        db:query("SELECT $1::hstore", given)).message)
    end)
  end
end)

describe("the bytes", function()
  local module, remove

  setup(function() module, remove = codecs.load() end)
  teardown(function() remove() end)

  local address <const> = { kind = "record", name = "address", fields = {
    { name = "street", oid = 25, type = "text" },
    { name = "number", oid = 23, type = "integer" } } }
  local none <const> = { kind = "record", fields = {} }
  local hstore <const>, vector <const> = { kind = "hstore" }, { kind = "vector", name = "vector" }
  local street <const> = "\0\0\0\25\0\0\0\1a"
  local wrong = {
    { address, "text", "" }, { address, "text", "(" }, { address, "text", "()" },
    { address, "text", "(a)" }, { address, "text", "(a,1,2)" }, { address, "text", "(a,1" },
    { address, "text", "(a,1))" }, { address, "text", '("a,1)' }, { address, "text", "a,1)" },
    { address, "text", "(a,x)" }, { address, "text", "(a,1\\" }, { address, "text", "(a\\" },
    { none, "text", "(a)" }, { none, "text", "(" }, { none, "text", "()x" },
    { "record", "text", "" }, { "record", "text", "(" }, { "record", "text", "(a" },
    { "record", "text", "(a,b)c" }, { "record", "text", "(a," }, { "record", "text", "x" },
    { address, "binary", "" }, { address, "binary", "\0\0\0\1" .. street },
    { address, "binary", "\0\0\0\2" .. street }, { address, "binary", "\0\0\0\3" .. street },
    { address, "binary", "\255\255\255\255" },
    { address, "binary", "\0\0\0\2" .. street .. "\0\0\0\25\0\0\0\1b" }, -- text for integer
    { address, "binary", "\0\0\0\2" .. street .. "\0\0\0\23\0\0\0\1b" },
    { address, "binary", "\0\0\0\2" .. street .. "\0\0\0\23\255\255\255\255x" },
    { address, "binary", "\0\0\0\2" .. street .. "\0\0\0\23\255\255\255\254" },
    { address, "binary", "\0\0\0\2" .. street .. "\0\0\0\23\127\255\255\255" },
    { none, "binary", "\0\0\0\0x" },
    { hstore, "text", "a" }, { hstore, "text", '"a"' }, { hstore, "text", '"a"=>' },
    { hstore, "text", '"a"=>b' }, { hstore, "text", '"a"=>"b' }, { hstore, "text", '"a"=>"b", ' },
    { hstore, "text", '"a"=>"b\\' }, { hstore, "text", '"a"=>"b""c"=>NULL' },
    { hstore, "binary", "" }, { hstore, "binary", "\0\0\0\1" },
    { hstore, "binary", "\255\255\255\255" }, { hstore, "binary", "\0\0\0\0x" },
    { hstore, "binary", "\0\0\0\1\255\255\255\255\0\0\0\0" },
    { hstore, "binary", "\0\0\0\1\0\0\0\9a\0\0\0\1b" },
    { vector, "text", "" }, { vector, "text", "[" }, { vector, "text", "[]" },
    { vector, "text", "[1,]" }, { vector, "text", "[1" }, { vector, "text", "[1]x" },
    { vector, "text", "[x]" }, { vector, "binary", "" }, { vector, "binary", "\0\1\0\0\0\0\0" },
    { vector, "binary", "\0\1\0\0\0\0\0\0\0" },
  }
  for i, case in ipairs(wrong) do
    it(("of no such value are told (%d)"):format(i), function()
      local read, reason = module.decode(table.unpack(case))
      assert.is_nil(read)
      assert(#reason > 0)
    end)
  end

  it("may be cut or changed at any place", function()
    local sql = [[ROW('a "b" \c', 7)::address]]
    same({}, codecs.broken(module, address, "text", value("SELECT " .. sql .. "::text")))
    same({}, codecs.broken(module, "record", "text", value("SELECT " .. sql .. "::text")))
    same({}, codecs.broken(module, address, "binary",
      value("SELECT record_send(" .. sql .. ")")))
    sql = [['a=>1, "b"=>"\"", c=>NULL'::hstore]]
    codecs.broken(module, hstore, "text", value("SELECT " .. sql .. "::text"))
    same({}, codecs.broken(module, hstore, "binary", value("SELECT hstore_send(" .. sql .. ")")))
    same({}, codecs.broken(module, vector, "text", "[1,-2.5,3e-05]"))
    same({}, codecs.broken(module, vector, "binary", "\0\2\0\0" .. (">ff"):pack(1, -2.5)))
    same({}, codecs.broken(module, "integer[]", "text", "[0:1][5:5]={{1},{NULL}}"))
    same({}, codecs.broken(module, "text[]", "text", [[{"a\"b",NULL,c}]]))
    same({}, codecs.broken(module, "integer[]", "binary", value
      "SELECT array_send('[0:1][5:5]={{1},{NULL}}'::int[])"))
  end)

  it("of a vector are floats, and back", function()
    for form, bytes in pairs {
      text = "[1,-2.5,0.1,3e-05]",
      binary = "\0\4\0\0" .. (">ffff"):pack(1, -2.5, 0.1, 3e-05),
    } do
      same({ 1.0, -2.5, 0.1, 3e-05 }, module.decode(vector, form, bytes))
    end
    assert.equal("[1,-2.5,0.1,0.00003]", module.encode(vector, { 1.0, -2.5, 0.1, 3e-05 })
      :gsub("3e%-0?5", "0.00003"))
    same({ n = 2, nil, "[2]: a vector holds numbers, not a string" },
      table.pack(module.encode(vector, { 1, "x" })))
    same({ n = 2, nil, "[1]: nil: use pg.null, or give the length as n" },
      { n = 2, nil, select(2, module.encode(vector, { nil, 1 })) })
  end)

  it("may lie in each other to a depth of 100, and not deeper", function()
    for _, kind in ipairs { "record", "range" } do
      local function made(depth)
        local type = "integer"
        for _ = 1, depth do
          type = kind == "range" and { kind = kind, part = type }
            or { kind = kind, fields = { { name = "v", oid = 1, type = type } } }
        end
        return type
      end
      local function bytes(depth)
        local inner = "\0\0\0\7"
        for _ = 1, depth do
          inner = (kind == "record" and "\0\0\0\1\0\0\0\1" or "\18") .. (">s4"):pack(inner)
        end
        return inner
      end
      assert(module.decode(made(100), "binary", bytes(100)))
      same({ n = 2, nil, "nested deeper than 100 levels" },
        table.pack(module.decode(made(101), "binary", bytes(101))))
    end
    local list = { kind = "array", part = "integer" }
    for _ = 2, 101 do list = { kind = "array", part = list } end
    same({ n = 2, nil, "not an array" }, table.pack(module.decode(list, "text", "{1}")))
  end)
end)
