-- SPDX-License-Identifier: MIT
-- db:pipeline when limits, cancelling, hooks, networks and servers end it: what is stored is all of
-- it or nothing, and the error says which; and any amount of data both ways at the same time.
local core = require "pg.core"
local faultproxy = require "spec.fault.faultproxy"
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed <const>, value <const>, must <const> = support.failed, support.value, support.must
local contains <const>, merge <const> = support.contains, support.merge

local server, other, db, folder, proxy

setup(function()
  server = assert(throwaway.start { tcp = true })
  other = assert(pg.connect(server.options))
  folder = support.folder()
  proxy = faultproxy.start(support.compile(folder, "spec/fault/faultproxy.c"), server.tcp)
end)

teardown(function()
  proxy:close()
  other:close()
  server:stop()
  os.execute("rm -r " .. support.quote(folder))
end)

before_each(function()
  proxy:calm()
  assert(other:execute "DROP TABLE IF EXISTS t, made; CREATE TABLE t (n int UNIQUE, name text)")
  db = assert(pg.connect(server.options))
end)

after_each(function() db:close() end)

local function count() return value(other, "SELECT count(*) FROM t") end

local function add(p, n, name)
  return p:execute("INSERT INTO t (n, name) VALUES ($1, $2)", n, name)
end

local function usable(conn)
  assert.equal("idle", conn:status().state)
  assert.equal(42, value(conn, "SELECT 42"))
end

local function undone(kind, index, answer, err)
  failed(kind, answer, err)
  assert.is_false(err.completed)
  assert.equal(index, err.index)
  assert.equal(0, count())
  return err
end

