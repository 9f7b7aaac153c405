-- SPDX-License-Identifier: MIT
local core = require "pg.core"
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, lacks <const>, failed <const> =
  support.contains, support.lacks, support.failed
local eventually <const>, must <const>, raises <const>, value <const> =
  support.eventually, support.must, support.raises, support.value

local server, watch

-- A pool on the server; what is said wins.
local function new(more)
  return pg.pool(support.merge(server.options, more))
end

local PID <const> = "SELECT pg_backend_pid() AS pid"

local function pid_of(db) return must(db:query(PID)).rows[1].pid end

-- The counters that are given are those of the pool.
local function counts(expected, pool)
  local status = pool:status()
  for name, count in pairs(expected) do
    if status[name] ~= count then
      error(("%s is %s, not %s"):format(name, status[name], count), 2)
    end
  end
end

-- How many locks, listeners and the like a session has.
local function watched(sql, ...) return value(watch, sql, ...) end

local function locks(key)
  return watched("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1", key)
end

local function sleepers()
  return watched "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
end

local function kill(pid)
  assert(watch:query("SELECT pg_terminate_backend($1)", pid))
  eventually(function() return not os.execute("kill -0 " .. pid .. " 2>/dev/null") end)
end

-- The clock goes on by so many seconds while f runs.
local function later(seconds, f)
  local now <const> = core.now
  core.now = function() return now() + seconds end
  local ok, problem = pcall(f)
  core.now = now
  if not ok then error(problem, 0) end
end

-- Until what is garbage now is gone.
local function collect()
  collectgarbage()
  collectgarbage()
end

setup(function()
  server = assert(throwaway.start { settings = { log_statement = "all" } })
  watch = assert(pg.connect(server.options))
  assert(watch:execute [[
    CREATE TABLE items (id serial PRIMARY KEY, name text);
    CREATE ROLE german LOGIN SUPERUSER;
    ALTER ROLE german SET DateStyle = 'German';
    ALTER ROLE german SET IntervalStyle = 'sql_standard';
    ALTER ROLE german SET extra_float_digits = -15;
    CREATE ROLE few LOGIN]])
end)

teardown(function()
  watch:close()
  server:stop()
end)

