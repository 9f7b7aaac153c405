-- SPDX-License-Identifier: MIT
-- upsert on a real server: a row or a list is inserted, or updates the rows that it conflicts with,
-- and which of them was what is told.
local core = require "pg.core"
local pg = require "pg"
local scheduler = require "spec.scheduler"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local null, raises, failed, same = pg.null, support.raises, support.failed, support.same

describe("upsert", function()
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

  local users <const> = [[
CREATE TABLE users (id serial PRIMARY KEY, email text CONSTRAINT the_email UNIQUE, name text,
  status text DEFAULT 'new', visits int DEFAULT 0, updated_at timestamptz);
INSERT INTO users (email, name) VALUES ('ann@example.com', 'Ann'), ('bob@example.com', 'Bob')]]

  local function names()
    local list = {}
    for i, row in ipairs(rows "SELECT email, name FROM users ORDER BY id") do
      list[i] = (row.email or "-") .. "=" .. (row.name or "-")
    end
    return table.concat(list, " ")
  end

  describe("of one row", function()
    before_each(function() assert(db:execute(users)) end)

    it("S104 S105: inserts it, or updates the one it conflicts with", function()
      local options = { conflict = { "email" }, set = { updated_at = pg.raw "now()" } }
      same({ rowCount = 1, inserted = 1, updated = 0, insertedId = 3 }, db:upsert("users",
        { email = "eve@example.com", name = "Eve", status = "active" }, options))
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 3 }, db:upsert("users",
        { email = "eve@example.com", name = "Eva", status = "gone" }, options))
      same({ { id = 3, name = "Eva", status = "gone", set = true } },
        rows "SELECT id, name, status, updated_at IS NOT NULL AS set FROM users WHERE id > 2")
    end)

    it("is of the primary key unless another conflict is named", function()
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 2 },
        db:upsert("users", { id = 2, name = "Bo" }))
      same({ rowCount = 1, inserted = 1, updated = 0, insertedId = 9 },
        db:upsert("users", { id = 9, name = "New" }))
      same({ rowCount = 1, inserted = 1, updated = 0, insertedId = 3 },
        db:upsert("users", { name = "Next" }))
      assert.equal("ann@example.com=Ann bob@example.com=Bo -=Next -=New", names())
      failed("constraint_violation", db:upsert("users", { id = 7, email = "ann@example.com" }))
    end)

    it("updates what is said, and nothing that the row lacks", function()
      local row = { email = "ann@example.com", name = "Anne", status = "gone", visits = 5 }
      assert(db:upsert("users", row, { conflict = "email", update = { "name", "updated_at" },
        set = { visits = pg.raw "users.visits + EXCLUDED.visits + 1" } }))
      same({ { name = "Anne", status = "new", visits = 6 } },
        rows "SELECT name, status, visits, updated_at FROM users WHERE id = 1")
      assert(db:upsert("users", { email = "ann@example.com", status = pg.default, name = null },
        { conflict = "email" }))
      same({ { status = "new", visits = 6 } },
        rows "SELECT name, status, visits FROM users WHERE id = 1")
    end)

    it("S105: does nothing to what is there, when that is said or all that is left", function()
      local nothing = { rowCount = 0, inserted = 0, updated = 0 }
      same(nothing, db:upsert("users", { email = "ann@example.com", name = "X" },
        { conflict = "email", update = false }))
      same(nothing, db:upsert("users", { email = "ann@example.com" }, { conflict = "email" }))
      same(nothing, db:upsert("users", { id = 1 }, { returning = "*" }))
      same({ rowCount = 1, inserted = 1, updated = 0, insertedId = 7 }, db:upsert("users",
        { id = 7 }, { update = false }))
      assert.equal("ann@example.com=Ann bob@example.com=Bob -=-", names())
    end)

    it("adds the row that was asked for with returning", function()
      local row = { email = "ann@example.com", name = "Anne" }
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 1, row = { name = "Anne" } },
        db:upsert("users", row, { conflict = "email", returning = "name" }))
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 1, row = { id = 1, visits = 0,
        email = "ann@example.com", name = "Anne", status = "new", updated_at = null } },
        db:with { null = null, rows = "array" }:upsert("users", row,
          { conflict = "email", returning = "*" }))
    end)

    it("takes one table of it all", function()
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 1 },
        db:upsert { table = "users", columns = { email = "ann@example.com", name = "Z" },
          conflict = "email", timeout = 5 })
    end)

    it("tells the one from the other in the transaction that inserted the row", function()
      assert(db:transaction(function(tx)
        assert.equal(1, tx:upsert("users", { id = 7, name = "a" }).inserted)
        for _ = 1, 2 do assert.equal(1, tx:upsert("users", { id = 7, name = "b" }).updated) end
        return true
      end))
    end)

    it("returns a column called inserted as it is", function()
      assert(db:execute "CREATE TABLE t (id int PRIMARY KEY, inserted text, inserted_ int)")
      for i, inserted in ipairs { 1, 0 } do
        same({ rowCount = 1, inserted = inserted, updated = 1 - inserted, insertedId = 1,
          row = { id = 1, inserted = "x" .. i } },
          db:upsert("t", { id = 1, inserted = "x" .. i }, { returning = "*" }))
      end
    end)

    it("takes the conflict of a constraint, an expression or a partial index", function()
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 1 }, db:upsert("users",
        { email = "ann@example.com", name = "1" }, { constraint = "the_email" }))
      assert(db:execute [[CREATE UNIQUE INDEX ON users (lower(name));
CREATE UNIQUE INDEX ON users (name) WHERE status = 'it''s' AND updated_at IS NULL]])
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 2 }, db:upsert("users",
        { name = "BOB", visits = 5 }, { conflict = pg.raw "lower(name)" }))
      local options = { conflict = "name", where = { status = "it's", updated_at = null } }
      same({ rowCount = 1, inserted = 1, updated = 0, insertedId = 5 }, db:upsert("users",
        { name = "P", status = "it's" }, options))
      for i = 1, 8 do -- a plan that does not know the values would not find the index
        same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 5 }, db:upsert("users",
          { name = "P", status = "it's", visits = i }, options))
      end
      options.where = pg.raw "status = 'it''s' AND updated_at IS NULL"
      assert.equal(1, db:upsert("users", { name = "P", status = "it's" }, options).updated)
      assert(db:execute [[
CREATE TABLE booked (room int, during int4range,
  CONSTRAINT once EXCLUDE USING gist (during WITH &&))]])
      for i = 1, 0, -1 do
        same({ rowCount = i, inserted = i, updated = 0 }, db:upsert("booked", { room = 1,
          during = "[1,5)" }, { constraint = "once", update = false }))
      end
    end)
  end)

  describe("where it cannot be told what was inserted", function()
    it("S103 S105: gives the key of a partitioned table and no counts", function()
      assert(db:execute [[
CREATE TABLE t (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE t_26 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')]])
      for _ = 1, 2 do
        local id = { id = 1, day = "2026-01-15" }
        same({ rowCount = 1, insertedId = id },
          db:upsert("t", { id = 1, day = "2026-01-15", v = "x" }))
        same({ rowCount = 2, insertedIds = { id, { id = 2, day = "2026-01-16" } } },
          db:upsert("t", { { id = 1, day = "2026-01-15", v = "y" },
            { id = 2, day = "2026-01-16", v = "y" } }))
      end
      same({ rowCount = 0 }, db:upsert("t", { id = 1, day = "2026-01-15" }))
      same({ rowCount = 1, insertedIds = { false, { id = 3, day = "2026-01-15" } } },
        db:upsert("t", { { id = 1, day = "2026-01-15" }, { id = 3, day = "2026-01-15" } }))
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = { id = 1, day = "2026-01-15" } },
        db:upsert("t_26", { id = 1, day = "2026-01-15", v = "z" }))
    end)

    it("S105: gives neither key nor counts of a view, which has to be told the conflict", function()
      assert(db:execute(users))
      assert(db:execute "CREATE VIEW people AS SELECT id, email, name FROM users")
      local options = { conflict = "email", returning = { "id", "name" } }
      same({ rowCount = 1, row = { id = 1, name = "Anne" } }, db:upsert("people",
        { email = "ann@example.com", name = "Anne" }, options))
      same({ rowCount = 2, rows = { { id = 1, name = "A" }, { id = 5, name = "C" } } },
        db:upsert("people", { { email = "ann@example.com", name = "A" },
          { email = "c", name = "C" } }, options))
      options.update = false
      same({ rowCount = 1, rows = { false, { id = 9, name = "D" } } }, db:upsert("people",
        { { email = "c", name = "X" }, { email = "d", name = "D" } }, options)) -- 6, 7: rolled back
      same({ rowCount = 1 }, db:upsert("people", { { email = "d" }, { email = "e" } },
        { conflict = "email" }))
      local err = failed("invalid_parameter", db:upsert("people", { email = "x" }))
      support.contains(tostring(err), '"people" has no primary key', "conflict =")
    end)

    it("gives no counts to a role that may not read the whole row", function()
      assert(db:execute(users))
      assert(db:execute [[
DO $$ BEGIN CREATE ROLE half; EXCEPTION WHEN duplicate_object THEN END $$;
GRANT USAGE ON SCHEMA public TO half;
GRANT INSERT, UPDATE, SELECT (id, email, name) ON users TO half;
GRANT USAGE ON SEQUENCE users_id_seq TO half;
SET ROLE half]])
      local row = { email = "ann@example.com", name = "A" }
      same({ rowCount = 1, insertedId = 1 }, db:upsert("users", row, { conflict = "email" }))
      same({ rowCount = 1, insertedIds = { 1 } },
        db:upsert("users", { row }, { conflict = "email" }))
      assert(db:execute "RESET ROLE; GRANT SELECT (status, visits, updated_at) ON users TO half")
      assert(db:execute "SET ROLE half") -- every column, and not xmax
      same({ rowCount = 1, insertedId = 1 }, db:upsert("users", row, { conflict = "email" }))
      same({ rowCount = 1, insertedIds = { 1 } },
        db:upsert("users", { row }, { conflict = "email" }))
      assert(db:execute "RESET ROLE; GRANT SELECT ON users TO half")
      assert(db:execute "SET ROLE half")
      same({ rowCount = 1, inserted = 0, updated = 1, insertedId = 1 },
        db:upsert("users", row, { conflict = "email" }))
    end)
  end)

  describe("of a list", function()
    before_each(function() assert(db:execute(users)) end)

    it("S105: gives the ids in its order, in one statement", function()
      local log = support.logged(server, function()
        same({ rowCount = 4, inserted = 2, updated = 2, insertedIds = { 2, 4, 1, 6 } },
          db:upsert("users", {
            { email = "bob@example.com", name = "B" }, { email = "eve@example.com", name = "E" },
            { email = "ann@example.com", name = "A" }, { email = "fay@example.com", name = "F" },
          }, { conflict = "email", set = { updated_at = pg.raw "now()" } }))
      end)
      assert.equal(1, select(2, log:gsub("execute [^ ]+: INSERT", "")))
      assert.equal("ann@example.com=A bob@example.com=B eve@example.com=E fay@example.com=F",
        names())
    end)

    it("gives a default to a column that a row lacks, or leaves it as it is", function()
      assert(db:execute "UPDATE users SET status = 'old', visits = 9")
      same({ rowCount = 4, inserted = 2, updated = 2, insertedIds = { 1, 3, 2, 4 } },
        db:upsert("users", {
          { id = 1, name = "A" }, { id = 3, visits = 1 }, { id = 2, status = "x", visits = null },
          { id = 4, name = "D" },
        }))
      same({
        { id = 1, name = "A", status = "old", visits = 9 }, { id = 2, name = "Bob", status = "x" },
        { id = 3, status = "new", visits = 1 }, { id = 4, name = "D", status = "new", visits = 0 },
      }, rows "SELECT id, name, status, visits FROM users ORDER BY id")
    end)

    it("takes pg.default and pg.raw in its rows", function()
      assert(db:execute "UPDATE users SET status = 'old', visits = 9")
      assert(db:upsert("users", {
        { id = 1, status = pg.default, visits = pg.raw "2 * 3" },
        { id = 2, status = pg.default, visits = pg.raw "2 * 4" },
        { id = 3, status = pg.default, visits = pg.raw "2 * 3" },
        { id = 4, status = "y", visits = pg.default },
      }, { update = { "visits", "status" } }))
      same({ { id = 1, status = "new", visits = 6 }, { id = 2, status = "new", visits = 8 },
        { id = 3, status = "new", visits = 6 }, { id = 4, status = "y", visits = 0 } },
        rows "SELECT id, status, visits FROM users ORDER BY id")
    end)

    it("takes of each row the columns that it gives, whatever the one before gave", function()
      assert(db:execute "DELETE FROM users")
      assert(db:upsert("users", {
        { id = 1, name = "a", visits = 1 },
        { id = 2, name = pg.raw "upper('b')", visits = 2 },
        { id = 3, name = "c" },
        { id = 4, name = "d", visits = pg.default },
        { id = 5, name = "e", visits = 5 },
        { id = 6, name = pg.raw "upper('f')", visits = 6 },
        { id = 7, visits = 7, name = "g" },
        { id = 8, visits = 8, name = null },
      }))
      same({ { v = "1 a 1, 2 B 2, 3 c 0, 4 d 0, 5 e 5, 6 F 6, 7 g 7, 8 - 8" } },
        rows [[SELECT string_agg(concat_ws(' ', id, coalesce(name, '-'), visits), ', ' ORDER BY id)
          AS v FROM users]])
    end)

    it("tells keys apart that are values of several kinds", function()
      assert(db:execute "CREATE TABLE t (k jsonb PRIMARY KEY, n int)")
      local list = { "1", '"1"', "1.5", '"1.5"', "true", '"true"', "{}", '"table2:{}"', "[]" }
      for n, k in ipairs(list) do list[n] = { k = k, n = n } end
      same({ #list, 0 }, { db:upsert("t", list).inserted, db:upsert("t", { list[1] }).inserted })
      list[3] = { k = "[]", n = 0 }
      assert.equal("21000", failed("query_failed", db:upsert("t", list)).sqlstate)
    end)

    it("takes literals in pg.raw, whatever it does on a conflict", function()
      for _, update in ipairs { false, { "visits", "updated_at" } } do
        local list = {}
        for id = 7, 8 do
          list[id - 6] = { id = id, name = pg.raw "NULL", visits = pg.raw "NULL",
            updated_at = pg.raw "'2020-01-01'" }
        end
        same({ 7, 8 }, assert(db:upsert("users", list, { update = update })).insertedIds)
        same({ { n = 2 } }, rows [[SELECT count(*) AS n FROM users
          WHERE name IS NULL AND visits IS NULL AND updated_at::date = '2020-01-01']])
        assert(db:execute "DELETE FROM users WHERE id > 2")
      end
    end)

    it("takes rows of defaults only", function()
      same({ rowCount = 2, inserted = 2, updated = 0, insertedIds = { 3, 4 } },
        db:upsert("users", { {}, {} }))
    end)

    it("gives false for the rows that were there, when it does nothing to them", function()
      same({ rowCount = 2, inserted = 2, updated = 0, insertedIds = { 7, false, 9, false } },
        db:upsert("users", { -- 3 to 6 were rolled back
          { email = "eve@example.com", name = "E" }, { email = "ann@example.com", name = "A" },
          { email = "fay@example.com", name = "F" }, { email = "eve@example.com", name = "again" },
        }, { conflict = "email", update = false }))
      same({ rowCount = 0, inserted = 0, updated = 0, insertedIds = { false, false } },
        db:upsert("users", { { id = 1 }, { id = 2 } }))
      same({ rowCount = 1, inserted = 1, updated = 0, insertedIds = { 5 } },
        db:upsert("users", { { id = 5 } }, { update = false }))
    end)

    it("gives each row its own id where the conflict's columns are NULL", function()
      local list = {}
      for i = 1, 40 do
        list[i] = { email = i % 3 == 0 and null or i % 3 == 1 and "ann@example.com" or "e" .. i,
          name = tostring(i) }
      end
      local result = assert(db:upsert("users", list, { conflict = "email", update = false,
        returning = "name" }))
      assert.equal(26, result.rowCount)
      for i, row in ipairs(list) do
        if row.email == "ann@example.com" then
          same({ false, false }, { result.insertedIds[i], result.rows[i] })
        else
          same({ { id = result.insertedIds[i] } },
            rows("SELECT id FROM users WHERE name = $1", row.name))
          same({ name = row.name }, result.rows[i])
        end
      end
      result = assert(db:upsert("users", list, { conflict = "email", returning = "name",
        update = "status" }), "updates nothing: no row has a status")
      for i, row in ipairs(list) do
        same(row.email == null and { name = row.name } or false, result.rows[i])
      end
    end)

    it("adds the rows that were asked for, as they are", function()
      assert(db:execute [[
CREATE TABLE t (id int PRIMARY KEY, inserted int, place text, u int, c1 int)]])
      local full = { id = 1, inserted = 2, place = "3", u = 4, c1 = 5 }
      local partly = { id = 2 }
      for _, update in ipairs { false, { "id" } } do
        assert(db:execute "TRUNCATE t; INSERT INTO t (id) VALUES (3)")
        same({ full, partly, update and { id = 3 } or false }, assert(db:upsert("t",
          { full, partly, { id = 3 } }, { returning = "*", update = update })).rows)
      end
    end)

    it("is nothing when it is empty, and JSON like any result", function()
      local empty = assert(db:upsert("users", {}))
      same({ rowCount = 0, inserted = 0, updated = 0, insertedIds = {} }, empty)
      assert.matches('"insertedIds":[]', empty:json(), 1, true)
      same({ rowCount = 0, inserted = 0, updated = 0, insertedIds = {} },
        db:upsert("users", pg.array {}))
      assert.matches('"insertedIds":[1,false]', assert(db:upsert("users", { { id = 1, name = "x" },
        { id = 2 } })):json(), 1, true)
    end)

    it("stores values of every sort of type", function()
      assert(db:execute [[
CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE t (id int8 GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, a int[], b bytea, c jsonb,
  d mood, e positive, f pair, g timestamptz, h numeric(9,2), i float8, j boolean, k uuid, l inet,
  m char(4), n text GENERATED ALWAYS AS (m || '!') STORED)]])
      local function row(id, more)
        return support.merge({ id = id, a = { 1, id }, b = "\0\\\255", c = { x = { 1, null } },
          d = "glad", e = id, g = "2026-01-15T10:30:00Z", h = "1.50", i = 0.1, j = false,
          k = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", l = "10.0.0.1", m = "ab  " }, more)
      end
      local list = { row(1), row(2, { f = '(1,"x y")' }), row(3, { f = null }), row(4, { a = {} }) }
      for _, count in ipairs { "inserted", "updated" } do
        assert.equal(4, assert(db:upsert("t", list))[count])
        local stored = rows "SELECT * FROM t ORDER BY id"
        for i, expected in ipairs(list) do
          expected = support.merge(expected, { n = "ab!" })
          expected.f = i == 2 and { a = 1, b = "x y" } or nil
          stored[i].f = stored[i].f and { a = 1, b = "x y" }
          assert.is_true(support.exactly(expected, stored[i]), pg.encode(stored[i]))
        end
      end
    end)

    it("takes a thousand rows, with gaps, as they are", function()
      local list, expected, stored = {}, {}, {}
      for i = 1, 1000 do
        list[i] = { id = i * 7 % 1009 + 10, name = i % 5 > 0 and "n" .. i or nil }
        expected[i] = list[i].id
      end
      same({ rowCount = 1000, inserted = 1000, updated = 0, insertedIds = expected },
        db:upsert("users", list))
      for _, row in ipairs(rows "SELECT id, name FROM users") do stored[row.id] = row end
      for _, row in ipairs(list) do same(row, stored[row.id]) end
    end)

    -- Which rows of 600 are there before.
    local there = {
      { "few", function(i) return i % 150 == 75 end, 250 },
      { "the first half", function(i) return i <= 300 end, 120 },
      { "the last", function(i) return i == 600 end, 120 },
      { "every other one", function(i) return i % 2 == 0 end, 1000 },
    }
    for _, case in ipairs(there) do
      it("knows in few statements which were stored: there were " .. case[1], function()
        assert(db:execute "CREATE TABLE t (id serial PRIMARY KEY, k text UNIQUE, v text)")
        local old, list, result = {}, {}, nil
        for i = 1, 600 do
          list[i] = { k = "k" .. i, v = "new" }
          if case[2](i) then old[#old + 1] = { k = "k" .. i, v = "old" } end
        end
        assert(db:upsert("t", old, { conflict = "k" }))
        local log = support.logged(server, function()
          result = assert(db:upsert("t", list, { conflict = "k", update = false }))
        end)
        assert.is_true(select(2, log:gsub("LOG:  [se]", "")) < case[3])
        same({ 600 - #old, 600 - #old, 0 }, { result.rowCount, result.inserted, result.updated })
        local ids = {}
        for _, row in ipairs(rows "SELECT id, k, v FROM t") do ids[row.k .. row.v] = row.id end
        for i = 1, 600 do
          same(not case[2](i) and ids["k" .. i .. "new"] or false, result.insertedIds[i])
        end
      end)
    end
  end)

  describe("of a list whose rows change on their way", function()
    local function trigger(table_name, body, when)
      assert(db:execute(([[
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s END $$;
CREATE TRIGGER change BEFORE %s ON %s FOR EACH ROW EXECUTE PROCEDURE change()]]):format(body,
        when or "INSERT OR UPDATE", table_name)))
    end

    before_each(function() assert(db:execute(users)) end)

    it("knows which were stored where a trigger changes what conflicts", function()
      trigger("users", "NEW.email := lower(NEW.email); RETURN NEW;")
      local list = { { email = "ANN@EXAMPLE.COM", name = "1" }, { email = "X", name = "2" },
        { email = "BOB@example.com", name = "3" }, { email = "Y", name = "4" } }
      local result = assert(db:upsert("users", list, { conflict = "email", update = false,
        returning = "email" }))
      same({ false, { email = "x" }, false, { email = "y" } }, result.rows)
      same({ 2, 2, 0 }, { result.rowCount, result.inserted, result.updated })
      assert.equal("ann@example.com=Ann bob@example.com=Bob x=2 y=4", names())
    end)

    it("knows which was stored where a changed key meets another row's", function()
      assert(db:execute "CREATE TABLE t (k int PRIMARY KEY, v text)")
      trigger("t", "IF NEW.v = 'moved' THEN NEW.k := 2; END IF; RETURN NEW;")
      same({ rowCount = 1, inserted = 1, updated = 0, insertedIds = { 2, false },
        rows = { { v = "moved" }, false } }, db:upsert("t", { { k = 1, v = "moved" },
          { k = 2, v = "second" } }, { update = false, returning = "v" }))
      same({ { k = 2, v = "moved" } }, rows "SELECT * FROM t")
    end)

    it("keeps the order where a trigger swaps the keys", function()
      assert(db:execute "CREATE TABLE t (k int PRIMARY KEY, v text)")
      trigger("t", "NEW.k := 3 - NEW.k; RETURN NEW;")
      same({ { k = 2, v = "first" }, { k = 1, v = "second" } }, assert(db:upsert("t",
        { { k = 1, v = "first" }, { k = 2, v = "second" } },
        { update = false, returning = { "k", "v" } })).rows)
    end)

    it("knows which were stored where a trigger skips some", function()
      trigger("users", "IF NEW.name LIKE 'skip%' THEN RETURN NULL; END IF; RETURN NEW;")
      local list = { { email = "ann@example.com", name = "skip" }, { email = "x", name = "2" },
        { email = "y", name = "skip" }, { email = "bob@example.com", name = "4" } }
      local result = assert(db:upsert("users", list, { conflict = "email" }))
      same({ false, true, false, true }, { result.insertedIds[1], result.insertedIds[2] > 2,
        result.insertedIds[3], result.insertedIds[4] == 2 })
      same({ 2, 1, 1 }, { result.rowCount, result.inserted, result.updated })
      list = { { name = "skip", email = null }, { name = "b", email = null }, { name = "skip",
        email = null }, { name = "d", email = null } }
      result = assert(db:upsert("users", list, { conflict = "email", update = false,
        returning = "name" }))
      same({ false, { name = "b" }, false, { name = "d" } }, result.rows)
    end)

    it("knows which of the same was stored where it is not the first", function()
      assert(db:execute [[CREATE TABLE t (id serial PRIMARY KEY, k int, active bool, n int);
CREATE UNIQUE INDEX ON t (k) WHERE active; INSERT INTO t (k, active) VALUES (1, true)]])
      local result = assert(db:upsert("t", { { k = 1, active = true, n = 1 },
        { k = 1, active = false, n = 2 }, { k = 2, active = true, n = 3 } },
        { conflict = "k", where = pg.raw "active", update = false, returning = "n" }))
      same({ false, { n = 2 }, { n = 3 } }, result.rows)
      trigger("users", "IF NEW.name LIKE 'skip%' THEN RETURN NULL; END IF; RETURN NEW;")
      result = assert(db:upsert("users", { { email = "x", name = "skip" },
        { email = "x", name = "2" }, { email = "y", name = "3" }, { email = "x", name = "4" } },
        { conflict = "email", update = false, returning = "name" }))
      same({ false, { name = "2" }, { name = "3" }, false }, result.rows)
    end)

    it("knows which were stored where an exclusion constraint decides", function()
      assert(db:execute [[
CREATE TABLE booked (id serial PRIMARY KEY, during int4range,
  CONSTRAINT once EXCLUDE USING gist (during WITH &&))]])
      local result = assert(db:upsert("booked", { { during = "[1,5)" }, { during = "[4,6)" },
        { during = "[5,7)" }, { during = "[1,5)" } }, { constraint = "once", update = false,
        returning = "during" }))
      local first, last = { lower = 1, upper = 5, bounds = "[)" }, { lower = 5, upper = 7,
        bounds = "[)" }
      for i, row in ipairs(result.rows) do -- of whatever form a range has here
        result.rows[i] = row and (type(row.during) == "table" and row.during
          or row.during == "[1,5)" and first or last)
      end
      same({ first, false, last, false }, result.rows)
    end)

    it("knows which were stored where the constraint is of a type without an order", function()
      assert(db:execute [[
CREATE TABLE round (id serial PRIMARY KEY, c circle,
  CONSTRAINT apart EXCLUDE USING gist (c WITH &&))]])
      local result = assert(db:upsert("round", { { c = "<(0,0),1>" }, { c = "<(0,0),2>" },
        { c = "<(9,0),1>" } }, { constraint = "apart", update = false, returning = "c" }))
      same({ { c = "<(0,0),1>" }, false, { c = "<(9,0),1>" } }, result.rows)
    end)

    it("knows which were stored where the column's type changes what conflicts", function()
      assert(db:execute "CREATE TABLE t (id serial PRIMARY KEY, price numeric(4,1) UNIQUE)")
      assert(db:insert("t", { price = "1.5" }))
      local result = assert(db:upsert("t", { { price = "2.04" }, { price = "1.5" },
        { price = "3.99" }, { price = "1.54" } }, { conflict = "price", update = false }))
      same({ 2, 2, false, false }, { result.rowCount, result.inserted, result.insertedIds[2],
        result.insertedIds[4] })
      same({ { price = "2.0" }, { price = "4.0" } },
        rows("SELECT price FROM t WHERE id = ANY($1) ORDER BY 1",
          { result.insertedIds[1], result.insertedIds[3] }))
    end)

    it("knows which were stored where NULLs conflict with each other", function()
      if core.version(db) < 150000 then return pending "NULLS NOT DISTINCT came with 15" end
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int, UNIQUE NULLS NOT DISTINCT (a))]])
      local result = assert(db:upsert("t", { { a = null }, { a = 1 }, { a = null } },
        { conflict = "a", update = false }))
      same({ 2, true, true, false }, { result.rowCount, result.insertedIds[1] ~= false,
        result.insertedIds[2] ~= false, result.insertedIds[3] })
    end)
  end)

  describe("of a list with a fault in it", function()
    before_each(function() assert(db:execute(users)) end)

    local twice = {
      { "in one statement", { { id = 1, name = "1" }, { id = 5, name = "2" },
        { id = 5, name = "3" } }, {}, 2, 3 },
      { "in several", { { id = 1, name = "1" }, { id = 5, visits = 1 }, { id = 1, visits = 3 } },
        {}, 1, 3 },
      { "as the server compares", { { email = "bob@example.com", name = "1" }, { email = "x",
        name = "2" }, { email = "BOB@EXAMPLE.COM", name = "3" } },
        { conflict = pg.raw "lower(email)" }, 1, 3 },
    }
    for _, case in ipairs(twice) do
      it("S105: names the two rows that have the same key, and stores none: " .. case[1], function()
        assert(db:execute "CREATE UNIQUE INDEX ON users (lower(email))")
        local err = failed("query_failed", db:upsert("users", case[2], case[3]))
        assert.equal("21000", err.sqlstate)
        assert.equal(case[5], err.row)
        support.contains(tostring(err), ("Rows %d and %d"):format(case[4], case[5]),
          ("rows %d and %d"):format(case[4], case[5]))
        assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
        assert.equal("idle", db:status().state)
      end)
    end

    local bad = {
      { { visits = "x" }, "invalid_value", "visits" },
      { { visits = 1 << 40 }, "invalid_value", "visits" },
      { { name = "a\0b" }, "invalid_parameter", "name" },
      { { name = print }, "invalid_parameter", "name" },
      { { visits = {} }, "invalid_parameter", "visits" },
      { { updated_at = "soon" }, "invalid_value", "updated_at" },
      { { visits = -1 }, "constraint_violation" },
    }
    for i, case in ipairs(bad) do
      it(("names the row and stores none: %s (%d)"):format(case[2], i), function()
        assert(db:execute "ALTER TABLE users ADD CHECK (visits >= 0)")
        local list = {}
        for n = 1, 5 do list[n] = { id = n, visits = n, name = "n", updated_at = null } end
        for name, value in pairs(case[1]) do list[4][name] = value end
        local err = failed(case[2], db:upsert("users", list))
        same({ 4, case[3] }, { err.row, err.column })
        assert.matches("at: row 4", tostring(err), 1, true)
        assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
        err = failed(case[2], db:upsert("users", { { id = 8 }, list[4] }))
        same({ 2, case[3] }, { err.row, err.column })
        same({ { n = 2 } }, rows "SELECT count(*) AS n FROM users")
      end)
    end

    it("names the first row that is refused, whatever the others are refused for", function()
      assert(db:execute [[CREATE TYPE level AS ENUM ('low');
CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0), l level)]])
      local list <const> = { { id = 1, n = -1, l = "low" }, { id = 2, n = 1, l = "none" } }
      local err = failed("constraint_violation", db:upsert("t", list))
      same({ 1, "23514" }, { err.row, err.sqlstate })
      assert(db:execute "DROP TABLE t; DROP TYPE level")
    end)

    it("does not take rows outside of a partial index for the same", function()
      assert(db:execute [[CREATE TABLE t (k int, active bool, n int);
CREATE UNIQUE INDEX ON t (k) WHERE active]])
      local options = { conflict = "k", where = { active = true } }
      same({ rowCount = 3, inserted = 3, updated = 0 }, db:upsert("t", { { k = 1, active = false },
        { k = 1, active = false, n = 2 }, { k = 1, active = true } }, options))
    end)

    it("does not take equal rows for the same that do not exclude each other", function()
      assert(db:execute [[CREATE TABLE t (during int4range,
  CONSTRAINT once EXCLUDE USING gist (during WITH &&))]])
      local result = assert(db:upsert("t", { { during = "empty" }, { during = "empty" },
        { during = "[1,5)" }, { during = "[1,5)" } }, { constraint = "once", update = false,
        returning = "during" }))
      same({ 3, 3, false }, { result.rowCount, result.inserted, result.rows[4] })
    end)

    it("names the row that a trigger or a view's check refuses", function()
      assert(db:execute [[
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.visits = 13 THEN RAISE EXCEPTION 'not %', NEW.visits; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW EXECUTE PROCEDURE refuse();
CREATE VIEW seen AS SELECT * FROM users WHERE visits > 0 WITH CHECK OPTION]])
      for _, case in ipairs { { "users", 13, "P0001" }, { "seen", 0, "44000" } } do
        local err = select(2, db:upsert(case[1], { { id = 5, visits = 1 },
          { id = 6, visits = case[2] } }, { conflict = "id" }))
        same({ case[3], 2 }, { err.sqlstate, err.row })
        assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
      end
    end)

    it("finds the row in few statements", function()
      assert(db:execute "ALTER TABLE users ADD CHECK (visits >= 0)")
      local list, err = {}, nil
      for i = 1, 900 do list[i] = { id = i, visits = i == 777 and -1 or i } end
      local log = support.logged(server, function()
        err = failed("constraint_violation", db:upsert("users", list))
      end)
      assert.equal(777, err.row)
      assert.is_true(select(2, log:gsub("LOG:  [se]", "")) < 120)
      assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
    end)

    it("says of a result that is too large that nothing was stored", function()
      local list = {}
      for i = 1, 50 do list[i] = { id = i, name = ("x"):rep(100) } end
      local err = failed("result_too_large", db:upsert("users", list, { returning = "name",
        max_result = 1000 }))
      assert.is_falsy(err.completed)
      assert.is_nil(err.message:find("changes stand", 1, true))
      assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
    end)

    it("T1: fails the transaction around it, and leaves a savepoint's alone", function()
      local list = { { id = 5, name = "a" }, { id = 6, visits = "x" } }
      local done, err = db:transaction(function(tx)
        assert(tx:insert("users", { name = "outer" }))
        local answer, inner = tx:upsert("users", list)
        same({ nil, "invalid_value", 2 }, { answer, inner.kind, inner.row })
        return "ignored"
      end)
      same({ nil, "invalid_value" }, { done, err.kind })
      assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
      assert.equal("kept", db:transaction(function(tx)
        assert(tx:upsert("users", { { id = 8, name = "outer" } }))
        failed("invalid_value", tx:transaction(function(inner)
          return inner:upsert("users", list)
        end))
        return "kept"
      end))
      assert.equal("ann@example.com=Ann bob@example.com=Bob -=outer", names())
    end)

    it("keeps to the transaction around it: what is rolled back is not stored", function()
      assert(db:dry_run(function(tx)
        return assert(tx:upsert("users", { { id = 1, name = "A" }, { id = 5, visits = 1 } }))
      end))
      assert(db:execute "BEGIN")
      assert(db:upsert("users", { { id = 1, name = "A" }, { id = 5, visits = 1 } }))
      assert.equal("transaction", db:status().state)
      assert(db:execute "ROLLBACK")
      assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
    end)
  end)

  describe("of what cannot conflict", function()
    it("names the unique indexes that there are, and how to make one", function()
      assert(db:execute(users))
      assert(db:execute [[
CREATE UNIQUE INDEX ON users (lower(name), "visits"); ALTER TABLE users ADD "The ""Key""" int;
CREATE UNIQUE INDEX ON users ("The ""Key""") WHERE status = 'it''s']])
      for _, values in ipairs { { name = "x" }, { { name = "x" }, { name = "y" } } } do
        local err = failed("query_failed", db:upsert("users", values, { conflict = "name" }))
        assert.equal("42P10", err.sqlstate)
        support.contains(table.concat(err.fixes, "\n"), 'conflict = "id"', 'conflict = "email"',
          'conflict = { pg.raw "lower(name)", "visits" }',
          [[conflict = "The \"Key\"", where = pg.raw "status = 'it''s'::text"]],
          'CREATE UNIQUE INDEX ON "users" ("name")')
      end
    end)

    it("asks for the conflict where there is no primary key", function()
      assert(db:execute "CREATE TABLE t (a int, b int UNIQUE)")
      for _, values in ipairs { { a = 1 }, { { a = 1 } } } do
        local err = failed("invalid_parameter", db:upsert("t", values))
        support.contains(tostring(err), '"t" has no primary key', 'conflict = "b"')
        assert.equal(server.options.database, err.database)
      end
      failed("undefined_table", db:upsert("nosuch", { a = 1 }))
      failed("undefined_table", db:upsert("nosuch", { { a = 1 } }))
      failed("undefined_column", db:upsert("t", { b = 1, c = 2 }, { conflict = "b" }))
      local err = failed("undefined_column", db:upsert("t", { b = 1, a = 2 }, { conflict = "b",
        update = "aa" }))
      assert.equal('Perhaps you meant to reference the column "excluded.a".', err.fixes[1])
      failed("query_failed", db:upsert("t", { a = 1 }, { constraint = "nosuch" }))
      same({}, rows "SELECT * FROM t")
    end)
  end)

  describe("when another session changes the table", function()
    local changes = {
      { "the key", "ALTER TABLE t RENAME id TO number", { number = 1, v = "x" } },
      { "which columns are the key", "ALTER TABLE t DROP CONSTRAINT t_pkey; "
        .. "ALTER TABLE t ADD PRIMARY KEY (v)", { id = 1, v = "x" } },
      { "a column's type", "ALTER TABLE t ADD UNIQUE (id, v), ALTER id TYPE numeric",
        { id = "10000000000000000000", v = "x" } },
      { "a plain table into a partitioned one", "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, "
        .. "v text) PARTITION BY RANGE (id); CREATE TABLE p PARTITION OF t DEFAULT",
        { id = 1, v = "x" } },
      { "a table into a view", "ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u",
        { id = 1, v = "x" }, "invalid_parameter" },
    }
    for _, case in ipairs(changes) do
      it("follows " .. case[1], function()
        local other <close> = assert(pg.connect(server.options))
        for _, list in ipairs { false, true } do
          assert(db:execute [[DROP SCHEMA public CASCADE; CREATE SCHEMA public;
CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)]])
          assert(db:upsert("t", { id = 1, v = "x" }))
          assert(other:execute(case[2]))
          local second = { v = "y", id = case[3].id and "2", number = case[3].number and 2 }
          local values = list and { case[3], second } or case[3]
          if case[4] then
            failed(case[4], db:upsert("t", values))
          else
            assert.equal(list and 2 or 1, assert(db:upsert("t", values)).rowCount)
          end
        end
      end)
    end

    it("learns of a primary key that was added", function()
      local other <close> = assert(pg.connect(server.options))
      assert(db:execute "CREATE TABLE t (id int, v text)")
      failed("invalid_parameter", db:upsert("t", { id = 1 }))
      assert(other:execute "ALTER TABLE t ADD PRIMARY KEY (id)")
      same({ rowCount = 1, inserted = 1, updated = 0, insertedId = 1 }, db:upsert("t", { id = 1 }))
    end)

    it("fails in a transaction, where nothing can be run again", function()
      local other <close> = assert(pg.connect(server.options))
      assert(db:execute "CREATE TABLE t (id int PRIMARY KEY, v text)")
      assert(db:upsert("t", { id = 1, v = "x" }))
      assert(other:execute "ALTER TABLE t RENAME id TO number")
      failed("undefined_column", db:transaction(function(tx)
        return tx:upsert("t", { number = 1, v = "y" })
      end))
    end)
  end)

  describe("by several sessions at once", function()
    it("ends with one row of each key, and no error", function()
      assert(db:execute(users))
      local loop, results = scheduler(), {}
      local options = support.merge(server.options, { wait = loop.wait })
      local one, two = assert(pg.connect(options)), assert(pg.connect(options))
      for n = 1, 20 do
        results[n] = {}
        for i, session in ipairs { one, two } do
          loop.spawn(function()
            if n % 2 == 0 then
              results[n][i] = assert(session:upsert("users", { email = "k" .. n, name = "s" .. i },
                { conflict = "email" }))
            else
              results[n][i] = assert(session:upsert("users", {
                { email = "k" .. n, name = "s" .. i }, { email = "l" .. n, visits = i },
              }, { conflict = "email" }))
            end
          end)
        end
        loop.run()
        local a, b = results[n][1], results[n][2]
        same(a.insertedId or a.insertedIds, b.insertedId or b.insertedIds)
        assert.equal(a.rowCount, a.inserted + b.inserted)
        assert.equal(a.rowCount, a.updated + b.updated)
      end
      same({ { n = 32 } }, rows "SELECT count(*) AS n FROM users")
      one:close()
      two:close()
    end)

    it("survives two lists in opposite orders, which deadlock", function()
      assert(db:execute(users))
      local loop, done, list, tsil = scheduler(), 0, {}, {}
      local options = support.merge(server.options, { wait = loop.wait })
      for i = 1, 400 do list[i], tsil[401 - i] = { id = i, name = "a" }, { id = i, name = "b" } end
      assert(db:upsert("users", list))
      assert(db:execute "ALTER DATABASE postgres SET deadlock_timeout = '10ms'")
      local one, two = assert(pg.connect(options)), assert(pg.connect(options))
      for _, pair in ipairs { { one, list }, { two, tsil } } do
        loop.spawn(function()
          for _ = 1, 15 do
            local answer = pair[1]:upsert("users", pair[2], { timeout = 10 })
            done = done + (answer and answer.updated or 0)
          end
        end)
      end
      loop.run()
      one:close()
      two:close()
      assert(db:execute "ALTER DATABASE postgres RESET deadlock_timeout")
      assert.equal(30 * 400, done)
    end)

    it("gives up after its timeout, with nothing stored and the connection idle", function()
      assert(db:execute(users))
      local other <close> = assert(pg.connect(server.options))
      assert(other:execute "BEGIN; UPDATE users SET name = 'held' WHERE id = 2")
      for _, values in ipairs { { id = 2, name = "x" }, { { id = 5, name = "x" }, { id = 2,
        name = "x" } } } do
        failed("query_timeout", db:upsert("users", values, { timeout = 0.2 }))
        assert.equal("idle", db:status().state)
      end
      assert(other:execute "ROLLBACK")
      assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
    end)

    it("C19: is an error when the connection goes in the middle, with nothing stored", function()
      assert(db:execute(users))
      assert(db:execute [[
CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.name = 'die' THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NEW;
END $$; CREATE TRIGGER die BEFORE INSERT ON users FOR EACH ROW EXECUTE PROCEDURE die()]])
      for _, values in ipairs { { id = 9, name = "die" }, { { id = 8, name = "x" }, { id = 9,
        name = "die" } } } do
        local lost = assert(pg.connect(server.options))
        failed("server_unavailable", lost:upsert("users", values))
        assert.equal("lost", lost:status().state)
        failed("connection_lost", lost:upsert("users", values))
      end
      assert.equal("ann@example.com=Ann bob@example.com=Bob", names())
    end)

    it("waits for a row that another is inserting, and updates it", function()
      assert(db:execute(users))
      local loop, result = scheduler(), nil
      local other = assert(pg.connect(support.merge(server.options, { wait = loop.wait })))
      assert(db:execute "BEGIN")
      assert(db:insert("users", { email = "new", name = "first" }))
      loop.spawn(function()
        result = assert(other:upsert("users", { email = "new", name = "second" },
          { conflict = "email" }))
      end)
      local watch <close> = assert(pg.connect(server.options))
      support.eventually(function()
        loop.step()
        return support.value(watch, [[SELECT count(*) FROM pg_stat_activity
          WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT%']]) == 1
      end)
      assert.is_nil(result)
      assert(db:execute "COMMIT")
      loop.run()
      same({ 0, 1, 3 }, { result.inserted, result.updated, result.insertedId })
      same({ { name = "second" } }, rows "SELECT name FROM users WHERE email = 'new'")
      other:close()
    end)
  end)

  it("is not led astray by a hostile search_path", function()
    assert(db:execute(users))
    assert(db:execute [[
CREATE SCHEMA evil; SET search_path TO evil, public, pg_catalog;
CREATE FUNCTION evil.row_number() RETURNS int8 LANGUAGE sql AS 'SELECT 7::int8';
CREATE FUNCTION evil.generate_series(int, int) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE sql AS 'SELECT $1[1]';
CREATE FUNCTION evil.always(xid, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = xid, RIGHTARG = int, PROCEDURE = evil.always);
CREATE FUNCTION evil.never(int8, int8) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR evil.= (LEFTARG = int8, RIGHTARG = int8, PROCEDURE = evil.never)]])
    local options = { conflict = "email" }
    same({ 0, 1 }, (function(r) return { r.inserted, r.updated } end)(assert(db:upsert("users",
      { email = "ann@example.com", name = "A" }, options))))
    same({ 1, 2 }, assert(db:upsert("users", { { email = "ann@example.com", name = "A" },
      { email = "bob@example.com", name = "B" } }, options)).insertedIds)
    options.update = false
    local ids = assert(db:upsert("users", { { email = "x" }, { email = "bob@example.com" },
      { email = "y" } }, options)).insertedIds
    same({ true, false, true }, { ids[1] ~= false, ids[2], ids[3] ~= false })
    same({ 2 }, { #assert(db:upsert("users", { {}, {} })).insertedIds })
  end)

  it("reads lists, rows and what is set as they are, without their metatables", function()
    assert(db:execute(users))
    local odd = { __index = function() return "x" end, __len = function() return 9 end,
      __pairs = function() return next, { id = 1, name = "x" } end }
    for id = 3, 5, 2 do
      local function row(n) return setmetatable({ id = id + n }, odd) end
      same({ id }, { assert(db:upsert("users", row(0), { set = setmetatable({ name = "set" },
        odd), returning = "id" })).row.id })
      same({ { id = id }, { id = id + 1 } }, assert(db:upsert("users", setmetatable({ row(0),
        row(1) }, odd), { set = setmetatable({ name = "set" }, odd), returning = "id" })).rows)
    end
    same({ { id = 3, name = "set" }, { id = 4 }, { id = 5, name = "set" }, { id = 6 } },
      rows "SELECT id, name FROM users WHERE id > 2 ORDER BY id")
  end)

  it("raises where it was called wrongly", function()
    assert(db:execute(users))
    raises("columns must be a table", function() db:upsert("users") end)
    raises("columns must be a table", function() db:upsert("users", "x") end)
    raises("row 2 must be a table of column = value, not a string",
      function() db:upsert("users", { {}, "x" }) end)
    raises("gaps", function() db:upsert("users", { {}, nil, {} }) end)
    local hidden = setmetatable({}, { __index = function() return 1 end,
      __len = function() return 2 end, __pairs = function() return next, { id = 3 } end })
    raises("columns is empty but for its metatable", function() db:upsert("users", hidden) end)
    raises("row 2 is empty but for its metatable",
      function() db:upsert("users", { {}, hidden }) end)
    raises("columns is empty but for its metatable", function() db:insert("users", hidden) end)
    raises("other keys", function() db:upsert("users", { {}, name = "x" }) end)
    raises("under the number key 1", function() db:upsert("users", { { name = "x" }, { "y" } }) end)
    raises("a name cannot be empty", function() db:upsert("users", { { [""] = 1 } }) end)
    raises("a name cannot be empty", function() db:upsert("users", { [""] = 1 }) end)
    raises("a name has at most 63 bytes",
      function() db:upsert("users", { { [("x"):rep(64)] = 1 } }) end)
    raises("did you mean 'conflict'?", function() db:upsert("users", {}, { conflit = "a" }) end)
    raises("unknown option 'table'", function() db:upsert("users", {}, { table = "a" }) end)
    raises("conflict must be a name", function() db:upsert("users", {}, { conflict = 1 }) end)
    raises("returning must be a name", function() db:upsert("users", {}, { returning = 1 }) end)
    raises("returning is an empty list", function() db:upsert("users", {}, { returning = {} }) end)
    raises("has more than one dot", function() db:upsert("a.b.c", {}) end)
    raises("one table takes all", function() db:upsert({ table = "users" }, {}) end)
    raises("timeout must be", function() db:upsert("users", {}, { timeout = 0 }) end)
    local closed = assert(pg.connect(server.options))
    closed:close()
    raises("the connection is closed", function() closed:upsert("users", { id = 1 }) end)
    raises("the connection is closed", function() closed:upsert("users", { { id = 1 } }) end)
  end)
end)
