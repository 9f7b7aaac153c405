-- SPDX-License-Identifier: MIT
-- What is known of the types that a server defines: how long, shared by whom, asked for anew when,
-- and what becomes of a statement whose types cannot be asked for.
local asked = require "spec.asked"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local failed, must, null = support.failed, support.must, pg.null

local server, other

-- The same to the bit, whatever metatables say of lists.
local function same(expected, actual)
  if support.exactly(expected, actual) then return end
  error(("%s instead of %s"):format(pg.encode(actual), pg.encode(expected)), 2)
end

local function asks(count, f)
  asked.times(server, count, f)
end

-- A connection that knows nothing yet.
local function fresh()
  return must(pg.connect(server.options))
end

setup(function()
  server = assert(throwaway.start { settings = { log_min_duration_statement = 0 } })
  other = fresh()
  must(other:execute [[
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE felt (id int PRIMARY KEY, m mood, ms mood[]);
    INSERT INTO felt SELECT n, 'sad', '{sad,glad}' FROM generate_series(1, 100) AS n]])
end)

teardown(function()
  server:stop()
end)

describe("what was learnt of types", function()
  it("is forgotten by DDL, by DISCARD and by a reset", function()
    local own <close> = fresh()
    local sql = "SELECT '{sad}'::mood[] AS v"
    must(own:query(sql))
    for _, what in ipairs { "CREATE TEMP TABLE t (a int)", "ALTER TABLE t ADD b int",
      "DROP TABLE t", "DISCARD ALL", "DO $$ BEGIN END $$" } do
      must(own:execute(what))
      asks(1, function() must(own:query(sql)) end)
      asks(0, function() must(own:query(sql)) end)
    end
    must(own:reset())
    asks(1, function() same({ { v = { "sad" } } }, must(own:query(sql)).rows) end)
  end)

  it("follows a type that the connection itself makes, drops and makes anew", function()
    local own <close> = fresh()
    for _, change in ipairs {
      { "CREATE TYPE passing AS ENUM ('x')", "'{x}'::passing[]", { "x" } },
      { "DROP TYPE passing; CREATE DOMAIN passing AS int", "'{7}'::passing[]", { 7 } },
      { "DROP DOMAIN passing; CREATE DOMAIN passing AS float8", "'{7}'::passing[]", { 7.0 } },
    } do
      must(own:execute(change[1]))
      for _ = 1, 2 do
        same({ { v = change[3] } }, must(own:query("SELECT " .. change[2] .. " AS v")).rows)
      end
    end
    must(own:execute "BEGIN; DROP DOMAIN passing; CREATE DOMAIN passing AS text")
    same({ { v = { "7" } } }, must(own:query "SELECT '{7}'::passing[] AS v").rows)
    must(own:execute "ROLLBACK")
    same({ { v = { 7.0 } } }, must(own:query "SELECT '{7}'::passing[] AS v").rows)
    must(own:execute "DROP DOMAIN passing")
  end)

  -- A connection that has read and stored a pair, which another session then changes.
  local function outdated(change)
    must(other:execute [[DROP TABLE IF EXISTS paired; DROP TYPE IF EXISTS pair;
      CREATE TYPE pair AS (a int, b text); CREATE TABLE paired (id serial, p pair);
      INSERT INTO paired (p) VALUES ('(1,x)'), (NULL), ('(2,y)')]])
    local own = fresh()
    same({ { p = { a = 1, b = "x" } }, {}, { p = { a = 2, b = "y" } } },
      must(own:query "SELECT p FROM paired ORDER BY id").rows)
    must(own:execute("INSERT INTO paired (p) VALUES ($1)", { a = 3, b = "z" }))
    must(other:execute("DELETE FROM paired WHERE id = 4;" .. change))
    return own
  end

  local changes <const> = {
    { "an attribute more", "ALTER TYPE pair ADD ATTRIBUTE c int", { a = 1, b = "x" } },
    { "an attribute less", "ALTER TYPE pair DROP ATTRIBUTE a", { b = "x" } },
    { "another one of the same name", [[ALTER TABLE paired ALTER p TYPE text;
      DROP TYPE pair; CREATE TYPE pair AS (b text); UPDATE paired SET p = '(x)' WHERE id = 1;
      UPDATE paired SET p = '(y)' WHERE id = 3;
      ALTER TABLE paired ALTER p TYPE pair USING p::pair]],
      { b = "x" } },
  }
  for _, case in ipairs(changes) do
    local second = support.merge(case[3], { a = case[3].a and 2, b = "y" })

    it(("is asked for anew, once, where a value does not look so any more: %s"):format(case[1]),
      function()
        for shape, expected in pairs {
          object = { { p = case[3] }, {}, { p = second } },
          array = { { case[3] }, { null }, { second } },
          columns = { p = { case[3], null, second } },
        } do
          local own <close> = outdated(case[2])
          local sql = { query = "SELECT p FROM paired ORDER BY id", rows = shape }
          asks(1, function() same(expected, must(own:query(sql)).rows) end)
          asks(0, function() same(expected, must(own:query(sql)).rows) end)
        end
      end)

    it(("is asked for anew by a pipeline and in a transaction: %s"):format(case[1]), function()
      local own <close> = outdated(case[2])
      local sql = "SELECT p FROM paired ORDER BY id"
      asks(1, function()
        for _, result in ipairs(must(own:pipeline(function(p) p:query(sql) p:query(sql) end))) do
          same({ { p = case[3] }, {}, { p = second } }, result.rows)
        end
      end)
      local again <close> = outdated(case[2])
      must(again:transaction(function(tx)
        same({ { p = case[3] }, {}, { p = second } }, must(tx:query(sql)).rows)
        return true
      end))
    end)

    it(("is an error of a stream, but not of the next one: %s"):format(case[1]), function()
      for _, way in ipairs { "each", "copy_rows" } do
        local own <close> = outdated(case[2])
        for _ in own[way](own, "SELECT p FROM paired WHERE false") do error "a row" end
        local count = 0
        local good, err = pcall(function()
          for _ in own[way](own, "SELECT p FROM paired ORDER BY id") do count = count + 1 end
        end)
        if not good then
          assert.equal("invalid_value", err.kind)
          assert.equal("p", err.column)
          assert.equal(0, count)
        end
        count = 0
        for row in own[way](own, "SELECT p FROM paired ORDER BY id") do
          count = count + 1
          same(({ { p = case[3] }, {}, { p = second } })[count], row)
        end
        assert.equal(3, count)
      end
    end)

    it(("is asked for anew where a parameter is refused: %s"):format(case[1]), function()
      local own <close> = outdated(case[2])
      local sql, value = "INSERT INTO paired (p) VALUES ($1)", { b = "new" }
      if case[3].a then value.a = 9 end
      same({ success = true, rowCount = 1 }, must(own:execute(sql, value)))
      same({ { p = value } }, must(own:query "SELECT p FROM paired WHERE id > 4").rows)
    end)
  end

  it("is asked for by a stream whose column another session gives such a type", function()
    must(other:execute "CREATE TABLE altered AS SELECT 1 AS v")
    local own <close> = fresh()
    for row in own:each "SELECT v FROM altered" do same({ v = 1 }, row) end
    must(other:execute "ALTER TABLE altered ALTER v TYPE mood[] USING '{sad}'")
    local good, err = pcall(function()
      for row in own:each "SELECT v FROM altered" do same({ v = { "sad" } }, row) end
    end)
    if not good then assert.equal("invalid_value", err.kind) end
    for row in own:each "SELECT v FROM altered" do same({ v = { "sad" } }, row) end
    must(other:execute "DROP TABLE altered")
  end)
end)

