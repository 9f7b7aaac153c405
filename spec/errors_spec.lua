-- The error object: kinds, cleaning, fixes, tostring and report. Pure, no server: the texts are
-- those of PostgreSQL and libpq 15.18, and of PgBouncer and hosted services as far as known.
-- SPDX-License-Identifier: MIT
local errors = require "pg.errors"
local fixes = require "pg.fixes"
local conditions = require "pg.conditions"
local support = require "spec.support"

local contains, lacks = support.contains, support.lacks

local at = 'connection to server at "127.0.0.1", port 5432 failed: '

-- A failed connect as libpq tells it under PQERRORS_VERBOSE.
local function refused_by_server(state, text)
  return at .. "FATAL:  " .. state .. ": " .. text .. "\nLOCATION:  auth_failed, auth.c:334\n"
end

local function connect(message, more)
  local fields = {
    stage = "connect", message = message, user = "app_user", database = "myapp",
    host = "127.0.0.1", port = "5432", sslmode = "require",
  }
  for name, value in pairs(more or {}) do
    fields[name] = value
  end
  return errors.new(fields)
end

local function statement(state, message, more)
  local fields = { stage = "statement", sqlstate = state, message = message, severity = "ERROR" }
  for name, value in pairs(more or {}) do
    fields[name] = value
  end
  return errors.new(fields)
end

local hba = 'no pg_hba.conf entry for host "10.0.0.7", user "app_user", database "myapp", '

