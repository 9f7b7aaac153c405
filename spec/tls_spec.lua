-- SPDX-License-Identifier: MIT
-- Encryption: the `require` default, what names an sslmode and is left alone, the modes with
-- libpq's meaning, and the files.
local mock = require "spec.fault.mock"
local pg = require "pg"
local socket = require "socket"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, lacks <const>, failed <const> =
  support.contains, support.lacks, support.failed
local with <const>, value <const> = support.with, support.value

-- 127.0.0.1, spelt so that it does not look like it: the C library reads it as a number.
local REMOTE <const> = "2130706433"

-- A name that nobody looks up, at an address that is spelt so.
local FAR <const> = { host = "db.example.com", hostaddr = REMOTE }

-- One server with TLS and one without, both on 127.0.0.1 and, where there is one, on ::1.
local secure, plain, folder

local function on(server, more)
  return with(server.tcp, more)
end

setup(function()
  local settings <const> = { listen_addresses = "127.0.0.1, ::1" }
  secure = assert(throwaway.start {
    ssl = true, settings = with(settings, { ssl_ca_file = "../ca.crt" }),
    hba = {
      "hostnossl all encrypted 127.0.0.1/32 reject",
      "hostssl all certified 127.0.0.1/32 cert",
      "host all rejected 127.0.0.1/32 reject", "host all all ::1/128 scram-sha-256",
    },
  })
  plain = assert(throwaway.start {
    tcp = true, settings = settings, hba = { "host all all ::1/128 scram-sha-256" },
  })
  folder = support.folder()
  local admin <close> = assert(pg.connect(secure.options))
  for _, name in ipairs { "encrypted", "certified", "rejected" } do
    support.role(admin, name, "p")
  end
end)

teardown(function()
  secure:stop()
  plain:stop()
  os.execute("rm -rf " .. folder)
end)

-- "TLS", "clear", or what kept it from connecting.
local function outcome(given)
  local db <close>, err = pg.connect(given)
  if not db then return err.kind end
  return db:status().ssl and "TLS" or "clear"
end

-- The same in a process of its own, for an environment; it must print nothing else.
local function outcome_there(given, environment)
  local output, errors = support.child(([[
    local db, err = require "pg".connect(%s)
    print(not db and err.kind or db:status().ssl and "TLS" or "clear")]]):format(given),
    environment)
  assert.equal("", errors)
  return (output:gsub("\n$", ""))
end

