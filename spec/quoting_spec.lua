-- SPDX-License-Identifier: MIT
-- Names and values that were made to be taken for SQL, in every place where a helper builds SQL.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local null, raises, failed, same = pg.null, support.raises, support.failed, support.same
local merge <const> = support.merge

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

describe("what a helper builds", function()
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

      it(("S041 S084: %q is a key, a constraint and a schema"):format(name), function()
        local other = name:sub(2) .. "2"
        local target = pg.identifier(name, other)
        assert(db:execute((([[
CREATE SCHEMA NAME; CREATE TABLE NAME.OTHER (NAME int, OTHER text, id serial PRIMARY KEY, v text,
  CONSTRAINT NAME UNIQUE (NAME));
CREATE UNIQUE INDEX ON NAME.OTHER (OTHER) WHERE OTHER = TEXT AND v IS NULL]]):gsub("%u%u%u%u+", {
          NAME = tostring(pg.identifier(name)), OTHER = tostring(pg.identifier(other)),
          TEXT = pg.literal(name),
        }))))
        local function stored()
          return rows(("SELECT * FROM %s"):format(target))
        end
        for i, options in ipairs {
          { conflict = name }, { conflict = { name }, update = { other } }, { constraint = name },
          { conflict = name, update = false, set = nil },
          { conflict = name, set = { [other] = name, v = null } },
          { conflict = other, where = { [other] = name, v = null } },
        } do
          options.returning = { name, other }
          local row = { [name] = 1, [other] = name }
          local inserted = i == 1 and 1 or 0
          local expected = { rowCount = 1, insertedId = 1, inserted = inserted,
            updated = 1 - inserted, row = row }
          if i == 4 then expected = { rowCount = 0, inserted = 0, updated = 0 } end
          same(expected, db:upsert(target, row, options))
          same({ merge(row, { id = 1 }) }, stored())
          same({ i ~= 4 and row }, assert(db:upsert(target, { row }, options)).rows)
          same({ merge(row, { id = 1 }) }, stored())
          assert(db:bulk_insert(target, { row }, options))
          same({ merge(row, { id = 1 }) }, stored())
        end
        same({ false, true }, (function(ids) return { ids[1], ids[2] ~= false } end)(
          assert(db:upsert(target, { { [name] = 1 }, { [name] = 2 } },
            { conflict = name, update = false })).insertedIds))
        assert.equal(2, assert(db:bulk_update(target, { { [name] = 1, v = name },
          { [name] = 2, v = name } }, { key = name })).rowCount)
        same({ rowCount = 2 }, db:delete { table = target, where = { v = name } })
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

    it("S084 S1: finds no conflict, constraint or column of any such name", function()
      for i = 1, #hostile, 3 do
        local text = hostile[i]
        local name = pg.identifier(text)
        for _, values in ipairs { { id = 1, v = "x" }, { { id = 1, v = "x" } } } do
          failed("undefined_table", db:upsert(name, values))
          failed("undefined_column", db:upsert("t", values, { conflict = text }))
          failed("undefined_column", db:upsert("t", values, { update = text }))
          failed("undefined_column", db:upsert("t", values, { set = { [text] = 1 } }))
          failed("undefined_column", db:upsert("t", values, { returning = text }))
          failed("undefined_column", db:upsert("t", values, { conflict = "id",
            where = { [text] = text } }))
          assert.equal("42704", failed("query_failed", db:upsert("t", values,
            { constraint = text })).sqlstate)
        end
        failed("undefined_column", db:upsert("t", { { id = 1, [text] = 1 } }))
        failed("undefined_column", db:upsert("t", { { id = 1, [text] = 1 } }, { update = false }))
        failed("undefined_table", db:bulk_insert(name, { { v = 1 } }))
        failed("undefined_column", db:bulk_insert("t", { { [text] = 1 } }))
        failed("undefined_column", db:bulk_insert("t", { { v = 1 } }, { returning = text }))
        failed("undefined_column", db:bulk_update("t", { { id = 1, [text] = 1 } }, { key = "id" }))
      end
      canary()
    end)

    it("S084 S1: compares a partial index's condition with every text as it is", function()
      for _, text in ipairs(hostile) do
        assert(db:execute(("DROP TABLE t; CREATE TABLE t (id int, v text); "
          .. "CREATE UNIQUE INDEX ON t (id) WHERE v = %s"):format(pg.literal(text))))
        for _ = 1, 2 do
          assert(db:upsert("t", { id = 1, v = text }, { conflict = "id", where = { v = text } }))
        end
        same({ { id = 1, v = text } }, rows "SELECT * FROM t")
      end
      canary()
    end)

    local refused = {
      { "", "a name cannot be empty" }, { "a\0b", "a name cannot hold a NUL byte" },
      { "\xff", "a name must be valid UTF-8" }, { "a\xe2\"", "a name must be valid UTF-8" },
      { ("x"):rep(64), "a name has at most 63 bytes" },
    }
    for _, case in ipairs(refused) do
      local name, why = table.unpack(case)
      it(("S1 R7: is refused in every place before anything is sent: %q"):format(name), function()
        assert.equal("", support.logged(server, function()
          local function refuses(f) raises(why, f) end
          refuses(function() pg.identifier(name) end)
          refuses(function() pg.identifier("public", name) end)
          for _, method in ipairs { "insert", "upsert" } do
            local f = db[method]
            refuses(function() f(db, name, { v = 1 }) end)
            refuses(function() f(db, "public." .. name, { v = 1 }) end)
            refuses(function() f(db, name .. ".t", { v = 1 }) end)
            refuses(function() f(db, "t", { [name] = 1 }) end)
            refuses(function() f(db, { table = "t", columns = { [name] = 1 } }) end)
            refuses(function() f(db, "t", { v = 1 }, { returning = name }) end)
            refuses(function() f(db, "t", { v = 1 }, { returning = { "id", name } }) end)
            refuses(function() f(db, "t", { v = 1 }, { conflict = name }) end)
            refuses(function() f(db, "t", { v = 1 }, { conflict = { "id", name } }) end)
            refuses(function() f(db, "t", { v = 1 }, { constraint = name }) end)
            refuses(function() f(db, "t", { v = 1 }, { conflict = "id", update = name }) end)
            refuses(function() f(db, "t", { v = 1 }, { conflict = "id", set = { [name] = 1 } }) end)
            refuses(function()
              f(db, "t", { v = 1 }, { conflict = "id", where = { [name] = 1 } })
            end)
          end
          refuses(function() db:upsert("t", { { v = 1 }, { [name] = 1 } }) end)
          refuses(function() db:update { table = name, set = { v = 1 }, all = true } end)
          refuses(function() db:update { table = "t", set = { [name] = 1 }, all = true } end)
          refuses(function() db:update { table = "t", set = { v = 1 }, where = { [name] = 1 } } end)
          refuses(function()
            db:update { table = "t", set = { v = 1 }, all = true, returning = name }
          end)
          refuses(function() db:delete { table = name, all = true } end)
          refuses(function() db:delete { table = "t", where = { [name] = 1 } } end)
          refuses(function() db:delete { table = "t", all = true, returning = { name } } end)
          refuses(function() db:bulk_insert(name, { { v = 1 } }) end)
          refuses(function() db:bulk_insert("t", { { v = 1 } }, { returning = name }) end)
          refuses(function() db:bulk_insert("t", { { v = 1 } }, { conflict = name }) end)
          refuses(function() db:bulk_update(name, { { v = 1 } }, { key = "v" }) end)
          refuses(function() db:bulk_update("t", { { v = 1 } }, { key = name }) end)
        end))
        canary()
      end)
    end

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
      for round = 1, 12 do
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
        local written = {}
        local function row(i)
          local values = { key = i }
          for name, kind in pairs(used) do
            if random(6) > 1 then values[name] = types[kind](random) end
          end
          return values
        end
        local function check(what, answer, err)
          assert(answer, ("round %d, %s: %s"):format(round, what, tostring(err)))
          local stored = rows(("SELECT * FROM %s ORDER BY key"):format(target))
          for i = 1, math.max(#written, #stored) do
            assert.is_true(support.exactly(written[i], stored[i]), ("round %d, %s: not %s but %s")
              :format(round, what, tostring(pg.encode(written[i])), tostring(pg.encode(stored[i]))))
          end
        end
        local function full(values) -- with the NULLs that clear what was there
          local all = {}
          for name in pairs(used) do all[name] = null end
          return merge(all, values)
        end
        written[1] = row(1)
        check("insert", db:insert(target, written[1]))
        for _, what in ipairs { "upsert inserts", "upsert updates" } do
          written[2] = row(2)
          check(what, db:upsert(target, full(written[2])))
        end
        for _, what in ipairs { "upsert of a list", "and again" } do
          for i = 2, 6 do written[i] = row(i) end
          check(what, db:upsert(target, { full(written[5]), full(written[3]), full(written[2]),
            full(written[6]), full(written[4]) }))
        end
        local more = { row(7), row(1), row(8) }
        written[7], written[8] = more[1], more[3]
        same({ 7, false, 8 }, assert(db:upsert(target, more, { update = false })).insertedIds)
        check("upsert that does nothing", true)
        written[9], written[10] = row(9), row(10)
        check("bulk_insert", db:bulk_insert(target, { written[9], written[10] }))
        written[9] = row(9)
        check("update", db:update { table = target, set = full(written[9]), where = { key = 9 } })
        local where = table.remove(written)
        for name, kind in pairs(used) do -- a list says "any of them"
          if kind:find "%[" then where[name] = nil end
        end
        check("delete", db:delete { table = target, where = where })
        assert(db:execute("DROP TABLE " .. tostring(target)))
      end
    end)
  end)
end)
