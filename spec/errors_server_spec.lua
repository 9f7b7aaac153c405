-- SPDX-License-Identifier: MIT
-- The errors of a real server: every kind of the interface that can be provoked, with its fields,
-- its fixes, and how it reads.
local pg = require "pg"
local checks = require "spec.error_checks"
local mock = require "spec.fault.mock"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains, lacks, eventually = support.contains, support.lacks, support.eventually
local with, failed, under_caret = support.with, checks.failed, checks.under_caret

local SECRET <const> = "S3CRETPW"
local WRONG <const> = "WR0NGPW"

local folder, server, root -- root: a connection as superuser

-- Over TCP, as a role that has to give its password; without TLS, which takes its time.
local function tcp(more)
  return with({ name = checks.name, host = "127.0.0.1", port = server.options.port,
    database = "postgres", user = "app_user", password = SECRET, sslmode = "disable" }, more)
end

-- Over the socket, without a password.
local function as(user, more)
  return with(with(server.options, { name = checks.name, user = user }), more)
end

setup(function()
  folder = support.folder()
  support.write(folder .. "/hba", [[
local all peer_user peer
local all all trust
hostssl all tls_only 127.0.0.1/32 scram-sha-256
hostssl all with_certificate 127.0.0.1/32 scram-sha-256 clientcert=verify-full
host all banned 127.0.0.1/32 reject
host all app_user,no_login,expired,one_only,nobody_such,no_password 127.0.0.1/32 scram-sha-256
]])
  os.execute("chmod 644 " .. folder .. "/hba")
  server = assert(throwaway.start { ssl = true, settings = { hba_file = folder .. "/hba",
    max_connections = 20, deadlock_timeout = "50ms", password_encryption = "scram-sha-256" } })
  root = assert(pg.connect(as "postgres"))
  assert(root:execute([[
    CREATE ROLE app_user LOGIN PASSWORD 'S3CRETPW'; CREATE ROLE no_login PASSWORD 'S3CRETPW';
    CREATE ROLE expired LOGIN PASSWORD 'S3CRETPW' VALID UNTIL '2001-01-01';
    CREATE ROLE one_only LOGIN PASSWORD 'S3CRETPW' CONNECTION LIMIT 1;
    CREATE ROLE tls_only LOGIN PASSWORD 'S3CRETPW'; CREATE ROLE banned LOGIN;
    CREATE ROLE with_certificate LOGIN PASSWORD 'S3CRETPW'; CREATE ROLE no_password LOGIN;
    CREATE ROLE peer_user LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE "App ""User""" LOGIN;
    CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL UNIQUE, age int CHECK (age > 0),
      name varchar(5), ip inet);
    INSERT INTO users VALUES (1, 'a', 1), (2, 'b', 2);
    CREATE TABLE orders (id int PRIMARY KEY, user_id int CONSTRAINT of_user REFERENCES users);
    CREATE TABLE booking (during int4range, CONSTRAINT one_guest EXCLUDE USING gist
      (during WITH &&));
    CREATE FUNCTION broken() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT nix); END';
    CREATE TABLE counters (id int PRIMARY KEY, n int); INSERT INTO counters VALUES (1, 0), (2, 0);
  ]]))
  for _, sql in ipairs { "CREATE DATABASE private",
    "REVOKE CONNECT ON DATABASE private FROM public",
    "CREATE DATABASE full_one CONNECTION LIMIT 0", "CREATE DATABASE closed ALLOW_CONNECTIONS false",
    "ALTER SYSTEM SET ssl_ca_file = " .. pg.literal(server.dir .. "/ca.crt"),
    "SELECT pg_reload_conf()" } do
    assert(root:execute(sql))
  end
  pg.save("saved for the errors", tcp { name = false, password = WRONG })
end)

teardown(function()
  root:close()
  server:stop()
  os.execute("rm -rf " .. folder)
end)

