-- SPDX-License-Identifier: MIT
-- insert, and update and delete as forms, on a real server: names are quoted, values are bound, the
-- key comes back, and what is wrong is named.
local core = require "pg.core"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local null, raises, failed, same = pg.null, support.raises, support.failed, support.same

-- Strings that were written to be taken for SQL, or not to be taken at all.
local hostile <const> = {
  "'", "''", '"', '""', "\\", "\\'", "';", '";', "'; DROP TABLE canary; --",
  '"; DROP TABLE canary; --', "' OR 1=1 --", "') OR ('1'='1", "\\'; DROP TABLE canary; --",
  "$1", "$$", "$q$", "$1; DROP TABLE canary", "/*", "*/", "--", "/* ' */", "%s %d %%", "%I %L",
  "?", ":name", "E'\\x27'", "U&'\\0027'", "now()", "DEFAULT", "NULL", "null", "{}", "{1,2}",
  "{NULL}", "[]", '{"a":1}', "\n", "\r\n", "\t", "\b", "\27[2J", " ", "  a  ", "ä", "日本語", "😀",
  "ʼ", "＇", "\u{202e}abc", "\\x41", "\\041", "\\", "\\\\", "a\\", "true", "-1", "1e400", "NaN",
  "COPY t FROM STDIN", "\\.", ("'"):rep(60), ("x"):rep(63), "pg_sleep(10)", "1; SELECT 1",
}

