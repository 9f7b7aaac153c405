-- SPDX-License-Identifier: MIT
-- No error, no status and no text of a connection shows a password.
local pg = require "pg"
local checks = require "spec.error_checks"
local errors = require "pg.errors"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains, lacks, with = support.contains, support.lacks, support.with

local SECRET <const> = "S3CRETPW"
local WRONG <const> = "WR0NGPW"

local server, root

local function tcp(more)
  return with({ name = checks.name, host = "127.0.0.1", port = server.options.port,
    database = "postgres", user = "app_user", password = SECRET, sslmode = "disable" }, more)
end

setup(function()
  server = assert(throwaway.start { ssl = true, hba = {
    "hostssl all tls_only 127.0.0.1/32 scram-sha-256",
    "hostnossl all tls_only 127.0.0.1/32 reject",
  } })
  root = assert(pg.connect(with(server.options, { name = checks.name })))
  support.role(root, "app_user", SECRET)
  support.role(root, "tls_only", SECRET)
  support.role(root, "no_login", SECRET, "NOLOGIN")
  assert(root:execute "CREATE DATABASE full_one CONNECTION LIMIT 0")
end)

teardown(function()
  root:close()
  server:stop()
end)

describe("an error", function()
  -- Every string in a value, at whatever depth, under keys and values.
  local function strings(value, list, seen)
    list, seen = list or {}, seen or {}
    if type(value) == "string" then
      list[#list + 1] = value
    elseif type(value) == "table" and not seen[value] then
      seen[value] = true
      for key, item in next, value do
        strings(key, list, seen)
        strings(item, list, seen)
      end
    end
    return list
  end

  local function clean(value)
    if errors.is(value) then
      lacks(tostring(value), SECRET, WRONG, "CRETPW")
      lacks(value:report(), SECRET, WRONG, "CRETPW")
    end
    for _, text in ipairs(strings(value)) do lacks(text, SECRET, WRONG, "CRETPW") end
  end

  local strings_to_connect = {
    "postgresql://u:S3%ZZCRETPW@h/db", "postgresql://u:S3CRETPW@[::1/db",
    "postgresql://u@h:S3CRETPW/db", "postgresql://u:S3CRETPW/x@h/db",
    "postgresql://u:S3CRETPW@h:54x32/db", "postgresql://u:S3CRETPW@%zz/db",
    "postgresql://u:x@h/db?S3CRETPW", "postgresql://u:x@h/db?passwort=S3CRETPW",
    "postgresql:/u:S3CRETPW@h/db", "postgres//u:S3CRETPW@h/db", "mysql://u:S3CRETPW@h/db",
    "host=h user=u passwordS3CRETPW", "host=h user=u password='S3CRETPW", "host=h S3CRETPW",
    "user=u passwort=S3CRETPW", "host=h port=5432S3CRETPW user=u", "host='h' S3'CRETPW =x",
    "password=S3CRETPW\0", "host=/nonexistent password=S3CRETPW target_session_attrs=x",
  }
  for _, text in ipairs(strings_to_connect) do
    it("S5, C21: shows no password of " .. text:gsub("%c", "\\0"), function()
      local ok, answer, err = pcall(pg.connect, text)
      assert.is_true(not ok or not answer, "it connected")
      clean(not ok and answer or err)
      assert.is_true(#tostring(not ok and answer or err) > 10)
    end)
  end

  it("S5: shows no password of a table of options that is wrong", function()
    for _, more in ipairs { { passwrd = "x" }, { port = "543x" }, { sslmode = "on" },
      { password = SECRET .. "\0" }, { username = "other" }, { replication = "on" } } do
      local ok, message = pcall(pg.connect, tcp(more))
      assert.is_false(ok)
      clean(message)
    end
    clean(select(2, pcall(pg.save, "a=b", tcp())))
  end)

  it("S133: shows no password of a connect that failed, whatever the kind", function()
    local seen = {}
    for _, more in ipairs { { port = 1 }, { host = "nosuch.invalid" },
      { password = WRONG }, { password = function() return WRONG end }, { database = "nope" },
      { user = "tls_only" }, { user = "no_login" },
      { sslmode = "verify-full", sslrootcert = server.ssl.wrong_rootcert },
      { database = "full_one" }, { target_session_attrs = "standby" } } do
      local answer, err = pg.connect(tcp(more))
      assert.is_nil(answer)
      clean(err)
      seen[err.kind] = true
    end
    clean(select(2, pg.test(tcp { password = WRONG })))
    for _, kind in ipairs { "connection_refused", "authentication_failed", "ssl_required",
      "ssl_failed", "too_many_connections", "server_unavailable" } do
      assert.is_true(seen[kind], kind)
    end
  end)

  it("S013: is not the only thing that is silent: so are the connection and its status", function()
    local db <close> = assert(pg.connect(tcp()))
    lacks(tostring(db), SECRET)
    clean(db:status())
    clean(assert(pg.test(tcp())))
    local other <close> = db:with { timeout = 1 }
    lacks(tostring(other), SECRET)
    clean(getmetatable(db))
    db:close()
    lacks(tostring(db), SECRET)
    clean(db:status())
  end)

  local statements = {
    "ALTER ROLE app_user PASSWORD 'S3CRETPW' foo", "ALTER ROLE nobody_such PASSWORD 'S3CRETPW'",
    "ALTER ROLE app_user PASSWORD 'S3CRETPW", "CREATE USER app_user PASSWORD E'S3\\'CRETPW'",
    "/* it's */ ALTER ROLE app_user\n\tPASSWORD $x$S3CRETPW$x$ foo",
    "DO $$ BEGIN ALTER ROLE nobody_such PASSWORD 'S3CRETPW'; END $$",
    "DO $$ BEGIN EXECUTE 'ALTER ROLE x PASSWORD ''S3CRETPW'''; END $$",
    "SELECT nix('host=h password=S3CRETPW user=u')", "SELECT 'postgresql://u:S3CRETPW@h/db'::int",
    "UPDATE nix SET token = 'S3CRETPW'",
    "CREATE USER MAPPING FOR app_user SERVER nix OPTIONS (user 'a', password 'S3CRETPW')",
  }
  for _, sql in ipairs(statements) do
    it("S7: shows no password of " .. sql:gsub("%c", " "), function()
      local answer, err = root:query(sql)
      assert.is_nil(answer)
      clean(err)
      contains(err.sql, "***")
      contains(err:report(), "***")
    end)
  end

  it("S7: keeps the place when the password before it has become stars", function()
    local _, err = root:query "ALTER ROLE app_user PASSWORD 'S3CRETPWS3CRETPW' fooo"
    assert.equal("fooo", (checks.under_caret(err)))
    assert.equal("fooo", err.sql:sub(err.position))
  end)

  it("S133: shows no parameter that is a password", function()
    assert(root:execute "CREATE TABLE accounts (id int PRIMARY KEY, password text UNIQUE, age int)")
    local columns = { id = 1, password = SECRET, age = 7 }
    assert(root:insert("accounts", columns))
    for _, case in ipairs {
      { "INSERT INTO accounts VALUES ($1, $2, $3)", 1, SECRET, 7 }, -- the key is there
      { "INSERT INTO accounts VALUES ($1, $2, $3)", 2, SECRET, 7 }, -- the password is there
      { "INSERT INTO accounts VALUES ($1, $2, $3)", 2, SECRET .. "2", "seven" },
      { "INSERT INTO accounts VALUES ($1, $2, $3)", 2, SECRET },
      { "INSERT INTO accounts VALUES ($1, $2, $3)", 2, SECRET, print },
      { "SELECT nix($1)", SECRET }, { "ALTER ROLE app_user PASSWORD $1", SECRET },
    } do
      local answer, err = root:query(table.unpack(case))
      assert.is_nil(answer)
      clean(err)
    end
    clean(select(2, root:insert("accounts", columns)))
    clean(select(2, root:query { query = "SELECT pg_sleep(30), $1::text", parameters = { SECRET },
      timeout = 0.05 }))
  end)
end)
