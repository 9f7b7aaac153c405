-- SPDX-License-Identifier: MIT
-- psql is the client here: these specs need nothing of the module but the file they name.
local throwaway = require "pg.throwaway"

local lua <const> = os.getenv("LUA") or "lua5.4"

-- What a command prints, and its exit code.
local function shell(command)
  local pipe <close> = io.popen(command .. " 2>&1", "r")
  local output = pipe:read("a")
  local _, how, code = pipe:close()
  return output:gsub("%s+$", ""), how == "signal" and 128 + code or code
end

local function psql(server, sql, conninfo)
  local program = server.bindir .. "/psql"
  if shell("test -x " .. program .. " || echo no") == "no" then program = "psql" end
  return shell(("%s %s -XAtc \"%s\" %s"):format(server:environment(), program, sql,
    conninfo and "'" .. conninfo .. "'" or ""))
end

-- Asks every 50 ms, for ten seconds at most.
local function eventually(condition)
  for _ = 1, 200 do
    if condition() then return true end
    os.execute("sleep 0.05")
  end
  return false
end

local function exists(path)
  return (select(2, shell("test -e '" .. path .. "'"))) == 0
end

-- Nothing is left of the server in `dir`: no file, no process.
local function gone(dir)
  return not exists(dir) and shell("ps -eo args | grep -F '" .. dir .. "' | grep -v grep") == ""
end

