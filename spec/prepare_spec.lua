-- SPDX-License-Identifier: MIT
-- Prepared statements: db:prepare, and those that recur.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, failed <const>, must <const> =
  support.contains, support.failed, support.must
local raises <const>, same <const>, value <const> = support.raises, support.same, support.value
local with <const> = support.with

-- All names of a session, unknown to its client.
local LOSE <const> = "SELECT lose()"

local server, db, other

setup(function()
  server = assert(throwaway.start())
  other = assert(pg.connect(support.merge(server.options, { prepare = false })))
end)

teardown(function()
  server:stop()
end)

before_each(function()
  support.emptied(server.options, other)
  db = assert(pg.connect(server.options))
end)

after_each(function()
  db:close()
end)

-- How many names the server keeps for the connection; asking makes no more of them.
local function names(handle)
  return must((handle or db):with { rows = "array" }:execute(
    "SHOW application_name; SELECT count(*) FROM pg_prepared_statements")).rows[1][1]
end

local function often(f)
  for i = 1, 7 do f(i) end
end

-- The rows of a statement that ran by its name before.
local function rows(sql, ...)
  return must(db:query(sql, ...)).rows
end

describe("a statement that recurs", function()
  it("is prepared at its fifth run", function()
    for i = 1, 8 do
      same({ { v = i } }, rows("SELECT $1::int AS v", i))
      assert.equal(i > 4 and 1 or 0, names())
    end
  end)

  it("is told by its first word", function()
    assert(db:execute "CREATE TABLE t (i int PRIMARY KEY)")
    for sql, prepared in pairs {
      ["SELECT 1"] = 1, [" /* a */ (SELECT 1)"] = 1, ["VALUES (1)"] = 1, ["TABLE t"] = 1,
      ["WITH a AS (SELECT 1) SELECT * FROM a"] = 1, ["INSERT INTO t SELECT 1 WHERE false"] = 0,
      ["UPDATE t SET i = 1"] = 0, ["DELETE FROM t"] = 0, ["SHOW work_mem"] = 0,
      ["WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a"] = 0,
      ["EXPLAIN SELECT 1"] = 0, ["SET work_mem = '4MB'"] = 0, ["DO 'BEGIN END'"] = 0, [""] = 0,
    } do
      assert(db:execute "DEALLOCATE ALL")
      often(function() must(db:query(sql)) end)
      assert.equal(prepared, names(), sql)
    end
  end)

  it("is not where prepare = false", function()
    often(function() must(other:query "SELECT 1") end)
    assert.equal(0, names(other))
    local st <close> = assert(other:prepare "SELECT $1::int AS v")
    same({ { v = 5 } }, must(st:query(5)).rows)
    assert.equal(0, names(other))
    support.raises("prepare must be true or false", function()
      pg.connect(with(server.options, { prepare = "yes" }))
    end)
  end)

  it("is not where it writes: a value is stored as the column wants it now", function()
    assert(other:execute "CREATE TABLE t (code int)")
    often(function() must(db:execute("INSERT INTO t VALUES ($1)", "007")) end)
    assert(other:execute "TRUNCATE t; ALTER TABLE t ALTER code TYPE text")
    must(db:execute("INSERT INTO t VALUES ($1)", "007"))
    same({ { code = "007" } }, rows "SELECT code FROM t")
  end)

  it("gives the same by all actions and db:each, left early or not", function()
    assert(db:execute "CREATE TABLE t (i int)")
    local insert <close> = assert(db:prepare "INSERT INTO t VALUES ($1)")
    local update <close> = assert(db:prepare "UPDATE t SET i = i")
    local delete <close> = assert(db:prepare "DELETE FROM t WHERE i = $1")
    often(function(n)
      for row in db:each("SELECT i FROM generate_series(1, $1::int) AS i", 100 * n) do
        if row.i == 70 then break end
      end
      assert.equal(1, must(insert:execute(n)).rowCount)
      assert.equal(n, must(update:update()).rowCount)
      assert.equal(0, must(delete:delete(-n)).rowCount)
    end)
    assert.equal(4, names())
    assert.equal(7, value(db, "SELECT count(*) FROM t"))
  end)

  it("takes values of whatever types, and stores what it would without a name", function()
    local create = "CREATE TABLE %s (j jsonb, t text, a int[], b bytea, n numeric)"
    assert(other:execute(create:format "t" .. ";" .. create:format "u"))
    local given = {
      { { x = 1 }, "s", { 1, 2 }, "\0a", 1 }, { "7", "\\x41", "{3}", "\\x41", "1.50" }, { n = 5 },
      { 7, 7, {}, "plain", 2.5 }, { true, true, pg.array({}, "int"), pg.bytea "\\x", -0.0 },
      { pg.json "w", pg.typed("5", "text"), pg.typed({ 1 }, "int[]"), "", 1 << 62 },
      { pg.null, pg.null, { pg.null, 1 }, "\\\\", "NaN" }, { {}, "", "{}", "a\\b", 1e300 },
    }
    local insert <close> = assert(db:prepare "INSERT INTO t VALUES ($1, $2, $3, $4, $5)")
    for round = 1, 7 do
      for from = 0, #given - 1 do
        local list = given[(from * round) % #given + 1]
        local v = { table.unpack(list, 1, 5) }
        must(insert:execute(table.unpack(v, 1, 5)))
        must(other:execute("INSERT INTO u VALUES ($1, $2, $3, $4, $5)", table.unpack(v, 1, 5)))
      end
    end
    assert.equal(7 * #given, value(db, "SELECT count(*) FROM t"))
    assert.equal(0, value(db, "SELECT count(*) FROM ((TABLE t EXCEPT ALL TABLE u) UNION ALL "
      .. "(TABLE u EXCEPT ALL TABLE t)) AS d"))
  end)

  it("goes without its name where other types are said", function()
    often(function()
      same({ { v = 1 } }, rows("SELECT $1 AS v", pg.typed(1, "int")))
      same({ { v = "a" } }, rows("SELECT $1 AS v", pg.typed("a", "text")))
      same({ { v = "5" } }, rows("SELECT $1 AS v", 5))
      same({ { v = { 1 } } }, rows("SELECT $1 AS v", pg.typed({ 1 }, "int[]")))
      same({ { v = "\0" } }, rows("SELECT $1 AS v", pg.bytea "\0"))
    end)
  end)

  it("fails as it would without a name, and works again", function()
    often(function(n)
      failed("invalid_value", db:query("SELECT 1 / $1::int AS v", 0))
      same({ { v = 1 } }, rows("SELECT 1 / $1::int AS v", 1))
      failed("invalid_value", db:query("SELECT 1 / $1::int AS v", "x" .. n))
      failed("invalid_parameter", db:query("SELECT 1 / $1::int AS v", 1, 2))
      failed("invalid_parameter", db:query "SELECT 1 / $1::int AS v")
      failed("invalid_parameter", db:query("SELECT 1 / $1::int AS v", print))
      failed("undefined_table", db:query "SELECT * FROM nowhere")
    end)
    assert.is_true(names() <= 1)
  end)

  it("does its work once when a value is refused (Q22)", function()
    assert(other:execute "CREATE SEQUENCE runs; CREATE TABLE t (i int, n int CHECK (n > 0))")
    local insert <close> = assert(db:prepare "INSERT INTO t VALUES (nextval('runs'), $1)")
    often(function(n)
      must(insert:execute(n))
      failed("constraint_violation", insert:execute(-n))
    end)
    assert.equal(14, value(other, "SELECT last_value FROM runs"))
  end)

  it("is cancelled while it is being prepared, and is right after it", function()
    often(function()
      failed("query_timeout", db:with { timeout = 0.05 }:query("SELECT pg_sleep($1)", 5))
    end)
    rows("SELECT pg_sleep($1)", 0)
    assert.is_true(names() <= 1)
  end)

  it("in a failed transaction is transaction_failed, and leaves no name", function()
    assert(db:execute "BEGIN")
    failed("invalid_value", db:query "SELECT 1 / 0")
    often(function() failed("transaction_failed", db:query "SELECT 1 AS one") end)
    assert(db:execute "ROLLBACK")
    assert.equal(0, names())
    often(function() rows "SELECT 1 AS one" end)
    assert.equal(1, names())
  end)

  it("serves read-only connections", function()
    local readonly <close> = assert(pg.connect(with(server.options, { readonly = true })))
    assert(other:execute "CREATE TABLE t (i int)")
    often(function(n)
      assert.equal(n, value(readonly, "SELECT $1::int", n))
      failed("read_only", readonly:execute "INSERT INTO t VALUES (1)")
    end)
  end)
end)

describe("the names at the server", function()
  it("are bounded, whatever number of texts takes turns", function()
    local most = 0
    for i = 1, 3500 do
      for _ = 1, 5 do rows("SELECT $1::int + " .. i, i) end
      if i % 50 == 0 then most = math.max(most, names()) end
    end
    assert.is_true(most > 1000 and most <= 2010, most)
  end)

  it("are kept, of 1,000 texts that take turns", function()
    for _ = 1, 7 do
      for i = 1, 1000 do rows("SELECT $1::int + " .. i, i) end
    end
    assert.equal(1000, names())
    assert.equal(1000, value(db, [[
      SELECT max(split_part(name, '_', 3)::int) FROM pg_prepared_statements]]))
  end)

  it("are bounded in a transaction, and closed after it", function()
    assert(db:execute "BEGIN")
    for i = 1, 4500 do
      for _ = 1, 5 do rows("SELECT $1::int + " .. i, i) end
    end
    assert.is_true(names() <= 3020, names())
    assert(db:execute "COMMIT")
    for _ = 1, 200 do rows "SELECT 1" end
    assert.is_true(names() <= 2010, names())
  end)

  it("are of short texts only", function()
    local long = "SELECT 1 -- " .. ("x"):rep(40000)
    often(function() rows(long) end)
    assert.equal(0, names())
    for i = 1, 80 do
      for _ = 1, 5 do rows(("SELECT %d -- %s"):format(i, ("x"):rep(31000))) end
    end
    for _ = 1, 20 do rows "SELECT 1" end
    assert.is_true(names() <= 70, names())
  end)

  it("are nobody else's: two connections share none", function()
    local second <close> = assert(pg.connect(server.options))
    local function name(handle)
      often(function() must(handle:query "SELECT 1") end)
      return value(handle, "/* which */ SELECT name FROM pg_prepared_statements LIMIT 1")
    end
    local a, b = name(db), name(second)
    assert.is_truthy(a:match "^pg_%x+_1$" and b:match "^pg_%x+_1$")
    assert.not_equal(a, b)
  end)
end)

describe("a name that was lost (Q22)", function()
  local sql <const> = "SELECT $1::int AS v"
  local ways = {
    ["by DISCARD ALL"] = "DISCARD ALL",
    ["by DEALLOCATE ALL"] = "DEALLOCATE ALL",
    ["in a function"] = "DO 'BEGIN DEALLOCATE ALL; END'",
    ["in a script"] = "DEALLOCATE ALL; SELECT 1",
    ["where nobody sees it"] = LOSE,
  }

  before_each(function()
    assert(other:execute [[CREATE FUNCTION lose() RETURNS void LANGUAGE plpgsql
      AS 'BEGIN DEALLOCATE ALL; END']])
  end)

  for how, statement in pairs(ways) do
    it("is replaced: " .. how, function()
      for _ = 1, 3 do
        often(function(i) same({ { v = i } }, rows(sql, i)) end)
        assert.is_true(names() >= 1)
        must(db:execute(statement))
        assert.equal(0, names())
      end
      for row in db:each(sql, 7) do same({ v = 7 }, row) end
    end)
  end

  it("is replaced for db:each and statement objects", function()
    local st <close> = assert(db:prepare(sql))
    for _ = 1, 3 do
      must(db:execute(LOSE))
      local count = 0
      for row in st:each(7) do
        same({ v = 7 }, row)
        count = count + 1
      end
      assert.equal(1, count)
      must(db:execute(LOSE))
      same({ { v = 8 } }, must(st:query(8)).rows)
    end
  end)

  it("inside a transaction fails it, says what to do, and is replaced after it", function()
    often(function(i) rows(sql, i) end)
    must(db:execute(LOSE))
    local function run(tx) return must(tx:query(sql, 7)).rows[1].v end
    local err = failed("query_failed", db:transaction(run))
    assert.equal("26000", err.sqlstate)
    contains(err.fixes[1], "run the transaction again")
    assert.equal(7, db:transaction(run))
  end)

  it("is forgotten with the session", function()
    often(function(i) rows(sql, i) end)
    assert(db:reset())
    assert.equal(0, names())
    often(function(i) same({ { v = i } }, rows(sql, i)) end)
    assert.equal(1, names())
  end)
end)

describe("a prepared statement under a change of its table", function()
  local find <const> = "SELECT * FROM t WHERE id = $1"

  before_each(function()
    assert(other:execute "CREATE TABLE t (id int, v int); INSERT INTO t VALUES (1, 10)")
    often(function() same({ { id = 1, v = 10 } }, rows(find, 1)) end)
    assert.equal(1, names())
  end)

  it("gives the new columns and types at once", function()
    for _, change in ipairs {
      { "ADD w text DEFAULT 'w'", 1, { id = 1, v = 10, w = "w" } },
      { "DROP w", 1, { id = 1, v = 10 } },
      { "ALTER v TYPE bigint USING 1::bigint << 40", 1, { id = 1, v = 1 << 40 } },
      { "ALTER v TYPE text", 1, { id = 1, v = "1099511627776" } },
      { "RENAME v TO u", 1, { id = 1, u = "1099511627776" } },
      { "ALTER id TYPE bigint USING 1::bigint << 40", 1 << 40, { id = 1 << 40,
        u = "1099511627776" } },
      { "ALTER id TYPE text USING 'a'", "a", { id = "a", u = "1099511627776" } },
    } do
      must(other:execute("ALTER TABLE t " .. change[1]))
      often(function() same({ change[3] }, rows(find, change[2])) end)
    end
  end)

  it("gives them by db:each, too", function()
    must(other:execute "ALTER TABLE t ADD w int DEFAULT 3")
    for row in db:each(find, 1) do same({ id = 1, v = 10, w = 3 }, row) end
  end)

  it("inside a transaction fails it, and works in the next", function()
    must(other:execute "ALTER TABLE t ADD w int")
    local function run(tx) return must(tx:query(find, 1)).rowCount end
    local err = failed("query_failed", db:transaction(run))
    assert.equal("0A000", err.sqlstate)
    contains(err.fixes[1], "run the transaction again")
    assert.equal(1, db:transaction(run))
  end)

  it("stores a value that only the new type holds at once", function()
    local insert <close> = assert(db:prepare "INSERT INTO t (id) VALUES ($1)")
    often(function(i) must(insert:execute(i)) end)
    must(other:execute "TRUNCATE t; ALTER TABLE t ALTER id TYPE bigint")
    must(insert:execute(1 << 40))
    same({ { id = 1 << 40 } }, rows "SELECT id FROM t")
    often(function() must(insert:execute(1 << 41)) end)
    must(other:execute "TRUNCATE t; ALTER TABLE t ALTER id TYPE bytea USING NULL")
    often(function()
      for _, bytes in ipairs { "\\x41", "a\\b", "\0", "a", "\\\\" } do
        must(db:execute("DELETE FROM t"))
        must(insert:execute(bytes))
        same({ { id = bytes } }, rows "SELECT id FROM t")
      end
    end)
  end)

  it("follows search_path, also inside a transaction", function()
    assert(db:execute [[CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE one.w (v int);
      CREATE TABLE two.w (v text, u int); INSERT INTO one.w VALUES (1);
      INSERT INTO two.w VALUES ('b', 2)]])
    local answers <const> = { one = { { v = 1 } }, two = { { v = "b", u = 2 } } }
    for _ = 1, 3 do
      for schema, answer in pairs(answers) do
        assert(db:execute("SET search_path = " .. schema))
        same(answer, must(db:transaction(function(tx)
          return must(tx:query "SELECT * FROM w").rows
        end)))
        often(function() same(answer, rows "SELECT * FROM w") end)
      end
    end
    for schema, answer in pairs(answers) do
      for _, set in ipairs { "SET LOCAL search_path = %s",
        "SELECT set_config('search_path', '%s', true)" } do
        same(answer, must(db:transaction(function(tx)
          must(tx:execute(set:format(schema)))
          return must(tx:query "SELECT * FROM w").rows
        end)))
      end
    end
    assert(db:execute "BEGIN; SAVEPOINT a; SET search_path = one")
    often(function() same(answers.one, rows "SELECT * FROM w") end)
    assert(db:execute "ROLLBACK TO a; SET search_path = two; SAVEPOINT b; SET search_path = one")
    assert(db:execute "ROLLBACK TO b")
    same(answers.two, rows "SELECT * FROM w")
    assert(db:execute "ROLLBACK")
  end)

  it("follows the role", function()
    support.role(other, "reader", "secret")
    assert(other:execute "GRANT USAGE ON SCHEMA public TO reader")
    assert(db:execute "SET ROLE reader")
    failed("permission_denied", db:query(find, 1))
    assert(db:execute "RESET ROLE")
    same({ { id = 1, v = 10 } }, rows(find, 1))
    assert(db:execute "DROP OWNED BY reader; DROP ROLE reader")
  end)
end)

describe("db:prepare", function()
  it("prepares at once; its statement takes values alone", function()
    assert(db:execute "CREATE TABLE t (i int)")
    local add <close> = assert(db:prepare "INSERT INTO t VALUES ($1)")
    local find <close> = assert(db:prepare "SELECT i FROM t WHERE i >= $1 ORDER BY i")
    assert.equal(2, names())
    for i = 1, 9 do same({ success = true, rowCount = 1 }, must(add:execute(i))) end
    same({ { i = 8 }, { i = 9 } }, must(find:query(8)).rows)
    local seen = {}
    for row in find:each(7) do seen[#seen + 1] = row.i end
    same({ 7, 8, 9 }, seen)
    local change <close> = assert(db:prepare "UPDATE t SET i = i + $1")
    local clear <close> = assert(db:prepare "DELETE FROM t WHERE i > $1")
    assert.equal(9, must(change:update(1)).rowCount)
    assert.equal(9, must(clear:delete(0)).rowCount)
    assert.equal(4, names())
  end)

  it("answers the error of a text that the server refuses", function()
    failed("syntax_error", db:prepare "SELEC")
    failed("undefined_table", db:prepare "SELECT * FROM nowhere")
    failed("invalid_parameter", db:prepare "SELECT 1\0")
    raises("string", function() db:prepare() end)
    local err = failed("syntax_error", db:prepare "SELECT 1; SELECT 2")
    contains(err.message, "multiple commands")
    assert.equal(0, names())
  end)

  it("keeps to its handle's settings and to the guards", function()
    local st <close> = assert(db:with { rows = "array", null = pg.null }:prepare "SELECT 1, NULL")
    same({ { 1, pg.null } }, must(st:query()).rows)
    failed("wrong_action", st:update())
    failed("wrong_action", st:delete())
  end)

  it("takes lists, JSON and bytes, of types that change", function()
    local st <close> = assert(db:prepare "SELECT $1::int[] AS a, $2::jsonb AS j, $3::bytea AS b")
    often(function(i)
      same({ { a = { i }, j = { k = i }, b = "\0\\x" } },
        must(st:query({ i }, { k = i }, "\0\\x")).rows)
      same({ { a = { 1 }, j = 5, b = "x" } }, must(st:query("{1}", "5", "x")).rows)
    end)
  end)

  it("closes with its scope: the server lets go in a later trip", function()
    do
      local st <close> = assert(db:prepare "SELECT 7 AS v")
      same({ { v = 7 } }, must(st:query()).rows)
      assert.equal(1, names())
    end
    rows "SELECT 1"
    assert.equal(0, names())
  end)

  it("raises once it is closed, or its connection is, or its transaction", function()
    local st = assert(db:prepare "SELECT 1")
    st:close()
    st:close()
    raises("the statement is closed", function() st:query() end)
    local kept
    db:transaction(function(tx)
      kept = must(tx:prepare "SELECT 2")
      return must(kept:query()).rowCount
    end)
    raises("transaction", function() kept:query() end)
    local last = assert(db:prepare "SELECT 3")
    assert(db:reset())
    assert.equal(1, must(last:query()).rowCount)
    db:close()
    raises("the connection is closed", function() last:query() end)
    last:close()
  end)

  it("of one text twice is one; each may close", function()
    local a, b = assert(db:prepare "SELECT 5 AS v"), assert(db:prepare "SELECT 5 AS v")
    a:close()
    often(function() same({ { v = 5 } }, must(b:query()).rows) end)
    b:close()
    rows "SELECT 1"
    rows "SELECT 1"
    assert.equal(0, names())
  end)

  it("leaves nothing behind, again and again, collected or closed", function()
    for i = 1, 600 do
      local st = assert(db:prepare("SELECT " .. i))
      must(st:query())
      if i % 2 == 0 then st:close() end
    end
    collectgarbage()
    for _ = 1, 100 do rows "SELECT 1" end
    assert.is_true(names() <= 520, names())
  end)

  it("in a pool's connection is gone when that is handed on", function()
    local pool <close> = assert(pg.pool(with(server.options, { size = 1 })))
    local kept
    pool:use(function(own)
      kept = must(own:prepare "SELECT 9 AS v")
      same({ { v = 9 } }, must(kept:query()).rows)
    end)
    assert.is_false((pcall(kept.query, kept)))
    often(function(i) assert.equal(i, must(pool:query("SELECT $1::int AS v", i)).rows[1].v) end)
  end)
end)

describe("columns that another session renames", function()
  it("are under their new names in the very next run, prepared or about to be", function()
    local own <close> = must(pg.connect(server.options))
    must(other:execute "CREATE TABLE swapped (a int, b int); INSERT INTO swapped VALUES (1, 2)")
    local function swap()
      must(other:execute [[ALTER TABLE swapped RENAME a TO c; ALTER TABLE swapped RENAME b TO a;
        ALTER TABLE swapped RENAME c TO b]])
    end
    local function shown(got)
      support.same(must(other:execute "SELECT * FROM swapped").rows, must(got).rows)
    end
    for round = 1, 8 do
      if round > 1 then swap() end
      for run = 1, 9 do
        if run == round then swap() end
        shown(own:query(("SELECT * FROM swapped -- %d"):format(round)))
      end
    end
    local st <close> = must(own:prepare "SELECT * FROM swapped")
    for _ = 1, 3 do
      shown(st:query())
      swap()
      shown(st:query())
    end
    must(other:execute [[CREATE SCHEMA aside; CREATE TABLE aside.swapped (b int, a int);
      INSERT INTO aside.swapped VALUES (7, 8)]])
    must(own:execute "BEGIN")
    must(own:execute "SET LOCAL search_path = aside")
    support.same({ { b = 7, a = 8 } }, must(st:query()).rows)
    must(own:execute "COMMIT")
    shown(st:query())
  end)
end)