describe("the question about types", function()
  it("that fails is an error which says that the statement took effect", function()
    must(other:execute "CREATE ROLE blind LOGIN; GRANT ALL ON felt TO blind")
    must(other:execute "REVOKE SELECT ON pg_range FROM public")
    local blind <close> = must(pg.connect(support.with(server.options, { user = "blind" })))
    local sql = "UPDATE felt SET ms = '{glad}' WHERE id = 100 RETURNING ms"
    local err = failed("permission_denied", blind:query(sql))
    assert.is_true(err.completed)
    assert.equal(sql, err.sql)
    assert.is_nil(err.position)
    assert.equal("idle", blind:status().state)
    same({ { ms = "{glad}" } }, must(other:query "SELECT ms::text FROM felt WHERE id = 100").rows)
    err = failed("permission_denied", blind:transaction(function(tx)
      failed("permission_denied", tx:query(sql))
      return true
    end))
    assert.is_false(err.completed)
    must(blind:execute "BEGIN")
    assert.is_false(failed("permission_denied", blind:query(sql)).completed)
    must(blind:execute "ROLLBACK")
    same({ { m = "sad" } }, must(blind:query "SELECT m::text FROM felt WHERE id = 1").rows)
    must(other:execute "GRANT SELECT ON pg_range TO public")
    same({ { ms = { "glad" } } }, must(blind:query(sql)).rows)
  end)

  it("counts neither towards max_result nor as a row, and lasts no longer than the statement may",
    function()
      local own <close> = fresh()
      same({ { v = { "sad" } } },
        must(own:query { query = "SELECT '{sad}'::mood[] AS v", max_result = 20 }).rows)
      local second <close> = fresh()
      must(other:execute "BEGIN; LOCK TABLE pg_range IN ACCESS EXCLUSIVE MODE")
      local err = failed("query_timeout",
        second:query { query = "SELECT '{sad}'::mood[] AS v", timeout = 0.3 })
      assert.is_true(err.completed)
      must(other:execute "ROLLBACK")
      assert.equal("idle", second:status().state)
      same({ { v = { "sad" } } }, must(second:query "SELECT '{sad}'::mood[] AS v").rows)
    end)
end)