describe("a pool", function()
  it("opens a connection when one is needed, and uses it again (S092, S118)", function()
    local pool <close> = new { size = 3 }
    counts({ size = 3, open = 0, created = 0 }, pool)
    local pids = {}
    for i = 1, 5 do pids[i] = pid_of(pool) end
    for i = 2, 5 do assert.equal(pids[1], pids[i]) end
    counts({ open = 1, idle = 1, used = 0, created = 1, acquired = 5, replaced = 0 }, pool)
  end)

  it("gives out the one that was used last", function()
    local pool <close> = new { size = 3 }
    local a, b = assert(pool:acquire()), assert(pool:acquire())
    local first, second = pid_of(a), pid_of(b)
    b:release()
    a:release()
    assert.equal(first, pid_of(pool))
    assert.not_equal(first, second)
  end)

  it("has the actions of a connection for one call each (S010 to S031)", function()
    local pool <close> = new()
    assert(pool:execute "TRUNCATE items RESTART IDENTITY")
    assert.same({ insertedId = 1, rowCount = 1 }, assert(pool:insert("items", { name = "a" })))
    assert.same({ rowCount = 1 }, assert(pool:update("UPDATE items SET name = $1", "b")))
    assert.equal(1, assert(pool:upsert("items", { id = 1, name = "c" })).updated)
    assert.equal(2, assert(pool:bulk_insert("items", { { name = "d" }, { name = "e" } })).rowCount)
    assert.equal(1, assert(pool:bulk_update("items", { { id = 2, name = "f" } },
      { key = "id" })).rowCount)
    assert.same({ { name = "c" }, { name = "f" }, { name = "e" } },
      assert(pool:query { query = "SELECT name FROM items ORDER BY id" }).rows)
    assert.equal(1, assert(pool:copy_in("items", { "name" }, { { "g" } })).rowCount)
    local out = {}
    assert(pool:copy_out("SELECT name FROM items WHERE name = 'g'", function(piece)
      out[#out + 1] = piece
    end))
    assert.equal("g\n", table.concat(out))
    assert.equal(1, assert(pool:pipeline(function(p)
      p:delete("DELETE FROM items WHERE name = $1", "g")
    end))[1].rowCount)
    assert.equal("id", assert(pool:describe "items")[1].name)
    assert.truthy(#assert(pool:tables()) > 0)
    assert.truthy(assert(pool:explain "SELECT 1").text)
    assert.truthy(#assert(pool:check()) > 0)
    assert.equal("float", math.type(assert(pool:ping())))
    assert.same({ rowCount = 3 }, assert(pool:delete "DELETE FROM items"))
    counts({ open = 1, used = 0 }, pool)
  end)

  it("answers what the server refuses, and blames mistakes on the caller's line", function()
    local pool <close> = new()
    failed("undefined_table", pool:query "SELECT * FROM nowhere")
    raises("a string of SQL or a table expected", function() return pool:query(17), 0 end)
    raises("bad argument to 'query'", function() return pool:query(17), 0 end)
    raises("columns must be a table", function() return pool:insert("items"), 0 end)
    raises("did you mean 'returning'", function()
      return pool:insert("items", {}, { retuning = "id" }), 0
    end)
    raises("did you mean 'timeout'", function() return pool:acquire { timeuot = 1 }, 0 end)
    raises("timeout must be a number", function() return pool:acquire { timeout = "1" }, 0 end)
    raises("options must be a table", function() return pool:acquire(5), 0 end)
    raises("use takes a function", function() return pool:use(5), 0 end)
    raises("a transaction takes a function", function() return pool:transaction(5), 0 end)
    raises("did you mean 'retries'", function()
      return pool:transaction(print, { retires = 1 }), 0
    end)
    local problem <const> = {}
    local ok, raised = pcall(pool.bulk_insert, pool, "items", function() error(problem) end)
    assert.same({ false, true }, { ok, rawequal(raised, problem) })
    counts({ open = 1, used = 0 }, pool)
  end)

  it("takes its own options and those of a connection, checked", function()
    for text, given in pairs {
      ["did you mean 'size'"] = { sise = 1 },
      ["did you mean 'idle_timeout'"] = { idle_timout = 1 },
      ["did you mean 'password'"] = { passwrod = "x" },
      ["size must be an integer of 1 or more"] = { size = 0 },
      ["min must be an integer of 0 or more"] = { min = -1 },
      ["min = 3 is more than size = 2"] = { min = 3, size = 2 },
      ["idle_timeout must be a number of seconds above 0"] = { idle_timeout = 0 },
      ["max_lifetime must be a number of seconds above 0"] = { max_lifetime = "1" },
      ["acquire_timeout must be a number of seconds above 0"] = { acquire_timeout = -1 },
      ["port must be"] = { port = 0 },
      ["timeout must be a number of seconds"] = { timeout = -1 },
    } do
      raises(text, function()
        local pool = pg.pool(given)
        return pool:query "SELECT 1", 0
      end)
    end
    raises("pg.pool takes a table", function() return pg.pool(5), 0 end)
    raises("pg.pool takes a table", function() return pg.pool(), 0 end)
    raises("did you mean 'size'", function() return pg.pool("postgresql://h/d", { siz = 1 }), 0 end)
    raises("wait must be a function", function()
      return pg.pool("postgresql://h/d", { wait = 1 }), 0
    end)
    raises("no saved connection 'nowhere'", function() return pg.pool "nowhere", 0 end)
    local pool <close> = new { rows = "array", timeout = 0.2, name = "settings",
      max_lifetime = math.huge }
    assert.same({ { 1 } }, assert(pool:query "SELECT 1").rows)
    failed("query_timeout", pool:query "SELECT pg_sleep(10)")
    assert.equal("settings", select(2, pool:query "SELECT 1/0").connection)
    contains(tostring(pool), "pg.pool: settings (1 of 10 open, 0 used)")
    lacks(tostring(pool), "password")
  end)

  it("is made of a URI or a saved connection, too (S083)", function()
    local options <const> = server.options
    local loop = scheduler()
    pg.save("pooled", support.merge(options, { wait = loop.wait }))
    local saved <close> = pg.pool("pooled", { size = 1 })
    local uri <close> = pg.pool(("postgresql://%s@/%s?host=%s&port=%d"):format(options.user,
      options.database, options.host, options.port), { size = 1, wait = loop.wait })
    raises("used whole", function() return pg.pool("pooled", { wait = loop.wait }), 0 end)
    for _, pool in ipairs { saved, uri } do
      local order = {}
      for i = 1, 3 do -- its `wait` is the pool's
        loop.spawn(function()
          pool:use(function(db)
            assert(db:query "SELECT pg_sleep(0.02)")
            order[#order + 1] = i
          end)
        end)
      end
      loop.run()
      assert.same({ 1, 2, 3 }, order)
      counts({ created = 1, open = 1 }, pool)
    end
  end)

  it("closes what is idle at once, what is used when it comes back", function()
    local pool = new()
    local a, b = assert(pool:acquire()), assert(pool:acquire())
    b:close()
    pool:close()
    pool:close()
    counts({ open = 1, idle = 0, used = 1, closed = 1 }, pool)
    assert.equal(1, a:query("SELECT 1 AS x").rows[1].x)
    a:release()
    counts({ open = 0, used = 0, closed = 2 }, pool)
    raises("the pool is closed", function() return pool:query "SELECT 1", 0 end)
    raises("the pool is closed", function() return pool:acquire(), 0 end)
    support.alone(watch)
  end)

  it("without a way to wait says at once who holds what there is", function()
    local pool <close> = new { size = 2 }
    local a <close> = assert(pool:acquire())
    local b <close> = assert(pool:acquire())
    local line <const> = debug.getinfo(1, "l").currentline
    local err = failed("pool_timeout", pool:query "SELECT 1")
    contains(err.message, "2 of 2 are in use", ("pool_spec.lua:%d, "):format(line - 2),
      ("pool_spec.lua:%d"):format(line - 1))
    contains(table.concat(err.fixes, "\n"), "size = 3", "pg.wait.cqueues")
    assert.is_false(err.retryable)
    failed("pool_timeout", pool:use(print))
    failed("pool_timeout", pool:transaction(print))
    failed("pool_timeout", coroutine.wrap(function() return pool:acquire() end)())
    counts({ timeouts = 4, used = 2, open = 2 }, pool)
    assert(a:status().state == "idle" and b:status().state == "idle")
  end)
end)

describe("what a pool gave", function()
  local ENDED <const> = "the connection was returned to its pool"

  it("ends with its return, and so does all that was made from it", function()
    local pool <close> = new { size = 1 }
    local db = assert(pool:acquire())
    local with, tx = db:with { timeout = 2 }, nil
    db:transaction(function(inner) tx = inner end)
    local st = assert(db:prepare "SELECT 1")
    db:release()
    for _, handle in ipairs { db, with } do
      for _, name in ipairs { "query", "execute", "insert", "update", "ping", "transaction", "with",
        "reset", "cancel", "describe" } do
        local first = name == "transaction" and print or "SELECT 1"
        raises(ENDED, function() return handle[name](handle, first, {}), 0 end)
      end
    end
    raises("the transaction has ended", function() return tx:query "SELECT 1", 0 end)
    raises(ENDED, function() return st:query(), 0 end)
    for _, handle in ipairs { db, with } do -- what they say is nothing of the next one's
      assert.same({ state = "closed", ssl = false }, handle:status())
      contains(tostring(handle), "(closed)")
    end
    assert.equal(1, pool:query("SELECT 1 AS x").rows[1].x)
  end)

  it("is given back by release, close and leaving its scope; twice is once", function()
    local pool <close> = new { size = 1 }
    local db = assert(pool:acquire())
    db:release()
    db:release()
    db:close()
    local other <close> = assert(pool:acquire())
    db:close() -- not what somebody else has now
    assert.equal(1, other:query("SELECT 1 AS x").rows[1].x)
    other:with({}):close() -- closes nothing, as ever
    assert.equal(1, other:query("SELECT 1 AS x").rows[1].x)
    other:with({}):release() -- says it
    counts({ used = 0, idle = 1, created = 1, acquired = 2, closed = 0 }, pool)
    do
      local third <close> = assert(pool:acquire())
      counts({ used = 1 }, pool)
      assert(third:query "SELECT 1")
    end
    counts({ used = 0, idle = 1 }, pool)
    raises("not what a pool gave", function() watch:release() end)
  end)

  it("comes back however the function of use ends", function()
    local pool <close> = new { size = 1 }
    local problem <const> = {}
    assert.same({ 1, nil, 3, n = 3 }, table.pack(pool:use(function() return 1, nil, 3 end)))
    local ok, raised = pcall(pool.use, pool, function() error(problem) end)
    assert.same({ false, true }, { ok, rawequal(raised, problem) })
    local thread = coroutine.create(function() pool:use(coroutine.yield) end)
    coroutine.resume(thread)
    counts({ used = 1 }, pool)
    coroutine.close(thread)
    counts({ used = 0, idle = 1, created = 1 }, pool)
  end)

  it("is taken back when it was collected, at the next need", function()
    local pool <close> = new { size = 2 }
    local pids = {}
    for i = 1, 2 do pids[pid_of(assert(pool:acquire()))] = i end
    local function abandon(f)
      local thread = coroutine.create(f)
      assert(coroutine.resume(thread))
    end
    for _ = 1, 2 do
      local again = pid_of(assert(pool:acquire()))
      assert.truthy(pids[again])
    end
    abandon(function() pool:use(coroutine.yield) end)
    abandon(function()
      pool:transaction(function(tx)
        assert(tx:execute "INSERT INTO items (name) VALUES ('lost'); SELECT pg_advisory_lock(7)")
        coroutine.yield()
      end)
    end)
    assert.equal(0, pool:query("SELECT count(*) AS n FROM items WHERE name = 'lost'").rows[1].n)
    assert.truthy(pool:status().taken_back >= 4)
    local a <close> = assert(pool:acquire())
    local b <close> = assert(pool:acquire())
    assert(a and b)
    eventually(function() return locks(7) == 0 end)
    counts({ open = 2 }, pool)
  end)

  it("ends for a finalizer that comes after somebody else has got it", function()
    local pool <close> = new { size = 1 }
    local late, other
    do
      local first <const> = setmetatable({ db = assert(pool:acquire()) }, { __gc = function(own)
        late = own.db
        late:release()
      end })
      assert(first)
      setmetatable({}, { __gc = function() other = assert(pool:acquire()) end }) -- runs before it
    end
    collect()
    assert.equal("idle", other:status().state)
    counts({ used = 1, taken_back = 1 }, pool)
    failed("pool_timeout", pool:query "SELECT 1")
    raises(ENDED, function() return late:query "SELECT 1", 0 end)
    late:release()
    assert.equal(1, other:query("SELECT 1 AS x").rows[1].x)
  end)

  it("for one call is taken back when the coroutine of the call has died", function()
    local pool <close> = new { size = 1 }
    local handle
    local thread <const> = coroutine.create(function()
      pool:use(function(db)
        handle = db
        assert(db:execute "BEGIN; SELECT pg_advisory_lock(14)")
        error "dead"
      end)
    end)
    assert.is_false(coroutine.resume(thread))
    assert.equal(1, pool:query("SELECT 1 AS x").rows[1].x)
    eventually(function() return locks(14) == 0 end)
    raises(ENDED, function() return handle:query "SELECT 1", 0 end)
    counts({ open = 1, idle = 1, taken_back = 1 }, pool)
    coroutine.close(thread)
    counts({ open = 1, idle = 1 }, pool)
  end)

  it("loses no place to errors of a debug hook, wherever they come", function()
    local pool <close> = new { size = 2 }
    local instructions, ended = 0, false
    local function twice()
      local a <close> = assert(pool:acquire())
      local b <close> = assert(pool:acquire())
      counts({ open = 2, used = 2 }, pool)
      return a and b
    end
    repeat
      instructions = instructions + 13
      local thread <const> = coroutine.create(function()
        twice()
        ended = true
      end)
      debug.sethook(thread, function() error("stopped", 0) end, "", instructions)
      coroutine.resume(thread)
      debug.sethook(thread)
      coroutine.close(thread)
      twice()
    until ended
    assert.truthy(instructions > 300)
  end)

  it("is not taken back while any handle of it is held", function()
    local pool <close> = new { size = 1 }
    local fast = assert(pool:acquire()):with { timeout = 3 }
    collect()
    failed("pool_timeout", pool:query "SELECT 1")
    assert.equal(1, fast:query("SELECT 1 AS x").rows[1].x)
    fast:release()
    assert(pool:query "SELECT 1")
  end)

  it("ends its streams, and the next one does not see their rows", function()
    local pool <close> = new { size = 1 }
    local db = assert(pool:acquire())
    local step, state, key = db:each "SELECT g FROM generate_series(1, 1000000) g"
    assert.equal(1, step(state, key).g)
    db:release()
    assert.equal(42, pool:query("SELECT 42 AS x").rows[1].x)
    raises("db:each", function() return step(state, key), 0 end)
    pool:use(function(own)
      local row, copy, first = own:copy_rows "SELECT g FROM generate_series(1, 1000000) g"
      assert.equal(1, row(copy, first).g)
    end)
    assert.equal(43, pool:query("SELECT 43 AS x").rows[1].x)
    counts({ created = 1 }, pool)
  end)
end)

describe("a session that comes back", function()
  -- What is done to it; what the next user asks, and is to see.
  local CASES <const> = {
    ["SET"] = { "SET work_mem = '77MB'", "SHOW work_mem", "4MB" },
    ["set_config"] = { "SELECT set_config('my.user', 'eve', false)",
      "SELECT coalesce(current_setting('my.user', true), '')", "" },
    ["SET ROLE"] = { "SET ROLE few", "SELECT current_user::text", "postgres" },
    ["SET SESSION AUTHORIZATION"] = { "SET SESSION AUTHORIZATION few",
      "SELECT session_user::text", "postgres" },
    ["search_path"] = { "SET search_path = pg_catalog", "SHOW search_path", '"$user", public' },
    ["LISTEN"] = { "LISTEN jobs", "SELECT count(*) FROM pg_listening_channels()", 0 },
    ["an advisory lock"] = { "SELECT pg_advisory_lock(11)",
      "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", 0 },
    ["a temporary table"] = { "CREATE TEMP TABLE mine (x int)",
      "SELECT to_regclass('mine') IS NULL", true },
    ["a cursor"] = { "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
      "SELECT count(*) FROM pg_cursors WHERE name = 'c'", 0 },
    ["an open transaction"] = { "BEGIN; INSERT INTO items (name) VALUES ('open')",
      "SELECT count(*) FROM items WHERE name = 'open'", 0 },
    ["a failed transaction"] = { "BEGIN; INSERT INTO items (name) VALUES ('open'); SELECT 1/0",
      "SELECT count(*) FROM items WHERE name = 'open'", 0 },
    ["a transaction on a setting"] = { "BEGIN; SET LOCAL work_mem = '99MB'", "SHOW work_mem",
      "4MB" },
    ["styles"] = { "SET DateStyle = German; SET IntervalStyle = sql_standard",
      "SELECT DATE '2026-01-15'", "2026-01-15" },
    ["a prepared statement of its own"] = { "PREPARE own AS SELECT 1",
      "SELECT count(*) FROM pg_prepared_statements WHERE name = 'own'", 0 },
    ["float digits"] = { "SET extra_float_digits = -15", "SELECT 1 / 3::float8", 1 / 3 },
  }

  for name, case in pairs(CASES) do
    it("is as new for the next: " .. name .. " (S092)", function()
      for _, user in ipairs { "postgres", "german" } do
        local pool <close> = new { size = 1, user = user }
        local first = pid_of(pool)
        pool:use(function(db) db:execute(case[1]) end)
        local db <close> = assert(pool:acquire())
        local expected = case[3] == "postgres" and user or case[3]
        assert.same(expected, value(db, case[2]))
        assert.equal("idle", db:status().state)
        assert.equal(first, pid_of(db))
      end
    end)
  end

  it("knows no value of a sequence that another one has drawn", function()
    local pool <close> = new { size = 1 }
    pool:use(function(db)
      assert(db:query "SELECT nextval('items_id_seq')")
      assert(db:query "SELECT lastval()")
    end)
    assert.equal("55000", select(2, pool:query "SELECT lastval()").sqlstate)
  end)

  it("keeps the statements that the module has prepared (S118)", function()
    local pool <close> = new { size = 1 }
    local count <const> = "SELECT count(*) FROM pg_prepared_statements"
    local prepared
    pool:use(function(db)
      for i = 1, 20 do assert(db:query("SELECT $1::int", i)) end
      prepared = value(db, count)
    end)
    assert.truthy(prepared > 0)
    assert.equal(prepared, value(assert(pool:acquire()), count))
    collect()
    assert.equal(21, pool:query("SELECT $1::int AS x", 21).rows[1].x)
    counts({ created = 1, replaced = 0 }, pool)
  end)

  it("is cleared at once, not when the next one comes", function()
    local pool <close> = new()
    pool:use(function(db)
      assert(db:execute "BEGIN; LOCK TABLE items")
      assert(db:query "SELECT pg_advisory_lock(12)")
      assert.equal(1, locks(12))
    end)
    eventually(function() return locks(12) == 0 end)
    assert(watch:query { query = "SELECT count(*) FROM items", timeout = 5 })
  end)

  it("has no trace of a transaction that its user left open", function()
    local pool <close> = new { size = 1 }
    local db = assert(pool:acquire())
    local thread = coroutine.create(function()
      return db:transaction(function(tx)
        assert(tx:insert("items", { name = "left" }))
        coroutine.yield(tx)
      end)
    end)
    local _, tx = assert(coroutine.resume(thread))
    db:release()
    raises("the transaction has ended", function() return tx:query "SELECT 1", 0 end)
    assert(pool:query "SELECT 1")
    local other <close> = assert(pool:acquire())
    assert.equal("idle", other:status().state)
    assert(other:execute "BEGIN")
    local _, none, err = assert(coroutine.resume(thread)) -- ends nothing of the other's
    assert.equal("transaction_failed", failed("transaction_failed", none, err).kind)
    assert.equal("transaction", other:status().state)
    assert.equal(0, value(other, "SELECT count(*) FROM items WHERE name = 'left'"))
  end)

  it("fails no transaction of the next one by the end of one that was left open", function()
    local pool <close> = new { size = 1 }
    local db = assert(pool:acquire())
    local thread <const> = coroutine.create(function()
      return db:transaction(function() coroutine.yield() end)
    end)
    assert(coroutine.resume(thread))
    db:release()
    assert.equal(9, assert(pool:transaction(function(tx)
      failed("transaction_failed", select(2, coroutine.resume(thread)))
      return tx:query("SELECT 9 AS x").rows[1].x
    end)))
  end)

  it("has forgotten what was learnt of a temporary table", function()
    local pool <close> = new { size = 1 }
    assert(pool:execute "CREATE TABLE twice (id int PRIMARY KEY, name text)")
    pool:use(function(db)
      assert(db:execute "CREATE TEMP TABLE twice (id int, name text PRIMARY KEY)")
      assert.equal("five", assert(db:insert("twice", { id = 5, name = "five" })).insertedId)
    end)
    assert.equal(7, assert(pool:insert("twice", { id = 7, name = "seven" })).insertedId)
    assert.equal("id", assert(pool:describe "twice")[1].name)
  end)

  it("stays read-only, and keeps what the module set", function()
    local pool <close> = new { size = 1, readonly = true, user = "german" }
    pool:use(function(db) assert(db:execute "SET default_transaction_read_only = off") end)
    failed("read_only", pool:execute "DELETE FROM items")
    pool:use(function(db) assert(db:execute "RESET ALL") end)
    failed("read_only", pool:execute "DELETE FROM items")
    assert.same({ d = "2026-01-15", f = 0.1, i = "P1DT2H" }, pool:query(
      "SELECT DATE '2026-01-15' AS d, 0.1::float8 AS f, interval '1 day 2 hours' AS i").rows[1])
    counts({ created = 1 }, pool)
  end)

  it("is closed where a statement was left in the middle and nobody may wait", function()
    local loop, stuck = scheduler(), false
    local pool <close> = new { size = 1, wait = function(...)
      if stuck then return coroutine.yield() end
      return loop.wait(...)
    end }
    loop.run(function() assert(pool:query "SELECT 1") end)
    stuck = true
    local thread = coroutine.create(function()
      pool:use(function(db) return db:query "SELECT pg_sleep(30)" end)
    end)
    repeat assert(coroutine.resume(thread)) until pool:status().used == 1
    eventually(function() return sleepers() == 1 end)
    coroutine.close(thread)
    counts({ open = 0, closed = 1 }, pool)
    eventually(function() return sleepers() == 0 end)
    assert(pool:query "SELECT 1")
  end)

  it("is drained and cleared where its statement was left and one may wait", function()
    local raising = false
    local problem <const> = {}
    local pool <close> = new { size = 1, wait = function()
      if raising and sleepers() == 1 then
        raising = false
        error(problem)
      end
      return false
    end }
    local first = pid_of(pool)
    coroutine.wrap(function()
      local ok, raised = pcall(pool.use, pool, function(db)
        assert(db:execute "BEGIN; SELECT pg_advisory_lock(13)")
        raising = true
        return db:query "SELECT pg_sleep(30)"
      end)
      assert.same({ false, true }, { ok, rawequal(raised, problem) })
    end)()
    counts({ open = 1, idle = 1 }, pool)
    eventually(function() return locks(13) == 0 end)
    assert.equal(first, pid_of(pool))
  end)

  it("under a statement of another coroutine is closed, and that one is told", function()
    local loop = scheduler()
    local pool <close> = new { size = 1, wait = loop.wait }
    local db, told
    loop.run(function()
      db = assert(pool:acquire())
      loop.spawn(function() told = select(2, pcall(db.query, db, "SELECT pg_sleep(30)")) end)
      db:release()
      counts({ open = 0, closed = 1 }, pool)
      assert(pool:query "SELECT 1")
    end)
    contains(told, "closed during this call")
  end)

  it("behind PgBouncer is rolled back and no more (L8)", function()
    if not pgbouncer.found() then return pending "PgBouncer is not installed" end
    local pooler <close> = pgbouncer.start(server)
    local pool <close> = pg.pool(support.merge(pooler.options, { size = 1 }))
    local log = support.logged(server, function()
      assert(pool:query "SELECT 1 AS plain")
      pool:use(function(db) assert(db:execute "BEGIN; LOCK TABLE items") end)
      assert(pool:query "SELECT 2 AS plain")
    end)
    contains(log, "ROLLBACK", "SELECT 1 AS plain", "SELECT 2 AS plain")
    lacks(log, "RESET", "DISCARD", "UNLISTEN", "CLOSE ALL")
    counts({ created = 1 }, pool)
  end)
end)

describe("a hand-out", function()
  it("replaces what the server has closed meanwhile, without an error (C19, L10, S110)", function()
    local pool <close> = new { size = 2 }
    local pid = pid_of(pool)
    kill(pid)
    assert.not_equal(pid, pid_of(pool))
    counts({ created = 2, closed = 1, replaced = 1, open = 1 }, pool)
  end)

  it("takes no time to speak of where one is idle", function()
    local pool <close> = new { size = 1 }
    local pid = pid_of(pool)
    for _ = 1, 20 do
      local db <close> = assert(pool:acquire { timeout = 0 })
      assert.equal(pid, pid_of(db))
    end
  end)

  it("never does so inside of a transaction or a use", function()
    local pool <close> = new { size = 1 }
    local result, err = pool:transaction(function(tx)
      kill(pid_of(tx))
      return tx:query "SELECT 1"
    end)
    assert.equal("lost", failed(err.kind, result, err) and "lost")
    pool:use(function(db)
      kill(pid_of(db))
      failed("server_unavailable", db:query "SELECT 1")
      failed("connection_lost", db:query "SELECT 1")
    end)
    counts({ open = 0, created = 2, closed = 2 }, pool)
    assert(pool:query "SELECT 1")
  end)

  it("is not disturbed by what came while it was idle", function()
    local db <close> = assert(pg.connect(server.options))
    assert(db:execute "LISTEN news")
    local function hear()
      assert(watch:execute "NOTIFY news")
      return core.settle(db, 1)
    end
    for _ = 1, 3 do assert.is_true(hear()) end
    assert.same({}, assert(db:query "SELECT 1"):notices())
    kill(db:status().pid)
    assert.is_false(core.settle(db, 1))
  end)

  it("closes what was idle for long, but for `min`, and what has lived for long", function()
    local pool <close> = new { size = 4, min = 1, idle_timeout = 5, max_lifetime = 100 }
    local held = {}
    for i = 1, 3 do held[i] = assert(pool:acquire()) end
    for i = 1, 3 do held[i]:release() end
    later(4, function() assert(pool:query "SELECT 1") end)
    counts({ open = 3, closed = 0 }, pool)
    later(8.9, function() assert(pool:query "SELECT 1") end)
    counts({ open = 1, closed = 2, replaced = 0 }, pool)
    later(20, function() assert(pool:query "SELECT 1") end)
    counts({ open = 1, closed = 2, replaced = 0 }, pool)
    later(150, function() assert(pool:query "SELECT 1") end)
    counts({ open = 1, closed = 3, replaced = 1, created = 4 }, pool)
    later(300, function()
      local db = assert(pool:acquire())
      later(300, function() db:release() end) -- too old to be kept
    end)
    counts({ open = 0 }, pool)
  end)

  it("asks one that was idle for a day, and replaces it when it does not answer (S110)", function()
    local pool <close> = new { size = 1, idle_timeout = 1e6, max_lifetime = 1e6, timeout = 0.2 }
    local pid = pid_of(pool)
    later(86400, function() assert.equal(pid, pid_of(pool)) end)
    os.execute("kill -STOP " .. pid)
    finally(function() os.execute("kill -CONT " .. pid) end)
    later(2 * 86400, function() assert.not_equal(pid, pid_of(pool)) end)
    counts({ replaced = 1, open = 1, created = 2 }, pool)
  end)

  it("asks one that was idle for seconds before a transaction, whose function shall not run for "
    .. "nothing", function()
    local pool <close> = new { size = 1, timeout = 0.2 }
    local pid, runs = pid_of(pool), 0
    os.execute("kill -STOP " .. pid)
    finally(function() os.execute("kill -CONT " .. pid) end)
    later(5, function()
      local other = pool:transaction(function(tx)
        runs = runs + 1
        return tx:query "SELECT pg_backend_pid() AS pid".rows[1].pid
      end)
      assert.not_equal(pid, other)
    end)
    assert.equal(1, runs)
  end)

  it("answers why a connection cannot be opened, and leaves its place free", function()
    local pool <close> = new { size = 1, database = "nowhere" }
    for _ = 1, 3 do failed("authentication_failed", pool:query "SELECT 1") end
    counts({ open = 0, created = 0, timeouts = 0 }, pool)
    local raising <close> = new { size = 1, password = function() error("no secret", 0) end }
    local ok, problem = pcall(raising.query, raising, "SELECT 1")
    assert.same({ false, "no secret" }, { ok, problem })
    counts({ open = 0 }, raising)
  end)

  it("waits out a server that is full (S071, 53300)", function()
    assert(watch:execute "ALTER ROLE few CONNECTION LIMIT 1")
    local other = assert(pg.connect(support.merge(server.options, { user = "few" })))
    local loop = scheduler()
    for _, wait in ipairs { false, loop.wait } do
      local pool <close> = new { user = "few", size = 3, wait = wait or nil, acquire_timeout = 0.3 }
      loop.run(function()
        local err = failed("too_many_connections", pool:query "SELECT 1")
        assert.equal("53300", err.sqlstate)
      end)
      counts({ open = 0, timeouts = 1 }, pool)
    end
    local pool <close> = new { user = "few", size = 3, wait = loop.wait, acquire_timeout = 10 }
    local answers = 0
    for _ = 1, 4 do
      loop.spawn(function()
        pool:use(function(db)
          assert(db:query "SELECT pg_sleep(0.01)")
          answers = answers + 1
        end)
      end)
    end
    for _ = 1, 3 do loop.step() end
    other:close()
    loop.run()
    assert.equal(4, answers)
    counts({ open = 1, created = 1, timeouts = 0 }, pool)
  end)
end)

describe("a connection that a pool opens", function()
  it("is closed at once when nobody waits for it any more", function()
    local function clients()
      return watched "SELECT count(*) FROM pg_stat_activity WHERE usename = 'german'"
    end
    collect()
    eventually(function() return clients() == 0 end)
    collectgarbage "stop"
    finally(function() collectgarbage "restart" end)
    local steps, opened = -1, nil
    repeat
      steps = steps + 1
      local loop = scheduler()
      local pool <close> = new { user = "german", wait = loop.wait }
      local thread <const> = loop.spawn(function() opened = pool:acquire() end)
      for _ = 1, steps do
        if not opened then loop.step() end
      end
      coroutine.close(thread)
      eventually(function() return clients() == (opened and 1 or 0) end)
    until opened
    opened:close()
    assert.truthy(steps >= 2)
  end)
end)

describe("the pool's queue", function()
  local loop, pool

  before_each(function() loop = scheduler() end)
  after_each(function() if pool then pool:close() end end)

  local function open(more)
    pool = new(support.merge({ size = 2, wait = loop.wait, acquire_timeout = 5 }, more))
  end

  it("never lets more be opened than there may be (S123)", function()
    open()
    local most = 0
    for _ = 1, 12 do
      loop.spawn(function()
        pool:use(function(db)
          local status = pool:status()
          most = math.max(most, status.open)
          assert(db:query "SELECT pg_sleep(0.005)")
        end)
      end)
    end
    counts({ opening = 2, waiting = 10, open = 2 }, pool)
    loop.run()
    assert.equal(2, most)
    counts({ created = 2, idle = 2, waiting = 0, acquired = 12, timeouts = 0 }, pool)
  end)

  it("lets nobody pass those that wait", function()
    open { size = 1 }
    local order = {}
    loop.run(function()
      local db = assert(pool:acquire())
      for i = 1, 3 do
        loop.spawn(function()
          pool:use(function(own) order[#order + 1] = i; assert(own:query "SELECT 1") end)
        end)
      end
      db:release()
      pool:use(function() order[#order + 1] = "late" end)
    end)
    assert.same({ 1, 2, 3, "late" }, order)
  end)

  it("answers pool_timeout in time, and loses nothing by it", function()
    open { size = 1 }
    loop.run(function()
      local db = assert(pool:acquire())
      local started = core.now()
      local err = failed("pool_timeout", pool:acquire { timeout = 0.1 })
      assert.is_true(err.elapsed >= 0.0999 and err.elapsed <= core.now() - started + 0.001)
      assert.equal(0.1, err.limit)
      assert.is_true(err.retryable)
      contains(err.message, "1 of 1 are in use", "pool_spec.lua:")
      failed("pool_timeout", pool:acquire { timeout = 0 })
      failed("pool_timeout", pool:transaction(print, { deadline = 0.05 }))
      db:release()
      assert(pool:query "SELECT 1")
    end)
    counts({ timeouts = 3, idle = 1, waiting = 0 }, pool)
  end)

  local function close(thread) coroutine.close(thread) end
  local WAYS <const> = {
    ["is closed"] = { coroutine.yield, close },
    ["is collected"] = { coroutine.yield, function() end },
  }

  for name, way in pairs(WAYS) do
    for _, called in ipairs { false, true } do
      it(("passes on what a waiter does not take: it %s%s"):format(name,
        called and " when it was called" or ""), function()
        local stuck = false
        open { size = 1, acquire_timeout = 3, wait = function(...)
          if stuck then return way[1]() end
          return loop.wait(...)
        end }
        local answered
        loop.run(function()
          local db = assert(pool:acquire())
          stuck = true
          local thread = coroutine.create(function() pool:use(print) end)
          assert(coroutine.resume(thread))
          stuck = false
          loop.spawn(function() answered = pool:query("SELECT 5 AS x").rows[1].x end)
          counts({ waiting = 2 }, pool)
          if called then db:release() end
          way[2](thread)
          thread = nil -- luacheck: ignore
          collect()
          if not called then db:release() end
        end)
        assert.equal(5, answered)
        counts({ idle = 1, waiting = 0, timeouts = 0 }, pool)
      end)
    end
  end

  it("passes over one whose coroutine died or does not come", function()
    local mode
    open { size = 1, acquire_timeout = 8, wait = function(...)
      if mode == "die" then error("the loop is gone", 0) end
      if mode == "stay" then return coroutine.yield() end
      return loop.wait(...)
    end }
    local answers, threads = 0, {}
    loop.run(function()
      local db = assert(pool:acquire())
      for i, how in ipairs { "die", "stay" } do
        mode = how
        threads[i] = coroutine.create(function() pool:use(print) end)
        coroutine.resume(threads[i])
        mode = nil
      end
      for _ = 1, 2 do
        loop.spawn(function()
          assert(pool:query "SELECT 1")
          answers = answers + 1
        end)
      end
      db:release()
    end)
    assert.equal(2, answers)
    assert.equal("dead", coroutine.status(threads[1]))
    assert.equal("suspended", coroutine.status(threads[2]))
  end)

  it("gives the place of one that cannot be opened to the next", function()
    local secrets = { "wrong", "right" }
    assert(watch:execute "ALTER ROLE few CONNECTION LIMIT -1")
    open { size = 1, password = function()
      local secret = table.remove(secrets, 1)
      if secret == "wrong" then return nil, "not yet" end
      return "right"
    end }
    local results = {}
    for i = 1, 3 do
      loop.spawn(function()
        local answer, err = pool:query "SELECT 1 AS x"
        results[i] = answer and answer.rows[1].x or err.kind
      end)
    end
    loop.run()
    assert.same({ "authentication_failed", 1, 1 }, results)
    counts({ created = 1, idle = 1 }, pool)
  end)

  it("gives the place of one that went away while it was opened to the next", function()
    local stuck = true
    open { size = 1, wait = function(...)
      if stuck then return coroutine.yield() end
      return loop.wait(...)
    end }
    local thread = coroutine.create(function() pool:query "SELECT 1" end)
    assert(coroutine.resume(thread))
    stuck = false
    counts({ opening = 1 }, pool)
    local answered
    loop.spawn(function() answered = pool:query("SELECT 6 AS x").rows[1].x end)
    counts({ opening = 1, waiting = 1 }, pool)
    coroutine.close(thread)
    loop.run()
    assert.equal(6, answered)
    counts({ created = 1, idle = 1 }, pool)
  end)

  it("ends with the pool: who waits gets an error, who opens, too", function()
    open { size = 1 }
    local errors = {}
    for i = 1, 3 do
      loop.spawn(function() errors[i] = select(2, pool:query "SELECT 1") end)
    end
    counts({ opening = 1, waiting = 2 }, pool)
    pool:close()
    loop.run()
    for i = 1, 3 do contains(errors[i].message, "the pool was closed while this call waited") end
    counts({ open = 0, waiting = 0 }, pool)
  end)

  it("says at once that nobody can wait where the loop cannot", function()
    open { size = 1, wait = function() return false end }
    coroutine.wrap(function()
      local db <close> = assert(pool:acquire())
      contains(failed("pool_timeout", pool:query "SELECT 1").message, "nobody could give one back")
      assert(db:query "SELECT 1")
    end)()
  end)

  it("serves hundreds that wait with few descriptors, in order", function()
    local descriptors, order = {}, {}
    open { size = 1, acquire_timeout = 60, wait = function(fd, ...)
      local calls = fd and descriptors[fd] or 0
      descriptors[fd or 0] = calls + 1
      return loop.wait(fd, ...)
    end }
    for i = 1, 400 do
      loop.spawn(function()
        pool:use(function()
          order[#order + 1] = i
        end)
      end)
    end
    counts({ waiting = 399 }, pool)
    loop.run()
    local used = 0
    for _ in pairs(descriptors) do used = used + 1 end
    assert.truthy(used < 250, used)
    for i = 1, 400 do assert.equal(i, order[i]) end
  end)

  it("goes on where there are no descriptors left to wait with", function()
    local wakeup <const> = core.wakeup
    core.wakeup = function() return nil, "too many open files" end
    finally(function() core.wakeup = wakeup end)
    open()
    local answers = 0
    for _ = 1, 8 do
      loop.spawn(function()
        assert(pool:query "SELECT 1")
        answers = answers + 1
      end)
    end
    loop.run()
    assert.equal(8, answers)
  end)

  it("leaves no descriptor open", function()
    local function descriptors()
      collect()
      return tonumber((support.run("ls /proc/" .. core.pid() .. "/fd | wc -l")))
    end
    local before <const> = descriptors()
    open()
    for _ = 1, 30 do loop.spawn(function() assert(pool:query "SELECT 1") end) end
    loop.run()
    pool:close()
    assert.truthy(descriptors() <= before)
  end)

  it("yields under cqueues (S123)", function()
    local found, cqueues = pcall(require, "cqueues")
    if not found then return pending "cqueues is not installed" end
    open { wait = require "pg.wait.cqueues", size = 3 }
    local controller, answers, most = cqueues.new(), 0, 0
    for i = 1, 40 do
      controller:wrap(function()
        pool:use(function(db)
          most = math.max(most, pool:status().used)
          assert(db:query("SELECT pg_sleep(0.002), $1::int", i))
          answers = answers + 1
        end)
      end)
    end
    assert(controller:loop())
    assert.same({ 40, 3 }, { answers, most })
    counts({ created = 3, idle = 3, waiting = 0, timeouts = 0 }, pool)
  end)
end)

describe("a transaction of a pool", function()
  it("commits, rolls back and answers as that of a connection", function()
    local pool <close> = new { size = 1 }
    assert.equal(7, (pool:transaction(function(tx)
      assert(tx:insert("items", { name = "kept" }))
      return 7
    end)))
    assert.equal(1, watched "SELECT count(*) FROM items WHERE name = 'kept'")
    failed("constraint_violation", pool:transaction(function(tx)
      tx:execute "INSERT INTO items (id) VALUES (1), (1)"
    end))
    local ok, raised = pcall(pool.transaction, pool, function() error("mine", 0) end)
    assert.same({ false, "mine" }, { ok, raised })
    assert.equal(1, assert(pool:dry_run(function(tx)
      return tx:delete("DELETE FROM items WHERE name = 'kept'").rowCount
    end)))
    assert.equal(1, watched "SELECT count(*) FROM items WHERE name = 'kept'")
    failed("read_only", pool:transaction(function(tx) return tx:execute "DELETE FROM items" end,
      { readonly = true }))
    counts({ created = 1, idle = 1 }, pool)
  end)

  it("with retries runs again on another connection where its own was lost", function()
    local pool <close> = new { size = 1 }
    local function body(pids, deaths)
      return function(tx)
        pids[#pids + 1] = pid_of(tx)
        assert(tx:insert("items", { name = "again" }))
        if #pids <= deaths then kill(pids[#pids]) end
        return tx:query("SELECT 8 AS x").rows[1].x
      end
    end
    local pids = {}
    local ok, problem = pcall(pool.transaction, pool, body(pids, 1))
    assert.same({ false, 1 }, { ok, #pids }, tostring(problem))
    pids = {}
    local function careful(tx)
      local answer, err = pcall(body(pids, 2), tx)
      if not answer then return tx:query "SELECT 1" end
      return err
    end
    assert.equal(8, assert(pool:transaction(careful, { retries = 2 })))
    assert.equal(3, #pids)
    assert.not_equal(pids[1], pids[2])
    assert.equal(1, watched "SELECT count(*) FROM items WHERE name = 'again'")
  end)

  it("has one deadline for the wait, the tries and the statements", function()
    local pool <close> = new { size = 1 }
    failed("query_timeout", pool:transaction(function(tx) return tx:query "SELECT pg_sleep(9)" end,
      { deadline = 0.2 }))
    assert(pool:query "SELECT 1")
    counts({ created = 1, idle = 1 }, pool)
    failed("query_timeout", pool:bulk_insert("items", function()
      return { id = value(watch, "SELECT 1 FROM pg_sleep(0.05)"), name = "slow" }
    end, { deadline = 0.1, batch = 1 }))
    counts({ idle = 1 }, pool)
    assert.equal(0, watched "SELECT count(*) FROM items WHERE name = 'slow'")
  end)
end)

describe("a pool's limits", function()
  it("are the host's, with saved_only and the lock too", function()
    local folder <const> = support.folder()
    finally(function() os.execute("rm -rf '" .. folder .. "'") end)
    support.write(folder .. "/host.lua", [[
      local pg = require "pg"
      local early = pg.pool {}
      pg.save("only", {})
      pg.limits { saved_only = true, lock = true, timeout = 1 }
      local ok, problem = pcall(pg.pool, {})
      assert(not ok and problem:find "saved connections only", problem)
      ok, problem = pcall(early.query, early, "SELECT 1")
      assert(not ok and problem:find "saved connections only", problem)
      assert(early:status().open == 0)
      local pool <close> = pg.pool("only", { size = 1 })
      assert(pool:query "SELECT 1")
      local none, err = pool:query "SELECT pg_sleep(9)"
      assert(not none and err.kind == "query_timeout" and err.limit == 1, err)
      print "done"]])
    local output, errors = support.run(("%s %s %s/host.lua"):format(server:environment(),
      support.lua, folder))
    assert.same({ "done\n", "" }, { output, errors })
  end)

  it("a forked child begins with none of the parent's connections (E12)", function()
    local folder <const> = support.folder()
    finally(function() os.execute("rm -rf '" .. folder .. "'") end)
    local flags = support.run("pkg-config --cflags --libs lua5.4 2>/dev/null "
      .. "|| pkg-config --cflags --libs lua"):gsub("%s+$", "")
    local path = assert(package.searchpath("pg.core", package.cpath))
    local file <close> = assert(io.open(path, "rb"))
    if file:read "a":find("__asan_init", 1, true) then
      flags = "-fsanitize=address,undefined " .. flags
    end
    local host = support.compile(folder, "spec/fault/oomhost.c", "-rdynamic -lpthread " .. flags)
    support.write(folder .. "/fork.lua", [[
      local pg = require "pg"
      local pool = pg.pool { size = 2 }
      local function pid(db) return assert(db:query "SELECT pg_backend_pid() AS p").rows[1].p end
      local idle, held = pid(pool), assert(pool:acquire())
      assert(pid(held) == idle)
      local other = assert(pool:acquire())
      local second = pid(other)
      other:release()
      local child = host.fork()
      if child == 0 then
        local ok, problem = pcall(held.query, held, "SELECT 1")
        assert(not ok and problem:find "belongs to the process", problem)
        local own = pid(pool)
        assert(own ~= idle and own ~= second)
        held:release()
        local status = pool:status()
        assert(status.open == 1 and status.used == 0 and status.created == 1)
        pool:close()
        os.exit(0, true)
      end
      assert(host.wait(child) == 0)
      assert(pid(held) == idle)
      held:release()
      assert(pid(pool) == idle and pool:status().created == 2)
      pool:close()
      return 0]])
    local output, errors, code = support.run(("%s %s run %s/fork.lua"):format(server:environment(),
      host, folder))
    assert.same({ "", "", 0 }, { output, errors, code })
  end)
end)

describe("a wakeup", function()
  it("is ready to be read while it is set", function()
    local wakeup = assert(core.wakeup())
    local socket = require "socket"
    local watched_fd = { getfd = function() return wakeup:fd() end,
      dirty = function() return false end }
    local function ready() return #socket.select({ watched_fd }, nil, 0) == 1 end
    assert.is_false(ready())
    for _ = 1, 3 do wakeup:set() end
    assert.is_true(ready())
    wakeup:clear()
    assert.is_false(ready())
    wakeup:clear()
    wakeup:set()
    assert.is_true(ready())
    do local closed <close> = wakeup end -- luacheck: ignore
    for _, name in ipairs { "fd", "set", "clear" } do
      raises("the wakeup is closed", function() return wakeup[name](wakeup), 0 end)
    end
  end)

  it("is told why there is none where descriptors are used up", function()
    local output = support.run("ulimit -n 40; " .. support.lua .. [[ -e '
      local core, all, why = require "pg.core", {}, nil
      repeat all[#all + 1], why = core.wakeup() until why
      print(why)']])
    contains(output, "open files")
  end)
end)
