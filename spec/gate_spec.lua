-- SPDX-License-Identifier: MIT
-- Nothing blocks but `wait`: every byte comes through a gate that is open only then.
local pg = require "pg"
local scheduler = require "spec.scheduler"
local socket = require "socket"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed = support.failed

local LONG <const> = "SELECT pg_sleep(30)"

local server, folder

-- Options for pg.connect: `base` (the server's Unix socket) and what else is said.
local function options(more, base)
  return support.merge(base or server.options, more)
end

local function usable(db)
  return assert(db:query("SELECT 41 + 1 AS answer")).rows[1].answer == 42
end

describe("a gate that is open only while the code waits", function()
  local gate_program, gates
  local Gate = {}
  Gate.__index = Gate

  function Gate:say(word)
    self.control:write(word)
    if self.answers:read(1) ~= word then
      error("the gate gave up: something blocked outside of `wait`", 0)
    end
  end

  function Gate:open() self:say "o" end

  function Gate:shut() self:say "c" end

  function Gate:stop()
    self.control:close()
    self.answers:close()
  end

  -- `chunk`: how many bytes pass each way at one opening.
  local function start_gate(upstream, chunk)
    gates = (gates or 0) + 1
    local fifo <const> = ("%s/gate%d"):format(folder, gates)
    assert(os.execute(("mkfifo %s.c %s.a"):format(fifo, fifo)))
    assert(os.execute(("%s %s.c %s.a %s %s &"):format(gate_program, fifo, fifo, upstream,
      chunk or "")))
    local gate = setmetatable({}, Gate)
    gate.answers = assert(io.open(fifo .. ".a", "r"))
    gate.control = assert(io.open(fifo .. ".c", "w"))
    gate.answers:setvbuf "no"
    gate.control:setvbuf "no"
    gate.port = math.tointeger(tonumber(gate.answers:read "l"))
    return gate
  end

  local function plain(gate)
    return options { host = "127.0.0.1", port = gate.port, sslmode = "disable" }
  end

  local function tls(gate)
    return options({ port = gate.port, sslmode = "verify-full", host = "localhost",
      hostaddr = "127.0.0.1", sslrootcert = server.ssl.rootcert }, server.tcp)
  end

  local function unix()
    return ("%s/.s.PGSQL.%d"):format(server.options.host, server.options.port)
  end

  -- Runs f(db) where every byte has to be waited for, once a way to connect.
  local function gated(f, chunk)
    for _, way in ipairs { { unix(), plain }, { server.tcp.port, tls } } do
      local gate = start_gate(way[1], chunk)
      local loop = scheduler(gate)
      local all = way[2](gate)
      all.wait = loop.wait
      loop.run(function()
        local db <close> = assert(pg.connect(all))
        f(db, loop)
      end)
      gate:stop()
    end
  end

  setup(function()
    folder = support.folder()
    gate_program = support.compile(folder, "spec/fault/gate.c")
    server = assert(throwaway.start { ssl = true })
  end)

  teardown(function()
    server:stop()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  it("lets nothing pass when it is shut", function()
    local gate = start_gate(unix())
    local client = assert(socket.connect("127.0.0.1", gate.port))
    client:settimeout(0.2)
    client:send "\0\0\0\8\4\210\22\47" -- an SSLRequest: the answer is one byte
    assert.are.same({ nil, "timeout", "" }, { client:receive(1) })
    gate:open()
    assert.are.equal("N", client:receive(1))
    gate:shut()
    client:close()
    gate:stop()
  end)

  local text <const> = ("0123456789abcdef"):rep(65536 * 3)

  for _, case in ipairs {
    { "connecting, plain and TLS", function(db) assert(db:status().state == "idle") end },
    { "a query", function(db)
      local rows = assert(db:query("SELECT n, $1::text AS t FROM generate_series(1, 2000) AS n",
        "x")).rows
      assert.are.equal(2000, rows[2000].n)
    end },
    { "the five actions", function(db)
      assert(db:execute "CREATE TEMP TABLE gated (id serial PRIMARY KEY, v text, b bytea)")
      assert.are.equal(1, assert(db:insert("gated", { v = "x", b = "\0\1" })).insertedId)
      assert.are.equal(1, assert(db:update("UPDATE gated SET v = $1", "\\x")).rowCount)
      assert.are.equal("\0\1", assert(db:query "TABLE gated").rows[1].b)
      assert.are.equal(1, assert(db:delete("DELETE FROM gated")).rowCount)
    end },
    { "a parameter of 3 MB", function(db)
      assert.are.equal(#text, assert(db:query("SELECT length($1) AS n", text)).rows[1].n)
    end },
    { "a parameter of 3 MB that is asked about first", function(db)
      assert.are.equal(#text + 1,
        assert(db:query("SELECT length($1) AS n", text .. "\\")).rows[1].n)
    end },
    { "a value of 6 MB", function(db)
      local row = assert(db:query("SELECT repeat('x', 6000000) AS t")).rows[1]
      assert.are.equal(6000000, #row.t)
    end },
    { "rows of 6 MB", function(db)
      local rows = assert(db:query("SELECT repeat('x', 60000) AS t FROM generate_series(1, 100)"))
      assert.are.equal(100, rows.rowCount)
    end },
    { "a limit passed by rows", function(db)
      failed("result_too_large", db:query {
        query = "SELECT repeat('x', 1000) FROM generate_series(1, 5000)", max_result = 100000 })
    end },
    { "a limit passed by one value", function(db)
      failed("result_too_large", db:query {
        query = "SELECT repeat('x', 6000000)", max_result = 1000000 })
      assert(db:reset())
    end },
    { "a timeout and its cancel", function(db)
      failed("query_timeout", db:query { query = LONG, timeout = 0.1 })
    end },
    { "a cancel by another coroutine", function(db, loop)
      loop.spawn(function()
        loop.wait(nil, nil, 0.1)
        assert.is_true(db:cancel())
      end)
      failed("cancelled", db:query(LONG))
    end },
    { "an error, and one in the middle of rows", function(db)
      failed("undefined_table", db:query "SELECT * FROM nowhere")
      failed("invalid_value", db:query "SELECT 1 / (500 - n) FROM generate_series(1, 1000) AS n")
    end },
    { "COPY that nobody asked for", function(db)
      assert(db:execute "CREATE TEMP TABLE copied (v text)")
      failed("wrong_action", db:execute "COPY copied FROM STDIN")
      failed("wrong_action", db:execute
        "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 2000)) TO STDOUT")
    end },
    { "connecting anew", function(db)
      assert(db:reset())
    end },
  } do
    it("is enough for " .. case[1], function()
      gated(function(db, loop)
        case[2](db, loop)
        assert.is_true(usable(db))
      end)
    end)
  end

  it("is enough for an abandoned query's end, which the next one waits for", function()
    local gate = start_gate(unix())
    local loop = scheduler(gate)
    local all = plain(gate)
    local leave = false
    all.wait = function(...)
      if leave then error("left", 0) end
      return loop.wait(...)
    end
    loop.run(function()
      local db <close> = assert(pg.connect(all))
      leave = true
      assert.is_false((pcall(db.query, db, LONG)))
      leave = false
      assert.are.equal("busy", db:status().state)
      assert.is_true(usable(db))
    end)
    gate:stop()
  end)

  it("is enough for every split of the stream: three bytes pass at a time", function()
    gated(function(db)
      local rows = assert(db:query("SELECT n, $1::text AS t FROM generate_series(1, 30) AS n",
        "x")).rows
      assert.are.same({ n = 30, t = "x" }, rows[30])
      assert.are.same({ 1, 2, 3 }, assert(db:query("SELECT $1::int[] AS a", { 1, 2, 3 })).rows[1].a)
      failed("undefined_table", db:query "SELECT * FROM nowhere")
      assert.is_true(usable(db))
    end, 3)
  end)

  it("shows that connecting to a shut one times out, and blocks nobody", function()
    local gate = start_gate(unix())
    local loop, ticks = scheduler(), 0
    local all = plain(gate)
    all.wait, all.connect_timeout = loop.wait, 0.5
    loop.spawn(function() failed("connect_timeout", pg.connect(all)) end)
    loop.spawn(function()
      for _ = 1, 4 do
        loop.wait(nil, nil, 0.05)
        ticks = ticks + 1
      end
    end)
    loop.run()
    assert.are.equal(4, ticks)
    gate:stop()
  end)
end)

