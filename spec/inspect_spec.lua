-- SPDX-License-Identifier: MIT
-- describe, tables and explain: what the catalogue says, whatever the names, the search_path and
-- the handle's settings; and plans, of statements that run in no case or are undone.
local core = require "pg.core"
local inspect = require "pg.inspect"
local nine_six = require "spec.nine_six"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local raises <const>, failed <const>, same <const> = support.raises, support.failed, support.same
local contains <const>, value <const> = support.contains, support.value

local hostile <const> = {
  "'", '"', '""', "\\", "; DROP TABLE canary; --", '"; DROP TABLE canary; --', "$1", "$$", "a.b",
  "/*", "--", "%s", "{1,2}", "{}", "\n", " ", "ä", "日本語", "select", "Users", "NULL", ("x"):rep(63),
  ("é"):rep(31), "a,b", "\\x41", "\27[2J",
}

describe("a look at the database", function()
  local server, db

  setup(function() server = assert(throwaway.start()) end)

  teardown(function() server:stop() end)

  before_each(function()
    if not db or db:status().state ~= "idle" then
      if db then db:close() end
      db = assert(pg.connect(server.options))
    end
    assert(db:execute [[
RESET ROLE; RESET search_path; DISCARD TEMP;
DO $$ DECLARE s text; BEGIN
  FOR s IN SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
    WHERE nspname !~ '^(pg_|information_schema)' LOOP EXECUTE s; END LOOP;
END $$;
CREATE SCHEMA public]])
  end)

  -- The columns by name.
  local function described(name)
    local by = {}
    for _, column in ipairs(assert(db:describe(name))) do by[column.name] = column end
    return by
  end

  local function hostile_path()
    assert(db:execute [[
CREATE SCHEMA trap;
CREATE TABLE trap.pg_class (oid oid); CREATE TABLE trap.pg_attribute (attrelid oid);
CREATE TABLE trap.pg_constraint (oid oid); CREATE TABLE trap.pg_namespace (oid oid);
CREATE TYPE trap.text AS ENUM ('a'); CREATE TYPE trap.name AS ENUM ('a');
CREATE FUNCTION trap.deny(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT 1/0 = 1';
CREATE FUNCTION trap.deny("char", "char") RETURNS boolean LANGUAGE sql AS 'SELECT 1/0 = 1';
CREATE FUNCTION trap.deny(int2, int2) RETURNS boolean LANGUAGE sql AS 'SELECT 1/0 = 1';
CREATE FUNCTION trap.deny(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT 1/0 = 1';
CREATE FUNCTION trap.to_regclass(pg_catalog.text) RETURNS regclass LANGUAGE sql
  AS 'SELECT NULL::regclass WHERE 1/0 = 1';
CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, PROCEDURE = trap.deny);
CREATE OPERATOR trap.= (LEFTARG = "char", RIGHTARG = "char", PROCEDURE = trap.deny);
CREATE OPERATOR trap.<> (LEFTARG = "char", RIGHTARG = "char", PROCEDURE = trap.deny);
CREATE OPERATOR trap.= (LEFTARG = int2, RIGHTARG = int2, PROCEDURE = trap.deny);
CREATE OPERATOR trap.> (LEFTARG = int2, RIGHTARG = int2, PROCEDURE = trap.deny);
CREATE OPERATOR trap.= (LEFTARG = pg_catalog.name, RIGHTARG = pg_catalog.name,
  PROCEDURE = trap.deny);
SET search_path TO trap, pg_catalog, public]])
  end

  describe("of one table", function()
    it("S095: tells types, NULL, defaults, the key, enums and comments", function()
      assert(db:execute [[
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE users (
  id serial PRIMARY KEY, email varchar(40) NOT NULL, mood mood DEFAULT 'ok', tags text[],
  amount numeric(10, 2) DEFAULT 1 + 2, at timestamptz(3) NOT NULL DEFAULT now());
ALTER TYPE mood ADD VALUE 'so so' BEFORE 'ok';
COMMENT ON COLUMN users.email IS 'where to write']])
      same({
        { name = "id", type = "integer", nullable = false, key = 1,
          default = "nextval('users_id_seq'::regclass)" },
        { name = "email", type = "character varying(40)", nullable = false,
          comment = "where to write" },
        { name = "mood", type = "mood", nullable = true, default = "'ok'::mood",
          values = { "sad", "so so", "ok", "happy" } },
        { name = "tags", type = "text[]", nullable = true },
        { name = "amount", type = "numeric(10,2)", nullable = true, default = "(1 + 2)" },
        { name = "at", type = "timestamp(3) with time zone", nullable = false,
          default = "now()" },
      }, db:describe "users")
    end)

    it("S095: takes a domain's default for the column's own", function()
      assert(db:execute [[CREATE DOMAIN five AS int DEFAULT 5 NOT NULL; CREATE DOMAIN still AS five;
        CREATE TABLE t (a five, b still, c five DEFAULT 6, d int)]])
      local columns = described "t"
      same({ "5", "5", "6" }, { columns.a.default, columns.b.default, columns.c.default })
      assert.is_nil(columns.d.default)
    end)

    it("gives the labels of an enum through domains and arrays, and NOT NULL of domains", function()
      assert(db:execute [[
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN calm AS mood NOT NULL; CREATE DOMAIN calmer AS calm; CREATE DOMAIN moods AS mood[];
CREATE TABLE t (a mood[], b calm, c calmer, d moods, g point, h name, i int2vector, j text)]])
      if core.version(db) >= 110000 then -- arrays of domains
        assert(db:execute "CREATE DOMAIN calms AS calm[]; ALTER TABLE t ADD e calms, ADD f calm[]")
      end
      local strict <const> = { b = true, c = true }
      for name, column in pairs(described "t") do
        if name < "g" then assert.same({ "sad", "ok" }, column.values, name) end
        if name >= "g" then assert.is_nil(column.values, name) end
        assert.equal(not strict[name], column.nullable, name)
      end
    end)

    it("gives the place of a column in the primary key", function()
      assert(db:execute "CREATE TABLE t (a int, b int, c int, d int UNIQUE, PRIMARY KEY (c, a))")
      local t = described "t"
      same({ 2, 1 }, { t.a.key, t.c.key })
      assert.is_nil(t.b.key or t.d.key)
    end)

    it("tells identity and generated columns where the server has them", function()
      if core.version(db) < 120000 then return pending "PostgreSQL 12 and later" end
      assert(db:execute [[CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY,
        b int GENERATED BY DEFAULT AS IDENTITY, c int GENERATED ALWAYS AS (a + 1) STORED,
        d int DEFAULT 7)]])
      same({
        { name = "a", type = "integer", nullable = false, identity = "always" },
        { name = "b", type = "integer", nullable = false, identity = "by default" },
        { name = "c", type = "integer", nullable = true, generated = "(a + 1)" },
        { name = "d", type = "integer", nullable = true, default = "7" },
      }, db:describe "t")
    end)

    it("S097: tells what a foreign key refers to", function()
      assert(db:execute [[
CREATE SCHEMA sales;
CREATE TABLE sales."Or.ders" (id int PRIMARY KEY, x int, y int, UNIQUE (y, x));
CREATE TABLE t (x int, y int, one int REFERENCES sales."Or.ders", self int UNIQUE,
  FOREIGN KEY (x, y) REFERENCES sales."Or.ders" (x, y), FOREIGN KEY (one) REFERENCES t (self))]])
      local t = described "t"
      local function place(column)
        return { schema = "sales", table = "Or.ders", column = column }
      end
      same({ place "x", place "y", place "id" },
        { t.x.references, t.y.references, t.one.references })
      assert.is_nil(t.self.references)
      if core.version(db) < 120000 then return end
      assert(db:execute [[CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
        CREATE TABLE a (x int REFERENCES p) PARTITION BY LIST (x);
        CREATE TABLE a1 PARTITION OF a FOR VALUES IN (1)]])
      for _, name in ipairs { "a", "a1" } do
        same({ schema = "public", table = "p", column = "id" }, described(name).x.references)
      end
    end)

    it("tells the columns that are there: none, not dropped ones, many", function()
      assert(db:execute "CREATE TABLE none (); CREATE TABLE t (a int, b int, c int)")
      assert(db:execute "ALTER TABLE t DROP COLUMN b")
      same({}, db:describe "none")
      assert.equal("[]", pg.encode(db:describe "none"))
      same({ "a", "c" }, { db:describe "t"[1].name, db:describe "t"[2].name })
      local names = {}
      for i = 1, 1600 do names[i] = "c" .. i .. " int" end
      assert(db:execute("CREATE TABLE wide (" .. table.concat(names, ",") .. ")"))
      assert.equal("c1600", db:describe "wide"[1600].name)
    end)

    local kinds <const> = {
      { "a view", "CREATE VIEW x AS SELECT 1 AS a, 'b'::text AS b" },
      { "a materialized view", "CREATE MATERIALIZED VIEW x AS SELECT 1 AS a, 'b'::text AS b" },
      { "a partitioned table", "CREATE TABLE x (a int, b text) PARTITION BY LIST (a)" },
      { "a foreign table", "CREATE FOREIGN DATA WRAPPER f; CREATE SERVER s FOREIGN DATA WRAPPER f;"
        .. "CREATE FOREIGN TABLE x (a int, b text) SERVER s" },
      { "a temporary table", "CREATE TEMPORARY TABLE x (a int, b text)" },
    }
    for _, kind in ipairs(kinds) do
      it("describes " .. kind[1], function()
        assert(db:execute(kind[2]))
        same({ { name = "a", type = "integer", nullable = true },
          { name = "b", type = "text", nullable = true } }, db:describe "x")
        assert(db:execute "DROP FOREIGN DATA WRAPPER IF EXISTS f CASCADE")
      end)
    end

    it("S14: tells the same under a hostile search_path", function()
      assert(db:execute [[
CREATE TYPE mood AS ENUM ('sad');
CREATE TABLE b (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, m mood[], b int REFERENCES b DEFAULT 7)]])
      local before = db:describe "public.t"
      hostile_path()
      same(before, db:describe "public.t")
      same(before, db:describe "t")
      assert.equal(2, #db:tables { schema = "public" })
    end)

    it("finds tables as a statement would: by search_path, temporary ones first", function()
      assert(db:execute [[CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE one.t (one int);
        CREATE TABLE two.t (two int); SET search_path TO two, one]])
      assert.equal("two", db:describe "t"[1].name)
      assert.equal("one", db:describe "one.t"[1].name)
      assert(db:execute "CREATE TEMPORARY TABLE t (temporary int)")
      assert.equal("temporary", db:describe "t"[1].name)
    end)

    it("takes any name, of schema, table, column, label and comment", function()
      local q = function(name) return tostring(pg.identifier(name)) end
      for _, name in ipairs(hostile) do
        assert(db:execute("CREATE SCHEMA " .. q(name) .. "; CREATE TYPE mood AS ENUM ("
          .. pg.literal(name) .. "); CREATE TABLE " .. q(name) .. "." .. q(name) .. " (" .. q(name)
          .. " mood); COMMENT ON COLUMN " .. q(name) .. "." .. q(name) .. "." .. q(name) .. " IS "
          .. pg.literal(name)))
        same({ { name = name, type = "mood", nullable = true, values = { name }, comment = name } },
          db:describe(pg.identifier(name, name)))
        same({ { name = name, schema = name, kind = "table", visible = false } },
          db:tables { schema = name })
        assert(db:execute("DROP SCHEMA " .. q(name) .. " CASCADE; DROP TYPE mood"))
      end
    end)

    it("tells the same whatever the handle's settings", function()
      assert(db:execute "CREATE TABLE t (a int PRIMARY KEY REFERENCES t, b text)")
      local expected, all = db:describe "t", db:tables()
      for _, settings in ipairs { { rows = "array" }, { rows = "columns" }, { null = pg.null },
        { json = "text" }, { numeric = "number" } } do
        same(expected, db:with(settings):describe "t")
        same(all, db:with(settings):tables())
        assert.is_table(db:with(settings):explain "SELECT 1".plan[1].Plan)
      end
    end)

    it("names the nearest where there is no such table", function()
      assert(db:execute [[CREATE TABLE "Users" (); CREATE SCHEMA sales;
        CREATE TABLE sales.orders ()]])
      for name, near in pairs { users = "Users", Usres = "Users",
        ["sales.oders"] = "sales.orders" } do
        local err = failed("undefined_table", db:describe(name))
        assert.equal("42P01", err.sqlstate)
        contains(err.message, ('relation "%s" does not exist'):format(name))
        contains(tostring(err), ('Did you mean "%s"?'):format(near), "connection: postgres@")
      end
      failed("undefined_table", db:describe "nowhere.users")
      failed("undefined_table", db:describe 'a"b')
      contains(select(2, db:describe 'a"b').message, 'relation "a"b" does not')
    end)

    it("says what it is that is not a table", function()
      assert(db:execute [[CREATE TABLE t (id int CONSTRAINT the_index PRIMARY KEY);
        CREATE SEQUENCE the_sequence; CREATE TYPE the_type AS (a int)]])
      for name, what in pairs { the_index = "an index", the_sequence = "a sequence",
        the_type = "a composite type" } do
        local _, err = db:describe(name)
        same({ "42809", ('"%s" is %s, not a table'):format(name, what) },
          { err.sqlstate, err.message })
      end
    end)

    it("S015: says what is missing where the schema may not be used", function()
      assert(db:execute [[CREATE SCHEMA closed; CREATE TABLE closed.t (); DROP ROLE IF EXISTS guest;
        CREATE ROLE guest; SET ROLE guest]])
      contains(tostring(failed("permission_denied", db:describe "closed.t")),
        'GRANT USAGE ON SCHEMA "closed"')
      assert(db:execute "RESET ROLE; DROP ROLE guest")
    end)

    it("raises at the caller's line for what is no name", function()
      raises("must be a string", function() db:describe() end)
      raises("must be a string", function() db:describe { table = "t" } end)
      raises("more than one dot", function() db:describe "a.b.c" end)
      raises("cannot be empty", function() db:describe "" end)
      raises("NUL byte", function() db:describe "a\0b" end)
      raises("valid UTF-8", function() db:describe "a\xff" end)
    end)
  end)

  describe("of all tables", function()
    it("tells name, schema, kind, rows and comment, without those of the system", function()
      assert(db:execute [[
CREATE TABLE a AS SELECT generate_series(1, 100); CREATE VIEW b AS SELECT 1;
CREATE MATERIALIZED VIEW c AS SELECT 1; CREATE TABLE d (x int) PARTITION BY LIST (x);
CREATE TABLE "E" (); COMMENT ON TABLE a IS 'numbers'; CREATE SEQUENCE f;
CREATE SCHEMA sales; CREATE TABLE sales.a (x int); CREATE TABLE sales.g (x int);
CREATE TEMPORARY TABLE h (); ANALYZE a; ANALYZE c; ANALYZE sales.g]])
      local list = assert(db:tables())
      local own = table.remove(list, 1)
      assert.equal("h", own.name)
      assert.matches("^pg_temp_%d+$", own.schema)
      local empty = core.version(db) >= 140000 and 0 or nil -- counted; before, nobody can tell
      same({
        { name = "E", schema = "public", kind = "table", visible = true },
        { name = "a", schema = "public", kind = "table", visible = true, rows = 100,
          comment = "numbers" },
        { name = "b", schema = "public", kind = "view", visible = true },
        { name = "c", schema = "public", kind = "materialized view", visible = true, rows = 1 },
        { name = "d", schema = "public", kind = "partitioned table", visible = true },
        { name = "a", schema = "sales", kind = "table", visible = false },
        { name = "g", schema = "sales", kind = "table", visible = false, rows = empty },
      }, list)
    end)

    it("tells those of one schema, of the system's too", function()
      assert(db:execute "CREATE SCHEMA sales; CREATE TABLE sales.t (); CREATE TABLE t ()")
      same({ { name = "t", schema = "sales", kind = "table", visible = false } },
        db:tables { schema = "sales" })
      assert(#db:tables { schema = "pg_catalog" } > 50)
      assert(db:execute "CREATE SCHEMA nothing")
      same({}, db:tables { schema = "nothing" })
      local _, err = db:tables { schema = "sale" }
      same({ "3F000", 'schema "sale" does not exist' }, { err.sqlstate, err.message })
    end)

    it("shows nobody's temporary tables but its own", function()
      local other <close> = assert(pg.connect(server.options))
      assert(other:execute "CREATE TEMPORARY TABLE theirs ()")
      same({}, db:tables())
    end)

    it("raises at the caller's line for options that it does not know", function()
      raises("did you mean 'schema'?", function() db:tables { schemas = "public" } end)
      raises("a table of options", function() db:tables "public" end)
      raises("must be a string", function() db:tables { schema = 1 } end)
      raises("NUL byte", function() db:tables { schema = "a\0" } end)
    end)
  end)

  describe("of a plan", function()
    before_each(function()
      assert(db:execute [[CREATE TABLE users (id serial PRIMARY KEY, email text);
        INSERT INTO users (email) SELECT n || '@example.com' FROM generate_series(1, 1000) n;
        CREATE INDEX by_email ON users (email); ANALYZE users]])
    end)

    it("S089: takes parameters, and gives the plan as a table and as text", function()
      local explained = assert(db:explain("SELECT * FROM users WHERE email = $1", "7@example.com"))
      local plan = explained.plan[1].Plan
      assert.equal("by_email", plan["Index Name"])
      contains(plan["Index Cond"], "7@example.com")
      assert.equal(1, plan["Plan Rows"])
      assert.is_nil(plan["Actual Rows"])
      assert.is_string(pg.encode(explained))
    end)

    it("S100: shows what an index changes, made while the table is in use", function()
      local query <const> = "SELECT id FROM users WHERE lower(email) = $1"
      assert.equal("Seq Scan", db:explain(query, "x").plan[1].Plan["Node Type"])
      same({ success = true, rowCount = 0 },
        db:execute "CREATE INDEX CONCURRENTLY by_lower ON users (lower(email))")
      contains(db:explain(query, "x").text, "by_lower")
    end)

    it("S132: gives the text as psql prints it, for explain.depesz.com", function()
      local text = db:explain("SELECT count(*) FROM users u JOIN users v ON u.id < v.id").text
      local i = 0
      for line in (text .. "\n"):gmatch "([^\n]*)\n" do
        i = i + 1
        if i == 1 then
          assert.matches("^Aggregate  %(cost=%d+%.%d+%.%.%d+%.%d+ rows=1 width=8%)$", line)
        else
          assert.matches("^%s+", line)
        end
      end
      assert(i >= 3)
      assert.falsy(text:find "QUERY PLAN")
    end)

    it("S089: runs nothing without analyze", function()
      for _, sql in ipairs { "DELETE FROM users", "INSERT INTO users DEFAULT VALUES",
        "SELECT nextval('users_id_seq')", "CREATE TABLE more AS SELECT 1" } do
        assert(db:explain(sql))
        assert(db:explain { query = sql, analyze = false })
      end
      same({ 1000, 1000 }, { value(db, "SELECT count(*) FROM users"),
        value(db, "SELECT last_value FROM users_id_seq") })
      assert.equal("idle", db:status().state)
    end)

    it("S099: runs the statement with analyze, and undoes it", function()
      local explained = assert(db:explain {
        query = "DELETE FROM users WHERE id <= $1 RETURNING id", parameters = { 10 },
        analyze = true })
      assert.equal(10, explained.plan[1].Plan["Actual Rows"])
      contains(explained.text, "actual time=", "rows=10", "Execution ")
      assert.equal(1000, value(db, "SELECT count(*) FROM users"))
      assert.equal("idle", db:status().state)
    end)

    it("S099: runs it once for each form that is asked for", function()
      local function times(format)
        local before = value(db, "SELECT nextval('users_id_seq')")
        local explained = assert(db:explain { query = "SELECT nextval('users_id_seq')",
          analyze = true, format = format })
        return value(db, "SELECT nextval('users_id_seq')") - before - 1, explained
      end
      assert.equal(2, (times()))
      local once, explained = times "text"
      same({ 1, "string", "nil" }, { once, type(explained.text), type(explained.plan) })
      once, explained = times "json"
      same({ 1, "nil", "table" }, { once, type(explained.text), type(explained.plan) })
    end)

    it("S098 S099: undoes in a transaction what it ran and nothing else", function()
      assert(db:transaction(function(tx)
        assert(tx:execute "DELETE FROM users WHERE id = 1")
        assert(tx:explain { query = "DELETE FROM users", analyze = true })
        assert.equal(999, value(tx, "SELECT count(*) FROM users"))
        return true
      end))
      assert.equal(999, value(db, "SELECT count(*) FROM users"))
      assert(db:execute "BEGIN; DELETE FROM users WHERE id = 2")
      assert(db:explain { query = "DELETE FROM users", analyze = true })
      assert.equal("transaction", db:status().state)
      assert(db:execute "COMMIT")
      assert.equal(998, value(db, "SELECT count(*) FROM users"))
    end)

    it("S099 S121: stops at the deadline and leaves nothing behind", function()
      local err = failed("query_timeout", db:explain {
        query = "SELECT pg_sleep(30) FROM users", analyze = true, timeout = 0.1 })
      assert.equal(false, err.completed)
      assert.equal("idle", db:status().state)
      failed("result_too_large", db:explain { query = "SELECT * FROM users", max_result = 10 })
      assert.equal("idle", db:status().state)
    end)

    it("passes on EXPLAIN's own flags", function()
      assert.equal("Output: email", db:explain { query = "SELECT email FROM users",
        verbose = true }.text:match "Output: email")
      assert.falsy(db:explain { query = "SELECT 1", costs = false }.text:find "cost")
      contains(db:explain { query = "SELECT 1", analyze = true, buffers = true, timing = false,
        summary = false }.text, "(actual rows=1")
      local _, err = db:explain { query = "SELECT 1", timing = true }
      contains(err.message, "TIMING")
    end)

    it("S084: one statement, and nothing in it is an option of EXPLAIN", function()
      for _, sql in ipairs { "SELECT 1; DELETE FROM users", "ANALYZE DELETE FROM users",
        "(ANALYZE) DELETE FROM users", "ANALYZE", "EXPLAIN SELECT 1", "", "-- nothing",
        ") DELETE FROM users", ", ANALYZE) DELETE FROM users" } do
        local err = failed("syntax_error", db:explain(sql))
        contains(err.sql, "EXPLAIN (FORMAT JSON) " .. sql)
      end
      assert.equal(1000, value(db, "SELECT count(*) FROM users"))
      assert(db:explain "-- a comment\nSELECT 1;")
    end)

    it("answers what the server says of the statement, at its place", function()
      local err = failed("undefined_column", db:explain("SELECT emial FROM users"))
      assert.equal("emial", err.sql:sub(err.position, err.position + 4))
      failed("invalid_parameter", db:explain("SELECT * FROM users WHERE id = $1 OR id = $2", 1))
      failed("invalid_parameter", db:explain("SELECT $1::int", print))
      failed("invalid_value", db:explain { query = "SELECT 1 / $1::int", parameters = { 0 },
        analyze = true })
      failed("invalid_parameter", db:explain "SELECT 1\0")
      assert.equal("idle", db:status().state)
    end)

    it("runs nothing that changes data on a read-only connection", function()
      local reader <close> = assert(pg.connect(support.with(server.options, { readonly = true })))
      assert(reader:explain "DELETE FROM users")
      failed("read_only", reader:explain { query = "DELETE FROM users", analyze = true })
      assert.equal("idle", reader:status().state)
    end)

    it("raises at the caller's line for a form that is wrong", function()
      raises("takes a string of SQL or a table", function() db:explain() end)
      raises("takes a string of SQL or a table", function() db:explain(1) end)
      raises("query must be a string of SQL, not a nil", function() db:explain {} end)
      raises("did you mean 'analyze'?", function() db:explain { query = "", analyse = true } end)
      raises("one table takes all", function() db:explain({ query = "SELECT $1" }, 1) end)
      raises("analyze must be true or false", function()
        db:explain { query = "SELECT 1", analyze = "yes" }
      end)
      raises('"json" or "text"', function() db:explain { query = "", format = "xml" } end)
      raises("timeout", function() db:explain { query = "SELECT 1", timeout = "1" } end)
      raises("timeout", function() db:explain { query = "", timeout = -1, analyze = true } end)
    end)
  end)

  local calls <const> = {
    describe = function(x) return x:describe "pg_catalog.pg_class" end,
    tables = function(x) return x:tables { schema = "pg_catalog" } end,
    explain = function(x) return x:explain("SELECT $1::int", 1) end,
    ["explain with analyze"] = function(x)
      return x:explain { query = "SELECT 1", analyze = true }
    end,
  }
  for name, call in pairs(calls) do
    describe("by " .. name, function()
      it("answers the error in a failed transaction", function()
        assert(db:execute "BEGIN")
        db:query "SELECT 1/0"
        failed("transaction_failed", call(db))
        assert.equal("failed", db:status().state)
        assert(db:execute "ROLLBACK")
      end)

      it("answers the error on a lost connection, raises on a closed one", function()
        local other = assert(pg.connect(server.options))
        assert(db:query("SELECT pg_terminate_backend($1)", other:status().pid))
        support.eventually(function()
          return value(db, "SELECT count(*) FROM pg_stat_activity WHERE pid = $1",
            other:status().pid) == 0
        end)
        local answer, err = call(other)
        assert.is_nil(answer)
        assert(err.kind == "connection_lost" or err.kind == "server_unavailable", err.kind)
        failed("connection_lost", call(other))
        other:close()
        raises("connection is closed", function()
          local answered = call(other)
          return answered
        end)
      end)

      it("waits in the event loop", function()
        local loop = scheduler()
        local options = support.with(server.options, { wait = loop.wait })
        local answered = 0
        loop.run(function()
          for _ = 1, 3 do
            loop.spawn(function()
              local own <close> = assert(pg.connect(options))
              assert(call(own))
              answered = answered + 1
            end)
          end
        end)
        assert.equal(3, answered)
      end)
    end)
  end
end)

describe("the questions to the catalogue", function()
  local own <const> = "walk w number type strict whole kind key comment identity generated rows"
    .. " schema visible nullable"

  it("S008 S14: have nothing that PostgreSQL 9.6 lacks, and every name with its schema", function()
    for _, text in pairs(inspect.queries(90600)) do nine_six(text, own) end
    for _, text in pairs(inspect.queries(90624)) do nine_six(text, own) end
  end)

  it("S008: ask for identity columns from 10 on, for generated ones from 12 on", function()
    local function asks(version, column)
      return inspect.queries(version).columns:find(column, 1, true) ~= nil
    end
    for version, expected in pairs { [90624] = { false, false }, [100000] = { true, false },
      [110022] = { true, false }, [120000] = { true, true }, [180000] = { true, true } } do
      assert.same(expected, { asks(version, "attidentity"), asks(version, "attgenerated") })
    end
  end)
end)
