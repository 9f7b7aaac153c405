-- SPDX-License-Identifier: MIT
-- Types that the server defines: when they are asked for, and that every way to read or send their
-- values gives the same. How long what was learnt is kept is in typemap_spec.lua, the values of
-- composites and ranges in record_spec.lua and range_spec.lua.
local asked = require "spec.asked"
local nine_six = require "spec.nine_six"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local must, null = support.must, pg.null

local server, db, other

-- The same to the bit, whatever metatables say of lists.
local function same(expected, actual)
  if support.exactly(expected, actual) then return end
  error(("%s instead of %s"):format(pg.encode(actual), pg.encode(expected)), 2)
end

local function asks(count, f)
  asked.times(server, count, f)
end

local function rows(sql, ...)
  return must(db:query(sql, ...)).rows
end

-- A connection that knows nothing yet.
local function fresh(more)
  return must(pg.connect(support.with(server.options, more)))
end

setup(function()
  server = assert(throwaway.start { settings = { log_min_duration_statement = 0 } })
  db = assert(pg.connect(server.options))
  other = assert(pg.connect(server.options))
  must(other:execute [[
    CREATE TYPE mood AS ENUM ('sad', 'glad', 'it''s "ok", {}');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE DOMAIN small AS positive CHECK (VALUE < 100);
    CREATE DOMAIN blob AS bytea; CREATE DOMAIN document AS jsonb; CREATE DOMAIN ints AS int[];
    CREATE DOMAIN feeling AS mood; CREATE DOMAIN feelings AS mood[];
    CREATE SCHEMA "Side"; CREATE TYPE "Side"."Odd Name" AS ENUM ('x');
    CREATE TABLE felt (id int PRIMARY KEY, m mood, ms mood[], ps positive[], f feeling,
      fs feelings, docs document[]);
    INSERT INTO felt SELECT n, 'sad', '{sad,glad}', ARRAY[n], 'glad', '{glad}', '{"{\"a\": 1}"}'
      FROM generate_series(1, 100) AS n]])
end)

teardown(function()
  server:stop()
end)

after_each(function()
  if db:status().state ~= "idle" then db:close() end
  db = db:status().state == "closed" and fresh() or db
end)

