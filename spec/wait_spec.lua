-- SPDX-License-Identifier: MIT
-- pg.wait.cqueues, pg.wait.luv and pg.wait.copas.
local core = require "pg.core"
local pg = require "pg"
local socket = require "socket"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local LONG <const> = "SELECT pg_sleep(30)"

local server

-- Options for pg.connect: `base` (the server's Unix socket) and what else is said.
local function options(more, base)
  return support.merge(base or server.options, more)
end

local function usable(db)
  return assert(db:query("SELECT 41 + 1 AS answer")).rows[1].answer == 42
end

describe("an event loop", function()
  local loops <const> = {
    cqueues = function(f, n)
      local cqueues = require "cqueues"
      local wait = require "pg.wait.cqueues"
      local controller = cqueues.new()
      for i = 1, n do controller:wrap(f, wait, i) end
      assert(controller:loop())
    end,
    luv = function(f, n)
      local wait = require "pg.wait.luv"
      for i = 1, n do coroutine.wrap(wait.thread(f))(wait, i) end
      require("luv").run()
    end,
    copas = function(f, n)
      local copas = require "copas"
      local wait = require "pg.wait.copas"
      local problem
      for i = 1, n do
        copas.addthread(wait.thread(function()
          local ok, got = pcall(f, wait, i)
          problem = not ok and got or problem
        end))
      end
      copas.loop()
      if problem then error(problem, 0) end
    end,
  }

  -- As much of copas as pg.wait.copas calls, where copas is not installed.
  local function stand_in()
    local queue = {}
    local function sleep(need)
      need.limit = core.now() + (need.limit or math.huge)
      coroutine.yield(need)
    end
    local function attempt(step, set)
      return function(object, ...)
        local answer, problem = object[step](object, ...)
        while answer == nil and problem == "timeout" do
          if object.time_over then return nil, "timeout" end
          sleep { object = object, set = set, limit = object.copas_timeout }
          answer, problem = object[step](object, ...)
        end
        return answer, problem
      end
    end
    local copas = {
      addthread = function(f) queue[coroutine.create(f)] = { limit = 0 } end,
      pause = function(seconds) sleep { limit = seconds or 0 } end,
      settimeout = function(object, seconds) object.copas_timeout = seconds end,
      receivepartial = attempt("receive", "r"),
      send = attempt("send", "w"),
    }
    function copas.loop()
      while next(queue) do
        local sets, limit = { r = {}, w = {} }, core.now() + 30
        for _, need in pairs(queue) do
          if need.set then table.insert(sets[need.set], need.object) end
          limit = math.min(limit, need.limit)
        end
        local r, w = socket.select(sets.r, sets.w, math.max(0, limit - core.now()))
        local ready = {}
        for thread, need in pairs(queue) do
          local over = core.now() >= need.limit
          if over or r[need.object or {}] or w[need.object or {}] then
            if need.object then need.object.time_over = over end
            ready[#ready + 1] = thread
          end
        end
        for _, thread in ipairs(ready) do
          local ok, need = coroutine.resume(thread)
          if not ok then queue = {} end -- what is left of a failure is not the next test's
          assert(ok, need)
          queue[thread] = coroutine.status(thread) ~= "dead" and need or nil
        end
      end
    end
    return copas
  end

  setup(function() server = assert(throwaway.start { ssl = true }) end)

  teardown(function() server:stop() end)

  for name, run in pairs(loops) do
    describe("named " .. name, function()
      setup(function()
        if name == "copas" and not pcall(require, "copas") then
          package.loaded.copas = stand_in()
        end
        require(name)
      end)

      local function connect(wait, more, base)
        more = more or {}
        more.wait = wait
        return assert(pg.connect(options(more, base)))
      end

      it("runs five queries of 0.3 s in well under the 1.5 s that they would take", function()
        local started, sum = core.now(), 0
        run(function(wait, i)
          local db <close> = connect(wait)
            local n <const> = assert(db:query("SELECT $1::int8 AS n, pg_sleep(0.3)", i)).rows[1].n
          sum = sum + n
        end, 5)
        assert.are.equal(15, sum)
        assert.is_true(core.now() - started < 1.2)
      end)

      it("forgets the descriptor, which a large value replaces, and TLS too", function()
        local before <const> = pg.limits()
        finally(function() pg.limits(before) end)
        pg.limits { max_result = 2 ^ 26 }
        local bytes = 0
        run(function(wait, i)
          local db <close> = connect(wait, {}, i == 1 and server.options or server.tcp)
          local row = assert(db:query "SELECT repeat('x', 20000000) AS t").rows[1]
          bytes = bytes + #row.t
          assert.is_true(usable(db))
          local long <const> = ("y"):rep(3000000)
          assert.are.equal(#long, assert(db:query("SELECT length($1) AS n", long)).rows[1].n)
        end, 2)
        assert.are.equal(40000000, bytes)
      end)

      it("keeps timeouts, errors and limits", function()
        local kinds = {}
        run(function(wait)
          local db <close> = connect(wait)
          local function note(_, err) kinds[#kinds + 1] = err.kind end
          note(db:query { query = LONG, timeout = 0.1 })
          note(db:query "SELECT 1 / 0")
          note(db:query { query = "SELECT repeat('x', 1000000)", max_result = 10000 })
          assert(db:reset())
          assert.is_true(usable(db))
        end, 1)
        assert.are.same({ "query_timeout", "invalid_value", "result_too_large" }, kinds)
      end)

      it("sleeps", function()
        local started, woken = core.now(), 0
        run(function(wait)
          assert.is_nil(wait(nil, nil, 0.1))
          assert.is_nil(wait(nil, nil, 0))
          woken = woken + 1
        end, 3)
        assert.are.equal(3, woken)
        assert.is_true(core.now() - started >= 0.09)
      end)

      it("cannot be waited in by a generator inside of its coroutine: poll takes over", function()
        local seen = {}
        run(function(wait)
          local db <close> = connect(wait)
          local function generate()
            for i = 1, 3 do
              coroutine.yield(assert(db:query("SELECT $1::int AS n, pg_sleep(0.06)", i)).rows[1].n)
            end
          end
          for n in coroutine.wrap(generate) do seen[#seen + 1] = n end
          assert.is_true(usable(db))
        end, 1)
        assert.are.same({ 1, 2, 3 }, seen)
        assert.is_false(require("pg.wait." .. name)(0, "r", 1), "nor in the main thread")
      end)

      it("outlives a connection that is closed under a query", function()
        local db, problem
        local finished = 0
        run(function(wait, i)
          if i == 1 then
            db = connect(wait)
            problem = select(2, pcall(db.query, db, LONG))
          else
            repeat wait(nil, nil, 0.02) until db and db:status().state == "busy"
            db:close()
          end
          local other <close> = connect(wait) -- with the descriptor's number, perhaps
          assert.is_true(usable(other))
          finished = finished + 1
        end, 2)
        assert.is_truthy(tostring(problem):find("closed during this call", 1, true))
        assert.are.equal(2, finished)
      end)
    end)
  end

  it("named luv forgets the descriptor of a coroutine that is closed", function()
    local uv = require "luv"
    local wait = require "pg.wait.luv"
    local finished = false
    coroutine.wrap(wait.thread(function()
      local db <close> = assert(pg.connect(options { wait = wait }))
      local thread = coroutine.create(wait.thread(function() db:query(LONG) end))
      assert(coroutine.resume(thread))
      assert.are.equal("suspended", coroutine.status(thread))
      assert(coroutine.close(thread))
      finished = usable(db)
    end))()
    uv.run()
    assert.is_true(finished)
    assert.is_falsy(uv.loop_alive())
  end)
end)
