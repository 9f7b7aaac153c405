-- SPDX-License-Identifier: MIT
-- What a host does to the module: memory that runs out, forks, states by the hundred. The host is
-- spec/fault/oomhost.c.
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains = support.contains

local server, folder, host, sanitized

-- What every script of the host begins with.
local PRELUDE <const> = [[
local pg = require "pg"
local here = {
  host = os.getenv "PGHOST", port = math.tointeger(os.getenv "PGPORT"), user = "postgres",
  database = "postgres",
}
local tls = { -- in clear words: the host may not have the environment
  host = "127.0.0.1", port = here.port, user = "postgres", database = "postgres",
  password = os.getenv "SPEC_PASSWORD", sslmode = "require",
}
local function usable(db)
  return assert(db:query "SELECT 41 + 1 AS answer").rows[1].answer == 42
end
local Wrong = { __tostring = function(self) return "wrong: " .. tostring(self.what) end }
local function expect(condition, what)
  if not condition then error(setmetatable({ what = what }, Wrong)) end
end
]]

-- Runs the host on a script; returns what it printed, its stderr, its exit code.
local function run(command, script, prelude)
  local path <const> = folder .. "/script.lua"
  support.write(path, (prelude or PRELUDE) .. script)
  return support.run(("env %s SPEC_PASSWORD=%s timeout 120 %s %s %s"):format(server:environment(),
    server.tcp.password, host, command, path))
end

-- The script ends well and prints just this.
local function prints(expected, command, script)
  local output, errors, code = run(command, script)
  assert.are.same({ expected, "", 0 }, { output, errors, code })
end

setup(function()
  folder = support.folder()
  local core <const> = assert(package.searchpath("pg.core", package.cpath))
  local file <close> = assert(io.open(core, "rb"))
  sanitized = file:read("a"):find("__asan_init", 1, true) ~= nil
  local flags = support.run("pkg-config --cflags --libs lua5.4 2>/dev/null "
    .. "|| pkg-config --cflags --libs lua"):gsub("%s+$", "")
  if sanitized then flags = "-fsanitize=address,undefined " .. flags end
  host = support.compile(folder, "spec/fault/oomhost.c", "-rdynamic -lpthread " .. flags)
  server = assert(throwaway.start { ssl = true, settings = { max_connections = 60 } })
end)

