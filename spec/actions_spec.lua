-- SPDX-License-Identifier: MIT
-- query, update, delete and execute on a real server: both forms, the exact shapes of results,
-- settings at three scopes, what is refused before it is sent. insert is in insert_spec.lua.
local core = require "pg.core"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local null, raises, failed, same = pg.null, support.raises, support.failed, support.same

local TABLES <const> = [[
CREATE TABLE users (id serial PRIMARY KEY, name text, email text UNIQUE, status text,
  created_at timestamptz, updated_at timestamptz, last_login timestamptz);
CREATE TABLE sessions (id int PRIMARY KEY, expires_at timestamptz);
CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric(10,2), created_at timestamptz,
  synced boolean DEFAULT false, reference uuid, tags text[], details jsonb);
CREATE TABLE logs (level text, message text, created_at timestamp);
CREATE TABLE table_name (id int);
CREATE ROLE app_user;
INSERT INTO users (name, email, status, created_at, last_login) VALUES
  ('John Doe', 'john@example.com', 'active', '2026-01-15 11:30:00+01', now()),
  ('Ann', 'ann@example.com', 'inactive', '2026-01-14 10:30:00Z', now() - interval '31 days'),
  ('Old', 'old@example.com', 'x', '2020-01-01 00:00:00Z', now() - interval '91 days'),
  ('Gone', 'gone@example.com', 'deleted', '2020-01-01 00:00:00Z', NULL);
INSERT INTO sessions SELECT i, '2026-01-01T00:00:00Z'::timestamptz + i * interval '1 day'
  FROM generate_series(1, 20) i;
INSERT INTO orders VALUES
  (9007199254740993, 10.00, '2026-01-15T10:00:00Z', false, '00000000-0000-0000-0000-000000000001',
    '{a,NULL}', '{"n": 1}'),
  (2, 0.01, '2026-01-15T11:00:00Z', false, NULL, NULL, NULL),
  (3, 5.55, '2026-01-16T10:00:00Z', true, NULL, '{}', '[]');
]]
local DROP <const> = [[
DROP TABLE IF EXISTS users, sessions, orders, logs, table_name;
DROP ROLE IF EXISTS app_user;
]]

