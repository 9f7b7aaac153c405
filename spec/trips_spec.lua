-- SPDX-License-Identifier: MIT
-- How often a call waits for the server, and what is said meanwhile: by libpq's trace.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local trace = require "spec.trace"

local must <const> = support.must

local server, other, remove

setup(function()
  remove = trace.load()
  server = must(throwaway.start())
end)

teardown(function()
  other:close()
  server:stop()
  remove()
end)

before_each(function()
  other = support.emptied(server.options, other)
  must(other:execute [[
    CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE TYPE pair AS (n int, m mood);
    CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, n int, doc jsonb);
    CREATE TABLE k (id int PRIMARY KEY, v text);
    CREATE TABLE felt (id int PRIMARY KEY, m mood);
    INSERT INTO k SELECT i, 'v' || i FROM generate_series(1, 50) AS i;
    INSERT INTO felt VALUES (1, 'ok')]])
end)

-- --- trips by name -------------------------------------------------------------------------------

local ONE <const>, AGAIN <const> = "Parse Bind Describe Execute", "Bind Describe Execute"
local ROWS <const>, NONE <const> = "BindComplete RowDescription CommandComplete ",
  "BindComplete NoData CommandComplete "

-- What is sent in a trip, and what comes back.
local KINDS <const> = {
  run = { ONE .. " Sync", "ParseComplete " .. ROWS .. "ReadyForQuery" },
  change = { ONE .. " Sync", "ParseComplete " .. NONE .. "ReadyForQuery" },
  named = { AGAIN .. " Sync", ROWS .. "ReadyForQuery" },
  ["named change"] = { AGAIN .. " Sync", NONE .. "ReadyForQuery" },
  describe = { "Parse Describe Sync",
    "ParseComplete ParameterDescription RowDescription ReadyForQuery" },
  ["describe change"] = { "Parse Describe Sync",
    "ParseComplete ParameterDescription NoData ReadyForQuery" },
  command = { "Query", "CommandComplete ReadyForQuery" },
  script = { "Query", "CommandComplete CommandComplete ReadyForQuery" },
  refused = { ONE .. " Sync", "ParseComplete ErrorResponse ReadyForQuery" },
  ["named refused"] = { AGAIN .. " Sync", "ErrorResponse ReadyForQuery" },
  ["run in a savepoint"] = { ONE .. " " .. ONE .. " " .. ONE .. " Sync", "ParseComplete " .. NONE
    .. "ParseComplete " .. ROWS .. "ParseComplete " .. NONE .. "ReadyForQuery" },
  ["copy in"] = { "Query", "CopyInResponse" },
  ["copy end"] = { "CopyDone", "CommandComplete ReadyForQuery" },
  ["copy out"] = { "Query", "CopyOutResponse CopyDone CommandComplete ReadyForQuery" },
  -- of a pool: nobody waits
  reset = { "Query", "" },
}

local names <const> = {}
for name, kind in pairs(KINDS) do names[kind[1] .. " > " .. kind[2]] = name end

-- In the same trip the name of another statement is given up first, on its own; or a transaction
-- begins.
local CLOSE <const>, BEGIN <const> = ONE .. " Sync ", ONE .. " "
local BEGUN <const> = "ParseComplete " .. NONE
local CLOSED <const> = BEGUN .. "ReadyForQuery "

local function plain_name(sent, got)
  local said = sent .. " > " .. got
  return names[said] or said
end

