-- SPDX-License-Identifier: MIT
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains, failed, must, raises = support.contains, support.failed, support.must,
  support.raises

local server, db, folder

setup(function()
  folder = support.folder()
  server = must(throwaway.start { tcp = true, settings = { jit = false } })
end)

teardown(function()
  if db then db:close() end
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

before_each(function()
  db = support.emptied(server.options, db)
  must(db:execute "CREATE TABLE items (id int PRIMARY KEY, name text, price numeric)")
end)

local function rows_of(sql, handle)
  return must((handle or db):with { rows = "array" }:query(sql)).rows
end

local function items() return rows_of "SELECT id, name, price FROM items ORDER BY id" end

local function written(text)
  local path <const> = folder .. "/data"
  support.write(path, text)
  return must(io.open(path, "rb"))
end

-- A function that gives the values one by one.
local function giving(list)
  local at = 0
  return function()
    at = at + 1
    return list[at]
  end
end

local function copied(what, given)
  local parts = {}
  local result = must(db:copy_out(what, function(chunk) parts[#parts + 1] = chunk end, given))
  return table.concat(parts), result
end

local function listed(what, given)
  local list = {}
  for row in db:copy_rows(what, given) do list[#list + 1] = row end
  return list
end

describe("copy_in", function()
  local ROWS <const> = { { 1, "one", "1.50" }, { 2, pg.null, "2.25" }, { 3, "", pg.null } }
  local sources = {
    ["a list of rows in the order of the columns"] = function()
      return { { 1, "one", 1.5 }, { 2, nil, "2.25" }, { 3, "" } }
    end,
    ["a list of rows by column"] = function()
      return { { id = 1, name = "one", price = "1.50" }, { id = 2, price = 2.25 },
        { id = 3, name = "", price = pg.null } }
    end,
    ["a function that gives rows"] = function()
      return giving { { 1, "one", 1.5 }, { id = 2, price = 2.25 }, { 3, "" } }
    end,
    ["a string"] = function() return "1\tone\t1.50\n2\t\\N\t2.25\n3\t\t\\N\n" end,
    ["a file"] = function() return written "1\tone\t1.50\n2\t\\N\t2.25\n3\t\t\\N\n" end,
    ["a function that gives strings"] = function()
      return giving { "1\tone", "\t1.50\n2\t", "", "\\N\t2.25\n3\t\t\\N\n" }, { raw = true }
    end,
    ["csv"] = function()
      return 'id;name;price\n1;"one";1.50\n2;;2.25\n3;"";\n',
        { format = "csv", header = true, delimiter = ";" }
    end,
  }

  for name, source in pairs(sources) do
    it("takes " .. name, function()
      local what, given = source()
      local result = must(db:copy_in("items", { "id", "name", "price" }, what, given))
      assert.equal(3, result.rowCount)
      local stored = items()
      for i, row in ipairs(ROWS) do
        assert.equal(row[1], stored[i][1])
        assert.equal(row[2], stored[i][2])
        assert.equal(row[3] == pg.null and pg.null or tonumber(row[3]),
          stored[i][3] == pg.null and pg.null or tonumber(stored[i][3]))
      end
    end)
  end

  it("takes the binary format as copy_out gave it", function()
    must(db:copy_in("items", nil, { { 1, "one", 1 }, { 2, nil, 2 } }))
    local bytes = copied("items", { format = "binary" })
    must(db:execute "CREATE TABLE others (LIKE items)")
    local result = must(db:copy_in("others", nil, bytes, { format = "binary" }))
    support.same({ 2, #bytes }, { result.rowCount, result.bytes })
    support.same(items(), rows_of "SELECT * FROM others ORDER BY id")
  end)

  it("takes no rows at all, and a million bytes in one row", function()
    assert.equal(0, must(db:copy_in("items", nil, {})).rowCount)
    assert.equal(0, must(db:copy_in("items", nil, function() end)).rowCount)
    assert.equal(0, must(db:copy_in("items", nil, "")).rowCount)
    local long = ("a\t\\"):rep(400000)
    assert.equal(1, must(db:copy_in("items", nil, { { 1, long } })).rowCount)
    assert.equal(long, items()[1][2])
    local wide <const> = "2\t" .. ("x"):rep(10000000) .. "\t3\n"
    assert.equal(1, must(db:copy_in("items", nil, wide)).rowCount)
    assert.equal(10000000, support.value(db, "SELECT length(name) FROM items WHERE id = 2"))
  end)

  it("fills only the columns of the first row where rows go by name", function()
    must(db:execute [[CREATE TABLE made (id serial, at timestamptz DEFAULT now(), name text,
      twice text GENERATED ALWAYS AS (name || name) STORED)]])
    must(db:copy_in("made", nil, { { name = "a" }, { name = "b" } }))
    support.same({ { 1, "a", "aa", true }, { 2, "b", "bb", true } },
      rows_of "SELECT id, name, twice, at IS NOT NULL FROM made ORDER BY id")
    must(db:copy_in("made", nil, { { 7, "2026-01-15T10:30:00Z", "c" } }))
    assert.equal("cc", support.value(db, "SELECT twice FROM made WHERE id = 7"))
  end)

  it("quotes names, and splits a table's at its dot", function()
    must(db:execute [[CREATE SCHEMA "My Shop"; CREATE TABLE "My Shop"."a""b" ("select" int,
      "X y" text)]])
    must(db:copy_in('My Shop.a"b', { "X y", "select" }, { { "t", 1 }, { select = 2 } }))
    support.same({ { 1, "t" }, { 2, pg.null } },
      rows_of [[SELECT * FROM "My Shop"."a""b" ORDER BY 1]])
  end)

  it("encodes values by the type of their column, as parameters are", function()
    must(db:execute [[
      CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN tags AS text[];
      CREATE TABLE kinds (n int8, f float8, b bool, bytes bytea, list int[], texts tags, j json,
        jb jsonb, m mood, moods mood[], t text, at timestamptz, grid int[])]])
    local row = { n = math.mininteger, f = -0.0, b = false, bytes = "\0\\x41\255\n",
      list = { 1, pg.null, 3 }, texts = { "a\tb", 'q"\\', "" }, j = { a = { 1, 2 } },
      jb = pg.json "text", m = "glad", moods = { "sad", "glad" }, t = { x = "y\\" },
      at = "2026-01-15T10:30:00Z", grid = { { 1, 2 }, { 3, 4 } } }
    must(db:copy_in("kinds", nil, { row, { n = 2.0, f = math.huge, b = true, bytes = "",
      list = {}, texts = pg.array {}, j = true, jb = 7, m = nil, t = 1.5 } }))
    local stored = must(db:query { query = "SELECT * FROM kinds ORDER BY n", json = "text",
      null = pg.null }).rows
    support.same({ math.mininteger, -0.0, false, "\0\\x41\255\n", '{"a":[1,2]}', '"text"', "glad",
      '{"x":"y\\\\"}' }, { stored[1].n, stored[1].f, stored[1].b, stored[1].bytes, stored[1].j,
      stored[1].jb, stored[1].m, stored[1].t })
    support.same({ 1, pg.null, 3 }, { table.unpack(stored[1].list) })
    support.same({ "a\tb", 'q"\\', "" }, { table.unpack(stored[1].texts) })
    support.same({ "sad", "glad" }, { table.unpack(stored[1].moods) })
    assert.equal(4, stored[1].grid[2][2])
    support.same({ 2, math.huge, true, "", "true", "7", pg.null, "1.5" }, { stored[2].n,
      stored[2].f, stored[2].b, stored[2].bytes, stored[2].j, stored[2].jb, stored[2].m,
      stored[2].t })
  end)

  local misfits = {
    { "a function", { { 1 }, { 2, print } }, 2, "name", "cannot send a function" },
    { "a NUL in a text", { { 1, "a\0b" } }, 1, "name", "NUL" },
    { "a table in a number's column", { { 1, "a", {} } }, 1, "price", "does not fit the type" },
    { "SQL", { { 1, pg.raw "now()" } }, 1, "name", "SQL" },
    { "pg.default", { { 1, pg.default } }, 1, "name", "SQL" },
    { "a column that is misspelt", { { id = 1, name = "a" }, { id = 2, nmae = "b" } }, 2, nil,
      "'nmae' is not among the columns" },
    { "too many values", { { 1, "a", 1, 2 } }, 1, nil, "4 values, and there are 3 columns" },
    { "a value far beyond the columns", { { 1, [9] = 1 } }, 1, nil,
      "it has a value at 9, and there is no such column" },
    { "a name in a list", { { 1, price = 2 } }, 1, nil, "it is a list, and has 'price' by name" },
    { "what is no row", { { 1 }, 2 }, 2, nil, "a row must be a table" },
    { "a string among rows", { { 1 }, "2\tb\t3\n" }, 2, nil, "a row must be a table" },
  }

  for _, case in ipairs(misfits) do
    for _, way in ipairs { "list", "function" } do
      it(("refuses %s in a %s, and stores nothing"):format(case[1], way), function()
        local list = case[2]
        local source = way == "list" and list or giving(list)
        local err = failed("invalid_parameter", db:copy_in("items", nil, source))
        support.same({ case[3], case[4] }, { err.row, err.column })
        contains(tostring(err), case[5])
        support.same({}, { table.unpack(items()) })
        assert.equal("idle", db:status().state)
      end)
    end
  end

  it("names the row and the column that the server refuses (L2)", function()
    local err = failed("invalid_value", db:copy_in("items", nil, { { 1, "a" }, { "x", "b" } }))
    support.same({ 2, "id", "22P02" }, { err.row, err.column, err.sqlstate })
    assert.equal("COPY items, line 2, column id", err.context)
    contains(err.fixes[1], "row 2")
    err = failed("constraint_violation", db:copy_in("items", nil, { { 1 }, { 2 }, { 1 } }))
    support.same({ 3, "items_pkey" }, { err.row, err.constraint })
    support.lacks(tostring(err), "stdin'")
    err = failed("invalid_value", db:copy_in("items", nil, "1\ta\t1\n2\n"))
    support.same({ 2, nil }, { err.line, err.row })
    support.same({}, { table.unpack(items()) })
  end)

  it("names them whatever the table, its columns and a trigger's statements are called", function()
    must(db:execute [[
      CREATE TABLE "x, line 77" (a int);
      CREATE TABLE "q"".uo,te" ("c""ol" int, "a: b" int);
      CREATE TABLE noted (note text CHECK (note = ''));
      CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'INSERT INTO noted VALUES (''COPY fired, line 99'')'; RETURN new; END $$;
      CREATE TABLE fired (a int);
      CREATE TRIGGER note BEFORE INSERT ON fired FOR EACH ROW EXECUTE PROCEDURE note()]])
    local odd = pg.identifier 'q".uo,te'
    for _, case in ipairs {
      { "x, line 77", { "a" }, 2, "x, line 77", "a" },
      { odd, { 'c"ol' }, 2, 'q".uo,te', 'c"ol' },
      { odd, { "a: b" }, 2, 'q".uo,te', "a: b" },
      { "fired", { "a" }, 1, "noted" },
    } do
      local _, err = db:copy_in(case[1], case[2], { { 1 }, { "x\nCOPY fired, line 88" } })
      support.same({ case[3], case[4], case[5] }, { err.row, err.table, err.column })
      support.lacks(err.context, "88")
    end
  end)

  it("takes a column named n for what it is, and a list that begins with NULLs", function()
    must(db:execute "CREATE TABLE counts (n int, m int)")
    must(db:copy_in("counts", nil, { { n = 5 } }))
    must(db:copy_in("counts", { "n", "m" }, { { n = 6 }, { nil, 7, nil, nil }, { [2] = 8 },
      table.pack(9, nil) }))
    must(db:copy_in("counts", { "m" }, { table.pack(nil) }))
    support.same({ { 5, pg.null }, { 6, pg.null }, { 9, pg.null }, { pg.null, 7 }, { pg.null, 8 },
      { pg.null, pg.null } }, { table.unpack(must(db:query { rows = "array", null = pg.null,
        query = "SELECT n, m FROM counts ORDER BY n, m" }).rows) })
  end)

  it("tells the nearest name", function()
    contains(tostring(failed("undefined_table", db:copy_in("itms", { "id" }, { { 1 } }))), "items")
    contains(tostring(failed("undefined_column", db:copy_in("items", { "id", "nam" }, { { 1 } }))),
      "name")
  end)

  it("gives back what a source says is wrong, and stores nothing", function()
    local own = {}
    local function source(problem)
      local n = 0
      return function()
        n = n + 1
        if n < 3 then return { n } end
        return nil, problem
      end
    end
    local _, err = db:copy_in("items", nil, source(own))
    assert.equal(own, err)
    contains(failed("query_failed", db:copy_in("items", nil, source "the disk is gone")).message,
      "the disk is gone")
    local file = written "1\ta\t1\n"
    file:close()
    raises("closed file", function() db:copy_in("items", nil, file) end)
    local folder_itself <close> = must(io.open(folder))
    contains(failed("query_failed", db:copy_in("items", nil, folder_itself)).message, "directory")
    support.same({}, { table.unpack(items()) })
  end)

  it("tells how far it is", function()
    local told, list = {}, {}
    local function tell(done) told[#told + 1] = done end
    for i = 1, 20000 do list[i] = { i, "some name" } end
    must(db:copy_in("items", nil, list, { progress = function(done, total)
      tell(done)
      assert.equal(20000, total)
    end }))
    assert.is_true(#told > 3)
    assert.equal(20000, told[#told])
    for i = 2, #told do assert.is_true(told[i] > told[i - 1]) end
    must(db:execute "TRUNCATE items")
    told = {}
    must(db:copy_in("items", nil, giving(list), { progress = tell }))
    assert.equal(20000, told[#told])
    told = {}
    must(db:copy_in("items", nil, "20001\t\t1\n", { progress = tell }))
    support.same({ 9 }, told)
  end)

  it("passes on what the server remarks", function()
    must(db:execute [[CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE NOTICE 'row %', NEW.id; RETURN NEW; END $$;
      CREATE TRIGGER note BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION note()]])
    local list = {}
    for i = 1, 30000 do list[i] = { i } end
    local notices = must(db:copy_in("items", nil, list)):notices()
    assert.equal("row 1", notices[1].message)
    assert.equal(30000, #notices + notices.dropped)
  end)
end)

describe("copy_out", function()
  before_each(function()
    must(db:copy_in("items", nil, { { 1, "a\tb", 1 }, { 2, nil, 2 }, { 3, 'say "x"', 3 } }))
  end)

  it("gives a table's rows to a function, in portions of whole rows", function()
    local text, result = copied "items"
    assert.equal("1\ta\\tb\t1\n2\t\\N\t2\n3\tsay \"x\"\t3\n", text)
    support.same({ 3, #text }, { result.rowCount, result.bytes })
    local lines = 0
    must(db:copy_out("SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i", function(chunk)
      assert.equal("\n", chunk:sub(-1))
      assert.is_true(#chunk < 70000)
      lines = lines + select(2, chunk:gsub("\n", ""))
    end))
    assert.equal(1000, lines)
  end)

  it("writes a file", function()
    do
      local file <close> = must(io.open(folder .. "/out", "wb"))
      assert.equal(3, must(db:copy_out("items", file, { format = "csv", header = true,
        columns = { "name", "id" }, null = "-" })).rowCount)
    end
    local file <close> = must(io.open(folder .. "/out"))
    assert.equal('name,id\na\tb,1\n-,2\n"say ""x""",3\n', file:read "a")
  end)

  local queries = { "SELECT id FROM items ORDER BY id;",
    "  -- all\n select id from items order by 1", "(VALUES (1), (2), (3))",
    "WITH x AS (SELECT id FROM items) SELECT * FROM x ORDER BY 1 -- end",
    "/* three */ VALUES(1),(2),(3)", pg.raw "UPDATE items SET id = id RETURNING id" }
  for _, query in ipairs(queries) do
    it("takes the query " .. tostring(query), function()
      assert.equal("1\n2\n3\n", (copied(query)))
    end)
  end

  it("takes a view, and a table whose name reads as a query", function()
    must(db:execute [[CREATE VIEW seen AS SELECT 7 AS n; CREATE TABLE "table" (a int, twice int
      GENERATED ALWAYS AS (a * 2) STORED); INSERT INTO "table" VALUES (4);
      CREATE TABLE "select all" (b int); INSERT INTO "select all" VALUES (5)]])
    assert.equal("7\n", (copied "seen"))
    assert.equal("4\n", (copied "table"))
    assert.equal("8\n", (copied("table", { columns = "twice" })))
    assert.equal("5\n", (copied(pg.identifier "select all")))
  end)

  it("keeps a query to one statement", function()
    failed("syntax_error", db:copy_out("SELECT 1) TO STDOUT; DROP TABLE items; --", print))
    failed("syntax_error", db:copy_out("SELECT 1; DROP TABLE items", print))
    assert.equal(3, #items())
  end)

  it("takes no parameters, and says what to do", function()
    local err = failed("invalid_parameter", db:copy_out("SELECT * FROM items WHERE id = $1", print))
    contains(tostring(err), "pg.literal")
    raises("a table's name must be a string", function()
      db:copy_out({ query = "SELECT 1", parameters = {} }, print)
    end)
  end)

  it("points into the query", function()
    local err = failed("undefined_column", db:copy_out("SELECT nme FROM items", print))
    assert.equal(8, err.position)
    db:transaction(function(tx)
      err = failed("invalid_value", tx:copy_out("SELECT 1 / (id - id) FROM items", print))
      contains(err.sql, "COPY (SELECT 1 / (id - id)")
      return nil, err
    end)
  end)

  it("ends where the sink says so, and gives back the reason", function()
    local own, calls = {}, 0
    local _, err = db:copy_out("SELECT repeat('x', 1000), generate_series(1, 100000)", function()
      calls = calls + 1
      return nil, own
    end)
    assert.equal(own, err)
    assert.equal(1, calls)
    local reader <close> = must(io.open(folder .. "/out", "rb"))
    contains(failed("query_failed", db:copy_out("items", reader)).message, "writing")
    assert.equal(1, must(db:query "SELECT 1").rowCount)
  end)

  it("tells how far it is", function()
    local told = {}
    local result = must(db:copy_out("SELECT repeat('x', 1000) FROM generate_series(1, 1000)",
      function() end, { progress = function(bytes) told[#told + 1] = bytes end }))
    assert.is_true(#told > 3)
    assert.equal(result.bytes, told[#told])
  end)
end)

describe("copy_rows", function()
  local TYPES <const> = [[SELECT i, i::int8 * 1000000000000 AS big, i / 3.0::float8 AS f,
    i / 3.0::float4 AS f4, (i / 7.0)::numeric AS n, i %% 2 = 0 AS b,
    'text ' || i || E'\t\\N\n' AS t, decode(repeat('00ff5c', i), 'hex') AS bytes,
    ARRAY[i, NULL, i + 1] AS list, '{}'::text[] AS none, jsonb_build_object('a', i) AS j,
    timestamptz '2026-01-15 10:30:00+00' + i * interval '1 hour' AS at,
    date '2026-01-15' AS d, interval '1 day 2 hours' AS w, NULL::int AS nothing,
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS u, inet '10.0.0.1' AS ip, '' AS empty %s
    FROM generate_series(1, 200) AS i]]
  local ways = { binary = "", text = ", point(1, i) AS p" }

  for name, more in pairs(ways) do
    for _, given in ipairs { {}, { rows = "array" }, { null = pg.null, numeric = "number",
      json = "text" } } do
      it(("gives what query gives, from the %s format: %s"):format(name, pg.encode(given)),
        function()
          local sql = TYPES:format(more)
          local expected = must(db:with(given):query(sql)).rows
          local list = listed(sql, given)
          assert.equal(200, #list)
          for i, row in ipairs(list) do support.same(expected[i], row) end
        end)
    end
  end

  it("gives a table's rows, of all columns or of some", function()
    must(db:copy_in("items", nil, { { 1, "a", 1 }, { 2, nil, 2 } }))
    support.same({ { id = 1, name = "a", price = "1" }, { id = 2, price = "2" } }, listed "items")
    support.same({ { name = "a" }, {} }, listed("items", { columns = "name" }))
  end)

  it("gives rows without columns, of one that is NULL or empty, and of namesakes", function()
    support.same({ {}, {} }, listed "SELECT FROM generate_series(1, 2)")
    support.same({ {}, { x = "" } }, listed "SELECT x FROM (VALUES (NULL), ('')) v(x)")
    support.same({ {}, { x = "(1,1)" } },
      listed "SELECT x FROM (VALUES (NULL), (point(1, 1))) v(x)")
    support.same({ { a = 2 } }, listed "SELECT 1 AS a, 2 AS a")
    support.same({ {} }, listed "SELECT 1 AS a, NULL::int AS a")
    support.same({ { 1, pg.null, 1 } }, listed("SELECT 1 AS a, NULL::int, 1 AS a",
      { rows = "array" }))
    support.same({}, listed "SELECT 1 WHERE false")
  end)

  it("raises what is wrong, before the first row and in the middle", function()
    local ok, err = pcall(db.copy_rows, db, "nowhere")
    support.same({ false, "undefined_table" }, { ok, err.kind })
    local count = 0
    ok, err = pcall(function()
      for _ in db:copy_rows "SELECT 1 / (5000 - i) FROM generate_series(1, 10000) i" do
        count = count + 1
      end
    end)
    support.same({ false, "22012" }, { ok, err.sqlstate })
    assert.is_true(count < 5000)
    assert.equal("idle", db:status().state)
    raises('rows = "columns"', function() db:copy_rows("items", { rows = "columns" }) end)
  end)
end)

describe("copy_to", function()
  local other

  before_each(function()
    must(db:execute "CREATE DATABASE elsewhere")
    other = must(pg.connect(support.with(server.options, { database = "elsewhere" })))
    must(other:execute "CREATE TABLE items (id int PRIMARY KEY, name text, price numeric)")
    must(db:copy_in("items", nil, { { 1, "a\tb\\N", 1 }, { 2, nil, 2 } }))
  end)

  after_each(function()
    other:close()
    support.eventually(function() return (db:execute "DROP DATABASE elsewhere") end)
  end)

  it("copies a table from one database to the other", function()
    local told
    local result = must(db:copy_to(other, "items", { progress = function(n) told = n end }))
    support.same({ 2, told }, { result.rowCount, result.bytes })
    support.same(items(), rows_of("SELECT * FROM items ORDER BY id", other))
  end)

  it("copies a query into a table of another name, and of other types", function()
    must(other:execute "CREATE TABLE there (title varchar(10), number int8)")
    assert.equal(2, must(db:copy_to(other, "SELECT id, name FROM items ORDER BY id",
      { table = "there", columns = { "number", "title" } })).rowCount)
    support.same({ { "a\tb\\N", 1 }, { pg.null, 2 } }, rows_of("SELECT * FROM there", other))
  end)

  it("leaves out what is computed", function()
    for _, each in ipairs { db, other } do
      must(each:execute "CREATE TABLE made (a int, twice int GENERATED ALWAYS AS (a * 2) STORED)")
    end
    must(db:execute "INSERT INTO made VALUES (21)")
    must(db:copy_to(other, "made"))
    assert.equal(42, support.value(other, "SELECT twice FROM made"))
  end)

  it("says on which side it failed, stores nothing, and leaves both usable", function()
    local cases = {
      { "source", "undefined_table", "nowhere" },
      { "source", "undefined_column", "SELECT idd FROM items", { table = "items" } },
      { "target", "undefined_table", "items", { table = "nowhere" } },
      { "target", "undefined_column", "SELECT id AS idd FROM items", { table = "items" } },
      { "source", "invalid_value", "SELECT 30000 - i AS id FROM generate_series(1, 40000) i "
        .. "WHERE 1 / (30000 - i) < 2", { table = "items" } },
      { "target", "constraint_violation",
        "SELECT i % 30000 AS id FROM generate_series(1, 100000) i", { table = "items" } },
    }
    for _, case in ipairs(cases) do
      local err = failed(case[2], db:copy_to(other, case[3], case[4]))
      assert.equal(case[1], err.side)
      assert.equal(0, support.value(other, "SELECT count(*) FROM items"))
      assert.equal("idle", db:status().state)
      assert.equal("idle", other:status().state)
    end
  end)

  it("needs another connection, and a table for a query", function()
    raises("two connections", function() db:copy_to(db:with {}, "items") end)
    raises("need a `table`", function() db:copy_to(other, "SELECT 1") end)
  end)
end)

describe("COPY's options", function()
  local cases = {
    { "unknown option 'formt' (did you mean 'format'?)",
      function() db:copy_in("items", nil, {}, { formt = "csv" }) end },
    { "format must be 'text', 'csv' or 'binary', not 'json'",
      function() db:copy_out("items", print, { format = "json" }) end },
    { "header must be true, false or 'match', not 1",
      function() db:copy_out("items", print, { header = 1 }) end },
    { "delimiter must be a string, not a number",
      function() db:copy_out("items", print, { delimiter = 1 }) end },
    { "progress must be a function, not a number",
      function() db:copy_in("items", nil, {}, { progress = 1 }) end },
    { "options must be a table, not a string", function() db:copy_rows("items", "csv") end },
    { "unknown option 'format'", function() db:copy_rows("items", { format = "csv" }) end },
    { "the source must be a list of rows, a function, a file or a string, not a nil",
      function() db:copy_in("items", nil, nil) end },
    { "one row goes as { row }", function() db:copy_in("items", nil, { id = 1, name = "a" }) end },
    { "not a table of strings", function() db:copy_in("items", nil, { "1" }, { raw = true }) end },
    { "the sink must be a function or a file, not a nil", function() db:copy_out "items" end },
    { "rows are sent as they have to be", function()
      db:copy_in("items", nil, {}, { format = "csv" })
    end },
    { "columns is an empty list", function() db:copy_in("items", {}, {}) end },
    { "columns goes with a table", function()
      db:copy_out("SELECT 1", print, { columns = { "a" } })
    end },
    { "a name cannot be empty", function() db:copy_in("", nil, {}) end },
    { "more than one dot", function() db:copy_in("a.b.c", nil, {}) end },
    { "timeout", function() db:copy_in("items", nil, {}, { timeout = -1 }) end },
  }
  for _, case in ipairs(cases) do
    it("raises at the caller's line: " .. case[1], function() raises(case[1], case[2]) end)
  end
end)