describe("a type that the server defines", function()
  local cases <const> = {
    { "an enum", [['it''s "ok", {}'::mood]], [[it's "ok", {}]], "mood" },
    { "an enum of another schema", [['x'::"Side"."Odd Name"]], "x", '"Side"."Odd Name"' },
    { "an array of an enum", [=['{sad,NULL,"it''s \"ok\", {}"}'::mood[]]=],
      { "sad", null, [[it's "ok", {}]] }, "mood[]" },
    { "an empty array of an enum", "'{}'::mood[]", {}, "mood[]" },
    { "an array of an enum of two dimensions", "'{{sad},{glad}}'::mood[]",
      { { "sad" }, { "glad" } }, "mood[]" },
    { "an array of a domain", "'{7,NULL}'::positive[]", { 7, null }, "positive[]" },
    { "an array of a domain of a domain", "'{7}'::small[]", { 7 }, "small[]" },
    { "an array of a domain over bytea", [=['{"\\x00ff"}'::blob[]]=], { "\0\xff" }, "blob[]" },
    { "an array of a domain over jsonb", [=['{"[1, {}]"}'::document[]]=], { { 1, {} } },
      "document[]" },
    { "a domain over an array", "'{1,2}'::ints", { 1, 2 }, "integer[]" },
    { "a domain over an array of an enum", "'{sad}'::feelings", { "sad" }, "mood[]" },
    { "an array of a domain over an enum", "'{sad}'::feeling[]", { "sad" }, "feeling[]" },
    { "a type of a system schema", "'{a,b}'::information_schema.sql_identifier[]", { "a", "b" },
      "information_schema.sql_identifier[]" },
  }

  for _, case in ipairs(cases) do
    it(("comes as its value and goes back as it was (R16): %s"):format(case[1]), function()
      local sql = ("SELECT %s AS v, NULL::int AS n"):format(case[2])
      for _ = 1, 3 do
        local result = must(db:query(sql))
        same({ { v = case[3] } }, result.rows)
        assert.equal(case[4], result:columns()[1].type)
        local type = support.value(other, ("SELECT pg_typeof(%s)::text"):format(case[2]))
        local back = ("SELECT $1::%s IS NOT DISTINCT FROM %s AS same"):format(type, case[2])
        same({ { same = true } }, rows(back, result.rows[1].v))
      end
    end)

    it(("is the same in text and in binary (R16): %s"):format(case[1]), function()
      local sql = ("SELECT %s AS v, decode('', 'hex') AS paying -- both"):format(case[2])
      for _ = 1, 3 do same({ { v = case[3], paying = "" } }, rows(sql)) end
    end)
  end

  it("is known by one question for all of a result, and by none the next time", function()
    local own <close> = fresh()
    local sql = "SELECT * FROM felt WHERE id < $1"
    local expected = { id = 1, m = "sad", ms = { "sad", "glad" }, ps = { 1 }, f = "glad",
      fs = { "glad" }, docs = { { a = 1 } } }
    for _, costs in ipairs { { 1, 2 }, { 0, 1 }, { 0, 1 } } do
      local count, parsed = asked.count(server, function()
        same({ expected }, must(own:query(sql, 2)).rows)
      end)
      same(costs, { count, parsed })
    end
    asks(0, function() must(own:query "SELECT ms, fs FROM felt") end)
    asks(0, function() must(own:query("SELECT $1::mood[], $2::positive[]", { "sad" }, {})) end)
  end)

  it("is not asked for where no value of it comes; its name is not known then", function()
    local own <close> = fresh()
    local sql = "SELECT NULLIF('sad'::mood, $1) AS m, 1 AS n"
    asks(0, function()
      local result = must(own:query(sql, "sad"))
      same({ { n = 1 } }, result.rows)
      assert.is_nil(result:columns()[1].type)
      same({}, must(own:query "SELECT * FROM felt WHERE false").rows)
    end)
    asks(1, function()
      local result = must(own:query(sql, "glad"))
      same({ { n = 1, m = "sad" } }, result.rows)
      assert.equal("mood", result:columns()[1].type)
    end)
    asks(0, function()
      assert.equal("mood", must(own:query(sql, "sad")):columns()[1].type)
    end)
  end)

  it("is asked for in one question, of any PostgreSQL from 9.6 on and any search_path", function()
    local own <close> = fresh()
    must(own:execute [[CREATE SCHEMA hostile;
      CREATE FUNCTION hostile.unnest(oid[]) RETURNS SETOF oid LANGUAGE sql AS 'SELECT 1::oid';
      CREATE TABLE hostile.pg_type (oid int); CREATE TABLE hostile.needed (oid int);
      SET search_path TO hostile, public, pg_catalog]])
    local _, _, log = asked.count(server, function()
      same({ { v = { "sad" } } }, must(own:query "SELECT '{sad}'::mood[] AS v").rows)
    end)
    must(own:execute "RESET search_path; DROP SCHEMA hostile CASCADE")
    local text = log:match("execute <unnamed>: (WITH RECURSIVE needed.-)\n%d%d%d%d%-")
      or log:match "execute <unnamed>: (WITH RECURSIVE needed[^\n]*)"
    nine_six(text, "needed given made part oid n t r a d x e kind name extension")
  end)
end)

describe("rows of such types", function()
  local SQL <const> = [[SELECT id, ms AS list, 1 AS m, m, NULL::mood[] AS list2, ps
    FROM felt WHERE id <= 2 ORDER BY id -- ]]

  it("are the same in all three shapes, whatever the way and whatever was known", function()
    local keyed, arrays, lists = {}, {}, { id = {}, list = {}, m = {}, list2 = {}, ps = {} }
    for id = 1, 2 do
      local list = { "sad", "glad" }
      keyed[id] = { id = id, list = list, m = "sad", list2 = null, ps = { id } }
      arrays[id] = { id, list, 1, "sad", null, { id } }
      for name, value in pairs(keyed[id]) do lists[name][id] = value end
    end
    for shape, expected in pairs { object = keyed, array = arrays, columns = lists } do
      for round = 1, 2 do
        local own <close> = fresh { rows = shape, null = null }
        for again = 1, 3 do
          local sql = SQL .. round
          same(expected, must(own:query(sql)).rows)
          local both = must(own:pipeline(function(p) p:query(sql) p:query(sql) end))
          same({ expected, expected }, { both[1].rows, both[2].rows })
          same(expected, must(own:execute("SELECT 1;" .. sql)).rows)
          if shape ~= "columns" and again > 1 then
            local streamed, copied = {}, {}
            for row in own:each(sql) do streamed[#streamed + 1] = row end
            for row in own:copy_rows((sql:gsub(" %-%-.*", ""))) do copied[#copied + 1] = row end
            same({ expected, expected }, { streamed, copied })
          end
        end
      end
    end
  end)

  it("of a name given twice are those of the last column, NULL or not", function()
    local cases = {
      { "'{sad}'::mood[] AS v, 7 AS v", 7 }, { "7 AS v, '{sad}'::mood[] AS v", { "sad" } },
      { "'{sad}'::mood[] AS v, 'text' AS v", "text" },
      { "'{sad}'::mood[] AS v, NULL::mood[] AS v", nil },
      { "NULL::mood[] AS v, '{sad}'::mood[] AS v", { "sad" } },
      { "'{sad}'::mood[] AS v, '{1}'::positive[] AS v", { 1 } },
    }
    for _, case in ipairs(cases) do
      local own <close> = fresh()
      for _ = 1, 2 do
        same({ { v = case[2] } }, must(own:query("SELECT " .. case[1])).rows)
        same({ v = { case[2] or null } },
          must(own:query { query = "SELECT " .. case[1], rows = "columns" }).rows)
      end
    end
  end)

  it("of a stream and of copy_rows are asked for before the first one", function()
    for _, way in ipairs { "each", "copy_rows" } do
      local own <close> = fresh()
      asks(1, function()
        local count = 0
        for row in own[way](own, "SELECT ms, ps FROM felt") do
          count = count + 1
          same({ ms = { "sad", "glad" }, ps = { count } }, row)
        end
        assert.equal(100, count)
      end)
      asks(0, function()
        for row in own[way](own, "SELECT ms, ps FROM felt") do assert.equal("sad", row.ms[1]) end
      end)
    end
  end)

  it("of a stream whose column has been NULL so far are asked for, too", function()
    local own <close> = fresh()
    local sql = "SELECT CASE WHEN $1 THEN '{sad}'::mood[] END AS v"
    same({ {} }, must(own:query(sql, false)).rows)
    for row in own:each(sql, true) do same({ v = { "sad" } }, row) end
  end)

  it("of a pipeline are asked for once, for all its results", function()
    local own <close> = fresh()
    asks(1, function()
      local results = must(own:pipeline(function(p)
        p:query "SELECT ms FROM felt WHERE id = 1"
        p:query("SELECT $1::int AS n", 1)
        p:query { query = "SELECT ps, m FROM felt WHERE id < 3 ORDER BY id", rows = "columns" }
        p:query { query = "SELECT docs FROM felt WHERE id = 1", rows = "array" }
      end))
      same({ { ms = { "sad", "glad" } } }, results[1].rows)
      same({ { n = 1 } }, results[2].rows)
      same({ ps = { { 1 }, { 2 } }, m = { "sad", "sad" } }, results[3].rows)
      same({ { { { a = 1 } } } }, results[4].rows)
      assert.equal("mood[]", results[1]:columns()[1].type)
    end)
    asks(0, function()
      must(own:pipeline(function(p) p:query "SELECT ms, ps, docs FROM felt" end))
    end)
  end)

  it("come within a transaction as without, and in one that a script has begun", function()
    local own <close> = fresh()
    must(own:transaction(function(tx)
      same({ { v = { "sad" } } }, must(tx:query "SELECT '{sad}'::mood[] AS v").rows)
      return true
    end, { isolation = "serializable", readonly = true }))
    local second <close> = fresh()
    same({ { v = { 1 } } }, must(second:execute "BEGIN; SELECT '{1}'::positive[] AS v").rows)
    must(second:execute "ROLLBACK")
  end)

  it("keep what they said of their columns after the connection and its types are gone", function()
    local own = fresh()
    local result = must(own:query "SELECT '{sad}'::mood[] AS v")
    must(own:execute "DISCARD ALL")
    own:close()
    for _ = 1, 3 do collectgarbage() end
    assert.equal("mood[]", result:columns()[1].type)
    same({ { v = { "sad" } } }, result.rows)
  end)
end)

describe("a parameter of such a type", function()
  it("is asked for once, where the value is a table", function()
    local own <close> = fresh()
    local sql = "SELECT $1::mood[] AS a, $2::positive[] AS b, $3::document[] AS c"
    for i = 1, 3 do
      asks(i == 1 and 1 or 0, function()
        same({ { a = { "sad", null }, b = { 1, 2 }, c = { { x = {} }, {} } } },
          must(own:query(sql, { "sad", null }, { 1, 2 }, { { x = pg.array {} }, {} })).rows)
      end)
    end
    asks(0, function() must(own:query("SELECT $1::mood AS v -- plain", "sad")) end)
  end)

  it("counts as its base type where it is a domain, also for bytes (R16)", function()
    local own <close> = fresh()
    for _ = 1, 3 do
      same({ { b = "a\\134\0", d = { 1 }, l = { 1 } } }, must(own:query(
        "SELECT $1::blob AS b, $2::document AS d, $3::ints AS l", "a\\134\0", { 1 }, { 1 })).rows)
    end
  end)

  it("is known to db:prepare, and its columns with it", function()
    local own <close> = fresh()
    asks(1, function()
      local sql = "SELECT $1::mood[] AS v, ps FROM felt WHERE id = 1"
      local statement <close> = must(own:prepare(sql))
      for _ = 1, 3 do
        same({ { v = { "glad" }, ps = { 1 } } }, must(statement:query { "glad" }).rows)
      end
    end)
  end)

  it("may be queued in a pipeline", function()
    local own <close> = fresh()
    local results = must(own:pipeline(function(p)
      for _ = 1, 3 do p:query("SELECT $1::positive[] AS v", { 1, 2 }) end
    end))
    for i = 1, 3 do same({ { v = { 1, 2 } } }, results[i].rows) end
  end)
end)

describe("pgvector's type", function()
  -- The real one may not be installed: a type with its name and its text, a member of an extension
  -- with its name, is all that is looked at.
  it("is a list of numbers both ways", function()
    local own <close> = fresh()
    must(own:execute "SET allow_system_table_mods = on")
    must(own:execute [[
      CREATE EXTENSION citext; CREATE TYPE vector;
      CREATE FUNCTION vector_in(cstring) RETURNS vector LANGUAGE internal STRICT AS 'textin';
      CREATE FUNCTION vector_out(vector) RETURNS cstring LANGUAGE internal STRICT AS 'textout';
      CREATE TYPE vector (INPUT = vector_in, OUTPUT = vector_out);
      ALTER EXTENSION citext ADD TYPE vector;
      UPDATE pg_extension SET extname = 'vector' WHERE extname = 'citext';
      CREATE TABLE embedded (v vector, l vector[])]])
    local row = { v = { 1.0, -2.5, 1e-30 }, l = { { 1.0 }, pg.null, { 2.0 } } }
    must(own:insert("embedded", row))
    for _ = 1, 3 do same({ row }, rows "SELECT * FROM embedded") end
    same({ { t = "[1,-2.5,1e-30]" } }, rows "SELECT v::text AS t FROM embedded")
    local err = support.failed("invalid_parameter", own:insert("embedded", { v = { 1, "x" } }))
    support.contains(err.message, "[2]")
  end)
end)
