-- SPDX-License-Identifier: MIT
-- db:each: rows of any number, as they are asked for.
local core = require "pg.core"
local faultproxy = require "spec.fault.faultproxy"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, failed <const>, must <const> =
  support.contains, support.failed, support.must
local raises <const>, same <const>, value <const> = support.raises, support.same, support.value

-- luacheck: ignore 512 (loops are left at their first row)

-- More than any buffer between the server and the program holds.
local LARGE <const> = "SELECT i, repeat('x', 1000) AS filler FROM generate_series(1, 200000) AS i"
-- A hundred rows come at once, then none for as long as a spec may take.
local STUCK <const> = [[SELECT i, repeat('x', 8000) AS filler,
  CASE WHEN i > 100 THEN pg_sleep(30) END AS pause FROM generate_series(1, 1000) AS i]]
local PORTIONS <const> = { 0, 1, 2, 63, 64, 65, 127, 128, 129, 1000 }

local server, db, folder, program

setup(function()
  server = assert(throwaway.start { tcp = true })
  folder = support.folder()
  program = support.compile(folder, "spec/fault/faultproxy.c", "")
end)

teardown(function()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

before_each(function()
  db = support.emptied(server.options, db)
end)

-- How many rows came, and what was raised.
local function drain(handle, ...)
  local count = 0
  local ok, problem = pcall(function(...)
    for _ in handle:each(...) do count = count + 1 end
  end, ...)
  return count, not ok and problem or nil
end

local function usable(handle)
  assert.equal(42, value(handle or db, "SELECT 41 + 1"))
end

describe("db:each", function()
  it("gives all rows, in their order, whatever their number", function()
    for _, n in ipairs(PORTIONS) do
      local count = 0
      for row in db:each("SELECT i, 'n' || i AS name FROM generate_series(1, $1::int) AS i", n) do
        count = count + 1
        same({ i = count, name = "n" .. count }, row)
      end
      assert.equal(n, count)
      assert.equal("idle", db:status().state)
    end
  end)

  it("gives the rows as query does: NULLs, shapes, lists, JSON, enums", function()
    assert(db:execute "CREATE TYPE mood AS ENUM ('sad', 'glad')")
    local sql = [[SELECT 1 AS i, NULL AS nothing, '{1,NULL}'::int[] AS list,
      '{"a":[]}'::jsonb AS doc, 'glad'::mood AS mood, '{sad}'::mood[] AS moods,
      numeric '1.50' AS n, 'x'::text AS "select"]]
    for _, settings in ipairs { {}, { null = pg.null }, { rows = "array" }, { numeric = "number" },
      { json = "text" } } do
      local rows = {}
      for row in db:with(settings):each(sql) do rows[#rows + 1] = row end
      same(must(db:with(settings):query(sql)).rows, rows)
    end
    for row in db:each { query = "SELECT $1::int AS v, NULL AS w", parameters = { 7 },
      null = pg.null } do
      same({ v = 7, w = pg.null }, row)
    end
  end)

  it("binds values of all sorts", function()
    local sql = "SELECT $1::int[] AS a, $2::jsonb AS b, $3::text AS c, $4::bytea AS d, $5 AS e"
    local rows = 0
    for row in db:each(sql, { 1, 2 }, { a = {} }, nil, "\0\\x", pg.typed(true, "bool")) do
      same({ a = { 1, 2 }, b = { a = {} }, d = "\0\\x", e = true }, row)
      rows = rows + 1
    end
    assert.equal(1, rows)
  end)

  it("takes any statement: those without rows end at once", function()
    assert(db:execute [[CREATE TABLE t (i int);
      CREATE PROCEDURE p(INOUT v int) LANGUAGE plpgsql AS 'BEGIN v := v + 1; END']])
    for sql, count in pairs {
      [""] = 0, [";"] = 0, ["-- none"] = 0, ["CREATE TABLE u ()"] = 0, ["SELECT"] = 1,
      ["VALUES (1), (2)"] = 2, ["TABLE t"] = 0, ["SHOW work_mem"] = 1, ["EXPLAIN SELECT 1"] = 1,
      ["INSERT INTO t VALUES (1), (2)"] = 0, ["INSERT INTO t VALUES (3), (4) RETURNING i"] = 2,
      ["CALL p(1)"] = 1, ["SELECT FROM generate_series(1, 100)"] = 100,
    } do
      for _, state in ipairs { "idle", "transaction" } do
        if state == "transaction" then assert(db:execute "DROP TABLE IF EXISTS u; BEGIN") end
        same({ count }, { drain(db, sql) }, sql)
        assert.equal(state, db:status().state)
        if sql:find "^TABLE" then assert(db:execute "DELETE FROM t") end
        assert(db:execute "DELETE FROM t")
        if state == "transaction" then assert(db:execute "COMMIT") end
      end
    end
  end)

  it("runs what begins, steers and ends transactions", function()
    for _, step in ipairs { { "BEGIN", "transaction" }, { "SAVEPOINT a", "transaction" },
      { "SAVEPOINT b", "transaction" }, { "ROLLBACK TO a", "transaction" },
      { "RELEASE a", "transaction" }, { ";COMMIT", "idle" } } do
      same({ 0 }, { drain(db, step[1]) })
      assert.equal(step[2], db:status().state)
    end
  end)

  it("raises the error of a statement that is refused, and the connection goes on", function()
    for sql, kind in pairs {
      ["SELEC"] = "syntax_error", ["SELECT * FROM nowhere"] = "undefined_table",
      ["SELECT 1; SELECT 2"] = "syntax_error", ["a\0b"] = "invalid_parameter",
      ["SELECT $1::int"] = "invalid_parameter", ["COPY (SELECT 1) TO STDOUT"] = "wrong_action",
      ["COPY pg_class FROM STDIN"] = "wrong_action",
    } do
      local count, err = drain(db, sql)
      assert.equal(0, count)
      assert.equal(kind, failed(kind, nil, err).kind)
      assert.equal(sql, err.sql)
      usable()
    end
    local _, err = drain(db, "SELECT $1::int", print)
    assert.equal(1, failed("invalid_parameter", nil, err).parameter)
    usable()
  end)

  it("raises mistakes of the program at its line", function()
    raises("row by row", function() db:each { query = "SELECT 1", rows = "columns" } end)
    raises("a string of SQL", function() db:each(7) end)
    raises("query must be a string of SQL", function() db:each {} end)
    raises("unknown option", function() db:each { query = "SELECT 1", timout = 1 } end)
  end)

  it("raises an error in the middle on its step, after all rows before it", function()
    local sql = "SELECT i, 1 / ($1 - i) AS v FROM generate_series(1, 100000) AS i"
    for _, n in ipairs(PORTIONS) do
      for _, state in ipairs { "idle", "failed" } do
        if state == "failed" then assert(db:execute "BEGIN") end
        local count, err = drain(db, sql, n + 1)
        assert.equal(n, count)
        assert.equal("22012", failed("invalid_value", nil, err).sqlstate)
        assert.equal(state, db:status().state)
        if state == "failed" then assert(db:execute "ROLLBACK") end
      end
    end
  end)

  it("raises an error after the last row", function()
    assert(db:execute [[
      CREATE TABLE parent (id int PRIMARY KEY);
      CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)]])
    for _, n in ipairs { 1, 64, 65, 200 } do
      local count, err = drain(db,
        "INSERT INTO child SELECT generate_series(1, $1::int) RETURNING id", n)
      assert.equal(n, count)
      assert.equal("foreign_key_violation", failed("constraint_violation", nil, err).condition)
    end
    assert.equal(0, value(db, "SELECT count(*) FROM child"))
  end)

  it("holds few rows at a time", function()
    collectgarbage()
    local before, peak, count = collectgarbage "count", 0, 0
    for row in db:each(LARGE) do
      count = count + 1
      assert(row.i == count)
      if count % 1000 == 0 then peak = math.max(peak, collectgarbage "count" - before) end
    end
    assert.equal(200000, count)
    assert.is_true(peak < 2000, ("%.0f KB"):format(peak))
  end)

  it("is for one loop: two states do not mix", function()
    local other <close> = assert(pg.connect(server.options))
    local next_a, a, _, close_a <close> = db:each "SELECT generate_series(1, 300) AS i"
    local next_b, b, _, close_b <close> = other:each "SELECT -generate_series(1, 300) AS i"
    for i = 1, 300 do
      assert.equal(i, next_a(a).i)
      assert.equal(-i, next_b(b).i)
    end
    same({ nil, nil }, { next_a(a), next_b(b) })
    same({ nil, nil }, { next_a(a), next_b(b) }) -- it stays at its end
    assert(close_a and close_b)
  end)

  it("asked again after its error raises again, and gives no end", function()
    for _, before in ipairs { 1, 2, 63, 64, 65, 200 } do
      local step, stream, _, closing <close> =
        db:each("SELECT 1 / ($1::int - g) FROM generate_series(0, 300) AS g", before)
      for _ = 1, before do assert.truthy(step(stream)) end
      failed("invalid_value", nil, select(2, pcall(step, stream)))
      support.raises("db:each has ended", function() step(stream) end)
      assert.truthy(closing)
    end
    usable()
  end)
end)

describe("a loop that is left early", function()
  it("leaves the connection usable, wherever it is left", function()
    for _, n in ipairs(PORTIONS) do
      for _, sql in ipairs { LARGE, "SELECT generate_series(1, 1001)" } do
        local count = 0
        for _ in db:each(sql) do
          count = count + 1
          if count > n then break end
        end
        assert.equal(n + 1, count)
        usable()
        assert.equal("idle", db:status().state)
      end
    end
  end)

  it("by an error in its body raises that error", function()
    local mine = {}
    local ok, problem = pcall(function()
      for _ in db:each(LARGE) do error(mine) end
    end)
    assert.is_false(ok)
    assert.equal(mine, problem)
    usable()
  end)

  it("stops the statement at the server", function()
    for row in db:each(STUCK) do
      if row.i == 90 then break end
    end
    usable()
  end)

  it("does not fail its transaction, and undoes no other work", function()
    assert(db:execute "CREATE TABLE t (i int)")
    assert.equal("done", db:transaction(function(tx)
      must(tx:insert("t", { i = 1 }))
      for _ in tx:each(LARGE) do break end
      must(tx:insert("t", { i = 2 }))
      must(tx:transaction(function(inner)
        for row in inner:each(STUCK) do
          if row.i == 90 then break end
        end
        must(inner:insert("t", { i = 3 }))
        return true
      end))
      for _ in tx:each(STUCK) do break end
      return "done" -- COMMIT follows at once
    end))
    same({ { 1 }, { 2 }, { 3 } }, db:with { rows = "array" }:query("SELECT i FROM t").rows)
  end)

  it("does not fail a transaction begun by SQL: what comes next is told nothing of it", function()
    assert(db:execute "CREATE TABLE t (i int)")
    for _, step in ipairs { "COMMIT", "SAVEPOINT a", "ROLLBACK TO s", "INSERT INTO t VALUES (2)" }
    do
      assert(db:execute "TRUNCATE t; BEGIN; INSERT INTO t VALUES (1); SAVEPOINT s")
      for row in db:each(STUCK) do
        if row.i == 90 then break end
      end
      must(db:execute(step))
      must(db:execute "COMMIT")
      assert.equal(step:find "INSERT" and 2 or 1, value(db, "SELECT count(*) FROM t"))
    end
  end)

  it("leaves no savepoint behind", function()
    assert(db:execute "BEGIN")
    for _ in db:each "SELECT generate_series(1, 100)" do end
    for _ in db:each(STUCK) do break end
    assert.equal("3B001", failed("query_failed", db:execute "RELEASE pg_stream").sqlstate)
    assert(db:execute "ROLLBACK")
  end)

  it("keeps what INSERT ... RETURNING stored before its first row", function()
    assert(db:execute "CREATE TABLE t (i int)")
    for _ in db:each "INSERT INTO t SELECT generate_series(1, 100000) RETURNING i" do break end
    assert.equal(100000, value(db, "SELECT count(*) FROM t"))
    assert.equal(500, db:dry_run(function(tx)
      return (drain(tx, "INSERT INTO t SELECT generate_series(1, 500) RETURNING i"))
    end))
    assert.equal(100000, value(db, "SELECT count(*) FROM t"))
  end)

  it("ends at its function's end when the loop has no end of its own", function()
    local step, stream
    assert.is_true(db:transaction(function(tx)
      step, stream = tx:each(LARGE)
      step(stream)
      return true
    end))
    assert.equal("idle", db:status().state)
    raises("ended before its last row", function()
      for _ = 1, 300 do step(stream) end
    end)
    usable()
  end)
end)

describe("an open stream", function()
  it("holds its connection: another statement is told the line (Q21)", function()
    local line <const> = debug.getinfo(1, "l").currentline + 1
    for _ in db:each(LARGE) do
      for _, f in ipairs {
        function() db:query "SELECT 1" end, function() db:each "SELECT 1" end,
        function() db:prepare "SELECT 1" end, function() db:ping() end,
        function() db:insert("t", { i = 1 }) end, function() db:transaction(print) end,
        function() db:describe "t" end,
      } do
        raises(("busy with the rows of db:each at spec/each_spec.lua:%d: end"):format(line), f)
      end
      raises("busy with the rows of db:each", function() db:reset() end)
      assert.equal("busy", db:status().state)
      break
    end
    usable()
  end)

  it("is free for others once its last row has come", function()
    for row in db:each "SELECT generate_series(1, 40) AS i" do
      if row.i > 1 then usable() end
    end
  end)

  it("that was closed raises", function()
    local step, stream
    do
      local closing <close> = (function()
        local _, last
        step, stream, _, last = db:each(LARGE)
        return last
      end)()
      assert.equal(1, step(stream).i)
      assert(closing)
    end
    raises("has ended", function() step(stream) end)
    usable()
  end)

  it("that nobody closes is given up when it is collected", function()
    do
      local step, stream = db:each(LARGE)
      assert.equal(1, step(stream).i)
    end
    collectgarbage()
    collectgarbage()
    usable()
  end)

  it("in a coroutine that nobody resumes is given up when it is collected", function()
    local rows = coroutine.wrap(function()
      for row in db:each(LARGE) do coroutine.yield(row.i) end
    end)
    same({ 1, 2 }, { rows(), rows() })
    rows = nil -- luacheck: ignore rows
    collectgarbage()
    collectgarbage()
    usable()
  end)

  it("says so when its connection is closed", function()
    local ok, problem = pcall(function()
      for row in db:each(LARGE) do
        if row.i == 10 then db:close() end
      end
    end)
    assert.is_false(ok)
    contains(problem, "ended before its last row")
    db = nil
  end)

  it("is cancelled by db:cancel", function()
    local last
    local ok, err = pcall(function()
      for row in db:each(LARGE) do
        if row.i == 100 then assert.is_true(db:cancel()) end
        last = row.i
      end
    end)
    assert.is_false(ok)
    failed("cancelled", nil, err)
    assert.is_true(last >= 100 and last < 200000)
    usable()
  end)

  it("that is cancelled and left does not cancel the next statement", function()
    for _ in db:each(LARGE) do
      assert.is_true(db:cancel())
      break
    end
    usable()
    usable()
  end)

  it("never ends as if it were complete when the connection breaks", function()
    local pid = db:status().pid
    local other <close> = assert(pg.connect(server.options))
    local count = 0
    local ok, err = pcall(function()
      for row in db:each(LARGE) do
        count = count + 1
        if row.i == 10 then
          assert(other:query("SELECT pg_terminate_backend($1)", pid))
        end
      end
    end)
    assert.is_false(ok)
    assert.is_true(err.kind == "connection_lost" or err.kind == "server_unavailable", err.kind)
    assert.is_true(count < 200000)
    assert.equal("lost", db:status().state)
    assert(db:reset())
    usable()
  end)

  it("never ends as if it were complete when the line is cut, at any byte", function()
    local proxy <close> = faultproxy.start(program, server.tcp)
    for _, bytes in ipairs { 1, 7, 100, 5000, 70001, 1000000 } do
      local cut <close> = assert(pg.connect(proxy.options))
      usable(cut)
      proxy:send("cut down " .. bytes)
      local count, err = drain(cut, LARGE)
      failed("connection_lost", nil, err)
      assert.is_true(count < 200000)
      assert.equal("lost", cut:status().state)
      proxy:calm()
    end
  end)
end)

describe("a limit of a stream", function()
  it("in time is for each wait", function()
    local started = core.now()
    local count, err = drain(db:with { timeout = 0.2 }, STUCK)
    failed("query_timeout", nil, err)
    assert.is_true(count >= 90 and count <= 100, count)
    assert.is_true(err.elapsed >= 0.2 and err.elapsed <= core.now() - started, err.elapsed)
    usable()
  end)

  it("in time does not count what the program does between rows", function()
    local count = 0
    local sql = "SELECT repeat('x', 1000) FROM generate_series(1, 2000)"
    for _ in db:with { timeout = 0.1 }:each(sql) do
      count = count + 1
      if count % 500 == 0 then os.execute "sleep 0.15" end
    end
    assert.equal(2000, count)
  end)

  it("in size is for one row, and names it", function()
    local sql = "SELECT repeat('x', CASE i WHEN $1 THEN $2 ELSE 9 END) FROM "
      .. "generate_series(1, 900) i"
    for _, size in ipairs { 20001, 30000000 } do
      for _, n in ipairs { 1, 64, 65, 150 } do
        local narrow <close> = assert(pg.connect(server.options))
        local count, err = drain(narrow:with { max_result = 20000 }, sql, n, size)
        assert.equal(n - 1, count)
        assert.equal(n, failed("result_too_large", nil, err).row)
        contains(err.message, ("row %d is larger than the limit of 20000 bytes"):format(n))
        if narrow:status().state ~= "lost" then usable(narrow) end
      end
    end
    same({ 900 }, { drain(db:with { max_result = 20000 }, sql, 1, 19000) })
  end)
end)

describe("a stream under a wait function", function()
  local loop, own

  before_each(function()
    loop = scheduler()
    loop.run(function()
      own = assert(pg.connect(support.with(server.options, { wait = loop.wait })))
    end)
  end)

  after_each(function() own:close() end)

  -- A coroutine takes the rows of STUCK; when it waits for more, f runs in another one.
  local function meanwhile(f)
    local count, ok, problem, waits = 0, nil, nil, false
    loop.spawn(function()
      ok, problem = pcall(function()
        for row in own:each(STUCK) do
          count = count + 1
          waits = row.i >= 95
        end
      end)
    end)
    local limit = core.now() + 10
    repeat loop.step() until waits or ok ~= nil or core.now() > limit
    assert(waits, problem)
    loop.spawn(f)
    loop.run()
    assert.is_false(ok)
    return problem, count
  end

  it("lets others work, and gives the same rows", function()
    local counts = {}
    for n = 1, 3 do
      loop.spawn(function()
        local mine <close> = assert(pg.connect(support.with(server.options, { wait = loop.wait })))
        counts[n] = drain(mine, "SELECT generate_series(1, $1::int)", n * 1000)
      end)
    end
    loop.run()
    same({ 1000, 2000, 3000 }, counts)
  end)

  it("is cancelled, closed and lost while it waits", function()
    failed("cancelled", nil, (meanwhile(function() assert.is_true(own:cancel()) end)))
    failed("cancelled", nil, (meanwhile(function()
      raises("another statement", function() own:query "SELECT 1" end)
      raises("another statement", function() own:reset() end)
      own:cancel()
    end)))
    failed("server_unavailable", nil, (meanwhile(function()
      assert(db:query("SELECT pg_terminate_backend($1)", own:status().pid))
    end)))
    loop.run(function() assert(own:reset()) end)
    contains(meanwhile(function() own:close() end), "closed during this call")
  end)

  it("belongs to one coroutine at a time", function()
    local step, stream, closing, problem
    loop.spawn(function()
      local _
      step, stream, _, closing = own:each(STUCK)
      problem = select(2, pcall(function()
        while step(stream) do end
      end))
    end)
    local limit = core.now() + 10
    local busy = "another coroutine waits for a row"
    local function refused()
      local ok, message = pcall(step, stream)
      return not ok and tostring(message):find(busy, 1, true)
    end
    repeat loop.step() until problem or step and refused() or core.now() > limit
    assert.is_nil(problem)
    do local early <close> = closing end -- luacheck: ignore early (while it waits there)
    loop.run()
    assert.is_true(problem.kind == "cancelled" or problem:find "db:each has ended" ~= nil)
    loop.run(function() usable(own) end)
  end)

  it("is given up with its coroutine, closed or collected", function()
    local function resume(thread) return coroutine.resume(thread) and thread end
    for _, how in ipairs { coroutine.close, function() end } do
      local yielding
      local function run(f)
        local thread = coroutine.create(f)
        local limit = core.now() + 10
        repeat resume(thread) until coroutine.status(thread) == "dead" or core.now() > limit
      end
      run(function()
        yielding = assert(pg.connect(support.with(server.options, {
          wait = function() coroutine.yield() end,
        })))
      end)
      local last
      local thread = coroutine.create(function()
        for row in yielding:each(STUCK) do last = row.i end
      end)
      local limit = core.now() + 10
      repeat resume(thread) until last and last >= 95 or core.now() > limit
      for _ = 1, 10 do resume(thread) end
      how(thread)
      thread = nil -- luacheck: ignore thread
      collectgarbage()
      collectgarbage()
      local answer
      run(function() answer = value(yielding, "SELECT 42") end)
      assert.equal(42, answer)
      yielding:close()
    end
  end)

  it("whose `wait` raises ends with what it raised", function()
    local boom
    local raising <close> = assert(pg.connect(support.with(server.options, {
      wait = function(fd, mode, seconds)
        if boom then error(boom, 0) end
        return loop.wait(fd, mode, seconds)
      end,
    })))
    loop.run(function()
      local ok, problem = pcall(function()
        for row in raising:each(STUCK) do boom = row.i >= 90 and "boom" end
      end)
      boom = nil
      same({ false, "boom" }, { ok, problem })
      usable(raising)
    end)
  end)
end)

describe("a stream under pressure", function()
  it("survives a collection at each step", function()
    for _, mode in ipairs { "generational", "incremental" } do
      collectgarbage(mode)
      local count = 0
      for row in db:each("SELECT i, ARRAY[i, i] AS list FROM generate_series(1, 2000) AS i") do
        count = count + 1
        if count % 50 == 0 then collectgarbage() end
        collectgarbage "step"
        assert(row.i == count and row.list[2] == count)
      end
      assert.equal(2000, count)
    end
  end)

  it("ends with what a debug hook raises, the connection usable", function()
    local ok, problem = pcall(function()
      for row in db:each(STUCK) do
        if row.i == 95 then debug.sethook(function() error("hooked", 0) end, "", 1000) end
      end
    end)
    debug.sethook()
    same({ false, "hooked" }, { ok, problem })
    usable()
  end)

  it("leaves no memory behind when it is left again and again", function()
    local function leave()
      for _ = 1, 200 do
        for _ in db:each("SELECT generate_series(1, $1::int)", 200) do break end
      end
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end
    leave()
    local before = leave()
    assert.is_true(leave() - before < 50)
  end)
end)
