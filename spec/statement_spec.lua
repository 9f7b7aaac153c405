-- SPDX-License-Identifier: MIT
-- What is learnt of a statement's text: when the server is asked for the types of its parameters,
-- how long the answer is kept, and that it is never wrong.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed, same = support.failed, support.same

describe("a statement", function()
  local server, db, other

  setup(function()
    server = assert(throwaway.start { settings = { log_min_duration_statement = 0 } })
    db = assert(pg.connect(server.options))
    other = assert(pg.connect(server.options))
  end)

  teardown(function()
    server:stop()
  end)

  after_each(function()
    assert.equal("idle", db:status().state)
    assert(other:execute "DROP TABLE IF EXISTS t; DROP TYPE IF EXISTS mood")
  end)

  -- Round trips while f runs: each parses, and tells of it, or of an error.
  local function trips(f)
    local log = support.logged(server, f)
    local _, parsed = log:gsub("  parse <unnamed>: ", "")
    local _, named = log:gsub("  execute pg_%w+_%d+: ", "")
    local _, simple = log:gsub("  statement: ", "")
    local _, refused = log:gsub(" ERROR:  ", "")
    return parsed + named + simple + refused
  end

  local function rows(sql, ...)
    return assert(db:query(sql, ...)).rows
  end

  describe("costs", function()
    local cases = {
      { "no parameters", "SELECT 1 AS v", {}, 1 },
      { "an integer", "SELECT $1::int AS v", { 5 }, 1 },
      { "numbers, booleans, NULL", "SELECT $1::int, $2::float8, $3::bool, $4::text",
        { n = 4, 1, 2.5, true }, 1 },
      { "a plain text", "SELECT $1::text AS v", { "it's \"plain\"" }, 1 },
      { "a UTF-8 text", "SELECT $1::text AS v", { "größe 😀" }, 1 },
      { "a text for bytea", "SELECT $1::bytea AS v", { "größe" }, 1 },
      { "a backslash", "SELECT $1::text AS v", { "a\\b" }, 2 },
      { "a backslash for bytea", "SELECT $1::bytea AS v", { "a\\b" }, 2 },
      { "a NUL for bytea", "SELECT $1::bytea AS v", { "\0" }, 2 },
      { "bytes that are not UTF-8", "SELECT $1::bytea AS v", { "\xff" }, 2 },
      { "a list", "SELECT $1::int[] AS v", { { 1 } }, 2 },
      { "a document", "SELECT $1::jsonb AS v", { { a = 1 } }, 2 },
      { "a list beside scalars", "SELECT $1::int, $2::int[]", { 1, { 2 } }, 2 },
      { "pg.json", "SELECT $1::jsonb AS v", { pg.json { a = 1 } }, 1 },
      { "pg.bytea", "SELECT $1::bytea AS v", { pg.bytea "\0\\" }, 1 },
      { "pg.array with a type", "SELECT $1 AS v", { pg.array({ 1 }, "int4") }, 1 },
      { "pg.typed", "SELECT $1 AS v", { pg.typed("a\\b", "text") }, 1 },
    }
    for i, case in ipairs(cases) do
      it(("%d round trip(s) the first time, one after: %s"):format(case[4], case[1]), function()
        for _, action in ipairs { "query", "execute" } do
          local sql = ("%s -- %d %s"):format(case[2], i, action)
          local call = { query = sql, parameters = case[3] }
          local first, again
          assert.equal(case[4], trips(function() first = assert(db[action](db, call)) end))
          for _ = 1, 3 do
            assert.equal(1, trips(function() again = assert(db[action](db, call)) end))
            same(first, again)
          end
        end
      end)
    end

    it("two round trips when a list comes after plain values, then one", function()
      local sql = "SELECT $1::text AS v -- mixed"
      assert.equal(1, trips(function() rows(sql, "plain") end))
      assert.equal(2, trips(function() rows(sql, "\\") end))
      assert.equal(1, trips(function() rows(sql, "\\\\") end))
      assert.equal(1, trips(function() rows(sql, "plain") end))
      assert.equal(1, trips(function() rows(sql, { 1 }) end))
    end)

    it("what it costs on any handle of the connection, and anew on another connection", function()
      local sql = "SELECT $1::int[] AS v -- handles"
      assert.equal(2, trips(function() rows(sql, { 1 }) end))
      assert.equal(1, trips(function() assert(db:with { rows = "array" }:query(sql, { 1 })) end))
      assert.equal(1, trips(function() assert(db:execute(sql, { 1 })) end))
      assert.equal(2, trips(function() assert(other:query(sql, { 1 })) end))
    end)

    it("two round trips each time when it is longer than what is kept", function()
      local sql = "SELECT $1::int[] AS v -- " .. ("long"):rep(10000)
      assert.equal(2, trips(function() rows(sql, { 1 }) end))
      assert.equal(2, trips(function() rows(sql, { 1 }) end))
    end)

    it("one round trip where a foreign type's list has to be asked for only once", function()
      assert(db:execute "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE t (m mood)")
      local sql = "SELECT count(*) AS n FROM t WHERE m = ANY($1)"
      -- the catalogue has to say whether it is a domain: what a list becomes depends on it
      assert.equal(3, trips(function() same({ { n = 0 } }, rows(sql, { "sad" })) end))
      assert.equal(1, trips(function() same({ { n = 0 } }, rows(sql, { "glad", "sad" })) end))
    end)
  end)

  describe("gives the same", function()
    it("in text the first time and in binary after", function()
      local sql = [[
SELECT '{1,NULL,-3}'::int[] AS i, '{0.1,NaN,Infinity}'::float8[] AS f, '\x00ff5c'::bytea AS b,
  9007199254740993 AS n, 'text' AS t, NULL::int[] AS z, true AS y]]
      local first = assert(db:query(sql))
      for _ = 1, 3 do
        local again = assert(db:query(sql))
        same(first, again)
        same(first:columns(), again:columns())
      end
      same({ 1, pg.null, -3 }, first.rows[1].i)
      same("\0\xff\\", first.rows[1].b)
    end)

    it("when its columns change under it", function()
      assert(db:execute "CREATE TABLE t (a int[]); INSERT INTO t VALUES ('{1,2}')")
      local sql = "SELECT * FROM t"
      for _ = 1, 3 do same({ { a = { 1, 2 } } }, rows(sql)) end
      for _, change in ipairs {
        { "ALTER TABLE t ALTER a TYPE text[]", { a = { "1", "2" } } },
        { "ALTER TABLE t ADD b int DEFAULT 7", { a = { "1", "2" }, b = 7 } },
        { "ALTER TABLE t RENAME b TO c", { a = { "1", "2" }, c = 7 } },
        { "ALTER TABLE t ALTER c DROP DEFAULT, ALTER c TYPE bytea USING '\\x00'",
          { a = { "1", "2" }, c = "\0" } },
        { "ALTER TABLE t DROP a", { c = "\0" } },
        { "ALTER TABLE t ALTER c TYPE jsonb USING '{\"k\": []}'", { c = { k = {} } } },
      } do
        assert(other:execute(change[1]))
        for _ = 1, 3 do same({ change[2] }, rows(sql)) end
      end
    end)

    it("when its columns get a type that has no binary form", function()
      assert(db:execute "CREATE TABLE t (a int[]); INSERT INTO t VALUES ('{1,2}')")
      local sql = "SELECT * FROM t"
      for _ = 1, 3 do same({ { a = { 1, 2 } } }, rows(sql)) end
      assert(other:execute "ALTER TABLE t ALTER a TYPE aclitem[] USING '{postgres=r/postgres}'")
      db:query(sql) -- may be told that the type has changed, once
      same({ { a = { "postgres=r/postgres" } } }, rows(sql))
    end)
  end)

  describe("under ALTER COLUMN between text and bytea", function()
    local sql <const> = "INSERT INTO t (v) VALUES ($1)"
    local samples <const> = { "a\\b", "\\x41", "\\101", "plain", "größe", "\\", "\\\\" }
    local to_bytea <const> = "ALTER TABLE t ALTER v TYPE bytea USING convert_to(v, 'UTF8')"
    local to_text <const> = "ALTER TABLE t ALTER v TYPE text USING convert_from(v, 'UTF8')"

    -- What is stored, byte by byte, whatever the column's type now.
    local function stored(kind)
      local v = kind == "text" and "convert_to(v, 'UTF8')" or "v"
      local list = {}
      local answer = assert(other:query(("SELECT %s AS v FROM t ORDER BY id"):format(v)))
      for i, row in ipairs(answer.rows) do list[i] = row.v end
      return list
    end

    before_each(function()
      assert(db:execute "CREATE TABLE t (id serial, v text)")
    end)

    for name, changer in pairs {
      ["this connection"] = function() return db end,
      ["another connection"] = function() return other end,
    } do
      it(("stores every value right when %s does it"):format(name), function()
        local expected, kind = {}, "text"
        for _, change in ipairs { to_bytea, to_text, to_bytea, to_text } do
          for _, text in ipairs(samples) do
            same({ success = true, rowCount = 1 }, db:execute(sql, text))
            same({ insertedId = nil, rowCount = 1 }, db:insert("t", { v = text }))
            expected[#expected + 1], expected[#expected + 2] = text, text
            if kind == "bytea" then
              assert(db:execute(sql, text .. "\0\xff"))
              assert(db:execute "DELETE FROM t WHERE id = (SELECT max(id) FROM t)")
            end
          end
          same(expected, stored(kind))
          assert(changer():execute(change))
          kind = change == to_bytea and "bytea" or "text"
          same(expected, stored(kind))
        end
      end)
    end

    it("stores nothing wrong in a transaction, and learns for the next one", function()
      for _, change in ipairs { to_bytea, to_text, to_bytea, to_text } do
        assert(other:execute "TRUNCATE t")
        assert(db:execute(sql, "a\\b")) -- now the type is known
        assert(other:execute(change))
        assert(db:execute "BEGIN")
        local answer, err = db:execute(sql, "\\x41")
        if not answer then
          assert.equal("42804", err.sqlstate)
          assert(db:execute "ROLLBACK")
          assert(db:execute "BEGIN")
          assert(db:execute(sql, "\\x41"))
        end
        assert(db:execute(sql, "a\\b"))
        assert(db:execute "COMMIT")
        same({ "a\\b", "\\x41", "a\\b" }, stored(change == to_bytea and "bytea" or "text"))
      end
    end)

    it("asks once more, and only once", function()
      local function insert(text) return trips(function() assert(db:execute(sql, text)) end) end
      assert.equal(2, insert "a\\b")
      assert.equal(1, insert "a\\b")
      assert(other:execute(to_bytea))
      assert.equal(3, insert "a\\b")
      assert.equal(1, insert "a\\b")
      assert(other:execute(to_text))
      assert.equal(1, insert "a\\b") -- means the same to both
      assert.equal(2, insert "\\x41") -- would mean another thing to a type of four bytes
      same({ "a\\b", "a\\b", "a\\b", "a\\b", "a\\b", "\\x41" }, stored "text")
    end)
  end)

  describe("under another change of type", function()
    local changes = {
      { "int4[] to jsonb", "int4[]", "jsonb USING '[]'", { 1, 2 }, { 1, 2 }, { 1, 2 } },
      { "jsonb to int4[]", "jsonb", "int4[] USING NULL", { 1, 2 }, { 1, 2 }, { 1, 2 } },
      { "int4[] to text[]", "int4[]", "text[]", { 1, 2 }, { 1, 2 }, { "1", "2" } },
      { "text[] to int4[]", "text[]", "int4[] USING NULL", { "1", "2" }, { "1", "2" }, { 1, 2 } },
      { "jsonb to json", "jsonb", "json", { a = 1 }, { a = 1 }, { a = 1 } },
      { "jsonb to text", "jsonb", "text", { a = 1 }, { a = 1 }, '{"a":1}' },
      { "text to jsonb", "text", "jsonb USING NULL", { a = 1 }, '{"a":1}', { a = 1 } },
      { "an enum's list to text[]", "mood[]", "text[]", { "sad" }, { "sad" }, { "sad" } },
      { "text[] to an enum's list", "text[]", "mood[] USING NULL", { "sad" }, { "sad" },
        { "sad" } },
    }
    for _, case in ipairs(changes) do
      it(("is right at once: %s"):format(case[1]), function()
        assert(db:execute(("CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (v %s)"):format(
          case[2])))
        local sql = "INSERT INTO t VALUES ($1) RETURNING v"
        local function comparable(v)
          return type(v) == "string" and v:gsub(" ", "") or v
        end
        for _ = 1, 2 do same(case[5], comparable(rows(sql, case[4])[1].v)) end
        assert(other:execute("ALTER TABLE t ALTER v TYPE " .. case[3]))
        for _ = 1, 2 do
          local v = rows(sql, case[4])[1].v
          if type(v) == "table" and type(case[6]) == "string" then v = "{" .. v[1] .. "}" end
          same(case[6], comparable(v))
        end
      end)
    end

    it("is right at once where the type is another one of the same name", function()
      local create = "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (m mood)"
      assert(other:execute(create))
      local find = "SELECT count(*) AS n FROM t WHERE m = ANY($1)"
      local insert = "INSERT INTO t VALUES ($1)"
      for _ = 1, 3 do
        same({ { n = 0 } }, rows(find, { "sad" }))
        same({ success = true, rowCount = 1 }, db:execute(insert, "sad"))
        same({ { n = 1 } }, rows(find, { "sad" }))
        assert(other:execute("DROP TABLE t; DROP TYPE mood;" .. create))
      end
    end)

    for kind, width in pairs {
      int2 = 2, int4 = 4, int8 = 8, float4 = 4, float8 = 8, boolean = 1, uuid = 16, date = 4,
      timestamptz = 8, interval = 16, macaddr = 6, point = 16, numeric = 10, ["int4[]"] = 20,
      inet = 8, jsonb = 5, ["bit varying"] = 5, int4range = 9,
    } do
      it(("never takes bytes for a %s"):format(kind), function()
        local sql = "INSERT INTO t VALUES ($1)"
        for _, filler in ipairs { "\\", "\0", "\xff", "a" } do
          local bytes = (filler .. "\\"):rep(width):sub(1, width)
          assert(db:execute "DROP TABLE IF EXISTS t; CREATE TABLE t (v bytea)")
          assert(db:execute(sql, "a\\b"))
          assert(other:execute("TRUNCATE t; ALTER TABLE t ALTER v TYPE " .. kind .. " USING NULL"))
          for _ = 1, 2 do
            assert.is_nil((db:execute(sql, bytes)))
          end
          same({ { n = 0 } }, rows "SELECT count(*) AS n FROM t")
        end
      end)
    end

    it("infers anew for plain values beside a list", function()
      assert(db:execute "CREATE TABLE t (id int4, name text, l int[])")
      local sql = "INSERT INTO t VALUES ($1, $2, $3)"
      assert(db:execute(sql, 1, "a", { 1 }))
      assert(other:execute "ALTER TABLE t ALTER id TYPE int8, ALTER name TYPE int4 USING 0")
      assert.equal(1, trips(function() assert(db:execute(sql, 1 << 40, "77", { 1 })) end))
      same({ { id = 1 << 40, name = 77, l = { 1 } } }, rows "SELECT * FROM t WHERE id > 1")
    end)

    it("is asked for anew after a value did not fit what was known", function()
      assert(db:execute "CREATE TABLE t (id int4)")
      local sql = "SELECT count(*) AS n FROM t WHERE id = ANY($1)"
      same({ { n = 0 } }, rows(sql, { 1 }))
      assert(other:execute "ALTER TABLE t ALTER id TYPE int8; INSERT INTO t VALUES (1::int8 << 40)")
      local answer, err = db:query(sql, { 1 << 40 }) -- the server casts int4[] by its own rules
      if not answer then assert.equal("22003", err.sqlstate) end
      same({ { n = 1 } }, rows(sql, { 1 << 40 }))
    end)

    it("never runs a procedure twice, which may have committed", function()
      assert(db:execute [[
CREATE TABLE t (a int);
CREATE OR REPLACE PROCEDURE odd(list int[]) LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO t VALUES (1);
  COMMIT;
  RAISE EXCEPTION 'odd' USING errcode = '42804';
END $$]])
      for i = 1, 3 do
        failed("query_failed", db:execute("/* */ CALL odd($1)", { 1 }))
        same({ { n = i } }, rows "SELECT count(*) AS n FROM t")
      end
      assert(db:execute "DROP PROCEDURE odd")
    end)
  end)

  describe("is forgotten", function()
    local sql <const> = "SELECT $1::int[] AS v -- forgotten"
    local changes = {
      "CREATE TABLE t (a int)", "ALTER TABLE t ADD b int", "DROP TABLE t", "DISCARD ALL",
      "DO $$ BEGIN PERFORM 1; END $$", "CREATE TYPE mood AS ENUM ('sad')",
      "ALTER TYPE mood ADD VALUE 'glad'", "DROP TYPE mood",
      "BEGIN; CREATE TABLE t (a int); ROLLBACK",
      "SELECT 1; CREATE TABLE t (a int); SELECT 2",
    }
    it("when DDL runs on the connection", function()
      for _, change in ipairs(changes) do
        rows(sql, { 1 })
        assert.equal(1, trips(function() rows(sql, { 1 }) end))
        assert(db:execute(change))
        local asked = trips(function() same({ { v = { 1 } } }, rows(sql, { 1 })) end)
        assert.is_true(asked >= 2, change) -- more where DISCARD took the session's settings away
      end
    end)

    it("when DDL is taken back", function()
      assert(db:execute "CREATE TABLE t (v text)")
      local insert = "INSERT INTO t VALUES ($1)"
      assert(db:execute(insert, "\\x41"))
      assert(db:execute "BEGIN")
      assert(db:execute "ALTER TABLE t ALTER v TYPE bytea USING convert_to(v, 'UTF8')")
      assert(db:execute(insert, "\\x42"))
      assert(db:execute "ROLLBACK")
      assert(db:execute(insert, "\\x43"))
      same({ { v = "\\x41" }, { v = "\\x43" } }, rows "SELECT v FROM t")
    end)

    it("when a savepoint takes DDL back", function()
      assert(db:execute "CREATE TABLE t (v text)")
      local insert = "INSERT INTO t VALUES ($1)"
      assert(db:execute "BEGIN")
      assert(db:execute(insert, "\\x41"))
      assert(db:execute "SAVEPOINT s")
      assert(db:execute "ALTER TABLE t ALTER v TYPE bytea USING convert_to(v, 'UTF8')")
      assert(db:execute(insert, "\\x42"))
      assert(db:execute "ROLLBACK TO s")
      assert(db:execute(insert, "\\x43"))
      assert(db:execute "COMMIT")
      assert(db:execute(insert, "\\x44"))
      assert.equal(1, trips(function() assert(db:execute(insert, "\\x45")) end))
      same({ { v = "\\x41" }, { v = "\\x43" }, { v = "\\x44" }, { v = "\\x45" } },
        rows "SELECT v FROM t")
    end)

    it("neither by DML nor by errors nor by transactions", function()
      assert(db:execute "CREATE TABLE t (a int)")
      rows(sql, { 1 })
      for _, harmless in ipairs {
        "INSERT INTO t VALUES (1)", "BEGIN; UPDATE t SET a = 2; COMMIT",
        "BEGIN; SELECT 1; ROLLBACK",
        "TRUNCATE t", "SELECT 1", "", "VACUUM t", "SET application_name TO 'x'",
      } do
        assert(db:execute(harmless))
        assert.equal(1, trips(function() rows(sql, { 1 }) end), harmless)
      end
      failed("syntax_error", db:query "SELEC")
      failed("invalid_parameter", db:query(sql, { {} }))
      failed("invalid_parameter", db:query(sql, 1, 2))
      assert.equal(1, trips(function() rows(sql, { 1 }) end))
    end)
  end)

  describe("cache", function()
    before_each(function()
      assert(db:execute "SET log_min_duration_statement TO -1")
    end)

    after_each(function()
      assert(db:execute "RESET log_min_duration_statement")
    end)

    local function kilobytes()
      collectgarbage()
      collectgarbage()
      return collectgarbage "count"
    end

    it("is bounded: 10,000 texts leave memory as it was", function()
      local function run(from, to)
        for i = from, to do
          local answer = assert(db:query("SELECT $1::int[] AS v -- " .. i, { i }))
          assert(answer.rows[1].v[1] == i)
        end
      end
      run(1, 2000)
      local before = kilobytes()
      run(2001, 10000)
      local grown = kilobytes() - before
      assert.is_true(grown < 100, ("grew by %.0f KB"):format(grown))
    end)

    it("is bounded in bytes: long texts leave memory as it was", function()
      local filler = ("x"):rep(30000)
      local before = kilobytes()
      for i = 1, 500 do assert(db:query(("SELECT %d -- %s"):format(i, filler))) end
      local grown = kilobytes() - before
      assert.is_true(grown < 2500, ("grew by %.0f KB of 15 MB"):format(grown))
    end)

    it("keeps what is used again and again", function()
      local sql = "SELECT $1::int[] AS v -- often"
      rows(sql, { 1 })
      for i = 1, 2000 do
        if i % 100 == 0 then rows(sql, { 1 }) end
        assert(db:query("SELECT 1 AS v -- " .. i))
      end
      assert(db:execute "SET log_min_duration_statement TO 0")
      assert.equal(1, trips(function() rows(sql, { 1 }) end))
    end)

    it("is not fed by statements that fail", function()
      local before = kilobytes()
      for i = 1, 2000 do
        failed("undefined_table", db:query("SELECT $1 FROM nothing" .. i, { 1 }))
      end
      local grown = kilobytes() - before
      assert.is_true(grown < 100, ("grew by %.0f KB"):format(grown))
    end)
  end)

  describe("that fails in the middle of its rows", function()
    it("is not run again: no row comes twice", function()
      assert(other:execute [[
        CREATE SEQUENCE runs;
        CREATE FUNCTION pick(i int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
          IF i = 3 AND nextval('runs') = 2 THEN PERFORM no_such_function(); END IF;
          RETURN i;
        END $$]])
      local sql = "SELECT pick(i) AS v, repeat('x', 9000) AS filler "
        .. "FROM generate_series(1, 5) AS i WHERE i = ANY($1)"
      local all = { 1, 2, 3, 4, 5 }
      assert.equal(5, #rows(sql, all))
      failed("undefined_function", db:query(sql, all))
      local again = rows(sql, all)
      assert.equal(5, #again)
      for i, row in ipairs(again) do assert.equal(i, row.v) end
      assert(other:execute "DROP FUNCTION pick; DROP SEQUENCE runs")
    end)
  end)
end)