describe("a form", function()
  local server, db

  setup(function()
    server = assert(throwaway.start { settings = { log_statement = "all" } })
  end)

  teardown(function()
    server:stop()
  end)

  before_each(function()
    if not db or db:status().state ~= "idle" then db = assert(pg.connect(server.options)) end
  end)

  after_each(function()
    if db:status().state ~= "idle" then return end
    assert(db:execute [[
RESET ROLE; RESET search_path; DISCARD TEMP;
DO $$ DECLARE s text; BEGIN
  FOR s IN SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
    WHERE nspname !~ '^(pg_|information_schema)' LOOP EXECUTE s; END LOOP;
END $$;
CREATE SCHEMA public]])
  end)

  local function rows(sql, ...)
    return assert(db:query(sql, ...)).rows
  end

  describe("of insert", function()
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
      assert.equal(5, select(2, log:gsub("execute <unnamed>: ", "")))
      assert.equal(5, select(2, log:gsub("execute <unnamed>: INSERT", "")))
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

  describe("of insert: insertedId", function()
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

  describe("with odd names", function()
    local names = { "Users", "two words", 'say "hi"', "dot.ted", "semi;colon", "quote'd",
      "back\\slash", "größe", "select", "$1", "new\nline", "%s", "1st", " ", "--", "/*",
      ("x"):rep(63) }
    for _, name in ipairs(names) do
      it(("S041 S084: %q is a table and a column"):format(name), function()
        local table_name = pg.identifier(name)
        assert(db:execute(("CREATE TABLE %s (%s int PRIMARY KEY, v text)"):format(table_name,
          table_name)))
        same({ insertedId = 1, rowCount = 1, row = { [name] = 1 } },
          db:insert(table_name, { [name] = 1, v = name }, { returning = name }))
        same({ rowCount = 1, rows = { { [name] = 2, v = name } } }, db:update { table = table_name,
          set = { [name] = 2 }, where = { [name] = 1, v = name }, returning = "*" })
        if not name:find(".", 1, true) then
          same({ insertedId = 3, rowCount = 1 }, db:insert(name, { [name] = 3 }))
          same({ insertedId = 4, rowCount = 1 }, db:insert("public." .. name, { [name] = 4 }))
        end
        same({ rowCount = 1, rows = { { [name] = 2 } } },
          db:delete { table = table_name, where = { [name] = { 2 } }, returning = { name } })
      end)
    end

    it("S041: is split at its one dot, and not where pg.identifier says so", function()
      assert(db:execute [[
CREATE SCHEMA "My Schema"; CREATE TABLE "My Schema"."My Table" (id serial PRIMARY KEY, a int);
CREATE TABLE "a.b" (id serial PRIMARY KEY, a int);
CREATE SCHEMA a; CREATE TABLE a.b (id int DEFAULT 100 PRIMARY KEY, a int)]])
      assert.equal(1, db:insert("My Schema.My Table", {}).insertedId)
      assert.equal(1, db:insert(pg.identifier "a.b", {}).insertedId)
      assert.equal(2, db:insert(pg.identifier("public", "a.b"), {}).insertedId)
      assert.equal(100, db:insert("a.b", {}).insertedId)
      same({ rowCount = 2 }, db:delete { table = pg.identifier "a.b", all = true })
      same({ rowCount = 1 }, db:update { table = "a.b", set = { a = 1 }, all = true })
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

  describe("of update", function()
    before_each(function()
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int, b text DEFAULT 'b', j jsonb, l int[]);
INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (NULL, 'z')]])
    end)

    it("S046 S050: gives the count", function()
      same({ rowCount = 1 }, db:update { table = "t", set = { b = "new" }, where = { a = 1 } })
      same({ rowCount = 0 }, db:update { table = "t", set = { b = "new" }, where = { a = 99 } })
      same({ rowCount = 1, rows = { { a = 2, b = "q" } } }, db:update { table = "public.t",
        set = { b = "q" }, where = { a = 2, b = "y" }, returning = { "a", "b" } })
      same({ rowCount = 0, rows = {} }, db:update { table = "t", set = { b = "q" },
        where = { a = 99 }, returning = "*" })
    end)

    it("S046: sets NULL, defaults, raw SQL, lists and JSON", function()
      same({ rowCount = 1, rows = { { a = 8, b = "b", j = { k = { 1 } }, l = { 1, 2 } } } },
        db:update { table = "t", set = { a = pg.raw "a + 7", b = pg.default,
          j = { k = { 1 } }, l = { 1, 2 } }, where = { id = 1 },
          returning = { "a", "b", "j", "l" } })
      same({ rowCount = 1, rows = { { id = 2, b = "y" } } }, db:update { table = "t",
        set = { a = null, j = null }, where = { id = 2 }, returning = "*" })
      same({ rowCount = 1, rows = { { j = { 1 } } } }, db:update { table = "t",
        set = { j = pg.json { 1 } }, where = { id = 2 }, returning = "j" })
    end)

    it("S096: matches NULL, lists, and several conditions", function()
      local function matched(where)
        local answer = assert(db:update { table = "t", set = { a = pg.raw "a" }, where = where,
          returning = "id" })
        local ids = {}
        for i, row in ipairs(answer.rows) do ids[i] = row.id end
        table.sort(ids)
        return ids
      end
      same({ 3 }, matched { a = null })
      same({ 1, 2 }, matched { a = { 1, 2, 3 } })
      same({ 2 }, matched { a = { 1, 2 }, b = "y" })
      same({}, matched { a = {} })
      same({}, matched { a = pg.array {} })
      same({ 1 }, matched { a = { 1, null } })
      same({ 1, 3 }, matched { b = { "x", "z" } })
      same({ 1 }, matched { b = pg.array({ "x" }, "text") })
      same({ 2 }, matched { a = pg.raw "1 + 1" })
      same({}, matched { a = 1, b = "y" })
    end)

    it("S046: refuses to change every row unless it is told to", function()
      assert.equal("", support.logged(server, function()
        for _, form in ipairs {
          { table = "t", set = { a = 1 } }, { table = "t", set = { a = 1 }, where = {} },
          { table = "t", set = { a = 1 }, where = { id = nil }, all = false },
        } do
          local err = failed("invalid_parameter", db:update(form))
          support.contains(err.message, "all = true")
          support.contains(table.concat(err.fixes, "\n"), "all = true")
        end
      end))
      same({ rowCount = 3 }, db:update { table = "t", set = { a = 1 }, all = true })
      same({ rowCount = 3 }, db:update { table = "t", set = { a = 1 }, where = {}, all = true })
      same({ rowCount = 1 }, db:update { table = "t", set = { a = 1 }, where = { id = 1 },
        all = true })
    end)

    it("refuses to set nothing", function()
      failed("invalid_parameter", db:update { table = "t", set = {}, where = { id = 1 } })
    end)

    it("raises where it was called wrongly", function()
      local where = { id = 1 }
      raises("set must be a table", function() db:update { table = "t", where = where } end)
      raises("set must be a table", function() db:update { table = "t", set = "a = 1" } end)
      raises("where must be a table", function()
        db:update { table = "t", set = { a = 1 }, where = "id = 1" }
      end)
      raises("not a nil", function() db:update { set = { a = 1 }, where = where } end)
      raises("not a nil", function() db:update { where = where, set = { a = 1 }, all = true } end)
      raises("unknown option 'query'", function()
        db:update { table = "t", query = "UPDATE t SET a = 1", set = { a = 1 } }
      end)
      raises("did you mean 'where'?", function()
        db:update { table = "t", set = { a = 1 }, wher = where }
      end)
      raises("all must be true or false", function()
        db:update { table = "t", set = { a = 1 }, all = 1 }
      end)
      raises("has more than one dot", function()
        db:update { table = "a.b.c", set = { a = 1 }, where = where }
      end)
      raises("under the number key 1", function()
        db:update { table = "t", set = { 1 }, where = where }
      end)
      raises("under the number key 1", function()
        db:update { table = "t", set = { a = 1 }, where = { 1 } }
      end)
      raises("a name cannot hold a NUL byte", function()
        db:update { table = "t", set = { ["a\0"] = 1 }, where = where }
      end)
      raises("a name must be valid UTF-8", function()
        db:update { table = "t", set = { a = 1 }, where = { ["\xff"] = 1 } }
      end)
      raises("returning is an empty list", function()
        db:update { table = "t", set = { a = 1 }, where = where, returning = {} }
      end)
      raises("a name cannot be empty", function()
        db:update { table = "t", set = { a = 1 }, where = where, returning = "" }
      end)
      raises("unknown option 'table'", function() db:query { table = "t" } end)
      raises("unknown option 'where'", function() db:execute { query = "", where = {} } end)
    end)
  end)

  describe("of delete", function()
    before_each(function()
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int, b text);
INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (NULL, 'z')]])
    end)

    it("S051 S054: gives the count", function()
      same({ rowCount = 1 }, db:delete { table = "t", where = { a = null } })
      same({ rowCount = 0 }, db:delete { table = "t", where = { a = null } })
      same({ rowCount = 0 }, db:delete { table = "t", where = { id = {} } })
      same({ rowCount = 1, rows = { { b = "x" } } }, db:delete { table = "public.t",
        where = { a = { 1, 7 }, b = "x" }, returning = "b" })
      same({ { id = 2, a = 2, b = "y" } }, rows "SELECT * FROM t")
    end)

    it("S051: refuses to empty the table unless it is told to", function()
      assert.equal("", support.logged(server, function()
        for _, form in ipairs {
          { table = "t" }, { table = "t", where = {} }, { table = "t", where = { id = nil } },
        } do
          support.contains(failed("invalid_parameter", db:delete(form)).message, "all = true")
        end
      end))
      same({ rowCount = 3 }, db:delete { table = "t", where = {}, all = true })
    end)

    it("raises where it was called wrongly", function()
      raises("where must be a table", function() db:delete { table = "t", where = 5 } end)
      raises("unknown option 'set'", function() db:delete { table = "t", set = {} } end)
      raises("not a nil", function() db:delete { where = { id = 1 } } end)
      raises("not a number", function() db:delete { table = 5, where = { id = 1 } } end)
      raises("all must be true or false", function() db:delete { table = "t", all = "no" } end)
    end)
  end)

  describe("filled in by an attacker", function()
    local function canary()
      same({ { id = 1, v = "here" } }, rows "SELECT * FROM canary")
      same({ { relname = "canary" }, { relname = "t" } }, rows [[
SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
 ORDER BY relname]])
    end

    before_each(function()
      assert(db:execute [[
CREATE TABLE canary (id int PRIMARY KEY, v text);
INSERT INTO canary VALUES (1, 'here');
CREATE TABLE t (id serial PRIMARY KEY, v text)]])
    end)

    it("S084 S1: stores every value as it is", function()
      for _, text in ipairs(hostile) do
        local id = assert(db:insert("t", { v = text })).insertedId
        same({ { v = text } }, rows("SELECT v FROM t WHERE v = $1 AND id = $2", text, id))
        same({ rowCount = 1, rows = { { v = text } } }, db:update { table = "t", set = { v = text },
          where = { v = text, id = id }, returning = "v" })
        same({ rowCount = 1 }, db:update("UPDATE t SET v = $1 WHERE v = ANY($2)", text, { text }))
        same({ rowCount = 1, rows = { { v = text } } },
          db:delete { table = "t", where = { v = { text, "other" } }, returning = "v" })
      end
      canary()
    end)

    it("S084 S1: finds no table, column or key of any such name", function()
      for _, text in ipairs(hostile) do
        local name = pg.identifier(text)
        failed("undefined_table", db:insert(name, { v = 1 }))
        failed("undefined_column", db:insert("t", { [text] = 1 }))
        failed("undefined_column", db:insert("t", { v = 1 }, { returning = { text } }))
        failed("undefined_table", db:update { table = name, set = { v = 1 }, all = true })
        failed("undefined_column", db:update { table = "t", set = { [text] = 1 }, all = true })
        failed("undefined_column",
          db:update { table = "t", set = { v = 1 }, where = { [text] = 1 } })
        failed("undefined_table", db:delete { table = name, where = { v = 1 } })
        failed("undefined_column", db:delete { table = "t", where = { [text] = 1 } })
        failed("undefined_column",
          db:delete { table = "t", where = { v = 1 }, returning = { text } })
        if select(2, text:gsub("%.", "")) < 1 then
          failed("undefined_table", db:insert(text, { v = 1 }))
          failed("undefined_table", db:insert("public." .. text, { v = 1 }))
        end
      end
      canary()
    end)

    for _, standard in ipairs { "on", "off" } do
      it("S084 S1: pg.literal means the same with standard_conforming_strings " .. standard,
        function()
          assert(db:execute("SET standard_conforming_strings TO " .. standard))
          for _, text in ipairs(hostile) do
            same({ { v = text } }, rows("SELECT " .. pg.literal(text) .. "::text AS v"))
            same({ { [text] = 1 } }, rows("SELECT 1 AS " .. tostring(pg.identifier(text))))
          end
          for _, number in ipairs { 1, -1, 0.1, -0.5, 1e300, math.mininteger, math.maxinteger } do
            local kind = math.type(number) == "integer" and "int8" or "float8"
            same({ { v = number } },
              rows(("SELECT (%s)::%s AS v"):format(pg.literal(number), kind)))
          end
          same({ { a = -1, b = 1 } }, rows("SELECT 0 -" .. pg.literal(1) .. " AS a, 0 -"
            .. pg.literal(-1) .. " AS b"))
          assert(db:execute "RESET standard_conforming_strings")
          canary()
        end)
    end
  end)

  describe("of random names and values", function()
    local seed = tonumber(os.getenv "SEED") or os.time()

    local pieces <const> = { "a", "B", "0", "_", " ", "'", '"', "\\", ".", ";", "$1", "--", "/*",
      "%", "{", "}", ",", "\n", "\t", "é", "日", "😀", "NULL", "\u{7f}", "\u{202e}" }

    local function text(random, most)
      local list, length = {}, 0
      for i = 1, random(0, 12) do
        local piece = pieces[random(#pieces)]
        length = length + #piece
        if length > most then break end
        list[i] = piece
      end
      return table.concat(list)
    end

    local function number(random)
      local choice = random(4)
      if choice == 1 then return random(0) end
      if choice == 2 then return random(-10, 10) end
      if choice == 3 then return (random() - 0.5) * 10.0 ^ random(-300, 300) end
      return string.unpack("<d", string.pack("<I8", random(0) & 0x7fefffffffffffff))
    end

    local function document(random, depth)
      local choice = random(depth > 3 and 4 or 6)
      if choice == 1 then return text(random, 100) end
      if choice == 2 then return random(0) end
      if choice == 3 then return random(2) == 1 end
      if choice == 4 then return (random() - 0.5) * 2.0 ^ random(-60, 60) end
      local list = {}
      for i = 1, random(1, 4) do
        list[choice == 5 and i or text(random, 50)] = document(random, depth + 1)
      end
      return list
    end

    local types = {
      text = function(random) return text(random, 100) end,
      int8 = function(random) return random(0) end,
      float8 = function(random)
        local value = number(random)
        return math.type(value) == "float" and value or value + 0.0
      end,
      bool = function(random) return random(2) == 1 end,
      bytea = function(random)
        local bytes = {}
        for i = 1, random(0, 40) do bytes[i] = string.char(random(0, 255)) end
        return table.concat(bytes)
      end,
      jsonb = function(random) return { v = document(random, 1) } end,
      ["text[]"] = function(random)
        local list = {}
        for i = 1, random(0, 5) do list[i] = random(5) == 1 and null or text(random, 30) end
        return list
      end,
      ["float8[]"] = function(random)
        local list = {}
        for i = 1, random(0, 5) do list[i] = number(random) + 0.0 end
        return list
      end,
      numeric = function(random) return ("%d.%02d"):format(random(-1000, 1000), random(0, 99)) end,
    }
    local names = {}
    for name in pairs(types) do names[#names + 1] = name end
    table.sort(names)

    it(("S084 P18: read back what was stored (SEED=%d)"):format(seed), function()
      math.randomseed(seed)
      local random = math.random
      for round = 1, 30 do
        local target, columns, used = pg.identifier(text(random, 62) .. "t"), { "key int" }, {}
        for _ = 1, random(1, 8) do
          local name, kind = text(random, 62) .. "c", names[random(#names)]
          if not used[name] then
            used[name] = kind
            columns[#columns + 1] = ("%s %s"):format(pg.identifier(name), kind)
          end
        end
        assert(db:execute(("CREATE TABLE %s (%s, PRIMARY KEY (key))"):format(target,
          table.concat(columns, ", "))))
        for i = 1, 3 do
          local values = { key = i }
          for name, kind in pairs(used) do
            if random(6) > 1 then values[name] = types[kind](random) end
          end
          local shown = pcall(pg.encode, values) and round .. ": " .. tostring(pg.encode(values))
          local result, err = db:insert(target, values)
          assert(result, shown and shown .. "\n" .. tostring(err) or tostring(err))
          same({ insertedId = i, rowCount = 1 }, result)
          local stored = rows(("SELECT * FROM %s WHERE key = $1"):format(target), i)[1]
          assert.is_true(support.exactly(values, stored), ("round %d: stored %s, read %s"):format(
            round, tostring(pg.encode(values)), tostring(pg.encode(stored))))
        end
        assert(db:execute("DROP TABLE " .. tostring(target)))
      end
    end)
  end)
end)
