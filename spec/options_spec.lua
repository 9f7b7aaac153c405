-- SPDX-License-Identifier: MIT
-- What pg.connect takes, before anything is connected to.
local core = require "pg.core"
local options = require "pg.options"
local pg = require "pg"
local support = require "spec.support"

local contains <const>, lacks <const> = support.contains, support.lacks

local SECRET <const> = "S3CRET"

local function keywords(given)
  return options.specification(given, 1).keywords
end

-- The message that wrong options raise.
local function refusal(given)
  local ok, message = pcall(options.specification, given, 1)
  assert(not ok, "nothing was raised")
  return message
end

describe("the table of options", function()
  it("has the seed's six fields under their own names (S016, S019 to S023)", function()
    local k = keywords { host = "db.example.com", port = 5432, database = "myapp_production",
      username = "app_user", password = SECRET, sslmode = "require" }
    assert.same({ "db.example.com", "5432", "myapp_production", "app_user", SECRET, "require" },
      { k.host, k.port, k.dbname, k.user, k.password, k.sslmode })
  end)

  it("takes every keyword of libpq under its own name (S016)", function()
    local values = { port = 5432, sslmode = "disable", client_encoding = "UTF8",
      connect_timeout = 3, keepalives = true }
    for name in pairs(core.keywords()) do
      if name ~= "replication" then
        assert(pcall(options.specification, { [name] = values[name] or "x" }, 1), name)
      end
    end
  end)

  local same <const> = {
    { "database", "dbname", "a", "b" }, { "username", "user", "a", "b" },
  }
  for _, case in ipairs(same) do
    local alias, name, one, other = table.unpack(case)
    it(("takes %s for %s, and both only if they agree (S011, S012)"):format(alias, name), function()
      assert.equal(one, keywords({ [alias] = one })[name])
      assert.equal(one, keywords({ [alias] = one, [name] = one })[name])
      assert.equal(one, keywords({ [alias] = one, [name] = "" })[name])
      local message = refusal { [alias] = one, [name] = other }
      contains(message, name .. " is given twice")
    end)
  end

  local unknown <const> = {
    { "passwrd", "password" }, { "hots", "host" }, { "Host", "host" }, { "data_base", "database" },
    { "usr", "user" }, { "sslMode", "sslmode" }, { "ssl_mode", "sslmode" },
    { "time_out", "timeout" }, { "maxresult", "max_result" }, { "readOnly", "readonly" },
    { "application", "application_name" }, { "frobnicate", nil }, { "", nil },
  }
  for _, case in ipairs(unknown) do
    it(("raises for %q and %s (S016, C23)"):format(case[1],
      case[2] and "names " .. case[2] or "names nothing that is not near"), function()
      local message = refusal { [case[1]] = "x" }
      contains(message, ("unknown option '%s'"):format(case[1]))
      assert.equal(case[2], message:match "did you mean '(.-)'")
    end)
  end

  it("raises for a value without a name", function()
    contains(refusal { "db.example.com" }, "options are named")
    contains(refusal { [true] = "x" }, "options are named")
  end)

  it("takes what is empty as not given, as libpq does: a form's empty field weakens nothing (S024)",
    function()
      local spec = options.specification({ sslmode = "", host = " ", port = "", database = "",
        user = "", sslrootcert = "", options = "" }, 1)
      for _, name in ipairs { "sslmode", "host", "port", "dbname", "user", "sslrootcert" } do
        assert.is_nil(spec.keywords[name], name)
      end
      assert.is_true(spec.open_ssl)
    end)

  it("raises for what is neither a table, a string nor absent", function()
    for _, given in ipairs { 42, true, print } do
      contains(refusal(given), "pg.connect takes a table of options, a URI or a name, not a "
        .. type(given))
    end
  end)
end)

