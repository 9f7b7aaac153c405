-- SPDX-License-Identifier: MIT
-- Connecting to a real server: the forms, the sign-in, what fails and how. The options' own checks,
-- hosts and time, TLS and saved connections have specs of their own.
local mock = require "spec.fault.mock"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, lacks <const>, failed <const> =
  support.contains, support.lacks, support.failed
local with <const>, value <const>, role <const>, sessions <const> =
  support.with, support.value, support.role, support.sessions

local server, admin, folder

local function tcp(more)
  return with(server.tcp, more)
end

setup(function()
  server = assert(throwaway.start {
    tcp = true, hba = { "host all peerless 127.0.0.1/32 ident" },
    settings = { max_connections = 12, max_wal_senders = 0 },
  })
  admin = assert(pg.connect(server.options))
  folder = support.folder()
end)

teardown(function()
  admin:close()
  server:stop()
  os.execute("rm -rf " .. folder)
end)
describe("pg.connect", function()
  it("takes a table, a URI or a conninfo string (S001, S009 to S012)", function()
    local o <const> = server.tcp
    local ways <const> = {
      o,
      { hostaddr = "127.0.0.1", port = tostring(o.port), dbname = "postgres", username = "postgres",
        password = o.password },
      ("postgresql://%s:%s@%s:%d/%s"):format(o.user, o.password, o.host, o.port, o.database),
      ("host=%s port=%d user=%s password=%s dbname=%s"):format(o.host, o.port, o.user, o.password,
        o.database),
      server.options,
      ("postgresql:///postgres?host=%s&port=%d&user=postgres"):format(server.dir, o.port),
    }
    for _, given in ipairs(ways) do
      local db <close> = assert(pg.connect(given))
      assert.equal("postgres@postgres", value(db,
        "SELECT current_user || '@' || current_database()"))
    end
  end)

  it("takes the environment when nothing is given, as psql does", function()
    local output, errors = support.child([[
      local pg = require "pg"
      print(pg.connect():query("SELECT 1 AS one").rows[1].one, pg.test {}.success)]],
      { PGHOST = server.dir, PGPORT = server.options.port, PGUSER = "postgres",
        PGDATABASE = "postgres" })
    assert.same({ "1\ttrue\n", "" }, { output, errors })
  end)

  it("prefers what is given to the environment", function()
    local output = support.child(([[
      local pg = require "pg"
      local db = assert(pg.connect { host = %q, port = %d, user = "postgres",
        database = "postgres" })
      print(db:query("SHOW application_name").rows[1].application_name)]])
      :format(server.dir, server.options.port),
      { PGHOST = "/nonexistent", PGPORT = "1", PGUSER = "nobody", PGDATABASE = "none",
        PGAPPNAME = "from outside", PGCLIENTENCODING = "LATIN1" })
    assert.equal("from outside\n", output)
  end)

  it("takes a service, from the options or from PGSERVICE", function()
    local path <const> = folder .. "/services"
    support.write(path, ("[prod]\nhost=%s\nport=%d\nuser=postgres\ndbname=template1\n"):format(
      server.dir, server.options.port))
    local program <const> = [[
      for _, given in ipairs { %s } do print(require "pg".test(given).database) end]]
    for environment, ways in pairs {
      [{}] = "{ service = 'prod' }, 'service=prod', 'postgresql://?service=prod'",
      [{ PGSERVICE = "prod" }] = "{}, {}, { database = 'template1' }",
    } do
      environment.PGSERVICEFILE = path
      local output, errors = support.child(program:format(ways), environment)
      assert.same({ ("template1\n"):rep(3), "" }, { output, errors })
    end
  end)

  it("says what is wrong with a service", function()
    for _, environment in ipairs {
      { PGSERVICEFILE = folder .. "/none" }, { PGSERVICEFILE = "/dev/null", HOME = folder },
    } do
      local output = support.child([[
        local _, err = require "pg".connect { service = "prod" }
        print(err.kind, err.message, err.fixes[1])]], environment)
      contains(output, "invalid_parameter\t", "service", "the file that defines it")
    end
  end)

  it("never expands a database's name into options (S021, S10, C22)", function()
    for _, name in ipairs { "host=evil user=x", "postgresql://evil/x", "O'Neil \\ \"quoted\"" } do
      local err = failed("authentication_failed", pg.connect(tcp { database = name }))
      assert.equal("3D000", err.sqlstate)
      assert.equal(('database "%s" does not exist'):format(name), err.message:match "database .*")
    end
  end)

  it("opens databases and roles of any name (S021, S022)", function()
    local name <const> = [[My-App 'x' "y" =\z]]
    assert(admin:execute('CREATE DATABASE "' .. name:gsub('"', '""') .. '"'))
    role(admin, name, "p")
    local answer = assert(pg.test(tcp { database = name, user = name, password = "p" }))
    assert.same({ name, name }, { answer.database, answer.user })
  end)
end)