describe("a limit on a pipeline", function()
  it("of time counts for all of it", function()
    local err = undone("query_timeout", 3, db:pipeline(function(p)
      add(p, 1)
      p:query "SELECT pg_sleep(0.15)"
      p:query "SELECT pg_sleep(5)"
      add(p, 2)
    end, { timeout = 0.3 }))
    assert.equal(0.3, err.limit)
    assert.is_true(err.retryable)
    usable(db)
    undone("query_timeout", 2, db:with { timeout = 0.2 }:pipeline(function(p)
      add(p, 1)
      p:query "SELECT pg_sleep(5)"
    end))
    usable(db)
  end)

  it("of time is told when it was the server's own", function()
    assert(db:execute "SET statement_timeout = 100")
    local err = undone("query_timeout", 2, db:pipeline(function(p)
      add(p, 1)
      p:query "SELECT pg_sleep(5)"
    end))
    assert.equal(0.1, err.limit)
    usable(db)
  end)

  it("of size counts for each result", function()
    local small <const> = db:with { max_result = 100000 }
    local results = must(small:pipeline(function(p)
      for i = 1, 20 do p:query("SELECT repeat('x', 90000) AS x, $1::int AS i", i) end
    end))
    assert.equal(90000, #results[20].rows[1].x)
    local err = undone("result_too_large", 4, small:pipeline(function(p)
      add(p, 1)
      for i = 1, 5 do p:query("SELECT repeat('x', $1) AS x", 40000 * i) end
      p:query "SELECT pg_sleep(20)"
    end))
    assert.equal(100000, err.limit)
    usable(db)
  end)

  it("of size may be one statement's own", function()
    local results = must(db:pipeline(function(p)
      p:query { query = "SELECT repeat('x', 900) AS x", max_result = 1000 }
      p:query "SELECT repeat('x', 100000) AS x"
    end))
    assert.equal(100000, #results[2].rows[1].x)
    local err = undone("result_too_large", 3, db:pipeline(function(p)
      add(p, 1)
      p:query "SELECT repeat('x', 100000) AS x"
      p:query { query = "SELECT repeat('x', 2000) FROM generate_series(1, 10)",
        max_result = 1000 }
      p:query "SELECT pg_sleep(20)"
    end))
    assert.equal(1000, err.limit)
    usable(db)
  end)

  it("that acts when all has run says that the changes stand", function()
    local err = failed("result_too_large", db:with { max_result = 1000 }:pipeline(function(p)
      add(p, 1)
      p:query { query = "INSERT INTO t VALUES (2, repeat('x', 2000)) RETURNING name" }
    end))
    assert.equal(2, err.index)
    assert.equal(err.completed and 2 or 0, count())
    usable(db)
  end)
end)

describe("a pipeline that is stopped", function()
  it("by db:cancel of another coroutine stores nothing", function()
    local loop <const> = scheduler()
    local conn <close> = assert(pg.connect(merge(server.options, { wait = loop.wait })))
    local answer, err
    loop.spawn(function()
      answer, err = conn:pipeline(function(p)
        add(p, 1)
        p:query "SELECT pg_sleep(20)"
        add(p, 2)
      end)
    end)
    support.eventually(function()
      loop.step()
      return value(other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == 1
    end)
    assert.is_true(conn:cancel())
    loop.run()
    undone("cancelled", 2, answer, err)
    usable(conn)
  end)

  it("by a hook that raises stores nothing, and the connection goes on", function()
    local started <const> = core.now()
    debug.sethook(function()
      if core.now() - started > 0.2 then
        debug.sethook()
        error("enough", 0)
      end
    end, "", 1)
    local ok, message = pcall(db.pipeline, db, function(p)
      add(p, 1)
      p:query "SELECT pg_sleep(20)"
      add(p, 2)
    end)
    debug.sethook()
    assert.same({ false, "enough" }, { ok, message })
    assert.equal(42, value(db, "SELECT 42"))
    assert.equal(0, count())
  end)

  it("at any instruction is stored as a whole or not at all", function()
    local step, seen, raised = 1, {}
    repeat
      raised = false
      must(other:execute "DELETE FROM t")
      local ok, message = pcall(function()
        debug.sethook(function()
          debug.sethook()
          raised = true
          error("stop", 0)
        end, "", step)
        db:pipeline(function(p)
          for i = 1, 3 do p:insert("t", { n = i }) end
          p:query "SELECT count(*) FROM t"
        end)
        debug.sethook()
      end)
      debug.sethook()
      assert.is_true(ok or message == "stop", message)
      assert.equal(42, value(db, "SELECT 42"))
      local n <const> = count()
      seen[n] = true
      assert.is_true(n == 0 or n == 3, n)
      step = step + (step < 100 and 1 or 7)
    until not raised
    assert.is_true(seen[0] and seen[3] and step > 50)
  end)

  it("when its coroutine is closed stores nothing", function()
    local loop <const> = scheduler()
    local conn <close> = assert(pg.connect(merge(server.options, { wait = loop.wait })))
    local thread = loop.spawn(function()
      conn:pipeline(function(p)
        add(p, 1)
        p:query "SELECT pg_sleep(20)"
      end)
    end)
    coroutine.close(thread)
    assert.equal(42, value(conn, "SELECT 42"))
    usable(conn)
    assert.equal(0, count())
  end)

  -- The server has run all that it got and waits for more when the request to cancel comes, or that
  -- never comes: what it has must not be committed by the end that it needs to answer.
  for _, mode in ipairs { "pass", "drop", "50" } do
    it("before all of it is sent stores nothing of the part: cancel " .. mode, function()
      local conn
      local function wait(_, how)
        if conn and how:find "w" then conn:cancel() end
        return false
      end
      conn = assert(pg.connect(merge(proxy.options, { wait = wait })))
      proxy:send("cancel " .. mode)
      local text <const> = ("x"):rep(100000)
      local answer, err
      coroutine.wrap(function()
        answer, err = conn:pipeline(function(p)
          for i = 1, 300 do add(p, i, text) end
        end)
      end)()
      failed("cancelled", answer, err)
      assert.is_false(err.completed)
      assert.equal(0, count())
      usable(conn)
      conn:close()
    end)
  end

  it("by its timeout while the network takes nothing more stores nothing", function()
    local conn <close> = assert(pg.connect(proxy.options))
    proxy:send "hold up 1000000"
    local text <const> = ("x"):rep(100000)
    local answer, err = conn:pipeline(function(p)
      for i = 1, 300 do add(p, i, text) end
    end, { timeout = 0.3 })
    failed("query_timeout", answer, err)
    assert.is_false(err.completed)
    assert.equal("lost", conn:status().state)
    proxy:calm()
    assert.equal(0, count())
    assert(conn:reset())
    usable(conn)
  end)
end)

describe("a connection that is lost in a pipeline", function()
  local function fill(p)
    local text <const> = ("x"):rep(10000)
    for i = 1, 100 do add(p, i, text) end
  end

  local function gone()
    support.eventually(function()
      return value(other, [[SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'doomed']]) == 0
    end)
  end

  for _, at in ipairs { 1, 400, 65536, 300000, 900000 } do
    it(("has stored nothing when %d bytes had been sent"):format(at), function()
      local conn <close> = assert(pg.connect(merge(proxy.options, { name = "doomed" })))
      proxy:send("cut up " .. at)
      local err = failed("connection_lost", conn:pipeline(fill))
      assert.not_equal(true, err.completed)
      assert.equal("lost", conn:status().state)
      gone()
      assert.equal(0, count())
      failed("connection_lost", conn:pipeline(fill))
      assert(conn:reset())
      assert.equal(100, #must(conn:pipeline(fill)))
    end)
  end

  it("before its last answer leaves open whether it is stored (T10)", function()
    local conn <close> = assert(pg.connect(merge(proxy.options, { name = "doomed" })))
    proxy:send "at down Z 1 cut 0"
    local err = failed("connection_lost", conn:pipeline(fill))
    assert.is_nil(err.completed)
    assert.is_false(err.retryable)
    gone()
    assert.equal(100, count())
  end)

  it("because somebody ended the session has stored nothing", function()
    local answer, err = db:pipeline(function(p)
      add(p, 1)
      p:query "SELECT pg_terminate_backend(pg_backend_pid())"
      add(p, 2)
    end)
    failed("server_unavailable", answer, err)
    assert.equal("57P01", err.sqlstate)
    assert.equal(0, count())
  end)
end)

describe("much data in a pipeline", function()
  local big <const> = ("0123456789abcdef"):rep(65536) -- 1 MiB

  -- Far more than sockets hold, each way at the same time: who only sends, or only reads, hangs.
  local function both_ways(conn, megabytes)
    local results = must(conn:pipeline(function(p)
      for i = 1, megabytes do p:query("SELECT $1::text AS big, $2::int AS i", big, i) end
    end))
    for i = 1, megabytes do
      assert.equal(i, results[i].rows[1].i)
      assert.is_true(results[i].rows[1].big == big)
    end
    usable(conn)
  end

  it("goes both ways at the same time, over a socket and TCP", function()
    both_ways(db, 100)
    local conn <close> = assert(pg.connect(server.tcp))
    both_ways(conn, 20)
  end)

  it("goes both ways under an event loop, which others share", function()
    local loop <const> = scheduler()
    local done, ticks = false, 0
    loop.spawn(function()
      local conn <close> = assert(pg.connect(merge(server.options, { wait = loop.wait })))
      both_ways(conn, 20)
      done = true
    end)
    loop.spawn(function()
      while not done do
        ticks = ticks + 1
        loop.wait(nil, "r", 0.01)
      end
    end)
    loop.run()
    assert.is_true(ticks > 3)
  end)

  it("is in memory once", function()
    local program <const> = [[
      local pg = require "pg"
      local db = assert(pg.connect())
      local function peak()
        for line in io.lines "/proc/self/status" do
          local kb = line:match "^VmHWM:%s+(%d+)"
          if kb then return kb / 1024 end
        end
      end
      local big = ("x"):rep(2^20)
      assert(db:pipeline(function(p) p:query("SELECT length($1)", big) end))
      local before = peak()
      local results = assert(db:pipeline(function(p)
        for i = 1, 50 do p:query("SELECT $1::text WHERE length($2) > 2", big, big) end
      end))
      local strings = 0
      for i = 1, 50 do for _, text in pairs(results[i].rows[1]) do strings = strings + #text end end
      print(strings // 2^20, (peak() - before - 50) // 1)]]
    local output, errors = support.child(program, merge({
      PGHOST = server.options.host, PGPORT = server.options.port, PGUSER = "postgres",
      PGDATABASE = "postgres", LUA_PATH = package.path, LUA_CPATH = package.cpath }))
    local strings, more = output:match "(%d+)%.0\t(%-?%d+)"
    assert.equal("50", strings, output .. errors)
    if not os.getenv "ASAN_OPTIONS" then -- a sanitizer keeps what is freed
      assert.is_true(tonumber(more) < 20, output)
    end
  end)

  it("of many small rows is in order under a slow network", function()
    local conn <close> = assert(pg.connect(proxy.options))
    proxy:send "chop 700"
    local results = must(conn:pipeline(function(p)
      for i = 1, 300 do
        p:query("SELECT $1::int AS i, n, $2::text AS x FROM generate_series(1, 20) AS n", i,
          ("y"):rep(i))
      end
    end))
    for i = 1, 300 do
      assert.equal(20, #results[i].rows)
      assert.same({ i = i, n = 20, x = ("y"):rep(i) }, results[i].rows[20])
    end
  end)
end)

describe("a pipeline in a transaction", function()
  it("is a part of it", function()
    local answer = must(db:transaction(function(tx)
      must(tx:pipeline(function(p) add(p, 1) end))
      must(db:pipeline(function(p) add(p, 2) end))
      return must(tx:with { rows = "array" }:pipeline(function(p)
        p:query "SELECT count(*) FROM t"
      end))[1].rows[1][1]
    end))
    assert.equal(2, answer)
    assert.equal(2, count())
  end)

  it("that fails rolls it back; a savepoint contains it", function()
    local err = failed("constraint_violation", db:transaction(function(tx)
      add(tx, 1)
      tx:pipeline(function(p) add(p, 2) add(p, 2) end)
      failed("transaction_failed", tx:pipeline(function(p) p:query "SELECT 1" end))
      return "fine"
    end))
    assert.equal(2, err.index)
    assert.equal(0, count())
    must(db:transaction(function(tx)
      must(add(tx, 1))
      failed("constraint_violation", tx:transaction(function(inner)
        return inner:pipeline(function(p) add(p, 2) add(p, 2) end)
      end))
      must(add(tx, 3))
    end))
    assert.equal(2, count())
  end)

  it("is not sent when a statement fails it meanwhile", function()
    local err = failed("invalid_parameter", db:transaction(function(tx)
      failed("transaction_failed", tx:pipeline(function(p)
        add(p, 1)
        tx:query("SELECT $1::int", print)
      end))
      return "fine"
    end))
    assert.equal(1, err.parameter)
    assert.equal(0, count())
  end)

  it("by a refused statement spoils it, too", function()
    local err = failed("wrong_action", db:transaction(function(tx)
      tx:pipeline(function(p) p:execute "COMMIT" end)
      return "fine"
    end))
    assert.equal(1, err.index)
  end)

  it("by a limit tells that it is taken back", function()
    local err = failed("query_timeout", db:transaction(function(tx)
      return tx:pipeline(function(p)
        add(p, 1)
        p:query "SELECT pg_sleep(5)"
      end, { timeout = 0.1 })
    end))
    assert.is_false(err.completed)
    contains(err.message, "its transaction is rolled back")
    assert.equal(0, count())
  end)

  it("of the program's own is failed by it", function()
    assert(db:execute "BEGIN")
    failed("undefined_table", db:pipeline(function(p) p:query "SELECT * FROM nowhere" end))
    assert.equal("failed", db:status().state)
    local err = failed("transaction_failed", db:pipeline(function(p) add(p, 1) end))
    assert.equal("undefined_table", err.cause.kind)
    assert(db:execute "ROLLBACK")
    usable(db)
  end)

  it("is of no use with a tx that has ended", function()
    local kept
    must(db:transaction(function(tx) kept = tx end))
    support.raises("the transaction has ended", function() kept:pipeline(function() end) end)
    local ok, message = pcall(function()
      db:transaction(function(tx) kept = tx end)
      kept:pipeline(function() end)
    end)
    assert.is_false(ok)
    contains(message, "the transaction has ended")
  end)
end)

describe("what a pipeline changes in the session", function()
  it("is set back where results depend on it", function()
    must(db:pipeline(function(p)
      p:execute "SET DateStyle = 'German'"
      p:execute "SET IntervalStyle = 'sql_standard'"
      p:execute "SET extra_float_digits = -15"
    end))
    local row <const> = [[SELECT date '2026-01-15' AS d, interval '1 day 2 hours' AS i,
      1 / 3::float8 AS f]]
    local wanted <const> = { d = "2026-01-15", i = "P1DT2H", f = 1 / 3 }
    support.same(wanted, must(db:pipeline(function(p) p:query(row) end))[1].rows[1])
  end)

  it("by DDL makes it forget what it knew", function()
    assert(db:execute "CREATE TABLE made (id int PRIMARY KEY, x text)")
    local insert <const> = "INSERT INTO made VALUES ($1, $2)"
    must(db:pipeline(function(p) p:execute(insert, 1, "\\x41") p:insert("made", { id = 2 }) end))
    must(db:pipeline(function(p)
      p:execute "DROP TABLE made"
      p:execute "CREATE TABLE made (x bytea, id int, key text PRIMARY KEY DEFAULT 'k')"
    end))
    local results = must(db:pipeline(function(p)
      p:insert("made", { x = "\0\\x41", id = 1 })
      p:query "SELECT * FROM made"
    end))
    assert.equal("k", results[1].insertedId)
    assert.same({ x = "\0\\x41", id = 1, key = "k" }, results[2].rows[1])
  end)

  it("cannot be used by a value that needs a type of it, unless that is said", function()
    failed("undefined_table", db:pipeline(function(p)
      p:execute "CREATE TABLE made (list int[])"
      p:execute("INSERT INTO made VALUES ($1)", { 1, 2 })
    end))
    usable(db)
    local results = must(db:pipeline(function(p)
      p:execute "CREATE TABLE made (list int[])"
      p:execute("INSERT INTO made VALUES ($1)", pg.array({ 1, 2 }, "int4"))
      p:query "SELECT list FROM made"
    end))
    assert.same({ 1, 2 }, results[3].rows[1].list)
  end)

  it("by another session makes it fail once, with nothing stored", function()
    assert(other:execute "CREATE TABLE made (doc jsonb)")
    local function store() return db:pipeline(function(p)
      add(p, 1)
      p:execute("INSERT INTO made VALUES ($1)", { 1, 2 })
    end) end
    must(store())
    assert(other:execute "DELETE FROM t; DROP TABLE made; CREATE TABLE made (list int[])")
    local answer, err = store()
    assert.is_nil(answer)
    assert.equal(2, err.index)
    assert.equal(0, count())
    must(store())
    assert.same({ 1, 2 }, value(other, "SELECT list FROM made"))
  end)

  it("by another session to an insert's table makes it fail once, too", function()
    assert(other:execute "CREATE TABLE made (id serial PRIMARY KEY, n int)")
    local function store() return db:pipeline(function(p) p:insert("made", { n = 1 }) end) end
    assert.equal(1, must(store())[1].insertedId)
    assert(other:execute "ALTER TABLE made RENAME id TO key")
    assert.equal(1, failed("undefined_column", store()).index)
    assert.equal(2, must(store())[1].insertedId)
  end)
end)

describe("a pipeline behind PgBouncer", function()
  local function it_pools(title, f)
    it(title, function()
      if not pgbouncer.found() then return pending "PgBouncer is not installed" end
      local pooler <const> = pgbouncer.start(server, { "default_pool_size = 2" })
      local ok, message = pcall(f, pooler)
      pooler:close()
      if not ok then error(message, 0) end
    end)
  end

  it_pools("is whole, whoever else is there (L8)", function(pooler)
    local conns = {}
    for i = 1, 4 do conns[i] = assert(pg.connect(pooler.options)) end
    for round = 1, 10 do
      for i, conn in ipairs(conns) do
        local results = must(conn:pipeline(function(p)
          for k = 1, 5 do p:query(("SELECT %d AS who, $1::int AS k"):format(i), k) end
          add(p, round * 100 + i)
        end))
        for k = 1, 5 do assert.same({ who = i, k = k }, results[k].rows[1]) end
      end
    end
    assert.equal(40, count())
    for _, conn in ipairs(conns) do conn:close() end
  end)

  it_pools("is read-only where the connection is", function(pooler)
    local conn <close> = assert(pg.connect(merge(pooler.options, { readonly = true })))
    local err = failed("read_only", conn:pipeline(function(p)
      p:query "SELECT 1"
      add(p, 1)
    end))
    assert.equal(2, err.index)
    local results = must(conn:pipeline(function(p)
      p:query "SELECT 1 AS one"
      p:query "SHOW transaction_read_only"
    end))
    assert.equal(2, #results)
    assert.equal("on", results[2].rows[1].transaction_read_only)
    assert.same({}, results[1]:notices())
    assert.equal(0, count())
    usable(conn)
  end)
end)