--- "run"; "prepare" where it also gives a name; "catalogue" where it is a question of the module's.
local function name_of(trip)
  if trip.text:find '"DEALLOCATE ' and trip.sent:sub(1, #CLOSE) == CLOSE
    and trip.got:sub(1, #CLOSED) == CLOSED then
    return "close + " .. plain_name(trip.sent:sub(#CLOSE + 1), trip.got:sub(#CLOSED + 1))
  end
  if trip.text:find '^[^\n]*"BEGIN[%u ]*" 0\n' and trip.sent:sub(1, #BEGIN) == BEGIN
    and trip.got:sub(1, #BEGUN) == BEGUN then
    return "begin + " .. name_of { text = trip.text:match "\n(.*)",
      sent = trip.sent:sub(#BEGIN + 1), got = trip.got:sub(#BEGUN + 1) }
  end
  if trip.sent == "" and trip.got:find "^CommandComplete [%a ]*CommandComplete ReadyForQuery$"
    and not trip.got:find "ErrorResponse" then
    return "its answer"
  end
  local name = plain_name(trip.sent, trip.got)
  if name == "run" and (trip.text:find("FROM pg_catalog.pg_", 1, true)
    or trip.text:find("pg_catalog.to_regtype(", 1, true)) then
    return "catalogue"
  end
  if not trip.text:find '\tParse\t "pg_%x+_%d+"' then return name end
  return name == "run" and "prepare" or name .. " by name"
end

local function names_of(trips)
  local list = {}
  for i, trip in ipairs(trips) do list[i] = name_of(trip) end
  return table.concat(list, "; ")
end

local function explain(trips)
  local lines = {}
  for i, trip in ipairs(trips) do
    lines[#lines + 1] = ("trip %d: %d bytes sent, %d got"):format(i, trip.bytes.sent,
      trip.bytes.got)
    for line in trip.text:gmatch "[^\n]+" do
      if line:find "^[FB]\t%d" then lines[#lines + 1] = "  " .. line:sub(1, 120) end
    end
  end
  return table.concat(lines, "\n")
end

--- Asserts the trips of a call.
local function expect(what, expected, trips)
  if names_of(trips) == expected then return end
  error(("%s:\nexpected %s\ngot      %s\n%s"):format(what, expected, names_of(trips),
    explain(trips)), 0)
end

--- Calls f again and again and asserts the trips of each call; the last of `uses` is that of all
--- later ones, too.
local function check_on(db, name, f, uses)
  local trips <const> = trace.follow(db)
  for i = 1, #uses + 1 do
    f(db, i)
    expect(("%s, use %d"):format(name, i), uses[math.min(i, #uses)], trips())
  end
end

--- On a connection of its own.
local function check(name, f, uses, options)
  local db <close> = must(pg.connect(support.merge(server.options, options)))
  check_on(db, name, f, uses)
end

local function check_all(cases)
  for _, case in ipairs(cases) do check(table.unpack(case)) end
end

--- On the same: nothing that one of them learns is of use to another.
local function check_alike(cases)
  local db <close> = must(pg.connect(server.options))
  for _, case in ipairs(cases) do check_on(db, table.unpack(case)) end
end

-- A function that runs this.
local function query(sql, ...)
  local values = table.pack(...)
  return function(db) return must(db:query(sql, table.unpack(values, 1, values.n))) end
end

local RECURS <const> = { "run", "run", "run", "run", "prepare", "named" }

-- --- statements ----------------------------------------------------------------------------------

describe("a statement of plain scalars", function()
  it("takes one trip, the first time and later", function()
    check_alike {
      { "no parameter", query "SELECT 1 AS x", RECURS },
      { "an integer", query("SELECT $1::int8 AS x", math.mininteger), RECURS },
      { "a float", query("SELECT $1::float8 AS x", 1.5), RECURS },
      { "a boolean", query("SELECT $1::bool AS x", false), RECURS },
      { "a string", query("SELECT $1::text AS x", ""), RECURS },
      { "100 kB", query("SELECT length($1) AS x", ("x"):rep(100000)), RECURS },
      { "nil", query("SELECT $1::int AS x", nil), RECURS },
      { "all of them", query("SELECT $1::int, $2::float8, $3::bool, $4::text, $5::date",
        1, 0.1, true, "it's", nil), RECURS },
      { "1,000 rows", query("SELECT i FROM generate_series(1, $1) AS i", 1000), RECURS },
      { "no row", query("SELECT * FROM k WHERE id = $1", 0), RECURS },
      { "a key of any type", query("SELECT * FROM k WHERE v = $1", "v7"), RECURS },
    }
    check("nothing is prepared", query("SELECT $1::int AS x", 1),
      { "run", "run", "run", "run", "run", "run" }, { prepare = false })
  end)

  it("takes one that changes something, too, which is not prepared by itself", function()
    local many <const> = { "change", "change", "change", "change", "change", "change" }
    local rows <const> = { "run", "run", "run", "run", "run", "run" }
    check_alike {
      { "insert", query("INSERT INTO t (v, n) VALUES ($1, $2)", "x", 1), many },
      { "returning", query("INSERT INTO t (v) VALUES ($1) RETURNING id", "x"), rows },
      { "db:update", function(db, i)
        must(db:update("UPDATE t SET n = $1 WHERE v = $2", i, "x"))
      end, many },
      { "db:update of a form", function(db, i)
        must(db:update { table = "t", set = { n = i }, where = { v = "x" } })
      end, many },
      { "db:delete", function(db, i) must(db:delete("DELETE FROM t WHERE n = $1", i)) end, many },
      { "db:delete of a form", function(db, i)
        must(db:delete { table = "t", where = { n = i } })
      end, many },
      { "db:execute", function(db, i) must(db:execute("UPDATE t SET n = $1", i)) end, many },
      { "db:execute without values", function(db) must(db:execute "UPDATE t SET n = 1") end,
        { "command" } },
      { "a script", function(db) must(db:execute "UPDATE t SET n = 1; TABLE t") end,
        { "Query > CommandComplete RowDescription CommandComplete ReadyForQuery" } },
    }
  end)

  it("takes one when it fails, and the next one, too", function()
    local divide <const>, named <const> = "SELECT 1 / $1::int AS x", "SELECT 2 / $1::int AS x"
    check_alike {
      { "refused", function(db) support.failed("invalid_value", db:query(divide, 0)) end,
        { "refused" } },
      { "by its name", function(db, i) db:query(named, i == 6 and 0 or 1) end,
        { "run", "run", "run", "run", "prepare", "named refused", "close + run", "run" } },
      { "once", function(db, i) db:query("SELECT 3 / $1::int AS x", i == 2 and 0 or 1) end,
        { "run", "refused", "run", "run", "prepare", "named" } },
    }
  end)

  it("takes one with other settings", function()
    check("db:with", function(db)
      must(db:with { timeout = 5, max_result = 1000, rows = "array" }:query "SELECT 1 AS x")
      must(db:with { json = "text" }:query "SELECT 2 AS x")
    end, { "run; run", "run; run" })
  end)
end)

describe("a statement that recurs", function()
  -- What libpq sends to run by a name, besides the name and the values: Bind with no name of a
  -- portal and one format of results; Describe, which libpq never leaves out; Execute; Sync.
  local FRAME <const> = (5 + 1 + 1 + 2 + 2 + 2 + 2) + (5 + 2) + (5 + 1 + 4) + 5

  it("sends no text, no types and no more than its values need", function()
    local db <close> = must(pg.connect(server.options))
    local trips <const> = trace.follow(db)
    for i = 1, 6 do must(db:query("SELECT id, v FROM k WHERE id = $1", i)) end
    local all = trips()
    local first, last = all[1], all[6]
    local name = last.text:match '\tBind\t "" "(pg_%x+_%d+)"'
    local value = 2 + 4 + #"6" -- its format, its length and itself
    assert.equal(FRAME + #name + value, last.bytes.sent, explain { last })
    assert.equal(first.bytes.got - 5, last.bytes.got, explain { last }) -- no ParseComplete
  end)

  it("is prepared anew in one trip after its name is lost", function()
    check("DEALLOCATE", function(db, i)
      if i == 7 then must(db:execute "DEALLOCATE ALL") end
      must(db:query("SELECT v FROM k WHERE id = $1", i))
    end, { "run", "run", "run", "run", "prepare", "named", "command; run", "run" })
  end)

  it("takes three when another session has changed its columns", function()
    check("ALTER TABLE", function(db, i)
      if i == 7 then must(other:execute "ALTER TABLE k ADD COLUMN more int") end
      must(db:query("SELECT * FROM k WHERE id = $1", i))
    end, { "run", "run", "run", "run", "prepare", "named", "named refused; describe; close + run",
      "run" })
  end)
end)

describe("a prepared statement", function()
  it("takes one trip to prepare, and one each time", function()
    check("db:prepare", function(db, i)
      local statement <close> = must(db:prepare("SELECT v FROM k WHERE id = $1"))
      must(statement:query(i))
      must(statement:query(i + 1))
    end, { "describe by name; named; named", "describe by name; close + named; named" })
    check("one that writes", function(db, i)
      local statement <close> = must(db:prepare("INSERT INTO t (v) VALUES ($1)"))
      must(statement:execute(i))
      must(statement:execute(i))
    end, { "describe change by name; named change; named change",
      "describe change by name; close + named change; named change" })
  end)
end)

-- --- types ---------------------------------------------------------------------------------------

describe("a value that means something else to each type", function()
  it("costs one trip more, the first time", function()
    local uses <const> = { "describe; run", "run", "run", "run", "prepare", "named" }
    check_alike {
      { "an array", query("SELECT * FROM k WHERE id = ANY ($1)", { 1, 2 }), uses },
      { "a document", query("SELECT $1::jsonb AS x", { a = { 1 } }), uses },
      { "a backslash", query("SELECT * FROM k WHERE v = $1", "a\\b"), uses },
      { "one that writes", query("UPDATE t SET doc = $1", { a = 1 }),
        { "describe change; change", "change" } },
    }
  end)

  it("costs none when it says its type", function()
    check_alike {
      { "pg.array", query("SELECT $1 AS x", pg.array({ 1 }, "int")), RECURS },
      { "pg.json", query("SELECT $1::jsonb AS x", pg.json { a = 1 }), RECURS },
      { "pg.bytea", query("SELECT $1::bytea AS x", pg.bytea "\\\0"), RECURS },
    }
  end)
end)

describe("a type that the database defines", function()
  it("costs one trip more, the first time that a connection sees it", function()
    local later <const> = { "run; catalogue", "run", "run", "run", "prepare", "named" }
    check_all {
      { "an enum", query "SELECT m FROM felt", later },
      { "an array of it", query "SELECT '{ok}'::mood[] AS x", later },
      { "a range", query "SELECT '[1,2)'::span AS x", later },
      { "a built-in one", query "SELECT '[1,2)'::int4range AS x", RECURS },
      { "no value of it", query "SELECT m FROM felt WHERE id = 2", RECURS },
      { "a string for it", query("SELECT id FROM felt WHERE m = $1", "ok"), RECURS },
      { "two statements", function(db)
        must(db:query "SELECT m FROM felt")
        must(db:query "SELECT 'sad'::mood AS x")
      end, { "run; catalogue; run", "run; run" } },
      { "a table for a parameter", query("SELECT $1::pair AS x", { n = 1, m = "ok" }),
        { "describe; catalogue; run", "run" } },
    }
  end)

  it("costs two when a value names it", function()
    check("pg.typed", query("SELECT $1 AS x", pg.typed("ok", "mood")),
      { "catalogue; catalogue; run", "run", "run", "run", "prepare", "named" })
  end)

  it("costs it once a pool", function()
    local pool <close> = pg.pool(support.merge(server.options, { size = 2 }))
    pool:use(function(a)
      pool:use(function(b)
        local of_a, of_b = trace.follow(a), trace.follow(b)
        must(a:query "SELECT m FROM felt")
        must(b:query "SELECT m FROM felt")
        expect("the first", "run; catalogue", of_a())
        expect("the second", "run", of_b())
      end)
    end)
  end)

  it("costs it again after DDL on the connection", function()
    check("an enum", function(db, i)
      if i == 3 then must(db:execute "ALTER TABLE felt ADD COLUMN more int") end
      must(db:query "SELECT m FROM felt")
    end, { "run; catalogue", "run", "command; run; catalogue", "run" })
    check("a key lookup", function(db, i)
      if i == 7 then must(db:execute "CREATE INDEX ON k (v)") end
      must(db:query("SELECT v FROM k WHERE id = $1", i))
    end, { "run", "run", "run", "run", "prepare", "named", "command; close + run", "run" })
  end)
end)

-- --- verbs ---------------------------------------------------------------------------------------

describe("db:insert", function()
  it("takes one trip, and another one to learn of a table", function()
    check_all {
      { "a row", function(db, i) must(db:insert("t", { v = "x", n = i })) end,
        { "catalogue; run", "run", "run", "run", "run", "run" } },
      { "other columns", function(db, i) must(db:insert("t", { [i == 1 and "v" or "n"] = i })) end,
        { "catalogue; run", "run" } },
      { "returning", function(db)
        must(db:insert { table = "t", columns = { v = "x" }, returning = { "id", "v" } })
      end, { "catalogue; run", "run" } },
      { "db:upsert", function(db, i) must(db:upsert("k", { id = i, v = "x" })) end,
        { "catalogue; run", "run" } },
      { "db:bulk_insert", function(db)
        must(db:bulk_insert("t", { { v = "a" }, { v = "b" } }))
      end, { "catalogue; change", "change" } },
      { "batches", function(db)
        must(db:bulk_insert("t", { { v = "a" }, { v = "b" } }, { batch = 1 }))
      end, { "catalogue; begin + change; change; command", "begin + change; change; command" } },
    }
  end)
end)

describe("a transaction", function()
  it("takes a trip a statement, the first of which begins it, and one to end", function()
    local function body(tx, count)
      for i = 1, count do must(tx:query("SELECT v FROM k WHERE id = $1", i)) end
      return true
    end
    check_all {
      { "none", function(db) must(db:transaction(function(tx) return body(tx, 0) end)) end,
        { "" } },
      { "three", function(db) must(db:transaction(function(tx) return body(tx, 3) end)) end,
        { "begin + run; run; run; command", "begin + run; prepare; named; command",
          "begin + named; named; named; command" } },
      { "isolation", function(db)
        must(db:transaction(function(tx) return body(tx, 1) end, { isolation = "serializable" }))
      end, { "begin + run; command" } },
      { "a command", function(db)
        must(db:transaction(function(tx) return tx:execute "SET LOCAL a.b = 1" end))
      end, { "begin + change; command" } },
      { "a savepoint", function(db)
        must(db:transaction(function(tx)
          return tx:transaction(function(inner) return body(inner, 1) end)
        end))
      end, { "begin + change; run; command; command" } },
      { "rolled back", function(db) db:dry_run(function(tx) return body(tx, 1) end) end,
        { "begin + run; command" } },
      { "a script", function(db)
        must(db:transaction(function(tx) return tx:execute "SET a.b = 1; SET a.c = 2" end))
      end, { "command; script; command" } },
    }
  end)
end)

describe("a pipeline", function()
  local COUNT <const> = 100

  it("of 100 inserts takes one trip, with one Sync", function()
    local db <close> = must(pg.connect(server.options))
    local trips <const> = trace.follow(db)
    for _ = 1, 2 do
      must(db:pipeline(function(p)
        for i = 1, COUNT do p:execute("INSERT INTO t (v, n) VALUES ($1, $2)", "x", i) end
      end))
      local all = trips()
      assert.equal(1, #all)
      assert.equal("Parse" .. (" " .. AGAIN):rep(COUNT) .. " Sync", all[1].sent)
      assert.equal("ParseComplete " .. NONE:rep(COUNT) .. "ReadyForQuery", all[1].got)
    end
  end)

  it("asks what it has to know before", function()
    local pair <const> = { ONE .. " " .. AGAIN .. " Sync", "ParseComplete " .. ROWS:rep(2)
      .. "ReadyForQuery" }
    local sent <const> = table.concat(pair, " > ")
    check_all {
      { "p:insert", function(db)
        must(db:pipeline(function(p)
          for i = 1, 2 do p:insert("t", { v = "x", n = i }) end
        end))
      end, { "catalogue; " .. sent, sent } },
      { "arrays", function(db)
        must(db:pipeline(function(p)
          for i = 1, 2 do p:query("SELECT $1::int[] AS x", { i }) end
        end))
      end, { "describe; " .. sent, sent } },
      { "values that name their type", function(db)
        must(db:pipeline(function(p)
          for _ = 1, 2 do p:query("SELECT $1 AS x", pg.typed({ n = 1 }, "pair")) end
        end))
      end, { "catalogue; catalogue; describe; " .. sent, sent } },
      { "bytes that text would not be", function(db)
        must(db:pipeline(function(p)
          for _ = 1, 2 do p:query("SELECT $1::bytea AS x", "C:\\dir") end
        end))
      end, { "describe; " .. sent } },
      { "enums", function(db)
        must(db:pipeline(function(p)
          for _ = 1, 2 do p:query "SELECT m FROM felt" end
        end))
      end, { sent .. "; catalogue", sent } },
    }
  end)
end)

describe("db:each", function()
  local function walk(db, sql)
    for row in db:each(sql or "SELECT * FROM k") do assert(row) end
  end

  it("takes one trip, and one to see its columns the first time", function()
    check_all {
      { "rows", function(db) walk(db) end,
        { "describe; run", "run", "run", "run", "prepare", "named" } },
      { "of a new type", function(db) walk(db, "SELECT m FROM felt") end,
        { "describe; catalogue; run", "run" } },
      { "in a transaction", function(db)
        must(db:transaction(function(tx)
          walk(tx)
          return true
        end))
      end, { "command; describe; run in a savepoint; command",
        "command; run in a savepoint; command" } },
    }
  end)
end)

describe("COPY", function()
  local rows <const> = {}
  for i = 1, 1000 do rows[i] = { "v" .. i, i } end

  it("takes one trip to begin, and one to end what goes in", function()
    check_all {
      { "db:copy_in", function(db) must(db:copy_in("t", { "v", "n" }, rows)) end,
        { "catalogue; copy in; copy end", "copy in; copy end" } },
      { "db:copy_out", function(db) must(db:copy_out("k", function() return true end)) end,
        { "catalogue; copy out", "copy out" } },
      { "db:copy_rows", function(db)
        for row in db:copy_rows "k" do assert(row) end
      end, { "describe; copy out" } },
    }
  end)
end)

describe("a pool", function()
  it("makes a session as new without waiting: the next user reads the answer", function()
    local pool <close> = pg.pool(support.merge(server.options, { size = 1 }))
    local trips
    pool:use(function(db) trips = trace.follow(db) end)
    expect("given back", "reset", trips())
    local function lookup(i) must(pool:query("SELECT v FROM k WHERE id = $1", i)) end
    for i, kind in ipairs(RECURS) do
      lookup(i)
      expect("pool:query " .. i, ("its answer; %s; reset"):format(kind), trips())
    end
    must(pool:transaction(function(tx) return tx:query "SELECT 1 AS x" end))
    expect("pool:transaction", "its answer; begin + run; command; reset", trips())
    pool:use(function(db)
      must(db:query "SELECT 1 AS x")
      must(db:query "SELECT 1 AS x")
    end)
    expect("pool:use", "its answer; run; run; reset", trips())
  end)
end)