describe("a host", function()
  local trimmed <const> = {
    { " db.example.com ", "db.example.com" }, { "\tdb\n", "db" }, { "db1 , db2", "db1,db2" },
    { { "db1 ", " db2" }, "db1,db2" }, { "db1,,db2", "db1,,db2" }, { "[::1]", "::1" },
    { "::1", "::1" }, { "10.0.0.7", "10.0.0.7" }, { "/run/my server", "/run/my server" },
    { " /run/pg ", "/run/pg" }, { "@abstract", "@abstract" },
  }
  for _, case in ipairs(trimmed) do
    local shown = type(case[1]) == "table" and table.concat(case[1], "|") or case[1]
    it(("%q is %q (S009, S019)"):format(shown, case[2]), function()
      assert.equal(case[2], keywords({ host = case[1] }).host)
    end)
  end

  local refused <const> = {
    { "postgresql://u:" .. SECRET .. "@db/app", "a whole URI goes to pg.connect" },
    { "https://db.example.com", "a whole URI goes to pg.connect" },
    { "db.example.com:5433", "host = 'db.example.com', port = 5433" },
    { "db1,db2:5433", "host = 'db2', port = 5433" },
    { "10.0.0.7:5432", "host = '10.0.0.7', port = 5432" },
  }
  for _, case in ipairs(refused) do
    it(("%q is refused with advice (S019)"):format(case[1]:gsub(SECRET, "...")), function()
      local message = refusal { host = case[1] }
      contains(message, case[2])
      lacks(message, SECRET)
    end)
  end
end)

describe("a port", function()
  local good <const> = {
    { 1, "1" }, { 65535, "65535" }, { 5432.0, "5432" }, { "5432", "5432" }, { " 5432 ", "5432" },
    { "5432,5433", "5432,5433" }, { { 5432, "5433" }, "5432,5433" }, { "", nil },
  }
  for _, case in ipairs(good) do
    local shown = type(case[1]) == "table" and "a list" or ("%q"):format(case[1])
    it(("may be %s (S010)"):format(shown), function()
      assert.equal(case[2], keywords({ port = case[1] }).port)
    end)
  end

  local bad <const> = {
    0, 65536, -1, math.maxinteger, "x", "0x1538", "1e3", "5432 5433", "54 32", "5432,0", "+1",
    "1.5", "99999999999999999999",
  }
  for _, port in ipairs(bad) do
    it(("may not be %q (S010)"):format(port), function()
      contains(refusal { port = port }, "port must be a number from 1 to 65535")
    end)
  end

  it("may not be a fraction, infinite or nan (S010)", function()
    for _, port in ipairs { 5432.5, math.huge, 0 / 0 } do
      contains(refusal { port = port }, "port cannot be")
    end
  end)

  it("is one for all hosts, or one for each (S010)", function()
    assert.equal("5433", keywords({ host = "a,b,c", port = 5433 }).port)
    assert.equal("1,2,3", keywords({ host = { "a", "b", "c" }, port = { 1, 2, 3 } }).port)
    contains(refusal { host = "a,b,c", port = "1,2" }, "there are 2 ports for 3 hosts")
    contains(refusal { host = "a", port = "1,2" }, "there are 2 ports for 1 hosts")
    contains(refusal { hostaddr = "10.0.0.1,10.0.0.2", port = "1,2,3" }, "3 ports for 2 hosts")
  end)
end)

describe("a NUL byte", function()
  for _, name in ipairs { "host", "hostaddr", "port", "database", "dbname", "user", "username",
    "password", "name", "application_name", "options", "sslmode", "sslrootcert", "sslkey",
    "sslpassword", "passfile", "service", "target_session_attrs" } do
    it(("is refused in %s, where C would end the text (C21)"):format(name), function()
      contains(refusal { [name] = "5\0 sslmode=disable" }, "holds a NUL byte")
    end)
  end

  it("is refused in a list of hosts, a URI and a conninfo string (C21)", function()
    contains(refusal { host = { "a", "b\0c" } }, "holds a NUL byte")
    contains(refusal "postgresql://db/app\0?sslmode=verify-full", "holds a NUL byte")
    contains(refusal "host=db\0 sslmode=verify-full", "holds a NUL byte")
  end)
end)

