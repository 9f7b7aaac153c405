-- SPDX-License-Identifier: MIT
-- db:pipeline: the results of one by one, in one round trip and one transaction; and nothing of it
-- when anything fails.
local faultproxy = require "spec.fault.faultproxy"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed <const>, raises <const>, value <const>, must <const> =
  support.failed, support.raises, support.value, support.must
local contains <const>, merge <const> = support.contains, support.merge

local server, other, db, folder, program

setup(function()
  server = assert(throwaway.start { tcp = true })
  other = assert(pg.connect(server.options))
  folder = support.folder()
  program = support.compile(folder, "spec/fault/faultproxy.c")
end)

teardown(function()
  other:close()
  server:stop()
  os.execute("rm -r " .. support.quote(folder))
end)

before_each(function()
  assert(other:execute [[
DROP TABLE IF EXISTS t, made;
CREATE TABLE t (
  id serial PRIMARY KEY, n int UNIQUE, name text, tags text[], raw bytea, doc jsonb)]])
  db = assert(pg.connect(server.options))
end)

after_each(function() db:close() end)

-- What other sessions see.
local function count() return value(other, "SELECT count(*) FROM t") end

local function usable(conn)
  assert.equal("idle", conn:status().state)
  assert.equal(42, value(conn, "SELECT 42"))
end

local function add(p, n) return p:execute("INSERT INTO t (n) VALUES ($1)", n) end

