-- Time and size: what a statement may take, what a result may have, and what is left afterwards.
-- SPDX-License-Identifier: MIT
local core = require "pg.core"
local faultproxy = require "spec.fault.faultproxy"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains, eventually, failed = support.contains, support.eventually, support.failed
local raises = support.raises

local MIB <const> = 1024 * 1024
local LONG <const> = "SELECT pg_sleep(30)"

local server, watch, folder, program, ways

-- What a statement adds to the peak memory of a process of its own. All start at once, beside other
-- specs; the last ones read what they say.
local big <const> = "SELECT repeat(repeat('x', 1000), 100000)"
local notices <const> = [[
  DO $$ BEGIN FOR i IN 1..300000 LOOP RAISE NOTICE 'flood'; END LOOP; END $$]]
local notifications <const> = [[
  DO $$ BEGIN FOR i IN 1..300000 LOOP PERFORM pg_notify('flood', i::text); END LOOP; END $$]]
-- A row that is let go is once in libpq's buffer and once in its result.
local peaks <const> = {
  { "one value of 100 MB (R1)", "a Unix socket", big, "result_too_large lost", 16 },
  { "one value of 100 MB (R1)", "TCP", big, "result_too_large lost", 16 },
  { "one value of 100 MB (R1)", "TLS", big, "result_too_large lost", 16 },
  { "COPY of one value of 30 MB", "TCP", "COPY (SELECT repeat('x', 30000000)) TO STDOUT",
    "wrong_action lost", 16 },
  { "rows of 1 MB", "TLS", "SELECT repeat('x', 1000000), generate_series(1, 1000000000)",
    "result_too_large idle", 26 },
  { "rows of 1 KB (R3)", "TCP", "SELECT repeat('x', 1000), generate_series(1, 1000000000)",
    "result_too_large idle", 26 },
  { "300,000 notices", "TCP", notices, "success idle", 6 },
  { "300,000 notifications (R26)", "a Unix socket", notifications, "success idle", 6 },
}

local measure <const> = [[
  local pg = require "pg"
  local function peak()
    for line in io.lines "/proc/self/status" do
      local kib = line:match "^VmHWM:%%s*(%%d+)"
      if kib then return kib * 1024 end
    end
  end
  local db = assert(pg.connect { %s })
  assert(db:execute "LISTEN flood")
  local before = peak()
  local answer, err = db:execute %q
  print(peak() - before, err and err.kind or "success", db:status().state)]]

