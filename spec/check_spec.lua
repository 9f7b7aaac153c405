-- SPDX-License-Identifier: MIT
-- check: each item of the checklist, when it is right and when it is not, and that nothing is left
-- behind by it.
local check = require "pg.check"
local check_session = require "pg.check_session"
local check_statement = require "pg.check_statement"
local check_text = require "pg.check_text"
local core = require "pg.core"
local nine_six = require "spec.nine_six"
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local raises <const>, failed <const>, same <const> = support.raises, support.failed, support.same
local contains <const>, lacks <const>, value <const> =
  support.contains, support.lacks, support.value

local server, db

setup(function()
  server = assert(throwaway.start { ssl = true })
  db = assert(pg.connect(server.options))
end)

teardown(function()
  if db then db:close() end
  if server then server:stop() end
end)

-- The items by name, and their names in order.
local function checked(connection, given)
  local by, names = {}, {}
  for i, item in ipairs(assert(connection:check(given))) do
    names[i], by[item.item] = item.item, item
    same({ "string", "boolean", "string", "table" },
      { type(item.item), type(item.ok), type(item.message), type(item.fixes) })
    assert.matches("^.+[%.]$", item.message)
  end
  return by, names
end

local function item(name, given, connection)
  return (checked(connection or db, given))[name] or error(name .. " is not there")
end

local function is_ok(found, ...)
  if not found.ok then error(found.message, 2) end
  contains(found.message, ...)
end

local function is_wrong(found, ...)
  if found.ok then error(found.message, 2) end
  contains(found.message, ...)
end

before_each(function()
  if db:status().state ~= "idle" then
    db:close()
    db = assert(pg.connect(server.options))
  end
  assert(db:execute [[
RESET ROLE; RESET search_path;
DO $$ DECLARE s text; BEGIN
  FOR s IN SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
    WHERE nspname !~ '^(pg_|information_schema)' LOOP EXECUTE s; END LOOP;
  FOR s IN SELECT format('DROP OWNED BY %I; DROP ROLE %I', rolname, rolname) FROM pg_roles
    WHERE rolname LIKE 'app%' LOOP EXECUTE s; END LOOP;
END $$;
CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public;
CREATE TABLE users (id serial PRIMARY KEY, email text, age int);
INSERT INTO users (email, age) VALUES ('john@example.com', 30), ('jane@example.com', 40);
CREATE ROLE app LOGIN PASSWORD 'x']])
end)

