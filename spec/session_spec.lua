-- SPDX-License-Identifier: MIT
-- A session: how it is set up and kept so, and a connection's life: test, status, ping, reset,
-- close.
local mock = require "spec.fault.mock"
local pg = require "pg"
local socket = require "socket"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, lacks <const>, failed <const> =
  support.contains, support.lacks, support.failed
local with <const>, value <const>, role <const>, sessions <const>, logged <const> =
  support.with, support.value, support.role, support.sessions, support.logged

local server, admin

local function tcp(more)
  return with(server.tcp, more)
end

setup(function()
  server = assert(throwaway.start { tcp = true, settings = { log_statement = "all" } })
  admin = assert(pg.connect(server.options))
end)

teardown(function()
  admin:close()
  server:stop()
end)

describe("the session's set-up", function()
  -- The statements of the log lines.
  local function statements(text)
    local list = {}
    for statement in text:gmatch "LOG:  [%w ]*[statement<>unnamed]+: ([^\n]*)" do
      list[#list + 1] = statement
    end
    return list
  end

  it("is one round trip and changes nothing that stands right", function()
    local log = logged(server, function() assert(pg.connect(server.options)):close() end)
    local list <const> = statements(log)
    assert.equal(1, #list, log)
    lacks(list[1], "DateStyle", "IntervalStyle", "read_only")
    lacks(log, "WARNING", "ERROR")
  end)

  it("asks nothing of the server at start-up that a pooler would refuse (C24)", function()
    local heard <close> = mock.start(function(session)
      session.parameters = session:startup()
    end)
    mock.call(pg.connect, with(heard.options, { name = "n", readonly = true, timeout = 5 }))
    local names = {}
    for name in heard.sessions[1].parameters:gmatch "([^%z]+)%z[^%z]*%z" do
      names[#names + 1] = name
    end
    table.sort(names)
    assert.same({ "application_name", "client_encoding", "database", "user" }, names)
  end)

  it("makes values independent of the role's settings (R11 to R13)", function()
    role(admin, "german", "p")
    assert(admin:execute [[
      ALTER ROLE german SET DateStyle = 'German';
      ALTER ROLE german SET IntervalStyle = 'sql_standard';
      ALTER ROLE german SET extra_float_digits = -15;
      ALTER ROLE german SET bytea_output = 'escape';
      ALTER ROLE german SET TimeZone = 'Asia/Tokyo';
      ALTER ROLE german SET client_encoding = 'LATIN1';
      ALTER ROLE german SET search_path = '';
      ALTER ROLE german SET standard_conforming_strings = off]])
    local db
    local log = logged(server, function()
      db = assert(pg.connect(tcp { user = "german", password = "p" }))
    end)
    assert.equal(1, #statements(log), log)
    assert.same({ d = "2026-01-15", i = "P1DT2H", f = 1 / 3, b = "\\\1\255", e = "UTF8", t = "ä",
      z = "2026-01-15T10:30:00Z" }, assert(db:query([[SELECT date '2026-01-15' AS d,
      interval '1 day 2 hours' AS i, 1 / 3::float8 AS f, decode('5c01ff', 'hex') AS b, 'ä' AS t,
      current_setting('client_encoding') AS e, timestamptz '2026-01-15 10:30:00+00' AS z]]))
      .rows[1])
    db:close()
  end)

  it("makes values independent of the environment (R11 to R13)", function()
    local output, errors = support.child([[
      local row = require "pg".connect():query("SELECT date '2026-01-15' AS d, 1 / 3::float8 AS f, "
        .. "current_setting('client_encoding') AS e").rows[1]
      print(row.d, row.f == 1 / 3, row.e)]], {
      PGHOST = server.dir, PGPORT = server.options.port, PGUSER = "postgres",
      PGDATABASE = "postgres", PGDATESTYLE = "German", PGTZ = "Asia/Tokyo",
      PGCLIENTENCODING = "LATIN1", PGOPTIONS = "-c extra_float_digits=-15",
    })
    assert.same({ "2026-01-15\ttrue\tUTF8\n", "" }, { output, errors })
  end)

  -- What a script does, and the row that comes all the same.
  local row <const> = [[SELECT date '2026-01-15' AS d, interval '1 day 2 hours' AS i,
    1 / 3::float8 AS f, 'ä'::text AS t]]
  local wanted <const> = { d = "2026-01-15", i = "P1DT2H", f = 1 / 3, t = "ä" }
  local changes <const> = {
    "SET DateStyle = German", "SET IntervalStyle = sql_standard", "SET client_encoding = LATIN1",
    "SET extra_float_digits = -15", "SET extra_float_digits TO 0", "RESET ALL", "DISCARD ALL",
    "SET DateStyle = German; SET IntervalStyle = postgres_verbose; SET client_encoding = LATIN1; "
      .. "SET Extra_Float_Digits = -15",
    "BEGIN; SET LOCAL DateStyle = German; SET LOCAL extra_float_digits = -15",
    "SELECT set_config('DateStyle', 'SQL', false), set_config('client_encoding', 'EUC_JP', false)",
  }
  for _, change in ipairs(changes) do
    it(("holds after %s (R24)"):format(change), function()
      role(admin, "changing", "p")
      assert(admin:execute [[ALTER ROLE changing SET extra_float_digits = -15;
        ALTER ROLE changing SET DateStyle = 'SQL, DMY']])
      local db <close> = assert(pg.connect(tcp { user = "changing", password = "p" }))
      assert(db:execute(change))
      assert.same(wanted, assert(db:query(row)).rows[1])
      assert.same(wanted, assert(db:query(row)).rows[1])
      assert(db:execute "ROLLBACK")
      assert.same(wanted, assert(db:query(row)).rows[1])
      assert(admin:execute "DROP ROLE changing")
    end)
  end

  it("waits for the end of a failed transaction to set things back", function()
    local db <close> = assert(pg.connect(server.options))
    assert(db:execute "BEGIN; SET DateStyle = German")
    assert.is_nil(db:query "SELECT 1 / 0")
    failed("transaction_failed", db:query "SELECT 1")
    assert(db:execute "ROLLBACK")
    assert.same(wanted, assert(db:query(row)).rows[1])
  end)

  it("sends the name as application_name, and lua-pg without one (S018)", function()
    for name, expected in pairs { prod = "prod", ["a b"] = "a b", [false] = "lua-pg" } do
      local db <close> = assert(pg.connect(with(server.options, { name = name })))
      assert.equal(expected, value(db, "SHOW application_name"))
    end
  end)

  it("keeps `options` that a user gives", function()
    local db <close> = assert(pg.connect(with(server.options,
      { options = "-c search_path=pg_catalog -c statement_timeout=4321" })))
    assert.equal("4321ms", value(db, "SHOW statement_timeout"))
    assert.equal("pg_catalog", value(db, "SHOW search_path"))
  end)

  it("that the server cuts short is an error, and nothing stays open", function()
    local broken <close> = mock.start(function(session)
      session:startup()
      session:welcome { server_version = "15.1", client_encoding = "UTF8" }
      session:read(20)
      session:fail { S = "ERROR", V = "ERROR", C = "42501", M = "permission denied" }
      session:send("Z", "I")
      session.rest = session:read(1000000)
    end)
    local err = failed("permission_denied", mock.call(pg.connect, broken.options))
    assert.equal("42501", err.sqlstate)
    support.eventually(function()
      mock.call(broken.options.wait, nil, "r", 0)
      return broken.sessions[1].gone
    end)
  end)
end)

describe("notices", function()
  it("never reach stderr, neither while connecting nor later (Q18, S13)", function()
    local output, errors, code = support.child([[
      local pg = require "pg"
      local db = assert(pg.connect())
      assert(db:execute "DO $$ BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w'; END $$")
      for _ = 1, 2 do assert(db:execute "CREATE TEMPORARY TABLE IF NOT EXISTS t ()") end
      print(db:reset())]],
      { PGHOST = server.dir, PGPORT = server.options.port, PGUSER = "postgres",
        PGDATABASE = "postgres", PGOPTIONS = "-c client_min_messages=debug5" })
    assert.same({ "true\n", "", 0 }, { output, errors, code })
  end)

  it("that come before the sign-in ends do not either (Q18)", function()
    local noisy <close> = mock.start(function(session)
      session:startup()
      session:accept()
      for _ = 1, 1000 do
        session:send("N", "SWARNING\0", "C01000\0", "Mthe collation has changed\0", "\0")
      end
      session:welcome { server_version = "9.4", client_encoding = "UTF8" }
      session:read(1)
    end)
    failed("unsupported_version", mock.call(pg.connect, noisy.options))
  end)
end)

describe("readonly = true", function()
  it("makes every transaction read-only: kind read_only (S088)", function()
    local db <close> = assert(pg.connect(with(server.options, { readonly = true })))
    local err = failed("read_only", db:execute "CREATE TABLE nothing ()")
    assert.equal("25006", err.sqlstate)
    assert.equal(1, value(db, "SELECT 1"))
    assert(db:execute "BEGIN")
    failed("read_only", db:insert("pg_class", {}))
    assert(db:execute "ROLLBACK")
    assert(db:reset())
    failed("read_only", db:execute "CREATE TABLE nothing ()")
  end)

  it("survives RESET ALL and DISCARD ALL", function()
    if server.options and value(admin, "SHOW server_version_num") < "140000" then
      return pending "before PostgreSQL 14 the server does not tell"
    end
    local db <close> = assert(pg.connect(with(server.options, { readonly = true })))
    for _, slip in ipairs {
      "RESET ALL", "DISCARD ALL", "SET default_transaction_read_only = off",
    } do
      assert(db:execute(slip))
      failed("read_only", db:execute "CREATE TABLE nothing ()")
    end
  end)
end)

describe("pg.test", function()
  it("makes a round trip and says what it found (S029, S030)", function()
    support.alone(admin)
    local answer
    local log = logged(server, function() answer = assert(pg.test(server.options)) end)
    assert.is_true(answer.success)
    assert.equal(value(admin, "SHOW server_version"):match "^%S+", answer.server)
    assert.same({ "postgres", "postgres", false }, { answer.database, answer.user, answer.ssl })
    assert.is_true(answer.latency > 0 and answer.latency < 5)
    contains(log, "SELECT pg_catalog.current_database()")
    support.alone(admin)
  end)

  it("returns what the server does to it and leaves nothing open (S029)", function()
    support.alone(admin)
    role(admin, "impatient", "p")
    assert(admin:execute "ALTER ROLE impatient SET statement_timeout = '1ms'")
    for _ = 1, 5 do
      local answer, err = pg.test(tcp { user = "impatient", password = "p" })
      assert(answer or err.kind == "query_timeout", err)
    end
    support.alone(admin)
  end)
end)

describe("a connection", function()
  it("tells its state (db:status)", function()
    local db <close> = assert(pg.connect(server.options))
    local pid <const> = value(db, "SELECT pg_backend_pid()")
    assert.same({ state = "idle", pid = pid, ssl = false,
      server = value(db, "SHOW server_version"):match "^%S+" }, db:status())
    assert(db:execute "BEGIN")
    assert.equal("transaction", db:status().state)
    assert.is_nil(db:query "SELECT 1 / 0")
    assert.equal("failed", db:status().state)
    assert(db:execute "ROLLBACK")
    assert.equal("idle", db:status().state)
    assert(admin:query("SELECT pg_terminate_backend($1)", pid))
    support.eventually(function() return not db:ping() end)
    assert.equal("lost", db:status().state)
    db:close()
    assert.same({ state = "closed", ssl = false }, db:status())
  end)

  it("is busy while another coroutine waits for it", function()
    local db <close> = assert(pg.connect(with(server.options, { wait = coroutine.yield })))
    local thread = coroutine.create(function() return db:query "SELECT pg_sleep(60)" end)
    assert(coroutine.resume(thread))
    assert.equal("busy", db:status().state)
    support.raises("busy", function() db:query "SELECT 1" end)
    support.raises("busy", function() db:reset() end)
    assert.is_true(coroutine.close(thread))
  end)

  it("answers a ping with the seconds it took, running nothing", function()
    local db <close> = assert(pg.connect(server.options))
    local seconds = assert(db:ping())
    assert.is_true(seconds > 0 and seconds < 5)
    assert(db:execute "BEGIN")
    assert(db:ping())
    assert.equal("transaction", db:status().state)
  end)

  it("shows name, user, host, database and state, never a password (S6)", function()
    local db = assert(pg.connect(tcp { name = "prod" }))
    assert.equal("prod: postgres@127.0.0.1/postgres (idle)", tostring(db))
    db:close()
    assert.equal("prod: postgres@127.0.0.1/postgres (closed)", tostring(db))
    local other <close> = assert(pg.connect(tcp()))
    assert.equal("pg.connection: postgres@127.0.0.1/postgres (idle)", tostring(other))
    for _, shown in ipairs { tostring(db), pg.encode(other:status()) } do
      lacks(shown, server.tcp.password)
    end
  end)

  it("closes at the end of its block, at close, and when it is collected; twice is once", function()
    support.alone(admin)
    do
      local db <close> = assert(pg.connect(server.options))
      assert.equal(1, sessions(admin))
      db:close()
      db:close()
    end
    do
      local db <close> = assert(pg.connect(server.options))
      assert.equal(1, value(db, "SELECT 1"))
    end
    local forgotten = assert(pg.connect(server.options))
    assert(forgotten:ping())
    forgotten = nil -- luacheck: ignore
    collectgarbage()
    support.alone(admin)
  end)

  it("that the program closed raises for all but close, status and tostring", function()
    local db = assert(pg.connect(server.options))
    db:close()
    for _, name in ipairs { "query", "execute", "ping", "reset", "with", "cancel" } do
      support.raises("closed", function() db[name](db, {}) end)
    end
  end)

  it("that was lost answers with the first cause, until a reset (C19, C20)", function()
    local db <close> = assert(pg.connect(server.options))
    local pid <const> = value(db, "SELECT pg_backend_pid()")
    assert(db:execute "CREATE TEMPORARY TABLE held ()")
    assert(admin:query("SELECT pg_terminate_backend($1)", pid))
    local first
    support.eventually(function()
      local _, err = db:query "SELECT 1"
      first = err
      return err
    end)
    for _ = 1, 2 do
      local err = failed("connection_lost", db:query "SELECT 1")
      assert.equal(first, err.cause)
    end
    assert.is_true(db:reset())
    assert.not_equal(pid, value(db, "SELECT pg_backend_pid()"))
    assert.equal(db:status().pid, value(db, "SELECT pg_backend_pid()"))
    failed("undefined_table", db:query "SELECT * FROM held") -- the session's state has gone
  end)

  it("that a reset did not bring back says why, and can be reset again (C20)", function()
    local port = server.options.port
    local o <const> = { host = server.dir, port = port, user = "postgres", database = "postgres" }
    role(admin, "leaving", "p")
    local password = "p"
    local db <close> = assert(pg.connect(tcp {
      user = "leaving", password = function() return password end,
    }))
    password = "wrong"
    local err = failed("authentication_failed", db:reset())
    local later = failed("connection_lost", db:query "SELECT 1")
    assert.equal(err, later.cause)
    assert.equal("lost", db:status().state)
    password = "p"
    assert(db:reset())
    assert.equal(1, value(db, "SELECT 1"))
    assert(pg.test(o))
  end)

  it("whose set-up fails in a reset is not left half set up", function()
    role(admin, "hindered", "p")
    assert(admin:execute "CREATE DATABASE hindering")
    local here <const> = with(server.options, { database = "hindering" })
    local db <close> = assert(pg.connect(with(here, { user = "hindered", readonly = true })))
    local owner <close> = assert(pg.connect(here))
    assert(owner:execute "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_backend_pid() FROM PUBLIC")
    local err = failed("permission_denied", db:reset())
    assert.equal("lost", db:status().state)
    assert.equal(err, failed("connection_lost", db:query "SELECT 1").cause)
    support.eventually(function() return sessions(admin) == 1 end) -- the owner's
  end)

  it("cannot be reset inside a transaction", function()
    local db <close> = assert(pg.connect(server.options))
    assert(db:execute "BEGIN")
    support.raises("inside a transaction", function() db:reset() end)
    assert.is_nil(db:query "SELECT 1 / 0")
    support.raises("inside a transaction", function() db:reset() end)
    assert(db:execute "ROLLBACK")
    assert(db:reset())
  end)

  it("is reset with its settings, and through any of its handles", function()
    local db <close> = assert(pg.connect(with(server.options, { rows = "array" })))
    local short = db:with { timeout = 0.2 }
    assert(short:reset())
    assert.same({ 1 }, assert(db:query "SELECT 1").rows[1])
    failed("query_timeout", short:query "SELECT pg_sleep(60)")
  end)
end)

describe("connecting in a coroutine", function()
  it("leaves the thread to others while it waits (S014)", function()
    local waits, modes = 0, {}
    local thread = coroutine.wrap(function()
      return pg.connect(tcp {
        wait = function(fd, mode, seconds)
          assert(math.type(fd) == "integer" and seconds <= 10)
          modes[mode] = true
          waits = waits + 1
          coroutine.yield("waiting", fd, mode)
        end,
      })
    end)
    local answer, fd, mode = thread()
    while answer == "waiting" do
      local client = { getfd = function() return fd end } -- luacheck: ignore
      socket.select(mode == "r" and { client } or nil, mode == "w" and { client } or nil, 1)
      answer, fd, mode = thread()
    end
    assert.equal("idle", answer:status().state)
    assert.is_true(waits > 1 and modes.r and modes.w)
    answer:close()
  end)

  it("can be given up in the middle: nothing stays open", function()
    support.alone(admin)
    local hung <close> = mock.start(function(session)
      session:startup()
      session:read(1000)
    end)
    local wait <const> = hung.options.wait
    local thread = coroutine.create(function()
      return pg.connect(with(hung.options, {
        wait = function(...)
          wait(...)
          coroutine.yield()
        end,
      }))
    end)
    for _ = 1, 5 do assert(coroutine.resume(thread)) end
    assert.is_false(hung.sessions[1].gone)
    collectgarbage "stop" -- it does not take a collection
    assert(coroutine.close(thread))
    support.eventually(function()
      mock.call(wait, nil, "r", 0)
      return hung.sessions[1].gone
    end)
    collectgarbage "restart"
    assert.equal(0, sessions(admin))
  end)
end)

describe("what is known of a table", function()
  it("is forgotten when a query sets search_path", function()
    local db <close> = assert(pg.connect(server.options))
    assert(db:execute [[
      CREATE SCHEMA one CREATE TABLE t (id serial PRIMARY KEY, code int);
      CREATE SCHEMA two CREATE TABLE t (id int, code text PRIMARY KEY);
      SET search_path TO one]])
    assert.equal(1, assert(db:insert("t", { code = 7 })).insertedId)
    assert(db:query "SELECT Set_Config('search_path', 'two', false)")
    assert.equal("007", assert(db:insert("t", { id = 1, code = "007" })).insertedId)
    assert(db:execute "DROP SCHEMA one, two CASCADE")
  end)
end)

describe("a descriptor above 1024", function()
  it("is waited for as any other: select() could not (C27)", function()
    local file <const> = os.tmpname()
    support.write(file, ([[
      local pg, files = require "pg", {}
      for i = 1, 1100 do files[i] = assert(io.open "/dev/null") end
      local db <close> = assert(pg.connect "host=%s port=%d user=%s dbname=postgres")
      print(select(2, db:query { query = "SELECT pg_sleep(30)", timeout = 0.2 }).kind)
      print(db:query "SELECT 7 AS x".rows[1].x)]]):format(server.options.host, server.options.port,
      server.options.user))
    local output, errors = support.run("ulimit -n 2000 && " .. support.lua .. " " .. file)
    os.remove(file)
    if errors:find "ulimit" then return pending("no more than 1024 descriptors: " .. errors) end
    assert.equal("", errors)
    assert.equal("query_timeout\n7\n", output)
  end)
end)