describe("the connections of a pool", function()
  local pool, one, two, third

  before_each(function()
    pool = pg.pool(support.merge(server.options, { size = 3 }))
    one, two = must(pool:acquire()), must(pool:acquire())
  end)

  after_each(function()
    for _, conn in ipairs { one, two, third } do conn:close() end
    third = nil
    pool:close()
  end)

  local MOODS <const> = "SELECT '{sad}'::mood[] AS v"

  local function read(conn, sql)
    return must(conn:query(sql or MOODS)).rows
  end

  it("share what they learn of types, whenever they were opened", function()
    asks(1, function() same({ { v = { "sad" } } }, read(one)) end)
    asks(0, function() same({ { v = { "sad" } } }, read(two)) end)
    third = must(pool:acquire())
    asks(0, function() same({ { v = { "sad" } } }, read(third)) end)
    asks(0, function()
      for row in third:each(MOODS) do same({ v = { "sad" } }, row) end
      same({ { v = { "sad" } } }, must(two:query("SELECT $1::mood[] AS v", { "sad" })).rows)
    end)
  end)

  it("forget together what the DDL of one may have changed", function()
    read(one)
    must(two:execute "CREATE TEMP TABLE t (a int)")
    asks(1, function() read(one) end)
    asks(0, function() read(two) end)
    for _ = 1, 2 do
      for row in one:each(MOODS) do same({ v = { "sad" } }, row) end
      must(two:execute "DROP TABLE IF EXISTS t")
    end
    must(two:execute "CREATE TYPE passing AS (a int, b int)")
    same({ { v = { a = 1, b = 2 } } }, read(one, "SELECT ROW(1, 2)::passing AS v"))
    must(two:execute "ALTER TYPE passing RENAME ATTRIBUTE b TO c")
    for _, conn in ipairs { one, two } do
      same({ { v = { a = 1, c = 2 } } }, read(conn, "SELECT ROW(1, 2)::passing AS v"))
    end
    must(two:execute "DROP TYPE passing")
  end)

  it("do not see what a transaction of one has not committed", function()
    local sql = "SELECT ROW(1, 2)::passing AS v"
    must(one:execute "CREATE TYPE passing AS (a int, b int)")
    same({ { v = { a = 1, b = 2 } } }, read(two, sql))
    for _, ending in ipairs { "ROLLBACK", "COMMIT" } do
      must(one:execute "BEGIN; ALTER TYPE passing RENAME ATTRIBUTE b TO c")
      same({ { v = { a = 1, c = 2 } } }, read(one, sql))
      asks(0, function() same({ { v = { a = 1, b = 2 } } }, read(two, sql .. " -- kept")) end)
      must(one:execute(ending))
      local expected = { { v = { a = 1, [ending == "COMMIT" and "c" or "b"] = 2 } } }
      for _, conn in ipairs { two, one, two } do same(expected, read(conn, sql)) end
    end
    must(one:execute "DROP TYPE passing")
  end)

  it("learn anew together what another session has changed", function()
    local sql = "SELECT ROW(1, 2)::passing AS v"
    must(other:execute "CREATE TYPE passing AS (a int, b int)")
    for _, conn in ipairs { one, two } do same({ { v = { a = 1, b = 2 } } }, read(conn, sql)) end
    must(other:execute "DROP TYPE passing; CREATE TYPE passing AS (a int, b int)")
    for _, conn in ipairs { one, two } do same({ { v = { a = 1, b = 2 } } }, read(conn, sql)) end
    must(other:execute "ALTER TYPE passing DROP ATTRIBUTE b")
    sql = "SELECT ROW(1)::passing AS v"
    asks(1, function()
      for _, conn in ipairs { one, two, one } do same({ { v = { a = 1 } } }, read(conn, sql)) end
    end)
    must(other:execute "DROP TYPE passing")
  end)

  it("keep it when they are given back", function()
    read(one)
    must(one:execute "SET search_path TO pg_catalog")
    one:close()
    one = must(pool:acquire())
    asks(0, function() read(one) read(two) end)
  end)
end)