describe("the checklist", function()
  it("has the items whose inputs are given, in its order", function()
    local always <const> = { "connect", "ssl", "errors", "reuse" }
    same(always, select(2, checked(db)))
    same(always, select(2, checked(db, {})))
    same({ "connect", "ssl", "privileges", "errors", "reuse" },
      select(2, checked(db, { privileges = { users = "SELECT" } })))
    same({ "connect", "ssl", "privileges", "syntax", "parameters", "errors", "reuse" },
      select(2, checked(db, { query = "SELECT 1" })))
    same({ "connect", "ssl", "privileges", "syntax", "result", "parameters", "errors", "reuse" },
      select(2, checked(db, { query = "SELECT 1", expect = {} })))
  end)

  it("is a plain list, for JSON too", function()
    local list = assert(db:check { query = "SELECT $1::int", parameters = { 1 }, expect = {} })
    assert.equal(#list, #core.json_decode(pg.encode(list)))
    assert.is_nil(getmetatable(list[1]))
  end)

  it("raises at the caller's line for what it does not know", function()
    raises("takes a table", function() db:check "SELECT 1" end)
    raises("did you mean 'privileges'?", function() db:check { privilege = {} } end)
    raises("did you mean 'rowCount'?", function()
      db:check { query = "SELECT 1", expect = { rowcount = 1 } }
    end)
    raises("belong to a query", function() db:check { expect = {} } end)
    raises("belong to a query", function() db:check { parameters = {} } end)
    raises("query must be a string", function() db:check { query = {} } end)
    raises("ssl must be a boolean", function() db:check { ssl = "require" } end)
    raises("rowCount must be an integer", function()
      db:check { query = "SELECT 1", expect = { rowCount = 1.5 } }
    end)
    raises("n must be an integer", function()
      db:check { query = "SELECT 1", parameters = { n = "1" } }
    end)
    raises("did you mean 'DELETE'?", function() db:check { privileges = { users = "delet" } } end)
    raises("lists of verbs by table", function() db:check { privileges = { users = {} } } end)
    raises("verb must be a string", function() db:check { privileges = { users = { 1 } } } end)
    raises("lists of verbs by table", function() db:check { privileges = { users = 1 } } end)
    raises("must be a string or a pg.identifier", function() db:check { privileges = { "x" } } end)
    raises("timeout", function() db:check { timeout = "1" } end)
  end)
end)

describe("the item connect", function()
  it("S076: tells where it is connected, as whom", function()
    local id = core.identity(db)
    is_ok(item "connect", "PostgreSQL " .. id.server, "as postgres", "database postgres",
      "port " .. server.options.port, " ms.")
    assert(db:execute "SET ROLE app")
    is_ok(item "connect", "as app,")
  end)
end)

describe("the item ssl", function()
  local function over(more)
    return assert(pg.connect(support.with(server.tcp, more)))
  end

  it("S077: is in use, and tells the mode and whether the server was verified", function()
    local found
    do
      local tls <close> = over { sslmode = "require" }
      found = item("ssl", nil, tls)
      is_ok(found, "Encrypted with TLSv1", "sslmode require", "was not verified")
      contains(found.fixes[1], "verify-full")
    end
    for mode, words in pairs { ["verify-ca"] = "its name was not",
      ["verify-full"] = "and its name were verified" } do
      local tls <close> = over { sslmode = mode, sslrootcert = server.ssl.rootcert,
        host = "localhost" }
      found = item("ssl", { ssl = true }, tls)
      is_ok(found, "sslmode " .. mode, words)
      assert.equal(mode == "verify-full" and 0 or 1, #found.fixes)
    end
  end)

  it("S077: is not needed on a socket or on this machine, unless it is required", function()
    is_ok(item "ssl", "Not encrypted", "a Unix socket")
    is_wrong(item("ssl", { ssl = true }), "Not encrypted")
    local plain <close> = over { sslmode = "disable" }
    is_ok(item("ssl", nil, plain), "sslmode disable", "on this machine")
    local found = item("ssl", { ssl = true }, plain)
    is_wrong(found, "Not encrypted")
    contains(found.fixes[1], 'sslmode = "verify-full"')
  end)

  it("S077: is needed where the server is another machine", function()
    local far = setmetatable({}, { __index = {
      status = function() return { ssl = false } end,
    } })
    local identity = core.identity
    for _, where in ipairs { { host = "db.example.com" }, { host = "127.evil.example.com" },
      { host = "localhost", address = "192.0.2.7" } } do
      core.identity = function() return where end
      local needed, given = check_session.ssl(far, {}), check_session.ssl(far, { ssl = false })
      core.identity = identity
      is_wrong(needed, "Not encrypted; sslmode prefer.")
      is_ok(given, "Not encrypted")
    end
  end)
end)

describe("the item privileges", function()
  local function as_app(given)
    local app <close> = assert(pg.connect(support.with(server.tcp, { user = "app",
      password = "x" })))
    local found = item("privileges", given, app)
    assert.equal("idle", app:status().state)
    return found
  end

  it("S078: tells what the role may do, and gives the GRANT for what it may not", function()
    assert(db:execute "GRANT SELECT, INSERT ON users TO app; GRANT USAGE ON users_id_seq TO app")
    is_ok(as_app { privileges = { users = { "SELECT", "insert" } } },
      'app may SELECT, INSERT on "users"')
    local found = as_app { privileges = { users = { "SELECT", "UPDATE", "DELETE" } } }
    is_wrong(found, "app may not do all", 'UPDATE, DELETE on "public"."users"')
    local grant = 'GRANT UPDATE, DELETE ON "public"."users" TO "app"'
    same({ "Grant the permissions: " .. grant }, found.fixes)
    assert(db:execute(grant))
    is_ok(as_app { privileges = { users = { "SELECT", "UPDATE", "DELETE" } } })
  end)

  it("S078: tells rights on some columns from those on the table", function()
    assert(db:execute "GRANT SELECT (id) ON users TO app")
    is_wrong(as_app { privileges = { users = { "SELECT", "DELETE" } } },
      "only some columns (SELECT)")
  end)

  it("S078: looks at the sequence that an INSERT needs", function()
    assert(db:execute "GRANT INSERT ON users TO app")
    local found = as_app { privileges = { users = "INSERT" } }
    is_wrong(found, 'the sequence "public"."users_id_seq"')
    local grant = 'GRANT USAGE ON SEQUENCE "public"."users_id_seq" TO "app"'
    same({ "Grant the permissions: " .. grant }, found.fixes)
    assert(db:execute(grant))
    is_ok(as_app { privileges = { users = "INSERT" } })
    assert(db:execute [[CREATE TABLE plain (id int); GRANT INSERT ON plain TO app]])
    is_ok(as_app { privileges = { plain = "INSERT" } })
  end)

  it("S078 S015: looks at the schema", function()
    assert(db:execute [[CREATE SCHEMA sales; CREATE TABLE sales.t ();
      GRANT SELECT ON sales.t TO app]])
    local found = as_app { privileges = { ["sales.t"] = "SELECT" } }
    is_wrong(found, "permission denied for schema sales")
    contains(table.concat(found.fixes, "\n"), 'GRANT USAGE ON SCHEMA "sales" TO "app"')
  end)

  it("names the nearest of a table that is not there, and goes on with the others", function()
    assert(db:execute 'CREATE TABLE "a.b" ()')
    local found = item("privileges", { privileges = { user = "SELECT", users = "SELECT",
      [pg.identifier "a.b"] = "DELETE", zzz = "SELECT" } })
    is_wrong(found, 'relation "user" does not exist', 'relation "zzz" does not exist')
    contains(found.fixes[1], 'Did you mean "users"?')
    lacks(found.message, "a.b", '"users"')
  end)

  it("knows that a read-only connection changes nothing, whatever was granted", function()
    local reader <close> = assert(pg.connect(support.with(server.options, { readonly = true })))
    is_wrong(item("privileges", { privileges = { users = { "SELECT", "INSERT" } } }, reader),
      "read-only")
    is_ok(item("privileges", { privileges = { users = "SELECT" } }, reader))
  end)

  it("S078: without a list tells whether the role may run the statement", function()
    local query <const> = "UPDATE users SET age = $1 WHERE id = $2"
    is_ok(item("privileges", { query = query }), "postgres may use the tables and columns")
    local found = as_app { query = query, parameters = { 1, 2 } }
    is_wrong(found, "app may not run the statement: permission denied for ", " users")
    contains(found.fixes[1], 'GRANT', 'ON "users" TO "app"')
    assert.equal(2, value(db, "SELECT count(*) FROM users WHERE age >= 30"))
  end)

  it("S078: looks with the values at what NULLs would pass over", function()
    assert(db:execute [[GRANT SELECT ON users TO app; CREATE TABLE secret (id int)]])
    local query <const> = "SELECT * FROM users WHERE id = $1 AND EXISTS (SELECT 1 FROM secret)"
    is_wrong(as_app { query = query, parameters = { 1 } }, "may not run the statement", "secret")
  end)

  it("knows that a read-only connection runs no statement that changes rows", function()
    local reader <close> = assert(pg.connect(support.with(server.options, { readonly = true })))
    for _, query in ipairs { "DELETE FROM users", "SELECT * FROM users FOR UPDATE",
      "WITH x AS (INSERT INTO users (email) VALUES ('x') RETURNING 1) SELECT * FROM x" } do
      is_wrong(item("privileges", { query = query }, reader), "read-only")
    end
    is_ok(item("privileges", { query = "SELECT 'Insert on it' FROM users" }, reader))
  end)

  it("knows what nobody can do, and what is no table", function()
    assert(db:execute [[CREATE MATERIALIZED VIEW mat AS SELECT 1 AS one;
      CREATE VIEW counted AS SELECT count(*) FROM users]])
    is_wrong(item("privileges", { privileges = { mat = "INSERT" } }), "nobody can INSERT")
    is_wrong(item("privileges", { privileges = { counted = { "SELECT", "DELETE" } } }),
      "nobody can DELETE")
    is_ok(item("privileges", { privileges = { mat = "SELECT", counted = "SELECT" } }))
    is_wrong(item("privileges", { privileges = { users_pkey = "SELECT" } }), "is no table")
    if core.version(db) < 170000 then
      is_wrong(item("privileges", { privileges = { users = { "MAINTAIN", "SELECT" } } }),
        "from PostgreSQL 17 on")
    end
  end)

  it("changes nothing by what the planner calls", function()
    assert(db:execute [[CREATE TABLE called (n int);
      CREATE FUNCTION write() RETURNS int LANGUAGE plpgsql VOLATILE AS
        'BEGIN INSERT INTO called VALUES (1); RETURN 1; END';
      CREATE FUNCTION lying() RETURNS int LANGUAGE plpgsql IMMUTABLE AS
        'BEGIN RETURN write(); END']])
    checked(db, { query = "SELECT lying()" })
    failed("read_only", db:explain "SELECT lying()")
    assert.equal(0, value(db, "SELECT count(*) FROM called"))
    assert.equal("idle", db:status().state)
    assert.equal("off", value(db, "SHOW transaction_read_only"))
  end)

  it("takes any name, of a table and of a role", function()
    for _, name in ipairs { "'", '"', "a.b", "; DROP TABLE users; --", "$1", " ", "日本語", "%s" } do
      local quoted = tostring(pg.identifier(name))
      assert(db:execute("CREATE TABLE " .. quoted .. " (); CREATE ROLE " .. quoted))
      assert(db:execute("SET ROLE " .. quoted))
      local found = item("privileges", { privileges = { [pg.identifier(name)] = "DELETE" } })
      local grant = found.fixes[1]:match "GRANT.*"
      assert(db:execute("RESET ROLE; " .. grant .. "; SET ROLE " .. quoted))
      is_ok(item("privileges", { privileges = { [pg.identifier(name)] = "DELETE" } }))
      assert(db:execute("RESET ROLE; DROP OWNED BY " .. quoted .. "; DROP ROLE " .. quoted))
    end
  end)
end)

describe("the item syntax", function()
  it("S079: is valid, with the count of parameters and the columns", function()
    is_ok(item("syntax", { query = "SELECT id, email FROM users WHERE id = $1 OR age = $2" }),
      "2 parameters, columns: id, email")
    is_ok(item("syntax", { query = "DELETE FROM users" }), "0 parameters, columns: none")
  end)

  local wrong <const> = {
    { "SELEC 1", "syntax error", "(character 1)" },
    { "SELECT emial FROM users", 'column "emial" does not exist', "(character 8)" },
    { "SELECT * FROM usres", 'relation "usres" does not exist' },
    { "SELECT 1; DELETE FROM users", "multiple commands" },
    { "SELECT 'a", "unterminated" },
    { "SELECT 1\0", "NUL byte" },
    { "SELECT $1 IS NULL", "could not determine data type of parameter $1" },
  }
  for _, case in ipairs(wrong) do
    it("S079: is not valid: " .. case[1]:gsub("%z", "\\0"), function()
      local found = item("syntax", { query = case[1] })
      is_wrong(found, "The statement is not valid", table.unpack(case, 2))
      assert(#found.fixes > 0)
    end)
  end

  it("S079: runs nothing", function()
    for _, query in ipairs { "DELETE FROM users", "DROP TABLE users", "TRUNCATE users",
      "SELECT nextval('users_id_seq')", "UPDATE users SET age = 1 / 0", "VACUUM" } do
      is_ok(item("syntax", { query = query }))
    end
    same({ 2, 2 }, { value(db, "SELECT count(*) FROM users"),
      value(db, "SELECT last_value FROM users_id_seq") })
  end)

  it("says where only the grammar was looked at", function()
    is_ok(item("syntax", { query = "ALTER TABLE nowhere ADD a int" }), "grammar is valid",
      "when it runs")
    is_wrong(item("syntax", { query = "ALTER TABEL nowhere ADD a int" }), "syntax error")
  end)

  it("does not call a statement wrong that the server could not look at", function()
    local other <close> = assert(pg.connect(server.options))
    assert(other:execute "BEGIN; LOCK TABLE users")
    is_wrong(item("syntax", { query = "TABLE users", timeout = 0.1 }), "did not say if it is valid")
    assert.equal("idle", db:status().state)
    assert(other:execute "ROLLBACK; CREATE SCHEMA closed; CREATE TABLE closed.t ()")
    assert(db:execute "SET ROLE app")
    local found = checked(db, { query = "TABLE closed.t" })
    is_wrong(found.syntax, "did not say if it is valid", "permission denied for schema closed")
    is_wrong(found.privileges, "app may not run the statement: permission denied")
    contains(found.privileges.fixes[1], 'GRANT USAGE ON SCHEMA "closed"')
    is_wrong(found.parameters, "cannot be told")
  end)

  it("takes the types that the values say", function()
    is_ok(item("syntax", { query = "SELECT $1 IS NULL", parameters = { pg.typed("1", "int4") } }))
  end)
end)

describe("the item result", function()
  local query <const> = "SELECT id, email FROM users WHERE age > $1"

  local right <const> = {
    {}, { rowCount = 1 }, { columns = { "id", "email" } }, { min = 1 }, { max = 1 },
    { columns = { "id", "email" }, rowCount = 1, min = 1, max = 1 },
  }
  for i, expect in ipairs(right) do
    it("S080: is what was expected, " .. i, function()
      is_ok(item("result", { query = query, parameters = { 30 }, expect = expect }), "1 row",
        "id, email")
    end)
  end

  local wrong <const> = {
    { { rowCount = 2 }, "1 row, not 2" },
    { { min = 2 }, "1 row, not at least 2" },
    { { max = 0 }, "1 row, not at most 0" },
    { { min = 2, max = 3 }, "not at least 2 and at most 3" },
    { { columns = { "id" } }, "the columns are id, email, not id" },
    { { columns = { "email", "id" } }, "the columns are id, email, not email, id" },
    { { columns = {} }, "the columns are id, email, not none" },
    { { columns = { "id" }, rowCount = 7 }, "the columns are", "1 row, not 7" },
  }
  for _, case in ipairs(wrong) do
    it("S080: is not what was expected: " .. case[2], function()
      is_wrong(item("result", { query = query, parameters = { 30 }, expect = case[1] }),
        table.unpack(case, 2))
    end)
  end

  it("S080: runs read-only and changes nothing", function()
    for _, change in ipairs { "DELETE FROM users", "SELECT nextval('users_id_seq')",
      "CREATE TABLE more AS SELECT 1", "SELECT setval('users_id_seq', 99)",
      "SELECT id FROM users FOR UPDATE",
      "WITH gone AS (DELETE FROM users RETURNING 1) TABLE gone" } do
      local found = item("result", { query = change, expect = {} })
      is_wrong(found, "a check is read-only")
      contains(found.fixes[1], "db:dry_run")
    end
    same({ 2, 2 }, { value(db, "SELECT count(*) FROM users"),
      value(db, "SELECT last_value FROM users_id_seq") })
    assert(db:insert("users", { age = 1 })) -- the session is as it was
  end)

  it("S080: runs nothing that could end a transaction or change the session", function()
    for _, change in ipairs { "COMMIT", "ROLLBACK", "/* /* */ SELECT */ ROLLBACK", "DISCARD ALL",
      "SET ROLE app", "DO 'BEGIN COMMIT; END'", "PREPARE x AS SELECT 1", "LISTEN x", "",
      "DROP TABLE users" } do
      assert(db:execute "BEGIN; DELETE FROM users")
      is_wrong(item("result", { query = change, expect = {} }), "It was not run")
      assert.equal("transaction", db:status().state)
      assert.equal(0, value(db, "SELECT count(*) FROM users"))
      assert(db:execute "ROLLBACK")
    end
    assert.equal(0, value(db, "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"))
  end)

  it("S080: tells the error of a statement that fails when it runs", function()
    local found = item("result", { query = "SELECT 1 / $1::int", parameters = { 0 }, expect = {} })
    is_wrong(found, "fails when it runs: division by zero")
    is_wrong(item("result", { query = "SELECT nothing", expect = {} }),
      "not run: see the item syntax")
    is_wrong(item("result", { query = "SELECT pg_sleep(30)", expect = {}, timeout = 0.1 }),
      "fails when it runs")
    is_wrong(item("result", { query = "SELECT repeat('x', 5000)", expect = {}, max_result = 2000 }),
      "fails when it runs")
    assert.equal("idle", db:status().state)
  end)
end)

describe("the item parameters", function()
  it("S081: tells how many there are, and their types", function()
    is_ok(item("parameters", { query = "SELECT id FROM users WHERE id = $1 AND email = ANY($2)" }),
      "$1 integer, $2 text[]")
    is_ok(item("parameters", { query = "SELECT 1", parameters = {} }), "takes no parameters")
    assert(db:execute 'CREATE TYPE "Mood" AS ENUM (\'ok\')')
    is_ok(item("parameters", { query = 'SELECT $1::"Mood"', parameters = { "ok" } }), '$1 "Mood"')
  end)

  it("S081: tells a wrong number of values", function()
    is_wrong(item("parameters", { query = "SELECT $1::int, $2::int", parameters = { 1 } }),
      "has 2 parameters, but 1 was given")
    is_wrong(item("parameters", { query = "SELECT 1", parameters = { 1, nil, n = 3 } }),
      "has 0 parameters, but 3 were given")
    is_ok(item("parameters", { query = "SELECT $1::int, $2::int", parameters = { n = 2 } }))
    is_wrong(item("parameters", { query = "SELECT 1", parameters = { n = 70000 } }), "70000")
  end)

  it("S081: tells a value that does not suit its type, and runs nothing", function()
    local query <const> = "DELETE FROM users WHERE id = $1"
    is_wrong(item("parameters", { query = query, parameters = { "seven" } }), "$1 integer",
      "invalid input syntax for ", 'integer: "seven"')
    is_wrong(item("parameters", { query = query, parameters = { print } }), "function")
    is_wrong(item("parameters", { query = query, parameters = { {} } }), "$1")
    is_ok(item("parameters", { query = query, parameters = { 7 } }))
    is_ok(item("parameters", { query = query, parameters = { pg.null } }))
    assert.equal(2, value(db, "SELECT count(*) FROM users"))
  end)

  it("S081: warns of parameters in quotes and of values in the text", function()
    local found = item("parameters", { query = "SELECT id FROM users WHERE email = '$1'",
      parameters = {} })
    is_ok(found) -- nobody said that there is a parameter
    found = item("parameters", { query = "SELECT id FROM users WHERE email = '$1'",
      parameters = { "john@example.com" } })
    is_wrong(found, "$1 stands in quotes (character 37)", "has 0 parameters, but 1 was given")
    found = item("parameters", { query = "SELECT id FROM users WHERE email = 'john@example.com'" })
    is_ok(found, "'john@example.com' (character 37) looks like a value")
    contains(found.fixes[1], "as a parameter")
  end)

  it("says that it cannot tell them of a statement that is not valid", function()
    is_wrong(item("parameters", { query = "SELEC $1" }), "cannot be told")
  end)
end)

describe("the text of a statement", function()
  local function found(sql, count)
    local list = {}
    for i, finding in ipairs(check_text.findings(sql, count or 1)) do
      list[i] = (finding.wrong and "wrong: " or "") .. finding.message
      assert.is_string(finding.fix)
    end
    return table.concat(list, "\n")
  end

  it("S081: holds parameters in quotes", function()
    for _, sql in ipairs { "SELECT '$1'", "a LIKE '%$1%'", "SELECT E'a\\'$1'", "x = '''$1'''" } do
      contains(found(sql), "wrong: $1 stands in quotes")
    end
  end)

  it("S081: holds places that were to be filled in", function()
    for _, text in ipairs { "%s", "%d", "%.2f", "{{name}}", "%{{name}}%", "${name}", "#{name}",
      "%${name}%", ":name" } do
      contains(found("a = '" .. text .. "'"), "wrong: '" .. text .. "'", "to be filled in")
    end
  end)

  it("S081 S084: holds values that look put in", function()
    for _, text in ipairs { "john@example.com", "42", "-1.5", "2026-01-15T10:30:00Z",
      "2026-01-15 10:30", "5b4b9d1c-2f9d-4b5e-9a6c-0d9f5d2f7a01" } do
      contains(found("a = '" .. text .. "'"), "looks like a value")
      lacks(found("a = '" .. text .. "'"), "wrong")
    end
    for _, sql in ipairs { "a = '' OR '1'='1'", "a = 1 or 1=1 --" } do
      contains(found(sql), "wrong: OR ", "always true")
    end
  end)

  it("is not suspected without a reason", function()
    for _, sql in ipairs { "SELECT * FROM users WHERE status = 'active'", "SELECT $1",
      "SELECT now() - INTERVAL '90 days'", "SELECT '$2', 'costs $5'", "SELECT $$ $1 '7' $$",
      "SELECT 1 -- '$1'", "/* '$1' */ SELECT 1", 'SELECT "$1"', "SELECT '{}'::jsonb",
      "SELECT '{1,2}'::int[]", "SELECT date_trunc('day', at)", "", "a ~ '^\\d+$'", "a = 'it''s'",
      "SELECT to_char(at, 'YYYY-MM-DD HH24:MI')", "x OR 1=10", "'unterminated", "SELECT '%'",
      "':'", "'{{}}'" } do
      assert.equal("", found(sql), sql)
    end
  end)

  it("S129: shows no password that stands in it", function()
    lacks(found "ALTER ROLE app PASSWORD '12345'", "12345")
    lacks(found "CREATE USER MAPPING FOR app OPTIONS (password 'jane@secret.org')", "jane@secret")
  end)

  it("says ten things of it at most, and nothing twice", function()
    local list = {}
    for i = 1, 20000 do list[i] = ("a = '%d' "):format(i) end
    assert.equal(10, #check_text.findings(table.concat(list), 0))
    assert.equal(1, #check_text.findings(("a = '7' "):rep(20000), 0))
    assert.equal(0, #check_text.findings(("a '"):rep(20000), 0))
  end)
end)

describe("the item errors", function()
  it("S082: shows that an error object came back", function()
    is_ok(item "errors", "nil and an error object", "invalid_value", "22012 division_by_zero")
  end)
end)

describe("the item reuse", function()
  it("S083: two actions run on one connection, and one process", function()
    is_ok(item "reuse", "server process " .. db:status().pid, "not saved")
  end)

  it("S083: tells the name that the connection is saved under", function()
    pg.save("Checked", server.options)
    local saved <close> = assert(pg.connect "Checked")
    is_ok(item("reuse", nil, saved), 'saved as "Checked"')
    lacks(item("reuse", nil, saved).message, "not saved")
  end)

  it("S083: through a pooler nothing may be kept", function()
    if not pgbouncer.found() then return pending "PgBouncer is not installed" end
    local pooler <close> = pgbouncer.start(server, { "default_pool_size = 2" })
    local pooled <close> = assert(pg.connect(pooler.options))
    is_ok(item("reuse", { query = "SELECT $1::int", parameters = { 1 }, expect = {} }, pooled),
      "through a pooler")
  end)
end)

describe("a check", function()
  local all <const> = {
    query = "SELECT id FROM users WHERE emial = '$1'", parameters = { "x" },
    expect = { rowCount = 1 }, privileges = { users = { "SELECT" }, nowhere = { "DELETE" } },
  }
  local good <const> = { query = "SELECT id FROM users WHERE email = $1",
    parameters = { "john@example.com" }, expect = { columns = { "id" }, rowCount = 1 },
    privileges = { users = { "SELECT", "INSERT" } }, ssl = false }

  it("S076 to S083: finds all in order", function()
    for _, found in ipairs(assert(db:check(good))) do assert(found.ok, found.message) end
  end)

  it("changes nothing in a transaction, whatever fails in it", function()
    assert(db:execute "BEGIN; INSERT INTO users (age) VALUES (50)")
    for _, given in ipairs { all, good, { query = "DELETE FROM users", expect = {} } } do
      assert(db:check(given))
      assert.equal("transaction", db:status().state)
      assert.equal("off", value(db, "SHOW transaction_read_only"))
    end
    assert(db:execute "COMMIT")
    assert.equal(3, value(db, "SELECT count(*) FROM users"))
  end)

  it("fails no transaction's function that it is called in", function()
    local list = assert(db:transaction(function(tx)
      assert(tx:insert("users", { age = 50 }))
      local found = assert(tx:check(all))
      assert(tx:insert("users", { age = 60 }))
      return found
    end))
    assert.equal(8, #list)
    assert.equal(4, value(db, "SELECT count(*) FROM users"))
    assert.falsy(core.in_transaction(db))
  end)

  it("leaves the session as it was", function()
    local function session()
      return { db:status(), value(db, "SELECT string_agg(name || setting, ',' ORDER BY name) "
        .. "FROM pg_settings"),
        value(db, "SELECT count(*) FROM pg_prepared_statements WHERE from_sql"),
        value(db, "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid()") }
    end
    local before = session()
    for _, given in ipairs { all, good, {} } do assert(db:check(given)) end
    same(before, session())
  end)

  it("tells the same whatever the handle's settings", function()
    local function without_times(list)
      return (pg.encode(list):gsub("takes [%d.]+ ms", ""))
    end
    local expected = without_times(db:check(all))
    for _, settings in ipairs { { rows = "array" }, { rows = "columns" }, { null = pg.null } } do
      assert.equal(expected, without_times(db:with(settings):check(all)))
    end
  end)

  it("S14: is not deceived by a hostile search_path", function()
    assert(db:execute [[
CREATE SCHEMA trap; CREATE TYPE trap.text AS ENUM ('a');
CREATE TABLE trap.pg_class (oid oid); CREATE TABLE trap.pg_namespace (oid oid);
CREATE FUNCTION trap.deny(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION trap.div(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION trap.pg_backend_pid() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION trap.has_table_privilege(oid, pg_catalog.text) RETURNS boolean LANGUAGE sql
  AS 'SELECT false';
CREATE FUNCTION trap.format_type(oid, int) RETURNS pg_catalog.text LANGUAGE sql
  AS 'SELECT ''nonsense''::pg_catalog.text';
CREATE OPERATOR trap./ (LEFTARG = int, RIGHTARG = int, PROCEDURE = trap.div);
CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, PROCEDURE = trap.deny);
SET search_path TO trap, pg_catalog, public]])
    for _, found in ipairs(assert(db:check(good))) do assert(found.ok, found.message) end
    is_ok(item("parameters", good), "$1 pg_catalog.text")
  end)

  it("answers the error in a failed transaction", function()
    assert(db:execute "BEGIN")
    db:query "SELECT 1/0"
    failed("transaction_failed", db:check(good))
    assert.equal("failed", db:status().state)
  end)

  it("answers the error on a lost connection, raises on a closed one", function()
    local other = assert(pg.connect(server.options))
    assert(db:query("SELECT pg_terminate_backend($1)", other:status().pid))
    support.eventually(function()
      return value(db, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1",
        other:status().pid) == 0
    end)
    assert.is_nil((other:check(good)))
    failed("connection_lost", other:check())
    other:close()
    raises("connection is closed", function() other:check() end)
  end)

  it("answers the error of a connection that is lost in its middle", function()
    local other <close> = assert(pg.connect(server.options))
    failed("connection_lost", other:check { expect = {},
      query = "SELECT pg_terminate_backend(pg_backend_pid())" })
    assert.equal("lost", other:status().state)
  end)

  it("waits in the event loop", function()
    local loop, answered = scheduler(), 0
    loop.run(function()
      for _ = 1, 3 do
        loop.spawn(function()
          local options = support.with(server.options, { wait = loop.wait })
          local own <close> = assert(pg.connect(options))
          for _, found in ipairs(assert(own:check(good))) do assert(found.ok, found.message) end
          answered = answered + 1
        end)
      end
    end)
    assert.equal(3, answered)
  end)

  it("S008 S14: asks nothing that PostgreSQL 9.6 lacks, nothing without its schema", function()
    local own <const> = "schema name verb granted partly v d s p n t type place types ordinality"
    for _, from in ipairs { check_session, check_statement } do
      for _, text in pairs(from.queries) do nine_six(text, own) end
    end
    nine_six(check.session_query, "role database read_only current_user")
  end)
end)