describe("without an sslmode", function()
  local address <const> = socket.dns.toip(socket.dns.gethostname())

  for _, host in ipairs { REMOTE, "this machine's own name", "127.0.0.1," .. REMOTE } do
    it(("%s gets require (S016, S086)"):format(host), function()
      if host:find "own name" and address ~= "127.0.0.1" then
        return pending "this machine's name does not lead to 127.0.0.1"
      end
      host = host:gsub("^.*own name$", socket.dns.gethostname)
      assert.equal("TLS", outcome(on(secure, { host = host })))
      local err = failed("ssl_failed", pg.connect(on(plain, { host = host:match "[^,]*$" })))
      contains(err.fixes[1], "Turn TLS on", 'sslmode = "disable"')
    end)
  end

  local near <const> = {
    { host = "127.0.0.1" }, { host = "localhost" }, { host = "LocalHost" }, { host = "127.0.0.1 " },
    { host = "127.0.0.1,localhost" }, { hostaddr = "127.0.0.1", host = false },
    { host = "db.example.com", hostaddr = "127.0.0.1" }, { host = "127.1" },
  }
  for _, place in ipairs(near) do
    it(("%s is left to libpq: loopback by its spelling (S016)"):format(
      (place.host or "") .. (place.hostaddr and " at " .. place.hostaddr or "")), function()
      assert.equal("clear", outcome(on(plain, place)))
      assert.equal("TLS", outcome(on(secure, place)))
    end)
  end

  it("::1 is left to libpq (S016)", function()
    local there = socket.connect("::1", plain.tcp.port)
    if not there then return pending "this machine has no ::1" end
    there:close()
    for _, host in ipairs { "::1", "[::1]" } do
      assert.equal("clear", outcome(on(plain, { host = host })))
    end
    assert.equal("clear", outcome(on(plain, { host = false, hostaddr = "::1" })))
  end)

  it("a socket is left to libpq, also the default one (S016)", function()
    assert.equal("clear", outcome(plain.options))
    assert.equal("clear", outcome_there("{}", { PGHOST = plain.dir, PGUSER = "postgres",
      PGPORT = plain.tcp.port, PGDATABASE = "postgres" }))
  end)

  it("one remote host makes the list remote, with its address beside it or without (S016)",
    function()
      local port <const> = plain.tcp.port
      for _, place in ipairs {
        { host = "127.0.0.1," .. REMOTE }, { host = REMOTE .. ",127.0.0.1" },
        { host = "localhost," .. REMOTE, hostaddr = "127.0.0.1," },
        { host = false, hostaddr = "127.0.0.1," .. REMOTE },
        { host = { "localhost", REMOTE }, port = { port, port } },
      } do
        assert.equal("ssl_failed", outcome(on(plain, place)))
      end
      assert.equal("clear", outcome(on(plain, { host = "x," .. REMOTE,
        hostaddr = "127.0.0.1,127.0.0.1" })))
    end)

  it("an empty sslmode is none (S024)", function()
    assert.equal("ssl_failed", outcome(on(plain, { host = REMOTE, sslmode = "" })))
    assert.equal("ssl_failed", outcome(("host=%s port=%d user=postgres sslmode=''"):format(REMOTE,
      plain.tcp.port)))
  end)

  it("no password leaves for a host that has no TLS (S3)", function()
    local thief <close> = mock.start(function(session)
      session:startup()
      session:send("R", string.pack(">I4", 3)) -- in clear, please
      session:read(1000)
    end)
    failed("ssl_failed", mock.call(pg.connect, with(thief.options, {
      host = REMOTE, user = "app_user", password = "S3CRET",
    })))
    lacks(thief.heard, "S3CRET", "app_user")
  end)

  it("the host may come from a URI, the environment or a service (S016)", function()
    local port <const>, password <const> = plain.tcp.port, plain.tcp.password
    assert.equal("ssl_failed", outcome(("postgresql://postgres:%s@%s:%d/postgres"):format(password,
      REMOTE, port)))
    local services <const> = folder .. "/hosts"
    support.write(services, ("[far]\nhost=%s\nport=%d\n[near]\nhost=127.0.0.1\nport=%d\n"):format(
      REMOTE, port, port))
    local sign_in <const> = ("{ user = 'postgres', password = %q, %%s }"):format(password)
    for _, case in ipairs {
      { "port = " .. port, { PGHOST = REMOTE }, "ssl_failed" },
      { "port = " .. port, { PGHOSTADDR = "127.0.0.1", PGHOST = "x" }, "clear" },
      { "service = 'far'", {}, "ssl_failed" }, { "service = 'near'", {}, "clear" },
      { "", { PGSERVICE = "far" }, "ssl_failed" }, { "", { PGSERVICE = "near" }, "clear" },
      { "host = '127.0.0.1'", { PGSERVICE = "far" }, "clear" },
    } do
      case[2].PGSERVICEFILE = services
      assert.equal(case[3], outcome_there(sign_in:format(case[1]), case[2]), case[1])
    end
  end)
end)