describe("a failed connect", function()
  local cases = {
    { "S060, C1: a port where nothing listens", { port = 1 }, kind = "connection_refused",
      fixes = 5, retryable = true, message = "Connection refused",
      first = 'host "127.0.0.1", port 1. The machine answers' },
    { "S060, C25: a missing socket", { host = "/nonexistent", port = 5432 },
      kind = "connection_refused", fixes = 5, retryable = true,
      first = "nothing listens on the socket /nonexistent/.s.PGSQL.5432" },
    { "S060, C2: an unknown host", { host = "nosuch.invalid" },
      kind = "connection_refused", fixes = 5, retryable = true, host = "nosuch.invalid",
      first = 'no address is known for the host "nosuch.invalid"' },
    { "S062, C3: a wrong password", { password = WRONG }, kind = "authentication_failed",
      sqlstate = "28P01", condition = "invalid_password", severity = "FATAL", fixes = 5,
      message = 'password authentication failed for user "app_user"',
      first = 'user name is correct: "app_user"' },
    { "S062, C3: a wrong password, TLS or nothing", { password = WRONG, sslmode = "require" },
      kind = "authentication_failed", sqlstate = "28P01", fixes = 5 },
    { "S062, C3: a wrong password, TLS first", { password = WRONG, user = "tls_only",
      sslmode = "prefer" }, kind = "authentication_failed", sqlstate = "28P01", fixes = 5 },
    { "S062: an unknown user", { user = "nobody_such" }, kind = "authentication_failed",
      sqlstate = "28P01", fixes = 5, first = 'user name is correct: "nobody_such"' },
    { "S063: a role without LOGIN", { user = "no_login" }, kind = "authentication_failed",
      sqlstate = "28000", condition = "invalid_authorization_specification", fixes = 5,
      first = 'ALTER ROLE "no_login" LOGIN' },
    { "S023: no password", { password = false }, kind = "authentication_failed", fixes = 5,
      first = "Give a password. None was found" },
    { "S063: a role that has no password", { user = "no_password" }, sqlstate = "28P01",
      kind = "authentication_failed", fixes = 5 },
    { "S063: a password whose time is over", { user = "expired" }, sqlstate = "28P01",
      kind = "authentication_failed", fixes = 5, first = 'user name is correct: "expired"' },
    { "S063: a missing database", { database = "nope" }, kind = "authentication_failed",
      sqlstate = "3D000", condition = "invalid_catalog_name", fixes = 5, database = "nope",
      first = 'database name is correct: "nope"' },
    { "S063: a database that takes no connections", { database = "closed" }, sqlstate = "55000",
      kind = "authentication_failed", fixes = 5, first = 'database name is correct: "closed"' },
    { "S061: a reject in pg_hba.conf", { user = "banned", sslmode = "prefer" },
      kind = "authentication_failed", sqlstate = "28000", fixes = 5,
      first = "IP allow-list includes this machine" },
    { "S061: no line in pg_hba.conf", { user = "stranger", sslmode = "require" }, fixes = 5,
      kind = "authentication_failed", sqlstate = "28000",
      first = 'has no line for the address "127.0.0.1"' },
    { "S062: a client certificate is asked for", { user = "with_certificate",
      sslmode = "prefer" }, fixes = 5,
      kind = "authentication_failed", sqlstate = "28000", first = "sslcert" },
    { "S062: another user of the operating system", { user = "peer_user", host = "socket" },
      kind = "authentication_failed", sqlstate = "28000", fixes = 5, first = "operating system" },
    { "S062: channel binding without TLS", { channel_binding = "require" },
      kind = "authentication_failed", fixes = 5, first = 'sslmode = "require"' },
    { "S064, C4: TLS is wanted", { user = "tls_only" }, kind = "ssl_required",
      sqlstate = "28000", fixes = 3, message = "no encryption", first = 'sslmode = "require"' },
    { "S026, C6: a CA of somebody else", { sslmode = "verify-full", sslrootcert = "wrong" },
      kind = "ssl_failed", fixes = 4, message = "certificate verify failed",
      first = "sslrootcert" },
    { "S027: a name that is not in the certificate", { sslmode = "verify-full",
      sslrootcert = "right", host = "elsewhere", hostaddr = "127.0.0.1" }, kind = "ssl_failed",
      fixes = 4, message = '"elsewhere"', first = 'host = "localhost"' },
    { "S026: a CA file that is not there", { sslmode = "verify-ca", sslrootcert = "/nonexistent" },
      kind = "ssl_failed", fixes = 4, message = "/nonexistent" },
    { "S071: the limit of a database", { database = "full_one" }, kind = "too_many_connections",
      sqlstate = "53300", condition = "too_many_connections", fixes = 4, retryable = true,
      first = "SELECT count(*) FROM pg_stat_activity" },
    { "S066: a database without CONNECT", { database = "private" }, kind = "permission_denied",
      sqlstate = "42501", condition = "insufficient_privilege", fixes = 2,
      first = 'GRANT CONNECT ON DATABASE "private" TO "app_user"' },
    { "C10: no server of the sort asked for", { target_session_attrs = "standby" },
      kind = "server_unavailable", fixes = 2, retryable = true, first = "target_session_attrs" },
  }
  for _, case in ipairs(cases) do
    local title, options, first = case[1], case[2], case.first
    it(title .. ": " .. case.kind, function()
      local given = tcp(options)
      if given.host == "socket" then given.host = server.options.host end
      if given.sslrootcert == "right" then given.sslrootcert = server.ssl.rootcert end
      if given.sslrootcert == "wrong" then given.sslrootcert = server.ssl.wrong_rootcert end
      local wanted = with(case, { first = false })
      wanted[1], wanted[2] = nil, nil
      local err = failed(wanted, pg.connect(given))
      if first then contains(err.fixes[1], first) end
      lacks(err.message, "LOCATION", "auth.c")
      assert.is_nil(err.sql)
    end)
  end

  it("S061, S063, S065, S072: has the seed's fixes, in order, filled in", function()
    local function order(options, ...)
      local _, err = pg.connect(tcp(options))
      assert.equal(select("#", ...), #err.fixes)
      for i, words in ipairs { ... } do contains(err.fixes[i], words) end
    end
    order({ port = 1 }, 'correct: host "127.0.0.1", port 1', "server is running",
      "network connectivity", "firewall rules", "IP allow-list")
    order({ password = WRONG }, 'user name is correct: "app_user"', "password is correct",
      'login permission: ALTER ROLE "app_user" LOGIN', 'database name is correct: "postgres"',
      "not locked: SELECT rolcanlogin, rolvaliduntil, rolconnlimit FROM pg_roles WHERE rolname = "
        .. "'app_user'")
    order({ user = "tls_only" }, 'Change the SSL mode to sslmode = "require"',
      "Update the connection settings", "Test the connection again with pg.test")
    order({ database = "full_one" }, "SELECT count(*) FROM pg_stat_activity", "Close connections",
      'ALTER DATABASE "full_one" CONNECTION LIMIT -1', "Reuse connections")
  end)

  it("S063, S072: gives SQL that the server takes", function()
    local _, err = pg.connect(tcp { password = WRONG })
    assert(root:execute(err.fixes[3]:match(": (ALTER ROLE .*)$")))
    assert.equal(1, assert(root:query(err.fixes[5]:match(": (SELECT .*)$"))).rowCount)
    _, err = pg.connect(tcp { database = "private" })
    assert(root:execute(err.fixes[1]:match(": (GRANT .*)$")))
    assert.is_true(assert(root:query(err.fixes[2]:match(": (SELECT .*)$")))
      .rows[1].has_database_privilege)
    assert(pg.connect(tcp { database = "private" })):close()
  end)

  it("S018: is of the saved name", function()
    failed({ kind = "authentication_failed", connection = "saved for the errors" },
      pg.connect "saved for the errors")
  end)

  local answers = {
    { "C14: an HTTP server", "HTTP/1.1 400 Bad Request\r\n\r\n", "disable", "connection_refused",
      "is this a PostgreSQL port?" },
    { "C14: an HTTP server, TLS wanted", "HTTP/1.1 400 Bad Request\r\n\r\n", "require",
      "connection_refused", "is this a PostgreSQL port?" },
    { "C14: an SSH server", "SSH-2.0-OpenSSH_9.2\r\n", "disable", "connection_refused",
      "is this a PostgreSQL port?" },
    { "C14: an SSH server, TLS wanted", "SSH-2.0-OpenSSH_9.2\r\n", "require", "ssl_failed",
      "not speak TLS" },
    { "C5: a server without TLS, TLS wanted", "N", "require", "ssl_failed",
      'sslmode = "disable"' },
    { "a server that hangs up", "", "disable", "connection_refused", "drops them", true },
    { "C12: a server that says nothing", nil, "disable", "connect_timeout", "Silence", true },
  }
  for _, case in ipairs(answers) do
    it(case[1] .. ": " .. case[4], function()
      local impostor <close> = mock.start(function(session)
        session:read(case[2] and 8 or math.huge)
        session:write(case[2] or "")
      end)
      local limit = case[4] == "connect_timeout" and 0.1 or 10
      local err = failed({ kind = case[4], retryable = case[6] }, mock.call(pg.connect,
        tcp(with(impostor.options, { sslmode = case[3], connect_timeout = limit }))))
      contains(err.fixes[1], case[5])
      if limit < 1 then
        assert.equal('no connection within the connect_timeout of 0.1 s: host "127.0.0.1", port '
          .. impostor.options.port, err.message)
        assert.equal(limit, err.limit)
        assert.is_true(err.elapsed >= limit)
      end
    end)
  end

  it("C16, S071: too_many_connections, in both wordings, and of a role", function()
    local open <close> = setmetatable({}, { __close = function(list)
      for _, db in ipairs(list) do db:close() end
    end })
    local function fill(options)
      while true do
        local db, err = pg.connect(options)
        if not db then return err end
        open[#open + 1] = db
      end
    end
    local wanted = { kind = "too_many_connections", sqlstate = "53300", retryable = true,
      fixes = 4 }
    local err = failed(with(wanted, { user = "one_only" }), nil, fill(tcp { user = "one_only" }))
    contains(err.fixes[3], 'ALTER ROLE "one_only" CONNECTION LIMIT -1')
    failed(with(wanted, { user = "app_user" }), nil, fill(as "app_user"))
    err = failed(with(wanted, { user = "postgres" }), nil, fill(as "postgres"))
    contains(err.message, "too many clients")
    contains(err.fixes[3], "max_connections")
  end)
end)

describe("a failed statement", function()
  local db

  setup(function()
    db = eventually(function() return (pg.connect(as "postgres")) end)
  end)

  teardown(function()
    db:close()
  end)

  local function wrong(more)
    return with({ kind = "syntax_error", sqlstate = "42601", condition = "syntax_error",
      fixes = 5 }, more)
  end

  local cases = {
    { "S069", "SELCT 1", under = "SELCT 1", wrong { position = 1 } },
    { "S069: behind $1", "SELECT * FROM users WHERE email = $1 ORDR BY id", "a",
      under = "ORDR BY id", wrong { position = 38 } },
    { "S069: of several lines", "SELECT *\n  FROM users\n WHER id = 1", under = "id = 1",
      line = "  LINE 3:  WHER id = 1", wrong {} },
    { "S069: of lines that end as on Windows", "SELECT *\r\n  FROM users\r\n WHER id = 1",
      under = "id = 1", line = "  LINE 3:  WHER id = 1", wrong {} },
    { "S069: with tabs", "SELECT\t*\n\tFRO\tusers", under = "FRO users",
      line = "  LINE 2:  FRO users", wrong {} },
    { "S069: behind umlauts", "SELECT 'äöü', 'ñ', x y z", under = "z", wrong {} },
    { "S069: of a long line", "SELECT " .. ("1, "):rep(300) .. "1 FRM users", under = "users",
      wrong {} },
    { "S069: at the end", "SELECT 1 AS a FROM", under = "", wrong { position = 19 } },
    { "S070: an apostrophe in a value", "SELECT id FROM users WHERE name = 'O'Brien'",
      under = "Brien'", first = "Write $1 there", wrong {} },
    { "S056: a parameter in DDL", "CREATE ROLE x PASSWORD $1", "p", under = "$1",
      first = "take no parameters", wrong {} },
    { "S034, Q14: two statements at once", "SELECT 1; SELECT 2", first = "one statement at a time",
      wrong { fixes = 3 } },
    { "S075: no such table", "SELECT 1\nFROM userz", under = "userz", { kind = "undefined_table",
      sqlstate = "42P01", condition = "undefined_table", table = "userz", fixes = 4 } },
    { "S075: no such table in a schema", "SELECT * FROM nos.userz", { kind = "undefined_table",
      sqlstate = "42P01", schema = "nos", table = "userz", fixes = 4 } },
    { "S075: no such table to drop", "DROP TABLE nix", { kind = "undefined_table",
      sqlstate = "42P01", table = "nix", fixes = 4 } },
    { "S075: no such column, with the server's hint first", "SELECT 'ä', emal FROM users",
      under = "emal FROM", first = 'Perhaps you meant to reference the column "users.email".',
      { kind = "undefined_column", sqlstate = "42703", condition = "undefined_column",
        column = "emal", fixes = 4 } },
    { "S075: a value in the wrong quotes", 'SELECT id FROM users WHERE email = "a@b"',
      under = '"a@b"', first = "Text in double quotes is a name", { kind = "undefined_column",
      sqlstate = "42703", column = "a@b", fixes = 3 } },
    { "S075: no such column of an alias", "SELECT u.emal FROM users u", { kind = "undefined_column",
      sqlstate = "42703", column = "emal" } },
    { "S075: no such column to insert into", "INSERT INTO users (idd) VALUES (1)",
      { kind = "undefined_column", sqlstate = "42703", column = "idd", table = "users" } },
    { "S075: no such function", "SELECT nope($1::int)", 1, under = "nope(",
      { kind = "undefined_function", sqlstate = "42883", condition = "undefined_function",
        fixes = 3 } },
    { "S075: no such parameter", "DO $$ BEGIN PERFORM $1; END $$", { kind = "undefined_parameter",
      sqlstate = "42P02", condition = "undefined_parameter", parameter = 1, fixes = 2 } },
    { "S120: a value of no address", "INSERT INTO users (id, ip) VALUES ($1, $2)", 9, "nope",
      { kind = "invalid_value", sqlstate = "22P02", condition = "invalid_text_representation",
        parameter = 2, fixes = 3 }, first = "parameter $2" },
    { "S075: an empty string for a number", "SELECT $1::int", "", { kind = "invalid_value",
      sqlstate = "22P02", parameter = 1 }, first = "pass nil or pg.null" },
    { "S075: a number out of range", "SELECT $1::int2", 99999, { kind = "invalid_value",
      sqlstate = "22003", condition = "numeric_value_out_of_range", parameter = 1, fixes = 4 } },
    { "S075: a text too long", "UPDATE users SET name = $1 WHERE id = 1", "too long",
      { kind = "invalid_value", sqlstate = "22001", condition = "string_data_right_truncation",
        fixes = 4 } },
    { "S075: a division by zero", "SELECT 1 / $1::int", 0, { kind = "invalid_value",
      sqlstate = "22012", condition = "division_by_zero", fixes = 2 }, first = "NULLIF" },
    { "S075: no date", "SELECT $1::timestamptz", "the day after", { kind = "invalid_value",
      sqlstate = "22007", condition = "invalid_datetime_format", parameter = 1, fixes = 4 },
      first = "ISO 8601" },
    { "S075: no day of the calendar", "SELECT $1::date", "2026-02-31", { kind = "invalid_value",
      sqlstate = "22008", condition = "datetime_field_overflow", parameter = 1, fixes = 4 },
      first = "calendar" },
    { "S097: a key that is there", "INSERT INTO users (id, email) VALUES (3, 'a')",
      { kind = "constraint_violation", sqlstate = "23505", condition = "unique_violation",
        constraint = "users_email_key", table = "users", schema = "public", fixes = 2 },
      first = "ON CONFLICT (email) DO UPDATE" },
    { "S097: a row that is not there", "INSERT INTO orders VALUES (1, 77)",
      { kind = "constraint_violation", sqlstate = "23503", condition = "foreign_key_violation",
        constraint = "of_user", table = "orders", fixes = 2 }, first = "does not exist" },
    { "S097: a NULL", "INSERT INTO users (id) VALUES (3)", { kind = "constraint_violation",
      sqlstate = "23502", condition = "not_null_violation", table = "users", column = "email",
      fixes = 2 }, first = 'column "email"' },
    { "S097: a check", "UPDATE users SET age = -1 WHERE id = 1", { kind = "constraint_violation",
      sqlstate = "23514", condition = "check_violation", constraint = "users_age_check",
      table = "users", fixes = 2 }, first = "users_age_check" },
    { "S097: an exclusion", "INSERT INTO booking VALUES ('[1,5]'), ('[3,7]')",
      { kind = "constraint_violation", sqlstate = "23P01", condition = "exclusion_violation",
        constraint = "one_guest", table = "booking", fixes = 2 } },
    { "S035: too few parameters", "SELECT $1::int + $2::int", 1, { kind = "invalid_parameter",
      sqlstate = "08P01", condition = "protocol_violation", fixes = 2,
      message = "the statement has 2 parameters, but 1 was given" },
      first = "Pass exactly 2 values" },
    { "S035: too many parameters", "SELECT 1", 3, 4, { kind = "invalid_parameter",
      sqlstate = "08P01", message = "the statement has no parameters, but 2 were given" },
      first = "Pass no values" },
    { "P15: a type left open", "SELECT concat($1)", 1, { kind = "invalid_parameter",
      sqlstate = "42P18", condition = "indeterminate_datatype", parameter = 1, fixes = 3 },
      first = "$1::text" },
    { "a parameter of two types", "UPDATE pg_class SET relpages = $1, relname = $1", 1, {
      kind = "query_failed", sqlstate = "42P08", fixes = 3 }, first = "$1::text" },
    { "P7: a function", "SELECT $1::int, $2", 1, print, { kind = "invalid_parameter",
      parameter = 2, message = "cannot send a function" } },
    { "a JSON value that Lua cannot take", [[SELECT '["\ud800"]'::json]], { kind = "invalid_value",
      message = "an invalid escape", fixes = 2 }, first = 'json = "text"' },
    { "P1: a NUL byte in a text", "SELECT $1::text", "a\0b", { kind = "invalid_parameter",
      parameter = 1 }, first = "pg.bytea" },
    { "S075: a table that is there", "CREATE TABLE users (a int)", { kind = "query_failed",
      sqlstate = "42P07", condition = "duplicate_table", fixes = 3 }, first = "IF NOT EXISTS" },
    { "S075: what a function raises", "DO $$ BEGIN RAISE 'mine' USING HINT = 'h', DETAIL = 'd', "
      .. "ERRCODE = 'ZZ123'; END $$", { kind = "query_failed", sqlstate = "ZZ123",
      message = "mine", hint = "h", detail = "d" } },
    { "Q19: COPY", "COPY users TO STDOUT", { kind = "wrong_action" },
      first = "SELECT instead of COPY" },
  }
  for _, case in ipairs(cases) do
    local wanted, values = nil, {}
    for i = 3, #case do
      if type(case[i]) == "table" then wanted = case[i] else values[#values + 1] = case[i] end
    end
    it(case[1] .. ": " .. wanted.kind, function()
      local err = failed(wanted, db:query(case[2], table.unpack(values)))
      assert.equal(case[2], err.sql)
      if wanted.sqlstate then assert.equal("ERROR", err.severity) end
      if case.first then contains(err.fixes[1], case.first) end
      if case.under then
        local found, line = under_caret(err)
        assert.equal(case.under, found:sub(1, #case.under))
        if case.line then assert.equal(case.line, line) end
        assert.is_true(utf8.len(line) <= 80)
      end
    end)
  end

  it("S070: has the seed's five fixes, in order, with the server's version", function()
    local _, err = db:query "SELCT 1"
    for i, words in ipairs { "Test the query in a database client first",
      'Check for typos near "SELCT"', "Verify the table and column names",
      "Use parameters for values", "the server is PostgreSQL " .. err.server:match "^%d+" } do
      contains(err.fixes[i], words)
    end
  end)

  it("S120: names the column of an insert", function()
    local err = failed({ kind = "invalid_value", column = "ip", parameter = 3 },
      db:insert("users", { email = "c", id = 3, ip = "nope" }))
    contains(err.fixes[1], 'column "ip" ($3)')
  end)

  it("S042: names what is near", function()
    local err = failed({ kind = "undefined_column", column = "emial" },
      db:insert("users", { emial = "c" }))
    contains(err.fixes[1], '"email"')
    err = failed({ kind = "undefined_table", table = "Users" }, db:insert("Users", { id = 1 }))
    contains(err.fixes[1], '"users"')
  end)

  it("S097: a row that others point to: constraint_violation", function()
    assert(db:execute "BEGIN; INSERT INTO orders VALUES (1, 1)")
    local err = failed({ kind = "constraint_violation", sqlstate = "23503", constraint = "of_user",
      table = "orders" }, db:delete "DELETE FROM users WHERE id = 1")
    contains(err.fixes[1], 'still point to this one: "orders"')
    assert(db:execute "ROLLBACK")
  end)

  it("shows the place in a query inside a function", function()
    local err = failed({ kind = "undefined_column", column = "nix" }, db:query "SELECT broken()")
    contains(tostring(err), "SQL: SELECT broken()", "in a query of the function:", "LINE 1: ",
      "where: PL/pgSQL function broken() line 1 at RETURN")
    contains(err:report(), "query of the function: ")
  end)

  it("counts the place of a script's error from its start", function()
    local err = failed({ kind = "undefined_table", position = 25 },
      db:execute "SELECT 1;\nSELECT * FROM nix;\n")
    assert.equal("nix;", (under_caret(err)))
  end)

  it("S088: read_only, in a transaction, by option and by the role's default", function()
    local wanted = { kind = "read_only", sqlstate = "25006",
      condition = "read_only_sql_transaction", fixes = 3 }
    assert(db:execute "BEGIN READ ONLY")
    failed(wanted, db:execute "DELETE FROM orders")
    assert(db:execute "ROLLBACK")
    local careful <close> = assert(pg.connect(as("postgres", { readonly = true })))
    failed(wanted, careful:insert("orders", { id = 5 }))
    assert(db:execute "SET default_transaction_read_only = on")
    failed(wanted, db:execute "DELETE FROM orders")
    assert(db:execute "RESET default_transaction_read_only")
  end)

  it("S047: wrong_action names the action that fits", function()
    local err = failed({ kind = "wrong_action", fixes = 2 }, db:update "DELETE FROM orders")
    contains(err.fixes[1], "db:delete")
    err = failed({ kind = "wrong_action" }, db:delete "/* all */ TRUNCATE orders")
    contains(err.fixes[1], "db:execute")
    err = failed({ kind = "wrong_action" }, db:delete "(SELECT 1)")
    contains(err.fixes[1], "db:query")
  end)

  it("transaction_failed tells the first error of the transaction as its cause", function()
    assert(db:execute "BEGIN")
    local _, first = db:query "SELECT nix"
    for _ = 1, 2 do
      local err = failed({ kind = "transaction_failed", sqlstate = "25P02",
        condition = "in_failed_sql_transaction", fixes = 3 }, db:query "SELECT 1")
      assert.equal(first, err.cause)
      contains(tostring(err), "cause: undefined_column: ")
      contains(err:report(), "cause:\n    PostgreSQL error report")
      assert.equal("invalid_parameter", select(2, db:query("SELECT $1", print)).kind)
    end
    assert(db:execute "ROLLBACK; BEGIN")
    local _, second = db:query "SELECT nix2"
    assert.equal(second, select(2, db:query "SELECT 1").cause)
    assert(db:execute "ROLLBACK")
    assert(db:query "SELECT 1")
  end)
end)

describe("permission_denied", function()
  local USER <const> = 'App "User"'
  local app

  setup(function()
    assert(root:execute [[
      CREATE SCHEMA "Sales"; CREATE TABLE plain (a int, b int); CREATE TABLE "dotted.name" (a int);
      CREATE TABLE "Sales"."Odd ""Name""" (a int); CREATE TABLE some_columns (a int, b int);
      GRANT SELECT (a) ON some_columns TO "App ""User"""; CREATE VIEW seen AS SELECT 1 AS a;
      CREATE MATERIALIZED VIEW kept AS SELECT 1 AS a; CREATE TABLE emptied (a int);
      CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE granted (a int, b int);
      CREATE SEQUENCE numbers; CREATE SEQUENCE "Sales".numbers2; CREATE SEQUENCE set_numbers;
      CREATE FUNCTION answer() RETURNS int LANGUAGE sql AS 'SELECT 42';
      CREATE FUNCTION "Sales"."Answer"(int) RETURNS int LANGUAGE sql AS 'SELECT 42';
      REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public, "Sales" FROM public;
      CREATE TYPE mood AS ENUM ('good'); REVOKE USAGE ON TYPE mood FROM public;
      CREATE TABLE locked (a int); CREATE TABLE owned (a int); CREATE TABLE guarded (owner text);
      ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; GRANT ALL ON guarded TO "App ""User""";
    ]])
    app = assert(pg.connect(as(USER)))
  end)

  teardown(function()
    app:close()
  end)

  local cases = {
    { "a table", "SELECT * FROM plain p WHERE a = 1", table = "plain" },
    { "a table of a schema", 'INSERT INTO "Sales"."Odd ""Name""" (a) VALUES (1)', steps = 2 },
    { "a table with a dot in its name", 'DELETE FROM "dotted.name"', table = "dotted.name" },
    { "columns of a table", "SELECT a, b FROM some_columns", table = "some_columns" },
    { "a view", "SELECT * FROM seen", table = "seen" },
    { "a materialized view", "SELECT * FROM kept", table = "kept" },
    { "TRUNCATE", "TRUNCATE emptied", table = "emptied" },
    { "LOCK", "BEGIN; LOCK TABLE public.locked; COMMIT", table = "locked", schema = "public" },
    { "REFERENCES", 'CREATE TABLE "Sales".child (id int REFERENCES parent)', steps = 2 },
    { "a sequence", "SELECT nextval('numbers')" },
    { "a sequence of a schema", [[SELECT currval('"Sales".numbers2')]], state = "55000" },
    { "a sequence that is set", "SELECT setval('set_numbers', 7)" },
    { "a function", "SELECT answer()" },
    { "a function of a schema", 'SELECT "Sales"."Answer"(1)' },
    { "a type", "CREATE TEMP TABLE moods (m mood)" },
    { "the database", "CREATE SCHEMA mine" },
  }
  for _, case in ipairs(cases) do
    it("S066, S067: " .. case[1] .. ": the GRANT lets the statement pass", function()
      local steps = 0
      repeat
        local answer, err = app:execute(case[2])
        if answer or case.state and err.sqlstate == case.state then break end
        app:execute "ROLLBACK"
        failed({ kind = "permission_denied", sqlstate = "42501", user = USER, fixes = 2,
          condition = "insufficient_privilege" }, nil, err)
        if not case.steps then
          assert.equal(case.table, err.table)
          if case.schema then assert.equal(case.schema, err.schema) end
        end
        local grant = err.fixes[1]:match("^Grant the permissions: (GRANT .*)$")
        contains(grant, ' TO "App ""User"""')
        assert(root:execute(grant))
        -- S068: and the second fix shows it.
        local check = err.fixes[2]:match("^Verify the permissions: (SELECT .*)$")
        local seen = assert(root:query(check))
        assert.is_true(seen.rowCount > 0)
        for name, value in pairs(seen.rows[1]) do
          assert.is_true(not name:find("privilege$") or value, check)
        end
        steps = steps + 1
      until steps == 5
      assert.equal(case.steps or 1, steps)
    end)
  end

  it("S067, S068: has the seed's two fixes", function()
    local err = failed({ kind = "permission_denied" }, app:query "SELECT * FROM orders")
    assert.same({ 'Grant the permissions: GRANT SELECT, INSERT, UPDATE, DELETE ON "orders" TO '
      .. '"App ""User"""', "Verify the permissions: SELECT * FROM "
      .. "information_schema.table_privileges WHERE grantee = 'App \"User\"'" }, err.fixes)
  end)

  it("S066: a column whose right may not be passed on", function()
    local err = failed({ kind = "permission_denied", table = "granted", column = "b" },
      app:execute "GRANT SELECT (b) ON granted TO app_user")
    assert(root:execute(err.fixes[1]:match(": (GRANT .*)$")))
    assert(app:execute "GRANT SELECT (b) ON granted TO app_user") -- a warning: nothing was granted
    assert.is_true(assert(root:query(err.fixes[2]:match(": (SELECT .*)$"))).rowCount > 0)
  end)

  it("S066: what only the owner may do: the second fix makes him the owner", function()
    local err = failed({ kind = "permission_denied", table = "owned" },
      app:execute "ALTER TABLE owned ADD COLUMN b int")
    contains(err.fixes[1], 'owner of the table "owned"')
    assert(root:execute 'GRANT USAGE, CREATE ON SCHEMA public TO "App ""User"""')
    assert(root:execute(err.fixes[2]:match(": (ALTER .*)$")))
    assert(app:execute "ALTER TABLE owned ADD COLUMN b int")
  end)

  it("S066: row-level security leads to its policies", function()
    local err = failed({ kind = "permission_denied", table = "guarded" },
      app:insert("guarded", { owner = "x" }))
    contains(err.fixes[1], 'CREATE POLICY ... ON "guarded"')
    assert(root:query(err.fixes[2]:match(": (SELECT .*)$")))
  end)

  it("S066: what no GRANT gives leads to the role", function()
    local err = failed({ kind = "permission_denied", fixes = 2 }, app:execute "CREATE ROLE x")
    contains(err.fixes[1], "a role that may do this")
    assert.equal(1, assert(root:query(err.fixes[2]:match(": (SELECT .*)$"))).rowCount)
  end)
end)

describe("an ended statement", function()
  local db, other, loop

  setup(function()
    loop = scheduler()
    db = assert(pg.connect(as("postgres", { wait = loop.wait })))
    other = assert(pg.connect(as("postgres", { wait = loop.wait })))
  end)

  teardown(function()
    db:close()
    other:close()
  end)

  it("S073, S074: query_timeout by the client, with five fixes, elapsed and limit", function()
    local err = failed({ kind = "query_timeout", limit = 0.1, completed = false, retryable = true,
      fixes = 5 }, db:query { query = "SELECT pg_sleep(30)", timeout = 0.1 })
    assert.is_true(err.elapsed >= 0.1 and err.elapsed < 20)
    contains(err.message, "did not finish within its timeout of 0.1 s", "; it was cancelled")
    for i, words in ipairs { "add indexes", "LIMIT", "table locks", "it is 0.1 s now",
      "off-peak hours" } do
      contains(err.fixes[i]:gsub("Add indexes", "add indexes"), words)
    end
    lacks(err.fixes[4], "pg.limits")
    assert(root:query(err.fixes[3]:match(": (SELECT .*)$")))
  end)

  it("S074: the host's ceiling is named where it is what ended the statement", function()
    local before = pg.limits()
    pg.limits { timeout = 0.1 }
    local answer, err = db:query "SELECT pg_sleep(30)"
    pg.limits { timeout = before.timeout }
    err = failed({ kind = "query_timeout", limit = 0.1, completed = false, retryable = true },
      answer, err)
    contains(err.fixes[4], "pg.limits", "Ask the host")
  end)

  it("S073, Q6: query_timeout by the server's statement_timeout", function()
    assert(db:execute "SET statement_timeout = '50ms'")
    local err = failed({ kind = "query_timeout", sqlstate = "57014", condition = "query_canceled",
      limit = 0.05, completed = false, retryable = true, fixes = 5 },
      db:query "SELECT pg_sleep(30)")
    assert.is_true(err.elapsed >= 0.049)
    contains(err.fixes[4], "it is 0.05 s now", 'ALTER ROLE "postgres" SET statement_timeout')
    contains(tostring(err), "(the limit is 0.05 s)")
    assert(db:execute "BEGIN")
    failed({ kind = "query_timeout", sqlstate = "57014", completed = false, retryable = true },
      db:query "SELECT pg_sleep(30)")
    assert(db:execute "ROLLBACK; RESET statement_timeout")
  end)

  it("S073: cancelled by db:cancel()", function()
    local answer, err
    loop.spawn(function() answer, err = db:query "SELECT pg_sleep(30)" end)
    assert.is_true(db:cancel())
    loop.run()
    failed({ kind = "cancelled", completed = false, retryable = true, fixes = 2 }, answer, err)
  end)

  it("S073: cancelled by another session", function()
    local answer, err
    local pid = db:status().pid
    loop.spawn(function() answer, err = db:query "SELECT pg_sleep(30)" end)
    loop.run(function()
      repeat
        other:query("SELECT pg_cancel_backend($1)", pid)
      until answer or err
    end)
    failed({ kind = "cancelled", sqlstate = "57014", condition = "query_canceled",
      completed = false, retryable = true, fixes = 2 }, answer, err)
    db:query "SELECT 1" -- a late request may still hit
  end)

  it("S073, Q7: lock_timeout, and NOWAIT; the first fix shows who holds the lock", function()
    assert(other:execute "BEGIN; LOCK TABLE counters")
    assert(db:execute "SET lock_timeout = '50ms'")
    local wanted = { kind = "lock_timeout", sqlstate = "55P03", condition = "lock_not_available",
      table = "counters", retryable = true, fixes = 4 }
    for _, sql in ipairs { "SELECT * FROM counters", "BEGIN; LOCK TABLE counters NOWAIT" } do
      local err = failed(wanted, db:execute(sql))
      local holder = assert(root:query(err.fixes[1]:match(": (SELECT .*)$"))).rows[1]
      assert.equal(other:status().pid, holder.pid)
      db:execute "ROLLBACK"
    end
    assert(other:execute "ROLLBACK")
    assert(db:execute "RESET lock_timeout")
  end)

  it("S122: result_too_large does not speak of changes where there were none", function()
    local err = failed({ kind = "result_too_large", limit = 1 << 20, completed = false, fixes = 4 },
      db:query { query = "SELECT repeat('x', 1000) FROM generate_series(1, 1000000)",
        max_result = 1 << 20 })
    contains(err.message, "larger than the limit of 1 MiB", "; the statement was cancelled")
    assert.is_true(err.bytes > 1 << 20)
    contains(err.fixes[1], "LIMIT")
    contains(err.fixes[3], "it is 1 MiB now")
    err = failed({ kind = "result_too_large", limit = 1000, completed = true },
      db:query { query = "SELECT repeat('x', 1000) FROM generate_series(1, 10)",
        max_result = 1000 })
    contains(err.message, "limit of 1000 bytes", "its rows were dropped")
    lacks(err.message, "changes")
  end)

  it("S122: result_too_large says that changes stand where they do", function()
    assert(db:execute "CREATE TEMP TABLE filled (a text)")
    local err = failed({ kind = "result_too_large", completed = true }, db:query {
      query = "INSERT INTO filled SELECT repeat('x', 100) FROM generate_series(1, 10) RETURNING a",
      max_result = 100 })
    contains(err.message, "its changes stand")
    assert.equal(10, assert(db:query "SELECT count(*) AS n FROM filled").rows[1].n)
  end)

  it("Q23: serialization_failure", function()
    assert(db:execute "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM counters")
    assert(other:execute "UPDATE counters SET n = n + 1")
    failed({ kind = "serialization_failure", sqlstate = "40001",
      condition = "serialization_failure", retryable = true, fixes = 2 },
      db:execute "UPDATE counters SET n = n + 1")
    assert(db:execute "ROLLBACK")
  end)

  it("Q23: deadlock_detected, by one of two sessions", function()
    local answers, errors = {}, {}
    local function update(connection, id)
      return connection:query("UPDATE counters SET n = n + 1 WHERE id = $1", id)
    end
    for i, connection in ipairs { db, other } do
      assert(connection:query "BEGIN")
      assert(update(connection, i))
    end
    for i, connection in ipairs { db, other } do
      loop.spawn(function()
        answers[i], errors[i] = update(connection, 3 - i)
        assert(connection:query "ROLLBACK")
      end)
    end
    loop.run()
    local loser = errors[1] and 1 or 2
    assert.is_nil(errors[3 - loser])
    local err = failed({ kind = "deadlock_detected", sqlstate = "40P01",
      condition = "deadlock_detected", retryable = true, fixes = 2 }, answers[loser], errors[loser])
    contains(err.detail, "waits for ShareLock")
    contains(tostring(err), "detail: Process ")
  end)
end)

-- The last: it ends the server.
describe("a server that goes away", function()
  it("S075, Q1: server_unavailable at a terminated session, connection_lost after", function()
    local db <close> = assert(pg.connect(as "postgres"))
    assert(root:query("SELECT pg_terminate_backend($1)", db:status().pid))
    local first = failed({ kind = "server_unavailable", sqlstate = "57P01",
      condition = "admin_shutdown", severity = "FATAL", fixes = 3 }, db:query "SELECT 1")
    contains(first.fixes[1], "db:reset()")
    local err = failed({ kind = "connection_lost", cause = first, fixes = 2 }, db:query "SELECT 1")
    contains(err.fixes[1], "db:reset()")
    contains(err.fixes[2], "terminating connection")
    assert.equal(err.kind, select(2, db:insert("users", { id = 1 })).kind)
    assert(db:reset())
    assert(db:query "SELECT 1")
  end)

  it("Q7: connection_lost when the server ends an idle transaction", function()
    local db <close> = assert(pg.connect(as "postgres"))
    assert(db:execute "SET idle_in_transaction_session_timeout = 50; BEGIN")
    local gone = pg.literal(tostring(db:status().pid))
    eventually(function()
      return root:query("SELECT FROM pg_stat_activity WHERE pid = " .. gone).rowCount == 0
    end)
    failed({ kind = "connection_lost", sqlstate = "25P03", fixes = 4,
      condition = "idle_in_transaction_session_timeout" }, db:query "SELECT 1")
  end)

  it("Q2: connection_lost when its process is killed; other sessions too", function()
    local db <close> = assert(pg.connect(as "postgres"))
    local other <close> = assert(pg.connect(as "postgres"))
    os.execute("kill -9 " .. db:status().pid)
    local err = failed({ kind = "connection_lost", fixes = 4 }, db:query "SELECT 1")
    assert.is_nil(err.sqlstate)
    contains(err.message, "server closed the connection unexpectedly")
    lacks(err.message, "invalid socket")
    err = eventually(function() return select(2, other:query "SELECT 1") end)
    assert.is_true(err.kind == "connection_lost" or err.sqlstate == "57P02", tostring(err))
    assert.is_false(err.retryable)
    -- Q3: and while it recovers, connecting is refused in a way that may be tried again.
    eventually(function()
      local anew, refused = pg.connect(as "postgres")
      if not anew then
        assert.is_true(refused.retryable, tostring(refused))
        return false
      end
      return anew:close() or true
    end)
    assert(root:reset())
  end)

  it("C15: server_unavailable while it shuts down, connection_refused after", function()
    server:control("stop", "-m", "smart", "-W") -- waits for `root` to leave
    local err = eventually(function() return select(2, pg.connect(as "postgres")) end)
    failed({ kind = "server_unavailable", sqlstate = "57P03", condition = "cannot_connect_now",
      retryable = true, fixes = 2 }, nil, err)
    server:control("stop", "-m", "fast")
    failed({ kind = "server_unavailable", sqlstate = "57P01", fixes = 3 }, root:query "SELECT 1")
    failed({ kind = "connection_refused", retryable = true, fixes = 5 }, pg.connect(as "postgres"))
  end)
end)
