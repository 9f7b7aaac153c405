-- SPDX-License-Identifier: MIT
-- Notifications, on a real server, directly and through PgBouncer.
local core = require "pg.core"
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed, must, raises, same = support.failed, support.must, support.raises, support.same

local server, ways, teller

setup(function()
  server = assert(throwaway.start { ssl = true })
  teller = must(pg.connect(server.options))
  ways = {
    ["a Unix socket"] = server.options,
    TCP = support.with(server.tcp, { sslmode = "disable" }),
    TLS = support.with(server.tcp, { sslmode = "require" }),
  }
end)

teardown(function()
  if teller then teller:close() end
  if server then server:stop() end
end)

local function connect(more) return must(pg.connect(support.with(server.options, more or {}))) end

local function tell(channel, payload)
  must(teller:query("SELECT pg_notify($1, $2)", channel, payload))
end

describe("db:notification", function()
  for _, way in ipairs { "a Unix socket", "TCP", "TLS" } do
    it("gives what NOTIFY sent, in order, over " .. way, function()
      local db <close> = must(pg.connect(ways[way]))
      assert.is_true(must(db:listen "jobs"))
      tell("jobs", "one")
      tell("jobs", "")
      tell("elsewhere", "not for us")
      tell("jobs", ("x"):rep(7999))
      for _, payload in ipairs { "one", "", ("x"):rep(7999) } do
        same({ channel = "jobs", payload = payload, pid = teller:status().pid },
          must(db:notification(5)))
      end
      same({ n = 1 }, table.pack(db:notification(0)))
      assert.equal(42, support.value(db, "SELECT 41 + 1"))
    end)
  end

  it("keeps what comes during other statements", function()
    local db <close> = connect()
    must(db:listen "jobs")
    for i = 1, 3 do must(db:query("SELECT pg_notify('jobs', $1)", tostring(i))) end
    for _ in db:each "SELECT pg_notify('jobs', 'each') FROM generate_series(1, 2) AS g" do end
    for _, payload in ipairs { "1", "2", "3", "each" } do
      local own = must(db:notification(0))
      same({ payload, db:status().pid }, { own.payload, own.pid })
    end
  end)

  it("waits so long and no longer, and answers nil then", function()
    local db <close> = connect()
    must(db:listen "jobs")
    local started = core.now()
    assert.is_nil(db:notification(0.2))
    assert.is_true(core.now() - started >= 0.2)
    assert.is_nil(db:with { timeout = 0.1 }:notification())
    assert.equal("idle", db:status().state)
    raises("seconds of 0 or more", function() db:notification(-1) end)
    raises("number expected", function() db:notification "soon" end)
  end)

  it("takes channels by their very names", function()
    local db <close> = connect()
    for _, channel in ipairs { "Jobs", 'odd "name', "ünïcode", ("n"):rep(63) } do
      must(db:listen(channel))
      tell(channel, "x")
      assert.equal(channel, must(db:notification(5)).channel)
    end
    raises("NUL", function() db:listen "a\0b" end)
    raises("string", function() db:listen() end)
  end)

  it("ends with db:unlisten, of one channel or all", function()
    local db <close> = connect()
    for _, channel in ipairs { "a", "b", "c" } do must(db:listen(channel)) end
    assert.is_true(must(db:unlisten "a"))
    tell("a", "x")
    tell("b", "y")
    assert.equal("b", must(db:notification(5)).channel)
    assert.is_true(must(db:unlisten()))
    tell("c", "z")
    assert.is_nil(db:notification(0.1))
  end)

  it("has no place in a transaction, and begins with its COMMIT", function()
    local db <close> = connect()
    must(db:transaction(function(tx)
      must(tx:listen "jobs")
      raises("do not come inside of a transaction", function() tx:notification(0) end)
    end))
    tell("jobs", "x")
    assert.equal("x", must(db:notification(5)).payload)
    assert.is_nil(db:transaction(function(tx)
      must(tx:query "SELECT pg_notify('jobs', 'taken back')")
      return nil, "no"
    end))
    assert.is_nil(db:notification(0.05))
  end)

  it("bounds a flood and tells how many were dropped (L5, R26)", function()
    local db <close> = connect()
    must(db:listen "flood")
    must(teller:query [[
      SELECT pg_notify('flood', g || repeat('x', 100)) FROM generate_series(1, 5000) AS g]])
    must(db:query "SELECT pg_sleep(0.2)")
    local count, dropped = 0, 0
    while true do
      local n = db:notification(0.2)
      if not n then break end
      count, dropped = count + 1, dropped + (n.dropped or 0)
    end
    same({ 1000, 5000 }, { count, count + dropped })
    tell("flood", "after it")
    local last = must(db:notification(5))
    same({ "after it" }, { last.payload, last.dropped })
  end)

  it("tells that the connection was lost (L6)", function()
    for name, options in pairs(ways) do
      local db <close> = must(pg.connect(options))
      must(db:listen "jobs")
      must(teller:query("SELECT pg_terminate_backend($1)", db:status().pid))
      failed("connection_lost", nil, select(2, db:notification(5)))
      assert.equal("lost", db:status().state, name)
      failed("connection_lost", db:notification(0))
    end
  end)

  it("forgets all with db:reset", function()
    local db <close> = connect()
    must(db:listen "jobs")
    must(db:query "SELECT pg_notify('jobs', 'old')")
    must(db:reset())
    assert.is_nil(db:notification(0))
    tell("jobs", "x")
    assert.is_nil(db:notification(0.05))
  end)

  it("is refused through a pooler, where nothing would come (L7)", function()
    if not pgbouncer.found() then return pending "PgBouncer is not installed" end
    local pooler <close> = pgbouncer.start(server)
    local db <close> = must(pg.connect(pooler.options))
    local err = failed("wrong_action", db:listen "jobs")
    support.contains(tostring(err), "a pooler stands between", "leads to the server itself")
  end)

  it("yields under a wait function: others run meanwhile, hooks act under poll", function()
    local loop = scheduler()
    local order = {}
    loop.run(function()
      local db <close> = connect { wait = loop.wait }
      must(db:listen "jobs")
      loop.spawn(function()
        local other <close> = connect { wait = loop.wait }
        must(other:query "SELECT pg_sleep(0.05)")
        order[1] = "other"
        must(other:query "SELECT pg_notify('jobs', 'x')")
      end)
      local n = must(db:notification(5))
      order[#order + 1] = n.payload
    end)
    same({ "other", "x" }, order)
    local db <close> = connect()
    must(db:listen "jobs")
    local limit <const> = core.now() + 0.2
    debug.sethook(function() if core.now() > limit then error "enough" end end, "", 1000)
    local ok, problem = pcall(db.notification, db, 10)
    debug.sethook()
    assert.is_false(ok)
    assert.truthy(tostring(problem):find "enough")
    tell("jobs", "still there")
    assert.equal("still there", must(db:notification(5)).payload)
  end)

  it("is for one coroutine at a time, and ends when it is closed", function()
    local inside = false
    local db <close> = connect { wait = function() return inside and coroutine.yield() end }
    must(db:listen "jobs")
    local thread = coroutine.create(function() db:notification(60) end)
    inside = true
    assert(coroutine.resume(thread))
    inside = false
    raises("busy", function() db:query "SELECT 1" end)
    assert(coroutine.close(thread))
    assert.equal(42, support.value(db, "SELECT 41 + 1"))
    tell("jobs", "x")
    assert.equal("x", must(db:notification(5)).payload)
  end)

  it("of a pool's connection is not the next user's", function()
    local pool <close> = pg.pool(support.with(server.options, { size = 1 }))
    must(pool:use(function(db)
      must(db:listen "jobs")
      return must(db:query "SELECT pg_notify('jobs', 'old')")
    end))
    must(pool:use(function(db)
      tell("jobs", "new")
      assert.is_nil(db:notification(0.05))
      return true
    end))
  end)
end)