describe("an option of the wrong type", function()
  local cases <const> = {
    { "user", {}, "user must be a string, not a table" },
    { "user", print, "user must be a string, not a function" },
    { "password", true, "password must be a string, not a boolean" },
    { "password", {}, "password must be a string, not a table" },
    { "host", true, "host must be a string, not a boolean" },
    { "host", {}, "host is an empty list" },
    { "host", { {} }, "host must be a list of strings" },
    { "database", false, "dbname must be a string, not a boolean" },
    { "keepalives_idle", 1.5, "keepalives_idle cannot be 1.5" },
    { "name", 7, "name must be a string, not a number" },
    { "readonly", "yes", "readonly must be true or false" },
    { "readonly", 1, "readonly must be true or false" },
    { "wait", "cqueues", "wait must be a function" },
    { "wait", {}, "wait must be a function" },
    { "connect_timeout", -1, "connect_timeout must be a number of seconds" },
    { "connect_timeout", "soon", "connect_timeout must be a number of seconds" },
    { "connect_timeout", 0 / 0, "connect_timeout must be a number of seconds" },
    { "connect_timeout", true, "connect_timeout must be a number of seconds" },
    { "connect_timeout", {}, "connect_timeout must be a number of seconds" },
    { "client_encoding", "LATIN1", "client_encoding must be UTF8" },
    { "client_encoding", "auto", "client_encoding must be UTF8" },
    { "replication", "database", "replication connections are not for queries" },
  }
  for _, case in ipairs(cases) do
    local name, value, message = table.unpack(case)
    local shown = (type(value) == "table" or type(value) == "function") and "a " .. type(value)
      or tostring(value)
    it(("%s = %s raises and names it (S032)"):format(name, shown), function()
      contains(refusal { [name] = value }, message)
    end)
  end

  -- Settings are judged by the core, which a table of a dead server must not hide.
  local settings <const> = {
    { "timeout", 0 }, { "timeout", -1 }, { "timeout", "60" }, { "timeout", 0 / 0 },
    { "timeout", 61 }, { "timeout", math.huge }, { "max_result", 0 }, { "max_result", "10" },
    { "max_result", 2 ^ 30 }, { "rows", "list" }, { "rows", 1 }, { "numeric", "float" },
    { "json", "table" }, { "null", true }, { "null", "null" }, { "timestamps", "unix" },
    { "timestamps", true },
  }
  for _, case in ipairs(settings) do
    it(("%s = %s raises before anything is connected to"):format(case[1], case[2]), function()
      local ok, message = pcall(pg.connect, { host = "/nonexistent", [case[1]] = case[2] })
      assert.is_false(ok)
      contains(message, case[1])
    end)
  end
end)

describe("an sslmode", function()
  for _, mode in ipairs { "disable", "allow", "prefer", "require", "verify-ca", "verify-full" } do
    it(("may be %s (S024 to S028)"):format(mode), function()
      local spec = options.specification({ sslmode = mode }, 1)
      assert.equal(mode, spec.keywords.sslmode)
      assert.is_false(spec.open_ssl)
    end)
  end
  local others <const> = { "required", "on", "REQUIRE", "verify_full", "true", "none", " require" }
  for _, mode in ipairs(others) do
    it(("may not be %q: the message lists the four (S028)"):format(mode), function()
      contains(refusal { sslmode = mode }, "disable, require, verify-ca, verify-full")
    end)
  end
end)

describe("connect_timeout", function()
  it("may be a number or text, a fraction, and 0 for the default", function()
    for _, value in ipairs { 0, 10, 0.5, "3", math.huge } do
      assert.equal(tonumber(value), options.specification({ connect_timeout = value }, 1)
        .connect_timeout)
    end
    assert.equal(7, options.specification("postgresql:///?connect_timeout=7", 1).connect_timeout)
    assert.equal(7, options.specification("connect_timeout=7", 1).connect_timeout)
    contains(refusal "connect_timeout=soon", "connect_timeout must be a number of seconds")
  end)
end)

describe("a name", function()
  it("is sent as application_name, unless another one is given (S018)", function()
    local spec = options.specification({ name = "Production Database" }, 1)
    assert.equal("Production Database", spec.name)
    assert.equal("Production Database", spec.keywords.application_name)
    assert.equal("nightly", keywords({ name = "Production", application_name = "nightly" })
      .application_name)
    assert.equal("lua-pg", keywords({}).fallback_application_name)
  end)
end)