describe("an sslmode (S125)", function()
  it("is taken as it is wherever it is named, never overridden (S016, S086)", function()
    local function uri(server, query)
      return ("postgresql://postgres:%s@%s:%d/postgres?%s"):format(server.tcp.password, REMOTE,
        server.tcp.port, query)
    end
    for _, mode in ipairs { "disable", "allow", "prefer" } do
      assert.equal("clear", outcome(on(plain, { host = REMOTE, sslmode = mode })))
      assert.equal("clear", outcome(uri(plain, "sslmode=" .. mode)))
      assert.equal("clear", outcome(("host=%s port=%d user=postgres password=%s sslmode=%s"):format(
        REMOTE, plain.tcp.port, plain.tcp.password, mode)))
      assert.equal("clear", outcome_there(("%q"):format(uri(plain, "")), { PGSSLMODE = mode }))
    end
  end)

  it("of a service stands, but for prefer, which libpq cannot tell from none (S016)", function()
    local services <const> = folder .. "/modes"
    local text = ""
    for _, mode in ipairs { "disable", "allow", "prefer", "require", "verify-full" } do
      text = text .. ("[%s]\nhost=%s\nport=%d\nuser=postgres\nsslmode=%s\nsslrootcert=%s\n"):format(
        mode, REMOTE, secure.tcp.port, mode, secure.ssl.wrong_rootcert)
    end
    support.write(services, text)
    for mode, expected in pairs {
      disable = "clear", allow = "clear", prefer = "ssl_failed", require = "ssl_failed",
      ["verify-full"] = "ssl_failed",
    } do
      local given <const> = ("{ password = %q, service = %q }"):format(secure.tcp.password, mode)
      assert.equal(expected, outcome_there(given, { PGSERVICEFILE = services }), mode)
    end
  end)

  it("is never weakened to require (S016)", function()
    local right <const>, password <const> = secure.ssl.rootcert, secure.tcp.password
    local services <const> = folder .. "/strict"
    local place <const> = { FAR.host, FAR.hostaddr, secure.tcp.port, right }
    support.write(services, ("[strict]\nhost=%s\nhostaddr=%s\nport=%d\nsslrootcert=%s\n"
      .. "sslmode=verify-full\n"):format(table.unpack(place)))
    local given <const> = ("{ user = 'postgres', password = %q, %%s }"):format(password)
    local there <const> = ("host = %q, hostaddr = %q, port = %d, sslrootcert = %q"):format(
      table.unpack(place))
    -- The certificate is for localhost: under require these would connect.
    for _, case in ipairs {
      { there, {}, "TLS" }, { there, { PGSSLMODE = "verify-full" }, "ssl_failed" },
      { "service = 'strict'", {}, "ssl_failed" }, { "", { PGSERVICE = "strict" }, "ssl_failed" },
      { "service = 'strict', sslmode = 'require'", {}, "TLS" },
      { there .. ", sslmode = 'require'", { PGSSLMODE = "verify-full" }, "TLS" },
    } do
      case[2].PGSERVICEFILE = services
      assert.equal(case[3], outcome_there(given:format(case[1]), case[2]), case[1])
    end
    local query <const> = ("hostaddr=%s&sslmode=verify-full&sslrootcert=%s"):format(FAR.hostaddr,
      right)
    assert.equal("ssl_failed", outcome(("postgresql://postgres:%s@%s:%d/postgres?%s"):format(
      password, FAR.host, secure.tcp.port, query)))
  end)

  -- The server, the options and what comes of it.
  local function cases()
    local right <const>, wrong <const> = secure.ssl.rootcert, secure.ssl.wrong_rootcert
    return {
      { "S024", secure, { sslmode = "disable" }, "clear" },
      { "S028", secure, { sslmode = "allow" }, "clear" },
      { "S028", secure, { sslmode = "prefer" }, "TLS" },
      { "S028", plain, { sslmode = "prefer" }, "clear" },
      { "S025", secure, { sslmode = "require" }, "TLS" },
      { "S025", secure, { sslmode = "require", host = REMOTE }, "TLS" },
      { "S025, C5", plain, { sslmode = "require" }, "ssl_failed" },
      { "S025, C7: with a CA it verifies it", secure,
        { sslmode = "require", sslrootcert = wrong }, "ssl_failed" },
      { "S025, C7: but not the name", secure,
        { sslmode = "require", sslrootcert = right, host = REMOTE }, "TLS" },
      { "S026", secure, { sslmode = "verify-ca", sslrootcert = right }, "TLS" },
      { "S026: not the name", secure,
        { sslmode = "verify-ca", sslrootcert = right, host = REMOTE }, "TLS" },
      { "S026, C6", secure, { sslmode = "verify-ca", sslrootcert = wrong }, "ssl_failed" },
      { "S026", plain, { sslmode = "verify-ca", sslrootcert = right }, "ssl_failed" },
      { "S027", secure, { sslmode = "verify-full", sslrootcert = right, host = "localhost" },
        "TLS" },
      { "S027: an address", secure, { sslmode = "verify-full", sslrootcert = right }, "TLS" },
      { "S027: a name and its address", secure, { sslmode = "verify-full", sslrootcert = right,
        host = "localhost", hostaddr = "127.0.0.1" }, "TLS" },
      { "S027, C6: a wrong name", secure, { sslmode = "verify-full", sslrootcert = right,
        host = "db.example.com", hostaddr = "127.0.0.1" }, "ssl_failed" },
      { "S027, C6", secure, { sslmode = "verify-full", sslrootcert = wrong, host = "localhost" },
        "ssl_failed" },
      { "S027", plain, { sslmode = "verify-full", sslrootcert = right }, "ssl_failed" },
    }
  end

  it("has libpq's meaning (S024 to S028)", function()
    for _, case in ipairs(cases()) do
      local title, server, more, expected = table.unpack(case)
      assert.equal(expected, outcome(on(server, more)), ("%s: %s"):format(title, pg.encode(more)))
    end
  end)

  it("that fails says which: the name, the CA, or no TLS at all (S026, S027)", function()
    local right <const>, wrong <const> = secure.ssl.rootcert, secure.ssl.wrong_rootcert
    local err = failed("ssl_failed", pg.connect(on(secure, { sslmode = "verify-full",
      sslrootcert = right, host = "db.example.com", hostaddr = "127.0.0.1" })))
    contains(err.message, 'does not match host name "db.example.com"')
    contains(err.fixes[1], 'host = "localhost"')
    err = failed("ssl_failed", pg.connect(on(secure, { sslmode = "verify-ca",
      sslrootcert = wrong })))
    contains(err.message, "certificate verify failed")
    contains(err.fixes[1], "sslrootcert")
    err = failed("ssl_failed", pg.connect(on(plain, { sslmode = "verify-ca",
      sslrootcert = right })))
    contains(err.message, "does not support SSL")
    contains(err.fixes[1], "Turn TLS on")
  end)

  it("shows in status and pg.test: version and cipher (S029)", function()
    local answer = assert(pg.test(on(secure, { sslmode = "require" })))
    contains(answer.ssl.version, "TLSv1.")
    assert.is_true(#answer.ssl.cipher > 3)
    assert.is_false(assert(pg.test(on(secure, { sslmode = "disable" }))).ssl)
    local db <close> = assert(pg.connect(on(secure)))
    assert.is_true(value(db, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    assert.same(answer.ssl, db:status().ssl)
  end)

  it("that the server insists on is advised (C4, S064, S065)", function()
    local o <const> = on(secure, { user = "encrypted", password = "p" })
    local err = failed("ssl_required", pg.connect(with(o, { sslmode = "disable" })))
    contains(err.fixes[1], 'sslmode = "require"')
    assert.equal("28000", err.sqlstate)
    assert.equal("TLS", outcome(o))
  end)

  it("is not blamed when the server refuses for another reason (S061, S062)", function()
    for _, mode in ipairs { "prefer", "require" } do
      local err = failed("authentication_failed", pg.connect(on(secure, { user = "rejected",
        password = "p", sslmode = mode })))
      contains(err.fixes[1], "allow-list")
      failed("authentication_failed", pg.connect(on(secure, { password = "x", sslmode = mode })))
    end
  end)
end)

describe("a file that is named", function()
  local files <const> = { "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir", "passfile" }

  -- Nobody may have knocked there.
  local function unvisited(f)
    local listener = assert(socket.bind("127.0.0.1", 0))
    listener:settimeout(0)
    f(select(2, listener:getsockname()))
    assert.is_nil((listener:accept()))
    listener:close()
  end

  for _, name in ipairs(files) do
    it(("%s must be there: else it is an error before connecting (S026, C6, C7)"):format(name),
      function()
        local kind <const> = name == "passfile" and "authentication_failed" or "ssl_failed"
        unvisited(function(port)
          for _, path in ipairs { "/nonexistent", "/dev/null/x" } do
            for _, given in ipairs {
              { host = "127.0.0.1", port = port, [name] = path, name = "prod" },
              ("postgresql://127.0.0.1:%d/?%s=%s"):format(port, name, path),
            } do
              local err = failed(kind, pg.connect(given))
              contains(err.message, name, path)
            end
          end
        end)
      end)
  end

  it("may be named by the environment or a service (S026)", function()
    local services <const> = folder .. "/files"
    unvisited(function(port)
      support.write(services, ("[x]\nhost=127.0.0.1\nport=%d\nsslcrl=/nonexistent\n"):format(port))
      local given <const> = ("{ host = '127.0.0.1', port = %d }"):format(port)
      for _, case in ipairs {
        { given, { PGSSLROOTCERT = "/nonexistent" } }, { given, { PGSSLCRL = "/nonexistent" } },
        { "{ service = 'x' }", {} }, { "{}", { PGSERVICE = "x" } },
      } do
        case[2].PGSERVICEFILE = services
        assert.equal("ssl_failed", outcome_there(case[1], case[2]))
      end
    end)
  end)

  it('is one but for sslrootcert = "system" (S026)', function()
    local o <const> = on(secure, { sslmode = "verify-full", sslrootcert = "system" })
    local err = failed("ssl_failed", pg.connect(o)) -- the operating system does not know our CA
    if pg.libpq < 160000 then contains(err.message, "libpq 16") end
    if pg.libpq >= 160000 then contains(err.message, "certificate") end
  end)

  it("that was revoked is refused when the list is there (C6)", function()
    local crl <const> = folder .. "/ca.crl"
    local serial = support.run(("openssl x509 -noout -serial -in %s"):format(
      secure.ssl.certificate)):match "=(%x+)"
    support.write(folder .. "/index", ("R\t491231235959Z\t200101000000Z\t%s\tunknown\t/CN=x\n")
      :format(serial))
    support.write(folder .. "/ca.conf", ("[ca]\ndefault_ca = x\n[x]\ndatabase = %s/index\n"
      .. "default_md = sha256\ndefault_crl_days = 30\n"):format(folder))
    local _, problem, code = support.run(("openssl ca -gencrl -config %s/ca.conf -cert %s/ca.crt "
      .. "-keyfile %s/ca.key -out %s"):format(folder, secure.dir, secure.dir, crl))
    assert(code == 0, problem)
    local o <const> = on(secure, { sslmode = "verify-ca", sslrootcert = secure.ssl.rootcert })
    assert.equal("TLS", outcome(o))
    local err = failed("ssl_failed", pg.connect(with(o, { sslcrl = crl })))
    contains(err.message, "certificate")
  end)
end)

describe("a client's certificate", function()
  local function openssl(command, ...)
    local _, problem, code = support.run("cd " .. folder .. " && openssl " .. command:format(...))
    assert(code == 0, problem)
  end

  local function options(more)
    return on(secure, with({
      user = "certified", password = false, sslmode = "require",
      sslcert = folder .. "/certified.crt", sslkey = folder .. "/certified.key",
    }, more))
  end

  setup(function()
    openssl("ecparam -name prime256v1 -genkey -noout -out certified.key")
    openssl("req -new -key certified.key -subj /CN=certified -out req")
    openssl("x509 -req -days 30 -in req -CA %s/ca.crt -CAkey %s/ca.key -set_serial 7 -out %s",
      secure.dir, secure.dir, "certified.crt")
    openssl("ec -in certified.key -aes256 -passout pass:opensesame -out locked.key")
    assert(os.execute(("cd %s && cp certified.key open.key && chmod 600 certified.key locked.key "
      .. "&& chmod 644 open.key"):format(folder)))
  end)

  it("signs in", function()
    assert.equal("TLS", outcome(options()))
    assert.equal("TLS", outcome(options { sslkey = folder .. "/locked.key",
      sslpassword = "opensesame" }))
  end)

  it("that is missing, or another's, does not (S062)", function()
    failed("authentication_failed", pg.connect(options { sslcert = false, sslkey = false }))
    local err = failed("authentication_failed", pg.connect(options { user = "postgres",
      password = "x" }))
    assert.equal("28P01", err.sqlstate) -- no certificate is asked of this one
  end)

  it("needs a key that its owner alone may read (C9)", function()
    local err = failed("ssl_failed", pg.connect(options { sslkey = folder .. "/open.key" }))
    contains(err.message, "open.key")
  end)

  it("with a wrong password for its key fails at once, without showing it (C8)", function()
    local err = failed("ssl_failed", pg.connect(options { sslkey = folder .. "/locked.key",
      sslpassword = "S3CRET" }))
    lacks(tostring(err) .. err:report(), "S3CRET")
  end)

  it("with a locked key and no password never asks on the terminal (C8)", function()
    if not os.execute "command -v script >/dev/null && command -v timeout >/dev/null" then
      return pending "script and timeout (util-linux, coreutils) give the terminal"
    end
    local program <const> = ([[
      for _, password in ipairs { false, "" } do
        local _, err = require("pg").connect { host = "127.0.0.1", port = %d, user = "certified",
          database = "postgres", sslmode = "require", sslcert = %q, sslkey = %q,
          sslpassword = password or nil }
        print(err.kind)
      end]]):format(secure.tcp.port, folder .. "/certified.crt", folder .. "/locked.key")
    support.write(folder .. "/locked.lua", program)
    local command <const> = support.quote(support.lua .. " " .. folder .. "/locked.lua")
    local output, _, code = support.run("timeout 20 script -qec " .. command
      .. " /dev/null </dev/null")
    assert.equal(0, code)
    assert.equal("ssl_failed ssl_failed", (output:gsub("%s+", " "):gsub(" $", "")))
  end)
end)