local function measure_one(i)
  local case = peaks[i]
  if not case or not io.open "/proc/self/status" then return end
  local options = { "max_result = 10 * 1024 * 1024" }
  for name, value in pairs(ways[case[2]]) do
    options[#options + 1] = ("%s = %q"):format(name, value)
  end
  local path = ("%s/peak%d.lua"):format(folder, i)
  support.write(path, measure:format(table.concat(options, ", "), case[3]))
  case.pipe = io.popen(("ASAN_OPTIONS=quarantine_size_mb=1 %s %s"):format(support.lua, path))
end

-- Two at a time, ahead of who asks: all at once would leave none the time to end in.
local function measure_first()
  measure_one(1)
  measure_one(2)
end

setup(function()
  folder = support.folder()
  program = support.compile(folder, "spec/fault/faultproxy.c")
  server = assert(throwaway.start { ssl = true, settings = { jit = false } })
  watch = assert(pg.connect(server.options))
  ways = {
    ["a Unix socket"] = server.options,
    TCP = support.merge(server.tcp, { sslmode = "disable" }),
    TLS = support.merge(server.tcp, { sslmode = "require" }),
  }
end)

teardown(function()
  watch:close()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

local function connect(more, base)
  return assert(pg.connect(support.merge(base or server.options, more)))
end

local function one(db, sql, ...)
  local row = assert(db:query { query = sql, parameters = table.pack(...) }).rows[1]
  return select(2, next(row))
end

-- What the server says that the session does now.
local function state_of(pid)
  return one(watch, "SELECT max(state) FROM pg_stat_activity WHERE pid = $1", pid)
end

-- Usable right now, and at rest at the server.
local function usable(db, state)
  assert.equal(state or "idle", db:status().state)
  if state ~= "failed" then assert.equal(42, one(db, "SELECT 41 + 1")) end
  local asleep = state == "failed" and "idle in transaction (aborted)"
    or state == "transaction" and "idle in transaction" or "idle"
  eventually(function() return state_of(db:status().pid) == asleep end)
end

-- A connection that is gone: the next call says so, and why.
local function lost(db, first)
  assert.equal("lost", db:status().state)
  local err = failed("connection_lost", db:query "SELECT 1")
  assert.equal(first, err.cause)
end

-- Runs a statement, and f in another coroutine once the server has begun: the connection, which is
-- for the caller to close, and the statement's error.
local function besides(sql, options, f)
  local loop, db, err = scheduler(), nil, nil
  loop.spawn(function()
    db = connect(support.merge(options, { wait = loop.wait }))
    err = select(2, db:query(sql))
  end)
  loop.spawn(function()
    repeat loop.wait(nil, "r", 0.01) until db and state_of(db:status().pid) == "active"
    f(loop, db)
  end)
  loop.run()
  return db, err
end

local function descriptors()
  local pipe <close> = io.popen "ls /proc/$PPID/fd 2>/dev/null | wc -l"
  return pipe:read "n"
end

describe("a statement's timeout (S073, S121)", function()
  local function times_out(db, call)
    local started = core.now()
    local err = failed("query_timeout", call(db))
    assert.is_true(core.now() - started < 10, "the server went on")
    assert.equal(0.1, err.limit)
    assert.is_true(err.elapsed >= 0.1 and err.elapsed < 10)
    assert.is_false(err.completed)
    return err
  end

  local scopes = {
    { "a call", {}, function(db) return db:query { query = LONG, timeout = 0.1 } end },
    { "a handle", {}, function(db) return db:with { timeout = 0.1 }:query(LONG) end },
    { "the connection", { timeout = 0.1 }, function(db) return db:query(LONG) end },
    { "execute", {}, function(db) return db:execute { query = LONG, timeout = 0.1 } end },
    { "update", {}, function(db)
      return db:update { query = "WITH x AS (" .. LONG .. ") SELECT * FROM x", timeout = 0.1 }
    end },
    { "a statement whose types are asked for first", {}, function(db)
      return db:query { query = "SELECT pg_sleep(30), $1::int[]", parameters = { { 1 } },
        timeout = 0.1 }
    end },
    { "rows that drip", {}, function(db)
      return db:query { timeout = 0.1,
        query = "SELECT pg_sleep(0.02), repeat('x', 9000) FROM generate_series(1, 1000)" }
    end },
    { "a script as a whole", {}, function(db)
      return db:execute { query = ("SELECT pg_sleep(0.03);"):rep(1000), timeout = 0.1 }
    end },
  }
  for _, scope in ipairs(scopes) do
    it("of " .. scope[1] .. " stops it at the server; the connection is usable", function()
      local db <close> = connect(scope[2])
      times_out(db, scope[3])
      usable(db)
    end)
  end

  it("leaves a transaction failed, and what it did is gone", function()
    local db <close> = connect()
    assert(db:execute "CREATE TABLE slow (a int)")
    assert(db:execute "BEGIN")
    assert(db:insert("slow", { a = 1 }))
    failed("query_timeout", db:query { query = LONG, timeout = 0.1 })
    usable(db, "failed")
    failed("transaction_failed", db:query "SELECT 1")
    assert(db:execute "ROLLBACK")
    usable(db)
    assert.equal(0, one(db, "SELECT count(*) FROM slow"))
  end)

  it("is a monotonic clock's, and never shorter than it says", function()
    local db <close> = connect()
    for _, seconds in ipairs { 0.001, 0.01, 0.05, 0.2 } do
      local started = core.now()
      failed("query_timeout", db:query { query = LONG, timeout = seconds })
      assert.is_true(core.now() - started >= seconds)
    end
    usable(db)
  end)

  it("returns what had finished before the cancel came, and hits nothing later (Q10)", function()
    local proxy <close> = faultproxy.start(program, ways.TCP)
    local db <close> = connect({}, proxy.options)
    proxy:send "cancel 400"
    local answer = assert(db:query { query = "SELECT 7 AS n, pg_sleep(0.2)", timeout = 0.1 })
    assert.equal(7, answer.rows[1].n)
    assert.equal(1, proxy:stat().cancels)
    for i = 1, 50 do assert.equal(i, one(db, "SELECT $1::int FROM pg_sleep(0.002)", i)) end
    usable(db)
  end)

  it("never hits a later statement, however close the race (Q10)", function()
    local loop, rounds, finished = scheduler(), 0, 0
    local function race(way)
      local db <close> = connect({ wait = loop.wait }, way)
      local started = core.now()
      for _ = 1, 5 do failed("query_timeout", db:query { query = LONG, timeout = 0.001 }) end
      local whole = (core.now() - started) / 5 -- what it takes to cancel here and now
      for i = 1, 67 do
        local answer, err = db:query { query = "SELECT pg_sleep($1)", parameters = { whole },
          timeout = whole * (i % 10 + 1) / 10 }
        if not answer then failed("query_timeout", answer, err) end
        rounds, finished = rounds + 1, finished + (answer and 1 or 0)
        assert.equal(i, one(db, "SELECT $1::int", i))
      end
    end
    for _, way in pairs(ways) do loop.spawn(race, way) end
    loop.run()
    assert.equal(201, rounds)
    assert.is_true(finished > 0 and finished < rounds, "no race: " .. finished)
  end)

  it("says the five fixes, and the ceiling where it stands in the way (S074)", function()
    local before <const> = pg.limits()
    finally(function() pg.limits(before) end)
    local db <close> = connect()
    local err = failed("query_timeout", db:query { query = LONG, timeout = 0.1 })
    assert.equal(5, #err.fixes)
    contains(tostring(err), "0.1 s")
    pg.limits { timeout = 0.1 }
    err = failed("query_timeout", db:query(LONG))
    contains(table.concat(err.fixes, "\n"), "pg.limits")
  end)

  it("gives back every descriptor", function()
    local db <close> = connect()
    failed("query_timeout", db:query { query = LONG, timeout = 0.01 })
    local before <const> = descriptors()
    for _ = 1, 20 do failed("query_timeout", db:query { query = LONG, timeout = 0.01 }) end
    eventually(function() return descriptors() <= before end)
  end)
end)

describe("what the server itself stops", function()
  setup(measure_first) -- here, since they would spoil the race above

  local cases = {
    { "statement_timeout is query_timeout (Q6)", "SET statement_timeout = 100", LONG,
      "query_timeout", "57014" },
    { "lock_timeout is lock_timeout (Q7)", "SET lock_timeout = 100", "SELECT * FROM held",
      "lock_timeout", "55P03" },
  }
  for _, case in ipairs(cases) do
    for _, where in ipairs { "alone", "in a transaction" } do
      it(case[1] .. ", " .. where, function()
        assert(watch:execute "CREATE TABLE held ()")
        assert(watch:execute "BEGIN; LOCK TABLE held")
        finally(function() assert(watch:execute "COMMIT; DROP TABLE held") end)
        local db <close> = connect()
        assert(db:execute(case[2]))
        if where ~= "alone" then assert(db:execute "BEGIN") end
        local err = failed(case[4], db:execute(case[3]))
        assert.equal(case[5], err.sqlstate)
        assert.equal(where == "alone" and "idle" or "failed", db:status().state)
        assert(db:execute "ROLLBACK")
        assert.equal(1, one(db, "SELECT 1"))
      end)
    end
  end

  it("is query_timeout when a role or a function set statement_timeout (Q6)", function()
    assert(watch:execute "CREATE ROLE hurried LOGIN; ALTER ROLE hurried SET statement_timeout = 90")
    local db <close> = connect { user = "hurried" }
    failed("query_timeout", db:query(LONG))
    assert(db:execute "SET statement_timeout = 0")
    failed("query_timeout",
      db:execute "BEGIN; SET LOCAL statement_timeout = 90; SELECT pg_sleep(30)")
    assert(db:execute "ROLLBACK")
    usable(db)
  end)

  it("is cancelled when somebody else calls pg_cancel_backend", function()
    local db, err = besides(LONG, {}, function(loop, db)
      local other <close> = connect { wait = loop.wait }
      assert(other:query("SELECT pg_cancel_backend($1)", db:status().pid))
    end)
    assert.equal("57014", failed("cancelled", nil, err).sqlstate)
    usable(db)
    db:close()
  end)

  local ends = {
    { "pg_terminate_backend in a statement (Q1)", "57P01", function(db)
      return db:query "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(30)"
    end },
    { "pg_terminate_backend between statements (C19)", "57P01", function(db)
      local pid <const> = db:status().pid
      assert(watch:query("SELECT pg_terminate_backend($1)", pid))
      eventually(function() return not state_of(pid) end)
      return db:query "SELECT 1"
    end },
    { "idle_in_transaction_session_timeout (Q7)", "25P03", function(db)
      assert(db:execute "SET idle_in_transaction_session_timeout = 50; BEGIN")
      eventually(function() return not state_of(db:status().pid) end)
      return db:query "SELECT 1"
    end },
  }
  for _, case in ipairs(ends) do
    for way in pairs { ["a Unix socket"] = 1, TCP = 1, TLS = 1 } do
      it(("keeps the SQLSTATE of %s over %s"):format(case[1], way), function()
        local db <close> = connect({}, ways[way])
        local answer, err = case[3](db)
        assert.is_nil(answer)
        assert.equal(case[2], err.sqlstate)
        assert.is_nil(err.completed)
        lost(db, err)
        assert.is_true(db:reset())
        usable(db)
      end)
    end
  end
end)

describe("db:cancel()", function()
  it("from another coroutine stops the statement; the connection is usable", function()
    local db, err = besides(LONG, {}, function(_, db)
      assert.is_true(db:cancel())
      assert.is_false(db:cancel())
    end)
    assert.is_false(failed("cancelled", nil, err).completed)
    usable(db)
    assert.is_false(db:cancel())
    db:close()
  end)

  it("ends the wait for a server that does not answer (C17)", function()
    local proxy <close> = faultproxy.start(program, ways.TCP)
    local started = core.now()
    local db, err = besides(LONG, support.merge(proxy.options, { timeout = 40 }), function(_, db)
      proxy:send "stall both"
      assert.is_true(db:cancel())
    end)
    contains(failed("connection_lost", nil, err).message, "did not end when it was cancelled")
    lost(db, err)
    assert.is_true(core.now() - started < 20, "it waited for the timeout")
    db:close()
  end)
end)

describe("a result's limit (S122)", function()
  -- Rows as they cross the wire: value bytes, 4 for each column, 7 for each row.
  local shapes = {
    { "a value", "SELECT repeat('x', 1000)", 1000 + 4 + 7 },
    { "an empty value", "SELECT ''", 4 + 7 },
    { "NULL", "SELECT NULL::text", 4 + 7 },
    { "three columns", "SELECT 'a'::text, NULL::text, 'bcd'::text", 4 + 3 * 4 + 7 },
    { "no columns", "SELECT FROM generate_series(1, 10)", 10 * 7 },
    { "many rows", "SELECT repeat('x', 20) FROM generate_series(1, 5000)", 5000 * (20 + 4 + 7) },
    { "wide rows", "SELECT repeat('x', 100000) FROM generate_series(1, 50)",
      50 * (100000 + 4 + 7) },
    { "1,600 columns", "SELECT " .. ("''::text,"):rep(1599) .. "''::text", 1600 * 4 + 7 },
    { "UTF-8", "SELECT repeat('ä', 10)", 20 + 4 + 7 },
  }
  for _, shape in ipairs(shapes) do
    it("is exact: " .. shape[1], function()
      local db <close> = connect()
      for _ = 1, 2 do -- the second time the statement is known
        assert(db:query { query = shape[2], max_result = shape[3], rows = "array" })
        local err = failed("result_too_large",
          db:query { query = shape[2], max_result = shape[3] - 1, rows = "array" })
        assert.equal(shape[3] - 1, err.limit)
        assert.equal(shape[3], err.bytes)
        usable(db)
      end
    end)
  end

  it("is 10 MiB unless it is said", function()
    local db <close> = connect()
    local fits = 10 * MIB - 4 - 7
    assert.equal(fits, #one(db, "SELECT repeat('x', $1)", fits))
    local err = failed("result_too_large", db:query("SELECT repeat('x', $1)", fits + 1))
    assert.equal(10 * MIB, err.limit)
    usable(db)
  end)

  it("counts the statements of a script together", function()
    local db <close> = connect()
    local part = "SELECT repeat('x', 89);" -- 100 bytes
    assert(db:execute { query = part:rep(10), max_result = 1000 })
    failed("result_too_large", db:execute { query = part:rep(11), max_result = 1000 })
    usable(db)
  end)

  it("stops the server: no row is seen, the connection is usable (R3, S090)", function()
    for _, way in pairs(ways) do
      local db <close> = connect({}, way)
      for _, sql in ipairs {
        "SELECT repeat('x', 100), generate_series(1, 1000000000)",
        "SELECT repeat('x', 1000000), generate_series(1, 1000000000)",
        "SELECT repeat('x', CASE WHEN g = 9 THEN 900000 ELSE 100000 END) "
          .. "FROM (SELECT generate_series(1, 1000000000) AS g) AS s",
      } do
        local started = core.now()
        local err = failed("result_too_large", db:query { query = sql, max_result = MIB })
        assert.is_true(core.now() - started < 20)
        assert.is_true(err.bytes > MIB)
        assert.is_false(err.completed)
        contains(table.concat(err.fixes, "\n"), "LIMIT 100")
        usable(db)
      end
    end
  end)

  it("leaves a transaction failed", function()
    local db <close> = connect { max_result = 1000 }
    assert(db:execute "BEGIN")
    failed("result_too_large", db:query "SELECT repeat('x', 100) FROM generate_series(1, 100000)")
    usable(db, "failed")
    assert(db:execute "ROLLBACK")
    usable(db)
  end)

  -- Such a statement has run to its end before its first row leaves.
  it("says that the changes stand when RETURNING gave too much: completed = true", function()
    for _, way in pairs(ways) do
      local db <close> = connect({ max_result = 50000 }, way)
      assert(db:execute "CREATE TEMP TABLE t (a int, b text)")
      local err = failed("result_too_large", db:query [[
        INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 100000) g RETURNING *]])
      assert.is_true(err.completed)
      contains(err.message, "changes stand")
      assert.equal(100000, one(db, "SELECT count(*) FROM t"))
      err = failed("result_too_large", db:update [[
        UPDATE t SET b = repeat('y', 60000) WHERE a <= 20 RETURNING b]])
      assert.is_true(err.completed)
      assert.equal(20, one(db, "SELECT count(*) FROM t WHERE b LIKE 'y%'"))
      usable(db)
    end
  end)

  it("is not for a server's words: errors and notices of any length come whole (Q24)", function()
    local db <close> = connect { max_result = 100 }
    local err = failed("query_failed",
      db:execute "DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 1000000); END $$")
    assert.equal(("x"):rep(1000000), err.message)
    usable(db)
    assert(db:execute "DO $$ BEGIN RAISE NOTICE '%', repeat('x', 1000000); END $$")
    usable(db)
  end)

  it("closes the connection for one value that is larger", function()
    for _, way in pairs(ways) do
      local db <close> = connect({ max_result = MIB }, way)
      local before <const> = descriptors()
      local err = failed("result_too_large", db:query "SELECT repeat('x', 8000000)")
      assert.is_nil(err.completed)
      assert.is_true(descriptors() < before)
      lost(db, err)
      assert.is_true(db:reset())
      usable(db)
    end
  end)
end)

describe("pg.limits (S121, S122)", function()
  local before

  before_each(function() before = pg.limits() end)
  after_each(function() pg.limits(before) end)

  it("says 60 s and 10 MiB, the ceilings, until the host says something else", function()
    assert.equal(60, before.timeout)
    assert.equal(10 * MIB, before.max_result)
    assert.is_false(before.lock)
    local now = pg.limits { timeout = 300, max_result = 2 ^ 28 }
    assert.same({ timeout = 300, max_result = 2 ^ 28, lock = false,
      saved_only = before.saved_only }, now)
  end)

  it("raises: what was refused before is allowed then", function()
    local db <close> = connect()
    raises("pg.limits", function() db:query { query = "SELECT 1", timeout = 100 } end)
    raises("pg.limits", function() db:query { query = "SELECT 1", max_result = 2 ^ 24 } end)
    raises("pg.limits", function() db:with { timeout = 60.001 } end)
    raises("pg.limits", function()
      pg.connect(support.merge(server.options, { timeout = math.huge }))
    end)
    pg.limits { timeout = 100, max_result = math.huge }
    assert(db:query { query = "SELECT 1", timeout = 100 })
    assert.equal(12 * MIB,
      #one(db:with { max_result = math.huge }, "SELECT repeat('x', $1)", 12 * MIB))
  end)

  it("lowers at once, for connections and handles that are open already", function()
    local db <close> = connect { timeout = 50, max_result = 5 * MIB }
    local handle <const> = db:with { timeout = 40 }
    local suspended = coroutine.wrap(function()
      return handle:query(coroutine.yield())
    end)
    suspended()
    pg.limits { timeout = 0.1, max_result = 100 }
    assert.equal(0.1, failed("query_timeout", db:query(LONG)).limit)
    assert.equal(0.1, failed("query_timeout", suspended(LONG)).limit)
    assert.equal(100, failed("result_too_large", db:query "SELECT repeat('x', 100)").limit)
    usable(db)
    pg.limits(before)
    assert(handle:query "SELECT repeat('x', 100), pg_sleep(0.2)")
  end)

  it("names the ceiling when it was what stopped the statement", function()
    pg.limits { timeout = 0.1, max_result = 100 }
    local db <close> = connect()
    contains(table.concat(failed("query_timeout", db:query(LONG)).fixes, "\n"), "pg.limits")
    contains(table.concat(failed("result_too_large",
      db:query "SELECT repeat('x', 100)").fixes, "\n"), "pg.limits")
    local err = failed("query_timeout", db:query { query = LONG, timeout = 0.05 })
    support.lacks(table.concat(err.fixes, "\n"), "pg.limits")
  end)

  local wrong = {
    { { timeout = 0 }, "timeout" }, { { timeout = -1 }, "timeout" },
    { { timeout = 0 / 0 }, "timeout" }, { { timeout = "5" }, "timeout" },
    { { max_result = 0 }, "max_result" }, { { max_result = {} }, "max_result" },
    { { lock = 1 }, "lock" }, { { saved_only = "yes" }, "saved_only" },
    { { tiemout = 5 }, "did you mean 'timeout'?" }, { { 5 }, "number key" },
    { 5, "table expected" }, { { timeout = 5, max_result = -1 }, "max_result" },
  }
  for i, case in ipairs(wrong) do
    it(("refuses what is wrong, and changes nothing then: %s (%d)"):format(case[2], i), function()
      raises(case[2], function() pg.limits(case[1]) end)
      assert.same(before, pg.limits())
    end)
  end

  it("can be locked: then nothing in that Lua state raises them", function()
    local output, errors, code = support.child [[
      local pg = require "pg"
      local function refused(what)
        local ok, message = pcall(pg.limits, what)
        assert(not ok and message:find "locked", message)
      end
      pg.limits { timeout = 30, max_result = 1000, lock = true }
      refused { timeout = 31 }
      refused { max_result = math.huge }
      refused { lock = false }
      refused { timeout = 1, max_result = 1001 }
      assert(pg.limits().timeout == 30 and pg.limits().lock)
      assert(pg.limits { timeout = 5 }.timeout == 5)
      refused { timeout = 6 }
      package.loaded["pg.core"], package.loaded.pg = nil, nil
      assert(require "pg".limits().timeout == 5)
      local ok, message = pcall(require "pg".limits, { timeout = 60 })
      assert(not ok and message:find "locked")
      print "locked"
    ]]
    assert.equal("", errors)
    assert.equal("locked\n", output)
    assert.equal(0, code)
  end)
end)

describe("an abandoned statement", function()
  it("is cleared away however much later the next call comes (E6)", function()
    local db <close> = connect { timeout = 1 }
    debug.sethook(function() error "enough" end, "", 1000)
    local ok, message = pcall(db.query, db, "SELECT pg_sleep(0.9)")
    debug.sethook()
    assert.is_false(ok)
    assert.matches("enough", message)
    assert.equal("busy", db:status().state)
    eventually(function() return state_of(db:status().pid) ~= "active" end)
    assert(watch:query "SELECT pg_sleep(1.2)") -- longer than the second that a cancel may take
    assert.equal(1, one(db, "SELECT 1"))
    usable(db)
  end)

  --- A connection whose statement was left by a coroutine after so many waits.
  local function left(steps, sql, before)
    local yields = false
    local db = connect { wait = function() return yields and coroutine.yield() end }
    if before then assert(db:execute(before)) end
    yields = true
    local thread = coroutine.create(function() return db:query(sql) end)
    for _ = 1, steps do assert(coroutine.resume(thread)) end
    coroutine.close(thread)
    yields = false
    return db
  end

  it("leaves no notices to the next one", function()
    local db <close> = left(5, "SELECT pg_temp.loud(i), pg_sleep(0.02) "
      .. "FROM generate_series(1, 1000) AS i", [[
      CREATE FUNCTION pg_temp.loud(i int) RETURNS int LANGUAGE plpgsql
        AS 'BEGIN RAISE NOTICE ''n%'', i; RETURN i; END']])
    assert.same({}, assert(db:query "SELECT 1"):notices())
  end)

  it("that gives no end of rows is cleared away, too", function()
    local db <close> = left(3, "SELECT repeat('x', 1000), generate_series(1, 1000000000)")
    assert.equal(1, one(db, "SELECT 1"))
    usable(db)
  end)
end)

describe("memory", function()
  local shadow <const> = os.getenv "ASAN_OPTIONS" and 2 or 1 -- what a sanitizer adds

  for i, case in ipairs(peaks) do
    it(("stays near a limit of 10 MiB: %s over %s"):format(case[1], case[2]), function()
      if not case.pipe then
        pending "peak memory is read from /proc/self/status, which is not here"
      end
      local bytes, kind, state = case.pipe:read("a"):match "^(%S+)\t(%S+)\t(%S+)\n$"
      case.pipe:close()
      measure_one(i + 2)
      assert.equal(case[4], kind .. " " .. state)
      assert.is_true(bytes / MIB < case[5] * shadow, ("%.1f MiB"):format(bytes / MIB))
    end)
  end
end)
