-- SPDX-License-Identifier: MIT
-- Where and how long pg.connect tries: connect_timeout, and lists of hosts.
local mock = require "spec.fault.mock"
local pg = require "pg"
local socket = require "socket"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, failed <const> = support.contains, support.failed
local with <const>, value <const> = support.with, support.value

local server, folder, patient

local function tcp(more)
  return with(server.tcp, more)
end

-- Ports of 127.0.0.1 that hear and say nothing: connections wait in the queue of `deaf`, and the
-- queue of `full` is full, so that it does not even answer.
local deaf, full, keep

local function listeners()
  local listener = assert(socket.bind("127.0.0.1", 0))
  deaf = select(2, listener:getsockname())
  local tight = assert(socket.tcp())
  assert(tight:bind("127.0.0.1", 0) and tight:listen(0))
  full = select(2, tight:getsockname())
  keep = { listener, tight }
  for _ = 1, 3 do
    local client = assert(socket.tcp())
    client:settimeout(0)
    client:connect("127.0.0.1", full)
    keep[#keep + 1] = client
  end
end

setup(function()
  server = assert(throwaway.start { tcp = true })
  folder = support.folder()
  listeners()
  -- Waits for the default to be over while the other specs run.
  patient = io.popen("env -u PGCONNECT_TIMEOUT " .. support.lua .. " -e " .. support.quote(([[
    local _, err = require "pg".connect { host = "127.0.0.1", port = %d }
    print(err.kind, err.limit, err.elapsed >= 10 and err.elapsed < 20)]]):format(deaf)), "r")
end)

teardown(function()
  server:stop()
  for _, one in ipairs(keep) do one:close() end
  os.execute("rm -rf " .. folder)
end)

describe("connect_timeout", function()
  it("comes from the options, the environment or a service; 0 and nonsense mean the default",
    function()
      local services <const> = folder .. "/services"
      support.write(services, "[slow]\nconnect_timeout=0.5\n")
      -- What is left of it when the client waits first; longer waits are cut into pieces.
      local program <const> = ([[
        local function wait(_, _, seconds) print(math.ceil(10 * seconds)) error "enough" end
        for _, more in ipairs { %%s } do
          more.host, more.port, more.wait = "127.0.0.1", %d, wait
          pcall(coroutine.wrap(function() require "pg".connect(more) end))
        end]]):format(deaf)
      for _, case in ipairs {
        { "{}, { connect_timeout = 0.3 }, { connect_timeout = 0 }", "5\n3\n5\n",
          { PGCONNECT_TIMEOUT = "0.5" } },
        { "{}, { service = 'slow' }", "10\n5\n", { PGSERVICEFILE = services } },
        { "{}", "5\n", { PGSERVICE = "slow", PGSERVICEFILE = services } },
        { "{}", "10\n", { PGCONNECT_TIMEOUT = "0" } },
        { "{}", "10\n", { PGCONNECT_TIMEOUT = "soon" } },
      } do
        local output, errors = support.child(program:format(case[1]), case[3])
        assert.same({ case[2], "" }, { output, errors }, case[1])
      end
    end)

  it("ends the wait for who never accepts, and for who accepts and says nothing (C11, C12)",
    function()
      for _, port in ipairs { full, deaf } do
        local started = socket.gettime()
        local err = failed("connect_timeout",
          pg.connect(tcp { port = port, connect_timeout = 0.2 }))
        assert.is_true(socket.gettime() - started < 3)
        assert.equal(0.2, err.limit)
        assert.is_true(err.elapsed >= 0.2 and err.elapsed < 3)
        contains(err.message, "0.2 s", tostring(port))
        assert.is_true(err.retryable)
      end
    end)

  it("ends the wait for a server that stops in the middle of the sign-in (C12)", function()
    local frozen <close> = mock.start(function(session)
      session:startup()
      session:accept()
      session:read(1000)
    end)
    failed("connect_timeout", mock.call(pg.connect,
      with(frozen.options, { connect_timeout = 0.2 })))
  end)

  it("counts the session's set-up in", function()
    local frozen <close> = mock.start(function(session)
      session:startup()
      session:welcome { server_version = "15.1", client_encoding = "UTF8" }
      session:read(100000)
    end)
    local err = failed("connect_timeout", mock.call(pg.connect,
      with(frozen.options, { connect_timeout = 0.2 })))
    assert.equal(0.2, err.limit)
    frozen.options.wait(nil, "r", 0)
    assert.equal(1, #frozen.sessions) -- and nobody came to cancel
  end)

  it("holds against a server that never stops greeting (C13)", function()
    local chatty <close> = mock.start(function(session)
      session:startup()
      session:accept()
      while true do
        session:send("S", "application_name\0", ("x"):rep(100), "\0")
        coroutine.yield()
      end
    end)
    failed("connect_timeout", mock.call(pg.connect,
      with(chatty.options, { connect_timeout = 0.3 })))
  end)
end)

describe("a list of hosts", function()
  local standby

  setup(function()
    standby = assert(throwaway.start { settings = { default_transaction_read_only = true } })
  end)

  teardown(function()
    standby:stop()
  end)

  -- Options with several places, each a host and a port.
  local function through(...)
    local hosts, ports = {}, {}
    for i, place in ipairs { ... } do hosts[i], ports[i] = place[1], place[2] end
    return { host = hosts, port = ports, user = "postgres", database = "postgres",
      password = server.tcp.password }
  end

  local function place(name)
    return ({
      primary = { server.dir, server.options.port },
      standby = { standby.dir, standby.options.port },
      refused = { "127.0.0.1", 1 }, missing = { "/nonexistent", 5432 }, unknown = { "a..b", 5432 },
      deaf = { "127.0.0.1", deaf }, full = { "127.0.0.1", full },
    })[name]
  end

  local cases <const> = {
    { { "primary", "standby" }, nil, "primary" },
    { { "standby", "primary" }, nil, "standby" },
    { { "refused", "missing", "unknown", "primary" }, nil, "primary" },
    { { "standby", "primary" }, "read-write", "primary" },
    { { "primary", "standby" }, "read-only", "standby" },
    { { "refused", "standby", "missing", "primary" }, "read-write", "primary" },
    { { "primary" }, "primary", "primary" },
    { { "refused", "primary" }, "prefer-standby", "primary" },
    { { "deaf", "primary" }, nil, "primary" },
    { { "full", "primary" }, nil, "primary" },
    { { "deaf", "refused", "full", "standby", "primary" }, "read-write", "primary" },
  }
  for _, case in ipairs(cases) do
    local names, attributes, expected = case[1], case[2] or "any", case[3]
    it(("%s with target_session_attrs %s ends at the %s (C10, C11)"):format(
      table.concat(names, ", "), attributes, expected), function()
      local places = {}
      for i, name in ipairs(names) do places[i] = place(name) end
      local o <const> = through(table.unpack(places))
      o.target_session_attrs, o.connect_timeout = attributes, 2
      local db <close> = assert(pg.connect(o))
      assert.equal(expected == "standby" and "on" or "off",
        value(db, "SHOW default_transaction_read_only"))
      local slow <const> = names[1] == "deaf" or names[1] == "full"
      assert(slow or db:reset()) -- goes through the list again
      assert.equal(place(expected)[1], value(db, "SHOW unix_socket_directories"))
    end)
  end

  it("shares the time between its hosts and says what each of them said (C11)", function()
    local started = socket.gettime()
    local o = through(place "deaf", place "full", place "refused")
    o.connect_timeout = 0.6
    local db, err = pg.connect(o)
    assert.is_nil(db)
    assert.is_true(socket.gettime() - started < 3)
    contains(err.message, ("port %d failed: timeout expired"):format(deaf),
      ("port %d failed: timeout expired"):format(full), "port 1 failed: Connection refused")
    o = through(place "refused", place "deaf")
    o.connect_timeout = 0.4
    err = failed("connect_timeout", pg.connect(o))
    assert.equal(0.4, err.limit)
    contains(err.message, "Connection refused")
  end)

  it("without a server that is wanted says so (C10)", function()
    local o <const> = through(place "standby", place "refused")
    o.target_session_attrs = "read-write"
    local err = failed("server_unavailable", pg.connect(o))
    contains(err.message, "session is read-only")
  end)
end)

describe("the default connect_timeout", function()
  it("is 10 seconds", function()
    assert.equal("connect_timeout\t10\ttrue\n", patient:read "a")
    patient:close()
  end)
end)
