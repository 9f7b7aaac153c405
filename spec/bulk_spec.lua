-- SPDX-License-Identifier: MIT
-- bulk_insert and bulk_update on a real server: all rows or none, in the order given, and what is
-- refused is named.
local core = require "pg.core"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local null, raises, failed, same = pg.null, support.raises, support.failed, support.same

local hostile <const> = { "'", '"', "\\", "';", '"; DROP TABLE canary; --', "$1", "$$", "{}",
  "{1,2}", "{NULL}", "NULL", "null", "", " ", "a,b", "a\tb", "\n", "\r\n", "ä", "日本語", "😀",
  "\\N", "\\.", "\\x41", "(1,2)", "[1,2)", "u.c1", "EXCLUDED", "%s", ("x"):rep(10000), "\127",
  "\1", "true" }

describe("bulk", function()
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

  local function value(sql, ...) return support.value(db, sql, ...) end

  local function iterate(list)
    local i = 0
    return function()
      i = i + 1
      return list[i]
    end
  end

  --- Runs f; the statements that it sent, one a line.
  local function sent(f)
    local log = support.logged(server, f)
    local list = {}
    for text in log:gmatch "LOG:  [^:]+: ([^\n]+)" do
      if not text:find "^SELECT c.relkind" then list[#list + 1] = text end
    end
    return list
  end

  describe("insert", function()
    local logs <const> = [[
CREATE TABLE logs (id serial PRIMARY KEY, level text, message text,
  created_at timestamp DEFAULT '2026-01-15T10:30:00')]]

    it("S106: is what the statement with three arrays does", function()
      assert(db:execute(logs))
      local messages = { n = 4, [[it's "a" \ b]], nil, "NULL", "日本\n😀" }
      same({ rowCount = 4 }, db:update { query = [[
WITH i AS (INSERT INTO logs (level, message, created_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamp[]) RETURNING 1)
UPDATE logs SET level = level WHERE false]], parameters = { { "a", "b", "c", "d" }, messages,
        { "2026-01-15T10:30:00", null, "infinity", "1999-12-31 23:59:59.5" } } } and
        { rowCount = value "SELECT count(*) FROM logs" })
      same({ { id = 1, level = "a", message = messages[1], created_at = "2026-01-15T10:30:00" },
        { id = 2, level = "b" },
        { id = 3, level = "c", message = "NULL", created_at = "infinity" },
        { id = 4, level = "d", message = messages[4], created_at = "1999-12-31T23:59:59.5" },
      }, rows "SELECT * FROM logs ORDER BY id")
    end)

    it("S107: takes rows, columns and an iterator", function()
      assert(db:execute(logs))
      local list = { { level = "a", message = "1" }, { level = "b", message = null },
        { level = "c", message = "3" } }
      same({ rowCount = 3 }, db:bulk_insert("logs", list))
      same({ rowCount = 3 }, db:bulk_insert("logs",
        { level = { "a", "b", "c" }, message = { "1", null, "3" } }))
      same({ rowCount = 3 }, db:bulk_insert("logs",
        { level = pg.array({ "a", "b", "c" }, "text"), message = { n = 3, "1", nil, "3" } }))
      local one = {}
      same({ rowCount = 3 }, db:bulk_insert("logs", coroutine.wrap(function()
        for _, row in ipairs(list) do
          one.level, one.message = row.level, row.message
          coroutine.yield(one)
        end
      end)))
      same({ { level = "a", message = "1", n = 4 }, { level = "b", n = 4 },
        { level = "c", message = "3", n = 4 } },
        rows "SELECT level, message, count(*) AS n FROM logs GROUP BY 1, 2 ORDER BY 1")
      assert.equal("123", value
        "SELECT string_agg(coalesce(message, '2'), '' ORDER BY id) FROM logs WHERE id < 4")
    end)

    it("S107: sends one statement without a transaction when all fits into one", function()
      assert(db:execute(logs))
      assert(db:bulk_insert("logs", { { level = "warm" } }))
      local list = {}
      for i = 1, 10 do list[i] = { level = "l" .. i } end
      for name, given in pairs { list = list, iterator = iterate(list),
        columns = { level = { "a", "b" } } } do
        local statements = sent(function()
          assert(db:bulk_insert("logs", given, { batch = 10 }))
        end)
        assert.equal(1, #statements, name)
        assert.equal([[INSERT INTO "logs" ("level") SELECT u.c1 FROM (SELECT ]]
          .. [[pg_catalog.unnest($1::"pg_catalog"."text"[]) AS c1) AS u]], statements[1])
      end
    end)

    it("sends nothing where there are no rows", function()
      assert(db:query "")
      same({}, sent(function()
        same({ rowCount = 0 }, db:bulk_insert("none", {}))
        same({ rowCount = 0 }, db:bulk_insert("none", { level = {} }))
        same({ rowCount = 0, rows = {} }, db:bulk_insert("none", function() end,
          { returning = "id" }))
      end))
      support.contains(db:bulk_insert("none", {}, { returning = "*" }):json(), '"rows":[]')
    end)

    it("S107: gives a column that a row lacks its default, and keeps the order", function()
      assert(db:execute(logs))
      local result = assert(db:bulk_insert("logs", {
        { level = "a" }, {}, { level = "b", message = "m" }, { created_at = null, level = "c" },
        { level = "d", created_at = pg.default }, { level = null }, { id = pg.default },
        { message = "x", level = "e", created_at = "2020-02-29" } },
        { returning = { "level", "message", "created_at" } }))
      local day <const> = "2026-01-15T10:30:00"
      same({ rowCount = 8, rows = { { level = "a", created_at = day }, { created_at = day },
        { level = "b", message = "m", created_at = day }, { level = "c" },
        { level = "d", created_at = day }, { created_at = day }, { created_at = day },
        { message = "x", level = "e", created_at = "2020-02-29T00:00:00" } } }, result)
    end)

    it("S107: returns ids in the order given, over batches and groups", function()
      assert(db:execute(logs))
      local list, expected = {}, {}
      for i = 1, 250 do
        list[i] = i % 3 == 0 and { level = "x", message = tostring(i) } or { message = tostring(i) }
        expected[i] = tostring(i)
      end
      for _, batch in ipairs { 1, 7, 100, 250, 1000 } do
        local result = assert(db:bulk_insert("logs", list,
          { batch = batch, returning = { "id", "message" } }))
        assert.equal(250, result.rowCount)
        local messages, seen = {}, {}
        for i, row in ipairs(result.rows) do
          messages[i] = row.message
          seen[row.id] = true
        end
        same(expected, messages)
        local distinct = 0
        for _ in pairs(seen) do distinct = distinct + 1 end
        assert.equal(250, distinct)
      end
      local result = assert(db:bulk_insert("logs", { message = expected }, { returning = "id" }))
      for i = 2, 250 do assert.equal(result.rows[i - 1].id + 1, result.rows[i].id) end
    end)

    it("gives a result like any other: columns, notices, JSON; whatever the handle says of rows",
      function()
        assert(db:execute(logs))
        local result = assert(db:with { rows = "columns" }:bulk_insert("logs", { { level = "a" } },
          { returning = "id" }))
        same({ { name = "id", type = "integer", oid = 23 } }, result:columns())
        same({}, result:notices())
        support.contains(result:json(), '"rows":[{"id":1}]', '"rowCount":1')
        same({ { message = null } }, db:bulk_insert("logs", { { level = "a" } },
          { returning = "message", null = null }).rows)
      end)

    it("passes hostile names and values as they are", function()
      for i, name in ipairs { 'a"b', "a'b", "a.b", "sel;ect", "select", "Ä", "a b", "$1", "a\\b",
        ("x"):rep(63), "c1", "u", "place" } do
        local target = pg.identifier("t" .. i .. name:sub(1, 50))
        assert(db:execute(("CREATE TABLE %s (%s text, n int)"):format(target,
          tostring(pg.identifier(name)))))
        local list, expected = {}, {}
        for at, text in ipairs(hostile) do
          list[at] = { [name] = text, n = at }
          expected[at] = { [name] = text }
        end
        local result = assert(db:bulk_insert(target, list, { returning = name, batch = 10 }))
        same(expected, result.rows)
        same(expected, rows(("SELECT %s FROM %s ORDER BY n"):format(
          tostring(pg.identifier(name)), target)))
      end
    end)

    it("raises nothing and sends nothing for names that none can have", function()
      assert(db:execute(logs))
      for _, name in ipairs { "", "a\0b", "\xff", 1, true } do
        same({}, sent(function()
          local err = failed("invalid_parameter",
            db:bulk_insert("logs", { { level = "a" }, { level = "a", [name] = 1 } }))
          assert.equal(2, err.row)
        end))
      end
    end)

    it("S107: stores array columns, although unnest flattens arrays", function()
      assert(db:execute [[
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok", {so}'); CREATE DOMAIN pairs AS int[];
CREATE TABLE a (id int, i int[], t text[], b bytea[], j jsonb[], m mood[], v varchar(3)[], d pairs,
  x box[])]])
      local list = {
        { id = 1, i = { { 1, 2 }, { 3, 4 } }, t = { 'a"b', "c\\d", "NULL", null, "" },
          b = { "\0\xff", "" }, j = { { a = { 1 } }, 5 }, m = { "sad", "it's \"ok\", {so}" },
          v = { "abc" }, d = { 1, 2 }, x = { "(1,1),(0,0)", "(2,2),(0,0)" } },
        { id = 2, i = {}, t = {}, b = {}, j = {}, m = {}, v = {}, d = {}, x = {} },
        { id = 3, i = null, t = { { "a" }, { "b" } }, b = null, j = null, m = { null }, v = null,
          d = null, x = null },
        { id = 4, i = pg.array({ 7 }, "int8"), t = "{x,y}", b = '{"\\\\x00"}',
          j = pg.array { pg.json "text" }, m = "{sad}", v = { n = 2 }, d = "{1}", x = null },
      }
      same({ rowCount = 4 }, db:bulk_insert("a", list))
      list[2].i = pg.array {}
      local stored = rows "SELECT id, i, t, b, v, d, j::text AS j FROM a ORDER BY id"
      same({ { 1, 2 }, { 3, 4 } }, stored[1].i)
      same({ 'a"b', "c\\d", "NULL", null, "" }, stored[1].t)
      same({ "\0\xff", "" }, stored[1].b)
      assert.equal([[{"{\"a\": [1]}",5}]], stored[1].j)
      assert.equal([[{"\"text\""}]], stored[4].j)
      same({ {}, {}, {} }, { stored[2].i, stored[2].t, stored[2].d })
      same({ id = 3, t = { { "a" }, { "b" } } }, stored[3])
      same({ { 7 }, { "x", "y" }, { "\0" }, { null, null }, { 1 } },
        { stored[4].i, stored[4].t, stored[4].b, stored[4].v, stored[4].d })
      same({ "2", "{(1,1),(0,0);(2,2),(0,0)}" }, { value [[
SELECT cardinality(m)::text FROM a WHERE id = 1 AND m[2] = 'it''s "ok", {so}']],
        value "SELECT x::text FROM a WHERE id = 1" })
    end)

    it("S107: stores composites, enums, domains, ranges and extension-like types", function()
      assert(db:execute [[
CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(3) CHECK (VALUE <> 'no'); CREATE DOMAIN twin AS pair;
CREATE SCHEMA other; CREATE TYPE other."odd ""t" AS ENUM ('x');
CREATE TABLE c (id int, e mood, p pair, s short, q twin, r int4range, o other."odd ""t", m money,
  k "char", bits bit(3), vb varbit(5), ch char(4), pt point, ts tsvector, x xml, oid oid)]])
      local list = {
        { id = 1, e = "happy", p = '(1,"a ""b""")', s = "abc", q = "(2,)", r = "[1,5)", o = "x",
          m = "$1.50", k = "z", bits = "101", vb = "11", ch = "ab", pt = "(1,2)", ts = "'a':1",
          x = "<a/>", oid = 5 },
        { id = 2, e = null, p = null, s = null, q = null, r = null, o = null, m = null, k = null,
          bits = null, vb = null, ch = null, pt = null, ts = null, x = null, oid = null },
      }
      same({ rowCount = 2 }, db:bulk_insert("c", list))
      same({ { id = 1, e = "happy", b = 'a "b"', s = "abc", a = 2, r = "[1,5)", o = "x",
        m = "$1.50", k = "z", bits = "101", vb = "11", ch = "ab  ", pt = "(1,2)", ts = "'a':1",
        x = "<a/>", oid = 5 }, { id = 2 } }, rows [[
SELECT id, e::text, (p).b, s, (q).a, r::text, o::text, m, k, bits, vb, ch, pt, ts, x, oid
  FROM c ORDER BY id]])
      failed("invalid_value", db:bulk_insert("c", { { id = 3, bits = "1" } }))
      failed("constraint_violation", db:bulk_insert("c", { { id = 3, s = "no" } }))
    end)

    it("takes tables for json, and for text as JSON, as a parameter does", function()
      assert(db:execute "CREATE TABLE j (id int, a json, b jsonb, t text, y bytea, f float8)")
      same({ rowCount = 3 }, db:bulk_insert("j", {
        { id = 1, a = { x = { 1 } }, b = pg.array {}, t = { "l" }, y = "\0\\\xff", f = 1e400 },
        { id = 2, a = '"s"', b = pg.json "s", t = pg.typed(5, "text"), y = pg.bytea "a\0", f = 3 },
        { id = 3, a = 5, b = true, t = true, y = "", f = -0.0 },
      }))
      same({ { a = '{"x":[1]}', b = "[]", t = '["l"]', y = "\0\\\xff", f = math.huge },
        { a = '"s"', b = '"s"', t = "5", y = "a\0", f = 3.0 },
        { a = "5", b = "true", t = "true", y = "", f = -0.0 } },
        rows "SELECT a::text, b::text, t, y, f FROM j ORDER BY id")
    end)

    it("S107: has room for 1,600 columns", function()
      local columns, row = {}, {}
      for i = 1, 1600 do
        columns[i] = "c" .. i .. " int"
        row["c" .. i] = i
      end
      assert(db:execute("CREATE TABLE wide (" .. table.concat(columns, ", ") .. ")"))
      local list = {}
      for i = 1, 50 do list[i] = row end
      same({ rowCount = 50 }, db:bulk_insert("wide", list, { batch = 20 }))
      same({ { c1 = 1, c800 = 800, c1600 = 1600, n = 50 } },
        rows "SELECT c1, c800, c1600, count(*) AS n FROM wide GROUP BY 1, 2, 3")
    end)

    it("writes into partitioned tables, views with triggers, and tables with rules", function()
      assert(db:execute [[
CREATE TABLE parts (id serial, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES IN (2);
CREATE TABLE kept (a text); CREATE VIEW seen AS SELECT a, 0 AS b FROM kept;
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF new.a = 'drop' THEN RETURN NULL; END IF;
  INSERT INTO kept VALUES (new.a); RETURN new; END $$;
CREATE TRIGGER keep INSTEAD OF INSERT ON seen FOR EACH ROW EXECUTE PROCEDURE keep();
CREATE TABLE ruled (a text); CREATE TABLE log (a text);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO log VALUES (new.a);
CREATE TABLE away (a text); CREATE RULE away AS ON INSERT TO away DO INSTEAD NOTHING]])
      same({ rowCount = 3, rows = { { k = 2 }, { k = 1 }, { k = 2 } } },
        db:bulk_insert("parts", { k = { 2, 1, 2 } }, { returning = "k" }))
      same({ rowCount = 2, rows = { { a = "x" }, { a = "y" } } },
        db:bulk_insert("seen", { a = { "x", "drop", "y" } }, { returning = "a" }))
      same({ { a = "x" }, { a = "y" } }, rows "SELECT a FROM kept")
      same({ rowCount = 2 }, db:bulk_insert("ruled", { a = { "x", "y" } }))
      same({ { a = "x" }, { a = "y" } }, rows "SELECT a FROM log")
      same({ rowCount = 0 }, db:bulk_insert("away", { a = { "x", "y" } }))
      failed("constraint_violation", db:bulk_insert("parts", { k = { 1, 3 } }))
    end)

    it("explains generated columns, and overrides identity", function()
      assert(db:execute [[
CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY, a int,
  b int GENERATED ALWAYS AS (a * 2) STORED)]])
      local err = failed("query_failed", db:bulk_insert("g", { { a = 1 }, { a = 1, b = 5 } }))
      same({ "428C9", 2, "b" }, { err.sqlstate, err.row, err.column })
      support.contains(tostring(err), "Leave the column out")
      err = failed("query_failed", db:bulk_insert("g", { { id = 7, a = 1 } }))
      support.contains(tostring(err), 'overriding = "system"')
      same({ rowCount = 1, rows = { { id = 7, b = 2 } } }, db:bulk_insert("g",
        { { id = 7, a = 1 } }, { overriding = "system", returning = { "id", "b" } }))
      assert(db:execute "ALTER TABLE g ALTER id RESTART 20")
      same({ rowCount = 1, rows = { { id = 20 } } }, db:bulk_insert("g", { { id = 8, a = 1 } },
        { overriding = "user", returning = "id" }))
    end)

    it("stores the same in whatever batches: all but the first are written ahead", function()
      assert(db:execute [[CREATE TABLE t (place int, b bytea, f float8, n numeric, o bool, s text,
        j jsonb, at timestamptz, e interval)]])
      local list = {}
      for i = 1, 12 do
        list[i] = { place = i, b = "\0\255\\x" .. i, f = ({ 0.1, 1 / 0, 0 / 0, -0.0 })[i % 4 + 1],
          n = i % 3 > 0 and ("%d.50"):format(i) or 1e22, o = i % 2 == 0,
          s = i % 5 > 0 and hostile[i] or null, j = i % 4 > 0 and '{"a":1}' or "null",
          at = 1e9 + i / 4, e = "1 day" }
      end
      local function stored(batch)
        assert(db:execute "TRUNCATE t")
        same({ rowCount = 12 }, db:bulk_insert("t", list, { batch = batch, timestamps = "epoch" }))
        return value "SELECT string_agg(t::text, E'\n' ORDER BY place) FROM t"
      end
      local once = stored(12)
      for batch = 1, 11 do assert.equal(once, stored(batch)) end
    end)

    it("goes by count and by bytes, all of it one transaction", function()
      assert(db:execute "CREATE TABLE b (i int, t text, tx text DEFAULT txid_current()::text)")
      local function batches(list, given)
        local count = 0
        for _, text in ipairs(sent(function() assert(db:bulk_insert("b", list, given)) end)) do
          if text:find "^INSERT" then count = count + 1 end
        end
        return count
      end
      local list = {}
      for i = 1, 100 do list[i] = { i = i, t = ("x"):rep(1000) } end
      assert.equal(1, batches(list))
      assert.equal(10, batches(list, { batch = 10 }))
      assert.equal(34, batches(list, { batch = 3 }))
      assert.equal(11, batches(list, { batch_bytes = 10000 }) + 1)
      assert.equal(100, batches(list, { batch_bytes = 1 }))
      same({ { n = 500, txs = 5 } }, rows "SELECT count(*) AS n, count(DISTINCT tx) AS txs FROM b")
    end)

    it("tells progress after each batch, of an iterator without a total", function()
      assert(db:execute "CREATE TABLE p (i int)")
      local list, told = {}, {}
      for i = 1, 25 do list[i] = { i = i } end
      local function progress(done, total) told[#told + 1] = { done, total or "?" } end
      assert(db:bulk_insert("p", list, { batch = 10, progress = progress }))
      assert(db:bulk_insert("p", iterate(list), { batch = 10, progress = progress }))
      assert(db:bulk_insert("p", { i = { 1, 2 } }, { progress = progress }))
      same({ { 10, 25 }, { 20, 25 }, { 25, 25 }, { 10, "?" }, { 20, "?" }, { 25, "?" }, { 2, 2 } },
        told)
    end)

    it("stores nothing and raises the same again when progress or an iterator raises", function()
      assert(db:execute "CREATE TABLE p (i int)")
      local list, mark = {}, setmetatable({}, { __tostring = function() return "mark" end })
      for i = 1, 25 do list[i] = { i = i } end
      for _, raised in ipairs { mark, "text", 7, select(2, db:query "SELECT 1/0") } do
        for at = 1, 25, 6 do
          local function broken()
            local i = 0
            return function()
              i = i + 1
              if i == at then error(raised, 0) end
              return list[i]
            end
          end
          local ok, err = pcall(db.bulk_insert, db, "p", broken(), { batch = 10 })
          assert.is_false(ok)
          assert.equal(raised, err)
        end
        local ok, err = pcall(db.bulk_insert, db, "p", list, { progress = function(done)
          assert.equal(25, done)
          error(raised, 0)
        end })
        assert.is_false(ok)
        assert.equal(raised, err)
        same({ 0, "idle" }, { value "SELECT count(*) FROM p", db:status().state })
      end
    end)

    it("stores nothing when an iterator answers nil and an error", function()
      assert(db:execute "CREATE TABLE p (i int)")
      for at = 1, 25, 6 do
        local i = 0
        local answer, err = db:bulk_insert("p", function()
          i = i + 1
          if i == at then return nil, "disk full" end
          return { i = i }
        end, { batch = 10 })
        same({ false, "disk full" }, { answer or false, err })
      end
      same(0, value "SELECT count(*) FROM p")
    end)

    it("ends with an iterator that answers nil and false, as with nil", function()
      assert(db:execute "CREATE TABLE p (i int)")
      for _, batch in ipairs { 1, 3, 10 } do
        local i = 0
        same({ rowCount = 3 }, db:bulk_insert("p", function()
          i = i + 1
          if i <= 3 then return { i = i } end
          return nil, false
        end, { batch = batch }))
      end
      same(9, value "SELECT count(*) FROM p")
    end)

    it("tells the failure of an iterator's own statement, and no row of it", function()
      assert(db:execute "CREATE TABLE p (i int)")
      for _, text in ipairs { "SELECT 1 / 0", "SELECT none", "INSERT INTO p VALUES ('x')" } do
        for at = 2, 4 do
          local i, own = 0, nil
          local answer, err = db:bulk_insert("p", function()
            i = i + 1
            if i == at then own = select(2, db:execute(text)) end
            return i < 4 and { i = i } or nil
          end, { batch = 1 })
          if at == 2 then -- the first batch is read before the transaction begins
            same({ rowCount = 3 }, answer)
            assert(db:execute "DELETE FROM p")
          else
            assert.equal(own, err)
            assert.is_nil(err.row)
          end
        end
      end
      same(0, value "SELECT count(*) FROM p")
    end)

    it("stores nothing when what it returns is too large", function()
      assert(db:execute "CREATE TABLE p (i int)")
      for _, batch in ipairs { 400, 1000 } do
        local ids = {}
        for i = 1, 1000 do ids[i] = i end
        failed("result_too_large", db:bulk_insert("p", { i = ids },
          { returning = "*", max_result = 2000, batch = batch }))
        same({ 0, "idle" }, { value "SELECT count(*) FROM p", db:status().state })
      end
    end)

    it("lets an iterator use the connection, and a coroutine yield in it", function()
      assert(db:execute "CREATE TABLE p (i int)")
      local thread = coroutine.wrap(function()
        local i = 0
        return assert(db:bulk_insert("p", function()
          i = i + 1
          coroutine.yield(i)
          if i < 5 then return { i = support.value(db, "SELECT $1::int * 10", i) } end
        end, { batch = 2 }))
      end)
      local answer
      repeat answer = thread() until type(answer) == "table"
      same({ rowCount = 4 }, answer)
      same({ { i = 10 }, { i = 20 }, { i = 30 }, { i = 40 } }, rows "SELECT i FROM p ORDER BY i")
    end)

    describe("of a bad value", function()
      local bad <const> = [[
CREATE TABLE friends (id int PRIMARY KEY); INSERT INTO friends VALUES (1);
CREATE TABLE bad (id int, n numeric(4,2), v varchar(3), c char(2) DEFAULT 'x', t text NOT NULL,
  at timestamp, u int UNIQUE, f int REFERENCES friends, k int CONSTRAINT small CHECK (k < 10),
  a int[], j jsonb, by bytea, s smallint, e int)]]
      local cases <const> = {
        { "t", "a\0b", "invalid_parameter" }, { "v", "\0", "invalid_parameter" },
        { "id", print, "invalid_parameter" },
        { "id", coroutine.create(print), "invalid_parameter" },
        { "t", io.stdout, "invalid_parameter" }, { "id", { 1 }, "invalid_parameter" },
        { "at", { year = 1 }, "invalid_parameter" }, { "u", pg.raw "1", "invalid_parameter" },
        { "a", { 1, { 2 } }, "invalid_parameter" }, { "a", { x = 1 }, "invalid_parameter" },
        { "j", { print }, "invalid_parameter" },
        { "id", "one", "invalid_value", "22P02" }, { "id", 1.5, "invalid_value", "22P02" },
        { "id", 1 << 31, "invalid_value", "22003" }, { "s", 1 << 15, "invalid_value", "22003" },
        { "id", "", "invalid_value", "22P02" }, { "n", 100, "invalid_value", "22003" },
        { "v", "abcd", "invalid_value", "22001" }, { "c", "abc", "invalid_value", "22001" },
        { "t", "\xff", "invalid_value", "22021" }, { "at", "2026-02-30", "invalid_value", "22008" },
        { "at", "soon", "invalid_value", "22007" }, { "a", "1,2", "invalid_value", "22P02" },
        { "j", "{", "invalid_value", "22P02" },
        { "t", null, "constraint_violation", "23502" },
        { "u", 0, "constraint_violation", "23505", false },
        { "f", 2, "constraint_violation", "23503", false },
        { "k", 10, "constraint_violation", "23514", false },
      }

      local function good(i)
        return { id = i, n = 1, v = "abc", t = "t" .. i, u = i, f = 1, k = 1, at = "2026-01-15",
          a = { i }, j = { i }, by = "\0", s = 1, e = i }
      end

      it("names its row and its column, and stores nothing", function()
        assert(db:execute(bad))
        assert(db:execute "INSERT INTO bad (u, t) VALUES (0, '')")
        for number, case in ipairs(cases) do
          local name, wrong, kind, state, column = table.unpack(case, 1, 5)
          local place = ({ 1, 2, 13, 24, 25 })[number % 5 + 1]
          local list = {}
          for i = 1, 25 do list[i] = good(i) end
          list[place][name] = wrong
          for _, given in ipairs { {}, { batch = 10 }, { batch = 1 } } do
            local err = failed(kind, db:bulk_insert("bad", list, given))
            assert.equal(state, err.sqlstate)
            same({ place, column == nil and name or false },
              { err.row, column == nil and err.column or false }, tostring(err))
            support.contains(tostring(err), "row " .. place)
            same({ 1, "idle" }, { value "SELECT count(*) FROM bad", db:status().state })
          end
        end
      end)

      it("is found in an iterator's rows, and in groups of rows", function()
        assert(db:execute(bad))
        for place = 1, 25, 8 do
          local i = 0
          local err = failed("invalid_value", db:bulk_insert("bad", function()
            i = i + 1
            local row = i <= 25 and good(i) or nil
            if i == place then row.n = "x" elseif row and i % 3 == 0 then row.e = nil end
            return row
          end, { batch = 10 }))
          same({ place, "n" }, { err.row, err.column })
        end
        same(0, value "SELECT count(*) FROM bad")
      end)

      it("is told by the words that are of its row and its column", function()
        assert(db:execute(bad))
        assert(db:execute "ALTER TABLE bad ADD CONSTRAINT tiny CHECK (s < 5) NOT VALID")
        local list = {}
        for i = 1, 25 do list[i] = good(i) end
        list[9].n, list[3].s = "odd n", "odd s" -- the server reads column after column
        local err = failed("invalid_value", db:bulk_insert("bad", list))
        same({ 3, "s" }, { err.row, err.column })
        support.contains(err.message, "smallint", "odd s")
        list[3].id = "odd id"
        err = failed("invalid_value", db:bulk_insert("bad", list))
        same({ 3, "id" }, { err.row, err.column })
        support.contains(err.message, "odd id")
        for i = 1, 25 do list[i] = good(i) end
        list[3].t, list[9].id, list[5].t = null, null, null
        err = failed("constraint_violation", db:bulk_insert("bad", list))
        same({ 3, "t" }, { err.row, err.column })
        support.contains(err.detail, "(3, ")
        for i = 1, 25 do list[i] = good(i) end
        list[3].s, list[3].k, list[9].k = 5, 10, 10
        err = failed("constraint_violation", db:bulk_insert("bad", list))
        same({ 3, "small" }, { err.row, err.constraint })
        same(0, value "SELECT count(*) FROM bad")
        assert(db:execute "CREATE TABLE two (z varchar(3), a varchar(5))")
        err = failed("invalid_value", db:bulk_insert("two", { { z = "abcdef", a = "abcdef" } }))
        support.contains(err.message, ("varying(%d)"):format(({ z = 3, a = 5 })[err.column]))
      end)

      it("that a trigger refuses is found, too", function()
        assert(db:execute [[
CREATE TABLE tr (i int);
CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF new.i = 77 THEN RAISE 'no 77'; END IF; RETURN new; END $$;
CREATE TRIGGER odd BEFORE INSERT ON tr FOR EACH ROW EXECUTE PROCEDURE odd()]])
        local list = {}
        for i = 1, 100 do list[i] = { i = i } end
        assert.equal(77, failed("query_failed", db:bulk_insert("tr", list)).row)
      end)

      it("that clashes with an earlier batch has no row to tell, and stores nothing", function()
        assert(db:execute "CREATE TABLE u (i int PRIMARY KEY)")
        local err = failed("constraint_violation",
          db:bulk_insert("u", { i = { 1, 2, 3, 2 } }, { batch = 2 }))
        same({ "23505", "Key (i)=(2) already exists." }, { err.sqlstate, err.detail })
        same(0, value "SELECT count(*) FROM u")
      end)

      it("is a row that is no table, or a hole", function()
        assert(db:execute "CREATE TABLE u (i int)")
        for _, wrong in ipairs { 5, "row", true, print } do
          assert.equal(2,
            failed("invalid_parameter", db:bulk_insert("u", { { i = 1 }, wrong })).row)
        end
        assert.equal(2, failed("invalid_parameter",
          db:bulk_insert("u", { n = 3, { i = 1 }, nil, { i = 1 } })).row)
        local err = failed("invalid_parameter", db:bulk_insert("u", { i = { 1, nil, 3 } }))
        same({ 2, "i" }, { err.row, err.column })
        local sparse = { { i = 1 }, { i = 2 } }
        sparse[4] = { i = 4 }
        assert.equal(3, failed("invalid_parameter", db:bulk_insert("u", sparse)).row)
        err = failed("invalid_parameter", db:bulk_insert("u", { i = { 1, 2, [4] = 4 } }))
        same({ 3, "i" }, { err.row, err.column })
        same(0, value "SELECT count(*) FROM u")
      end)

      it("at COMMIT is the constraint's error", function()
        assert(db:execute [[
CREATE TABLE friends (id int PRIMARY KEY);
CREATE TABLE late (f int REFERENCES friends DEFERRABLE INITIALLY DEFERRED)]])
        for _, batch in ipairs { 1, 10 } do
          local err = failed("constraint_violation",
            db:bulk_insert("late", { f = { 1, 2 } }, { batch = batch }))
          assert.equal("23503", err.sqlstate)
          same(0, value "SELECT count(*) FROM late")
        end
      end)
    end)

    describe("in a transaction", function()
      before_each(function() assert(db:execute "CREATE TABLE p (i int PRIMARY KEY)") end)

      it("is a part of it", function()
        local answer, err = db:transaction(function(tx)
          assert(tx:bulk_insert("p", { i = { 1, 2, 3 } }, { batch = 2 }))
          assert(db:bulk_insert("p", { i = { 4 } }))
          return nil, "changed my mind"
        end)
        same({ false, "changed my mind" }, { answer or false, err })
        same(0, value "SELECT count(*) FROM p")
        assert(db:transaction(function(tx) return tx:bulk_insert("p", { i = { 1, 2, 3 } }) end))
        same(3, value "SELECT count(*) FROM p")
      end)

      it("that ignores its failure does not commit", function()
        for _, wrong in ipairs { null, "x", print } do
          for _, batch in ipairs { 1, 10 } do
            local told
            local answer, err = db:transaction(function(tx)
              assert(tx:execute "INSERT INTO p VALUES (100)")
              local _, problem = tx:bulk_insert("p", { { i = 1 }, { i = wrong } },
                { batch = batch })
              told = problem
              return "done"
            end)
            assert.is_nil(answer)
            assert.equal(told, err)
            assert.equal(2, err.row)
            same(0, value "SELECT count(*) FROM p")
          end
        end
      end)

      it("is contained by a savepoint of its own when the program began it by SQL", function()
        assert(db:execute "BEGIN")
        assert(db:execute "INSERT INTO p VALUES (100)")
        assert.equal(2, failed("invalid_value",
          db:bulk_insert("p", { { i = 1 }, { i = "x" } }, { batch = 1 })).row)
        assert.equal("transaction", db:status().state)
        same({ rowCount = 2 }, db:bulk_insert("p", { i = { 1, 2 } }, { batch = 1 }))
        assert(db:execute "COMMIT")
        same(3, value "SELECT count(*) FROM p")
      end)
    end)

    it("S104: takes a conflict as upsert does", function()
      assert(db:execute [[
CREATE TABLE users (id int PRIMARY KEY, email text CONSTRAINT mail UNIQUE, name text,
  n int DEFAULT 0)]])
      local list = { { id = 1, email = "a", name = "A" }, { id = 2, email = "b", name = "B" } }
      same({ rowCount = 2 }, db:bulk_insert("users", list, { conflict = true }))
      list[3] = { id = 3, email = "c", name = "C" }
      list[1].name = "AA"
      same({ rowCount = 1, rows = { { id = 3 } } }, db:bulk_insert("users", list,
        { conflict = "id", update = false, returning = "id", batch = 2 }))
      same({ rowCount = 3, rows = { { name = "AA", n = 1 }, { name = "B", n = 1 },
        { name = "C", n = 1 } } }, db:bulk_insert("users", list, { constraint = "mail",
        update = "name", set = { n = pg.raw "users.n + 1" }, returning = { "name", "n" } }))
      same({ rowCount = 3, rows = { { n = 7 }, { n = 7 }, { n = 7 } } }, db:bulk_insert("users",
        list, { conflict = "id", update = {}, set = { n = 7 }, returning = "n", batch = 1 }))
      local err = failed("query_failed",
        db:bulk_insert("users", { list[1], list[2], list[1] }, { conflict = "id" }))
      same({ "21000", 3 }, { err.sqlstate, err.row })
      support.contains(tostring(err), "Rows 1 and 3 of the list")
      assert(db:execute "CREATE TABLE nokey (i int)")
      failed("invalid_parameter", db:bulk_insert("nokey", { i = { 1 } }, { conflict = true }))
    end)

    it("S104: takes rows of one key in their order, whatever columns each has", function()
      assert(db:execute "CREATE TABLE o (k int PRIMARY KEY, a text, b text)")
      local list <const> = { { k = 1, a = "1" }, { k = 2, a = "2", b = "2" }, { k = 2, a = "3" },
        { k = 1, b = "4" }, { k = 3, a = pg.default, b = "5" }, { k = 3, a = "6" } }
      local stored <const> = { { k = 1, a = "1", b = "4" }, { k = 2, a = "3", b = "2" },
        { k = 3, a = "6", b = "5" } }
      for _, batch in ipairs { 100, 1, 3 } do
        for _, input in ipairs { list, iterate(list) } do
          same({ rowCount = 6, rows = { { a = "1" }, { a = "2" }, { a = "3" }, { a = "1" }, {},
            { a = "6" } } }, db:bulk_insert("o", input,
            { conflict = "k", returning = "a", batch = batch }))
          same(stored, rows "SELECT * FROM o ORDER BY k")
          assert(db:execute "DELETE FROM o")
        end
      end
      same({ rowCount = 3 }, db:bulk_insert("o", list, { conflict = "k", update = false }))
      same({ { k = 1, a = "1" }, { k = 2, a = "2", b = "2" }, { k = 3, b = "5" } },
        rows "SELECT * FROM o ORDER BY k")
    end)

    it("loses no row where a batch is sent again", function()
      local other <close> = assert(pg.connect(server.options))
      assert(db:execute "CREATE TABLE s (id int, v int)")
      assert(db:bulk_insert("s", { { id = 0, v = 0 } }))
      assert(other:execute "ALTER TABLE s ALTER v TYPE text; TRUNCATE s")
      local list = {}
      for i = 1, 100 do list[i] = { id = i, v = "x" .. i } end
      same({ rowCount = 100 }, db:bulk_insert("s", list, { batch = 10 }))
      same({ { n = 100, least = 1, most = 100 } }, rows
        "SELECT count(DISTINCT id) AS n, min(id) AS least, max(id) AS most FROM s")
    end)

    it("is let go of when a batch is refused before it is sent", function()
      assert(db:execute "CREATE TABLE s (v text)")
      local list = setmetatable({}, { __mode = "v" })
      list[1] = { { v = "a" }, { v = "b\0" }, { v = "c" } }
      failed("invalid_parameter", db:bulk_insert("s", list[1], { batch = 2 }))
      collectgarbage()
      collectgarbage()
      assert.is_nil(list[1])
    end)

    it("is not cancelled for the time that the next batch took to be made", function()
      local loud <close> = assert(throwaway.start { settings = { log_connections = true } })
      local own <close> = assert(pg.connect(loud.options))
      assert(own:execute "CREATE TABLE s (i int)")
      local slow, result, err = false, nil, nil
      local log = support.logged(loud, function()
        debug.sethook(function() -- the making of it, as a hook sees it
          if slow or debug.getinfo(2, "n").name ~= "fill_ahead" then return end
          local till = core.now() + 2.5
          repeat slow = true until core.now() >= till
        end, "c")
        result, err = own:bulk_insert("s", { { i = 1 }, { i = 2 }, { i = 3 } },
          { batch = 2, timeout = 2 })
        debug.sethook()
      end)
      same({ rowCount = 3 }, result, tostring(err))
      assert.is_true(slow)
      assert.is_nil(log:find "connection received") -- a request to cancel is one
    end)

    it("asks the catalogue anew when another session has changed the table", function()
      assert(db:execute "CREATE TABLE s (a int)")
      assert(db:bulk_insert("s", { a = { 1 } }))
      local other <close> = assert(pg.connect(server.options))
      assert(other:execute "ALTER TABLE s ADD b int[], ALTER a TYPE int[] USING ARRAY[a]")
      same({ rowCount = 2 }, db:bulk_insert("s", { { a = "{1}" }, { a = "{1,2}" } }))
      same({ rowCount = 1 }, db:bulk_insert("s", { { a = { 1 }, b = { 1, 2 } } }))
      assert(other:execute "ALTER TABLE s ADD c jsonb[], ADD d box[]")
      same({ rowCount = 2 }, db:bulk_insert("s", { { a = { 1 }, b = { 3 } },
        { c = { { x = { 1 } } }, d = { "(1,1),(0,0)", "(2,2),(0,0)" }, b = { 4 } } }))
      same({ { c = [[{"{\"x\": [1]}"}]], d = "{(1,1),(0,0);(2,2),(0,0)}" } },
        rows "SELECT c::text, d::text FROM s WHERE b = '{4}'")
      assert(other:execute "CREATE TYPE m1 AS ENUM ('a'); ALTER TABLE s ADD e m1")
      same({ rowCount = 1 }, db:bulk_insert("s", { { e = "a" } }))
      assert(other:execute "ALTER TYPE m1 RENAME TO m2")
      same({ rowCount = 1 }, db:bulk_insert("s", { { e = "a" } }))
      assert(db:execute "CREATE TABLE o (k int PRIMARY KEY, a int, b int)")
      assert(db:bulk_insert("o", { { k = 1, a = 1 } }))
      assert(other:execute "ALTER TABLE o ALTER a TYPE int[] USING ARRAY[a]")
      same({ rowCount = 3 }, db:bulk_insert("o", { { k = 1, a = "{1}" }, { k = 2, b = 1 },
        { k = 3, a = "{2}" } }, { conflict = "k" }))
      assert(other:execute "CREATE SCHEMA apart; ALTER TYPE m2 SET SCHEMA apart")
      same({ rowCount = 1 }, db:bulk_insert("s", { { e = "a" } }))
      assert(other:execute "ALTER SCHEMA apart RENAME TO afar")
      same({ rowCount = 1 }, db:bulk_insert("s", { { e = "a" } }))
      assert(other:execute "DROP TABLE s; CREATE TABLE s (a bool, z int)")
      same({ rowCount = 3 }, db:bulk_insert("s", { a = { true, false, true } }, { batch = 1 }))
      assert(other:execute "DROP TABLE s")
      failed("undefined_table", db:bulk_insert("s", { a = { true } }))
    end)

    it("tells what is missing, and the nearest name", function()
      assert(db:execute(logs))
      local err = failed("undefined_column",
        db:bulk_insert("logs", { { level = "a" }, { levle = "b" } }))
      same({ 2, "levle" }, { err.row, err.column })
      support.contains(tostring(err), 'Did you mean "level"?')
      err = failed("undefined_table", db:bulk_insert("lgos", { { level = "a" } }))
      support.contains(tostring(err), 'Did you mean "logs"?')
      failed("undefined_column", db:bulk_insert("logs", { {} }, { returning = "nope" }))
      assert(db:execute "CREATE TABLE bare ()")
      same({ rowCount = 3 }, db:bulk_insert("bare", { {}, {}, {} }))
    end)

    it("keeps the deadline over all batches, and the timeout of each", function()
      assert(db:execute [[
CREATE TABLE slow (i int);
CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_sleep(new.i / 1000.0); RETURN new; END $$;
CREATE TRIGGER nap BEFORE INSERT ON slow FOR EACH ROW EXECUTE PROCEDURE nap()]])
      failed("query_timeout", db:bulk_insert("slow", { i = { 1, 9999, 1 } }, { timeout = 0.1 }))
      failed("query_timeout", db:bulk_insert("slow", { i = { 1, 9999, 1 } },
        { timeout = 0.1, batch = 1 }))
      failed("query_timeout", db:bulk_insert("slow", { i = { 1, 9999 } }, { deadline = 0.1 }))
      local forever = function() return { i = 20 } end
      failed("query_timeout", db:bulk_insert("slow", forever, { deadline = 0.2, batch = 2 }))
      assert(db:execute "BEGIN")
      failed("query_timeout", db:bulk_insert("slow", forever, { deadline = 0.2, batch = 2 }))
      assert(db:execute "COMMIT")
      same({ rowCount = 10 }, db:bulk_insert("slow",
        { i = { 20, 20, 20, 20, 20, 20, 20, 20, 20, 20 } }, { timeout = 0.18, batch = 1 }))
      same({ 10, "idle" }, { value "SELECT count(*) FROM slow", db:status().state })
    end)

    it("keeps the deadline while it takes rows from an iterator", function()
      assert(db:execute "CREATE TABLE p (i int)")
      for _, case in ipairs { { 1, 1000 }, { 3, 1000 }, { 4, 2 } } do
        local slow, batch = table.unpack(case)
        local calls, start = 0, core.now()
        failed("query_timeout", db:bulk_insert("p", function()
          calls = calls + 1
          repeat until calls ~= slow or core.now() > start + 0.2
          return calls <= 1000 and { i = calls } or nil
        end, { deadline = 0.1, batch = batch }))
        assert.equal(slow, calls)
        same({ 0, "idle" }, { value "SELECT count(*) FROM p", db:status().state })
      end
    end)

    it("gives back what a connection was lost in", function()
      assert(db:execute "CREATE TABLE p (i int)")
      local admin <close> = assert(pg.connect(server.options))
      local pid, i = db:status().pid, 0
      failed("server_unavailable", db:bulk_insert("p", function()
        i = i + 1
        if i == 5 then
          assert(admin:query("SELECT pg_terminate_backend($1)", pid))
          support.eventually(function() return support.value(admin,
            "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == 0 end)
        end
        return i < 100 and { i = i } or nil
      end, { batch = 3 }))
      same(0, support.value(admin, "SELECT count(*) FROM p"))
    end)

    it("raises at the caller's line what only a wrong program does", function()
      raises("rows must be a list of rows", function() db:bulk_insert("t", "rows") end)
      raises("rows must be a list of rows", function() db:bulk_insert("t") end)
      raises("a table's name must be", function() db:bulk_insert(nil, {}) end)
      raises("more than one dot", function() db:bulk_insert("a.b.c", {}) end)
      raises("not both", function() db:bulk_insert("t", { {}, a = {} }) end)
      raises("'a' is a number", function() db:bulk_insert("t", { a = 1 }) end)
      raises("'a' has 1 values, 'b' has 2", function()
        db:bulk_insert("t", { b = { 1, 2 }, a = { 1 } })
      end)
      raises("a list begins at 1", function() db:bulk_insert("t", { [0] = {}, {} }) end)
      raises("a list begins at 1", function() db:bulk_insert("t", { {}, [1.5] = {} }) end)
      raises("a list begins at 1", function() db:bulk_insert("t", { a = { 1, [0] = 1 } }) end)
      raises("unknown option 'bacth' (did you mean 'batch'?)", function()
        db:bulk_insert("t", {}, { bacth = 1 })
      end)
      raises("unknown option 'key'", function() db:bulk_insert("t", {}, { key = "id" }) end)
      for _, wrong in ipairs { 0, -1, 1.5, "10" } do
        raises("batch must be", function() db:bulk_insert("t", {}, { batch = wrong }) end)
      end
      raises("deadline must be", function() db:bulk_insert("t", {}, { deadline = 0 }) end)
      raises("progress must be a function", function()
        db:bulk_insert("t", {}, { progress = 1 })
      end)
      raises("overriding must be", function() db:bulk_insert("t", {}, { overriding = "x" }) end)
      raises("returning is an empty list", function()
        db:bulk_insert("t", {}, { returning = {} })
      end)
      raises("options must be a table", function() db:bulk_insert("t", {}, 5) end)
      raises("conflict", function() db:bulk_insert("t", {}, { update = "a" }) end)
    end)

    it("writes what is read back, whatever the table and the values", function()
      local seed <const> = tonumber(os.getenv "SEED") or os.time()
      math.randomseed(seed)
      local function text()
        local parts = {}
        for i = 1, math.random(0, 6) do parts[i] = hostile[math.random(#hostile)]:sub(1, 40) end
        local made = table.concat(parts)
        return utf8.len(made) and made or "cut"
      end
      local function bytes()
        local parts = {}
        for i = 1, math.random(0, 9) do parts[i] = string.char(math.random(0, 255)) end
        return table.concat(parts)
      end
      local makers <const> = {
        { "text", text }, { "varchar", text }, { "bytea", bytes },
        { "int8", function() return math.random(0) end },
        { "int4", function() return math.random(-2147483648, 2147483647) end },
        { "int2", function() return math.random(-32768, 32767) end },
        { "bool", function() return math.random(2) == 1 end },
        { "float8", function() return string.unpack("d", string.pack("j", math.random(0))) end },
        { "numeric", function()
          return ("%d.%d"):format(math.random(1, 1 << 40), math.random(9))
        end },
        { "date", function() return ("2%03d-0%d-1%d"):format(math.random(0, 999), math.random(9),
          math.random(0, 9)) end },
        { "text[]", function() return pg.array { text(), null, text() } end },
        { "int[]", function() return pg.array { { 1, 2 }, { math.random(99), 4 } } end },
        { "bytea[]", function() return pg.array { bytes() } end },
        { "jsonb", function() return { k = text(), l = pg.array {}, n = { math.random(99) } } end },
        { "json[]", function() return pg.array { { a = text() } } end },
      }
      for round = 1, 20 do
        local names, types, columns = {}, {}, {}
        for i = 1, math.random(1, 12) do
          names[i] = ("%d%s"):format(i, text():sub(1, 8):gsub("[\128-\255]", ""))
          types[i] = makers[math.random(#makers)]
          columns[i] = tostring(pg.identifier(names[i])) .. " " .. types[i][1]
        end
        local target = pg.identifier("t" .. round .. text():sub(1, 20):gsub("[\128-\255]", ""))
        assert(db:execute(("CREATE TABLE %s (place int, %s)"):format(target,
          table.concat(columns, ", "))))
        local list, expected = {}, {}
        for i = 1, math.random(1, 60) do
          local row, stored = { place = i }, { place = i }
          for at, name in ipairs(names) do
            local dice = math.random(10)
            if dice <= 8 then
              row[name] = types[at][2]()
              if row[name] ~= row[name] then row[name] = 0.5 end
              stored[name] = row[name]
            elseif dice == 9 then
              row[name] = null
            end
          end
          list[i], expected[i] = row, stored
        end
        local result = assert(db:bulk_insert(target, list,
          { batch = math.random(30), returning = "*" }))
        local ok, problem = pcall(function()
          same(expected, result.rows)
          same(expected, rows(("SELECT * FROM %s ORDER BY place"):format(target)))
        end)
        assert(ok, ("SEED=%d round %d: %s"):format(seed, round, tostring(problem)))
      end
    end)
  end)

  describe("update", function()
    local orders <const> = [[
CREATE TABLE orders (id int PRIMARY KEY, status text, n int DEFAULT 7, tags text[], j jsonb);
INSERT INTO orders SELECT i, 'new', i FROM generate_series(1, 10) AS i]]

    it("sets what each row gives, by its primary key", function()
      assert(db:execute(orders))
      same({ rowCount = 4, missing = 1 }, db:bulk_update("orders", {
        { id = 1, status = "paid" }, { id = 2, status = "sent", n = null },
        { id = 3, n = pg.default }, { id = 99, status = "lost" },
        { id = 4, tags = { "a", "b" }, j = { x = {} } } }))
      same({ { id = 1, status = "paid", n = 1 }, { id = 2, status = "sent" },
        { id = 3, status = "new", n = 7 },
        { id = 4, status = "new", n = 4, tags = { "a", "b" }, j = { x = {} } },
        { id = 5, status = "new", n = 5 } }, rows "SELECT * FROM orders WHERE id < 6 ORDER BY id")
    end)

    it("takes columns and iterators, by batches, all or nothing", function()
      assert(db:execute(orders))
      local ids, states = {}, {}
      for i = 1, 10 do ids[i], states[i] = i, "s" .. i end
      local told = {}
      same({ rowCount = 10, missing = 0 }, db:bulk_update("orders", { id = ids, status = states },
        { batch = 4, progress = function(done, total) told[#told + 1] = done .. "/" .. total end }))
      same({ "4/10", "8/10", "10/10" }, told)
      local i = 0
      assert(db:execute "ALTER TABLE orders ADD CHECK (n < 20)")
      assert.equal(9, failed("constraint_violation", db:bulk_update("orders", function()
        i = i + 1
        return i <= 10 and { id = i, n = i == 9 and 20 or 0 } or nil
      end, { batch = 3 })).row)
      same(55, value "SELECT sum(n) FROM orders WHERE status = 's' || id")
    end)

    it("takes the columns of a key, whatever they are called", function()
      assert(db:execute [[
CREATE TABLE k ("a""b" text, "select" int, place text, "u.c1" uuid, PRIMARY KEY ("select", "a""b"));
INSERT INTO k VALUES ('x', 1, 'p'), ('y', 1, 'p'), (E'\'', 2, 'p')]])
      same({ rowCount = 3, missing = 0 }, db:bulk_update("k", { { ['a"b'] = "x", select = 1,
        place = "q" }, { ['a"b'] = "y", select = 1, place = "r" },
        { ['a"b'] = "'", select = 2, place = "s" } }))
      same({ rowCount = 2, missing = 1, rows = { { place = "t" }, { place = "t" } } },
        db:bulk_update("k", { { select = 1, place = "t" }, { select = 9, place = "u" } },
          { key = { "select" }, returning = { "place" } }))
      same({ rowCount = 1, missing = 0 }, db:bulk_update("k", { { place = "s", select = 3 } },
        { key = "place" }))
      same({ "t", "t", "s" }, value "SELECT array_agg(place ORDER BY place DESC) FROM k")
    end)

    it("returns rows in the order of the input, over batches and groups", function()
      assert(db:execute "CREATE TABLE u (id int PRIMARY KEY, k int, n int, m int)")
      assert(db:execute [[
INSERT INTO u SELECT i, i / 2, 0, 0 FROM generate_series(1, 60) AS i; ANALYZE u]])
      local list, by_k, expected, twice = {}, {}, {}, {}
      for i = 1, 61 do
        local id = 62 - i
        list[i] = { id = id, n = i, m = i % 3 == 0 and pg.default or nil }
        if id <= 60 then expected[#expected + 1] = { id = id, n = i } end
      end
      for i = 1, 29 do
        by_k[i] = { k = 30 - i, m = i }
        twice[2 * i - 1], twice[2 * i] = { k = 30 - i, m = i }, { k = 30 - i, m = i }
      end
      for _, plan in ipairs { "hash", "merge", "nestloop" } do
        for _, other in ipairs { "hash", "merge", "nestloop" } do
          assert(db:execute(("SET enable_%s%s = %s"):format(other,
            other == "nestloop" and "" or "join", other == plan and "on" or "off")))
        end
        for _, batch in ipairs { 100, 20 } do
          same({ rowCount = 60, missing = 1, rows = expected },
            db:bulk_update("u", list, { returning = { "id", "n" }, batch = batch }))
          same({ rowCount = 58, missing = 0, rows = twice },
            db:bulk_update("u", by_k, { returning = { "k", "m" }, key = "k", batch = batch }))
        end
      end
    end)

    it("changes the row whose key was given, whatever a metatable says", function()
      assert(db:execute [[
CREATE TABLE k (a int, b int, x text, PRIMARY KEY (a, b));
INSERT INTO k VALUES (1, 1, ''), (1, 2, ''), (1, 3, '')]])
      for _, index in ipairs { { b = 2 }, function(_, name) error("asked for " .. name) end } do
        local err = failed("invalid_parameter",
          db:bulk_update("k", { setmetatable({ a = 1, x = "no" }, { __index = index }) }))
        same({ 1, "b" }, { err.row, err.column })
      end
      local wrong = setmetatable({ a = 1, b = 2, x = "yes" }, { __index = { x = "no" },
        __pairs = function() return next, { a = 1, x = "no" } end })
      same({ rowCount = 1, missing = 0 }, db:bulk_update("k", { wrong }))
      same({ { b = 2, x = "yes" } }, rows "SELECT b, x FROM k WHERE x <> ''")
    end)

    it("refuses rows that lack a column of the key that another session has made", function()
      assert(db:execute "CREATE TABLE k (a int PRIMARY KEY, x text); INSERT INTO k VALUES (9, '')")
      assert(db:bulk_update("k", { { a = 9, x = "1" } }))
      local other <close> = assert(pg.connect(server.options))
      assert(other:execute [[
ALTER TABLE k DROP CONSTRAINT k_pkey, ADD b int NOT NULL DEFAULT 0, ALTER x TYPE int USING 0;
ALTER TABLE k ADD PRIMARY KEY (a, b); INSERT INTO k VALUES (1, 0, 1), (1, 0, 2), (1, 0, 3)]])
      local err = failed("invalid_parameter",
        db:bulk_update("k", { { a = 1, x = "7" }, { a = 2, x = "8" } }))
      same({ 1, "b" }, { err.row, err.column })
      same(0, value "SELECT sum(x) FROM k")
      same({ rowCount = 1, missing = 0 }, db:bulk_update("k", { { a = 1, b = 2, x = "7" } }))
    end)

    it("S14: compares keys as PostgreSQL does, whatever stands before it", function()
      assert(db:execute [[
CREATE SCHEMA evil;
CREATE FUNCTION evil.yes(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, PROCEDURE = evil.yes);
CREATE FUNCTION evil.yes(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = evil.yes);
CREATE DOMAIN short AS varchar(5);
CREATE TABLE k (id int PRIMARY KEY, t text, s short, l int[], n int);
INSERT INTO k SELECT i, i, i, ARRAY[i], 0 FROM generate_series(1, 3) AS i;
SET search_path = evil, pg_catalog, public]])
      for i, row in ipairs { { id = 2, n = 1 }, { t = "2", n = 2 }, { s = "2", n = 3 },
        { l = { 2 }, n = 4 } } do
        same({ rowCount = 1, missing = 0, rows = { { id = 2, n = i } } }, db:bulk_update("k",
          { row }, { key = ({ "id", "t", "s", "l" })[i], returning = { "id", "n" } }))
      end
      assert(db:execute "RESET search_path")
      same(4, value "SELECT sum(n) FROM k")
    end)

    it("compares keys of other types with their own operator", function()
      assert(db:execute [[
CREATE EXTENSION IF NOT EXISTS citext; CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE k (c citext PRIMARY KEY, m mood, n int); INSERT INTO k VALUES ('Ab', 'sad', 0)]])
      same({ rowCount = 1, missing = 0 }, db:bulk_update("k", { { c = "aB", n = 1 } }))
      same({ rowCount = 1, missing = 0 }, db:bulk_update("k", { { m = "sad", n = 2 } },
        { key = "m" }))
      same(2, value "SELECT n FROM k")
    end)

    it("tells apart keys of text that look like the same number, and those of bytes", function()
      assert(db:execute [[
CREATE TABLE k (id text PRIMARY KEY, n int);
INSERT INTO k VALUES ('00501', 0), ('501', 0), (' 7', 0), ('7', 0), ('+1', 0), ('1', 0);
CREATE TABLE b (k bytea, l bytea, n int, PRIMARY KEY (k, l));
INSERT INTO b VALUES ('a\000b', 'c', 0), ('a', 'b\000c', 0), ('ab', 'c', 0), ('a', 'bc', 0);
CREATE TABLE f (id float8 PRIMARY KEY, n int); INSERT INTO f VALUES (0.1, 0), (0.1 + 1e-16, 0)]])
      same({ rowCount = 6, missing = 0 }, db:bulk_update("k", { id = { "00501", "501", " 7", "7",
        "+1", "1" }, n = { 1, 2, 3, 4, 5, 6 } }))
      same({ 1, 2, 3, 4, 5, 6 }, value "SELECT array_agg(n ORDER BY n) FROM k WHERE n > 0")
      same({ rowCount = 4, missing = 0 }, db:bulk_update("b", { k = { "a\0b", "a", "ab", "a" },
        l = { "c", "b\0c", "c", "bc" }, n = { 1, 1, 1, 1 } }))
      same({ rowCount = 2, missing = 0 }, db:bulk_update("f", { id = { 0.1, 0.1 + 1e-16 },
        n = { 1, 1 } }))
      for _, ids in ipairs { { "a", "a" }, { 5, "5" }, { "5", 5 } } do
        local err = failed("invalid_parameter", db:bulk_update("k", { id = ids, n = { 1, 1 } }))
        same({ 2, "id" }, { err.row, err.column })
      end
    end)

    it("counts as missing what a trigger skipped", function()
      assert(db:execute(orders))
      assert(db:execute [[
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN IF new.n = 0 THEN RETURN NULL; END IF; RETURN new; END $$;
CREATE TRIGGER skip BEFORE UPDATE ON orders FOR EACH ROW EXECUTE PROCEDURE skip()]])
      same({ rowCount = 1, missing = 2, rows = { { id = 3 } } }, db:bulk_update("orders",
        { id = { 1, 3, 99 }, n = { 0, 5, 5 } }, { returning = "id" }))
    end)

    it("returns what was asked for", function()
      assert(db:execute(orders))
      local result = assert(db:bulk_update("orders", { { id = 2, n = 20 }, { id = 50, n = 0 } },
        { returning = "*" }))
      same({ rowCount = 1, missing = 1, rows = { { id = 2, status = "new", n = 20 } } }, result)
      support.contains(result:json(), '"rowCount":1', '"missing":1')
      same({ rowCount = 0, missing = 0 }, db:bulk_update("orders", {}))
    end)

    it("explains a row without a key, one that comes twice, nothing to set", function()
      assert(db:execute(orders))
      for _, case in ipairs {
        { { n = 0 }, "id", "the key must have a value" },
        { { id = null, n = 0 }, "id", "equal to nothing" },
        { { id = pg.default, n = 0 }, "id", "have a value" },
        { { id = 1, n = 1 }, "id", "row 1 has the same key" },
        { { id = "1", status = "x" }, "id", "row 1 has the same key" },
        { { id = " 01", n = 1 }, "id", "row 1 has the same key" },
        { { id = 1.0, n = 1 }, "id", "row 1 has the same key" },
        { { id = 2 }, nil, "nothing to set" },
        { { id = 2, n = "x" }, "n", "row 2", "invalid_value" },
        { { id = "x", n = 1 }, "id", "row 2", "invalid_value" },
        { { id = 2, n = pg.raw "1" }, "n", "pg.raw is SQL" },
      } do
        local wrong, column, text, kind = table.unpack(case, 1, 4)
        local err = failed(kind or "invalid_parameter",
          db:bulk_update("orders", { { id = 1, n = 0 }, wrong }))
        same({ 2, column or false }, { err.row, err.column or false })
        support.contains(tostring(err), text)
      end
      same(55, value "SELECT sum(n) FROM orders")
    end)

    it("finds keys that are the same only to the server", function()
      assert(db:execute [[
CREATE TABLE k (id numeric PRIMARY KEY, at timestamptz UNIQUE, n int);
INSERT INTO k VALUES (1.5, '2026-01-15T10:30:00Z', 0), (2, '2026-01-16', 0)]])
      local err = failed("invalid_parameter", db:bulk_update("k",
        { { id = "2", n = 5 }, { id = "1.5", n = 6 }, { id = "1.50", n = 7 } }))
      same({ 3, "id" }, { err.row, err.column })
      support.contains(tostring(err), "row 2 has the same key")
      err = failed("invalid_parameter", db:bulk_update("k", {
        { at = "2026-01-15T10:30:00Z", n = 1 },
        { at = "2026-01-15 11:30:00+01", n = 2 } }, { key = "at" }))
      same({ 2, "at" }, { err.row, err.column })
      same(0, value "SELECT sum(n) FROM k")
    end)

    it("needs a key", function()
      assert(db:execute "CREATE TABLE bare (a int, b int)")
      local err = failed("invalid_parameter", db:bulk_update("bare", { { a = 1, b = 2 } }))
      support.contains(tostring(err), "no primary key")
      same({ rowCount = 0, missing = 1 },
        db:bulk_update("bare", { { a = 1, b = 2 } }, { key = "a" }))
      failed("undefined_table", db:bulk_update("none", { { a = 1, b = 2 } }))
      failed("undefined_column", db:bulk_update("bare", { { c = 1, b = 2 } }, { key = "c" }))
      raises("key is an empty list", function() db:bulk_update("bare", {}, { key = {} }) end)
      raises("key must be a name", function() db:bulk_update("bare", {}, { key = 1 }) end)
      raises("unknown option 'conflict'", function()
        db:bulk_update("bare", {}, { conflict = "a" })
      end)
    end)

    it("looks up its few rows by their key, so that others may change other rows", function()
    assert(db:execute [[CREATE TABLE t (id int PRIMARY KEY, v text);
      INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50000) AS i; ANALYZE t]])
    local rival <close> = assert(pg.connect(server.options))
    assert(db:transaction(function(tx)
      assert(tx:bulk_update("t", { { id = 1, v = "a" } }))
      assert(rival:transaction(function(other)
        assert(other:bulk_update("t", { { id = 49000, v = "b" } }))
      end, { isolation = "serializable" }))
    end, { isolation = "serializable" }))
  end)

  it("goes through views, partitions and rules", function()
      assert(db:execute [[
CREATE TABLE parts (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
CREATE TABLE parts2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
INSERT INTO parts VALUES (1, 1), (11, 11);
CREATE VIEW plain AS SELECT id AS key, n FROM parts;
CREATE TABLE ruled (id int PRIMARY KEY, n int); INSERT INTO ruled VALUES (1, 1), (2, 2);
CREATE TABLE log (id int);
CREATE RULE instead AS ON UPDATE TO ruled DO INSTEAD INSERT INTO log VALUES (new.id)]])
      same({ rowCount = 2, missing = 0 }, db:bulk_update("parts", { { id = 11, n = 5 },
        { id = 1, n = 4 } }))
      same({ rowCount = 1, missing = 1 }, db:bulk_update("plain", { { key = 11, n = 6 },
        { key = 2, n = 4 } }, { key = "key" }))
      local result = assert(db:bulk_update("ruled", { { id = 1, n = 5 }, { id = 2, n = 5 } }))
      assert.is_nil(result.missing)
      same({ { id = 1 }, { id = 2 } }, rows "SELECT id FROM log ORDER BY id")
      same({ { id = 1, n = 4 }, { id = 11, n = 6 } }, rows "SELECT * FROM parts ORDER BY id")
    end)

    it("writes what is read back, hostile values included", function()
      assert(db:execute "CREATE TABLE h (id text PRIMARY KEY, v text)")
      local list, expected = {}, {}
      for i, text in ipairs(hostile) do
        text = text:sub(1, 1000)
        list[i] = { id = text, v = tostring(i) }
      end
      assert(db:bulk_insert("h", list))
      for i, row in ipairs(list) do
        row.v = hostile[#hostile + 1 - i]
        expected[row.id] = row.v
      end
      same({ rowCount = #list, missing = 0 }, db:bulk_update("h", list, { batch = 5 }))
      local stored = {}
      for _, row in ipairs(rows "SELECT * FROM h") do stored[row.id] = row.v end
      same(expected, stored)
    end)
  end)

  describe("of ids", function()
    local statement <const> = "UPDATE users SET status='active' WHERE id = ANY($1::int[])"

    it("S091: runs the statement as it is with a list, an empty one, and 100,000 ids", function()
      assert(db:execute [[
CREATE TABLE users (id int PRIMARY KEY, status text);
INSERT INTO users SELECT i FROM generate_series(1, 100000) AS i]])
      same({ rowCount = 3 }, db:update(statement, { 1, 2, 3, 999999 }))
      same({ rowCount = 0 }, db:update(statement, {}))
      same({ rowCount = 0 }, db:update(statement, { null }))
      local ids = {}
      for i = 1, 100000 do ids[i] = i end
      same({ rowCount = 100000 }, db:update(statement, ids))
      same({ rowCount = 100000 }, db:update { table = "users", set = { status = "x" },
        where = { id = ids } })
      same({ rowCount = 0 }, db:update { table = "users", set = { status = "y" },
        where = { id = {} } })
      same({ rowCount = 100000, missing = 0 }, db:bulk_update("users", { id = ids, status = ids }))
      same(5000050000, value "SELECT sum(status::int) FROM users")
      assert.equal(100000, #rows("SELECT id FROM users WHERE id = ANY($1)", ids))
    end)
  end)

  it("holds a batch at a time: memory stays flat over a million rows", function()
    local program <const> = ([[
local pg = require "pg"
local db <close> = assert(pg.connect(%q))
assert(db:execute "CREATE UNLOGGED TABLE flat (i int, t text)")
local function peak()
  for line in io.lines "/proc/self/status" do
    local kb = line:match "^VmHWM:%%s*(%%d+)"
    if kb then return tonumber(kb) end
  end
end
local i, row, last, most, early = 0, {}, 1000000, 0, nil
local result = assert(db:bulk_insert("flat", function()
  i = i + 1
  if i > last then return nil end
  row.i, row.t = i, "some text of row " .. i
  return row
end, { batch = 10000, progress = function(done)
  most = math.max(most, collectgarbage "count")
  if done == 50000 then early = peak() end
end }))
print(result.rowCount, most, peak() - early, peak())]]):format(("host=%s port=%d user=%s dbname=%s")
      :format(server.options.host, server.options.port or 5432, server.options.user,
        server.options.database or server.options.dbname or "postgres"))
    local output, errors, code = support.child(program)
    assert.equal(0, code, errors)
    local count, lua, grown, peak = output:match "(%d+)%s+([%d.]+)%s+(%d+)%s+(%d+)"
    assert.equal("1000000", count, output .. errors)
    assert.is_true(tonumber(lua) < 16 * 1024, lua .. " KiB in Lua")
    if not os.getenv "ASAN_OPTIONS" then -- a sanitizer keeps what is freed
      assert.is_true(tonumber(grown) < 8 * 1024, grown .. " KiB more after the first batches")
      assert.is_true(tonumber(peak) < 40 * 1024, peak .. " KiB in all")
    end
    assert.equal(500000500000, value "SELECT sum(i) FROM flat")
  end)
end)