describe("a string", function()
  local parsed <const> = {
    { "postgresql://app_user:p%40s%25s@db.example.com:5433/my%20app?sslmode=require",
      { user = "app_user", password = "p@s%s", host = "db.example.com", port = "5433",
        dbname = "my app", sslmode = "require" } },
    { "postgres://db1,db2:5433/app?target_session_attrs=read-write",
      { host = "db1,db2", port = ",5433", dbname = "app", target_session_attrs = "read-write" } },
    { "postgresql://[::1]/app", { host = "::1", dbname = "app" } },
    { "postgresql:///app?host=/run/my%20server", { host = "/run/my server", dbname = "app" } },
    { "postgresql://", {} },
    { [[host=db user='o\'neil' password='a \' b\\c' dbname = 'my app']],
      { host = "db", user = "o'neil", password = [[a ' b\c]], dbname = "my app" } },
    { "host=/run/pg service=x", { host = "/run/pg", service = "x" } },
  }
  for _, case in ipairs(parsed) do
    it(("%s is read as libpq reads it"):format(case[1]), function()
      local k = keywords(case[1])
      for name, value in pairs(case[2]) do assert.equal(value, k[name], name) end
      for _, name in ipairs { "host", "port", "user", "password", "dbname", "sslmode" } do
        assert.equal(case[2][name], k[name], name)
      end
    end)
  end

  local checked <const> = {
    { "postgresql://db:99999/app", "port must be a number from 1 to 65535" },
    { "postgresql://db/app?sslmode=required", "disable, require, verify-ca, verify-full" },
    { "host=db replication=database", "replication connections are not for queries" },
    { "host=db client_encoding=LATIN1", "client_encoding must be UTF8" },
    { "host=a,b port=1,2,3", "there are 3 ports for 2 hosts" },
    { "host=db passwrd=x", "did you mean 'password'" },
    { "postgresql://db/app?sslmod=require", "did you mean 'sslmode'" },
  }
  for _, case in ipairs(checked) do
    it(("%s is checked like a table"):format(case[1]), function()
      contains(refusal(case[1]), case[2])
    end)
  end

  local malformed <const> = {
    "postgresql://u:" .. SECRET .. "%ZZ@db/app", "postgresql://u:S3%ZZ" .. SECRET .. "@db/app",
    "postgresql://u:" .. SECRET .. "@[::1/app", "postgresql://u:x@db:" .. SECRET .. "/app",
    "postgresql://u:x@db/app?" .. SECRET, "postgresql://u:x@db/app?" .. SECRET .. "=1",
    "host=db password=a " .. SECRET, "host=db password='" .. SECRET,
    "host=db password=a " .. SECRET .. "=b", "password = " .. SECRET .. " x",
    "postgresql://u:" .. SECRET .. "%00@db/app", "port=" .. SECRET .. " host=db",
  }
  for _, text in ipairs(malformed) do
    it(("%s is refused without a word of what it quotes (S5)")
      :format(text:gsub(SECRET, "<password>")), function()
      local message = refusal(text)
      lacks(message, SECRET)
      lacks(message, "\n")
    end)
  end

  it("names a saved connection unless it reads as a URI or holds an equals sign (S031)", function()
    for _, name in ipairs { "Production Database", "prod", "postgresql", "db:5432", "a/b", "" } do
      assert.is_true(options.is_name(name), name)
    end
    for _, text in ipairs { "postgresql://", "postgres://x", "host=x", "a = b", "=" } do
      assert.is_false(options.is_name(text), text)
    end
  end)
end)

describe("a wrong option", function()
  local cases <const> = {
    { { prot = 1 }, "did you mean 'port'" }, { { port = 0 }, "from 1 to 65535" },
    { { timeout = -1 }, "timeout" }, { "host=x passwrd=y", "did you mean 'password'" },
    { 42, "not a number" },
  }
  for _, case in ipairs(cases) do
    local given, text = table.unpack(case)
    it(("raises where pg.connect, pg.test or pg.save is called: %s"):format(text), function()
      support.raises(text, function() local db = pg.connect(given) return db end)
      support.raises(text, function() local answer = pg.test(given) return answer end)
      support.raises(text, function() pg.save("x", given) end)
    end)
  end

  it("runs no code of a table that is no specification", function()
    local trap = setmetatable({}, { __index = function() error "was run" end })
    local db, err = core.open { open_ssl = true, connect_timeout = 5, keywords = trap,
      settings = trap }
    if db then db:close() end -- a server of the environment's answered
    assert.is_true(db ~= nil or require("pg.errors").is(err))
  end)
end)