describe("a row of a type", function()
  it("may be read by finalizers that run last", function()
    local read = {}
    do
      local own = must(pg.connect(server.options))
      local late = setmetatable({}, { __gc = function(o) read[1] = o.result:columns()[1].type end })
      late.result = must(own:query "SELECT '{}'::pg_catalog._pg_class AS a")
    end
    collectgarbage()
    collectgarbage()
    assert.equal("pg_class[]", read[1])
  end)
end)

describe("types that changed where nobody said so", function()
  it("are forgotten with the transaction that was rolled back", function()
    local own <close> = fresh()
    must(other:execute [[
      CREATE TYPE hidden AS (a int);
      CREATE FUNCTION hide() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'ALTER TYPE hidden RENAME ATTRIBUTE a TO zz'; RETURN 1; END $$]])
    must(own:execute "BEGIN")
    must(own:query "SELECT hide()")
    same({ { v = { zz = 1 } } }, must(own:query "SELECT ROW(1)::hidden AS v").rows)
    must(own:execute "ROLLBACK")
    same({ { v = { a = 1 } } }, must(own:query "SELECT ROW(1)::hidden AS v").rows)
    local another <close> = fresh()
    another:transaction(function(tx)
      must(tx:query "SELECT hide()")
      same({ { v = { zz = 1 } } }, must(tx:query "SELECT ROW(1)::hidden AS v").rows)
      return nil, "not this time"
    end)
    same({ { v = { a = 1 } } }, must(another:query "SELECT ROW(1)::hidden AS v").rows)
    local pool <close> = must(pg.pool(support.merge(server.options, { size = 1 })))
    pool:use(function(db)
      must(db:execute "BEGIN")
      must(db:query "SELECT hide()")
      same({ { v = { zz = 1 } } }, must(db:query "SELECT ROW(1)::hidden AS v").rows)
    end)
    same({ { v = { a = 1 } } }, must(pool:query "SELECT ROW(1)::hidden AS v").rows)
  end)

  it("are learnt anew by bulk_insert after a row that does not fit", function()
    local own <close> = fresh()
    must(other:execute "CREATE TYPE grown AS (a int); CREATE TABLE growing (v grown)")
    must(own:bulk_insert("growing", { { v = { a = 1 } } }))
    must(other:execute "ALTER TYPE grown ADD ATTRIBUTE b int")
    local rows = { { v = { a = 2, b = 3 } } }
    support.contains(failed("invalid_parameter", own:bulk_insert("growing", rows)).message, "b")
    must(own:bulk_insert("growing", rows))
    same({ { n = 2 } }, must(own:query "SELECT count(*) AS n FROM growing").rows)
  end)
end)