describe("a pipeline's results", function()
  local CALLS <const> = {
    { "query", "SELECT 1 AS a, $1::text AS b, NULL AS c", "x" },
    { "query", "SELECT 1 WHERE false" },
    { "query", "" },
    { "query", { query = "SELECT 1 AS a, NULL::int AS b", null = pg.null } },
    { "query", { query = "SELECT n FROM generate_series(1, 3) AS n", rows = "columns" } },
    { "query", { query = "SELECT 1, 2", rows = "array" } },
    { "query", { query = "SELECT 1.5 AS a, '[1]'::json AS b", numeric = "number", json = "text" } },
    { "query", { query = "SELECT $1::int AS a, $2::int AS b", parameters = { n = 2, nil, 2 } } },
    { "query", "SELECT $1::int[] AS list, $2::jsonb AS doc, $3::bytea AS raw",
      { 1, 2, pg.null }, { a = {} }, "\0\\x" },
    { "query", "SELECT $1 AS a, $2 AS b, $3 AS c", pg.array({}, "int4"), pg.bytea "\0\1",
      pg.typed(7, "int8") },
    { "query", "SELECT $1::text AS a, $2::bytea AS b, $3::jsonb AS c, $4::bytea AS d",
      ("long"):rep(5000), pg.bytea(("\0\\"):rep(5000)), { list = { ("x"):rep(70000) } },
      ("\\\0"):rep(200) },
    { "query", "SELECT true AS t, 1e300::float8 AS f, 'x'::bytea AS raw, ARRAY[1, 2] AS list" },
    -- One text in a row, with other types, settings and actions.
    { "query", "SELECT $1 AS a", pg.typed(7, "int8") },
    { "query", "SELECT $1 AS a", pg.typed(7, "numeric") },
    { "query", { query = "SELECT $1 AS a", parameters = { pg.typed(7, "numeric") },
      numeric = "number", rows = "array" } },
    { "execute", "SELECT $1 AS a", pg.typed(7, "numeric") },
    { "insert", "t", { n = 1, name = "one", tags = { "a", "b" }, doc = { x = 1 }, raw = "\0\\" } },
    { "insert", "t", { n = 2 } },
    { "insert", "t", { n = 3 } },
    { "insert", "t", { name = pg.null, n = pg.raw "2 + 2" } },
    { "insert", "t", {} },
    { "insert", { table = "t", columns = { n = 5 }, returning = { "n", "doc" }, null = pg.null } },
    { "insert", "t", { n = 5, name = "five" }, { conflict = "n", returning = "*" } },
    { "insert", "t", { n = 5 }, { conflict = "n", update = false } },
    { "insert", "t", { n = 6 }, { returning = "name" } },
    { "update", "UPDATE t SET name = $1 WHERE n < $2", "low", 3 },
    { "update", { table = "t", set = { name = "high" }, where = { n = { 3, 4, 5 } },
      returning = { "n" } } },
    { "delete", "DELETE FROM t WHERE n = $1 RETURNING name", 1 },
    { "delete", { table = "t", where = { name = "none" } } },
    { "execute", "CREATE TABLE made (id int)" },
    { "execute", "INSERT INTO made VALUES ($1), ($2)", 1, 2 },
    { "execute", "SELECT * FROM made" },
    { "execute", "DROP TABLE made" },
  }

  local function call(target, one)
    return target[one[1]](target, table.unpack(one, 2))
  end

  it("are those of the same calls one by one", function()
    local wanted, places = {}, {}
    for i, one in ipairs(CALLS) do wanted[i] = must(call(db, one)) end
    assert(other:execute "TRUNCATE t RESTART IDENTITY")
    local results = must(db:pipeline(function(p)
      for i, one in ipairs(CALLS) do places[i] = must(call(p, one)) end
    end))
    assert.equal(#CALLS, #results)
    for i, one in ipairs(wanted) do
      assert.equal(i, places[i])
      support.same(one, results[i])
      assert.equal(one:json(), results[i]:json())
      support.same(one:columns(), results[i]:columns())
    end
  end)

  it("are the same when what was learnt of the statements is used", function()
    for _ = 1, 3 do
      local results = must(db:pipeline(function(p)
        for i = 1, 30 do
          p:query("SELECT $1::int[] AS list, $2::float8[] AS f", { i }, { i / 2 })
          p:query("SELECT $1::text AS name, $2::bytea AS raw", i, "\\" .. i)
        end
      end))
      for i = 1, 30 do
        support.same({ list = { i }, f = { i / 2 } }, results[2 * i - 1].rows[1])
        support.same({ name = tostring(i), raw = "\\" .. i }, results[2 * i].rows[1])
      end
    end
  end)

  it("come in their order, however many there are", function()
    local results = must(db:pipeline(function(p)
      for i = 1, 5000 do p:query("SELECT $1::int AS i", i) end
    end))
    for i = 1, 5000 do assert.equal(i, results[i].rows[1].i) end
  end)

  it("are none of an empty pipeline, which asks the server nothing", function()
    local proxy <close> = setmetatable({ it = faultproxy.start(program, server.tcp) },
      { __close = function(self) self.it:close() end })
    local conn <close> = assert(pg.connect(proxy.it.options))
    local before <const> = proxy.it:stat().up
    local results = assert(conn:pipeline(function() end))
    assert.equal("[]", pg.encode(results))
    assert.equal(before, proxy.it:stat().up)
  end)

  it("have the notices of their own statement", function()
    local results = must(db:pipeline(function(p)
      p:query "SELECT 1"
      p:execute "DROP TABLE IF EXISTS made"
      p:query "SELECT 1"
    end))
    assert.equal(0, #results[1]:notices())
    contains(results[2]:notices()[1].message, "made")
    assert.equal(0, #results[3]:notices())
  end)

  it("are decoded by the settings of the handle", function()
    local results = must(db:with { rows = "array", numeric = "number" }:pipeline(function(p)
      p:query "SELECT 1.5"
      p:query { query = "SELECT 1.5 AS a", rows = "object" }
      p:insert { table = "t", columns = { n = 1 }, returning = "n" }
    end))
    support.same({ { 1.5 } }, results[1].rows)
    support.same({ { a = 1.5 } }, results[2].rows)
    support.same({ n = 1 }, results[3].row)
  end)

  it("belong to long strings that nobody else holds", function()
    local function long(word, i) return (word .. i):rep(300) end
    local results = must(db:pipeline(function(p)
      for i = 1, 200 do p:query("SELECT $1::text AS x", long("kept", i)) end
      collectgarbage()
      for i = 1, 200 do assert(long("junk", i)) end
    end))
    for i = 1, 200 do assert.equal(long("kept", i), results[i].rows[1].x) end
  end)

  it("belong to the values as they were when they were queued", function()
    local row, list <const> = { n = 1, tags = { "a" } }, { 1 }
    local results = must(db:pipeline(function(p)
      p:insert("t", row)
      p:query("SELECT $1::int[] AS list", list)
      row.n, row.tags[1], list[1] = 2, "b", 2
      p:insert("t", row)
    end))
    assert.same({ 1 }, results[2].rows[1].list)
    assert.same({ { n = 1, tags = { "a" } }, { n = 2, tags = { "b" } } },
      assert(other:query "SELECT n, tags FROM t ORDER BY n").rows)
  end)
end)

describe("a pipeline", function()
  it("sends all before it has any answer", function()
    local loop <const> = scheduler()
    local proxy <const> = faultproxy.start(program, server.tcp)
    local conn <close> = assert(pg.connect(merge(proxy.options, { wait = loop.wait })))
    proxy:send "stall down"
    local results
    loop.spawn(function()
      results = must(conn:pipeline(function(p)
        p:query "SELECT 1"
        add(p, 1)
        p:query "SELECT pg_advisory_lock(4711)"
      end))
    end)
    support.eventually(function()
      return value(other, "SELECT count(*) FROM pg_locks WHERE objid = 4711") == 1
    end)
    assert.is_nil(results)
    proxy:send "stall off"
    loop.run()
    assert.equal(3, #results)
    proxy:close()
  end)

  it("may be filled by a function that runs statements, yields, and nests another", function()
    local loop <const> = scheduler()
    local conn <close> = assert(pg.connect(merge(server.options, { wait = loop.wait })))
    loop.run(function()
      local inner
      local results = must(conn:pipeline(function(p)
        add(p, 1)
        must(conn:query "SELECT pg_sleep(0.01)")
        p:query("SELECT $1::int[] AS list", { 1, pg.null }) -- asks for the type
        assert.equal(0, value(conn, "SELECT count(*) FROM t"))
        inner = must(conn:pipeline(function(q) add(q, 2) add(q, 3) end))
        p:query "SELECT count(*) AS n FROM t"
      end))
      assert.equal(2, #inner)
      assert.equal(3, results[3].rows[1].n)
      assert.same({ 1, pg.null }, results[2].rows[1].list)
    end)
    assert.equal(3, count())
  end)

  it("that raises sends nothing, and the error goes on", function()
    local fault <const> = {}
    local ok, message = pcall(db.pipeline, db, function(p)
      add(p, 1)
      error(fault)
    end)
    assert.is_false(ok)
    assert.equal(fault, message)
    assert.equal(0, count())
    usable(db)
  end)

  it("is of no use after its end", function()
    local kept
    must(db:pipeline(function(p) kept = p p:insert("t", { n = 1 }) end))
    for _, method in ipairs { "query", "execute", "update", "delete" } do
      raises("the pipeline has ended", function() kept[method](kept, "SELECT 1") end)
    end
    raises("the pipeline has ended", function() kept:insert("t", { n = 1 }) end)
    assert.is_false(pcall(db.pipeline, db, function(p) kept = p error "stop" end))
    raises("the pipeline has ended", function() kept:query "SELECT 1" end)
    local ok, message = pcall(db.pipeline, db, function(p)
      do local _ <close> = p end
      add(p, 1)
    end)
    assert.is_false(ok)
    contains(message, "the pipeline has ended")
    assert.equal(1, count())
  end)

  it("raises at the line of a mistake", function()
    raises("takes a function", function() db:pipeline() end)
    raises("takes a function", function() db:pipeline { timeout = 1 } end)
    raises("did you mean 'timeout'", function() db:pipeline(print, { timeuot = 1 }) end)
    raises("options must be a table", function() db:pipeline(print, 5) end)
    raises("above this host's ceiling", function() db:pipeline(print, { timeout = 1e6 }) end)
    raises("a string of SQL", function() db:pipeline(function(p) p:query() end) end)
    raises("did you mean 'rows'", function()
      db:pipeline(function(p) p:query { query = "SELECT 1", row = 1 } end)
    end)
    raises("the timeout is the whole pipeline's", function()
      db:pipeline(function(p) p:query { query = "SELECT 1", timeout = 1 } end)
    end)
    raises("the timeout is the whole pipeline's", function()
      db:pipeline(function(p) p:insert("t", { n = 1 }, { timeout = 1 }) end)
    end)
    raises("called on a pipeline, not on a string", function()
      db:pipeline(function(p) p.insert("t", { n = 1 }) end)
    end)
    raises("a name cannot be empty", function()
      db:pipeline(function(p) p:insert("t", { [""] = 1 }) end)
    end)
    raises("must be a table of column = value", function()
      db:pipeline(function(p) p:insert "t" end)
    end)
    usable(db)
  end)

  it("goes on after what a lost caller has left", function()
    local thread = coroutine.create(function()
      db:transaction(function(tx) add(tx, 1) coroutine.yield() end)
    end)
    assert(coroutine.resume(thread))
    thread = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert(must(db:pipeline(function(p) add(p, 2) end)))
    assert.equal(1, count())
  end)

  it("is refused while a stream holds the connection", function()
    local tried = 0
    for _ in db:each "SELECT generate_series(1, 5000)" do
      tried = tried + 1
      if tried == 1 then
        raises("busy with the rows of db:each", function()
          db:pipeline(function(p) add(p, 1) end)
        end)
      end
    end
    assert.equal(5000, tried)
    assert(db:pipeline(function(p) add(p, 1) end))
  end)
end)

describe("a pipeline that fails", function()
  -- What is queued, the place that fails, and how.
  local CASES <const> = {
    { "the first statement", 1, "undefined_table", function(p)
      p:query "SELECT * FROM nowhere"
      add(p, 1)
    end },
    { "a statement in the middle", 3, "constraint_violation", function(p)
      add(p, 1)
      add(p, 2)
      add(p, 1)
      add(p, 3)
    end },
    { "the last statement, at run time", 3, "invalid_value", function(p)
      add(p, 1)
      p:query "SELECT 1"
      p:query("SELECT 1 / $1::int", 0)
    end },
    { "a statement after rows of its own", 2, "invalid_value", function(p)
      add(p, 1)
      p:query "SELECT 1 / (5000 - i) FROM generate_series(1, 10000) AS i"
      add(p, 2)
    end },
    { "a value", 2, "invalid_value", function(p)
      add(p, 1)
      add(p, "x")
    end },
    { "a wrong number of values", 2, "invalid_parameter", function(p)
      add(p, 1)
      p:execute("INSERT INTO t (n) VALUES ($1)", 2, 3)
    end },
    { "a script", 2, "syntax_error", function(p)
      add(p, 1)
      p:execute "SELECT 1; SELECT 2"
    end },
  }

  for _, case in ipairs(CASES) do
    it("by " .. case[1] .. " has stored nothing, and says where", function()
      local err = failed(case[3], db:pipeline(case[4]))
      assert.equal(case[2], err.index)
      assert.is_false(err.completed)
      contains(tostring(err), ("statement %d of %d; none of them has taken effect")
        :format(err.index, err.of))
      assert.equal(0, count())
      usable(db)
      assert(db:pipeline(function(p) add(p, 1) end))
      assert.equal(1, count())
    end)
  end

  it("has the error object of the statement itself", function()
    local alone = failed("undefined_column", db:query("SELECT nam FROM t WHERE n = $1", 1))
    local err = failed("undefined_column", db:pipeline(function(p)
      add(p, 1)
      p:query("SELECT nam FROM t WHERE n = $1", 1)
      add(p, 2)
    end))
    for _, name in ipairs { "kind", "message", "sqlstate", "condition", "position", "sql" } do
      assert.is_truthy(err[name])
      assert.equal(alone[name], err[name])
    end
    assert.same(alone.fixes, err.fixes)
  end)

  it("by an insert says what db:insert would", function()
    local err = failed("undefined_column", db:pipeline(function(p)
      p:insert("t", { n = 1 })
      p:insert("t", { nmae = "x" })
    end))
    assert.equal(2, err.index)
    contains(err.fixes[1], "name")
    err = failed("invalid_value", db:pipeline(function(p)
      for i = 1, 3 do p:insert("t", { n = i, name = "x" }) end
      p:insert("t", { n = "four", name = "x" })
    end))
    assert.equal(4, err.index)
    assert.equal("n", err.column)
    assert.equal(0, count())
  end)

  it("by a value that cannot be read says where that was, whatever fails after it", function()
    local err = failed("invalid_value", db:pipeline(function(p)
      add(p, 1)
      p:query "SELECT (repeat('[', 5000) || repeat(']', 5000))::json AS deep"
      p:query "SELECT 1 / 0"
    end))
    assert.same({ "deep", 2, 3 }, { err.column, err.index, err.of })
    assert.is_false(err.completed)
    assert.equal(0, count())
    usable(db)
  end)

  it("only by reading what has come of it stands, and says so", function()
    local err = failed("invalid_value", db:pipeline(function(p)
      p:query "SELECT (repeat('[', 5000) || repeat(']', 5000))::json AS deep"
      add(p, 1)
    end))
    assert.is_true(err.completed)
    contains(tostring(err), "statement 1 of 2; all of them have taken effect")
    assert.equal(1, count())
  end)

  it("at its end has no place", function()
    assert(other:execute [[
      ALTER TABLE t ADD CONSTRAINT later UNIQUE (name) DEFERRABLE INITIALLY DEFERRED]])
    local err = failed("constraint_violation", db:pipeline(function(p)
      p:insert("t", { name = "a" })
      p:insert("t", { name = "a" })
    end))
    assert.is_nil(err.index)
    assert.is_nil(err.sql)
    assert.is_false(err.completed)
    assert.equal("later", err.constraint)
    contains(tostring(err), "in a pipeline: of 2 statements; none of them has taken effect")
    assert.equal(0, count())
    usable(db)
  end)

  local REFUSED <const> = {
    "BEGIN", "start transaction", "COMMIT", "END", "/* x */ ROLLBACK", "ABORT", "SAVEPOINT s",
    "RELEASE s", "ROLLBACK TO s", ";BEGIN", "PREPARE TRANSACTION 'x'", "COPY t TO STDOUT",
    " ; -- x\n;copy t FROM STDIN", "(COPY t TO STDOUT)", "SET client_encoding = 'LATIN1'",
    "set local NAMES 'LATIN1'", "SELECT set_config('client_encoding', 'LATIN1', false)",
  }

  it("by what has no place in it is not sent", function()
    for _, sql in ipairs(REFUSED) do
      local place, problem
      local answer, err = db:pipeline(function(p)
        add(p, 1)
        place, problem = p:execute(sql)
        add(p, 2)
      end)
      assert.is_nil(place, sql)
      assert.equal(problem, failed("wrong_action", answer, err))
      assert.same({ 2, 3 }, { err.index, err.of })
    end
    assert.equal(0, count())
    usable(db)
  end)

  it("by a value that cannot be sent is not sent, even if that was ignored", function()
    local err = failed("invalid_parameter", db:pipeline(function(p)
      add(p, 1)
      local place, problem = p:query("SELECT $1::int", print)
      assert.is_nil(place)
      assert.equal(1, problem.parameter)
      p:query("SELECT $1::int", io.stdout)
    end))
    assert.same({ 2, 3 }, { err.index, err.of })
    failed("invalid_parameter", db:pipeline(function(p) p:query("SELECT $1::text", "\0") end))
    failed("invalid_parameter", db:pipeline(function(p) p:query "SELECT 1 \0" end))
    failed("wrong_action", db:pipeline(function(p) p:update "SELECT 1" end))
    failed("invalid_parameter", db:pipeline(function(p) p:delete { table = "t" } end))
    assert.equal(0, count())
    usable(db)
  end)

  it("by CALL or DO is not sent, which could commit; in a transaction they cannot", function()
    assert(other:execute [[
      CREATE OR REPLACE PROCEDURE commits() LANGUAGE plpgsql AS 'BEGIN COMMIT; END']])
    for _, sql in ipairs { "CALL commits()", "DO 'BEGIN COMMIT; END'" } do
      local err = failed("wrong_action", db:pipeline(function(p)
        add(p, 1)
        p:execute(sql)
      end))
      assert.equal(2, err.index)
      contains(err.fixes[1], "db:transaction")
      err = failed("query_failed", db:transaction(function(tx)
        return tx:pipeline(function(p)
          add(p, 1)
          p:execute(sql)
        end)
      end))
      assert.equal("2D000", err.sqlstate)
    end
    assert(db:transaction(function(tx)
      return tx:pipeline(function(p) p:execute "DO 'BEGIN PERFORM 1; END'" end)
    end))
    assert.equal(0, count())
  end)

  it("by what cannot run in a transaction has stored nothing", function()
    for place = 1, 2 do
      for _, sql in ipairs { "VACUUM t", "CREATE DATABASE nothing", "DISCARD ALL" } do
        local err = failed("query_failed", db:pipeline(function(p)
          if place == 2 then add(p, 1) end
          p:execute(sql)
          add(p, 2)
          add(p, 2)
        end))
        assert.same({ "25001", place }, { err.sqlstate, err.index })
      end
    end
    assert.equal(0, count())
    assert(db:pipeline(function(p) p:execute "VACUUM t" end))
  end)

  it("may choose its isolation first", function()
    local results = must(db:pipeline(function(p)
      p:execute "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"
      p:query "SHOW transaction_isolation"
    end))
    assert.equal("serializable", results[2].rows[1].transaction_isolation)
  end)

  it("has room for values that are no longer plain, in a coroutine of any size", function()
    for _, n in ipairs { 100, 4040, 40000 } do
      local places, values, half = {}, {}, {}
      for i = 1, n do places[i], values[i] = "$" .. i, "x" end
      for i = 1, n // 2 + 10 do half[i] = i end
      local text = ("SELECT (ARRAY[%s])[%d] AS last"):format(
        table.concat(places, "::text,") .. "::text", n)
      local results = must(db:pipeline(function(p)
        local function queue()
          coroutine.wrap(function()
            select("#", table.unpack(half))
            return must(p:query(text, table.unpack(values, 1, n)))
          end)()
        end
        queue()
        values[n] = "\\"
        queue()
      end))
      assert.equal("\\", results[2].rows[1].last)
    end
  end)
end)