describe("a password", function()
  local function encode(text)
    return (text:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end))
  end

  local passwords <const> = {
    [[it's "quoted"]], [[ lead and trail ]], [[back\slash\\]], [[p@ss:w/rd?&=#]], [[100%41%zz]],
    "pässwörd € \t\n", ("x"):rep(900), [[\']],
  }
  for i, password in ipairs(passwords) do
    it(("%q arrives as it is, from a table, a URI and a conninfo string (S013, S023)")
      :format(#password > 50 and "of 900 bytes" or password), function()
      local user <const> = "user" .. i
      role(admin, user, password)
      local o <const> = tcp { user = user, password = password }
      assert(pg.test(o))
      assert(pg.test(("postgresql://%s:%s@127.0.0.1:%d/postgres"):format(user, encode(password),
        o.port)))
      assert(pg.test(("host=127.0.0.1 port=%d dbname=postgres user=%s password='%s'"):format(o.port,
        user, password:gsub("[\\']", "\\%0"))))
      failed("authentication_failed", pg.test(with(o, { password = password .. "x" })))
    end)
  end

  it("that is missing is told from an empty one and from a wrong one (S023, S062)", function()
    local missing = failed("authentication_failed", pg.connect(tcp { password = false }))
    local empty = failed("authentication_failed", pg.connect(tcp { password = "" }))
    local given = failed("authentication_failed", pg.connect(tcp {
      password = function() return "" end,
    }))
    local wrong = failed("authentication_failed", pg.connect(tcp { password = "x" }))
    contains(missing.fixes[1], "None was found")
    contains(empty.fixes[1], "The one given is empty")
    contains(given.fixes[1], "The one given is empty")
    assert.is_nil(missing.sqlstate)
    assert.equal("28P01", wrong.sqlstate)
    assert.equal("invalid_password", wrong.condition)
  end)

  it("of a password file is used when the file is its owner's alone, else silently not (S9)",
    function()
      local path <const> = folder .. "/pgpass"
      role(admin, "filed", [[c:lon\slash]])
      support.write(path, ("127.0.0.1:%d:postgres:filed:c\\:lon\\\\slash\n"):format(
        server.tcp.port))
      assert(os.execute(("mkdir %s/home && cp %s %s/home/.pgpass"):format(folder, path, folder)))
      local services <const> = folder .. "/passfile_services"
      support.write(services, "[filed]\npassfile=" .. path .. "\n")
      local program <const> = ([[
        for _, more in ipairs { %%s } do
          more.host, more.port, more.user, more.database = "127.0.0.1", %d, "filed", "postgres"
          local answer, err = require "pg".test(more)
          print(answer and "in" or err.kind)
        end]]):format(server.tcp.port)
      local ways <const> = {
        { ("{ passfile = %q }, { service = 'filed' }"):format(path), { PGSERVICEFILE = services } },
        { "{}", { PGPASSFILE = path } }, { "{}", { HOME = folder .. "/home" } },
        { "{}", { PGSERVICE = "filed", PGSERVICEFILE = services } },
      }
      for mode, expected in pairs { ["600"] = "in\n", ["644"] = "authentication_failed\n" } do
        assert(os.execute(("chmod %s %s %s/home/.pgpass"):format(mode, path, folder)))
        for _, way in ipairs(ways) do
          local more, environment <const> = way[1], with({ HOME = folder }, way[2])
          local output, errors = support.child(program:format(more), environment)
          assert.same({ expected:rep(select(2, more:gsub("{", ""))), "" }, { output, errors }, more)
        end
      end
    end)

  it("is not looked for in a password file that is a folder, and nothing is printed (S9)",
    function()
      local output, errors = support.child(([[
        print(select(2, require "pg".test { host = "127.0.0.1", port = %d, user = "filed",
          database = "postgres" }).kind)]]):format(server.tcp.port), { PGPASSFILE = folder })
      assert.same({ "authentication_failed\n", "" }, { output, errors })
    end)

  it("of the environment is used where none is given or an empty one, as libpq does", function()
    local output = support.child(([[
      for _, password in ipairs { "", "x" } do
        local answer, err = require "pg".test { host = "127.0.0.1", port = %d, user = "postgres",
          database = "postgres", password = password }
        print(answer and "in" or err.kind)
      end]]):format(server.tcp.port), { PGPASSWORD = server.tcp.password })
    assert.equal("in\nauthentication_failed\n", output)
  end)
end)

describe("a password function", function()
  it("is called for each new connection, so that passwords can rotate (S087)", function()
    local password, calls = "one", 0
    role(admin, "rotated", password)
    local o <const> = tcp {
      user = "rotated",
      password = function(...)
        calls = calls + 1
        assert(select("#", ...) == 0)
        return password
      end,
    }
    local db <close> = assert(pg.connect(o))
    assert(admin:execute "ALTER ROLE rotated PASSWORD 'two'")
    local err = failed("authentication_failed", db:reset())
    assert.equal("28P01", err.sqlstate)
    assert.equal("lost", db:status().state)
    password = "two"
    assert.is_true(db:reset())
    assert.equal("rotated", value(db, "SELECT current_user::text"))
    assert.equal(3, calls)
  end)

  it("may yield", function()
    local answer
    local thread = coroutine.create(function()
      local db <close> = assert(pg.connect(tcp {
        password = function() return coroutine.yield "ask the vault" end,
      }))
      answer = value(db, "SELECT 1")
    end)
    assert.same({ true, "ask the vault" }, { coroutine.resume(thread) })
    assert.same({ true }, { coroutine.resume(thread, server.tcp.password) })
    assert.equal(1, answer)
  end)

  it("that raises raises from pg.connect, with its own value", function()
    local fault <const> = {}
    local ok, problem = pcall(pg.connect, tcp { password = function() error(fault) end })
    assert.is_false(ok)
    assert.equal(fault, problem)
  end)

  it("that has none says why, as the rest of the module does: nil and the reason", function()
    local err = failed("authentication_failed", pg.connect(tcp {
      name = "prod", password = function() return nil, "the vault is shut" end,
    }))
    assert.equal("the password function gave none: the vault is shut", err.message)
    assert.same({ "prod", "the vault is shut" }, { err.connection, err.cause })
    local cause = failed("connection_refused", pg.connect { host = "/nonexistent" })
    err = failed("authentication_failed", pg.connect(tcp {
      password = function() return nil, cause end,
    }))
    assert.equal(cause, err.cause)
    err = failed("authentication_failed", pg.connect(tcp { password = function() end }))
    assert.equal("the password function gave none", err.message)
  end)

  for _, answer in ipairs { 12345, true, {} } do
    it(("that returns a %s raises"):format(type(answer)), function()
      support.raises("must return a string, not a " .. type(answer), function()
        local db = pg.connect(tcp { password = function() return answer end })
        return db
      end)
    end)
  end

  it("that returns a NUL byte raises (C21)", function()
    support.raises("NUL", function()
      local db = pg.connect(tcp { password = function() return "a\0b" end })
      return db
    end)
  end)

  it("may close the connection that is being reset, or reset it itself", function()
    support.alone(admin)
    local db, action
    db = assert(pg.connect(tcp {
      password = function()
        if action then action() end
        return server.tcp.password
      end,
    }))
    action = function()
      action = nil
      assert(db:reset())
    end
    assert(db:reset())
    assert.equal(1, value(db, "SELECT 1"))
    support.eventually(function() return sessions(admin) == 1 end)
    action = function() db:close() end
    support.raises("closed", function() db:reset() end)
    assert.equal("closed", db:status().state)
    support.alone(admin)
  end)
end)

describe("a failed connect", function()
  setup(function()
    role(admin, "nologin", "p", "NOLOGIN")
    role(admin, "limited", "p", "LOGIN CONNECTION LIMIT 0")
    role(admin, "expired", "p", "LOGIN VALID UNTIL '2001-01-01'")
    role(admin, "peerless", "p")
    assert(admin:execute "CREATE DATABASE closed ALLOW_CONNECTIONS false")
  end)

  -- What is wrong, the kind, the options, the SQLSTATE and what the first advice is about.
  local cases <const> = {
    { "C1 S060: nothing listens", "connection_refused", { port = 1 }, nil, "nothing listens" },
    { "C2 S060: an unknown host", "connection_refused", { host = "a..b" }, nil,
      "no address is known" },
    { "C25 S060: no socket", "connection_refused", { host = "/nonexistent" }, nil, "/nonexistent" },
    { "C3 S062: a wrong password", "authentication_failed", { password = "x" }, "28P01",
      "user name is correct" },
    { "S062: an unknown role", "authentication_failed", { user = "nobody" }, "28P01",
      'user name is correct: "nobody"' },
    { "S063: an unknown database", "authentication_failed", { database = "none" }, "3D000",
      'database name is correct: "none"' },
    { "S063: a database that is closed", "authentication_failed", { database = "closed" }, "55000",
      "takes no connections" },
    { "S063: a role without LOGIN", "authentication_failed", { user = "nologin", password = "p" },
      "28000", 'ALTER ROLE "nologin" LOGIN' },
    { "S063: a password whose time is over", "authentication_failed",
      { user = "expired", password = "p" }, "28P01", "user name is correct" },
    { "S062: a sign-in that asks somebody else", "authentication_failed",
      { user = "peerless", password = "p" }, "28000", "with a password" },
    { "C16 S071: a role at its limit", "too_many_connections",
      { user = "limited", password = "p" }, "53300", "pg_stat_activity" },
    { "C5 S025: SSL is required and the server has none", "ssl_failed", { sslmode = "require" },
      nil, 'sslmode = "disable"' },
    { "a setting that the server does not know", "query_failed",
      { options = "-c nonsense=1" }, "42704", "" },
  }
  for _, case in ipairs(cases) do
    local title, kind, more, sqlstate, advice = table.unpack(case, 1, 5)
    it(("is %s (%s)"):format(kind, title), function()
      support.alone(admin)
      local err = failed(kind, pg.connect(tcp(with(more, { name = "prod" }))))
      assert.equal(sqlstate, err.sqlstate)
      contains(err.fixes[1], advice)
      assert.equal("prod", err.connection)
      lacks(tostring(err) .. err:report(), server.tcp.password, "LOCATION")
      lacks(err.message, sqlstate or "FATAL")
      assert.equal(err.message, failed(kind, pg.test(tcp(more))).message)
      support.alone(admin)
    end)
  end

  it("that may pass is retryable, one that will not is not (C15, C16)", function()
    for kind, more in pairs {
      connection_refused = { port = 1 },
      too_many_connections = { user = "limited", password = "p" },
    } do
      assert.is_true(failed(kind, pg.connect(tcp(more))).retryable)
    end
    assert.is_false(failed("authentication_failed", pg.connect(tcp { password = "x" })).retryable)
  end)

  it("never shows the password, whatever fails (S013, S059, S5)", function()
    local secret <const> = "S3CRET%41'\\@"
    for _, more in ipairs {
      {}, { port = 1 }, { host = "a..b" }, { port = 1, sslmode = "verify-full" },
      { sslmode = "require" }, { sslrootcert = "/nonexistent" }, { service = "none" },
      { sslpassword = secret }, { target_session_attrs = "nonsense" }, { options = "--nonsense" },
      { gssencmode = "require" }, { channel_binding = "require" },
    } do
      more.password = secret
      local db, err = pg.connect(tcp(more))
      assert.is_nil(db)
      lacks(tostring(err), "S3CRET")
      lacks(err:report(), "S3CRET")
      for _, field in pairs(err) do lacks(tostring(field), "S3CRET") end
    end
  end)

  local strangers <const> = {
    { "an HTTP server", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" },
    { "an SSH server", "SSH-2.0-OpenSSH_9.2\r\n" },
    { "a mail server", "220 mail.example.com ESMTP\r\n" },
  }
  for _, case in ipairs(strangers) do
    for _, mode in ipairs { "disable", "prefer" } do
      it(("tells %s from PostgreSQL, sslmode %s (C14)"):format(case[1], mode), function()
        local stranger <close> = mock.start(function(session)
          session:read(8)
          session:write(case[2])
        end)
        local err = failed("connection_refused", mock.call(pg.connect, with(stranger.options,
          { sslmode = mode })))
        contains(err.fixes[1], "is this a PostgreSQL port?")
        assert.is_false(err.retryable)
      end)
    end
  end

  it("tells a server that hangs up at once (S014)", function()
    local rude <close> = mock.start(function(session) session:read(8) end)
    for _, mode in ipairs { "disable", "require" } do
      local db, err = mock.call(pg.connect, with(rude.options, { sslmode = mode }))
      assert.is_nil(db)
      assert.equal("connection_refused", err.kind)
    end
  end)

  it("tells a server that is starting up or going down, and may be retried (C15)", function()
    for state, text in pairs {
      ["57P03"] = "the database system is starting up",
      ["57P01"] = "terminating connection due to administrator command",
    } do
      local waking <close> = mock.start(function(session)
        session:startup()
        session:fail { S = "FATAL", V = "FATAL", C = state, M = text }
      end)
      local err = failed("server_unavailable", mock.call(pg.connect, waking.options))
      assert.equal(state, err.sqlstate)
      contains(err.message, text)
      assert.is_true(err.retryable)
    end
  end)

  it("refuses a server below 9.6 and leaves nothing open (S008, S124)", function()
    local version
    local old <close> = mock.start(function(session)
      session:startup()
      session:welcome { server_version = version, client_encoding = "UTF8" }
      session.asked = session:read(1)
    end)
    for i, text in ipairs { "9.5.25", "8.4.22", "9.5beta1", "of an unknown version" } do
      version = text:match "^%d.*"
      local err = failed("unsupported_version", mock.call(pg.connect, old.options))
      contains(err.message, text, "9.6")
      support.eventually(function()
        mock.call(old.options.wait, nil, "r", 0)
        return old.sessions[i].gone
      end)
      assert.equal("X", old.sessions[i].asked) -- Terminate: not a statement
    end
  end)

  it("gives a password to no server that asks for it in clear, when told so (S3)", function()
    local thief <close> = mock.start(function(session)
      session:startup()
      session:send("R", string.pack(">I4", 3))
      session:read(100)
    end)
    local err = failed("authentication_failed", mock.call(pg.connect,
      with(thief.options, { password = "S3CRET", channel_binding = "require" })))
    contains(err.message, "channel binding")
    lacks(thief.heard, "S3CRET")
  end)
end)

describe("a server", function()
  it("that is full says so in both of its wordings (C16, S071)", function()
    role(admin, "app_user", "p")
    local held = {}
    for _, case in ipairs {
      { "app_user", "remaining connection slots" }, { "postgres", "too many clients" },
    } do
      local err
      for _ = 1, 20 do
        held[#held + 1], err = pg.connect(with(server.options, { user = case[1] }))
        if err then break end
      end
      failed("too_many_connections", nil, err)
      assert.equal("53300", err.sqlstate)
      contains(err.message, case[2])
      contains(err.fixes[1], "SELECT count(*) FROM pg_stat_activity")
      assert.is_true(err.retryable)
    end
    for _, db in ipairs(held) do db:close() end
    assert(support.eventually(function() return pg.test(server.options) end).success)
  end)

  describe("of another kind", function()
    local other

    setup(function()
      other = assert(throwaway.start {
        tcp = true, settings = { lc_messages = "C.UTF-8", hot_standby = false },
      })
    end)

    teardown(function()
      other:stop()
    end)

    it("is understood by its SQLSTATEs whatever its language (C3)", function()
      -- The catalogues are chosen by LANGUAGE where no German locale is installed.
      local script <const> = package.searchpath("pg.throwaway", package.path):gsub("lua$", "sh")
      assert(os.execute(("LANGUAGE=de sh %s control %s restart -m fast"):format(script, other.dir)))
      local err = failed("authentication_failed", pg.connect(with(other.tcp, { password = "x" })))
      if err.message:find("password authentication failed", 1, true) then
        return pending "this server has no messages in German"
      end
      assert.same({ "28P01", "FATAL" }, { err.sqlstate, err.severity })
      contains(err.message, "Passwort-Authentifizierung")
      lacks(err.message, "28P01", "auth.c", "ORT:")
      failed("authentication_failed", pg.connect(with(other.tcp, { database = "none" })))
      local db <close> = assert(pg.connect(other.tcp))
      role(db, "Ödön", "p", "LOGIN CONNECTION LIMIT 0")
      err = failed("too_many_connections", pg.connect(with(other.tcp,
        { user = "Ödön", password = "p" })))
      assert.equal("53300", err.sqlstate)
      contains(err.message, "Ödön")
    end)

    it("that takes no sessions yet is unavailable, and may be tried again (C15)", function()
      assert(os.execute("touch " .. other.dir .. "/data/standby.signal"))
      assert(other:control("restart", "-m", "fast"))
      local err = failed("server_unavailable", pg.connect(other.options))
      assert.equal("57P03", err.sqlstate)
      assert.is_true(err.retryable)
    end)
  end)
end)
