-- SPDX-License-Identifier: MIT
-- db:transaction and db:dry_run on a real server: what is committed is what should be, whatever the
-- function does, and whatever happens to it.
local core = require "pg.core"
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed <const>, raises <const>, same <const> = support.failed, support.raises, support.same
local value <const>, contains <const>, must <const> =
  support.value, support.contains, support.must

local server, other, db, conn_of_wait

setup(function()
  server = assert(throwaway.start { tcp = true,
    settings = { deadlock_timeout = "50ms", log_statement = "all" } })
  other = assert(pg.connect(server.options))
end)

teardown(function()
  other:close()
  server:stop()
end)

before_each(function()
  assert(other:execute [[
DROP TABLE IF EXISTS child, t;
CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
CREATE TABLE child (t int REFERENCES t DEFERRABLE INITIALLY DEFERRED)]])
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

describe("a transaction", function()
  it("S094: commits, and returns what its function returned, nils included", function()
    local packed = table.pack(db:transaction(function(tx)
      must(add(tx, 1))
      return 1, nil, "x", nil
    end))
    same({ n = 4, 1, nil, "x", nil }, packed)
    assert.equal("1", ids())
    idle()
  end)

  it("returns true when its function returned nothing", function()
    same({ n = 1, true }, table.pack(db:transaction(function(tx) must(add(tx, 1)) end)))
    same({ n = 1, false }, table.pack(db:transaction(function() return false end)))
    assert.equal("1", ids())
  end)

  -- Each stores 1 first; { what the function does then, the kind of the error that comes back }.
  local rolled_back <const> = {
    ["raises an error object (T1)"] = { function(tx) must(tx:query "SELEC") end, "syntax_error" },
    ["ignores a server's error (T2)"] = { function(tx) tx:query "SELEC" end, "syntax_error" },
    ["ignores an error and tries to go on (T2)"] = { function(tx)
      add(tx, 1)
      local err = failed("transaction_failed", add(tx, 2))
      assert.equal("constraint_violation", err.cause.kind)
      return "fine"
    end, "constraint_violation", second = true },
    ["asserts on a statement after the one that failed"] = { function(tx)
      tx:query "SELEC"
      must(add(tx, 2))
    end, "syntax_error" },
    ["ignores a parameter that was refused before sending"] = { function(tx)
      tx:query("SELECT $1::int", print)
    end, "invalid_parameter" },
    ["ignores an action that was refused"] = { function(tx) tx:update "SELECT 1" end,
      "wrong_action" },
    ["ignores a form that was refused"] = { function(tx) tx:delete { table = "t" } end,
      "invalid_parameter" },
    ["ignores what db refused, not tx"] = { function() db:query "SELEC" end, "syntax_error" },
    ["ignores what another handle refused"] = { function(tx)
      tx:with { timeout = 5 }:query "SELEC"
    end, "syntax_error" },
    ["ignores an insert that was refused"] = { function(tx) tx:insert("t", { id = "x" }) end,
      "invalid_value" },
    ["ignores a result over the limit"] = { function(tx)
      tx:with { max_result = 1000 }:query "SELECT repeat('x', 10000)"
    end, "result_too_large" },
    ["runs COMMIT (T7)"] = { function(tx) tx:execute "COMMIT" end, "wrong_action" },
    ["runs BEGIN (T7)"] = { function(tx) tx:execute "BEGIN" end, "wrong_action" },
    ["runs START TRANSACTION (T7)"] = { function(tx) tx:query "start transaction" end,
      "wrong_action" },
    ["runs END (T7)"] = { function(tx) tx:query "/* x */ end" end, "wrong_action" },
    ["runs COMMIT after a semicolon (T7)"] = { function(tx) tx:query ";commit" end,
      "wrong_action" },
    ["runs ROLLBACK (T7)"] = { function(tx) tx:execute "ROLLBACK" end, "wrong_action" },
    ["runs ABORT (T7)"] = { function(tx) tx:execute "ABORT" end, "wrong_action" },
    ["runs ROLLBACK AND CHAIN (T7)"] = { function(tx) tx:execute "ROLLBACK /**/ AND Chain" end,
      "wrong_action" },
    ["prepares it for two-phase commit"] = { function(tx)
      tx:execute "PREPARE /* to */ TRANSACTION 'x'"
    end, "wrong_action" },
    ["runs a script that rolls back (T7)"] = { function(tx)
      tx:execute "SELECT 1; ROLLBACK"
      failed("transaction_failed", add(tx, 2))
    end, "transaction_failed", whole = true },
    ["runs a script that rolls back and chains (T7)"] = { function(tx)
      tx:execute "SELECT 1; ROLLBACK AND -- x\n CHAIN; INSERT INTO t VALUES (2)"
    end, "transaction_failed", whole = true },
    ["runs a script that begins another one (T7)"] = { function(tx)
      tx:execute "SELECT 1; ROLLBACK; BEGIN; INSERT INTO t VALUES (2)"
    end, "transaction_failed", whole = true },
    ["has a statement that was left in the middle"] = { function(tx)
      local hooked <close> = setmetatable({}, { __close = function() debug.sethook() end })
      local till <const> = core.now() + 0.2
      debug.sethook(function() if core.now() > till then error "stop" end end, "", 1000)
      pcall(tx.query, tx, "SELECT pg_sleep(30)")
      debug.sethook()
      failed("transaction_failed", add(tx, 2))
      return hooked
    end, "transaction_failed" },
    ["rolls back to a savepoint of its own after a failure"] = { function(tx)
      must(tx:execute "SAVEPOINT mine")
      tx:query "SELEC"
      failed("transaction_failed", tx:execute "ROLLBACK TO SAVEPOINT mine")
    end, "syntax_error" },
    ["leaves a constraint for COMMIT to find (T3)"] = { function(tx)
      must(tx:execute "INSERT INTO child VALUES (42)")
    end, "constraint_violation", whole = true },
    ["closes the connection"] = { function() db:close() end, "transaction_failed", whole = true },
  }
  for title, case in pairs(rolled_back) do
    it("stores nothing when its function " .. title, function()
      local err = failed(case[2], db:transaction(function(tx)
        must(add(tx, 1))
        return case[1](tx)
      end))
      assert.equal("", ids())
      assert.is_true(#err.fixes > 0)
      if db:status().state ~= "closed" then
        idle()
        assert(db:transaction(function(tx) must(add(tx, 7)) end))
        assert.equal("7", ids())
      end
    end)

    if not case.second then
      it("stores nothing when all that its function does is that it " .. title, function()
        failed(case[2], db:transaction(case[1]))
        if db:status().state ~= "closed" then idle() end
        assert.equal("", ids())
      end)
    end

    if not case.whole then -- these concern the whole of it
      it("inside of another one loses only itself when its function " .. title, function()
        must(db:transaction(function(tx)
          must(add(tx, 8))
          failed(case[2], tx:transaction(function(inner)
            must(add(inner, 1))
            return case[1](inner)
          end))
          must(add(tx, 9))
        end))
        assert.equal("8 9", ids())
      end)
    end
  end

  for _, script in ipairs { "SELECT 1; ROLLBACK", "SELECT 1; COMMIT; BEGIN" } do
    it("with " .. script .. " in an inner one is lost as a whole, which is told", function()
      failed("transaction_failed", db:transaction(function(tx)
        failed("transaction_failed", tx:transaction(function(inner) inner:execute(script) end))
        failed("transaction_failed", add(tx, 3))
      end))
      idle()
      assert.equal("", ids())
    end)
  end

  it("cannot take back a script's own COMMIT, but tells of it (T7)", function()
    failed("transaction_failed", db:transaction(function(tx)
      must(tx:execute "INSERT INTO t VALUES (1); COMMIT; BEGIN")
      add(tx, 2)
    end))
    assert.equal("1", ids())
    idle()
  end)

  it("keeps its deadline when its function runs nothing", function()
    local function work() local till <const> = core.now() + 0.05; repeat until core.now() > till end
    local err = failed("query_timeout", db:transaction(work, { deadline = 0.02 }))
    assert.is_false(err.completed)
    assert.is_true(db:transaction(work, { deadline = 5 }))
    idle()
  end)

  it("stores nothing when its function returns nil or false and an error", function()
    for _, first in ipairs { false, "nil" } do
      local packed = table.pack(db:transaction(function(tx)
        must(add(tx, 1))
        return first == false and false or nil, "not today", 3
      end))
      same({ n = 3, first == false and false or nil, "not today", 3 }, packed)
    end
    assert.equal("", ids())
    idle()
  end)

  it("raises again what is no error of the module, unchanged, after ROLLBACK (T1)", function()
    local object <const> = setmetatable({}, { __tostring = function() return "mine" end })
    for _, raised in ipairs { "text", object, 7, false } do
      local ok, again = pcall(db.transaction, db, function(tx)
        must(add(tx, 1))
        error(raised, 0)
      end)
      assert.is_false(ok)
      assert.equal(raised, again)
      idle()
    end
    local ok, again = pcall(db.transaction, db, function() error() end)
    same({ false, nil }, { ok, again })
    assert.equal("", ids())
  end)

  it("returns an error object unchanged, with the place that raised it (T1)", function()
    local mine
    local _, err = db:transaction(function(tx)
      mine = select(2, tx:query "SELEC")
      error(mine)
    end)
    assert.equal(mine, err)
    contains(err.traceback, "transaction_spec.lua")
  end)

  it("takes tx and db in its function for the same, and tx no longer after it", function()
    local kept, derived
    assert(db:transaction(function(tx)
      kept, derived = tx, tx:with { timeout = 3 }
      must(add(tx, 1))
      assert.equal(1, value(db, "SELECT count(*) FROM t"))
      must(add(db, 2))
    end))
    assert.equal("1 2", ids())
    raises("the transaction has ended", function() kept:query "SELECT 1" end)
    raises("the transaction has ended", function() derived:query "SELECT 1" end)
    raises("the transaction has ended", function() kept:transaction(print) end)
    must(db:query "SELECT 1")
    kept:close()
    idle()
  end)

  it("keeps the settings of its handle", function()
    local answer = db:with { rows = "array" }:transaction(function(tx)
      return tx:query "SELECT 1".rows[1]
    end)
    same({ 1 }, answer)
  end)

  it("has the isolation and the access that it asks for", function()
    for isolation, readonly in pairs { ["read committed"] = false, ["repeatable read"] = true,
      serializable = true } do
      local got = assert(db:transaction(function(tx)
        return { value(tx, "SELECT current_setting('transaction_isolation')"),
          value(tx, "SELECT current_setting('transaction_read_only')"),
          value(tx, "SELECT current_setting('transaction_deferrable')") }
      end, { isolation = isolation, readonly = readonly, deferrable = readonly }))
      local switch <const> = readonly and "on" or "off"
      same({ isolation, switch, switch }, got)
    end
    failed("read_only", db:transaction(function(tx) add(tx, 1) end, { readonly = true }))
  end)

  it("raises on wrong arguments at the caller's line", function()
    local f <const> = function() end
    raises("a transaction takes a function", function() db:transaction() end)
    raises("options must be a table", function() db:transaction(f, 3) end)
    raises("did you mean 'isolation'", function() db:transaction(f, { isolaton = "x" }) end)
    raises("isolation must be", function() db:transaction(f, { isolation = "SERIALIZABLE; x" }) end)
    raises("readonly must be true or false", function() db:transaction(f, { readonly = 1 }) end)
    raises("retries must be an integer", function() db:transaction(f, { retries = -1 }) end)
    raises("retries must be an integer", function() db:dry_run(f, { retries = 1.5 }) end)
    raises("deadline must be a number", function() db:transaction(f, { deadline = 0 }) end)
    raises("belongs to the outermost", function()
      assert(db:transaction(function(tx) tx:transaction(f, { retries = 1 }) end))
    end)
    idle()
    assert.is_true(db:transaction(f))
  end)

  it("is a savepoint in a transaction that the program began itself", function()
    assert(db:execute "BEGIN")
    must(add(db, 1))
    failed("syntax_error", db:transaction(function(tx)
      add(tx, 2)
      tx:query "SELEC"
    end))
    assert(db:transaction(function(tx) add(tx, 3) end))
    assert.equal("transaction", db:status().state)
    assert(db:execute "COMMIT")
    assert.equal("1 3", ids())
  end)

  it("answers the failure of one that the program began itself and that has failed", function()
    assert(db:execute "BEGIN")
    db:query "SELEC"
    local err = failed("transaction_failed", db:transaction(function() error "not reached" end))
    assert.equal("syntax_error", err.cause.kind)
    assert(db:execute "ROLLBACK")
  end)
end)

describe("a transaction inside of another one", function()
  it("is a savepoint: kept or lost alone, as deep as it goes (T6)", function()
    local function nest(tx, depth)
      must(add(tx, depth))
      if depth < 20 then
        tx:transaction(function(inner)
          nest(inner, depth + 1)
          if depth % 5 == 4 then error(select(2, core.fail { kind = "query_failed" })) end
        end)
      end
    end
    assert(db:transaction(function(tx) nest(tx, 1) end))
    assert.equal("1 2 3 4", ids())
  end)

  it("leaves no savepoint behind", function()
    local log = support.logged(server, function()
      must(db:transaction(function(tx)
        tx:transaction(function(inner) inner:query "SELEC" end)
        tx:transaction(function(inner) inner:query "SELECT 1" end)
      end))
    end)
    local begun, ended = {}, {}
    for name in log:gmatch " SAVEPOINT (pg_%x+)\n" do begun[name] = true end
    for name in log:gmatch "RELEASE SAVEPOINT (pg_%x+)" do ended[name] = true end
    assert.is_not_nil(next(begun))
    same(begun, ended)
  end)

  it("is refused once the outer one has failed", function()
    failed("syntax_error", db:transaction(function(tx)
      tx:query "SELEC"
      failed("transaction_failed", tx:transaction(function() error "not reached" end))
    end))
  end)

  it("may be begun on db, too", function()
    assert(db:transaction(function()
      must(add(db, 1))
      failed("syntax_error", db:transaction(function()
        add(db, 2)
        must(db:query "SELEC")
      end))
    end))
    assert.equal("1", ids())
  end)

  it("lets what it raises pass the outer one, which rolls back", function()
    local ok, message = pcall(db.transaction, db, function(tx)
      add(tx, 1)
      tx:transaction(function() error("deep", 0) end)
    end)
    same({ false, "deep" }, { ok, message })
    assert.equal("", ids())
    idle()
  end)
end)

describe("a dry run", function()
  it("S098: returns what its function returned, and stores nothing", function()
    same({ 7, 8 }, { db:dry_run(function(tx)
      must(add(tx, 1))
      return 7, 8
    end) })
    assert.equal("", ids())
    idle()
  end)

  it("fails as a transaction does, but for constraints that only COMMIT would check", function()
    failed("syntax_error", db:dry_run(function(tx) tx:query "SELEC" end))
    assert.is_true(db:dry_run(function(tx) tx:execute "INSERT INTO child VALUES (42)" end))
  end)

  it("inside of a transaction takes back only its own", function()
    assert(db:transaction(function(tx)
      add(tx, 1)
      tx:dry_run(function(dry) add(dry, 2) end)
    end))
    assert.equal("1", ids())
  end)
end)

describe("a transaction that conflicts with another session's", function()
  local rival
  before_each(function() rival = assert(pg.connect(server.options)) end)
  after_each(function() rival:close() end)

  -- Fails with 40001 as often as `times` says, then succeeds.
  local function conflict(times, options)
    must(other:execute "INSERT INTO t VALUES (1, 0)")
    local tries = 0
    local answer, err = db:transaction(function(tx)
      tries = tries + 1
      local n = value(tx, "SELECT n FROM t WHERE id = 1")
      if tries <= times then must(rival:update "UPDATE t SET n = n + 10 WHERE id = 1") end
      must(tx:update("UPDATE t SET n = $1 WHERE id = 1", n + 1))
      return tries
    end, options)
    return answer, err, tries
  end

  it("is not run again unless told so (T5)", function()
    local answer, err, tries = conflict(1, { isolation = "serializable" })
    assert.equal(true, failed("serialization_failure", answer, err).retryable)
    assert.equal(1, tries)
  end)

  it("is run again after serialization_failure, as often as told (T5)", function()
    assert.equal(3, conflict(2, { isolation = "repeatable read", retries = 2 }))
    assert.equal(21, value(other, "SELECT n FROM t"))
  end)

  it("gives up after its retries with the last error (T5)", function()
    local answer, err, tries = conflict(9, { isolation = "repeatable read", retries = 2 })
    failed("serialization_failure", answer, err)
    assert.equal(3, tries)
  end)

  it("gives up when the deadline would pass (T5)", function()
    local answer, err, tries = conflict(math.huge,
      { isolation = "repeatable read", retries = 1000, deadline = 0.3 })
    failed("serialization_failure", answer, err)
    assert.is_true(tries < 20)
    idle()
  end)

  it("is not run again for other errors, nor for what the program raises", function()
    local tries = 0
    local function count(f)
      return function(tx)
        tries = tries + 1
        return f(tx)
      end
    end
    local function wrong(tx) tx:query "SELEC" end
    failed("syntax_error", db:transaction(count(wrong), { retries = 3 }))
    pcall(db.transaction, db, count(function() error "x" end), { retries = 3 })
    assert.equal(2, tries)
  end)

  it("is run again after a serialization_failure at COMMIT", function()
    must(other:execute "INSERT INTO t VALUES (1, 0), (2, 0)")
    local tries = 0
    must(rival:execute "BEGIN ISOLATION LEVEL SERIALIZABLE")
    assert(db:transaction(function(tx)
      tries = tries + 1
      must(tx:query "SELECT sum(n) FROM t")
      must(tx:update "UPDATE t SET n = 1 WHERE id = 1")
      if tries == 1 then
        must(rival:query "SELECT sum(n) FROM t")
        must(rival:update "UPDATE t SET n = 1 WHERE id = 2")
        must(rival:execute "COMMIT")
      end
    end, { isolation = "serializable", retries = 3 }))
    assert.equal(2, tries)
  end)

  it("is not run again when a script of it has committed", function()
    local tries = 0
    local err = failed("serialization_failure", db:transaction(function(tx)
      tries = tries + 1
      tx:execute(([[INSERT INTO t VALUES (%d); COMMIT; BEGIN;
        DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$]]):format(tries))
    end, { retries = 3 }))
    assert.is_false(err.retryable)
    assert.equal(1, tries)
    assert.equal("1", ids())
  end)

  it("is not run again inside of a transaction begun meanwhile", function()
    local slept = false
    local conn <close> = assert(pg.connect(support.merge(server.options, {
      wait = function(fd)
        if fd or slept then return false end
        slept = true
        coroutine.wrap(function()
          conn_of_wait:execute "BEGIN; INSERT INTO t VALUES (5)"
        end)()
        return true
      end })))
    conn_of_wait = conn
    coroutine.wrap(function()
      failed("transaction_failed", conn:transaction(function(tx)
        tx:execute "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$"
      end, { retries = 1 }))
    end)()
    assert.is_true(slept)
    assert.equal("transaction", conn:status().state)
    assert(conn:execute "ROLLBACK")
    assert.equal("", ids())
  end)

  it("is run again after deadlock_detected, and both go through (T5)", function()
    must(other:execute "INSERT INTO t VALUES (1, 0), (2, 0)")
    local loop <const> = scheduler()
    local tries, done = 0, 0
    local function lock_both(first, second)
      local conn <close> = assert(pg.connect(support.merge(server.options, { wait = loop.wait })))
      assert(conn:transaction(function(tx)
        tries = tries + 1
        must(tx:update("UPDATE t SET n = n + 1 WHERE id = $1", first))
        if tries <= 2 then must(tx:query "SELECT pg_sleep(0.1)") end
        must(tx:update("UPDATE t SET n = n + 1 WHERE id = $1", second))
      end, { retries = 5 }))
      done = done + 1
    end
    loop.spawn(lock_both, 1, 2)
    loop.spawn(lock_both, 2, 1)
    loop.run()
    assert.equal(2, done)
    assert.is_true(tries >= 3)
    same({ { 2 }, { 2 } }, other:with { rows = "array" }:query "SELECT n FROM t".rows)
    local sleeps = 0
    for _, call in ipairs(loop.calls) do
      if not call.fd then sleeps = sleeps + 1 end
    end
    assert.is_true(sleeps > 0) -- the event loop went on during the back-off
  end)
end)

describe("a transaction's deadline", function()
  it("ends a statement, and nothing is stored", function()
    local err = failed("query_timeout", db:transaction(function(tx)
      add(tx, 1)
      tx:query "SELECT pg_sleep(30)"
    end, { deadline = 0.3 }))
    assert.is_true(err.elapsed < 10)
    assert.equal("", ids())
    idle()
  end)

  it("refuses statements and COMMIT once it has passed", function()
    for _, more in ipairs { true, false } do
      failed("query_timeout", db:transaction(function(tx)
        must(add(tx, 1))
        local till <const> = core.now() + 0.1
        repeat until core.now() > till
        if more then failed("query_timeout", add(tx, 2)) end
      end, { deadline = 0.1 }))
      assert.equal("", ids())
      idle()
    end
    assert.is_true(db:transaction(function() end, { deadline = 0.2 }))
    must(db:query "SELECT pg_sleep(0.4)") -- it counts no longer
  end)
end)

describe("a savepoint of the program's own in a transaction", function()
  it("may have any name, and be rolled back to", function()
    must(db:transaction(function(tx)
      must(tx:execute "SAVEPOINT supply_and_chain")
      must(add(tx, 1))
      must(tx:execute "rollback to supply_and_chain")
      must(add(tx, 2))
      must(tx:execute "ROLLBACK WORK TO SAVEPOINT supply_and_chain; RELEASE supply_and_chain")
      must(add(tx, 3))
    end))
    assert.equal("3", ids())
  end)

  it("that an inner one rolls back to loses the whole, not the connection", function()
    local answer, err = db:transaction(function(tx)
      must(tx:execute "SAVEPOINT mine")
      tx:transaction(function(inner)
        must(inner:execute "ROLLBACK TO SAVEPOINT mine")
        return nil, "no"
      end)
      add(tx, 2)
    end)
    assert.is_nil(answer)
    assert.is_not_nil(err)
    idle()
    assert.equal("", ids())
  end)
end)

describe("the error of a statement in a transaction", function()
  it("does not say that changes stand, which are rolled back", function()
    local _, err = db:transaction(function(tx)
      tx:query { query = "INSERT INTO t SELECT n FROM generate_series(1, 9999) n RETURNING id",
        max_result = 1000 }
    end)
    assert.equal("result_too_large", err.kind)
    assert.is_false(err.completed)
    contains(err.message, "its transaction is rolled back")
    assert.equal("", ids())
  end)

  it("at COMMIT says that it may be run again", function()
    assert(other:execute "INSERT INTO t VALUES (1, 0), (2, 0)")
    local rival <close> = assert(pg.connect(server.options))
    assert(rival:execute "BEGIN ISOLATION LEVEL SERIALIZABLE")
    local err = failed("serialization_failure", db:transaction(function(tx)
      must(tx:query "SELECT sum(n) FROM t")
      must(tx:update "UPDATE t SET n = 1 WHERE id = 1")
      must(rival:query "SELECT sum(n) FROM t")
      must(rival:update "UPDATE t SET n = 1 WHERE id = 2")
      must(rival:execute "COMMIT")
    end, { isolation = "serializable" }))
    assert.is_true(err.retryable)
  end)
end)

describe("a transaction behind PgBouncer", function()
  it("holds, nested ones and readonly included (L8)", function()
    if not pgbouncer.found() then return pending "PgBouncer is not installed" end
    local pooler <close> = pgbouncer.start(server, { "default_pool_size = 1" })
    local conn <close> = assert(pg.connect(pooler.options))
    assert(conn:transaction(function(tx)
      must(add(tx, 1))
      failed("constraint_violation", tx:transaction(function(inner) add(inner, 1) end))
      must(add(tx, 2))
    end))
    assert.equal("1 2", ids())
    local reader <close> = assert(pg.connect(support.with(pooler.options, { readonly = true })))
    failed("read_only", reader:transaction(function(tx) add(tx, 3) end))
    assert.equal(2, reader:transaction(function(tx) return value(tx, "SELECT count(*) FROM t") end))
    assert(conn:transaction(function(tx) must(add(tx, 4)) end))
    assert.equal("1 2 4", ids())
  end)
end)