describe("the actions", function()
  local server, db

  setup(function()
    server = assert(throwaway.start { settings = { log_statement = "all",
      client_min_messages = "notice" } })
  end)

  teardown(function()
    server:stop()
  end)

  before_each(function()
    if not db or db:status().state ~= "idle" then db = assert(pg.connect(server.options)) end
  end)

  after_each(function()
    if db:status().state == "idle" then
      assert(db:execute "DISCARD TEMP; RESET TimeZone; RESET DateStyle; RESET application_name")
    end
  end)

  -- The connection still answers, outside of any transaction.
  local function usable()
    assert.equal("idle", db:status().state)
    same({ rows = { { one = 1 } }, rowCount = 1 }, db:query "SELECT 1 AS one")
  end

  describe("of the seed", function()
    before_each(function()
      assert(db:execute(DROP))
      assert(db:execute(TABLES))
    end)

    it("S036 S037 S038 S039: query gives rows by column name and their count", function()
      local sql = [[
SELECT id, name, email, created_at
FROM users
WHERE status = $1
ORDER BY created_at DESC
LIMIT 10]]
      local expected = { rows = { { id = 1, name = "John Doe", email = "john@example.com",
        created_at = "2026-01-15T10:30:00Z" } }, rowCount = 1 }
      same(expected, db:query(sql, "active"))
      same(expected, db:query { query = sql, parameters = { "active" } })
      assert(db:execute "SET TimeZone TO 'Asia/Kolkata'; SET DateStyle TO 'German'")
      same(expected, db:query(sql, "active"))
      same({ rows = {}, rowCount = 0 }, db:query(sql, "no such status"))
    end)

    it("S046 S048 S049 S050: update gives the count", function()
      local sql = [[
UPDATE users
SET status = $1, updated_at = $2
WHERE email = $3]]
      same({ rowCount = 1 }, db:update(sql, "inactive", "2026-01-15T10:30:00Z",
        "john@example.com"))
      same({ rowCount = 0 }, db:update(sql, "inactive", "2026-01-15T10:30:00Z", "nobody"))
      same({ rows = { { status = "inactive", updated_at = "2026-01-15T10:30:00Z" } },
        rowCount = 1 }, db:query "SELECT status, updated_at FROM users WHERE id = 1")
      same({ rowCount = 1 }, db:update { query = sql,
        parameters = { n = 3, nil, nil, "john@example.com" } })
      same({ rows = { {} }, rowCount = 1 },
        db:query "SELECT status, updated_at FROM users WHERE id = 1")
    end)

    it("S051 S053 S054: delete gives the count", function()
      local sql = [[
DELETE FROM sessions
WHERE expires_at < $1]]
      same({ rowCount = 15 }, db:delete(sql, "2026-01-17T00:00:00Z"))
      same({ rowCount = 0 }, db:delete { query = sql, parameters = { "2026-01-17T00:00:00Z" } })
      same({ rowCount = 5 }, db:delete { query = sql, parameters = { "infinity" } })
    end)

    it("S055 S057 S058: execute runs DDL, again too, and keeps the notice", function()
      local sql = [[
CREATE INDEX IF NOT EXISTS idx_users_email
ON users(email)]]
      local first = db:execute(sql)
      same({ success = true, rowCount = 0 }, first)
      same({}, first:notices())
      local second = db:execute { query = sql }
      same({ success = true, rowCount = 0 }, second)
      same({ { severity = "NOTICE", sqlstate = "42P07",
        message = 'relation "idx_users_email" already exists, skipping' } }, second:notices())
      same({}, db:query("SELECT 1"):notices())
    end)

    it("S104: the upsert runs as it is, through query and through execute", function()
      local sql = [[
INSERT INTO users (email, name, status)
VALUES ($1, $2, $3)
ON CONFLICT (email)
DO UPDATE SET
name = EXCLUDED.name,
status = EXCLUDED.status,
updated_at = NOW()]]
      same({ success = true, rowCount = 1 }, db:execute(sql, "new@example.com", "New", "active"))
      same({ rows = {}, rowCount = 1 }, db:query(sql, "new@example.com", "Newer", nil))
      same({ rows = { { name = "Newer", touched = true } }, rowCount = 1 }, db:query(
        "SELECT name, status, updated_at IS NOT NULL AS touched FROM users WHERE email = $1",
        "new@example.com"))
    end)

    it("S106: the bulk insert takes a list for each column", function()
      local sql = [[
INSERT INTO logs (level, message, created_at)
SELECT * FROM unnest(
$1::text[],
$2::text[],
$3::timestamp[]
)]]
      local levels = { "info", "warn", "NULL", "", "größe" }
      local messages = { n = 5, 'a "quoted" one', "back\\slash", nil, "{a,b}",
        "'; DROP TABLE logs" }
      local times = { "2026-01-15T10:30:00", null, "2026-01-15 10:30:00.25", "infinity",
        "0044-03-15 12:00:00 BC" }
      same({ success = true, rowCount = 5 }, db:execute(sql, levels, messages, times))
      local columns = db:with { rows = "columns" }
      local rows = assert(columns:query "SELECT * FROM logs").rows
      same(levels, rows.level)
      messages[3], messages.n = null, nil
      same(messages, rows.message)
      same({ "2026-01-15T10:30:00", null, "2026-01-15T10:30:00.25", "infinity",
        "0044-03-15T12:00:00 BC" }, rows.created_at)
    end)

    it("S005 S108: the conditional update runs as it is", function()
      local sql = [[
UPDATE users
SET status = CASE
WHEN last_login < NOW() - INTERVAL '90 days' THEN 'inactive'
WHEN last_login < NOW() - INTERVAL '30 days' THEN 'dormant'
ELSE 'active'
END
WHERE status != 'deleted']]
      same({ rowCount = 3 }, db:update(sql))
      same({ "active", "dormant", "inactive", "deleted" }, assert(db:query {
        query = "SELECT status FROM users ORDER BY id", rows = "columns" }).rows.status)
    end)

    it("S005 S091: a batch of ids is one list", function()
      local sql = "UPDATE users SET status = 'active' WHERE id = ANY($1::int[]);"
      same({ rowCount = 3 }, db:update(sql, { 1, 2, 3, 77 }))
      same({ rowCount = 0 }, db:update(sql, {}))
      same({ rowCount = 1 }, db:update { query = sql, parameters = { { 4 } } })
      local many = {}
      for i = 1, 100000 do many[i] = i end
      same({ rowCount = 4 }, db:update(sql, many))
    end)

    it("S003 S109: an aggregate keeps counts as integers and averages exact", function()
      local sql = [[
SELECT
DATE_TRUNC('day', created_at) as date,
COUNT(*) as count,
AVG(amount) as avg_amount
FROM orders
WHERE created_at >= $1
GROUP BY DATE_TRUNC('day', created_at)
ORDER BY date DESC]]
      assert(db:execute "SET TimeZone TO 'UTC'")
      same({ rows = {
        { date = "2026-01-16T00:00:00Z", count = 1, avg_amount = "5.5500000000000000" },
        { date = "2026-01-15T00:00:00Z", count = 2, avg_amount = "5.0050000000000000" },
      }, rowCount = 2 }, db:query(sql, "2026-01-15T00:00:00Z"))
    end)

    it("S004 S111 S112: the daily report counts, and is ready for JSON", function()
      local report = assert(db:query [[
SELECT COUNT(*) as total,
COUNT(*) FILTER (WHERE status = 'active') as active
FROM users]])
      same({ rows = { { total = 4, active = 1 } }, rowCount = 1 }, report)
      same(report, (core.json_decode(report:json())))
    end)

    it("S114 S116: the sync reads rows of any type and marks them by their ids", function()
      local orders = assert(db:query [[
SELECT * FROM orders
WHERE synced = false
LIMIT 100]])
      table.sort(orders.rows, function(a, b) return a.id < b.id end)
      same({ rows = {
        { id = 2, amount = "0.01", created_at = "2026-01-15T11:00:00Z", synced = false },
        { id = 9007199254740993, amount = "10.00", created_at = "2026-01-15T10:00:00Z",
          synced = false, reference = "00000000-0000-0000-0000-000000000001", tags = { "a", null },
          details = { n = 1 } },
      }, rowCount = 2 }, orders)
      local ids = {}
      for i, row in ipairs(orders.rows) do ids[i] = row.id end
      same({ rowCount = 2 }, db:update([[
UPDATE orders SET synced = true
WHERE id = ANY($1)]], ids))
      same({ rows = { { count = 0 } }, rowCount = 1 },
        db:query "SELECT count(*) FROM orders WHERE NOT synced")
    end)

    it("S001 S007: rows move from one database to another, on two connections", function()
      assert(db:execute "CREATE DATABASE other")
      do
        local other <close> = assert(pg.connect(support.merge(server.options,
          { database = "other" })))
        assert(other:execute
          "CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric, tags text[])")
        local read = assert(db:query {
          query = "SELECT id, amount, to_json(tags)::text AS tags FROM orders ORDER BY id",
          rows = "columns" })
        same({ success = true, rowCount = 3 }, other:execute([[
INSERT INTO orders SELECT id, amount, ARRAY(SELECT json_array_elements_text(tags))
  FROM unnest($1::bigint[], $2::numeric[], $3::json[]) AS o (id, amount, tags)]],
          read.rows.id, read.rows.amount, read.rows.tags))
        local moved = assert(other:query "SELECT * FROM orders ORDER BY id")
        same({ { id = 2, amount = "0.01", tags = {} }, { id = 3, amount = "5.55", tags = {} },
          { id = 9007199254740993, amount = "10.00", tags = { "a", null } } }, moved.rows)
        for _, row in ipairs(moved.rows) do
          same({ rowCount = 1 }, other:delete { table = "orders", where = { id = row.id } })
          same({ insertedId = row.id, rowCount = 1 }, other:insert("orders", row))
          same({ rowCount = 1 }, other:update { table = "orders", set = row,
            where = { id = row.id, amount = row.amount } })
        end
        same(moved, other:query "SELECT * FROM orders ORDER BY id")
      end
      assert(db:execute "DROP DATABASE other")
    end)

    it("S084 S089: the tips run as they are", function()
      same({ rows = {}, rowCount = 0 },
        db:query("SELECT * FROM users WHERE email = $1", "' OR 1=1 --"))
      assert.matches("users", assert(db:query("EXPLAIN SELECT * FROM users WHERE email = $1;",
        "x")).rows[1]["QUERY PLAN"])
      same({ rows = {}, rowCount = 0 },
        db:query "SELECT * FROM logs ORDER BY created_at DESC LIMIT 100;")
      same({ rows = { { count = 1 } }, rowCount = 1 },
        db:query "SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid();")
      assert(db:query "SELECT count(*) FROM pg_stat_activity;")
      same({ success = true, rowCount = 0 },
        db:execute "GRANT SELECT, INSERT, UPDATE, DELETE ON table_name TO app_user;")
      assert.equal(4, assert(db:query [[
SELECT * FROM information_schema.table_privileges WHERE grantee = 'app_user';]]).rowCount)
      assert(db:execute "REVOKE ALL ON table_name FROM app_user")
    end)
  end)

  describe("query", function()
    local statements = {
      { "VALUES (1), (2)", { { column1 = 1 }, { column1 = 2 } } },
      { "TABLE two", { { a = 1 }, { a = 2 } } },
      { "SHOW server_encoding", { { server_encoding = "UTF8" } } },
      { "WITH x AS (SELECT 7 AS a) SELECT * FROM x", { { a = 7 } } },
      { "(SELECT 1 AS a)", { { a = 1 } } },
      { "INSERT INTO two VALUES (3), (4) RETURNING a", { { a = 3 }, { a = 4 } } },
      { "UPDATE two SET a = a WHERE a > 2 RETURNING a AS b", { { b = 3 }, { b = 4 } } },
      { "DELETE FROM two WHERE a > 2 RETURNING a", { { a = 3 }, { a = 4 } } },
      { "SELECT 1 AS a;", { { a = 1 } } },
    }

    it("S033: takes whatever gives rows", function()
      assert(db:execute "CREATE TEMP TABLE two (a int); INSERT INTO two VALUES (1), (2)")
      for _, case in ipairs(statements) do
        same({ rows = case[2], rowCount = #case[2] }, db:query(case[1]))
      end
    end)

    it("R23: counts what a statement without rows did", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      for _, case in ipairs {
        { "INSERT INTO t SELECT generate_series(1, 5)", 5 },
        { "UPDATE t SET a = a + 1 WHERE a > 2", 3 },
        { "MERGE INTO t USING (VALUES (2), (99)) AS s (b) ON a = b"
          .. " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (b)", 2 },
        { "DELETE FROM t", 5 },
        { "CREATE TABLE other AS SELECT generate_series(1, 3) AS a", 3 },
        { "COPY other TO PROGRAM 'cat >/dev/null'", 3 },
        { "DROP TABLE other", 0 },
        { "SET application_name TO 'x'", 0 },
      } do
        same({ rows = {}, rowCount = case[2] }, db:query(case[1]))
      end
    end)

    local empty = { "", " \n\t", ";", "-- nothing", "/* nothing /* at */ all */", "; -- ;" }
    for _, sql in ipairs(empty) do
      it(("S034 Q16: gives no rows for the empty statement %q"):format(sql), function()
        local result = db:query(sql)
        same({ rows = {}, rowCount = 0 }, result)
        assert.matches('"rows":[]', result:json(), 1, true)
        same({ rows = {}, rowCount = 0 }, db:query { query = sql, parameters = {} })
        same({ success = true, rowCount = 0 }, db:execute(sql))
        usable()
      end)
    end

    it("S034 Q14: takes one statement, and runs none of two", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      local err = failed("syntax_error", db:query "INSERT INTO t VALUES (1); SELECT 1")
      assert.equal("42601", err.sqlstate)
      failed("syntax_error", db:query("INSERT INTO t VALUES ($1); SELECT 1", 1))
      failed("syntax_error", db:execute("INSERT INTO t VALUES ($1); SELECT 1", 1))
      same({ rows = { { count = 0 } }, rowCount = 1 }, db:query "SELECT count(*) FROM t")
    end)

    it("R5: gives rows without columns", function()
      local sql = "SELECT FROM generate_series(1, 3)"
      for shape, expected in pairs {
        object = { "[{},{},{}]", { {}, {}, {} } }, array = { "[[],[],[]]", { {}, {}, {} } },
        columns = { "{}", {} },
      } do
        local result = db:query { query = sql, rows = shape }
        same({ rows = expected[2], rowCount = 3 }, result)
        assert.equal(expected[1], pg.encode(result.rows))
        same({}, result:columns())
      end
    end)

    it("S102 R6: lets the last of two columns of a name win, and keeps both in arrays", function()
      local sql = "SELECT 1 AS a, 2 AS b, 3 AS a, 'x', 4"
      same({ rows = { { a = 3, b = 2, ["?column?"] = 4 } }, rowCount = 1 }, db:query(sql))
      local result = db:query { query = sql, rows = "array" }
      same({ rows = { { 1, 2, 3, "x", 4 } }, rowCount = 1 }, result)
      same({ { name = "a", type = "integer", oid = 23 }, { name = "b", type = "integer", oid = 23 },
        { name = "a", type = "integer", oid = 23 }, { name = "?column?", type = "text", oid = 25 },
        { name = "?column?", type = "integer", oid = 23 } }, result:columns())
    end)

    it("R7: has names of 63 bytes at most, and the server's notice of it", function()
      local result = db:query("SELECT 1 AS " .. ("x"):rep(70))
      same({ rows = { { [("x"):rep(63)] = 1 } }, rowCount = 1 }, result)
      assert.equal(1, #result:notices())
      assert.equal("42622", result:notices()[1].sqlstate)
      local asked = db:query("SELECT $1::int[] AS " .. ("y"):rep(70), { 1 })
      assert.equal(1, #asked:notices())
    end)

    it("S101: decodes json_agg to nested tables", function()
      same({ rows = { { id = 1, items = { { n = 1, tags = {} }, { n = 2, tags = { "a" } } } } },
        rowCount = 1 }, db:query [[
SELECT 1 AS id, json_agg(json_build_object('n', n, 'tags', tags)) AS items
  FROM (VALUES (1, '{}'::text[]), (2, '{a}')) AS i (n, tags)]])
    end)

    it("takes a statement of 5 MB", function()
      local long = ("x"):rep(5 * 1024 * 1024)
      same({ rows = { { n = #long } }, rowCount = 1 },
        db:query("SELECT length('" .. long .. "') AS n"))
      same({ rows = { { n = 1 } }, rowCount = 1 },
        db:query("SELECT /* " .. long .. " */ $1::int AS n", 1))
      same({ success = true, rowCount = 0 }, db:execute("SET application_name TO 'a'; -- " .. long))
      same({ rowCount = 0 }, db:update("/* " .. long .. " */ UPDATE pg_class SET relname = ''"
        .. " WHERE false"))
      local err = failed("syntax_error", db:query("SELECT '" .. long .. "' FROM FROM"))
      assert.is_true(#tostring(err) < 5000)
      usable()
    end)

    it("runs again and again what ran once", function()
      for i = 1, 3 do
        same({ rows = { { a = i } }, rowCount = 1 }, db:query("SELECT $1::int AS a", i))
        same({ rows = { { a = { i } } }, rowCount = 1 }, db:query("SELECT $1::int[] AS a", { i }))
      end
    end)
  end)

  describe("a result", function()
    it("S093: knows its columns: names, types and OIDs", function()
      local result = assert(db:query [[
SELECT 1 AS id, 'a'::varchar(10) AS v, '{}'::numeric[] AS list, now() AS at, '{}'::jsonb AS doc]])
      same({ { name = "id", type = "integer", oid = 23 },
        { name = "v", type = "character varying", oid = 1043 },
        { name = "list", type = "numeric[]", oid = 1231 },
        { name = "at", type = "timestamp with time zone", oid = 1184 },
        { name = "doc", type = "jsonb", oid = 3802 } }, result:columns())
      same({ { name = "a", type = "integer", oid = 23 } },
        db:query("SELECT 1 AS a WHERE false"):columns())
      same({}, db:execute("SET application_name TO 'x'"):columns())
      same({}, db:query(""):columns())
    end)

    it("S037: has no key but its own, and rows that are a list in JSON", function()
      for sql, json in pairs {
        ["SELECT 1 AS a"] = '[{"a":1}]', ["SELECT 1 AS a WHERE false"] = "[]",
        ["SELECT NULL AS a"] = "[{}]", ["SELECT '{}'::int[] AS a, '{}'::json AS b"] = "both",
      } do
        local result = assert(db:query(sql))
        local keys = {}
        for key in pairs(result) do keys[#keys + 1] = key end
        table.sort(keys)
        same({ "rowCount", "rows" }, keys)
        local text = pg.encode(result.rows)
        if json == "both" then
          assert.is_true(text == '[{"a":[],"b":{}}]' or text == '[{"b":{},"a":[]}]', text)
        else
          assert.equal(json, text)
        end
        assert.is_nil(getmetatable(result.rows[1] or {}))
      end
    end)

    it("S112: is JSON as documented, for every action", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      for _, result in ipairs {
        db:query("SELECT 1 AS a, 'x' AS b, NULL AS c, 1.50 AS d"), db:query "SELECT 1 WHERE false",
        db:execute "INSERT INTO t VALUES (1)", db:update "UPDATE t SET a = 2",
        db:update "UPDATE t SET a = 3 RETURNING a", db:delete "DELETE FROM t",
        db:query { query = "SELECT NULL AS a", null = null },
      } do
        local decoded = core.json_decode(result:json())
        same(result, decoded)
        assert.equal(result:json(), pg.encode(result))
      end
    end)

    it("survives its connection", function()
      local result = assert(db:query "SELECT 1 AS a, '{1,2}'::int[] AS b")
      db:close()
      collectgarbage()
      same({ rows = { { a = 1, b = { 1, 2 } } }, rowCount = 1 }, result)
      assert.equal(2, #result:columns())
      same({}, result:notices())
    end)

    it("Q18: has the notices of its own statement, and no other", function()
      local result = db:execute [[
DO $$ BEGIN RAISE WARNING 'one' USING detail = 'd', hint = 'h'; RAISE NOTICE 'two'; END $$;
DO $$ BEGIN RAISE NOTICE 'three'; END $$]]
      same({ { severity = "WARNING", sqlstate = "01000", message = "one", detail = "d",
          hint = "h" },
        { severity = "NOTICE", sqlstate = "00000", message = "two" },
        { severity = "NOTICE", sqlstate = "00000", message = "three" } }, result:notices())
      same({}, db:query("SELECT 1"):notices())
      failed("query_failed", db:execute
        "DO $$ BEGIN RAISE NOTICE 'lost'; RAISE EXCEPTION 'failed'; END $$")
      same({}, db:query("SELECT 1"):notices())
    end)

    it("Q18: holds some of a flood of notices, and says how many were dropped", function()
      collectgarbage()
      local before = collectgarbage "count"
      local notices = db:execute([[
DO $$ BEGIN FOR i IN 1..20000 LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; END $$]])
        :notices()
      assert.equal(20000, #notices + notices.dropped)
      assert.is_true(#notices > 0 and #notices <= 100)
      collectgarbage()
      assert.is_true(collectgarbage "count" - before < 500, "kilobytes kept of 20 MB")
      assert.is_nil(db:query("SELECT 1"):notices().dropped)
    end)

    it("Q18: leaves stderr alone", function()
      local options = server.options
      local output, errors, code = support.child([[
local db = assert(require("pg").connect())
assert(db:execute "DO $$ BEGIN RAISE WARNING 'heard'; END $$")
print(db:query("SELECT 1 AS one").rows[1].one)]], { PGHOST = options.host, PGPORT = options.port,
        PGUSER = options.user, PGDATABASE = options.database })
      same({ "1\n", "", 0 }, { output, errors, code })
    end)
  end)

  describe("a setting", function()
    local sql <const> = [[
SELECT 1 AS a, NULL AS b, 1.50::numeric AS c, '{"k": [1.5]}'::json AS d, '[]'::jsonb AS e]]
    local plain <const> = { a = 1, c = "1.50", d = { k = { 1.5 } }, e = {} }
    local cases = {
      { "rows = object", { rows = "object" }, { plain } },
      { "rows = array", { rows = "array" }, { { 1, null, "1.50", { k = { 1.5 } }, {} } } },
      { "rows = columns", { rows = "columns" },
        { a = { 1 }, b = { null }, c = { "1.50" }, d = { { k = { 1.5 } } }, e = { {} } } },
      { "null = pg.null", { null = null },
        { { a = 1, b = null, c = "1.50", d = { k = { 1.5 } }, e = {} } } },
      { "null = false", { null = false }, { plain } },
      { "numeric = number", { numeric = "number" },
        { { a = 1, c = 1.5, d = { k = { 1.5 } }, e = {} } } },
      { "numeric = string", { numeric = "string" }, { plain } },
      { "json = text", { json = "text" }, { { a = 1, c = "1.50", d = '{"k": [1.5]}', e = "[]" } } },
      { "json = value", { json = "value" }, { plain } },
      { "all of them", { rows = "array", null = null, numeric = "number", json = "text",
        timeout = 5, max_result = 1000 }, { { 1, null, 1.5, '{"k": [1.5]}', "[]" } } },
    }
    for _, case in ipairs(cases) do
      it(("holds for a connection, a handle, a call: %s"):format(case[1]), function()
        local expected = { rows = case[3], rowCount = 1 }
        local call, options = { query = sql }, {}
        for name, value in pairs(case[2]) do call[name] = value end
        for name, value in pairs(server.options) do options[name] = value end
        for name, value in pairs(case[2]) do options[name] = value end
        same(expected, db:query(call))
        same(expected, db:with(case[2]):query(sql))
        local other <close> = assert(pg.connect(options))
        same(expected, other:query(sql))
        same({ rows = { plain }, rowCount = 1 }, db:query(sql))
        same({ rows = { plain }, rowCount = 1 }, other:query { query = sql, rows = "object",
          null = false, numeric = "string", json = "value" })
      end)
    end

    it("of a call beats that of a handle, which beats the connection's", function()
      local arrays = db:with { rows = "array" }
      local columns = arrays:with { rows = "columns", null = null }
      same({ rows = { a = { null } }, rowCount = 1 }, columns:query "SELECT NULL AS a")
      same({ rows = { { null } }, rowCount = 1 }, arrays:query "SELECT NULL AS a")
      same({ rows = { { a = null } }, rowCount = 1 },
        columns:query { query = "SELECT NULL AS a", rows = "object" })
      same({ rows = { {} }, rowCount = 1 }, db:query "SELECT NULL AS a")
    end)

    it("holds for RETURNING of update, delete and execute", function()
      assert(db:execute "CREATE TEMP TABLE t (a int, b int); INSERT INTO t VALUES (1), (2)")
      local arrays = db:with { rows = "array" }
      same({ rows = { { 1, null } }, rowCount = 1 }, arrays:update
        "UPDATE t SET a = a WHERE a = 1 RETURNING a, b")
      same({ rows = { a = { 1 }, b = { null } }, rowCount = 1 }, arrays:update { table = "t",
        set = { a = 1 }, where = { a = 1 }, returning = { "a", "b" }, rows = "columns" })
      same({ rows = { { a = 2, b = null } }, rowCount = 1 }, arrays:delete { table = "t",
        where = { a = 2 }, returning = { "a", "b" }, rows = "object", null = null })
      same({ success = true, rows = { { 1 } }, rowCount = 1 }, arrays:execute "SELECT 1")
    end)

    it("belongs to a handle on the same session", function()
      local other = db:with { timeout = 5 }
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      same({ rows = {}, rowCount = 0 }, other:query "SELECT * FROM t")
      assert.equal(db:status().pid, other:status().pid)
      do
        local closing <close> = db:with { rows = "array" }
        closing:close()
      end
      other:close()
      usable()
      same({ rows = { { one = 1 } }, rowCount = 1 }, other:query "SELECT 1 AS one")
      db:close()
      raises("the connection is closed", function() other:query "SELECT 1" end)
    end)

    local wrong = {
      { { rows = "objects" }, 'rows must be "object", "array" or "columns"' },
      { { rows = 1 }, 'rows must be "object", "array" or "columns"' },
      { { numeric = "float" }, 'numeric must be "string" or "number"' },
      { { numeric = true }, 'numeric must be "string" or "number"' },
      { { json = "table" }, 'json must be "value" or "text"' },
      { { null = true }, "null must be pg.null (keep the key) or false" },
      { { null = "NULL" }, "null must be pg.null (keep the key) or false" },
      { { timeout = 0 }, "timeout must be a number of seconds above 0" },
      { { timeout = -1 }, "timeout must be a number of seconds above 0" },
      { { timeout = 0 / 0 }, "timeout must be a number of seconds above 0" },
      { { timeout = "5" }, "timeout must be a number of seconds above 0" },
      { { timeout = 61 }, "pg.limits" },
      { { timeout = math.huge }, "pg.limits" },
      { { max_result = 0 }, "max_result must be a number of bytes above 0" },
      { { max_result = "10MB" }, "max_result must be a number of bytes above 0" },
      { { max_result = 2 ^ 30 }, "pg.limits" },
      { { tiemout = 1 }, "unknown option 'tiemout' (did you mean 'timeout'?)" },
      { { Timeout = 1 }, "unknown option 'Timeout' (did you mean 'timeout'?)" },
      { { row = "array" }, "unknown option 'row' (did you mean 'rows'?)" },
      { { max_results = 1 }, "unknown option 'max_results' (did you mean 'max_result'?)" },
      { { parameter = {} }, "unknown option 'parameter'" },
      { { xyzzy = 1 }, "unknown option 'xyzzy'" },
      { { "SELECT 1" }, "there is a value under the number key 1" },
      { { [true] = 1 }, "there is a value under the boolean key true" },
    }
    for i, case in ipairs(wrong) do
      it(("that is wrong is refused where it was written: %s (%d)"):format(case[2], i), function()
        raises(case[2], function() db:with(case[1]) end)
        local call, insert = { query = "SELECT 1" }, { table = "t", columns = {} }
        for name, value in pairs(case[1]) do call[name], insert[name] = value, value end
        raises(case[2], function() db:query(call) end)
        raises(case[2], function() db:update(call) end)
        raises(case[2], function() db:delete(call) end)
        raises(case[2], function() db:execute(call) end)
        raises(case[2], function() db:insert(insert) end)
        raises(case[2], function() db:insert("t", {}, case[1]) end)
        usable()
      end)
    end
  end)

  describe("a call", function()
    local wrong = {
      { "a string of SQL or a table expected", function(action) db[action](db) end },
      { "a string of SQL or a table expected", function(action) db[action](db, 42) end },
      { "a string of SQL or a table expected", function(action) db[action](db, null) end },
      { "a string of SQL or a table expected", function(action) db[action](db, print) end },
      { "query must be a string of SQL, not nil", function(action) db[action](db, {}) end },
      { "query must be a string of SQL, not a number",
        function(action) db[action](db, { query = 1 }) end },
      { "parameters must be a list, not a string",
        function(action) db[action](db, { query = "SELECT $1", parameters = "x" }) end },
      { "parameters.n must be an integer",
        function(action) db[action](db, { query = "SELECT $1", parameters = { n = 1.5 } }) end },
      { "parameters.n must be an integer",
        function(action) db[action](db, { query = "SELECT $1", parameters = { n = {} } }) end },
      { "one table takes all",
        function(action) db[action](db, { query = "SELECT $1" }, 1) end },
    }
    for i, case in ipairs(wrong) do
      it(("S032: of the wrong type raises where it was made: %s (%d)"):format(case[1], i),
        function()
          for _, action in ipairs { "query", "update", "delete", "execute" } do
            local ok, message = pcall(case[2], action)
            assert.is_false(ok)
            assert.matches(case[1], message, 1, true)
            assert.matches("actions_spec.lua:%d+: ", message)
          end
          usable()
        end)
    end

    it("blames the line that made it", function()
      raises("a string of SQL or a table expected", function() db:query() end)
      raises("query must be a string of SQL", function() db:execute {} end)
      raises("expected", function() db:with() end)
    end)

    it("Q17 S1: with a NUL in the SQL is refused before it is sent", function()
      for _, action in ipairs { "query", "update", "delete", "execute" } do
        local log = support.logged(server, function()
          support.contains(failed("invalid_parameter",
            db[action](db, "UPDATE t SET a = 1\0; DROP TABLE users")).message, "NUL")
        end)
        assert.equal("", log)
      end
      usable()
    end)

    it("Q17: with text that is not UTF-8 is the server's error", function()
      local err = failed("invalid_value", db:query "SELECT '\xff'")
      assert.equal("22021", err.sqlstate)
      usable()
    end)

    it("may be made of a table with metamethods that close the connection", function()
      for _, action in ipairs { "update", "delete" } do
        local other = assert(pg.connect(server.options))
        local form = setmetatable({}, { __index = function() other:close() end })
        pcall(other[action], other, form)
        assert.equal("closed", other:status().state)
        local third = assert(pg.connect(server.options))
        form = setmetatable({ table = "t", set = { a = 1 } },
          { __pairs = function(t) third:close() return next, t end })
        pcall(third[action], third, form)
        assert.equal("closed", third:status().state)
      end
    end)

    it("may lose its connection to a finalizer, in the middle of its rows", function()
      local mode = collectgarbage("incremental", 100, 400) -- cycle after cycle
      finally(function() collectgarbage(mode) end)
      for round = 1, 5 do
        local other, cycles = assert(pg.connect(server.options)), 0
        local function watch() -- nothing refers to the object: each cycle finds it
          setmetatable({}, { __gc = function()
            cycles = cycles + 1
            if cycles == 2 + round then other:close() else watch() end
          end })
        end
        collectgarbage()
        watch()
        local ok, message = pcall(function()
          return (other:query [[
SELECT i, i || 'a' AS a, i || 'b' AS b, i || 'c' AS c, i || 'd' AS d, i || 'e' AS e, i || 'f' AS f
  FROM generate_series(1, 100000) i]])
        end)
        assert.is_false(ok)
        assert.matches("the connection was closed during this call", message)
        assert.equal("closed", other:status().state)
      end
    end)
  end)

  describe("update and delete", function()
    local accepted = {
      { "update", "UPDATE t SET a = 2" },
      { "update", "uPdAtE t SET a = 2" },
      { "update", " \t\r\n\fUPDATE t SET a = 2" },
      { "update", "-- a comment\nUPDATE t SET a = 2" },
      { "update", "-- a comment\rUPDATE t SET a = 2" },
      { "update", "--\nUPDATE t SET a = 2" },
      { "update", "/* SELECT */ UPDATE t SET a = 2" },
      { "update", "/* a /* nested */ -- one */\n--/*\nUPDATE t SET a = 2" },
      { "update", "/**/UPDATE/**/t SET a = 2" },
      { "update", "WITH x AS (SELECT 1) UPDATE t SET a = 2" },
      { "update", "MERGE INTO t USING (VALUES (1)) AS s (b) ON a = b"
        .. " WHEN MATCHED THEN UPDATE SET a = 2" },
      { "delete", "DELETE FROM t" },
      { "delete", "delete FROM t" },
      { "delete", "/* UPDATE */ -- UPDATE\nDELETE FROM t" },
      { "delete", "WITH x AS (SELECT 1 AS a) DELETE FROM t USING x WHERE t.a = x.a" },
    }
    for _, case in ipairs(accepted) do
      it(("S047 S052: takes: %q"):format(case[2]), function()
        assert(db:execute "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)")
        same({ rowCount = 1 }, db[case[1]](db, case[2]))
      end)
    end

    it("S047: takes a query in parentheses that begins with WITH", function()
      assert(db:execute "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)")
      same({ rows = { { a = 1 } }, rowCount = 1 },
        db:update " ( /* x */ (WITH x AS (SELECT 1 AS a) SELECT a FROM x))")
    end)

    local refused = {
      { "update", "SELECT 1", "begins with select" },
      { "update", "DELETE FROM t", "begins with delete" },
      { "update", "INSERT INTO t VALUES (1)", "begins with insert" },
      { "update", "TRUNCATE t", "begins with truncate" },
      { "update", "EXPLAIN UPDATE t SET a = 2", "begins with explain" },
      { "update", "updates t SET a = 2", "begins with updates" },
      { "update", "/* UPDATE */ SELECT 1", "begins with select" },
      { "update", "-- UPDATE\nSELECT 1", "begins with select" },
      { "update", "-- UPDATE\rSELECT 1 --\nUPDATE", "begins with select" },
      { "update", "/* /* */ UPDATE t SET a = 2 */ SELECT 1", "begins with select" },
      { "update", "((SELECT 1))", "begins with select" },
      { "update", "", "begins with no word" },
      { "update", "-- UPDATE", "begins with no word" },
      { "update", "/* UPDATE", "begins with no word" },
      { "update", "/* /* UPDATE */", "begins with no word" },
      { "update", "; UPDATE t SET a = 2", "begins with no word" },
      { "update", "'UPDATE'", "begins with no word" },
      { "update", "ÄUPDATE t SET a = 2", "begins with no word" },
      { "delete", "TRUNCATE t", "begins with truncate" },
      { "delete", "UPDATE t SET a = 2", "begins with update" },
      { "delete", "MERGE INTO t USING t AS s ON true WHEN MATCHED THEN DELETE",
        "begins with merge" },
      { "delete", "DROP TABLE t", "begins with drop" },
      { "delete", "", "begins with no word" },
    }
    for _, case in ipairs(refused) do
      it(("S047 S052: %s refuses, before sending: %q"):format(case[1], case[2]), function()
        local sent = support.logged(server, function()
          for _, err in ipairs {
            failed("wrong_action", db[case[1]](db, case[2])),
            failed("wrong_action", db[case[1]](db, { query = case[2] })),
            failed("wrong_action", db[case[1]](db, case[2], 1, 2)),
          } do
            assert.matches(case[3], err.message, 1, true)
            assert.equal(case[1], err.message:match "^%a+")
            assert.equal(case[2] ~= "" and case[2] or nil, err.sql)
            assert.is_true(#err.fixes > 0)
          end
        end)
        assert.equal("", sent)
        usable()
      end)
    end

    it("S050: add rows for RETURNING", function()
      assert(db:execute "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1), (2)")
      same({ rows = { { a = 5 } }, rowCount = 1 },
        db:update("UPDATE t SET a = $1 WHERE a = 1 RETURNING a", 5))
      same({ rows = {}, rowCount = 0 }, db:update "UPDATE t SET a = 1 WHERE false RETURNING a")
      same({ rows = { { a = 2 } }, rowCount = 1 },
        db:delete("DELETE FROM t WHERE a = $1 RETURNING *", 2))
    end)
  end)

  describe("execute", function()
    it("S058: adds rows where a statement gives them, for DML the count", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      same({ success = true, rowCount = 3 }, db:execute "INSERT INTO t VALUES (1), (2), (3)")
      same({ success = true, rowCount = 1 }, db:execute("DELETE FROM t WHERE a = $1", 3))
      same({ success = true, rowCount = 1 }, db:execute { query = "DELETE FROM t WHERE a = $1",
        parameters = { 2 } })
      same({ success = true, rows = { { a = 1 } }, rowCount = 1 }, db:execute "SELECT * FROM t")
      same({ success = true, rows = { { a = 4 } }, rowCount = 1 },
        db:execute("INSERT INTO t VALUES ($1) RETURNING a", 4))
      same({ success = true, rows = {}, rowCount = 0 }, db:execute "SELECT * FROM t WHERE false")
      failed("undefined_table", db:execute "DROP TABLE nothing")
    end)

    it("S055 S100: runs what cannot run in a transaction", function()
      assert(db:execute "CREATE TABLE v (a int)")
      for _, sql in ipairs {
        "VACUUM v", "VACUUM (ANALYZE) v;", "CREATE INDEX CONCURRENTLY v_a ON v (a)",
        "REINDEX TABLE CONCURRENTLY v", "DROP INDEX CONCURRENTLY v_a", "CREATE DATABASE made",
        "ALTER SYSTEM RESET work_mem", "DROP DATABASE made",
      } do
        same({ success = true, rowCount = 0 }, db:execute(sql))
      end
      assert(db:execute "DROP TABLE v")
    end)

    it("S056: says that DDL takes no parameters", function()
      for _, call in ipairs {
        { "CREATE TABLE refused (a int DEFAULT $1)", 1 },
        { "CREATE ROLE refused PASSWORD $1", "x" },
        { "ALTER TABLE pg_class RENAME TO $1", "x" }, { "SET application_name TO $1", "x" },
      } do
        local answer, err = db:execute(table.unpack(call))
        assert.is_nil(answer)
        assert.is_true(err.kind == "invalid_parameter" or err.kind == "syntax_error", err.kind)
        assert.matches("no parameters", table.concat(err.fixes, "\n"))
        usable()
      end
      local name, value = 'a "name"', [[it's \ 1]]
      assert(db:execute(("CREATE TEMP TABLE %s (a text DEFAULT %s)"):format(pg.identifier(name),
        pg.literal(value))))
      same({ insertedId = nil, rowCount = 1, row = { a = value } },
        db:insert(pg.identifier(name), {}, { returning = "a" }))
    end)

    local scripts = {
      { "SELECT 1 AS a; SELECT 2 AS b", { rows = { { b = 2 } }, rowCount = 1 } },
      { "SELECT 1 AS a; SET application_name TO 'x'", { rowCount = 0 } },
      { "SET application_name TO 'x'; SELECT 1 AS a", { rows = { { a = 1 } }, rowCount = 1 } },
      { "CREATE TEMP TABLE s (a int); INSERT INTO s VALUES (1), (2)", { rowCount = 2 } },
      { "SELECT generate_series(1, 3); SELECT 1 WHERE false", { rows = {}, rowCount = 0 } },
      { "SELECT 1 AS a;", { rows = { { a = 1 } }, rowCount = 1 } },
      { "SELECT 1 AS a; ;; -- the end", { rows = { { a = 1 } }, rowCount = 1 } },
      { ";; SELECT 1 AS a", { rows = { { a = 1 } }, rowCount = 1 } },
      { "BEGIN; SELECT 1 AS a; COMMIT", { rowCount = 0 } },
      { "SELECT ';' AS a; SELECT $$;$$ AS b", { rows = { { b = ";" } }, rowCount = 1 } },
    }
    for _, case in ipairs(scripts) do
      it(("S055 Q15: gives the last statement's result of: %s"):format(case[1]), function()
        case[2].success = true
        same(case[2], db:execute(case[1]))
        same(case[2], db:execute { query = case[1]:gsub("TEMP TABLE s", "TEMP TABLE s2"),
          parameters = {} })
        usable()
      end)
    end

    it("S055: runs a script as one transaction", function()
      assert(db:execute "CREATE TEMP TABLE t (a int PRIMARY KEY)")
      local err = failed("constraint_violation",
        db:execute "INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); INSERT INTO t VALUES (1)")
      assert.equal("unique_violation", err.condition)
      same({ rows = { { count = 0 } }, rowCount = 1 }, db:query "SELECT count(*) FROM t")
      failed("syntax_error", db:execute "INSERT INTO t VALUES (1); SELEC")
      same({ rows = { { count = 0 } }, rowCount = 1 }, db:query "SELECT count(*) FROM t")
      failed("invalid_value",
        db:execute "INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); SELECT 1/0")
      same({ rows = { { a = 1 } }, rowCount = 1 }, db:query "SELECT a FROM t")
    end)

    it("S055: counts the results of all a script's statements towards the limit", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      local each = "SELECT repeat('x', 20000);"
      local limited = db:with { max_result = 30000 }
      assert(limited:execute(each))
      local err = failed("result_too_large", limited:execute("INSERT INTO t VALUES (1);" .. each
        .. each .. each .. "SELECT pg_sleep(60)")) -- the server holds the last bytes back
      assert.equal(30000, err.limit)
      assert.is_false(err.completed)
      same({ rows = { { count = 0 } }, rowCount = 1 }, db:query "SELECT count(*) FROM t")
    end)

    it("S055: has one deadline for a script", function()
      local started = core.now()
      local err = failed("query_timeout", db:execute { timeout = 0.3,
        query = ("SELECT pg_sleep(0.2);"):rep(100) })
      assert.is_true(core.now() - started < 10)
      assert.is_false(err.completed)
      usable()
    end)
  end)

  describe("COPY", function()
    local copies = {
      { "FROM STDIN", "COPY t FROM STDIN" },
      { "TO STDOUT", "COPY t TO STDOUT" },
      { "TO STDOUT in binary", "COPY t TO STDOUT (FORMAT binary)" },
      { "TO STDOUT of a billion rows", "COPY (SELECT generate_series(1, 1000000000)) TO STDOUT" },
      { "FROM STDIN after a comment", "/* x */ -- y\n copy t from stdin" },
    }
    for _, case in ipairs(copies) do
      it(("Q19: %s is refused clearly, and the connection goes on"):format(case[1]), function()
        assert(db:execute "CREATE TEMP TABLE t (a int); INSERT INTO t VALUES (1)")
        for _, action in ipairs { "query", "execute" } do
          local err = failed("wrong_action", db[action](db, case[2]))
          assert.matches("COPY", err.message)
          usable()
        end
        same({ rows = { { a = 1 } }, rowCount = 1 }, db:query "SELECT a FROM t")
      end)
    end

    it("Q19: in the middle of a script is refused, and nothing after it runs", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      failed("wrong_action",
        db:execute "INSERT INTO t VALUES (1); COPY t FROM STDIN; INSERT INTO t VALUES (2)")
      same({ rows = { { count = 0 } }, rowCount = 1 }, db:query "SELECT count(*) FROM t")
      failed("wrong_action",
        db:execute "COPY (SELECT generate_series(1, 1000000000)) TO STDOUT; CREATE TABLE x ()")
      failed("undefined_table", db:query "SELECT * FROM x")
      usable()
    end)

    it("Q19: that failed leaves a transaction failed, not the connection", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      assert(db:execute "BEGIN")
      failed("wrong_action", db:query "COPY t FROM STDIN")
      assert.equal("failed", db:status().state)
      failed("transaction_failed", db:query "SELECT 1")
      same({ success = true, rowCount = 0 }, db:execute "ROLLBACK")
      usable()
    end)

    it("Q19: with parameters is refused", function()
      assert(db:execute "CREATE TEMP TABLE t (a int)")
      for _, given in ipairs { 1, "\\", { 1 } } do
        failed("invalid_parameter", db:query("COPY t FROM STDIN", given))
        failed("invalid_parameter", db:execute("COPY t TO STDOUT", given))
        usable()
      end
    end)

    it("Q19: between the server and its own files gives the count", function()
      same({ success = true, rowCount = 3 },
        db:execute "COPY (SELECT generate_series(1, 3)) TO PROGRAM 'cat >/dev/null'")
    end)
  end)
end)
