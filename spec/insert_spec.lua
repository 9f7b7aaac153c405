-- SPDX-License-Identifier: MIT
-- insert on a real server: one row, its key, ON CONFLICT; what is wrong is named.
local core = require "pg.core"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local null, raises, failed, same = pg.null, support.raises, support.failed, support.same

describe("insert", function()
  local server, db

  setup(function()
    server = assert(throwaway.start { settings = { log_statement = "all" } })
  end)

  teardown(function()
    server:stop()
  end)

  before_each(function() db = support.emptied(server.options, db) end)

  local function rows(sql, ...)
    return assert(db:query(sql, ...)).rows
  end
  describe("of one row", function()
    local users <const> = [[
CREATE TABLE users (id serial PRIMARY KEY, name text, email text, status text DEFAULT 'new',
  created_at timestamptz)]]

    it("S040 S043 S045: gives the new row's id and the count", function()
      assert(db:execute(users))
      assert(db:execute "ALTER SEQUENCE users_id_seq RESTART 123")
      same({ insertedId = 123, rowCount = 1 }, db:insert("users", { name = "John Doe",
        email = "john@example.com", status = "active", created_at = "2026-01-15T10:30:00Z" }))
      same({ insertedId = 124, rowCount = 1 }, db:insert { table = "users", columns = {
        name = "Ann", email = "ann@example.com", status = "active",
        created_at = "2026-01-15T10:30:00Z" } })
      same({
        { id = 123, name = "John Doe", email = "john@example.com", status = "active",
          created_at = "2026-01-15T10:30:00Z" },
        { id = 124, name = "Ann", email = "ann@example.com", status = "active",
          created_at = "2026-01-15T10:30:00Z" },
      }, rows "SELECT * FROM users ORDER BY id")
    end)

    it("S044: takes pg.null and cjson.null for NULL, and leaves out what is nil", function()
      assert(db:execute(users))
      local has_cjson, cjson = pcall(require, "cjson")
      local none = has_cjson and cjson.null or null
      assert(db:insert("users", { name = null, status = nil }))
      assert(db:insert("users", { name = "", status = none }))
      same({ { id = 1, status = "new" }, { id = 2, name = "" } },
        rows "SELECT * FROM users ORDER BY id")
    end)

    it("S042: takes pg.default and pg.raw, and no columns at all", function()
      assert(db:execute(users))
      same({ insertedId = 1, rowCount = 1 }, db:insert("users", {}))
      same({ insertedId = 2, rowCount = 1 }, db:insert { table = "users", columns = {} })
      assert(db:insert("users", { id = pg.default, name = pg.raw "upper('raw' || 1 + 1)",
        status = pg.default, created_at = pg.raw "now()", email = "$1" }))
      same({ { name = "RAW2", status = "new", email = "$1", recent = true } }, rows [[
SELECT name, status, email, now() - created_at < '1 minute' AS recent FROM users WHERE id = 3]])
    end)

    it("adds the row that was asked for with returning", function()
      assert(db:execute(users))
      local columns = { name = "A", created_at = "2026-01-15T10:30:00Z" }
      same({ insertedId = 1, rowCount = 1, row = { status = "new" } },
        db:insert("users", columns, { returning = "status" }))
      same({ insertedId = 2, rowCount = 1, row = { id = 2, created_at = "2026-01-15T10:30:00Z" } },
        db:insert { table = "users", columns = columns, returning = { "id", "created_at" } })
      same({ insertedId = 3, rowCount = 1, row = { id = 3, name = "A", status = "new",
        created_at = "2026-01-15T10:30:00Z" } }, db:insert("users", columns, { returning = "*" }))
      same({ insertedId = 4, rowCount = 1, row = { id = 4, name = "A", email = null, status = "new",
        created_at = "2026-01-15T10:30:00Z" } },
        db:insert("users", columns, { returning = "*", null = null, rows = "array" }))
      same({ insertedId = 5, rowCount = 1, row = {} },
        db:with { rows = "columns" }:insert("users", columns, { returning = "email" }))
    end)

    it("takes forms and columns that carry a metatable", function()
      assert(db:execute(users))
      local meta = { __jsontype = "object" } -- as dkjson does
      local columns = setmetatable({ name = "A" }, meta)
      same({ insertedId = 1, rowCount = 1 },
        db:insert(setmetatable({ table = "users", columns = columns }, meta)))
      local list = setmetatable({ 1, 2 }, { __jsontype = "array" })
      same({ rowCount = 1 }, db:update(setmetatable({ table = "users", set = columns,
        where = setmetatable({ id = list }, meta) }, meta)))
      same({ rowCount = 1 }, db:delete { query = "DELETE FROM users WHERE id = ANY($1)",
        parameters = setmetatable({ list }, meta) })
    end)

    it("gives a result like any other: JSON, columns, notices", function()
      assert(db:execute(users))
      local result = assert(db:insert("users", { name = "A" }, { returning = "name" }))
      same({ insertedId = 1, rowCount = 1, row = { name = "A" } },
        (core.json_decode(result:json())))
      same({ { name = "id", type = "integer", oid = 23 },
        { name = "name", type = "text", oid = 25 } }, result:columns())
      same({}, result:notices())
      assert(db:execute [[
CREATE FUNCTION speak() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE NOTICE 'inserted %', new.name; RETURN new; END $$;
CREATE TRIGGER speak BEFORE INSERT ON users FOR EACH ROW EXECUTE PROCEDURE speak()]])
      assert.equal("inserted B", assert(db:insert("users", { name = "B" })):notices()[1].message)
    end)

    it("works under settings that its own questions could not keep", function()
      assert(db:execute(users))
      same({ insertedId = 1, rowCount = 1 },
        db:with { max_result = 20, rows = "array", json = "text" }:insert("users", {}))
      same({ insertedId = 2, rowCount = 1 }, db:insert("users", {}, { max_result = 20 }))
      failed("result_too_large", db:insert("users", { name = ("x"):rep(100) },
        { max_result = 20, returning = "name" }))
      same({ { n = 3 } }, rows "SELECT count(*) AS n FROM users")
    end)

    it("S118: costs one statement a call once the table is known", function()
      assert(db:execute(users))
      assert(db:insert("users", { name = "first" }))
      local log = support.logged(server, function()
        for i = 1, 5 do assert(db:insert("users", { name = "n" .. i })) end
      end)
      assert.equal(5, select(2, log:gsub("execute [^ ]+: ", "")))
      assert.equal(5, select(2, log:gsub("execute [^ ]+: INSERT", "")))
    end)

    it("raises where it was called wrongly", function()
      local form = "columns must be a table of column = value, not "
      raises(form .. "nil", function() db:insert("users") end)
      raises(form .. "a string", function() db:insert("users", "name") end)
      raises(form .. "a userdata", function() db:insert("users", null) end)
      raises(form .. "nil", function() db:insert { table = "users" } end)
      raises("options must be a table", function() db:insert("users", {}, 5) end)
      raises(form .. "nil", function() db:insert() end)
      raises("not a nil", function() db:insert(nil, {}) end)
      raises("not a nil", function() db:insert { columns = {} } end)
      raises("not a number", function() db:insert(5, {}) end)
      raises("did you mean 'columns'?", function() db:insert { table = "users", colums = {} } end)
      raises("did you mean 'returning'?", function() db:insert("users", {}, { returnin = "" }) end)
      raises("one table takes all", function() db:insert({ table = "users" }, {}) end)
      raises("there is a value under the number key 1", function() db:insert("users", { 1 }) end)
      raises("has more than one dot", function() db:insert("a.b.c", {}) end)
      raises("a name cannot be empty", function() db:insert("", {}) end)
      raises("a name cannot be empty", function() db:insert("users", { [""] = 1 }) end)
      raises("a name cannot hold a NUL byte", function() db:insert("users\0", {}) end)
      raises("a name cannot hold a NUL byte", function() db:insert("users", { ["a\0b"] = 1 }) end)
      raises("a name must be valid UTF-8", function() db:insert("users", { ["\xff"] = 1 }) end)
      raises("not a number", function() db:insert("users", {}, { returning = 5 }) end)
      raises("not a boolean", function() db:insert("users", {}, { returning = { true } }) end)
      raises("a name cannot be empty", function() db:insert("users", {}, { returning = "" }) end)
      raises("timeout must be", function() db:insert("users", {}, { timeout = "1" }) end)
      local closed = assert(pg.connect(server.options))
      closed:close()
      raises("the connection is closed", function() closed:insert("users", {}) end)
    end)
  end)

  describe("insertedId", function()
    local uuid <const> = "00000000-0000-0000-0000-000000000007"
    local keys = {
      { "of an identity", "id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int", {}, 1 },
      { "of 64 bits", "id int8 GENERATED BY DEFAULT AS IDENTITY (START 9007199254740993)"
        .. " PRIMARY KEY, a int", {}, 9007199254740993 },
      { "that was given", "id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a int",
        { id = 7 }, 7 },
      { "of a serial", "id serial PRIMARY KEY, a int", {}, 1 },
      { "of a bigserial", "id bigserial PRIMARY KEY, a int", {}, 1 },
      { "of a uuid", ("id uuid DEFAULT '%s' PRIMARY KEY, a int"):format(uuid), {}, uuid },
      { "of a text", "a int, code text PRIMARY KEY", { code = "x'y" }, "x'y" },
      { "of a numeric", "id numeric PRIMARY KEY, a int", { id = "1.50" }, "1.50" },
      { "of a date", "day date PRIMARY KEY, a int", { day = "2026-01-15" }, "2026-01-15" },
      { "of a boolean", "b boolean PRIMARY KEY, a int", { b = false }, false },
      { "of bytes", "b bytea PRIMARY KEY, a int", { b = "\0\\\xff" }, "\0\\\xff" },
      { "of a list", "l int[] PRIMARY KEY, a int", { l = { 1, 2 } }, { 1, 2 } },
      { "of a domain", "d positive PRIMARY KEY, a int", { d = 3 }, 3 },
      { "of an enum", "m mood PRIMARY KEY, a int", { m = "glad" }, "glad" },
      { "of an odd name", '"The ""Key"".id" serial PRIMARY KEY, a int', {}, 1 },
      { "of several columns, by column", "a int, b text, c int, PRIMARY KEY (b, a)",
        { b = "x", c = 3 }, { a = 5, b = "x" } },
      { "of a key that includes other columns",
        "id serial, a int, b int, PRIMARY KEY (id) INCLUDE (a, b)", {}, 1 },
      { "of a key named apart", "id serial, a int, CONSTRAINT odd PRIMARY KEY (id)", {}, 1 },
      { "of no key", "id serial, a int", {}, nil },
      { "of a unique column that is not the key", "id serial UNIQUE, a int", {}, nil },
    }
    for _, case in ipairs(keys) do
      it("S045: " .. case[1], function()
        assert(db:execute [[
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE mood AS ENUM ('sad', 'glad')]])
        assert(db:execute("CREATE TABLE t (" .. case[2] .. ")"))
        local columns = { a = 5 }
        for name, value in pairs(case[3]) do columns[name] = value end
        same({ insertedId = case[4], rowCount = 1 }, db:insert("t", columns))
      end)
    end

    local relations = {
      { "a partitioned table", [[
CREATE TABLE t (id bigserial, day date, a int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE t_2026 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
  PARTITION BY RANGE (day);
CREATE TABLE t_2026_01 PARTITION OF t_2026 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')]],
        { day = "2026-01-15" }, { id = 1, day = "2026-01-15" } },
      { "a partition", [[
CREATE TABLE p (id bigserial PRIMARY KEY, day date, a int) PARTITION BY RANGE (id);
CREATE TABLE t PARTITION OF p FOR VALUES FROM (1) TO (100)]], {}, 1 },
      { "a table that inherits", [[
CREATE TABLE parent (id serial PRIMARY KEY, a int);
CREATE TABLE t (b text, PRIMARY KEY (id)) INHERITS (parent)]], {}, 1 },
      { "a temporary table", "CREATE TEMP TABLE t (id serial PRIMARY KEY, a int)", {}, 1 },
      { "a view", [[
CREATE TABLE x (id serial PRIMARY KEY, a int);
CREATE VIEW t AS SELECT * FROM x]], {}, nil },
      { "a view with a trigger", [[
CREATE TABLE x (id serial PRIMARY KEY, a int);
CREATE VIEW t AS SELECT a FROM x;
CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO x (a) VALUES (new.a); RETURN new; END $$;
CREATE TRIGGER put INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE PROCEDURE put()]], {}, nil },
      { "a table with a rule instead", [[
CREATE TABLE t (id serial PRIMARY KEY, a int);
CREATE TABLE x (a int);
CREATE RULE elsewhere AS ON INSERT TO t DO INSTEAD INSERT INTO x VALUES (new.a)]], {}, nil },
      { "a table with a rule also", [[
CREATE TABLE t (id serial PRIMARY KEY, a int);
CREATE TABLE x (a int);
CREATE RULE too AS ON INSERT TO t DO ALSO INSERT INTO x VALUES (new.a)]], {}, 1 },
    }
    for _, case in ipairs(relations) do
      it("S045 S103: of " .. case[1], function()
        assert(db:execute(case[2]))
        local columns = { a = 5 }
        for name, value in pairs(case[3]) do columns[name] = value end
        same({ insertedId = case[4], rowCount = 1 }, db:insert("t", columns))
        same({ insertedId = case[4] and case[4] == 1 and 2 or case[4] and { id = 2,
          day = "2026-01-15" }, rowCount = 1 }, db:insert("t", columns))
      end)
    end

    it("S045: is absent where a trigger or a rule stored no row", function()
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int UNIQUE);
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN IF EXISTS (SELECT FROM t WHERE a = new.a) THEN RETURN NULL; END IF; RETURN new; END $$;
CREATE TRIGGER skip BEFORE INSERT ON t FOR EACH ROW EXECUTE PROCEDURE skip();
CREATE TABLE ruled (id serial PRIMARY KEY, a int UNIQUE);
CREATE RULE skip AS ON INSERT TO ruled WHERE EXISTS (SELECT FROM ruled WHERE a = new.a)
  DO INSTEAD NOTHING]])
      same({ insertedId = 1, rowCount = 1 }, db:insert("t", { a = 5 }))
      same({ rowCount = 0 }, db:insert("t", { a = 5 }))
      same({ rowCount = 0 }, db:insert("t", { a = 5 }, { returning = "a" }))
      same({ rowCount = 1 }, db:insert("ruled", { a = 5 }))
      same({ rowCount = 0 }, db:insert("ruled", { a = 5 }))
    end)

    it("S045: is absent, without an error, for a role that may not read the key", function()
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int, b int);
CREATE TABLE pair (a int, b int, PRIMARY KEY (a, b));
DO $$ BEGIN CREATE ROLE writer; EXCEPTION WHEN duplicate_object THEN END $$;
GRANT USAGE ON SCHEMA public TO writer;
GRANT INSERT ON t, pair TO writer;
GRANT USAGE ON SEQUENCE t_id_seq TO writer;
GRANT SELECT (a) ON pair TO writer;
SET ROLE writer]])
      same({ rowCount = 1 }, db:insert("t", { a = 5 }))
      same({ rowCount = 1 }, db:insert("t", { a = 5 }))
      same({ rowCount = 1 }, db:insert("pair", { a = 1, b = 2 }))
      failed("permission_denied", db:insert("t", { a = 5 }, { returning = "a" }))
      assert(db:execute "RESET ROLE; GRANT SELECT (id) ON t TO writer; SET ROLE writer")
      same({ insertedId = 3, rowCount = 1 }, db:insert("t", { a = 5 }))
      assert(db:execute "RESET ROLE; REVOKE SELECT (id) ON t FROM writer; SET ROLE writer")
      same({ rowCount = 1 }, db:insert("t", { a = 5 }))
    end)

    it("S006 S045: is absent, without an error, where row security hides all rows", function()
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int);
CREATE TABLE seen (id serial PRIMARY KEY, a int);
DO $$ BEGIN CREATE ROLE writer; EXCEPTION WHEN duplicate_object THEN END $$;
GRANT USAGE ON SCHEMA public TO writer;
GRANT ALL ON ALL TABLES IN SCHEMA public TO writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO writer;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
ALTER TABLE seen ENABLE ROW LEVEL SECURITY;
CREATE POLICY append ON t FOR INSERT WITH CHECK (true);
CREATE POLICY everything ON seen TO writer USING (true);
SET ROLE writer]])
      same({ rowCount = 1 }, db:insert("t", { a = 5 }))
      same({ insertedId = 1, rowCount = 1 }, db:insert("seen", { a = 5 }))
      assert(db:execute "RESET ROLE")
      same({ insertedId = 2, rowCount = 1 }, db:insert("t", { a = 5 }))
    end)

    it("is of the table that the name means now", function()
      assert(db:execute [[
CREATE SCHEMA one; CREATE TABLE one.t (id serial PRIMARY KEY, a int);
CREATE SCHEMA two; CREATE TABLE two.t (id int DEFAULT 7, a int, code text DEFAULT 'x' PRIMARY KEY);
SET search_path TO one]])
      same({ insertedId = 1, rowCount = 1 }, db:insert("t", { a = 5 }))
      assert(db:execute "SET search_path TO two")
      same({ insertedId = "x", rowCount = 1 }, db:insert("t", { a = 5 }))
      assert(db:execute "BEGIN; SET LOCAL search_path TO one")
      same({ insertedId = 2, rowCount = 1 }, db:insert("t", { a = 5 }))
      assert(db:execute "COMMIT")
      failed("constraint_violation", db:insert("t", { a = 5 }))
      same({ insertedId = "y", rowCount = 1 }, db:insert("t", { code = "y" }))
      same({ insertedId = 3, rowCount = 1 }, db:insert("one.t", { a = 5 }))
    end)

    it("follows changes of the key by this connection and by others", function()
      local other <close> = assert(pg.connect(server.options))
      assert(db:execute "CREATE TABLE t (id serial PRIMARY KEY, a int)")
      same({ insertedId = 1, rowCount = 1 }, db:insert("t", { a = 1 }))
      assert(db:execute "ALTER TABLE t RENAME id TO number")
      same({ insertedId = 2, rowCount = 1 }, db:insert("t", { a = 2 }))
      assert(other:execute "ALTER TABLE t RENAME number TO id")
      same({ insertedId = 3, rowCount = 1 }, db:insert("t", { a = 3 }))
      assert(other:execute "DROP TABLE t; CREATE TABLE t (a int)")
      same({ rowCount = 1 }, db:insert("t", { a = 4 }))
      assert(db:execute "BEGIN; ALTER TABLE t ADD COLUMN id serial PRIMARY KEY")
      same({ insertedId = 2, rowCount = 1 }, db:insert("t", { a = 5 }))
      assert(db:execute "ROLLBACK")
      same({ rowCount = 1 }, db:insert("t", { a = 6 }))
      same({ { a = 4 }, { a = 6 } }, rows "SELECT * FROM t")
    end)

    it("comes in a transaction as well, and the row goes with it", function()
      assert(db:execute "CREATE TABLE t (id serial PRIMARY KEY, a int)")
      assert(db:execute "BEGIN")
      same({ insertedId = 1, rowCount = 1 }, db:insert("t", { a = 1 }))
      assert.equal("transaction", db:status().state)
      assert(db:execute "ROLLBACK")
      same({}, rows "SELECT * FROM t")
    end)
  end)

  describe("that names what is not there", function()
    local near = {
      { "usrs", { name = "x" }, "undefined_table", '"users"' },
      { "Users", { name = "x" }, "undefined_table", '"users"' },
      { "public.usrs", { name = "x" }, "undefined_table", '"public.users"' },
      { "pubic.users", { name = "x" }, "undefined_table", '"public.users"' },
      { "user_profile", { name = "x" }, "undefined_table", '"Audit.user_profiles"' },
      { "users", { nmae = "x" }, "undefined_column", '"name"' },
      { "users", { Name = "x" }, "undefined_column", '"name"' },
      { "users", { name = "x", e_mail = "x" }, "undefined_column", '"email"' },
      { "public.users", { nam = "x" }, "undefined_column", '"name"' },
    }
    for _, case in ipairs(near) do
      it(("S042: gets the nearest for %s (%s)"):format(case[1], next(case[2])), function()
        assert(db:execute [[
CREATE TABLE users (id serial PRIMARY KEY, name text, email text);
CREATE SCHEMA "Audit"; CREATE TABLE "Audit".user_profiles (id int)]])
        local err = failed(case[3], db:insert(case[1], case[2]))
        assert.equal("Did you mean " .. case[4] .. "?", err.fixes[1])
        assert.equal("idle", db:status().state)
      end)
    end

    it("S042: gets nothing where nothing is near, or nothing can be asked", function()
      assert(db:execute "CREATE TABLE users (name text)")
      local err = failed("undefined_table", db:insert("completely_different", {}))
      assert.is_nil(err.fixes[1]:find("Did you mean", 1, true))
      assert(db:execute "BEGIN")
      failed("undefined_table", db:insert("usrs", {}))
      assert.equal("failed", db:status().state)
      failed("transaction_failed", db:insert("users", {}))
      assert(db:execute "ROLLBACK")
    end)
  end)

  describe("with a value that does not fit", function()
    local types = {
      { "int", "x", "invalid_value" }, { "int", "", "invalid_value" },
      { "int", 2 ^ 40, "invalid_value" }, { "int", 1.5, "invalid_value" },
      { "uuid", "not-a-uuid", "invalid_value" },
      { "inet", "300.1.2.3", "invalid_value" }, { "date", "2026-02-30", "invalid_value" },
      { "timestamptz", "soon", "invalid_value" }, { "boolean", "maybe", "invalid_value" },
      { "numeric(4,2)", "x", "invalid_value" }, { "jsonb", "{", "invalid_value" },
      { "int[]", "{", "invalid_value" }, { "int[]", { 1, "x" }, "invalid_value" },
      { "text", "a\0b", "invalid_parameter" }, { "text", print, "invalid_parameter" },
      { "int", {}, "invalid_parameter" }, { "int[]", { { 1 }, { 1, 2 } }, "invalid_parameter" },
      { "text", "\xff", "invalid_value" },
    }
    for i, case in ipairs(types) do
      it(("S120: tells the column: %s (%d)"):format(case[1], i), function()
        assert(db:execute(("CREATE TABLE t (a int, b %s, c int, d int)"):format(case[1])))
        local err = failed(case[3], db:insert("t", { a = pg.raw "1", b = case[2], c = 3,
          d = pg.default }))
        assert.equal("b", err.column)
        assert.equal(1, err.parameter)
        assert.matches("column b", tostring(err))
        err = failed(case[3], db:insert("t", { a = 1, b = case[2] }))
        assert.equal("b", err.column)
        assert.equal(2, err.parameter)
        same({}, rows "SELECT * FROM t")
      end)
    end

    it("S120: tells the constraint and the column", function()
      assert(db:execute "CREATE TABLE t (a int NOT NULL, b int CONSTRAINT positive CHECK (b > 0))")
      local err = failed("constraint_violation", db:insert("t", { b = 1 }))
      same({ "not_null_violation", "a", "t" }, { err.condition, err.column, err.table })
      err = failed("constraint_violation", db:insert("t", { a = 1, b = -1 }))
      same({ "check_violation", "positive", "t" }, { err.condition, err.constraint, err.table })
    end)
  end)

  describe("for an audit log", function()
    for _, kind in ipairs { "jsonb", "json", "text" } do
      it(("S006 S118 S119 S120: stores details as %s"):format(kind), function()
        assert(db:execute(([[
CREATE TABLE audit_logs (id bigserial PRIMARY KEY, user_id int, action text NOT NULL, details %s,
  ip_address inet, created_at timestamptz DEFAULT now())]]):format(kind)))
        local details = { path = "/login", tags = pg.array {}, tries = 3,
          ["it's"] = { "a", false } }
        same({ insertedId = 1, rowCount = 1 }, db:insert("audit_logs", { user_id = 7,
          action = "login", details = details, ip_address = "203.0.113.7",
          created_at = "2026-01-15T10:30:00Z" }))
        same({ insertedId = 2, rowCount = 1 }, db:insert("audit_logs", { user_id = nil,
          action = "logout", ip_address = "2001:db8::1", created_at = pg.raw "now()" }))
        same({ insertedId = 3, rowCount = 1 }, db:insert("audit_logs", { user_id = null,
          action = "purge", details = {}, ip_address = "10.0.0.0/8" }))
        local stored = rows("SELECT user_id, action, details::json, ip_address FROM audit_logs"
          .. " ORDER BY id")
        details.tags = {}
        same({
          { user_id = 7, action = "login", details = details, ip_address = "203.0.113.7" },
          { action = "logout", ip_address = "2001:db8::1" },
          { action = "purge", details = {}, ip_address = "10.0.0.0/8" },
        }, stored)
        assert.equal("{}", pg.encode(stored[3].details))
        assert.matches('"tags":[]', pg.encode(stored[1].details), 1, true)
        local err = failed("invalid_value", db:insert("audit_logs", { user_id = 7, action = "x",
          ip_address = "203.0.113.777" }))
        same({ "ip_address", "22P02" }, { err.column, err.sqlstate })
      end)
    end

    it("S119: takes a uuid for a user", function()
      assert(db:execute [[
CREATE TABLE audit_logs (id uuid PRIMARY KEY DEFAULT '00000000-0000-0000-0000-000000000001',
  user_id uuid)]])
      local user = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
      same({ insertedId = "00000000-0000-0000-0000-000000000001", rowCount = 1 },
        db:insert("audit_logs", { user_id = user }))
      same({ { user_id = user } }, rows "SELECT user_id FROM audit_logs")
    end)
  end)

  describe("with a conflict", function()
    before_each(function()
      assert(db:execute [[
CREATE TABLE users (id serial PRIMARY KEY, email text CONSTRAINT the_email UNIQUE, name text);
INSERT INTO users (email, name) VALUES ('ann@example.com', 'Ann')]])
    end)

    it("stores nothing, or updates, as upsert does with the same options", function()
      local row = { email = "ann@example.com", name = "A" }
      same({ rowCount = 0 }, db:insert("users", row, { conflict = "email", update = false }))
      same({ rowCount = 0 }, db:insert("users", row, { constraint = "the_email", update = false,
        returning = "*" }))
      same({ insertedId = 1, rowCount = 1, row = { name = "A" } },
        db:insert { table = "users", columns = row, conflict = { "email" }, returning = "name" })
      same({ insertedId = 1, rowCount = 1 }, db:insert("users", { id = 1, name = "B" },
        { conflict = true, set = { email = pg.raw "'b' || EXCLUDED.id" } }))
      same({ { id = 1, email = "b1", name = "B" } }, rows "SELECT * FROM users")
    end)

    it("is a plain INSERT without one", function()
      local err = failed("constraint_violation", db:insert("users", { email = "ann@example.com" }))
      assert.equal("unique_violation", err.condition)
      raises("update is for a conflict", function() db:insert("users", {}, { update = false }) end)
    end)

    it("tells the column of a value that is set", function()
      local err = failed("invalid_value", db:insert("users", { id = 1 },
        { conflict = "id", set = { name = "x", id = "y" } }))
      same({ "id", 2 }, { err.column, err.parameter })
    end)

    it("of nothing but defaults takes a clause, too", function()
      same({ insertedId = 2, rowCount = 1 }, db:insert("users", {}, { conflict = true }))
    end)
  end)

  describe("into a view with a trigger", function()
    it("S103: returns what the trigger makes of the row, and no key", function()
      assert(db:execute [[
CREATE TABLE x (id serial PRIMARY KEY, a int);
CREATE VIEW t AS SELECT id, a FROM x;
CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO x (a) VALUES (new.a) RETURNING id INTO new.id; RETURN new; END $$;
CREATE TRIGGER put INSTEAD OF INSERT ON t FOR EACH ROW EXECUTE PROCEDURE put()]])
      same({ rowCount = 1, row = { id = 1, a = 5 } },
        db:insert("t", { a = 5 }, { returning = "*" }))
      same({ rowCount = 1, row = { id = 2 } }, db:insert("t", { a = 6 }, { returning = { "id" } }))
    end)
  end)

  describe("under one timeout", function()
    local now <const> = core.now

    after_each(function() core.now = now end)

    it("leaves to the statement what the question before it has left", function()
      assert(db:execute "CREATE TABLE t (id int PRIMARY KEY)")
      local other <close> = assert(pg.connect(server.options))
      assert(other:execute "BEGIN; INSERT INTO t VALUES (1)")
      local calls = 0
      function core.now() -- all but 0.2 of the 60 seconds pass after the first look
        calls = calls + 1
        return now() + (calls > 1 and 59.8 or 0)
      end
      local err = failed("query_timeout", db:insert("t", { id = 1 }))
      assert(err.limit <= 0.2, err.limit)
      assert(calls > 1)
      core.now = now
      assert(other:execute "ROLLBACK")
      same({ insertedId = 1, rowCount = 1 }, db:insert("t", { id = 1 }))
    end)

    it("counts the question as well: a catalogue that is locked is its end", function()
      assert(db:execute "CREATE TABLE t (id int PRIMARY KEY)")
      local other <close> = assert(pg.connect(server.options))
      assert(other:query "SELECT 'public.t'::regclass") -- has its own copy of the catalogue
      assert(other:execute "BEGIN; LOCK TABLE pg_catalog.pg_policy IN ACCESS EXCLUSIVE MODE")
      failed("query_timeout", db:insert("t", { id = 1 }, { timeout = 0.2 }))
      assert(other:execute "ROLLBACK")
      same({}, rows "SELECT * FROM t")
    end)
  end)

  it("says of a refusal which connection it was", function()
    assert(db:execute "CREATE TABLE t (a int)")
    local named <close> = assert(pg.connect(support.with(server.options, { name = "The Named" })))
    for _, err in ipairs {
      failed("invalid_parameter", named:insert("t", { a = 1 }, { conflict = true })),
      failed("invalid_parameter", named:update { table = "t", set = { a = 1 } }),
      failed("invalid_parameter", named:update { table = "t", set = {}, all = true }),
      failed("invalid_parameter", named:delete { table = "t" }),
    } do
      same({ "The Named", server.options.database }, { err.connection, err.database })
    end
  end)

  it("T1: a refusal fails the transaction that it is in", function()
    assert(db:execute "CREATE TABLE t (a int)")
    for _, refused in ipairs {
      function(tx) return tx:insert("t", { a = 1 }, { conflict = true }) end,
      function(tx) return tx:update { table = "t", set = { a = 1 } } end,
      function(tx) return tx:delete { table = "t" } end,
    } do
      failed("invalid_parameter", db:transaction(function(tx)
        assert(tx:insert("t", { a = 1 }))
        refused(tx)
        return true
      end))
    end
    same({}, rows "SELECT * FROM t")
  end)
end)
