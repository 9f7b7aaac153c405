-- What the network and the server's processes do by accident, and what is left of a connection.
-- SPDX-License-Identifier: MIT
local core = require "pg.core"
local faultproxy = require "spec.fault.faultproxy"
local mock = require "spec.fault.mock"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains, eventually, failed = support.contains, support.eventually, support.failed

local server, folder, program, ways

setup(function()
  folder = support.folder()
  program = support.compile(folder, "spec/fault/faultproxy.c")
  server = assert(throwaway.start { ssl = true, settings = { jit = false } })
  ways = {
    ["a Unix socket"] = server.options,
    TCP = support.merge(server.tcp, { sslmode = "disable" }),
    TLS = support.merge(server.tcp, { sslmode = "require" }),
  }
end)

teardown(function()
  server:stop()
  os.execute("rm -rf '" .. folder .. "'")
end)

local function connect(options, more)
  return assert(pg.connect(support.merge(options, more)))
end

-- A proxy before the server, reached that way.
local function proxy_before(way)
  return faultproxy.start(program, ways[way], way == "a Unix socket" and folder .. "/.s.PGSQL.5499")
end

-- A connection that is gone: each further call says so, and why.
local function lost(db, first)
  assert.equal("lost", db:status().state)
  for _ = 1, 2 do
    assert.equal(first, failed("connection_lost", db:query "SELECT 1").cause)
  end
end

local function usable(db)
  assert.equal("idle", db:status().state)
  assert.equal(42, assert(db:query "SELECT 41 + 1 AS answer").rows[1].answer)
end

local function descriptors()
  local pipe <close> = io.popen "ls /proc/$PPID/fd 2>/dev/null | wc -l"
  return pipe:read "n"
end

local LONG <const> = "SELECT pg_sleep(30)"
local WIDE <const> = "SELECT repeat('x', 200000), pg_sleep(0.01) FROM generate_series(1, 10)"

describe("a timeout holds (S121)", function()
  local hundred_mb <const> = ("x"):rep(100 * 1000 * 1000)
  -- All run at once, each through a proxy of its own; `it` looks at what came of it.
  local cases = {
    { "while the server is waited for (Q8)", "TCP", "stall both", "SELECT 1" },
    { "while the server is waited for, under TLS", "TLS", "stall both", "SELECT 1" },
    { "while 100 MB are sent", "TCP", "stall both", "SELECT length($1)", { hundred_mb } },
    { "while 100 MB are sent under TLS", "TLS", "stall both", "SELECT length($1)", { hundred_mb } },
    { "in the middle of a row", "TCP", "at down D 2 hold 100000", WIDE },
    { "in the middle of a row under TLS", "TLS", "hold down 300000", WIDE },
    { "in the middle of a row on a Unix socket", "a Unix socket", "at down D 2 hold 100000", WIDE },
    { "in the header of a row", "TCP", "at down D 2 hold 3", WIDE },
    { "between the result and the word that the server is idle (Q20)", "TCP", "at down Z 1 hold 0",
      "SELECT 1" },
    { "when the request to cancel is lost (Q11)", "TCP", "cancel drop", LONG },
    { "when nobody answers the request to cancel (Q9)", "TCP", "cancel hold", LONG },
    { "when nobody accepts the request to cancel (Q9)", "TCP", "deaf on", LONG },
    { "when the server floods with notices", "TCP", "flood -1", "SELECT 1" },
    { "when the server's process is frozen", "TCP", "", LONG, frozen = true },
  }

  local function run(case, loop)
    local options = support.merge(case.proxy.options, { wait = loop.wait, timeout = 0.2 })
    case.db = connect(options)
    local pid <const> = case.db:status().pid
    case.proxy:send(case[3] == "" and "stat" or case[3])
    if case.frozen then assert(os.execute("kill -STOP " .. pid)) end
    local started = core.now()
    case.answer, case.err = case.db:query { query = case[4], parameters = case[5] }
    case.took = core.now() - started
    if case.frozen then assert(os.execute("kill -CONT " .. pid)) end
  end

  setup(function()
    local loop = scheduler()
    for i, case in ipairs(cases) do
      case.proxy = faultproxy.start(program, ways[case[2]], case[2] == "a Unix socket"
        and ("%s/.s.PGSQL.%d"):format(folder, 6000 + i) or nil)
      loop.spawn(run, case, loop)
    end
    loop.run()
    cases[4][5], cases[3][5] = nil, nil
  end)

  for _, case in ipairs(cases) do
    it(case[1] .. ": the connection is lost within the grace time", function()
      local err = failed("query_timeout", case.answer, case.err)
      assert.is_true(case.took < 8, "it hung for " .. case.took)
      assert.equal(0.2, err.limit)
      assert.is_nil(err.completed)
      assert.is_false(err.retryable)
      contains(err.message, "the connection was closed")
      lost(case.db, err)
      case.db:close()
      case.proxy:close()
    end)
  end

  it("when the request to cancel is late: the connection is usable", function()
    local proxy <close> = proxy_before "TCP"
    local db <close> = connect(proxy.options)
    proxy:send "cancel 300"
    local err = failed("query_timeout", db:query { query = LONG, timeout = 0.1 })
    assert.is_false(err.completed)
    usable(db)
  end)

  it("under poll as under an event loop", function()
    local proxy <close> = proxy_before "TLS"
    local db <close> = connect(proxy.options, { timeout = 0.1 })
    proxy:send "hold down 150000"
    local started = core.now()
    local err = failed("query_timeout", db:query(WIDE))
    assert.is_true(core.now() - started < 8)
    lost(db, err)
  end)
end)

