-- SPDX-License-Identifier: MIT
local core = require "pg.core"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local socket = require "socket"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local eventually, failed, raises = support.eventually, support.failed, support.raises

local server, watch, folder

-- Options for pg.connect: `base` (the server's Unix socket) and what else is said.
local function options(more, base)
  return support.merge(base or server.options, more)
end

-- What the server says of a session: "active", "idle", ...; nil once it is gone.
local function state_of(pid)
  local row = assert(watch:query("SELECT state FROM pg_stat_activity WHERE pid = $1", pid)).rows[1]
  return row and row.state
end

local function active(pid) return state_of(pid) == "active" end

-- The session's statement has begun.
local function begun(pid)
  eventually(function() return active(pid) end)
end

-- The session's statement ends long before the 30 s that it would take.
local function stopped(pid)
  eventually(function() return not active(pid) end)
end

-- The session ends.
local function gone(pid)
  eventually(function() return state_of(pid) == nil end)
end

local LONG <const> = "SELECT pg_sleep(30)"

local function usable(db)
  return assert(db:query("SELECT 41 + 1 AS answer")).rows[1].answer == 42
end

-- A connection whose `wait` yields to the test: a coroutine can be left in the middle.
local function suspended(sql)
  local yields = false
  local db = assert(pg.connect(options {
    wait = function() return yields and coroutine.yield() end,
  }))
  yields = true
  local thread = coroutine.create(function() return db:query(sql) end)
  assert(coroutine.resume(thread))
  assert(coroutine.status(thread) == "suspended")
  return db, thread, function() yields = false end
end

setup(function()
  folder = support.folder()
  server = assert(throwaway.start { ssl = true, settings = { max_connections = 40 } })
  watch = assert(pg.connect(server.options))
end)

teardown(function()
  watch:close()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

describe("a wait function", function()
  it("lets three connections of one thread wait at once, and is told what for (E26)", function()
    local loop, sums = scheduler(), {}
    local started = core.now()
    for i = 1, 3 do
      loop.spawn(function()
        local db <close> = assert(pg.connect(options { wait = loop.wait, timeout = 7 }))
        for round = 1, 3 do
          local answer = assert(db:query("SELECT $1::int8 AS n, pg_sleep(0.4)", i * 10 + round))
          sums[i] = (sums[i] or 0) + answer.rows[1].n
        end
      end)
    end
    loop.run()
    assert.are.same({ 36, 66, 96 }, sums)
    assert.is_true(core.now() - started < 2.4, "one after the other would take 3.6 s")
    assert.is_true(#loop.calls >= 12)
    for _, call in ipairs(loop.calls) do
      assert.are.equal("integer", math.type(call.fd))
      assert.is_truthy(call.mode == "r" or call.mode == "w" or call.mode == "rw")
      assert.is_true(call.seconds >= 0 and call.seconds <= 10)
    end
  end)

  -- What the actions do, whoever waits: S010 to S031 in small.
  it("runs the five actions of three connections side by side", function()
    local loop, done = scheduler(), 0
    for i = 1, 3 do
      loop.spawn(function()
        local db <close> = assert(pg.connect(options { wait = loop.wait }))
        local name = "side_" .. i
        local made = assert(db:execute(("CREATE TABLE %s (id serial PRIMARY KEY, v text, "
          .. "a int[])"):format(name)))
        assert.is_true(made.success)
        for n = 1, 20 do
          local row = { v = "value " .. n, a = { i, n } }
          assert.are.same({ insertedId = n, rowCount = 1 }, assert(db:insert(name, row)))
        end
        assert.are.same({ rowCount = 5 },
          assert(db:update("UPDATE " .. name .. " SET v = $1 WHERE id <= $2", "new", 5)))
        assert.are.same({ rowCount = 2 },
          assert(db:delete("DELETE FROM " .. name .. " WHERE id > $1", 18)))
        local all = assert(db:query("SELECT id, v, a FROM " .. name .. " ORDER BY id"))
        assert.are.equal(18, all.rowCount)
        assert.are.same({ id = 18, v = "value 18", a = { i, 18 } }, all.rows[18])
        assert.are.equal("new", all.rows[5].v)
        local err = failed("constraint_violation",
          db:insert(name, { id = 7, v = "twice" }))
        assert.are.equal("unique_violation", err.condition)
        failed("result_too_large", db:query {
          query = "SELECT repeat('x', 1000) FROM generate_series(1, 1000)", max_result = 10000,
        })
        failed("query_timeout", db:query { query = LONG, timeout = 0.1 })
        assert.is_true(usable(db))
        assert(db:execute("DROP TABLE " .. name .. "; SELECT 1"))
        done = done + 1
      end)
    end
    loop.run()
    assert.are.equal(3, done)
  end)

  it("may return early, and without a reason", function()
    local loop, calls = scheduler(), 0
    local function hasty(...)
      calls = calls + 1
      if calls % 5 ~= 0 then return calls % 2 == 0 or nil end
      return loop.wait(...)
    end
    loop.run(function()
      local db <close> = assert(pg.connect(options { wait = hasty }))
      for i = 1, 20 do
        local rows = assert(db:query("SELECT $1::int AS n FROM generate_series(1, 500)", i)).rows
        assert.are.equal(500, #rows)
        assert.are.equal(i, rows[500].n)
      end
      failed("query_timeout", db:query { query = LONG, timeout = 0.1 })
      assert.is_true(usable(db))
    end)
  end)

  it("may answer false: poll takes over", function()
    local calls = 0
    local db <close> = assert(pg.connect(options { wait = function()
      calls = calls + 1
      return false
    end }))
    assert.are.equal(0, calls, "the main thread cannot yield: nobody asks")
    coroutine.wrap(function()
      assert(db:query "SELECT pg_sleep(0.1)")
      failed("query_timeout", db:query { query = LONG, timeout = 0.1 })
      assert.is_true(usable(db))
    end)()
    assert.is_true(calls > 3)
  end)

  it("may be a table that can be called", function()
    local calls = 0
    local wait = setmetatable({}, { __call = function(_, fd)
      calls = calls + 1
      assert(math.type(fd) == "integer")
      return false
    end })
    coroutine.wrap(function()
      local db <close> = assert(pg.connect(options { wait = wait }))
      assert.is_true(usable(db))
    end)()
    assert.is_true(calls > 0)
    for _, value in ipairs { 5, "x", {}, true } do
      raises("wait must be a function", function()
        local db = pg.connect(options { wait = value })
        return db
      end)
    end
  end)

  it("is never asked to wait for ever", function()
    local before <const> = pg.limits()
    finally(function() pg.limits(before) end)
    pg.limits { timeout = math.huge }
    local loop = scheduler()
    loop.run(function()
      local db <close> = assert(pg.connect(options { wait = loop.wait, timeout = math.huge }))
      assert(db:query "SELECT pg_sleep(0.01)")
    end)
    for _, call in ipairs(loop.calls) do
      assert.is_true(call.seconds < 86401)
    end
  end)

  it("may raise: that error comes out, the server stops, the connection stays", function()
    local problem, raising, pid = {}, false, nil
    local loop = scheduler()
    loop.run(function()
      local db <close> = assert(pg.connect(options { wait = function(...)
        if raising and active(pid) then error(problem) end
        return loop.wait(...)
      end }))
      pid = db:status().pid
      raising = true
      local ok, got = pcall(db.query, db, LONG)
      raising = false
      assert.is_false(ok)
      assert.are.equal(problem, got)
      stopped(pid)
      assert.is_true(usable(db))
      assert.are.equal("idle", db:status().state)
    end)
  end)

  it("may raise while it connects", function()
    local loop = scheduler()
    loop.run(function()
      local ok, got = pcall(pg.connect, options { wait = function() error("not now", 0) end })
      assert.is_false(ok)
      assert.are.equal("not now", got)
    end)
  end)

  it("may query another connection, but not the one that waits", function()
    local busy, other
    local db, again
    db = assert(pg.connect(options { wait = function()
      if not again then
        again = true
        other = usable(watch)
        busy = select(2, pcall(db.query, db, "SELECT 1"))
        again = false
      end
      return false
    end }))
    coroutine.wrap(function() assert(db:query "SELECT pg_sleep(0.1)") end)()
    assert.is_true(other)
    assert.is_truthy(tostring(busy):find("busy", 1, true))
    assert.is_true(usable(db))
    db:close()
  end)
end)

describe("a query", function()
  local loop, db

  -- Each place runs f(), which queries, and answers what f did. true: Lua can yield there.
  local places <const> = {
    { "the main chunk", false, function(f) return f() end },
    { "a coroutine", true, function(f) return f() end },
    { "pcall in a coroutine", true, function(f) return select(2, assert(pcall(f))) end },
    { "xpcall with a handler in a coroutine", true, function(f)
      return select(2, assert(xpcall(f, debug.traceback)))
    end },
    { "a comparator of table.sort", false, function(f)
      local answer
      table.sort({ 2, 1 }, function(a, b)
        answer = f()
        return a < b
      end)
      return answer
    end },
    { "a callback of string.gsub", false, function(f)
      local answer
      string.gsub("x", "x", function() answer = f() end)
      return answer
    end },
    { "__index", true, function(f)
      return setmetatable({}, { __index = function() return f() end }).key
    end },
    { "__newindex", true, function(f)
      local answer
      setmetatable({}, { __newindex = function() answer = f() end }).key = 1
      return answer
    end },
    { "__lt", true, function(f)
      local answer
      local x = setmetatable({}, { __lt = function()
        answer = f()
        return true
      end })
      assert(x < x)
      return answer
    end },
    { "__concat", true, function(f)
      return setmetatable({}, { __concat = function() return f() end }) .. "x"
    end },
    { "__close", true, function(f)
      local answer
      do
        local _ <close> = setmetatable({}, { __close = function() answer = f() end })
      end
      return answer
    end },
    { "__close after an error", true, function(f)
      local answer
      local ok = pcall(function()
        local _ <close> = setmetatable({}, { __close = function() answer = f() end })
        error "out"
      end)
      assert(not ok)
      return answer
    end },
    { "the iterator of a for-in loop", true, function(f)
      local last
      for answer in function() return not last and f() or nil end do last = answer end
      return last
    end },
    { "a coroutine of the program's own inside of the loop's", true, function(f)
      return coroutine.wrap(function() return f() end)()
    end },
    { "a generator three coroutines deep", true, function(f)
      return coroutine.wrap(function()
        return coroutine.wrap(function()
          local last
          for answer in coroutine.wrap(function() coroutine.yield(f()) end) do last = answer end
          return last
        end)()
      end)()
    end },
    { "__gc", false, function(f)
      local answer
      setmetatable({}, { __gc = function() answer = f() end })
      collectgarbage()
      return answer
    end },
    { "a chunk that load reads", false, function(f)
      local answer
      local chunk = load(function() answer = f() end)
      assert(chunk)
      return answer
    end },
    { "a module that require runs", false, function(f)
      package.preload["pg.spec.place"] = function() return f() end
      finally(function()
        package.preload["pg.spec.place"], package.loaded["pg.spec.place"] = nil, nil
      end)
      return require "pg.spec.place"
    end },
  }

  before_each(function()
    loop = scheduler()
    db = assert(pg.connect(options { wait = loop.wait }))
  end)

  after_each(function() db:close() end)

  local function ask()
    local answer = assert(db:query("SELECT $1::int + 1 AS n, pg_sleep(0.06)", 41)).rows[1].n
    local err = failed("invalid_value", db:query("SELECT 1 / $1::int", 0))
    failed("query_timeout", db:query { query = "SELECT pg_sleep(5)", timeout = 0.07 })
    return answer .. err.sqlstate
  end

  for _, place in ipairs(places) do
    local where <const>, yields <const>, run <const> = table.unpack(place)
    it("works in " .. where .. " (E8)", function()
      if where == "the main chunk" then
        assert.are.equal("4222012", run(ask))
        assert.are.equal(0, #loop.calls)
        return
      end
      local answer
      loop.run(function() answer = run(ask) end)
      assert.are.equal("4222012", answer)
      assert.are.equal(yields, #loop.calls > 0)
    end)

    -- Lua runs no hooks in a finalizer.
    local hooked <const> = where ~= "__gc"
    it("gives its connection back when a hook raises in it in " .. where, function()
      if not hooked then return end
      local polling <close> = assert(pg.connect(server.options))
      local pid <const> = polling:status().pid
      local raised = false
      pcall(run, function()
        debug.sethook(function()
          if active(pid) then
            debug.sethook()
            raised = true
            error "out of here"
          end
        end, "", 1000)
        polling:query(LONG)
      end)
      assert.is_true(raised)
      stopped(pid)
      assert.is_true(usable(polling))
    end)
  end
end)

describe("a coroutine in the middle of a query", function()
  it("can be closed: the server stops, the connection is usable", function()
    local db, thread, settle = suspended(LONG)
    local pid <const> = db:status().pid
    begun(pid)
    assert.are.equal("busy", db:status().state)
    assert.is_true(coroutine.close(thread))
    settle()
    stopped(pid)
    assert.is_true(usable(db))
    db:close()
  end)

  it("can be collected: the server stops, the connection is usable (E5, E6)", function()
    local db, thread, settle = suspended(LONG) -- luacheck: ignore 231
    local pid <const> = db:status().pid
    begun(pid)
    raises("busy", function()
      local answer = db:query "SELECT 1"
      return answer
    end)
    settle()
    thread = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    stopped(pid)
    assert.is_true(usable(db))
    db:close()
  end)

  it("can be collected together with its connection", function()
    local db, thread = suspended(LONG) -- luacheck: ignore 231
    local pid <const> = db:status().pid
    begun(pid)
    db, thread = nil, nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    gone(pid)
  end)

  it("can die of an error that nobody catches: the connection is usable at once", function()
    local raising = false
    local db = assert(pg.connect(options { wait = function()
      return raising and error("a fault", 0)
    end }))
    local pid <const> = db:status().pid
    local thread = coroutine.create(function() db:query(LONG) end)
    raising = true
    local ok, got = coroutine.resume(thread)
    raising = false
    assert.is_false(ok)
    assert.are.equal("a fault", got)
    assert.are.equal("dead", coroutine.status(thread))
    assert.is_true(usable(db))
    stopped(pid)
    assert.is_false((coroutine.close(thread)))
    assert.is_true(usable(db))
    db:close()
  end)

  it("keeps others away with a clear error, and goes on (E7)", function()
    local loop = scheduler()
    local answer, problem
    loop.run(function()
      local db = assert(pg.connect(options { wait = loop.wait }))
      loop.spawn(function()
        answer = assert(db:query "SELECT pg_sleep(0.2), 7 AS n").rows[1].n
        db:close()
      end)
      for use, sql in pairs { query = "SELECT 1", insert = "nowhere", update = "UPDATE t SET v = 1",
        delete = "DELETE FROM t", execute = "SELECT 1" } do
        problem = raises("the connection is busy", function()
          local result = db[use](db, sql, { v = 1 })
          return result
        end)
      end
      raises("busy", function() db:reset() end)
      assert.are.equal("busy", db:status().state)
    end)
    assert.is_truthy(problem:find "one connection")
    assert.are.equal(7, answer)
  end)
end)

describe("closing a connection", function()
  it("in the middle of another coroutine's query raises there, at once", function()
    local loop = scheduler()
    local problem, pid
    local started = core.now()
    loop.run(function()
      local db = assert(pg.connect(options { wait = loop.wait }))
      pid = db:status().pid
      loop.spawn(function() problem = select(2, pcall(db.query, db, LONG)) end)
      loop.spawn(function()
        begun(pid)
        db:close()
        assert.are.equal("closed", db:status().state)
        raises("closed", function() db:query "SELECT 1" end)
        db:close()
      end)
    end)
    assert.is_truthy(tostring(problem):find("the connection was closed during this call", 1, true))
    assert.is_true(core.now() - started < 10)
    gone(pid)
  end)

  it("leaves the descriptor to whoever waits for it: a number is not used again", function()
    local loop = scheduler()
    local fd, again
    loop.run(function()
      local db = assert(pg.connect(options { wait = loop.wait }))
      loop.spawn(function() pcall(db.query, db, LONG) end)
      fd = loop.calls[#loop.calls].fd
      db:close()
      local other = assert(pg.connect(options { wait = function(number)
        again = number
        return false
      end }))
      other:close()
    end)
    assert.are_not.equal(fd, again)
  end)

  it("in its own wait function raises there", function()
    local db
    db = assert(pg.connect(options { wait = function() db:close() end }))
    coroutine.wrap(function()
      raises("closed during this call", function() db:query(LONG) end)
      raises("closed", function() db:query "SELECT 1" end)
    end)()
  end)

  it("twice is once, and what is used after it says so (E9)", function()
    local db = assert(pg.connect(server.options))
    local with = db:with { timeout = 1 }
    local pid <const> = db:status().pid
    with:close()
    assert.is_true(usable(db), "a handle of with{} closes nothing")
    db:close()
    db:close()
    for _, use in ipairs { "query", "insert", "update", "delete", "execute", "reset", "with",
      "cancel", "ping" } do
      for _, handle in ipairs { db, with } do
        assert.is_truthy(raises("closed", function()
          local answer = handle[use](handle, "SELECT 1", {})
          return answer
        end))
      end
    end
    assert.are.equal("closed", db:status().state)
    assert.is_truthy(tostring(db):find("closed", 1, true))
    gone(pid)
  end)

  it("in a password function ends a reset", function()
    local db, closing
    db = assert(pg.connect(options({ password = function()
      if closing then db:close() end
      return server.tcp.password
    end }, server.tcp)))
    closing = true
    local ok, problem = pcall(db.reset, db)
    assert.is_false(ok)
    assert.is_truthy(tostring(problem):find("closed", 1, true))
    assert.are.equal("closed", db:status().state)
  end)

  it("is refused to methods on another self (E10, E11)", function()
    for _, self in ipairs { 5, "x", {}, io.stdout, coroutine.create(print) } do
      for _, method in ipairs { "close", "query", "status", "with", "reset", "cancel" } do
        assert.is_false((pcall(watch[method], self, "SELECT 1")))
      end
    end
    assert.is_false(getmetatable(watch))
    assert.is_true(usable(watch))
  end)
end)

describe("a host's debug hook", function()
  local db, pid

  before_each(function()
    db = assert(pg.connect(server.options))
    pid = db:status().pid
  end)

  after_each(function()
    debug.sethook()
    db:close()
  end)

  -- Calls f under a hook that raises half a second later, as a host's deadline does.
  local function limited(f, mask, count)
    local limit <const> = core.now() + 0.5
    debug.sethook(function()
      if core.now() > limit then
        debug.sethook()
        error("host deadline", 0)
      end
    end, mask, count)
    local ok, got = pcall(f)
    debug.sethook()
    return ok, got
  end

  for _, case in ipairs {
    { "each 1 instruction", "", 1 }, { "each 1,000 instructions", "", 1000 },
    { "each 1,000,000 instructions", "", 1000000 }, { "each line", "l", 0 },
    { "each call", "c", 0 }, { "each return", "r", 0 },
  } do
    it("by " .. case[1] .. " ends a query in its middle (Q13)", function()
      local started <const> = core.now()
      local ok, got = limited(function() db:query(LONG) end, case[2], case[3])
      assert.is_false(ok)
      assert.are.equal("host deadline", got)
      assert.is_true(core.now() - started < 10)
      stopped(pid)
      assert.is_true(usable(db))
    end)
  end

  it("acts while notices pour in, which are no result", function()
    local ok, got = limited(function()
      db:execute [[DO $$ BEGIN
        FOR i IN 1..100000000 LOOP RAISE NOTICE 'notice %', i; END LOOP;
      END $$]]
    end, "", 1000)
    assert.is_false(ok)
    assert.are.equal("host deadline", got)
    assert.is_true(usable(db))
  end)

  it("acts while rows pour in", function()
    local ok, got = limited(function()
      for _ = 1, 1000 do db:query "SELECT 1::int2 AS x FROM generate_series(1, 300000)" end
    end, "", 1000000)
    assert.is_false(ok)
    assert.are.equal("host deadline", got)
    assert.is_true(usable(db))
  end)

  it("acts while it connects to a host that says nothing", function()
    local silent = assert(socket.bind("127.0.0.1", 0))
    finally(function() silent:close() end)
    local _, port = silent:getsockname()
    local ok, got = limited(function()
      pg.connect { host = "127.0.0.1", port = math.tointeger(tonumber(port)) }
    end, "", 1000)
    assert.is_false(ok)
    assert.are.equal("host deadline", got)
  end)

  it("may close the connection", function()
    local ok, got = limited(function()
      debug.sethook(function()
        if active(pid) then
          debug.sethook()
          db:close()
        end
      end, "", 1000)
      db:query(LONG)
    end, "", 1000)
    assert.is_false(ok)
    assert.is_truthy(tostring(got):find("the connection was closed during this call", 1, true))
    gone(pid)
  end)

  it("may query the same connection: that is refused, and ends the outer query", function()
    local ok, got = limited(function()
      debug.sethook(function()
        if active(pid) then
          debug.sethook()
          db:query "SELECT 1"
        end
      end, "", 1000)
      db:query(LONG)
    end, "", 1000)
    assert.is_false(ok)
    assert.is_truthy(tostring(got):find("busy", 1, true))
    assert.is_true(usable(db))
  end)
end)

describe("Ctrl-C", function()
  -- A child whose program is in a long query when the signal comes. What it prints after.
  local function interrupt(program)
    local file <const> = folder .. "/child.lua"
    local text <close> = assert(io.open(file, "w"))
    text:write("local pg = require 'pg'\nlocal db = assert(pg.connect())\n",
      "print(db:status().pid)\nio.stdout:flush()\n", program)
    text:flush()
    local child = io.popen(("echo $$; exec env %s %s %s 2>&1"):format(server:environment(),
      support.lua, file))
    local process, session = child:read("n", "n")
    begun(session)
    local started <const> = core.now()
    os.execute("kill -INT " .. process)
    local output = child:read("a")
    child:close()
    return output:match "^%s*(.-)%s*$", core.now() - started, session
  end

  it("ends a query: lua says so and goes (Q12)", function()
    local output, seconds, session = interrupt "db:query 'SELECT pg_sleep(30)'"
    assert.is_truthy(output:find("interrupted!", 1, true))
    assert.is_nil(output:find("[string", 1, true))
    assert.is_true(seconds < 10)
    stopped(session)
  end)

  it("ends a query that pcall guards: the connection goes on (Q12)", function()
    local output, seconds = interrupt [[
      local ok, problem = pcall(db.query, db, "SELECT pg_sleep(30)")
      print(ok, problem)
      print(assert(db:query "SELECT 'still here' AS x").rows[1].x, db:status().state)]]
    assert.are.equal("false\tinterrupted!\nstill here\tidle", output)
    assert.is_true(seconds < 10)
  end)
end)
