-- SPDX-License-Identifier: MIT
-- db:transaction when coroutines, connections or servers go away in the middle: what is committed
-- is what should be, and the next transaction is a whole one.
local core = require "pg.core"
local faultproxy = require "spec.fault.faultproxy"
local mock = require "spec.fault.mock"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local socket = require "socket"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed <const>, raises <const>, value <const>, must <const> =
  support.failed, support.raises, support.value, support.must

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
DROP TABLE IF EXISTS t;
CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)]])
  db = assert(pg.connect(server.options))
end)

after_each(function() db:close() end)

-- What other sessions see.
local function ids()
  return table.concat(assert(other:query { query = "SELECT id FROM t ORDER BY id",
    rows = "columns" }).rows.id, " ")
end

local function add(tx, id) return tx:execute("INSERT INTO t (id) VALUES ($1)", id) end

local function idle() assert.equal("idle", db:status().state) end

describe("a transaction whose coroutine goes away", function()
  local function begin(after)
    local thread = coroutine.create(function()
      db:transaction(function(tx)
        must(add(tx, 1))
        coroutine.yield()
        if after then after(tx) end
      end)
    end)
    assert(coroutine.resume(thread))
    assert.equal("transaction", db:status().state)
    return thread
  end

  it("is committed when it goes on", function()
    assert(coroutine.resume(begin()))
    assert.equal("1", ids())
  end)

  it("is rolled back when the coroutine is closed (T8)", function()
    coroutine.close(begin())
    idle()
    assert.equal("", ids())
    assert(db:transaction(function(tx) add(tx, 2) end))
    assert.equal("2", ids())
  end)

  it("is rolled back by the next statement when the coroutine was collected (T8)", function()
    begin()
    collectgarbage()
    collectgarbage()
    assert.equal(0, value(db, "SELECT count(*) FROM t"))
    idle()
    begin()
    collectgarbage()
    collectgarbage()
    assert(db:transaction(function(tx) add(tx, 2) end))
    assert.equal("2", ids())
  end)

  it("is rolled back when it is closed in the middle of a statement (T8, T12)", function()
    local loop <const> = scheduler()
    local conn <close> = assert(pg.connect(support.merge(server.options, { wait = loop.wait })))
    local thread = loop.spawn(function()
      conn:transaction(function(tx)
        must(add(tx, 1))
        tx:query "SELECT generate_series(1, 100000), pg_sleep(0.001)"
      end)
    end)
    support.eventually(function()
      loop.step()
      return value(other, [[SELECT count(*) FROM pg_stat_activity WHERE query LIKE
        'SELECT generate_series(1, 100000)%']]) == 1
    end)
    coroutine.close(thread)
    assert.equal("idle", conn:status().state)
    assert.equal("", ids())
  end)

  it("is not entered by another coroutine as if it were its own", function()
    local thread <const> = begin()
    raises("in a transaction of another coroutine", function() db:transaction(print) end)
    coroutine.close(thread)
    assert.is_true(db:transaction(function() end))
  end)

  it("is rolled back when a transaction inside of it was left in the middle", function()
    local thread
    failed("transaction_failed", db:transaction(function(tx)
      thread = coroutine.create(function() tx:transaction(coroutine.yield) end)
      assert(coroutine.resume(thread))
      add(tx, 1)
    end))
    coroutine.close(thread)
    idle()
    assert.equal("", ids())
  end)

  -- What another coroutine's first statement has to ask before it is sent, or BEGIN itself.
  local asking <const> = {
    ["a type"] = function(tx) return tx:execute("INSERT INTO m VALUES ($1)", { "low" }) end,
    ["the type of a value"] = function(tx)
      return tx:execute("INSERT INTO m VALUES (ARRAY[$1])", pg.typed("low", "level"))
    end,
    ["BEGIN"] = function(tx) return tx:execute "INSERT INTO m VALUES (NULL); SELECT 1" end,
  }
  for what, statement in pairs(asking) do
    it("lets no statement of another coroutine out alone that was asking for " .. what, function()
      must(other:execute "CREATE TYPE level AS ENUM ('low'); CREATE TABLE m (l level[])")
      finally(function() must(other:execute "DROP TABLE m; DROP TYPE level") end)
      for _, ends in ipairs { "returns", "raises", "refuses", "is closed" } do
        local conn <close> = must(pg.connect(support.merge(server.options, {
          wait = coroutine.yield })))
        local asker
        local thread = coroutine.create(function()
          return conn:transaction(function(tx)
            asker = coroutine.create(statement)
            assert(coroutine.resume(asker, tx))
            if ends == "raises" then error("no", 0) end
            if ends == "is closed" then coroutine.yield "here" end
            if ends == "refuses" then return nil, "no" end
          end)
        end)
        local ok, answer = coroutine.resume(thread)
        if ends == "is closed" then
          assert.equal("here", answer)
          coroutine.close(thread)
        end
        assert.is_true(ends == "refuses" or ends == "is closed" or not ok)
        support.eventually(function()
          assert(coroutine.resume(asker))
          return coroutine.status(asker) == "dead"
        end)
        assert.equal(0, value(other, "SELECT count(*) FROM m"), ends)
        coroutine.wrap(function() must(conn:query "SELECT 1") end)()
      end
    end)
  end

  it("yields inside of its function, and to an event loop", function()
    local loop <const> = scheduler()
    local order = {}
    local function work(id)
      local conn <close> = assert(pg.connect(support.merge(server.options, { wait = loop.wait })))
      assert(conn:transaction(function(tx)
        must(add(tx, id))
        order[#order + 1] = id
        must(tx:query "SELECT pg_sleep(0.2)")
        order[#order + 1] = id
      end))
    end
    loop.spawn(work, 1)
    loop.spawn(work, 2)
    loop.run()
    assert.equal("1 2", ids())
    assert.not_equal(order[1], order[2])
  end)
end)

describe("a transaction that something interrupts", function()
  -- Nothing of what is left of it may reach the next one.
  local function sound(conn)
    must(other:execute "DELETE FROM t")
    local message = select(2, pcall(conn.transaction, conn, function()
      for i = 1, 30 do must(add(conn, i)) end
      collectgarbage()
      for i = 31, 60 do must(add(conn, i)) end
      error("no", 0)
    end))
    assert.equal("no", message)
    assert.equal("", ids())
    must(conn:transaction(function() must(add(conn, 1)) end))
    must(add(conn, 2))
    collectgarbage()
    assert.equal("1 2", ids())
    assert.equal("idle", conn:status().state)
  end

  -- Calls f; a hook raises once, after so many instructions. Did it?
  local function interrupted(count, f)
    local raised = false
    local function hook()
      debug.sethook()
      raised = true
      error("stop", 0)
    end
    pcall(function()
      debug.sethook(hook, "", count)
      f()
      debug.sethook()
    end)
    return raised
  end

  it("at any instruction of it leaves nothing behind", function()
    local count, seen = 1, 0
    repeat
      local raised = interrupted(count, function()
        db:transaction(function(tx)
          tx:transaction(function(inner) inner:query "SELECT 1" end)
        end)
      end)
      if count % 25 == 1 or not raised then sound(db) end
      count, seen = count + 1, seen + 1
      assert.is_true(seen < 5000)
    until not raised
    assert.is_true(seen > 100)
  end)

  it("in a coroutine that dies of it leaves nothing behind, held or not", function()
    local count, threads = 1, {}
    repeat
      local raised, first = false, threads[count % 50 + 1]
      assert.is_true(not first or coroutine.status(first) == "dead")
      local thread = coroutine.create(function()
        db:transaction(function(tx)
          tx:transaction(function(inner) inner:query "SELECT 1" end)
        end)
      end)
      debug.sethook(thread, function()
        debug.sethook(thread)
        raised = true
        error("stop", 0)
      end, "", count)
      coroutine.resume(thread)
      threads[count % 50 + 1] = thread
      if count % 25 == 1 then
        must(other:execute "DELETE FROM t")
        must(add(db, 99))
        assert.equal("99", ids())
        sound(db)
      end
      count = count + 1
    until not raised
    assert.is_true(count > 100)
    sound(db)
  end)

  it("and whose tx somebody keeps is rolled back all the same", function()
    local kept
    local thread = coroutine.create(function()
      db:transaction(function(tx)
        kept = tx
        must(add(tx, 1))
        coroutine.yield()
      end)
    end)
    assert(coroutine.resume(thread))
    thread = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    raises("the transaction has ended", function() kept:query "SELECT 1" end)
    sound(db)
  end)

  it("in a transaction of the program's own takes back only itself", function()
    assert(db:execute "BEGIN")
    must(add(db, 1))
    local thread = coroutine.create(function()
      db:transaction(function(tx)
        must(add(tx, 2))
        coroutine.yield()
      end)
    end)
    assert(coroutine.resume(thread))
    thread = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    must(add(db, 3))
    assert(db:execute "COMMIT")
    assert.equal("1 3", ids())
  end)

  it("by a refused SAVEPOINT takes back nothing", function()
    assert(db:execute "BEGIN")
    must(add(db, 1))
    assert(db:execute "SAVEPOINT s")
    db:query "SELEC"
    failed("transaction_failed", db:transaction(function() error "not reached" end))
    assert(db:execute "ROLLBACK TO SAVEPOINT s")
    must(add(db, 2))
    assert(db:execute "COMMIT")
    assert.equal("1 2", ids())
  end)

  it("by the end of the outer one does not touch the next one", function()
    local thread
    failed("transaction_failed", db:transaction(function(tx)
      thread = coroutine.create(function() tx:transaction(coroutine.yield) end)
      assert(coroutine.resume(thread))
    end))
    local err = failed("invalid_parameter", db:transaction(function(tx)
      must(add(tx, 1))
      tx:query("SELECT $1::int", print)
      assert(coroutine.resume(thread))
    end))
    assert.equal(1, err.parameter)
    assert.equal("", ids())
    failed("transaction_failed", db:transaction(function(tx)
      thread = coroutine.create(function() tx:transaction(coroutine.yield) end)
      assert(coroutine.resume(thread))
    end))
    must(db:transaction(function(tx)
      must(add(tx, 1))
      assert.is_true(coroutine.close(thread))
      must(add(tx, 2))
    end))
    assert.equal("1 2", ids())
    idle()
  end)

  it("by an inner one that was collected is rolled back", function()
    failed("transaction_failed", db:transaction(function(tx)
      local thread = coroutine.create(function() tx:transaction(coroutine.yield) end)
      assert(coroutine.resume(thread))
      thread = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      add(tx, 1)
    end))
    assert.equal("", ids())
    idle()
  end)

  it("by a statement that was left after the server had done it is rolled back", function()
    local stop
    local function wait(fd, _, seconds)
      if not stop then return false end
      stop = false
      local object = { getfd = function() return fd end, dirty = function() return false end }
      assert(#socket.select({ object }, nil, seconds) == 1) -- the answer is there
      error("stop", 0)
    end
    local conn <close> = assert(pg.connect(support.merge(server.options, { wait = wait })))
    coroutine.wrap(function()
      failed("transaction_failed", conn:transaction(function(tx)
        stop = true
        assert.is_false(pcall(add, tx, 1))
        return "fine"
      end))
    end)()
    assert.equal("", ids())
    assert.equal("idle", conn:status().state)
  end)

  it("in the middle of a script of another coroutine is rolled back", function()
    local thread
    local function wait()
      if coroutine.running() == thread then error("stop", 0) end
      return false
    end
    local conn <close> = assert(pg.connect(support.merge(server.options, { wait = wait })))
    failed("transaction_failed", conn:transaction(function(tx)
      must(add(tx, 1))
      thread = coroutine.create(function() conn:execute "SELECT 1; ROLLBACK AND CHAIN" end)
      assert.is_false(coroutine.resume(thread))
      add(tx, 2)
    end))
    assert.equal("", ids())
    assert.equal("idle", conn:status().state)
  end)

  it("keeps its first error when another coroutine's statement is still under way", function()
    local loop <const> = scheduler()
    local conn <close> = assert(pg.connect(support.merge(server.options, { wait = loop.wait })))
    local message, done
    loop.spawn(function()
      message = select(2, pcall(conn.transaction, conn, function(tx)
        must(add(tx, 1))
        loop.spawn(function()
          conn:query "SELECT pg_sleep(0.1)"
          done = true
        end)
        error("mine", 0)
      end))
    end)
    loop.run()
    assert.equal("mine", message)
    assert.is_true(done)
    assert.equal(0, value(conn, "SELECT count(*) FROM t"))
    assert.equal("idle", conn:status().state)
  end)

  it("by a statement left in the middle before it begins all the same", function()
    local loop <const> = scheduler()
    local conn <close> = assert(pg.connect(support.merge(server.options, { wait = loop.wait })))
    coroutine.close(loop.spawn(function() conn:query "SELECT pg_sleep(30)" end))
    assert.is_true(conn:transaction(function(tx) must(add(tx, 1)) end))
    assert.equal("1", ids())
  end)

  it("after it has failed, or past its deadline, leaves the connection usable", function()
    for _, deadline in ipairs { false, 0.05 } do
      local thread = coroutine.create(function()
        db:transaction(function(tx)
          must(add(tx, 1))
          if not deadline then tx:query "SELEC" end
          coroutine.yield()
        end, { deadline = deadline or nil })
      end)
      assert(coroutine.resume(thread))
      if deadline then os.execute "sleep 0.1" end
      assert.is_true(coroutine.close(thread))
      idle()
      assert.equal("", ids())
    end
  end)
end)

describe("a transaction whose connection", function()
  local function through(f)
    local proxy <close> = faultproxy.start(program, { host = "127.0.0.1",
      port = server.tcp.port, user = "postgres", password = server.tcp.password,
      database = "postgres", sslmode = "disable" })
    local conn <close> = assert(pg.connect(proxy.options))
    f(conn, proxy)
  end

  it("is lost before COMMIT's answer is commit_unknown, and is not run again (T4)", function()
    through(function(conn, proxy)
      local tries = 0
      local err = failed("commit_unknown", conn:transaction(function(tx)
        tries = tries + 1
        must(add(tx, 1))
        proxy:send "at down C 1 cut 0"
      end, { retries = 5 }))
      assert.equal(1, tries)
      assert.is_false(err.retryable)
      assert.equal("connection_lost", err.cause.kind)
      assert.equal("1", ids()) -- it was: nobody could know
      assert.equal("lost", conn:status().state)
    end)
  end)

  it("is lost in its function stores nothing, whatever the function does (T9)", function()
    through(function(conn, proxy)
      local err = failed("connection_lost", conn:transaction(function(tx)
        must(add(tx, 1))
        proxy:send "cut up 0"
        pcall(function() must(tx:query "SELECT 1") end)
        tx:query "SELECT 2"
        return "fine"
      end))
      assert.is_table(err)
      assert.equal("", ids())
      must(conn:reset())
      assert(conn:transaction(function(tx) add(tx, 2) end))
      assert.equal("2", ids())
    end)
  end)

  it("is lost in an inner one alone is known not to be committed", function()
    through(function(conn, proxy)
      failed("connection_lost", conn:transaction(function(tx)
        must(add(tx, 1))
        tx:transaction(function(inner)
          proxy:send "cut up 0"
          inner:query "SELECT 1"
        end)
        return "fine"
      end))
    end)
  end)

  it("is lost at an inner one's SAVEPOINT answers that", function()
    through(function(conn, proxy)
      failed("connection_lost", conn:transaction(function(tx)
        must(add(tx, 1))
        proxy:send "cut up 0"
        tx:transaction(function() error "not reached" end)
        return "fine"
      end))
    end)
  end)

  it("is frozen past its deadline is given up soon", function()
    through(function(conn, proxy)
      local started <const> = core.now()
      failed("query_timeout", conn:transaction(function(tx)
        must(add(tx, 1))
        proxy:send "stall both"
        local till <const> = core.now() + 0.2
        repeat until core.now() > till
      end, { deadline = 0.2 }))
      assert.is_true(core.now() - started < 20)
      assert.equal("lost", conn:status().state)
    end)
    support.eventually(function() return ids() == "" end)
  end)

  it("is ended by idle_in_transaction_session_timeout is known not to be committed", function()
    assert(db:execute "SET idle_in_transaction_session_timeout = 100")
    local pid <const> = db:status().pid
    local err = failed("connection_lost", db:transaction(function(tx)
      must(add(tx, 1))
      support.eventually(function()
        return value(other, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == 0
      end)
    end))
    assert.equal("25P03", err.sqlstate)
    assert.equal("", ids())
  end)

  it("is lost in an inner one, and made anew, is not committed", function()
    through(function(conn, proxy)
      failed("transaction_failed", conn:transaction(function(tx)
        must(add(tx, 1))
        failed("connection_lost", tx:transaction(function(inner)
          proxy:send "cut up 0"
          inner:query "SELECT 1"
        end))
        must(conn:reset())
      end))
      assert.equal("", ids())
    end)
  end)

  it("is lost at ROLLBACK answers the first error (T10)", function()
    through(function(conn, proxy)
      failed("syntax_error", conn:transaction(function(tx)
        must(add(tx, 1))
        tx:query "SELEC"
        proxy:send "cut up 0"
      end))
      assert.equal("lost", conn:status().state)
      assert.equal("", ids())
    end)
  end)
end)

describe("a server that", function()
  -- Answers each statement with its tag and what it says of the transaction.
  local function scripted(answers)
    return mock.start(function(session)
      session:startup()
      session:welcome { server_version = "15.1", client_encoding = "UTF8", DateStyle = "ISO, MDY",
        IntervalStyle = "postgres", server_encoding = "UTF8", standard_conforming_strings = "on" }
      local n = 0
      while true do
        local kind = session:read(1)
        if not kind or kind == "X" then return end
        session:read(string.unpack(">I4", session:read(4)) - 4)
        if kind == "Q" or kind == "S" then
          local answer = n == 0 and { "SELECT 0", "I" } or answers[n] -- the set-up comes first
          n = n + 1
          if not answer then return end
          if kind == "S" then
            session:send "1"
            session:send "2"
            session:send "n"
          end
          if answer[1] then
            session:send("C", string.pack("z", answer[1]))
          else
            session:send("E", "SERROR\0VERROR\0CXX000\0Mno\0\0")
          end
          session:send("Z", answer[2])
        end
      end
    end)
  end

  local begun <const>, set <const> = { "BEGIN", "T" }, { "SET", "T" }
  local cases <const> = {
    { "answers COMMIT by ROLLBACK (T2)", { begun, set, { "ROLLBACK", "I" } },
      "transaction_failed", "idle" },
    { "answers COMMIT and stays in the transaction",
      { begun, set, { "COMMIT", "T" }, { "ROLLBACK", "I" } }, "transaction_failed", "idle" },
    { "answers BEGIN and opens no transaction", { { "BEGIN", "I" } }, "transaction_failed",
      "idle" },
    { "refuses BEGIN", { { false, "I" } }, "query_failed", "idle", sql = "BEGIN" },
    { "refuses BEGIN that goes with a statement", { { false, "I" } }, "query_failed", "idle",
      sql = "BEGIN", first = function(tx) tx:query "SELECT 1" end },
    { "refuses ROLLBACK (T10)", { begun, set, { false, "T" } }, "wrong_action", "lost",
      after = function(tx) tx:update "SELECT 1" end },
    { "is in an unknown state after COMMIT (T11)", { begun, set, { "COMMIT", "?" } },
      "commit_unknown", "lost" },
    { "goes away at COMMIT (T4)", { begun, set }, "commit_unknown", "lost" },
  }
  for _, case in ipairs(cases) do
    it(case[1] .. " is not taken for one that has committed", function()
      local mocked <close> = scripted(case[2])
      mock.call(function()
        local conn <close> = assert(pg.connect(mocked.options))
        local err = failed(case[3], conn:transaction(function(tx)
          if case.first then case.first(tx) else tx:execute "SET a = 1;" end
          if case.after then case.after(tx) end
        end))
        if case.sql then assert.equal(case.sql, err.sql) end
        assert.equal(case[4], conn:status().state)
      end)
    end)
  end
end)