describe("a connection that is cut", function()
  local sql <const> = "SELECT g, repeat('x', 20) AS x FROM generate_series(1, 3) AS g"

  -- All or nothing.
  local function cut(proxy, command, text)
    local db <close> = connect(proxy.options)
    proxy:send(command)
    local answer, err = db:query(text or sql)
    if answer then
      assert.equal(3, #answer.rows)
      return true
    end
    failed("connection_lost", answer, err)
    assert.is_nil(err.completed)
    support.lacks(err.message, "invalid socket")
    lost(db, err)
  end

  for _, way in ipairs { "a Unix socket", "TCP" } do
    it("after any byte of an answer gives no part of it (Q4): over " .. way, function()
      local proxy <close> = proxy_before(way)
      local whole
      for bytes = way == "TCP" and 0 or 3, 1000, 7 do
        proxy:send(bytes % 2 == 0 and "reset off" or "reset on")
        local before = proxy:stat().down
        whole = cut(proxy, "cut down " .. bytes)
        if whole then break end
        assert.is_true(proxy:stat().down > before)
      end
      assert.is_true(whole)
    end)
  end

  it("after any byte of a request says so", function()
    local proxy <close> = proxy_before "TCP"
    for bytes = 0, 100, 9 do assert.is_nil(cut(proxy, "cut up " .. bytes)) end
  end)

  for _, type in ipairs { "1", "2", "T", "D", "C", "Z" } do
    it(("in a message of type %s gives no part of the answer (Q4)"):format(type), function()
      local proxy <close> = proxy_before "TCP"
      for _, bytes in ipairs { 0, 1, 4, 5 } do
        local whole = cut(proxy, ("at down %s 1 cut %d"):format(type, bytes))
        assert.is_nil(whole)
        proxy:calm()
      end
    end)
  end

  for way in pairs { ["a Unix socket"] = 1, TCP = 1, TLS = 1 } do
    it("in the middle of wide rows leaves no descriptor behind: over " .. way, function()
      local proxy <close> = proxy_before(way)
      local before <const> = descriptors()
      for _, bytes in ipairs { 100000, 250000, 700000 } do
        assert.is_nil(cut(proxy, "cut down " .. bytes, WIDE))
      end
      assert.equal(before, descriptors())
    end)
  end

  it("before the answer of an INSERT leaves open whether it took effect", function()
    local proxy <close> = proxy_before "TCP"
    local db <close> = connect(proxy.options)
    assert(db:execute "CREATE TABLE kept (a int)")
    assert(db:insert("kept", { a = 1 })) -- what it asks the catalogue is known then
    proxy:send "at down C 1 cut 0"
    local err = failed("connection_lost", db:insert("kept", { a = 2 }))
    assert.is_nil(err.completed)
    assert.is_false(err.retryable)
    lost(db, err)
    assert.is_true(db:reset())
    assert.equal(2, assert(db:query "SELECT count(*) AS n FROM kept").rows[1].n)
  end)

  it("can be reset once something listens again (C1)", function()
    local proxy <close> = proxy_before "TCP"
    local db <close> = connect(proxy.options)
    proxy:send "refuse on"
    proxy:send "cut up 0"
    local first = failed("connection_lost", db:query "SELECT 1")
    lost(db, first)
    failed("connection_refused", db:reset())
    proxy:send "refuse off"
    assert.is_true(db:reset())
    usable(db)
  end)

  it("while COPY is refused does not wait for the grace time", function()
    local proxy <close> = proxy_before "TCP"
    local db <close> = connect(proxy.options)
    proxy:send "at down d 20000 cut 3"
    local started = core.now()
    local answer, err = db:query "COPY (SELECT generate_series(1, 1000000000)) TO STDOUT"
    assert.is_nil(answer)
    if db:status().state == "lost" then
      assert.is_true(core.now() - started < 4)
      lost(db, err)
    end
  end)
end)

describe("bytes that come one by one", function()
  for way in pairs { ["a Unix socket"] = 1, TCP = 1, TLS = 1 } do
    it("mean the same as all at once (Q5): over " .. way, function()
      local proxy <close> = proxy_before(way)
      local db <close> = connect(proxy.options)
      local direct <close> = connect(server.options)
      proxy:send "chop 1"
      for _, sql in ipairs {
        "SELECT g, g * 1.5 AS f, NULL AS n, repeat('ä', g) AS t FROM generate_series(1, 40) AS g",
        "SELECT ARRAY[1, NULL, 3] AS a, '{\"k\": [1, 2.5]}'::jsonb AS j, '\\xdeadbeef'::bytea AS b",
        "SELECT FROM generate_series(1, 3)",
        "SELECT repeat('x', 5000) AS x",
      } do
        assert.same(assert(direct:query(sql)), assert(db:query(sql)))
      end
      assert.equal(7, assert(db:query("SELECT $1::int + $2 AS n", 3, 4)).rows[1].n)
      assert.equal("division_by_zero",
        failed("invalid_value", db:query "SELECT 1 / (random() * 0)::int").condition)
      usable(db)
    end)
  end

  it("mean the same in small pieces of wide rows", function()
    local proxy <close> = proxy_before "TLS"
    local db <close> = connect(proxy.options)
    proxy:send "chop 1700"
    local rows = assert(db:query [[
      SELECT g, repeat(chr(64 + g), 60000) AS x FROM generate_series(1, 20) AS g]]).rows
    assert.equal(20, #rows)
    for i, row in ipairs(rows) do
      assert.equal(i, row.g)
      assert.is_true(row.x == string.char(64 + i):rep(60000))
    end
    usable(db)
  end)
end)

describe("a wait", function()
  for way in pairs { ["a Unix socket"] = 1, TCP = 1, TLS = 1 } do
    it("in the middle of wide rows burns no processor time: over " .. way, function()
      local sql <const> = [[
        SELECT repeat('x', 100001), pg_sleep(0.1) FROM generate_series(1, 4)]]
      local loop = scheduler()
      local poll <close> = connect(ways[way])
      local before = os.clock()
      assert.equal(4, #assert(poll:query(sql)).rows)
      loop.run(function()
        local yielding <close> = connect(ways[way], { wait = loop.wait })
        assert.equal(4, #assert(yielding:query(sql)).rows)
      end)
      assert.is_true(os.clock() - before < 0.3, "busy for " .. os.clock() - before)
      assert.is_true(#loop.calls < 1000)
    end)
  end

  it("after a wide row loses no byte of what comes then", function()
    for way, options in pairs(ways) do
      local db <close> = connect(options)
      local other <close> = connect(server.options)
      assert(db:execute "LISTEN news")
      for i = 1, 10 do
        local wide = assert(db:query(("SELECT repeat('x', 300000) AS x, pg_sleep(0.003), %d AS i")
          :format(i))).rows[1]
        assert.equal(300000, #wide.x)
        assert.equal(i, wide.i)
        assert(other:execute "NOTIFY news, 'while it is idle'")
        assert.equal(i, assert(db:query("SELECT $1::int AS i", i)).rows[1].i, way)
      end
    end
  end)

  it("gives the descriptors of the detour back", function()
    for _, options in pairs(ways) do
      local db <close> = connect(options)
      local before <const> = descriptors()
      for _ = 1, 2 do assert(db:query(WIDE)) end
      failed("result_too_large", db:query { query = WIDE, max_result = 300000 })
      usable(db)
      assert.equal(before, descriptors())
    end
  end)
end)

describe("a result", function()
  it("survives its connection (R27)", function()
    local db = connect(server.options)
    local answer = assert(db:query "SELECT 1 AS one, ARRAY['a'] AS list")
    db:close()
    collectgarbage()
    assert.same({ { one = 1, list = { "a" } } }, answer.rows)
    assert.equal("one", answer:columns()[1].name)
  end)
end)

describe("a server that is not as it should be", function()
  local function greet(session, answer)
    session:startup()
    session:welcome { server_version = "15.1", client_encoding = "UTF8", DateStyle = "ISO, MDY",
      IntervalStyle = "postgres", server_encoding = "UTF8", standard_conforming_strings = "on" }
    local first = true
    while session:read(1) do -- the first byte of a request: the rest may come as it likes
      while #session.input > 0 do session:read(#session.input) end
      if not first then answer(session) end
      if first then
        session:send "1"
        session:send "2"
        session:send "n"
        session:send("C", "SELECT 0\0")
      end
      session:send("Z", "I")
      first = false
    end
  end

  local cases = {
    { "an error without any field (Q26)", function(session) session:send("E", "\0") end,
      function(err)
        assert.equal("query_failed", err.kind)
        assert.is_true(#err.message > 0)
        assert.is_nil(err.sqlstate)
      end },
    { "an error with bytes that are no UTF-8, and escapes (Q25)", function(session)
      session:fail { S = "ERROR", V = "ERROR", C = "XX000", M = "\xff\xfe\27[31mred\r\nline" }
    end, function(err)
      assert.equal("\xff\xfe\27[31mred\r\nline", err.message)
      support.lacks(tostring(err), "\27", "\xff", "\r")
    end },
    { "an error of 1 MB (Q24)", function(session)
      session:fail { S = "ERROR", V = "ERROR", C = "XX000", M = ("m"):rep(1000000) }
    end, function(err) assert.equal(1000000, #err.message) end },
  }
  for _, case in ipairs(cases) do
    it("may send " .. case[1], function()
      local mocked <close> = mock.start(function(session) greet(session, case[2]) end)
      mock.call(function()
        local db <close> = assert(pg.connect(mocked.options))
        local answer, err = db:query { query = "SELECT 1", max_result = 100 }
        assert.is_nil(answer)
        case[3](err)
        assert.is_true(#tostring(err) < 20000)
        assert.equal("idle", db:status().state)
      end)
    end)
  end

  local nonsense = {
    { "a message with a length below 4", "D\0\0\0\1" },
    { "a message of an unknown type and 1 GB", "?\x40\0\0\0" },
    { "a row before any description of rows", "D\0\0\0\6\0\0" },
    { "no answer at all", "" },
    { "a page of HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n" },
    { "zeros", ("\0"):rep(1000) },
  }
  for _, case in ipairs(nonsense) do
    it("may send " .. case[1] .. ": the connection is lost, or proven idle", function()
      local mocked <close> = mock.start(function(session)
        greet(session, function() session:write(case[2]) end)
      end)
      mock.call(function()
        local before <const> = descriptors()
        local db <close> = assert(pg.connect(support.merge(mocked.options, { timeout = 0.5 })))
        local answer, err = db:query "SELECT 1"
        assert.is_nil(answer)
        assert.is_truthy(err.kind == "connection_lost" or err.kind == "query_timeout"
          or err.kind == "query_failed", err.kind)
        if err.kind ~= "query_failed" then lost(db, err) end
        db:close()
        eventually(function() return descriptors() <= before + 1 end)
      end)
    end)
  end

  local answers = {
    { "an error in clear text", "E\0\0\0\20SERROR\0Mhello\0\0" },
    { "a letter that means nothing", "X" },
  }
  for _, case in ipairs(answers) do
    it(("may answer the request for TLS with %s: refused (S4)"):format(case[1]), function()
      local mocked <close> = mock.start(function(session) session:startup(case[2]) end)
      local answer, err = mock.call(pg.connect,
        support.merge(mocked.options, { sslmode = "require", password = "S3CRET" }))
      assert.is_nil(answer)
      assert.is_truthy(err.kind == "ssl_failed" or err.kind == "connection_refused", tostring(err))
      support.lacks(mocked.heard, "S3CRET", "app_user")
    end)
  end
end)

-- Last, since it is the end of every session.
describe("a server process that is killed", function()
  it("takes its statement with it, and every other session (Q2, Q3)", function()
    local loop, db, err = scheduler(), nil, nil
    local other <close> = connect(server.options)
    loop.spawn(function()
      db = connect(ways.TCP, { wait = loop.wait })
      err = failed("connection_lost", db:query(LONG))
    end)
    loop.spawn(function()
      repeat
        loop.wait(nil, "r", 0.01)
        local active = db and assert(other:query("SELECT 1 FROM pg_stat_activity WHERE pid = $1 "
          .. "AND state = 'active'", db:status().pid)).rows[1]
      until active
      assert(os.execute("kill -KILL " .. db:status().pid))
    end)
    loop.run()
    assert.is_nil(err.sqlstate)
    lost(db, err)
    local first
    eventually(function()
      first = select(2, other:query "SELECT 1")
      return first
    end)
    assert.is_truthy(first.sqlstate == nil or first.sqlstate == "57P02", first.sqlstate)
    lost(other, first)
    eventually(function() return other:reset() end)
    usable(other)
    db:close()
  end)

  it("with all others leaves a connection that says so", function()
    local db <close> = connect(server.options)
    usable(db)
    assert(server:control("stop", "-m", "immediate"))
    local answer, err = db:query "SELECT 1"
    assert.is_nil(answer)
    assert.is_truthy(err.kind == "connection_lost" or err.kind == "server_unavailable", err.kind)
    lost(db, err)
    failed("connection_refused", db:reset())
  end)
end)