teardown(function()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

describe("memory that runs out #slow", function()
  -- Only a want of memory may end an attempt: no wrong answer, no other error.
  local VERIFY <const> = [[
  local function only_memory(ok, problem)
    if ok or type(problem) == "table" and problem.kind then return end
    local text = tostring(problem)
    for _, words in ipairs { "memory", "stack overflow", "not found:" } do
      if text:find(words, 1, true) then return end
    end
    error("not for want of memory: " .. text)
  end
  ]]

  local cases <const> = {
    { name = "connect and close", script = [[
      return {
        attempt = function()
          local db <close> = assert(pg.connect(here))
          expect(db:status().state == "idle")
        end,
        verify = only_memory,
      }]] },
    { name = "reset", modes = { "twice" }, script = [[
      local db = assert(pg.connect(here))
      return {
        attempt = function() expect(assert(db:reset())) end,
        verify = function(ok, problem)
          only_memory(ok, problem)
          if db:status().state == "lost" then assert(db:reset()) end
          assert(usable(db))
        end,
      }]] },
    { name = "a connection that fails, by options and by URI", script = [[
      local uri = ("postgresql://postgres:secret@/postgres?host=%s&port=1"):format(here.host)
      return {
        attempt = function()
          for _, way in ipairs { { host = here.host, port = 1, password = "secret" }, uri } do
            local none, err = pg.connect(way)
            expect(not none, "it connected")
            expect(not (tostring(err) .. err:report()):find "secret")
          end
        end,
        verify = only_memory,
      }]] },
    { name = "query, insert, update, execute and an error", script = [[
      local db = assert(pg.connect(here))
      -- Where libpq cannot keep what the server says it may wait for more: the timeout ends that.
      pg.limits { timeout = 0.5 }
      local TABLE <const> = "CREATE TEMP TABLE IF NOT EXISTS oom (id serial PRIMARY KEY, "
        .. "v text, n int)"
      assert(db:execute(TABLE))
      return {
        attempt = function()
          local rows = assert(db:query("SELECT n, 'text ' || n AS t, ARRAY[n, n] AS a, "
            .. "n / 2.0 AS m, now() AS z FROM generate_series(1, $1::int) AS n", 5)).rows
          expect(#rows == 5 and rows[5].t == "text 5" and rows[5].a[2] == 5, "rows")
          local row = assert(db:query("SELECT $1::int[] AS a, $2::jsonb AS j", { 1, 2, 3 },
            { x = { "y" } })).rows[1]
          expect(#row.a == 3 and row.j.x[1] == "y", "an array or json")
          expect(assert(db:insert("oom", { v = "x\\", n = 3 })).insertedId, "an id")
          expect(assert(db:update("UPDATE oom SET n = $1 WHERE v = $2", 4, "none")).rowCount == 0)
          expect(assert(db:execute "SELECT 1; SELECT 2").success)
          expect(#assert(db:query { query = "SELECT 1 AS x", rows = "columns" }).rows.x == 1)
          local none, err = db:query("SELECT 1 / $1::int", 0)
          expect(not none and #err:report() > 0, "no error")
        end,
        verify = function(ok, problem)
          only_memory(ok, problem)
          if db:status().state == "lost" then assert(db:reset()) end -- libpq had no memory
          assert(usable(db))
          assert(db:execute(TABLE))
        end,
      }]] },
    { name = "types that are learnt anew", modes = { "twice", "outside" }, script = [[
      local db = assert(pg.connect(here))
      pg.limits { timeout = 0.5 }
      assert(db:execute [=[DROP TYPE IF EXISTS oom_pair, oom_mood;
        CREATE TYPE oom_mood AS ENUM ('a');
        CREATE TYPE oom_pair AS (n int, m oom_mood, l oom_mood[])]=])
      local SQL <const> = "SELECT ROW(n, 'a', '{a,NULL}')::oom_pair AS p, '{a}'::oom_mood[] AS l "
        .. "FROM generate_series(1, 3) AS n"
      return {
        attempt = function()
          assert(db:execute "DO $$ BEGIN END $$") -- what was learnt is forgotten
          for _ = 1, 2 do
            local rows = assert(db:query(SQL)).rows
            expect(#rows == 3 and rows[3].p.n == 3 and rows[3].p.l[1] == "a", "rows")
            expect(rows[1].l[1] == "a", "an array")
          end
          local row = assert(db:query("SELECT $1::oom_pair AS p", { n = 7, l = { "a" } })).rows[1]
          expect(row.p.n == 7 and row.p.l[1] == "a", "a parameter")
          local both = assert(db:pipeline(function(p) p:query(SQL) p:query(SQL .. " -- 2") end))
          expect(both[2].rows[3].p.n == 3, "a pipeline")
          for streamed in db:each(SQL) do expect(streamed.p.m == "a", "a stream") end
        end,
        verify = function(ok, problem)
          only_memory(ok, problem)
          if db:status().state == "lost" then assert(db:reset()) end
          assert(usable(db))
        end,
      }]] },
    { name = "a pipeline, and one that fails", modes = { "twice", "outside" }, script = [[
      local db = assert(pg.connect(here))
      pg.limits { timeout = 0.5 }
      local TABLE <const> = "CREATE TEMP TABLE IF NOT EXISTS queued (id serial PRIMARY KEY, n int)"
      assert(db:execute(TABLE))
      local long <const> = ("x"):rep(1000)
      return {
        attempt = function()
          local before = assert(db:query "SELECT count(*) AS n FROM queued").rows[1].n
          local results = assert(db:pipeline(function(p)
            for i = 1, 3 do assert(p:insert("queued", { n = i })) end
            assert(p:query("SELECT $1::int[] AS a, $2::text AS t, count(*) AS n FROM queued",
              { 1, 2 }, long))
          end))
          local row = results[4].rows[1]
          expect(#results == 4 and results[3].insertedId and row.a[2] == 2 and row.t == long, "row")
          expect(row.n == before + 3, "all or nothing")
          local none, err = db:pipeline(function(p)
            assert(p:insert("queued", { n = 4 }))
            assert(p:query("SELECT 1 / $1::int", 0))
          end)
          expect(not none and err.index == 2 and #err:report() > 0, "no error")
        end,
        verify = function(ok, problem)
          only_memory(ok, problem)
          if db:status().state == "lost" then assert(db:reset()) end
          assert(usable(db))
          assert(db:execute(TABLE))
          assert(db:query("SELECT count(*) % 3 AS n FROM queued").rows[1].n == 0)
        end,
      }]] },
    { name = "a limit and its cancel", modes = { "twice" }, script = [[
      local db = assert(pg.connect(here))
      return {
        attempt = function()
          local none, err = db:query { query = "SELECT repeat('x', 1000) FROM "
            .. "generate_series(1, 100)", max_result = 5000 }
          expect(not none and err.kind == "result_too_large", err)
        end,
        verify = function(ok, problem)
          only_memory(ok, problem)
          if db:status().state == "lost" then assert(db:reset()) end
          assert(usable(db))
        end,
      }]] },
    { name = "a transaction and one inside of it", modes = { "once", "twice", "outside" },
      script = [[
      local db = assert(pg.connect(here))
      pg.limits { timeout = 0.5 }
      local TABLE <const> = "CREATE TEMP TABLE IF NOT EXISTS oom (try int, half int)"
      assert(db:execute(TABLE))
      local try = 0
      local function insert(tx, half)
        assert(tx:execute("INSERT INTO oom VALUES ($1, $2)", try, half))
      end
      return {
        attempt = function()
          try = try + 1
          expect(assert(db:transaction(function(tx)
            insert(tx, 1)
            local none, err = tx:transaction(function(inner)
              insert(inner, 2)
              inner:query "SELEC"
            end)
            expect(not none and err.kind)
            insert(tx, 3)
            return 7
          end)) == 7)
        end,
        verify = function(ok, problem)
          only_memory(ok, problem)
          if db:status().state == "lost" then assert(db:reset()) end
          assert(usable(db))
          assert(db:status().state == "idle", "left in a transaction")
          assert(db:execute(TABLE))
          local half = assert(db:query "SELECT try FROM oom GROUP BY try HAVING sum(half) <> 4")
          assert(half.rowCount == 0, "half of a transaction was stored")
          if ok then
            local whole = assert(db:query("SELECT 1 FROM oom WHERE try = $1", try))
            assert(whole.rowCount == 2, "nothing was stored")
          end
        end,
      }]] },
    { name = "loading pg.core once more", modes = { "once", "twice", "sticky" }, script = [[
      local core = require "pg.core"
      local db = assert(pg.connect(here))
      pg.limits { timeout = 5, lock = true }
      return {
        attempt = function()
          package.loaded["pg.core"] = nil
          expect(require "pg.core" ~= core)
        end,
        verify = function(ok, problem)
          package.loaded["pg.core"] = core
          only_memory(ok, problem)
          assert(usable(db) and db.insert and db.ping)
          assert(select(2, db:query "SELECT 1 / 0").kind == "invalid_value")
          assert(not pcall(pg.limits, { timeout = 6 }), "the lock is lifted")
        end,
      }]] },
  }

  for _, case in ipairs(cases) do
    for _, mode in ipairs(case.modes or { "once", "twice", "sticky", "limit", "outside" }) do
      it(("(%s) harms nothing in %s (E1, E2, E3, E16)"):format(mode, case.name), function()
        local output, errors, code = run("fail " .. mode, VERIFY .. case.script)
        assert.are.equal("", errors)
        assert.are.equal(0, code)
        if output:find "not here" then return end -- under a sanitizer
        assert.is_true(tonumber(output) > 2, output) -- so many allocations were failed
      end)
    end
  end

  it("is watched by an instrument that sees leaks and wrong answers", function()
    local _, errors, code = run("fail once", [[
      local kept = {}
      return {
        attempt = function() kept[#kept + 1] = assert(pg.connect(here)) end,
        verify = function() end,
      }]])
    assert.are.equal(1, code)
    contains(errors, "leaks")
    _, errors, code = run("fail twice", VERIFY .. [[
      return {
        attempt = function()
          if not pcall(string.rep, "x", 1000) then expect(false, "a lie") end
        end,
        verify = only_memory,
      }]])
    assert.are.equal(1, code)
    contains(errors, "not for want of memory: wrong: a lie")
  end)
end)

describe("a forked child", function()
  -- `db` is the parent's; the child does something and ends, the parent's session lives on.
  local DEEDS <const> = {
    ["closes the connection"] = "db:close()",
    ["collects the connection"] = "db = nil; collectgarbage(); collectgarbage()",
    ["ends and closes its Lua state"] = "",
    ["ends at once"] = "os.exit(0)",
    ["tries to use the connection"] = [[
      for _, use in ipairs { "query", "insert", "update", "delete", "execute", "reset", "ping",
        "with", "cancel" } do
        local ok, problem = pcall(db[use], db, "SELECT 1", { v = 1 })
        expect(not ok and tostring(problem):find("belongs to the process that opened it"), problem)
      end
      assert(#tostring(db) > 0 and db:status())]],
  }

  local FORKING <const> = [[
    local ways = { here, tls }
    for _, way in ipairs(ways) do
      local db = assert(pg.connect(way))
      local pid = db:status().pid
      local child = host.fork()
      if child == 0 then
        %s
        os.exit(0, true)
      end
      local code = host.wait(child)
      expect(code == 0, code)
      for _ = 1, 3 do
        expect(assert(db:query "SELECT pg_backend_pid() AS p").rows[1].p == pid, "the session")
      end
      local none, err = db:query("SELECT 1 / 0")
      expect(not none and err.kind == "invalid_value")
      db:close()
    end
    return 0]]

  for name, deed in pairs(DEEDS) do
    it(name .. ": the parent's session lives on, plain and TLS (E12)", function()
      prints("", "run", FORKING:format(deed))
    end)
  end

  it("ends in the middle of a stream: the parent's stream goes on (E12)", function()
    prints("", "run", [[
      for _, way in ipairs { here, tls } do
        local db <close> = assert(pg.connect(way))
        local count = 0
        for _ in db:each "SELECT g FROM generate_series(1, 100000) AS g" do
          count = count + 1
          if count == 10 then
            local child = host.fork()
            if child == 0 then os.exit(0, true) end
            expect(host.wait(child) == 0)
          end
        end
        expect(count == 100000, count)
      end
      return 0]])
  end)

  -- The same in the middle of the parent's query, and of a large value.
  local MIDDLE <const> = [[
    -- A coroutine that stopped at the n-th wait of its query.
    local function start(way, n, sql)
      local waits, all, db = -1000, {}, nil
      for key, value in pairs(way) do all[key] = value end
      all.wait = function()
        waits = waits + 1
        return waits >= n and coroutine.yield()
      end
      local thread = coroutine.create(function()
        db = assert(pg.connect(all))
        waits = 0
        local row = assert(db:query(sql)).rows[1]
        waits = -1000
        expect(usable(db))
        return #tostring(row.x)
      end)
      assert(coroutine.resume(thread))
      return thread, db
    end
    for _, way in ipairs { here, tls } do
      local thread, db
      repeat -- where the server was so fast that nobody waited, again
        thread, db = start(way, %d, "%s")
      until coroutine.status(thread) == "suspended"
      local child = host.fork()
      if child == 0 then
        %s
        os.exit(0, true)
      end
      local code = host.wait(child)
      expect(code == 0, code)
      local ok, answer
      repeat ok, answer = assert(coroutine.resume(thread)) until coroutine.status(thread) == "dead"
      expect(answer == %d, answer)
      db:close()
    end
    return 0]]

  for _, case in ipairs {
    { "a statement", "SELECT pg_sleep(0.3), 7 AS x", 1, 1 },
    { "a value of 9 MB", "SELECT repeat('x', 9000000) AS x", 3, 9000000 },
  } do
    for name, deed in pairs {
      ["closes the connection"] = "db:close()",
      ["closes the coroutine"] = "coroutine.close(thread)",
      ["collects both"] = "thread, db = nil, nil; collectgarbage(); collectgarbage()",
      ["ends"] = "",
    } do
      it(("in the middle of %s %s: the parent gets its answer (E12)"):format(case[1], name),
        function()
          prints("", "run", MIDDLE:format(case[3], case[2], deed, case[4]))
        end)
    end
  end

  it("has connections of its own", function()
    prints("", "run", [[
      local db = assert(pg.connect(here))
      local child = host.fork()
      if child == 0 then
        local own <close> = assert(pg.connect(here))
        expect(usable(own))
        os.exit(0, true)
      end
      expect(host.wait(child) == 0)
      expect(usable(db))
      return 0]])
  end)
end)

describe("a Lua state", function()
  it("can be closed with connections open and statements running (E4)", function()
    local output, errors, code = run("run", [[
      local db = assert(pg.connect(here))
      db:execute "SELECT set_config('application_name', 'left open', false)"
      kept = {}
      for i = 1, 5 do
        local waiting
        local thread = coroutine.create(function()
          local yields
          local other = assert(pg.connect { host = here.host, port = here.port, user = "postgres",
            database = "postgres", application_name = "left running",
            wait = function() return yields and coroutine.yield() end })
          yields = true
          kept[i + 10] = other
          other:query(i % 2 == 0 and "SELECT pg_sleep(30)" or "SELECT repeat('x', 5000000)")
        end)
        assert(coroutine.resume(thread))
        expect(coroutine.status(thread) == "suspended")
        kept[i] = thread
      end
      -- Finalizers run before, between and after those of the module.
      setmetatable(kept, { __gc = function(t)
        for i = 11, 15 do
          pcall(t[i].query, t[i], "SELECT 1")
          pcall(t[i].reset, t[i])
          t[i]:close()
          assert(#tostring(t[i]) > 0)
        end
      end })
      return 0]])
    assert.are.same({ "", "", 0 }, { output, errors, code })
    local watch <close> = assert(require("pg").connect(server.options))
    support.eventually(function()
      return #assert(watch:query("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE $1",
        "left %")).rows == 0
    end)
  end)

  it("can be closed in the middle of a query, by os.exit in a hook (E17)", function()
    prints("", "run", [[
      local db = assert(pg.connect(here))
      debug.sethook(function() os.exit(0, true) end, "", 1000)
      db:query "SELECT pg_sleep(30)"
      return 1]])
  end)

  it("opened and closed 200 times leaves neither memory nor descriptors (E14)", function()
    local output, errors, code = run("cycle 200", [[
      local db = assert(pg.connect(here))
      expect(usable(db))
      local none, err = db:query "SELECT nothing FROM nowhere"
      expect(not none and #tostring(err) > 0)
      expect(not pg.connect { host = here.host, port = 1 })
      return 0]])
    assert.are.same({ "", 0 }, { errors, code })
    local numbers = {}
    for n in output:gmatch "%d+" do numbers[#numbers + 1] = tonumber(n) end
    assert.are.equal(6, #numbers)
    local descriptors, resident, blocks = numbers[1], numbers[2], numbers[3]
    assert.are.equal(descriptors, numbers[4])
    assert.are.equal(blocks, numbers[6])
    -- Kilobytes, after 160 more states; a sanitizer keeps what is freed for a while.
    assert.is_true(sanitized or numbers[5] - resident < 1024, output)
  end)

  it("can live in a thread of its own, beside others (E13)", function()
    prints("", "threads 8", [[
      for round = 1, 2 do
        for _, way in ipairs { here, tls } do
          local db <close> = assert(pg.connect(way))
          for i = 1, 10 do
            local rows = assert(db:query("SELECT $1::int AS n, repeat('x', 100) AS t "
              .. "FROM generate_series(1, 50)", i)).rows
            expect(#rows == 50 and rows[50].n == i)
          end
          local none, err = db:query { query = "SELECT pg_sleep(30)", timeout = 0.05 }
          expect(not none and err.kind == "query_timeout")
          expect(usable(db))
        end
      end
      return 0]])
  end)

  it("leaves pg.core in memory, with libpq and all that it loaded (E14)", function()
    local output, errors, code = run("cycle 2", [[
      local maps <close> = assert(io.open "/proc/self/maps")
      print(maps:read("a"):find("pg/core.so", 1, true) and "loaded" or "not yet")
      require "pg"
      return 0]], "")
    assert.are.same({ "", 0 }, { errors, code })
    assert.are.equal("not yet loaded", output:match "^(not yet)\n" .. " " ..
      output:match "\n(loaded)\n")
  end)
end)

describe("the module", function()
  -- A child's Lua, whose standard output and errors are kept apart.
  local function child(program)
    return support.child(program, { PGHOST = server.options.host, PGPORT = server.options.port,
      PGUSER = "postgres", PGDATABASE = "postgres" })
  end

  it("prints nothing, on neither stream, whatever the server says (Q18)", function()
    local output, errors, code = child [[
      local pg = require "pg"
      local db = assert(pg.connect())
      assert(db:execute "DO $$ BEGIN RAISE NOTICE 'a'; RAISE WARNING 'b'; RAISE INFO 'c'; END $$")
      assert(db:execute "CREATE TEMP TABLE IF NOT EXISTS t (v int); DROP TABLE IF EXISTS nowhere")
      assert(not db:query "SELECT 1 / 0")
      assert(not db:query { query = "SELECT pg_sleep(30)", timeout = 0.05 })
      assert(not pg.connect { host = "/nonexistent" })
      assert(not pg.connect { password = "x", host = "127.0.0.1", port = 1, sslmode = "disable" })
      pcall(db.query, db, print)
      local other = assert(pg.connect())
      other:query("SELECT pg_terminate_backend($1)", db:status().pid)
      assert(not db:query "SELECT 1")
      assert(not db:query "SELECT 1")
      local thread = coroutine.create(function() other:query "SELECT 1" end)
      coroutine.resume(thread)
    ]]
    assert.are.same({ "", "", 0 }, { output, errors, code })
  end)

  it("sets no globals, and touches nobody else's tables", function()
    local output, errors, code = child [[
      local function names()
        local list = {}
        for name, value in pairs(_G) do
          list[#list + 1] = name
          if type(value) == "table" and value ~= _G and name ~= "package" then
            for key, inner in pairs(value) do
              list[#list + 1] = name .. "." .. tostring(key) .. tostring(inner)
            end
          end
        end
        local meta = getmetatable ""
        for key in pairs(meta) do list[#list + 1] = "string meta " .. key end
        table.sort(list)
        return table.concat(list, "\n")
      end
      pcall(require, "cjson")
      local before = names()
      local hook, locale = debug.gethook(), os.setlocale()
      local pg = require "pg"
      local db = assert(pg.connect())
      assert(db:query "SELECT 1")
      assert(not db:query "SELEC")
      db:close()
      assert(names() == before)
      assert(debug.gethook() == hook and os.setlocale() == locale and getmetatable(_G) == nil)
      assert(getmetatable(print) == nil and getmetatable(nil) == nil and getmetatable(1) == nil)
      assert(debug.getmetatable(coroutine.create(print)) == nil)
    ]]
    assert.are.same({ "", "", 0 }, { output, errors, code })
  end)

  it("loaded twice goes on, and lifts no lock (E25)", function()
    local output, errors, code = child [[
      local pg = require "pg"
      pg.save("kept", {})
      pg.limits { timeout = 5, max_result = 2 ^ 20, saved_only = true, lock = true }
      local db = assert(pg.connect "kept")
      local wrapped = pg.json { x = 1 }
      for name in pairs(package.loaded) do
        if name:find "^pg" then package.loaded[name] = nil end
      end
      local again = require "pg"
      assert(again ~= pg)
      for _, one in ipairs { pg, again } do
        assert(not pcall(one.limits, { timeout = 6 }))
        assert(not pcall(one.limits, { saved_only = false }))
        assert(not pcall(one.limits, { lock = false }))
        assert(not pcall(one.connect, {}))
        assert(not pcall(one.save, "more", {}))
        assert(one.limits().timeout == 5)
        local other <close> = assert(one.connect "kept")
        for _, each in ipairs { db, other } do
          assert(each:query("SELECT $1::jsonb AS j, $2::int[] AS a", wrapped, one.array {})
            .rows[1].j.x == 1)
          assert(each:ping())
          local none, err = each:query "SELECT 1 / 0"
          assert(not none and err.kind == "invalid_value" and tostring(err):find "division")
        end
      end
      package.loaded["pg.core"] = nil
      require "pg.core"
      assert(db:query "SELECT 1" and db.insert and db:ping())
    ]]
    assert.are.same({ "", "", 0 }, { output, errors, code })
  end)
end)
