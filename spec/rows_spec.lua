-- SPDX-License-Identifier: MIT
-- Rows: their three shapes, NULLs and names, what outlives the connection and what changes under a
-- statement that is remembered; and what a server may say that is not true.
local impostor = require "spec.fault.impostor"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local exactly, failed, null = support.exactly, support.failed, pg.null

local server, db

setup(function()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
end)

teardown(function()
  db:close()
  server:stop()
end)

local function query(sql, ...) return assert(db:query(sql, ...)) end

-- Both are the same, keys and subtypes and signs of numbers included.
local function same(expected, actual)
  assert(exactly(expected, actual), ("%s instead of %s"):format(pg.encode(actual),
    pg.encode(expected)))
end

describe("a result", function()
  setup(function()
    assert(db:execute [[
      CREATE TABLE users (id serial PRIMARY KEY, name text, email text, created_at timestamptz,
        age smallint, points bigint);
      INSERT INTO users (name, email, created_at, age, points) VALUES
        ('John Doe', 'john@example.com', '2026-01-15 11:30:00+01', 42, 9007199254740993),
        ('Jane', NULL, '2026-01-15 10:30:00.25Z', NULL, NULL);
      CREATE TABLE orders (id bigserial PRIMARY KEY, user_id int REFERENCES users, amount
        numeric(10, 2), created_at timestamptz, name text);
      INSERT INTO orders (user_id, amount, created_at, name) VALUES
        (1, 19.99, '2026-01-14 23:30Z', 'first'), (1, 0.01, '2026-01-14 00:00Z', 'second'),
        (1, 100, '2026-01-15 12:00Z', NULL)]])
  end)

  it("has rows and rowCount and nothing else (S037, S038, S039)", function()
    local result = query "SELECT id, name, email, created_at FROM users WHERE id = 1"
    same({ rows = { { id = 1, name = "John Doe", email = "john@example.com",
      created_at = "2026-01-15T10:30:00Z" } }, rowCount = 1 }, result)
    same({ { name = "id", type = "integer", oid = 23 }, { name = "name", type = "text", oid = 25 },
      { name = "email", type = "text", oid = 25 },
      { name = "created_at", type = "timestamp with time zone", oid = 1184 } }, result:columns())
    assert.is_nil(getmetatable(result.rows[1]))
  end)

  it("is the JSON of the documentation, lists that are empty included (S037, S003)", function()
    local result = query "SELECT id, name FROM users WHERE id = 1"
    local text = result:json()
    assert(text == '{"rows":[{"id":1,"name":"John Doe"}],"rowCount":1}'
      or text:find('"rowCount":1', 1, true) and text:find('"id":1', 1, true), text)
    assert.are.equal(text, pg.encode(result))
    for _, shape in ipairs { "object", "array" } do
      local empty = assert(db:with { rows = shape }:query "SELECT id FROM users WHERE false")
      same({ rows = {}, rowCount = 0 }, empty)
      assert.are.equal("[]", pg.encode(empty.rows))
    end
    local empty = assert(db:with { rows = "columns" }:query "SELECT id, name FROM users LIMIT 0")
    same({ rows = { id = {}, name = {} }, rowCount = 0 }, empty)
    assert.are.equal("[]", pg.encode(empty.rows.id))
    assert.are.equal("[]", pg.encode(query("").rows))
    assert.are.equal("[]", pg.encode(query("CREATE TEMPORARY TABLE nothing ()").rows))
  end)

  it("has aggregates without loss (S003, S109)", function()
    local report = query([[
      SELECT
      DATE_TRUNC('day', created_at) as date,
      COUNT(*) as count,
      AVG(amount) as avg_amount
      FROM orders
      WHERE created_at >= $1
      GROUP BY DATE_TRUNC('day', created_at)
      ORDER BY date DESC]], "2026-01-14T00:00:00Z")
    same(2, #report.rows)
    for _, row in ipairs(report.rows) do
      assert(row.date:find "^2026%-01%-1%dT%d%d:00:00Z$", row.date)
      assert.are.equal("integer", math.type(row.count))
    end
    local sums = query [[SELECT sum(amount) AS total, avg(points) AS mean, max(points) AS most,
      sum(age) AS ages, count(*) FILTER (WHERE age > 100) AS old FROM orders, users]]
    same({ { total = "240.00", mean = "9007199254740993.0000", most = 9007199254740993, ages = 126,
      old = 0 } }, sums.rows)
  end)

  it("nests what json_agg collects (S101)", function()
    local result = query [[
      SELECT u.id, u.name, coalesce(json_agg(json_build_object('id', o.id, 'amount', o.amount,
               'name', o.name) ORDER BY o.id) FILTER (WHERE o.id IS NOT NULL), '[]') AS orders
        FROM users u LEFT JOIN orders o ON o.user_id = u.id GROUP BY u.id ORDER BY u.id]]
    same({
      { id = 1, name = "John Doe", orders = { { id = 1, amount = 19.99, name = "first" },
        { id = 2, amount = 0.01, name = "second" }, { id = 3, amount = 100.0, name = null } } },
      { id = 2, name = "Jane", orders = {} },
    }, result.rows)
    assert.are.equal("[]", pg.encode(result.rows[2].orders))
  end)

  it("keeps both columns of a join that are named alike in rows as arrays (S102, R6)", function()
    local sql = [[SELECT u.id, u.name, o.id, o.name FROM users u LEFT JOIN orders o
      ON o.user_id = u.id AND o.id > 1 ORDER BY u.id, o.id]]
    local arrays = assert(db:with { rows = "array" }:query(sql))
    same({ { 1, "John Doe", 2, "second" }, { 1, "John Doe", 3, null }, { 2, "Jane", null, null } },
      arrays.rows)
    -- by name the last one counts, also where it is NULL: never now one and now the other
    same({ { id = 2, name = "second" }, { id = 3 }, {} }, query(sql).rows)
    same({ { id = 2, name = "second" }, { id = 3, name = null }, { id = null, name = null } },
      assert(db:with { null = null }:query(sql)).rows)
    same({ id = { 2, 3, null }, name = { "second", null, null } },
      assert(db:with { rows = "columns" }:query(sql)).rows)
    local names = {}
    for i, column in ipairs(query(sql):columns()) do names[i] = column.name end
    same({ "id", "name", "id", "name" }, names)
  end)

  it("outlives its connection (R27)", function()
    local short = assert(pg.connect(server.options))
    local sql = "SELECT id, name, ARRAY[1, NULL] AS list, '\\x00ff'::bytea AS bytes FROM users"
    local result = assert(short:query(sql))
    short:close()
    short = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    same({ { id = 1, name = "John Doe", list = { 1, null }, bytes = "\0\xff" },
      { id = 2, name = "Jane", list = { 1, null }, bytes = "\0\xff" } }, result.rows)
    assert.are.equal("integer[]", result:columns()[3].type)
    assert(result:json():find('"list":[1,null]', 1, true))
    same({}, result:notices())
  end)
end)

describe("NULL", function()
  local sql = "SELECT NULL AS a, 1 AS b, NULL::int[] AS c"

  it("is absent by name, and pg.null where it would leave a hole", function()
    same({ { b = 1 } }, query(sql).rows)
    same({ { a = null, b = 1, c = null } }, assert(db:with { null = null }:query(sql)).rows)
    same({ { null, 1, null } }, assert(db:with { rows = "array" }:query(sql)).rows)
    same({ a = { null }, b = { 1 }, c = { null } },
      assert(db:with { rows = "columns" }:query(sql)).rows)
    same({ { b = 1 } }, assert(db:with { null = null }:with { null = false }:query(sql)).rows)
    same({ { a = null, b = 1, c = null } }, assert(db:query { query = sql, null = null }).rows)
    assert.are.equal('{"b":1}', pg.encode(query(sql).rows[1]))
  end)

  it("of JSON is pg.null, of SQL absent, at the top level and in arrays", function()
    local text = [['null'::json AS a, NULL::json AS b, 'null'::jsonb AS c, '[null]'::jsonb AS d,
      '{"null",NULL}'::jsonb[] AS e, decode('', 'hex') AS paying]]
    for _ = 1, 2 do
      same({ { a = null, c = null, d = { null }, e = { null, null }, paying = "" } },
        query("SELECT " .. text).rows)
    end
  end)

  it("is not what is empty or false", function()
    local text = "'' AS a, false AS b, 0 AS c, '{}'::int[] AS d, '{}'::json AS e, ''::bytea AS f"
    for _ = 1, 2 do
      same({ { a = "", b = false, c = 0, d = {}, e = {}, f = "" } }, query("SELECT " .. text).rows)
    end
  end)
end)

describe("columns", function()
  it("may be none: as many empty rows as there are (R5)", function()
    local sql = "SELECT FROM generate_series(1, 3)"
    same({ rows = { {}, {}, {} }, rowCount = 3 }, query(sql))
    assert.are.equal("[{},{},{}]", pg.encode(query(sql).rows))
    same({}, query(sql):columns())
    local arrays = assert(db:with { rows = "array" }:query(sql))
    same({ rows = { {}, {}, {} }, rowCount = 3 }, arrays)
    assert.are.equal("[[],[],[]]", pg.encode(arrays.rows))
    same({ rows = {}, rowCount = 3 }, assert(db:with { rows = "columns" }:query(sql)))
  end)

  it("may be 1664, and one more is the server's error (R4)", function()
    local columns, expected = {}, {}
    for i = 1, 1664 do columns[i], expected["c" .. i] = ("%d AS c%d"):format(i, i), i end
    for _ = 1, 2 do
      assert.is_true(exactly({ expected }, query("SELECT " .. table.concat(columns, ",")).rows))
    end
    columns[1665] = "0"
    local err = failed("query_failed", db:query("SELECT " .. table.concat(columns, ",")))
    assert.are.equal("54011", err.sqlstate)
    assert.are.equal("idle", db:status().state)
  end)

  it("without a name are ?column?, and long names are cut by the server (R6, R7)", function()
    same({ { ["?column?"] = 2 } }, query("SELECT 1, 2").rows)
    same({ { 1, 2 } }, assert(db:with { rows = "array" }:query "SELECT 1, 2").rows)
    local long = ("n"):rep(70)
    local result = query(("SELECT 1 AS %s"):format(long))
    same({ { [long:sub(1, 63)] = 1 } }, result.rows)
    assert(result:notices()[1].message:find("truncated", 1, true))
    same({ { ['a "b" \\'] = 1, ["é"] = 2, [" "] = 3 } },
      query([[SELECT 1 AS "a ""b"" \", 2 AS "é", 3 AS " "]]).rows)
  end)

  it("are those of the statement's last run after another session's ALTER TABLE", function()
    local other <close> = assert(pg.connect(server.options))
    assert(db:execute [[CREATE TABLE changing (a bytea, b text);
      INSERT INTO changing VALUES ('A', 'x')]])
    local sql = "SELECT * FROM changing"
    for _ = 1, 2 do same({ { a = "A", b = "x" } }, query(sql).rows) end -- in binary from here on
    local changes = {
      { "ALTER a TYPE text USING encode(a, 'escape')", { a = "A", b = "x" }, { "text", "text" } },
      { "ADD c float8[] DEFAULT '{1,NULL}'", { a = "A", b = "x", c = { 1.0, null } },
        { "text", "text", "double precision[]" } },
      { "ALTER c TYPE int[] USING '{1,NULL}'", { a = "A", b = "x", c = { 1, null } },
        { "text", "text", "integer[]" } },
      { "RENAME b TO bb", { a = "A", bb = "x", c = { 1, null } }, { "text", "text", "integer[]" } },
      { "DROP a", { bb = "x", c = { 1, null } }, { "text", "integer[]" } },
      { "ALTER c TYPE float8[] USING '{2.5}'", { bb = "x", c = { 2.5 } },
        { "text", "double precision[]" } },
      -- that cannot be sent in binary at all
      { "ADD d aclitem DEFAULT '=r/postgres'", { bb = "x", c = { 2.5 }, d = "=r/postgres" },
        { "text", "double precision[]", "aclitem" } },
      { "DROP d", { bb = "x", c = { 2.5 } }, { "text", "double precision[]" } },
    }
    for _, change in ipairs(changes) do
      assert(other:execute("ALTER TABLE changing " .. change[1]))
      for _ = 1, 3 do
        local result = query(sql)
        same({ change[2] }, result.rows)
        local found = {}
        for i, column in ipairs(result:columns()) do found[i] = column.type end
        same(change[3], found)
      end
    end
  end)

  it("whose binary form became unknown fail once and are read after that", function()
    local other <close> = assert(pg.connect(server.options))
    assert(db:execute "CREATE TABLE unread (a bytea); INSERT INTO unread VALUES ('A')")
    local sql = "SELECT * FROM unread"
    for _ = 1, 2 do same({ { a = "A" } }, query(sql).rows) end
    assert(other:execute "ALTER TABLE unread ADD b point DEFAULT '(1,2)'")
    local err = failed("invalid_value", db:query(sql))
    assert.are.equal("b", err.column)
    assert.is_true(err.completed)
    for _ = 1, 3 do same({ { a = "A", b = "(1,2)" } }, query(sql).rows) end
    -- this session's own DDL is known of
    assert(db:execute "ALTER TABLE unread DROP b")
    for _ = 1, 2 do same({ { a = "A" } }, query(sql).rows) end
    assert(db:execute "ALTER TABLE unread ADD b point DEFAULT '(1,2)'")
    same({ { a = "A", b = "(1,2)" } }, query(sql).rows)
  end)
end)

describe("rowCount", function()
  it("is what the server's command tag says (R23)", function()
    assert(db:execute "CREATE TABLE counted (n int)")
    same({ success = true, rowCount = 3 },
      assert(db:execute "INSERT INTO counted SELECT generate_series(1, 3)"))
    same({ rowCount = 2 }, assert(db:update("UPDATE counted SET n = n WHERE n > $1", 1)))
    same({ rowCount = 1 }, assert(db:delete("DELETE FROM counted WHERE n = $1", 1)))
    same({ rowCount = 0 }, assert(db:delete("DELETE FROM counted WHERE n = $1", 1)))
    same(2, query("SELECT * FROM counted").rowCount)
    same(0, assert(db:execute "CREATE TABLE more (n int)").rowCount)
    same(2, assert(db:execute "CREATE TABLE copied AS SELECT * FROM counted").rowCount)
    same(2, query("INSERT INTO more SELECT * FROM counted RETURNING n").rowCount)
    if db:status().server >= "15" then
      same({ rowCount = 2 }, assert(db:update [[MERGE INTO more USING counted ON more.n = counted.n
        WHEN MATCHED THEN UPDATE SET n = 0]]))
    end
  end)
end)

-- The liar is believed, or the error names the column and the row, and the next answer is read.
local function misread(ask, oid, bytes, format, problem)
  local err = failed("invalid_value", ask {
    columns = { { "good", 25, format }, { "bad", oid, format } },
    rows = { { "x", false }, { "y", bytes }, { "z", false } }, tag = "SELECT 3" })
  assert.are.equal("bad", err.column)
  assert(err.message:find('column "bad", row 2', 1, true), err.message)
  assert(not problem or err.message:find(problem, 1, true), err.message)
  same({ { v = "fine" } }, assert(ask { columns = { { "v", 25 } }, rows = { { "fine" } } }).rows)
end

describe("a server's answer", function()
  it("may have 65535 columns (R4)", function()
    impostor.asked(function(ask)
      local columns, row = {}, {}
      for i = 1, 65535 do columns[i], row[i] = { "c" .. i, 23 }, tostring(i) end
      local given = { columns = columns, rows = { row } }
      local expected = {}
      for i = 1, 65535 do expected["c" .. i] = i end
      assert.is_true(exactly({ expected }, assert(ask(given)).rows))
      assert.are.equal(65535, #assert(ask(given, { rows = "array" })).rows[1])
    end)
  end)

  it("may name columns with nothing, and alike (R6)", function()
    impostor.asked(function(ask)
      local given = { columns = { { "", 23 }, { "a", 23 }, { "", 23 }, { "a", 23 } },
        rows = { { "1", "2", "3", false }, { false, "2", false, "4" } }, tag = "SELECT 2" }
      same({ { [""] = 3 }, { a = 4 } }, assert(ask(given)).rows)
      same({ { [""] = 3, a = null }, { [""] = null, a = 4 } },
        assert(ask(given, { null = null })).rows)
      same({ { 1, 2, 3, null }, { null, 2, null, 4 } }, assert(ask(given, { rows = "array" })).rows)
    end)
  end)

  it("may hold a NUL in text: its length counts (R19)", function()
    impostor.asked(function(ask)
      same({ { v = "a\0b" } },
        assert(ask { columns = { { "v", 25 } }, rows = { { "a\0b" } } }).rows)
      misread(ask, 23, "1\0", 0, "not an integer")
      misread(ask, 701, "1\0", 0, "not a floating")
      misread(ask, 1184, "2026-01-15 10:30:00+00\0", 0, "timestamp")
      misread(ask, 114, "1\0", 0, "JSON")
    end)
  end)

  it("that is no value of its type is an error that names column and row (R21)", function()
    local garbage <const> = {
      [16] = { "", "x", "true", "tt" },
      [17] = { "\\x0", "\\xZZ", "\\8", "\\", "\\40", "\\400", "a\\" },
      [20] = { "", "-", "+", "not-a-number", "1 ", " 1", "1.0", "0x10", "1e3",
        "9223372036854775808", "-9223372036854775809", "99999999999999999999" },
      [26] = { "", "x" },
      [701] = { "", ".", "-", "e", "1,5", "1e", "1e+", "abc", "0x1p3", "infinit", "nanny", "1 " },
      [700] = { "", "1,5" },
      [1700] = { "", "-", ".", ".5", "5.", "1e5", "1,5", "nan", "--1", "1.2.3" },
      [1082] = { "", "99-99", "2026-13-01", "2026-02-29", "2026-00-01", "2026-01-00", "15.01.2026",
        "01/15/2026", "2026-01-15 AD", "2026-1-5", "today" },
      [1083] = { "", "25:00:00", "10:60:00", "10:30", "10:30:61", "10:30:00.", "10:30:00+02" },
      [1266] = { "10:30:00", "10:30:00+", "10:30:00+2", "10:30:00+02:60" },
      [1114] = { "", "2026-01-15", "2026-01-15T10:30:00", "2026-01-15 10:30:00+00",
        "Thu Jan 15 10:30:00 2026", "15.01.2026 10:30:00" },
      [1184] = { "", "2026-01-15 10:30:00", "2026-01-15 10:30:00 CET", "15.01.2026 10:30:00 CET" },
      [1186] = { "", "P", "PT", "1", "1 fortnight", "@ 1 day", "1-2 3 4:05:06", "P1H", "PT1D",
        "P1.5Y", "1:2:3", "01:60:00" },
      [114] = { "", " ", "{", "[1,]", "{a:1}", "nul", "01", "'x'", "[1] x", "\xef\xbb\xbf1" },
      [3802] = { "", "]" },
      [1007] = { "", "{", "}", "{1", "{1,}", "{,1}", "{1}x", "{{1},2}", "{1,{2}}", "1",
        "[0:1]{1,2}", "[", "{x}", "{1}}", '{"1}', "{1,2" },
      [1009] = { '{"a', '{"a\\', '{a"b}', '{"a"b}', "{a{b}" },
      [1001] = { '{"\\\\xZ"}' },
    }
    impostor.asked(function(ask)
      for oid, texts in pairs(garbage) do
        for _, text in ipairs(texts) do misread(ask, oid, text) end
      end
    end)
  end)

  it("nested without end is refused (R22)", function()
    impostor.asked(function(ask)
      misread(ask, 1007, ("{"):rep(100000), 0, "more than six dimensions")
      misread(ask, 1009, ("{"):rep(7) .. "a" .. ("}"):rep(7), 0, "more than six dimensions")
      misread(ask, 114, ("["):rep(200000), 0, "1000 levels")
      misread(ask, 3802, ('{"a":'):rep(200000), 0, "1000 levels")
      misread(ask, 3807, '{"' .. ("["):rep(200000) .. '"}', 0, "1000 levels")
    end)
  end)

  it("that is shorter or longer than its binary form is an error (R20)", function()
    local sizes <const> = { [16] = 1, [18] = 1, [20] = 8, [21] = 2, [23] = 4, [26] = 4, [700] = 4,
      [701] = 8, [1082] = 4, [1083] = 8, [1114] = 8, [1184] = 8, [1186] = 16, [1266] = 12,
      [2950] = 16, [3220] = 8 }
    impostor.asked(function(ask)
      for oid, size in pairs(sizes) do
        for length = 0, size + 2 do
          if length ~= size then misread(ask, oid, ("\0"):rep(length), 1) end
        end
      end
      misread(ask, 16, "\2", 1)
      misread(ask, 3802, "\2[]", 1, "version")
      misread(ask, 1083, string.pack(">i8", -1), 1)
      misread(ask, 1083, string.pack(">i8", 86400000001), 1)
      misread(ask, 1266, string.pack(">i8i4", 0, 86400), 1)
      misread(ask, 1560, string.pack(">I4", 9) .. "\0", 1)
      misread(ask, 869, "\2\33\0\4\1\2\3\4", 1)
      misread(ask, 869, "\2\32\0\16\1\2\3\4", 1)
      misread(ask, 1700, string.pack(">I2i2I2I2I2", 1, 0, 0, 0, 10000), 1)
      misread(ask, 1700, string.pack(">I2i2I2I2", 1, 0, 0, 0), 1)
      misread(ask, 1700, string.pack(">I2i2I2I2I2", 1, 0, 0x1234, 0, 1), 1)
      misread(ask, 600, ("\0"):rep(16), 1, "the column's type has changed")
      misread(ask, 99999, "x", 1, "the column's type has changed")
      local head = ">I4I4I4"
      misread(ask, 1007, string.pack(head, 7, 0, 23) .. ("\0\0\0\1\0\0\0\1"):rep(7), 1,
        "dimensions")
      misread(ask, 1007, string.pack(head .. "I4I4", 1, 0, 23, 0x7fffffff, 1), 1)
      misread(ask, 1007, string.pack(head .. "I4I4", 1, 0, 23, 0xffffffff, 1), 1)
      misread(ask, 1007, string.pack(head .. "I4I4I4", 1, 0, 23, 1, 1, 0x7fffffff), 1)
      misread(ask, 1007, string.pack(head .. "I4I4i4", 1, 0, 23, 1, 1, -2), 1)
      misread(ask, 1007, string.pack(head .. "I4I4s4s4", 1, 0, 23, 1, 1, "\0\0\0\1", "rest"), 1)
      misread(ask, 1007, string.pack(head, 6, 0, 23) .. ("\0\1\0\0\0\0\0\1"):rep(6), 1)
    end)
  end)

  it("of random bytes never crashes, whatever the type", function()
    local oids = query([[SELECT oid FROM pg_type WHERE typtype = 'b' AND oid < 10000
      ORDER BY oid]]).rows
    local seed = os.time()
    math.randomseed(seed)
    impostor.asked(function(ask)
      for _, row in ipairs(oids) do
        for format = 0, 1 do
          for _ = 1, 3 do
            local bytes = {}
            for i = 1, math.random(0, 40) do bytes[i] = string.char(math.random(0, 255)) end
            if math.random(2) == 1 then -- likely beginnings
              table.insert(bytes, 1, format == 1 and "\0\0\0\1\0\0\0\0\0\0\0\25" or "{")
            end
            local result, err = ask { columns = { { "v", row.oid, format } },
              rows = { { table.concat(bytes) } } }
            assert(result or err.kind == "invalid_value",
              ("seed %d: %s"):format(seed, tostring(err)))
          end
        end
      end
      same({ { v = 1 } }, assert(ask { columns = { { "v", 23 } }, rows = { { "1" } } }).rows)
    end)
  end)

  it("may have any tag: what is no count counts the rows (R23)", function()
    local tags <const> = { "", "INSERT 0 99999999999999999999999999", "SELECT", "MERGE x",
      "SELECT -1", ("x"):rep(1000), "SELECT 18446744073709551616" }
    impostor.asked(function(ask)
      for _, tag in ipairs(tags) do
        same({ rows = { { v = 1 } }, rowCount = 1 },
          assert(ask { columns = { { "v", 23 } }, rows = { { "1" } }, tag = tag }))
        same({ rows = {}, rowCount = 0 }, assert(ask { tag = tag }))
      end
      same(7, assert(ask { tag = "INSERT 0 7" }).rowCount)
      same(math.maxinteger, assert(ask { tag = "UPDATE 9223372036854775807" }).rowCount)
    end)
  end)

  it("in another encoding is set right before the next statement (R24)", function()
    impostor.asked(function(ask, liar)
      assert(ask { columns = {}, before = function(session)
        session:send("S", "client_encoding\0LATIN1\0")
      end })
      assert(not liar.heard:find("SET client_encoding", 1, true))
      assert(ask { tag = "SET", before = function(session)
        session:send("S", "client_encoding\0UTF8\0")
      end })
      local _, set = liar.heard:find("SET client_encoding TO 'UTF8'", 1, true)
      assert(set and liar.heard:find("statement 2", set, true))
    end)
  end)
end)