-- Starts a Lua program; returns its pipe and the words on its first line.
local function program(text, prefix)
  local pipe = io.popen((prefix or "exec ") .. lua .. " -e '" .. text .. "'", "r")
  local words = {}
  for word in (pipe:read("l") or ""):gmatch("%S+") do words[#words + 1] = word end
  return pipe, table.unpack(words)
end

describe("a throwaway server", function()
  local server

  setup(function()
    server = assert(throwaway.start {
      ssl = true, settings = { max_connections = 17, ["lua.path"] = [[a\b'c]], fsync = true },
      hba = { "host all other 127.0.0.1/32 reject" }, initdb = { "--encoding=LATIN1" },
    })
  end)

  teardown(function()
    server:stop()
  end)

  it("answers on its socket to the superuser postgres", function()
    assert.equal("postgres|on", psql(server,
      "SELECT usename, current_setting('is_superuser') FROM pg_user WHERE usename = current_user"))
    assert.same({ host = server.dir, port = server.options.port, database = "postgres",
      user = "postgres" }, server.options)
  end)

  it("has the settings, the lines of pg_hba.conf and initdb's arguments that were asked for",
    function()
      assert.equal("17", psql(server, "SHOW max_connections"))
      assert.equal([[a\b'c]], psql(server, "SHOW lua.path"))
      assert.equal("on", psql(server, "SHOW fsync"))
      assert.equal("LATIN1", psql(server, "SHOW server_encoding"))
      local conninfo = "host=127.0.0.1 user=other port=" .. server.tcp.port
      assert.matches("rejects connection", (psql(server, "SELECT 1", conninfo)))
    end)

  it("listens on 127.0.0.1 alone, where it asks for the password", function()
    local conninfo = ("host=%s port=%d user=%s dbname=%s"):format(server.tcp.host, server.tcp.port,
      server.tcp.user, server.tcp.database)
    assert.equal("127.0.0.1", psql(server, "SHOW listen_addresses"))
    assert.equal("1", psql(server, "SELECT 1", conninfo .. " password=" .. server.tcp.password))
    assert.matches("no password supplied", (psql(server, "SELECT 1", conninfo .. " passfile=/")))
  end)

  it("has certificates for localhost and 127.0.0.1 by an authority of its own", function()
    local conninfo = "host=localhost sslmode=verify-full port=" .. server.tcp.port
      .. " password=" .. server.tcp.password .. " sslrootcert="
    local query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert.equal("t", psql(server, query, conninfo .. server.ssl.rootcert))
    local output, code = psql(server, query, conninfo .. server.ssl.wrong_rootcert)
    assert.matches("certificate verify failed", output)
    assert.equal(2, code)
    assert.equal(server.ssl.certificate .. ": OK", shell("openssl verify -verify_ip 127.0.0.1"
      .. " -CAfile " .. server.ssl.rootcert .. " " .. server.ssl.certificate))
  end)

  it("can be restarted, and says what pg_ctl says", function()
    local before = psql(server, "SELECT pg_postmaster_start_time()")
    assert(server:control("restart", "-m", "immediate"))
    assert.not_equal(before, psql(server, "SELECT pg_postmaster_start_time()"))
    local ok, message = server:control("nonsense")
    assert.is_nil(ok)
    assert.matches("nonsense", message)
  end)

  it("says where it is, and not the password", function()
    assert.equal("throwaway server in " .. server.dir, tostring(server))
    assert.falsy(server:environment():find(server.tcp.password, 1, true))
  end)
end)

describe("throwaway.start", function()
  it("starts several at once, none of which holds another one up", function()
    local first = assert(throwaway.start { tcp = true })
    local second <close> = assert(throwaway.start { tcp = true })
    assert.equal("1", psql(first, "SELECT 1"))
    first:stop()
    assert.is_true(gone(first.dir))
    assert.equal("throwaway server in " .. first.dir .. " (stopped)", tostring(first))
    first:stop()
    assert.equal("1", psql(second, "SELECT 1"))
  end)

  it("has no TCP port unless asked", function()
    local server <close> = assert(throwaway.start())
    assert.equal("", psql(server, "SHOW listen_addresses"))
    assert.is_nil(server.tcp)
    assert.is_nil(server.ssl)
  end)

  it("stops at the end of a block, whatever children have inherited", function()
    local dir, sleeper
    do
      local server <close> = assert(throwaway.start())
      dir = server.dir
      local file = os.tmpname()
      os.execute("sleep 60 & echo $! >" .. file)
      sleeper = shell("cat " .. file .. "; rm " .. file)
    end
    assert.is_true(gone(dir))
    assert.equal("sleep 60", shell("ps -o args= -p " .. sleeper))
    assert.equal("", shell("kill " .. sleeper))
  end)

  it("works for a plain user", function()
    local dir = shell("mktemp -d /tmp/pg-spec.XXXXXX")
    assert.equal("", shell("mkdir " .. dir .. "/pg; cp lua/pg/throwaway.* " .. dir
      .. "/pg && chmod -R a+rX " .. dir))
    local command = "cd / && LUA_PATH='" .. dir .. "/?.lua' " .. lua
      .. " -e 'os.exit(require(\"pg.throwaway\").run(\"id -u\"))'"
    if shell("id -u") == "0" then
      command = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -c " .. '"'
        .. command:gsub('["\\]', "\\%0") .. '"'
    end
    local output, code = shell(command)
    os.execute("rm -r " .. dir)
    assert.matches("^[1-9]%d*$", output)
    assert.equal(0, code)
  end)

  it("names what to install when there is no server", function()
    local server, message = throwaway.start { bindir = "/nonexistent" }
    assert.is_nil(server)
    assert.matches("no PostgreSQL server programs found in /nonexistent", message, 1, true)
    assert.matches("apt-get install postgresql", message, 1, true)
  end)

  it("names openssl when it is missing", function()
    local dir = shell("mktemp -d /tmp/pg-spec.XXXXXX")
    os.execute("cp -s /usr/bin/* /bin/* " .. dir .. " 2>/dev/null; rm " .. dir .. "/openssl")
    local output = shell("PATH=" .. dir .. " " .. lua
      .. " -e 'print(require(\"pg.throwaway\").start { ssl = true })'")
    os.execute("rm -r " .. dir)
    assert.matches("^nil%s+throwaway: ssl = true makes .* apt%-get install openssl", output)
  end)

  it("shows what initdb and the server said", function()
    local _, message = throwaway.start { initdb = { "--locale=xx_YY" } }
    assert.matches('initdb: .*xx_YY', message)
    _, message = throwaway.start { settings = { shared_buffers = "nonsense" } }
    assert.matches('invalid value for parameter "shared_buffers": "nonsense"', message, 1, true)
  end)

  it("raises for an option it does not know, one of the wrong type, a setting that is none",
    function()
      local function message(options)
        return (select(2, pcall(function() return (throwaway.start(options)) end)))
      end
      assert.matches("^spec/throwaway_spec.lua:%d+: .* unknown option tpc", message { tpc = true })
      assert.matches("^spec/throwaway_spec.lua:%d+: .* hba must be a table", message { hba = "x" })
      assert.matches("^spec/throwaway_spec.lua:%d+: .* not the name of a setting",
        message { settings = { ["a=1\nb"] = 1 } })
    end)
end)

describe("throwaway.run", function()
  it("runs a command on a server of its own and returns its exit code", function()
    local file = os.tmpname()
    assert.equal(7, throwaway.run("echo $PGHOST >" .. file
      .. "; test -S $PGHOST/.s.PGSQL.$PGPORT && exit 7"))
    local dir = shell("cat " .. file .. "; rm " .. file)
    assert.is_true(gone(dir))
    assert.equal(128 + 15, throwaway.run("kill $$"))
  end)

  it("fails, with the message on stderr, when there is no server", function()
    local output, code = shell("PG_THROWAWAY_BINDIR=/nonexistent " .. lua
      .. " -e 'os.exit(require(\"pg.throwaway\").run(\"echo not run\"))'")
    assert.matches("no PostgreSQL server programs", output)
    assert.falsy(output:find("not run"))
    assert.equal(1, code)
  end)
end)

describe("a throwaway server is gone", function()
  it("when its Lua process is killed", function()
    local pipe, pid, dir = program [[
      server = assert(require("pg.throwaway").start())
      io.write(server.owner, " ", server.dir, "\n") io.flush()
      while true do end]]
    assert.is_false(gone(dir))
    assert.equal("", shell("kill -KILL " .. pid))
    assert.is_true(eventually(function() return gone(dir) end))
    pipe:close()
  end)

  it("when its Lua process is killed and a child lives on", function()
    local pipe, pid, child, dir = program [[
      require("pg.throwaway").run("echo $PPID $$ $PGHOST; exec sleep 60 >/dev/null")]]
    assert.is_false(gone(dir))
    assert.equal("", shell("kill -KILL " .. pid))
    pipe:close()
    assert.is_true(eventually(function() return gone(dir) end))
    assert.equal("", shell("kill " .. child))
  end)

  it("when Ctrl-C interrupts the command and its Lua process", function()
    local pipe, pid, dir = program([[
      os.exit(require("pg.throwaway").run("echo $PPID $PGHOST; exec sleep 60"))]], "exec setsid ")
    assert.is_false(gone(dir))
    assert.equal("", shell("kill -s INT -- -" .. pid))
    local _, how, code = pipe:close()
    assert.same({ "exit", 128 + 2 }, { how, code })
    assert.is_true(gone(dir))
  end)

  it("when the program raises, or ends without closing it", function()
    for _, ending in ipairs { "error {}", "os.exit()", "server = nil collectgarbage()" } do
      local pipe, dir = program([[
        server = assert(require("pg.throwaway").start())
        io.write(server.dir, "\n") io.flush() ]] .. ending .. " --", "2>/dev/null exec ")
      pipe:close()
      assert.is_true(eventually(function() return gone(dir) end), ending)
    end
  end)
end)