describe("the kind of a failed connect", function()
  local cases = {
    { "S060", "connection_refused", at .. "Connection refused\n\tIs the server running on that "
      .. "host and accepting TCP/IP connections?\n" },
    { "S060", "connection_refused", 'connection to server on socket "/nonexistent/.s.PGSQL.5432" '
      .. "failed: No such file or directory\n\tIs the server running locally and accepting "
      .. "connections on that socket?\n" },
    { "S060", "connection_refused", 'could not translate host name "ssl.invalid" to address: '
      .. "Name or service not known\n" },
    { "S060", "connection_refused", at .. "Network is unreachable\n" },
    { "S060", "connection_refused", at .. "No route to host\n" },
    { "S060 de", "connection_refused", "Verbindung zum Server auf »127.0.0.1«, Port 5432 "
      .. "fehlgeschlagen: Verbindungsaufbau abgelehnt\n" },
    { "S060", "connection_refused", at .. "server closed the connection unexpectedly\n\tThis "
      .. "probably means the server terminated abnormally\n" },
    { "C14", "connection_refused", at .. "expected authentication request from server, but "
      .. "received H\n" },
    { "C14", "connection_refused", at .. "received invalid response to SSL negotiation: H\n" },
    { "S062", "authentication_failed", refused_by_server("28P01",
      'password authentication failed for user "app_user"') },
    { "S062", "authentication_failed", at .. "fe_sendauth: no password supplied\n" },
    { "S062", "authentication_failed", refused_by_server("28000",
      'role "app_user" is not permitted to log in') },
    { "S062", "authentication_failed", refused_by_server("3D000", 'database "x" does not exist') },
    { "S062", "authentication_failed", refused_by_server("28000",
      "connection requires a valid client certificate") },
    { "S062", "authentication_failed", at .. "channel binding required, but SSL not in use\n" },
    { "S062", "authentication_failed", at .. "server sent an incorrect SCRAM signature\n" },
    { "S062 fr", "authentication_failed", "la connexion au serveur sur « 127.0.0.1 », port 5432 a "
      .. "échoué : FATAL:  28P01: authentification par mot de passe échouée pour l'utilisateur "
      .. "« x »\nEMPLACEMENT : auth_failed, auth.c:334\n" },
    { "S062", "authentication_failed", refused_by_server("XX000", "Tenant or user not found") },
    { "S064", "ssl_required", refused_by_server("28000", hba .. "no encryption") },
    { "S064 13", "ssl_required", refused_by_server("28000", hba .. "SSL off") },
    { "S064 de", "ssl_required", 'Verbindung zum Server auf »h«, Port 5432 fehlgeschlagen: FATAL:  '
      .. "28000: kein pg_hba.conf-Eintrag für Host »10.0.0.7«, Benutzer »app_user«, Datenbank "
      .. "»myapp«, keine Verschlüsselung\nORT:  ClientAuthentication, auth.c:544\n" },
    { "S064", "ssl_required", refused_by_server("28000", "SSL connection is required. Please "
      .. "specify SSL options and retry.") },
    { "S064 pgbouncer", "ssl_required", refused_by_server("08P01", "SSL required") },
    { "S064", "ssl_required", at .. "SSL/TLS required" },
    { "S064 neon", "ssl_required", refused_by_server("XX000",
      "connection is insecure (try using `sslmode=require`)") },
    { "ssl", "ssl_failed", at .. "server does not support SSL, but SSL was required\n" },
    { "ssl de", "ssl_failed", "Verbindung zum Server auf »h«, Port 5432 fehlgeschlagen: Server "
      .. "unterstützt kein SSL, aber SSL wurde verlangt\n" },
    { "ssl", "ssl_failed", at .. "SSL error: certificate verify failed\n" },
    { "ssl", "ssl_failed", at .. "SSL error: tlsv13 alert certificate required\n" },
    { "ssl", "ssl_failed", at .. 'server certificate for "other.example" does not match host name '
      .. '"127.0.0.1"\n' },
    { "ssl", "ssl_failed", at .. 'root certificate file "/home/ann/.postgresql/root.crt" does not '
      .. "exist\nEither provide the file or change sslmode to disable server certificate "
      .. "verification.\n" },
    { "ssl", "ssl_failed", at .. 'private key file "/k" has group or world access\n' },
    { "ssl", "ssl_failed", at .. "certificate present, but not private key file \"/k\"\n" },
    { "S071", "too_many_connections", refused_by_server("53300",
      "sorry, too many clients already") },
    { "S071", "too_many_connections", refused_by_server("53300", "remaining connection slots are "
      .. "reserved for non-replication superuser connections") },
    { "S071 role", "too_many_connections", refused_by_server("53300",
      'too many connections for role "app_user"') },
    { "S071 pgbouncer", "too_many_connections", refused_by_server("08P01",
      "no more connections allowed (max_client_conn)") },
    { "C15", "server_unavailable", refused_by_server("57P03",
      "the database system is starting up") },
    { "C10", "server_unavailable", at .. "session is read-only\n" },
    { "S066", "permission_denied", refused_by_server("42501",
      'permission denied for database "myapp"') },
    { "C24", "query_failed", refused_by_server("08P01",
      "unsupported startup parameter: options") },
    { "S5", "invalid_parameter", 'missing "=" after "S3CRETPW" in connection info string\n' },
  }
  for i, case in ipairs(cases) do
    it(("%s: %s (%d)"):format(case[1], case[2], i), function()
      local e = connect(case[3])
      assert.equal(case[2], e.kind)
      lacks(e.message, "LOCATION", "auth.c", "28P01", "28000", "S3CRETPW")
      lacks(tostring(e), "S3CRETPW")
      assert.is_true(#e.fixes >= 2)
    end)
  end

  it("S064: is not ssl_required where the session was encrypted", function()
    local text = refused_by_server("28000", hba .. "SSL off")
    assert.equal("authentication_failed", connect(text, { ssl_in_use = true }).kind)
    local both = refused_by_server("28000", hba .. "SSL encryption")
      .. refused_by_server("28000", hba .. "no encryption")
    assert.equal("authentication_failed", connect(both, { sslmode = "prefer" }).kind)
    local german = ("Verbindung zum Server auf »h«, Port 5432 fehlgeschlagen: FATAL:  28000: kein "
      .. "pg_hba.conf-Eintrag, %s\nORT:  ClientAuthentication, auth.c:544\n")
    local e = connect(german:format("SSL-Verschlüsselung")
      .. german:format("keine Verschlüsselung"))
    assert.equal("authentication_failed", e.kind)
  end)

  it("S064: is told by pg_hba.conf in any language, but not of a socket or after TLS", function()
    local text = "FATAL:  28000: pg_hba.conf lehnt Verbindung ab f?r Host >>127.0.0.1<<, Benutzer "
      .. ">>x<<, Datenbank >>y<<, keine Verschl?sselung\nORT:  ClientAuthentication, auth.c:544\n"
    local more = { sslmode = "disable", ssl_in_use = false }
    assert.equal("ssl_required", connect(at .. text, more).kind)
    more.sslmode = "prefer"
    assert.equal("authentication_failed", connect(at .. text, more).kind)
    text = refused_by_server("28000", 'no pg_hba.conf entry for host "[local]", user "x", database '
      .. '"y", no encryption')
    assert.equal("authentication_failed", connect(text, { ssl_in_use = false }).kind)
  end)

  it("C3: says a repeated attempt once, without codes and places in the source", function()
    local text = refused_by_server("28P01", 'password authentication failed for user "x"')
    local e = connect(text .. text)
    assert.equal(at .. 'password authentication failed for user "x"', e.message)
    assert.equal("28P01", e.sqlstate)
    assert.equal("invalid_password", e.condition)
    assert.equal("FATAL", e.severity)
  end)

  it("C10: keeps each of several hosts, and trusts the one that answered", function()
    local e = connect('connection to server at "a", port 1 failed: Connection refused\n\tIs the '
      .. "server running on that host and accepting TCP/IP connections?\n"
      .. refused_by_server("28P01", "no") .. 'connection to server at "c", port 1 failed: '
      .. "Connection refused\n")
    assert.equal("authentication_failed", e.kind)
    contains(e.message, 'at "a", port 1', "failed: no", 'at "c", port 1')
  end)

  it("takes DETAIL and HINT out of the text", function()
    local e = connect(at .. 'FATAL:  42501: permission denied for database "d"\nDETAIL:  User does '
      .. "not have CONNECT privilege.\nHINT:  Ask.\nLOCATION:  f, p.c:1\n")
    assert.equal("User does not have CONNECT privilege.", e.detail)
    assert.equal("Ask.", e.hint)
    assert.equal(at .. 'permission denied for database "d"', e.message)
  end)

  it("keeps the kind that the driver knows", function()
    local e = connect(nil, { kind = "connect_timeout", limit = 10, elapsed = 10.01 })
    assert.equal('no connection within the connect_timeout of 10 s: host "127.0.0.1", port 5432',
      e.message)
    assert.is_true(e.retryable)
  end)

  it("C11: a timeout keeps what the other hosts said", function()
    local text = at .. "Connection refused\n" .. 'connection to server at "b", port 1 failed: '
    local e = connect(text, { kind = "connect_timeout", limit = 10, host = "b", port = "1" })
    assert.equal("connect_timeout", e.kind)
    assert.equal('no connection within the connect_timeout of 10 s: host "b", port 1\n' .. at
      .. "Connection refused", e.message)
  end)

  it("C3: with prefer, what the server says to the first try counts, which had SSL", function()
    local e = connect(refused_by_server("28P01", "password authentication failed")
      .. refused_by_server("28000", hba .. "no encryption"))
    assert.equal("authentication_failed", e.kind)
    assert.equal("28P01", e.sqlstate)
  end)

  it("S062: knows by needs_password, whatever the language", function()
    local e = connect("Passwort fehlt", { needs_password = true })
    assert.equal("authentication_failed", e.kind)
    contains(e.fixes[1], "Give a password")
  end)
end)

describe("the kind of a failed statement", function()
  local cases = {
    { "42501", "permission_denied" }, { "25006", "read_only" }, { "42601", "syntax_error" },
    { "42P01", "undefined_table" }, { "42703", "undefined_column" },
    { "42883", "undefined_function" }, { "42P02", "undefined_parameter" },
    { "22P02", "invalid_value" }, { "22ZZZ", "invalid_value" }, { "23505", "constraint_violation" },
    { "57014", "cancelled", true }, { "55P03", "lock_timeout", true },
    { "40001", "serialization_failure", true }, { "40P01", "deadlock_detected", true },
    { "25P02", "transaction_failed" }, { "42P18", "invalid_parameter" },
    { "57P01", "server_unavailable" }, { "57P03", "server_unavailable", true },
    { "53300", "too_many_connections", true }, { "25P03", "connection_lost" },
    { "25P04", "connection_lost" }, { "40003", "commit_unknown" }, { "XX000", "query_failed" },
    { "3D000", "query_failed" }, { "08P01", "query_failed" }, { "?", "query_failed" },
  }
  for _, case in ipairs(cases) do
    it(("S069, S075: %s is %s"):format(case[1], case[2]), function()
      local e = statement(case[1], "x")
      assert.equal(case[2], e.kind)
      assert.equal(case[3] or false, e.retryable)
      assert.equal(conditions[case[1]] or conditions[case[1]:sub(1, 2) .. "000"], e.condition)
    end)
  end

  it("S073: tells a statement_timeout from a cancel", function()
    local e = statement("57014", "canceling statement due to statement timeout")
    assert.equal("query_timeout", e.kind)
    contains(table.concat(e.fixes, "\n"), "statement_timeout")
  end)

  local timeouts = {
    de = "storniere Anfrage wegen Zeitüberschreitung der Anfrage",
    fr = "annulation de la requête à cause du délai écoulé pour l'exécution de l'instruction",
    ja = "ステートメントのタイムアウトのためステートメントをキャンセルしています",
    ru = "выполнение оператора отменено из-за тайм-аута",
    zh = "由于语句执行超时，正在取消语句",
  }
  for language, text in pairs(timeouts) do
    it("S073: tells a statement_timeout from a cancel in another language: " .. language, function()
      assert.equal("query_timeout", statement("57014", text).kind)
    end)
  end

  it("a statement that the server cancelled was not completed", function()
    assert.is_false(statement("57014", "canceling statement due to user request").completed)
  end)

  it("is not retryable where a part of it may be stored", function()
    for _, sql in ipairs { "INSERT INTO t VALUES (1); COMMIT; SELECT * FROM u", "CALL p()",
      "/* x */ call p()", "DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $$" } do
      assert.is_false(statement("40P01", "deadlock detected", { sql = sql }).retryable)
      assert.is_false(statement("57014", "canceling statement", { sql = sql }).retryable)
    end
    assert.is_true(statement("40P01", "x", { sql = "SELECT committed FROM t" }).retryable)
  end)

  it("08P01: reads the numbers in other languages too", function()
    for _, text in ipairs {
      "Binden-Nachricht enthält 1 Parameter, aber vorbereitete Anweisung »lpg_7« erfordert 2",
      "le message bind fournit 1 paramètres, mais l'instruction préparée « lpg_7 » en requiert 2",
      'バインドメッセージは1パラメータを提供しましたが、準備された文"lpg_7"では2必要でした',
    } do
      assert.equal("the statement has 2 parameters, but 1 was given",
        statement("08P01", text).message)
    end
  end)

  it("08P01: names both numbers in our words", function()
    local text = 'bind message supplies %d parameters, but prepared statement "lpg_1" requires %d'
    local e = statement("08P01", text:format(1, 2))
    assert.equal("invalid_parameter", e.kind)
    assert.equal("the statement has 2 parameters, but 1 was given", e.message)
    assert.equal("the statement has 1 parameter, but none was given",
      statement("08P01", text:format(0, 1)).message)
    assert.equal("the statement has no parameters, but 3 were given",
      statement("08P01", text:format(3, 0)).message)
  end)

  it("knows a lost connection by libpq's words", function()
    assert.equal("connection_lost", errors.new {
      message = "server closed the connection unexpectedly\n\tThis probably means",
    }.kind)
  end)

  it("retries a timeout only if the statement was cancelled for certain", function()
    for _, kind in ipairs { "query_timeout", "cancelled" } do
      assert.is_true(errors.new { kind = kind, completed = false }.retryable)
      assert.is_false(errors.new { kind = kind, completed = true }.retryable)
      assert.is_false(errors.new { kind = kind }.retryable)
    end
    assert.is_false(errors.new { kind = "connection_lost" }.retryable)
    assert.is_false(errors.new { kind = "commit_unknown" }.retryable)
  end)
end)

describe("what the message and the context tell", function()
  local cases = {
    { "42501", "permission denied for table users", table = "users" },
    { "42501", "permission denied for relation users", table = "users" },
    { "42501", "permission denied for view v", table = "v" },
    { "42501", "permission denied for table a.b", table = "a.b" },
    { "42501", "permission denied for schema sch", schema = "sch" },
    { "42501", 'permission denied for column "c" of relation "t"', table = "t", column = "c" },
    { "42501", "must be owner of table users", table = "users" },
    { "42501", 'new row violates row-level security policy for table "t"', table = "t" },
    { "42501", "keine Berechtigung für Tabelle users" },
    { "42P01", 'relation "sch.userz" does not exist', table = "userz", schema = "sch" },
    { "42703", 'column "emial" does not exist', column = "emial" },
    { "42703", "column users.emial does not exist", column = "emial", table = "users" },
    { "42703", 'column "a" of relation "b" does not exist', column = "a", table = "b" },
    { "42P18", "could not determine data type of parameter $3", parameter = 3 },
    { "42P02", "there is no parameter $2", parameter = 2 },
  }
  for _, case in ipairs(cases) do
    it(("S066: %s"):format(case[2]), function()
      local e = statement(case[1], case[2])
      for _, name in ipairs { "table", "schema", "column", "parameter" } do
        assert.equal(case[name], e[name])
      end
    end)
  end

  local in_sql = {
    { "42501", "permission denied for table users", "SELECT * FROM a, sales.Users u, b",
      schema = "sales", table = "users" },
    { "42501", 'permission denied for table We "ird', 'UPDATE "S"."We ""ird" SET a = 1',
      schema = "S", table = 'We "ird' },
    { "42501", "permission denied for table users", "SELECT t.users FROM t, users" ,
      table = "users" },
    { "42501", "keine Berechtigung für Tabelle users", "SELECT * FROM users", table = "users" },
    { "42501", "テーブル users へのアクセスが拒否されました", "DELETE FROM ONLY s.users",
      schema = "s", table = "users" },
    { "42501", "droit refusé pour le schéma sales", "INSERT INTO sales.t (a) VALUES (1)",
      schema = "sales" },
    { "42P01", 'relation "s.t" does not exist', "SELECT * FROM s.t", schema = "s", table = "t" },
    { "42P01", 'relation "s.t" does not exist', 'SELECT * FROM "s.t"', table = "s.t" },
    { "42P01", 'table "s.t" does not exist', "DROP TABLE IF EXISTS a", schema = "s", table = "t" },
    { "42P01", "Relation »nix« existiert nicht", "SELECT * FROM nix", position = 15,
      table = "nix" },
    { "42P01", 'missing FROM-clause entry for table "u"', "SELECT u.a FROM t", position = 8 },
    { "42P01", "fehlender Eintrag in FROM-Klausel für Tabelle »u«", "SELECT u.a FROM t",
      position = 8 },
    { "42703", "column u.emial does not exist", "SELECT u.emial FROM users u", column = "emial" },
    { "42703", "column users.emial does not exist", "SELECT users.emial FROM users",
      column = "emial", table = "users" },
    { "42703", "Spalte »emial« existiert nicht", "SELECT emial FROM users", position = 8,
      column = "emial" },
    { "55P03", 'could not obtain lock on relation "t"', "LOCK TABLE t NOWAIT", table = "t" },
    { "55P03", "canceling statement due to lock timeout", "SELECT * FROM s.t", position = 15,
      schema = "s", table = "t" },
  }
  for _, case in ipairs(in_sql) do
    it(("S066: %s, in %s"):format(case[2], case[3]), function()
      local e = statement(case[1], case[2], { sql = case[3], position = case.position })
      for _, name in ipairs { "table", "schema", "column" } do
        assert.equal(case[name], e[name])
      end
    end)
  end

  it("prefers the server's fields to the words", function()
    local e = statement("42P01", 'relation "a" does not exist', { table = "b" })
    assert.equal("b", e.table)
  end)

  local contexts = {
    { "unnamed portal parameter $3 = '...'", "unnamed portal parameter $3", 3 },
    { "unnamed portal parameter $3 = 'it''s\nVALUE, $1 = ''VALUE'''\nmore",
      "unnamed portal parameter $3\nmore", 3 },
    { "portal \"c1\" parameter $12 = 'VALUE'", "portal \"c1\" parameter $12", 12 },
    { "unbenanntes Portal Parameter $1 = 'VALUE'", "unbenanntes Portal Parameter $1", 1 },
    { "portal sin nombre, parámetro 2 = '...'", "portal sin nombre, parámetro 2", 2 },
    { "이름없는 포탈 $4 매개 변수 = 'VALUE'", "이름없는 포탈 $4 매개 변수", 4 },
    { "unnamed portal with parameters: $1 = 'VALUE', $2 = 'VALUE, x'",
      "unnamed portal with parameters: $1, $2" },
    { "unnamed portal parameter $3 = 'VALUE", "unnamed portal parameter $3", 3 },
    { "SQL statement \"UPDATE t SET a = 'x' WHERE b = $1\"",
      "SQL statement \"UPDATE t SET a = 'x' WHERE b = $1\"" },
    { "PL/pgSQL function f() line 3 at RAISE", "PL/pgSQL function f() line 3 at RAISE" },
  }
  for i, case in ipairs(contexts) do
    it("S120: finds the parameter in a context and drops its value " .. i, function()
      local e = statement("22P02", "x", { context = case[1] })
      assert.equal(case[2], e.context)
      assert.equal(case[3], e.parameter)
    end)
  end

  it("S120: names the column of a COPY, and column and parameter in the text", function()
    local e = statement("22P02", 'invalid input syntax for type inet: "nope"',
      { context = 'COPY logs, line 3, column ip: "nope"' })
    assert.equal("ip", e.column)
    e = statement("22P02", 'invalid input syntax for type inet: "nope"',
      { context = "unnamed portal parameter $4 = '...'", column = "ip_address" })
    contains(tostring(e), "ip_address", "$4")
    contains(e.fixes[1], 'column "ip_address" ($4)')
  end)
end)

describe("fixes", function()
  it("S061: are five for a refused connection, the allow-list last", function()
    local e = connect(at .. "Connection refused\n")
    assert.equal(5, #e.fixes)
    contains(e.fixes[1], "host and port", '"127.0.0.1", port 5432')
    contains(e.fixes[2], "running")
    contains(e.fixes[3], "network")
    contains(e.fixes[4], "firewall")
    contains(e.fixes[5], "IP allow-list includes this machine")
  end)

  it("S060: say in the first one which it is", function()
    contains(connect('could not translate host name "nosuch" to address: x').fixes[1],
      'no address is known for the host "nosuch"')
    contains(connect('connection to server on socket "/x/.s.PGSQL.1" failed: y').fixes[1],
      "nothing listens on the socket /x/.s.PGSQL.1")
    contains(connect('connection to server on socket "/x/.s.PGSQL.1" failed: Permission denied')
      .fixes[1], "may not open it")
    contains(connect(at .. "Network is unreachable").fixes[1], "No network route")
    contains(connect(at .. "expected authentication request from server, but received H").fixes[1],
      "is this a PostgreSQL port?")
    assert.equal(5, #connect(at .. "Connection refused").fixes)
    assert.equal(5, #connect(at .. "expected authentication request from server").fixes)
  end)

  it("S061: the host's own line replaces the product's, also for pg_hba rejects", function()
    local old = errors.texts.allow_list
    errors.texts.allow_list = "Verify IP whitelist includes Defense Catalyst."
    local refused = connect(at .. "Connection refused\n")
    local reject = connect(refused_by_server("28000", 'pg_hba.conf rejects connection for host '
      .. '"10.0.0.7", user "app_user", database "myapp", SSL encryption'))
    errors.texts.allow_list = old
    assert.equal("Verify IP whitelist includes Defense Catalyst.", refused.fixes[5])
    assert.equal("authentication_failed", reject.kind)
    contains(reject.fixes[1], "Defense Catalyst", '"10.0.0.7"', "rejects")
  end)

  it("S063: are five in the seed's order, filled in", function()
    local e = connect(refused_by_server("28P01", "x"))
    assert.equal(5, #e.fixes)
    contains(e.fixes[1], 'user name is correct: "app_user"')
    contains(e.fixes[2], "password")
    contains(e.fixes[3], 'ALTER ROLE "app_user" LOGIN')
    contains(e.fixes[4], 'database name is correct: "myapp"')
    contains(e.fixes[5], "locked", "rolname = 'app_user'")
  end)

  it("S063: lead with what the server says", function()
    contains(connect(refused_by_server("3D000", "x")).fixes[1], "database name")
    contains(connect(refused_by_server("28000", 'role "x" is not permitted to log in')).fixes[1],
      "LOGIN")
    contains(connect(refused_by_server("28P01", "password expired")).fixes[1], "VALID UNTIL")
    contains(connect(refused_by_server("28000", 'Peer authentication failed for user "x"'))
      .fixes[1], "operating system")
    contains(connect(at .. "fe_sendauth: no password supplied", { needs_password = true }).fixes[1],
      "Give a password")
    contains(connect(refused_by_server("28000", "connection requires a valid client certificate")
      .. refused_by_server("28000", hba .. "no encryption")).fixes[1], "sslcert")
    contains(connect(refused_by_server("28000", hba .. "SSL encryption")).fixes[1], "10.0.0.7")
  end)

  it("S063: stay five, whatever leads", function()
    for _, text in ipairs { "x", "password expired", "not permitted to log in",
      "Peer authentication failed", "connection requires a valid client certificate",
      hba .. "SSL encryption" } do
      assert.equal(5, #connect(refused_by_server("28000", text)).fixes)
    end
    assert.equal(5, #connect(at .. "fe_sendauth: no password supplied\n").fixes)
    assert.equal(5, #connect(refused_by_server("3D000", "x")).fixes)
  end)

  it("S063: do not take a name for what the server says", function()
    local e = connect(refused_by_server("28P01", 'password authentication failed for user '
      .. '"expired pg_hba.conf Peer authentication"'))
    contains(e.fixes[1], "user name is correct")
  end)

  it("S065: are three, the first says sslmode = require", function()
    local e = connect(refused_by_server("28000", hba .. "no encryption"), { sslmode = "disable" })
    assert.equal(3, #e.fixes)
    contains(e.fixes[1], 'sslmode = "require"')
    contains(e.fixes[2], "settings")
    contains(e.fixes[3], "pg.test", "allow-list")
  end)

  it("a server without SSL: turn it on, or sslmode = disable on a trusted network", function()
    local e = connect(at .. "server does not support SSL, but SSL was required\n")
    contains(e.fixes[1], "ssl = on", "trusted network", 'sslmode = "disable"')
  end)

  it("a certificate of another name: that name is the host to give", function()
    local e = connect(at .. 'server certificate for "o.example" does not match host name "h"')
    contains(e.fixes[1], 'host = "o.example"')
  end)

  it("S067: the first is the GRANT with the real quoted names", function()
    local e = statement("42501", "permission denied for table users", { user = "app_user" })
    assert.equal("Grant the permissions: GRANT SELECT, INSERT, UPDATE, DELETE ON \"users\" TO "
      .. '"app_user"', e.fixes[1])
    e = statement("42501", 'permission denied for table we"ird',
      { user = "O'x", sql = "select 1" })
    contains(e.fixes[1], 'ON "we""ird" TO "O\'x"')
    contains(e.fixes[2], "grantee = 'O''x'")
    e = statement("42501", "permission denied for table users",
      { user = "a", sql = "SELECT * FROM sales.users" })
    contains(e.fixes[1], 'ON "sales"."users" TO "a"')
  end)

  it("S068: the second is the query with the real user", function()
    local e = statement("42501", "permission denied for table users", { user = "app_user" })
    contains(e.fixes[2],
      "SELECT * FROM information_schema.table_privileges WHERE grantee = 'app_user'")
    assert.equal(2, #e.fixes)
  end)

  local grants = {
    { "sequence s", 'GRANT USAGE, SELECT ON SEQUENCE "s" TO "u"' },
    { "schema sch", 'GRANT USAGE ON SCHEMA "sch" TO "u"' },
    { "function f", 'GRANT EXECUTE ON FUNCTION "f" TO "u"' },
    { "procedure p", 'GRANT EXECUTE ON PROCEDURE "p" TO "u"' },
    { "database d", 'GRANT CONNECT ON DATABASE "d" TO "u"' },
    { "materialized view v", 'GRANT SELECT, INSERT, UPDATE, DELETE ON "v" TO "u"' },
    { 'column "c" of relation "t"', 'GRANT SELECT ("c"), INSERT ("c"), UPDATE ("c") ON "t"' },
  }
  for _, case in ipairs(grants) do
    it("S066: tell apart: " .. case[1], function()
      local e = statement("42501", "permission denied for " .. case[1], { user = "u" })
      contains(e.fixes[1], case[2])
    end)
  end

  it("S070: are five, with the version; a quote near the place leads to $1", function()
    local e = statement("42601", 'syntax error at or near "selct"',
      { sql = "selct 1", position = 1, server = "15.18" })
    assert.equal(5, #e.fixes)
    contains(e.fixes[2], 'typos near "selct"')
    contains(e.fixes[5], "PostgreSQL 15.18")
    e = statement("42601", 'syntax error at or near "Brien"',
      { sql = "select * from t where n = 'O'Brien'", position = 30 })
    assert.equal(5, #e.fixes)
    contains(e.fixes[1], "Write $1 there")
    e = statement("42601", 'syntax error at or near "$1"',
      { sql = "ALTER ROLE x PASSWORD $1", position = 23 })
    assert.equal(5, #e.fixes)
    contains(e.fixes[1], "take no parameters", "pg.literal")
    contains(statement("42601", "cannot insert multiple commands into a prepared statement")
      .fixes[1], "db:execute")
    contains(statement("42601", "kann nicht mehrere Befehle in vorbereitete Anweisung einfügen",
      { sql = "SELECT 1; SELECT 2" }).fixes[1], "db:execute")
  end)

  it("S070: 42703 and 42P01 begin with the server's hint", function()
    local hint = 'Perhaps you meant to reference the column "users.email".'
    local e = statement("42703", 'column "emial" does not exist', { hint = hint })
    assert.equal(hint, e.fixes[1])
    local _, count = tostring(e):gsub("Perhaps you meant", "")
    assert.equal(1, count)
    assert.equal('Did you mean "users"?',
      statement("42P01", "x", { nearest = "users" }).fixes[1])
  end)

  it("S072: are four, the first the count query", function()
    local e = connect(refused_by_server("53300", "sorry, too many clients already"))
    assert.equal(4, #e.fixes)
    contains(e.fixes[1], "SELECT count(*) FROM pg_stat_activity")
    contains(e.fixes[3], "max_connections")
    contains(connect(refused_by_server("53300", 'too many connections for role "app_user"'))
      .fixes[3], 'ALTER ROLE "app_user" CONNECTION LIMIT')
  end)

  it("S074: are five, with elapsed and limit; the ceiling names pg.limits", function()
    local e = errors.new { kind = "query_timeout", elapsed = 61.2, limit = 60, completed = false,
      message = "the driver's word" }
    assert.equal(5, #e.fixes)
    assert.equal("the statement did not finish within its timeout of 60 s (it ran 61.2 s); it was "
      .. "cancelled", e.message)
    contains(e.fixes[4], "60 s now", "timeout in the options")
    lacks(e.fixes[4], "pg.limits")
    e = errors.new { kind = "query_timeout", limit = 60, ceiling = 60, lock_holder = 4711 }
    contains(e.fixes[4], "60 s now", "Ask the host", "pg.limits")
    contains(e.fixes[3], "4711")
    e = statement("57014", "canceling statement due to statement timeout",
      { elapsed = 5.01, limit = 5, user = "u" })
    assert.equal("canceling statement due to statement timeout", e.message)
    contains(e.fixes[4], "5 s now", 'ALTER ROLE "u" SET statement_timeout')
    contains(tostring(e), "time: 5.01 s (the limit is 5 s)")
  end)

  it("S066: a database without CONNECT gets its own GRANT", function()
    local e = connect(refused_by_server("42501", 'permission denied for database "myapp"'))
    contains(e.fixes[1], 'GRANT CONNECT ON DATABASE "myapp" TO "app_user"')
  end)

  it("S122: result_too_large says the limit and the bytes; completed: the changes stand", function()
    local e = errors.new { kind = "result_too_large", limit = 10 << 20, bytes = 11 << 20,
      completed = true }
    contains(e.message, "10 MiB", "11 MiB so far", "changes stand")
    contains(e.fixes[1], "LIMIT")
    e = errors.new { kind = "result_too_large", limit = 10 << 20 }
    contains(e.message, "unknown")
    e = errors.new { kind = "result_too_large", limit = 100000, completed = false }
    assert.equal("the result is larger than the limit of 100000 bytes; the statement was cancelled",
      e.message)
  end)

  it("S122: what only reads is not said to have changed anything", function()
    for _, sql in ipairs { "SELECT 1", " ( select 1)", "-- note\n/* x */ TABLE t", "VALUES (1)" } do
      for _, completed in ipairs { true, "unknown" } do
        local e = errors.new { kind = "result_too_large", limit = 1, sql = sql,
          completed = completed }
        lacks(e.message, "changes", "took effect")
      end
    end
    for _, sql in ipairs { "INSERT INTO t VALUES (1) RETURNING a", "SELECT 1 INTO t",
      "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x" } do
      contains(errors.new { kind = "result_too_large", limit = 1, sql = sql, completed = true }
        .message, "its changes stand")
    end
  end)

  local rules = {
    { "23505", "duplicate key value violates unique constraint \"u\"",
      "ON CONFLICT (a, b) DO UPDATE", detail = "Key (a, b)=(1, 2) already exists." },
    { "23503", "insert or update on table \"o\" violates foreign key", "does not exist" },
    { "23503", "Aktualisieren oder Löschen in Tabelle »o« verletzt", "still point",
      sql = "DELETE FROM o" },
    { "23503", "update or delete on table \"o\" violates foreign key constraint", "still point" },
    { "23502", "null value", 'Give the column "name" a value' },
    { "23514", "new row", "do not pass the check" },
    { "23P01", "conflicting key", "in conflict with one that is there already" },
  }
  for _, case in ipairs(rules) do
    it("constraint_violation says in plain words: " .. case[3], function()
      contains(statement(case[1], case[2], { table = "o", column = "name", detail = case.detail,
        sql = case.sql }).fixes[1], case[3])
    end)
  end

  it("42P18: the first is a cast of the parameter", function()
    contains(statement("42P18", "could not determine data type of parameter $2").fixes[1],
      "$2::text")
  end)

  it("S075: every kind has fixes, filled in without leftovers", function()
    for _, entry in ipairs(errors.kinds) do
      local e = errors.new { kind = entry.kind }
      assert.is_true(#e.fixes >= 2)
      for _, text in ipairs(e.fixes) do
        assert.is_nil(text:find("[{|]=?%w+|") or text:find("{=", 1, true))
        -- A sentence, or one with SQL at its end; nothing that dangles.
        assert.is_truthy(text:find("%.$") or text:find(": %u%u+ .*[^;]$"), text)
        assert.is_truthy(text:find("^%u"), text)
      end
    end
  end)
end)

describe("tostring", function()
  -- The line with the place, and the text under the caret.
  local function place(e)
    local text = tostring(e)
    local line, mark = text:match("\n(  LINE [^\n]*)\n( *)%^")
    return line, mark, text
  end

  it("S059: reads as one block", function()
    local e = statement("42703", 'column "emial" does not exist', {
      position = 8, sql = "SELECT emial FROM users", connection = "Production Database",
      user = "app_user", host = "db.example.com", port = 5432, database = "myapp",
    })
    contains(tostring(e), 'pg: undefined_column: column "emial" does not exist '
      .. "(42703 undefined_column)\n  LINE 1: SELECT emial FROM users\n                 ^",
      "connection: Production Database (app_user@db.example.com:5432/myapp)", "What to try:\n   1.")
  end)

  it("S069: the caret counts characters, not bytes", function()
    local line, mark = place(statement("42601", "x", { sql = "SELECT 'äöü', x y", position = 17 }))
    assert.equal("  LINE 1: SELECT 'äöü', x y", line)
    assert.equal(#"  LINE 1: SELECT 'aou', x ", #mark)
  end)

  it("S069: wide characters take two columns, tabs one", function()
    local _, mark = place(statement("42601", "x", { sql = "SELECT '漢字'\tx", position = 13 }))
    assert.equal(#"  LINE 1: SELECT 'kkkk' ", #mark)
  end)

  it("S069: shows the one line of several", function()
    local sql = "SELECT 1\r\n  FROM tabl\r\n WHERE x"
    local line, mark = place(statement("42P01", "x", { sql = sql, position = 18 }))
    assert.equal("  LINE 2:   FROM tabl", line)
    assert.equal(#"  LINE 2:   FROM ", #mark)
  end)

  it("S069: cuts long lines around the caret", function()
    local sql = ("a, "):rep(400) .. "ü BAD ü" .. (", ö"):rep(400)
    local line, mark, text = place(statement("42601", "x", { sql = sql, position = 1203 }))
    assert.is_true(utf8.len(line) <= 80)
    assert.equal("BAD", line:sub(utf8.offset(line, #mark + 1)):sub(1, 3))
    contains(text, "^ character 1203")
  end)

  it("S069: the place may be the end, behind it, or in broken UTF-8", function()
    for _, sql in ipairs { "", "SELECT", "SEL\xC3", "\x80\xFFx", "a\nb\n", ("x"):rep(500) } do
      for _, position in ipairs { 1, 2, 4, 7, 501, 1e15, "3", -1, 0, "x", 2.5 } do
        local e = statement("42601", "x", { sql = sql, position = position })
        assert.is_truthy(utf8.len(tostring(e)))
        contains(tostring(e), "What to try:")
        contains(e:report(), "kind: syntax_error")
      end
    end
  end)

  it("Q24: a message of 1 MB is cut, and whole in err.message", function()
    local e = statement("XX000", ("ä"):rep(1 << 19))
    assert.equal(1 << 20, #e.message)
    assert.is_true(#tostring(e) < 1500)
    assert.is_truthy(utf8.len(tostring(e)))
  end)

  it("Q25: escapes control characters, direction marks and bytes that are no UTF-8", function()
    local e = statement("XX000", "a\27[31mred\7\r\nb\xFF\xC2\x9B\u{202E}x",
      { detail = "\27]0;title\7", sql = "SELECT \27[2J", connection = "\27[1m" })
    lacks(tostring(e), "\27", "\7", "\r", "\xFF", "\xC2\x9B", "\u{202E}")
    contains(tostring(e), "\\x1B[31mred", "\\xFF", "\\u{202E}")
    assert.is_not_nil(e.message:find("\27", 1, true))
    lacks(e:report(), "\27", "\7")
  end)

  it("Q26: an error without any field reads well", function()
    contains(tostring(errors.new {}), "pg: query_failed: the server reported an error without a "
      .. "message")
  end)

  it("shows the query inside a function", function()
    local e = statement("42P01", 'relation "nope" does not exist', {
      internal_query = "SELECT * FROM nope", internal_position = "15",
      context = "PL/pgSQL function f() line 1 at SQL statement",
    })
    contains(tostring(e), "LINE 1: SELECT * FROM nope", "where: PL/pgSQL function f()")
  end)

  it("joins with strings", function()
    local e = errors.new { message = "x" }
    assert.equal("a: " .. tostring(e), "a: " .. e)
    assert.equal(tostring(e) .. "!", e .. "!")
  end)

  it("names the cause", function()
    local first = statement("42P01", 'relation "a" does not exist')
    local e = statement("25P02", "current transaction is aborted", { cause = first })
    contains(tostring(e), 'cause: undefined_table: relation "a" does not exist')
  end)
end)

describe("secrets", function()
  local statements = {
    "ALTER ROLE x PASSWORD 'S3CRET' foo", "alter role x password E'S3CRET\\'foo' foo",
    "CREATE USER x WITH ENCRYPTED PASSWORD $q$S3CRET$q$ foo",
    "SELECT dblink_connect('host=a password=S3CRET user=b') foo",
    "SELECT 'postgresql://u:S3CRET@h/d' foo", "CREATE USER MAPPING FOR x SERVER s OPTIONS "
      .. "(user 'a', password 'S3CRET') foo",
    "DO $$ BEGIN ALTER ROLE x PASSWORD 'S3CRET'; END $$ foo",
    "UPDATE t SET token = 'S3CRET' foo", "ALTER ROLE x PASSWORD 'S3CRET foo",
    "/* it's */ ALTER ROLE \"it's\" PASSWORD 'S3CRET' foo",
  }
  for _, sql in ipairs(statements) do
    it("S7: not in tostring or report: " .. sql:sub(1, 40), function()
      for _, more in ipairs { { position = #sql }, {}, { position = (sql:find("S3C")) } } do
        more.sql, more.context = sql, 'SQL statement "' .. sql .. '"'
        local e = statement("42601", 'at or near "' .. sql:match("S3CRET.*") .. '"', more)
        e.detail = sql
        lacks(tostring(e), "S3C")
        lacks(e:report(), "S3C")
      end
    end)
  end

  it("S7: not from a context alone", function()
    local e = statement("42601", "x", { context = "SQL statement \"ALTER ROLE x PASSWORD 'S3C'\"" })
    lacks(tostring(e) .. e:report(), "S3C")
  end)

  it("S7: the caret stays at its place behind a starred literal", function()
    local sql = "ALTER ROLE x PASSWORD 'S3CRETS3CRET' foo"
    contains(tostring(statement("42601", "x", { sql = sql, position = 38 })),
      "  LINE 1: ALTER ROLE x PASSWORD '***' foo\n                                      ^")
  end)

  it("S133: the report holds what support needs and no value", function()
    errors.versions.module, errors.versions.libpq = "1.0.0", "15.20"
    local e = statement("22P02", 'invalid input syntax for type inet: "V4LUE"', {
      context = "unnamed portal parameter $1 = 'V4LUE'\nCOPY t, line 1, column a: \"V4LUE\"",
      detail = 'Token "V4LUE" is invalid.', sql = "SELECT $1::inet", server = "15.18",
      elapsed = 0.25,
      connection = "postgres://u:S3CRET@h/d", host = "db", port = 5432, database = "d", user = "u",
      sslmode = "require", ssl_in_use = true,
    })
    local text = e:report()
    errors.versions.module, errors.versions.libpq = nil, nil
    lacks(text, "V4LUE", "S3CRET")
    lacks(tostring(e), "S3CRET")
    contains(text, "kind: invalid_value", "SQLSTATE: 22P02 invalid_text_representation",
      "statement: SELECT $1::inet", "host: db", "port: 5432", "database: d", "user: u",
      "server: PostgreSQL 15.18", "module: pg 1.0.0", "libpq: 15.20", "Lua: 5.4",
      "elapsed: 0.25 s", "sslmode: require", "encrypted: yes", "context: ", "fixes:\n")
  end)

  it("S133: the report hides keys and rows of broken constraints", function()
    for _, detail in ipairs {
      "Key (email)=(V4LUE) already exists.", "Failing row contains (1, V4L)UE, null).",
      'Key (uid)=(V4LUE) is not present in table "users".',
    } do
      lacks(statement("23505", "x", { detail = detail }):report(), "V4L", "UE")
    end
  end)

  it("S133: the report holds the cause's report", function()
    local e = errors.new { kind = "transaction_failed", cause = statement("42P01", "no such") }
    contains(e:report(), "cause:\n", "    message: no such")
  end)

  local complaints = {
    { 'invalid percent-encoded token: "S3%ZZCRETPW"', 'invalid percent-encoded token: "..."' },
    { 'missing "=" after "S3CRETPW" in connection info string\n',
      'missing "=" after "..." in connection info string' },
    { 'missing "=" after "S3"CRET"" in connection info string',
      'missing "=" after "..." in connection info string' },
    { 'invalid integer value "S3CRETPW@h" for connection option "port"',
      'invalid integer value "..." for connection option "port"' },
    { 'invalid connection option "S3CRET"', 'invalid connection option "..."' },
    { 'end of string reached when looking for matching "]" in IPv6 host address in URI: '
      .. '"postgresql://u:S3CRET@["', 'end of string reached when looking for matching "..."' },
    { "fehlendes »=« nach »S3CRET« in der Zeichenkette",
      'fehlendes "..." in der Zeichenkette' },
    { "unterminated quoted string in connection info string",
      "unterminated quoted string in connection info string" },
  }
  for _, case in ipairs(complaints) do
    it("S5: hide_quoted: " .. case[2]:gsub("\n", ""), function()
      assert.equal(case[2], errors.hide_quoted(case[1]))
    end)
  end
end)

describe("errors.new", function()
  it("completes the table in place, and leaves one of ours alone", function()
    local fields = { message = "x" }
    local e = errors.new(fields)
    assert.equal(fields, e)
    assert.equal(e, errors.new(e))
    assert.is_true(errors.is(e))
    assert.is_false(errors.is {})
    assert.is_false(errors.is "x")
    assert.equal("pg.error", getmetatable(e).__name)
  end)

  it("shows only documented fields in pairs", function()
    local documented = {}
    for name in ([[kind message sqlstate condition severity detail hint position schema table column
      constraint datatype context parameter sql connection server user database host port elapsed
      limit bytes completed retryable cause fixes]]):gmatch("%S+") do
      documented[name] = true
    end
    local e = connect(refused_by_server("28P01", "x"), {
      ssl_in_use = false, needs_password = false, ceiling = 1, internal_query = "x", nearest = "y",
      internal_position = 1, lock_holder = 5, detail = "d", elapsed = 1, limit = 2,
    })
    for name in pairs(e) do
      assert.is_true(documented[name] or false, name)
    end
  end)

  it("Q24: takes a time that grows with the text, not with its square", function()
    for _, text in ipairs { "passw", "key $a$ 'b", "://a:b", "key (a)=(", "FROM a, ", "= '$1" } do
      local long = text:rep((1 << 17) // #text)
      local started = os.clock()
      local e = statement("42501", long, { sql = "'" .. long, context = long, position = 1 << 16 })
      assert.is_true(#tostring(e) < 5000)
      assert.is_true(os.clock() - started < 10, text)
    end
  end)

  it("never raises, whatever the fields are", function()
    local names = { "kind", "stage", "sqlstate", "message", "severity", "detail", "hint",
      "position", "context", "parameter", "sql", "elapsed", "limit", "bytes", "cause",
      "retryable", "completed",
      "user", "table", "fixes", "internal_query", "internal_position", "host", "port" }
    local values = { 0, -1, 0 / 0, math.huge, 2 ^ 53, "", "x", "connect", "42601", "28000",
      ("'"):rep(50), "query_timeout", "result_too_large", true, false, {}, print, "\xFF\x80", "%",
      "%1 {x|y} {=allow_list}", "permission denied for table %s", "connection to server at" }
    math.randomseed(7)
    for _ = 1, 3000 do
      local fields = {}
      for _, name in ipairs(names) do
        if math.random() < 0.5 then
          fields[name] = values[math.random(#values)]
        end
      end
      local e = errors.new(fields)
      assert.is_string(e.kind)
      assert.is_string(e.message)
      assert.is_boolean(e.retryable)
      assert.is_true(tostring(e):sub(1, 4) == "pg: ")
      assert.is_string(e:report())
      for _, text in ipairs(e.fixes) do
        assert.is_string(text)
      end
    end
    assert.is_true(errors.is(errors.new(nil)))
    assert.is_true(errors.is(errors.new("text")))
    local evil = setmetatable({}, { __metatable = false, __index = error, __pairs = error })
    assert.is_true(errors.is(errors.new(evil)))
  end)
end)

describe("the table of kinds", function()
  it("S130: doc/errors.md is made from it", function()
    local file <close> = assert(io.open("doc/errors.md"))
    local made <close> = assert(io.popen("lua5.4 spec/tools/errors_doc.lua"))
    assert.equal(made:read("a"), file:read("a"))
  end)

  it("S128: has what, when, an example and fixes for each kind of the interface", function()
    local wanted = [[connection_refused connect_timeout authentication_failed ssl_required
      ssl_failed too_many_connections pool_timeout permission_denied read_only
      syntax_error undefined_table
      undefined_column undefined_function undefined_parameter invalid_value constraint_violation
      query_timeout cancelled lock_timeout result_too_large serialization_failure deadlock_detected
      commit_unknown transaction_failed invalid_parameter wrong_action connection_lost
      server_unavailable unsupported_version query_failed]]
    local count = 0
    for kind in wanted:gmatch("%S+") do
      local entry = assert(fixes.by_name[kind], kind)
      count = count + 1
      assert.is_true(#entry.when > 0 and #entry.example > 0 and #entry.message > 0)
      for _, code in ipairs(entry.sqlstates) do
        assert.is_true(#code == 2 or conditions[code] ~= nil, code)
      end
    end
    assert.equal(count, #errors.kinds)
  end)

  it("S059: names only what there is", function()
    local pg, core = require "pg", require "pg.core"
    local objects = { db = core.methods, err = getmetatable(errors.new {}).__index }
    local named = {}
    local function look(text, where)
      for owner, name in text:gmatch("%f[%w_](%l+):(%l[%w_]*)") do
        if objects[owner] then
          named[owner .. ":" .. name] = true
          assert.is_truthy(objects[owner][name], ("%s: no %s:%s"):format(where, owner, name))
        end
      end
      for name in text:gmatch("%f[%w_]pg%.(%l[%w_]*)") do
        named["pg." .. name] = true
        assert.is_truthy(pg[name], ("%s: no pg.%s"):format(where, name))
      end
      assert.is_nil(text:find("pool:") or text:find("tx:"), where)
    end
    for _, file in ipairs { "fixes", "advice", "advice_connect", "advice_statement",
      "connect_text", "message_text", "error_text" } do
      local number = 0
      for line in io.lines("lua/pg/" .. file .. ".lua") do
        number = number + 1
        look(line:gsub('require "[^"]*"', ""):gsub("%-%-.*$", ""), file .. ".lua:" .. number)
      end
    end
    for _, name in ipairs { "db:query", "db:reset", "pg.test", "pg.typed", "err:report" } do
      assert.is_true(named[name], name .. " is nowhere: is it looked for at all?")
    end
  end)

  it("conditions.lua calls what an installed PostgreSQL knows by the same names", function()
    local list <close> = io.popen(
      'ls /usr/share/postgresql/*/errcodes.txt "$(pg_config --sharedir)/errcodes.txt" 2>/dev/null')
    local files = 0
    for path in list:lines() do
      files = files + 1
      local seen, compared = {}, 0
      for line in io.lines(path) do
        local code, name = line:match("^(%w%w%w%w%w)%s+[EWS]%s+ERRCODE_[%w_]+%s+([%w_]+)")
        -- Where a code has two names the first is the manual's; codes of later versions are fine.
        if code and not seen[code] and conditions[code] then
          assert.equal(conditions[code], name)
          compared = compared + 1
        end
        seen[code or ""] = true
      end
      assert.is_true(compared > 200, path)
    end
    if files == 0 then pending "no server package has its errcodes.txt here" end
  end)

  it("conditions.lua knows Appendix A and what 17 and 18 added", function()
    assert.equal("unique_violation", conditions["23505"])
    assert.equal("transaction_timeout", conditions["25P04"])
    assert.equal("query_canceled", conditions["57014"])
    assert.equal("internal_error", conditions["XX000"])
  end)
end)

describe("an error object in a host that knows strings only", function()
  it("joins them, formats and prints as its text (E23)", function()
    local e = statement("42601", 'syntax error at or near "SELEC"')
    local text <const> = tostring(e)
    contains(text, "syntax error")
    assert.are.equal("failed: " .. text, "failed: " .. e)
    assert.are.equal(text .. ".", e .. ".")
    assert.are.equal(text, ("%s"):format(e))
    local ok, raised = pcall(error, e)
    assert.is_false(ok)
    assert.are.equal(text, tostring(raised))
  end)
end)
