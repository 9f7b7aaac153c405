-- SPDX-License-Identifier: MIT
-- db:codec and pool:codec: what functions of the program's make of a type's values.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local exactly, failed, must, raises = support.exactly, support.failed, support.must, support.raises

local server, db

setup(function()
  server = must(throwaway.start {})
  db = must(pg.connect(server.options))
  must(db:execute [[
    CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TYPE person AS (id int, mood mood);
    CREATE DOMAIN feeling AS mood;
    CREATE TABLE coded (id int, mood mood, moods mood[], person person, people person[],
      feeling feeling, day date, days date[], span daterange, note citext);]])
end)

teardown(function()
  db:close()
  server:stop()
end)

local function connect() return must(pg.connect(server.options)) end

-- An object of the program's own, as a table and as a userdata-like value.
local Mood = {}
Mood.__index = Mood
local function mood(name) return setmetatable({ name = name }, Mood) end
local moods <const> = {
  decode = function(text) return mood(text) end,
  encode = function(value) return type(value) == "table" and value.name or value end,
}
local dates <const> = {
  decode = function(text)
    local year, month, day = text:match "^(%d+)-(%d+)-(%d+)$"
    return { year = tonumber(year), month = tonumber(month), day = tonumber(day) }
  end,
  encode = function(d) return ("%04d-%02d-%02d"):format(d.year, d.month, d.day) end,
}

local function day(y, m, d) return { year = y, month = m, day = d } end

describe("a codec", function()
  local row = { id = 1, mood = mood "sad", moods = { mood "sad", mood "happy", pg.null },
    person = { id = 2, mood = mood "happy" }, people = { { id = 3, mood = mood "sad" } },
    feeling = mood "happy", day = day(2026, 1, 15), days = { day(2000, 2, 29) },
    span = { lower = day(2026, 1, 1), upper = day(2026, 2, 1), bounds = "[)" }, note = "A" }

  local function stored(handle, sql, ...)
    local result = must(handle:query(sql, ...))
    assert.equal(1, result.rowCount)
    return result.rows[1]
  end

  it("is for values alone, in arrays, composites, domains and ranges, both ways", function()
    local own <close> = connect()
    assert.is_true(own:codec("mood", moods))
    assert.is_true(own:codec("date", dates))
    must(own:execute "TRUNCATE coded")
    must(own:insert("coded", row))
    local text = stored(db, "SELECT mood, moods, person::text, people::text, day, span::text "
      .. "FROM coded")
    assert.is_true(exactly({ mood = "sad", moods = { "sad", "happy", pg.null },
      person = "(2,happy)", people = '{"(3,sad)"}', day = "2026-01-15",
      span = "[2026-01-01,2026-02-01)" }, text))
    for _ = 1, 7 do -- unknown, known, prepared
      local back = stored(own, "SELECT * FROM coded WHERE mood = $1 AND day = $2 AND id = $3",
        mood "sad", day(2026, 1, 15), 1)
      assert.is_true(exactly(row, back))
      assert.equal(Mood, getmetatable(back.mood))
      assert.equal(Mood, getmetatable(back.people[1].mood))
    end
  end)

  it("is for binary, too", function()
    local own <close> = connect()
    must(own:codec("mood", moods))
    must(own:codec("float8", { decode = function(x) return { x } end }))
    for _ = 1, 3 do
      assert.is_true(exactly({ m = mood "sad", x = { 0.5 }, b = "\0", l = { { 1.5 } } }, stored(own,
        "SELECT 'sad'::mood AS m, 0.5::float8 AS x, '\\x00'::bytea AS b, '{1.5}'::float8[] AS l")))
    end
  end)

  it("is for streams, pipelines, COPY and transactions of the connection", function()
    local own <close> = connect()
    must(own:codec("mood", moods))
    for each in own:each "SELECT 'sad'::mood AS m FROM generate_series(1, 3)" do
      assert.is_true(exactly({ m = mood "sad" }, each))
    end
    for _ = 1, 2 do
      local results = must(own:pipeline(function(p)
        p:query("SELECT $1::mood AS m", mood "happy")
        p:query "SELECT 'sad'::mood AS m"
      end))
      assert.is_true(exactly({ m = mood "happy" }, results[1].rows[1]))
      assert.is_true(exactly({ m = mood "sad" }, results[2].rows[1]))
    end
    for each in own:copy_rows "SELECT 'sad'::mood AS m" do
      assert.is_true(exactly({ m = mood "sad" }, each))
    end
    must(own:transaction(function(tx)
      assert.is_true(exactly({ m = mood "sad" },
        stored(tx, "SELECT $1::mood AS m", mood "sad")))
    end))
  end)

  it("leaves NULL alone, and what has only one side as it is on the other", function()
    local own <close> = connect()
    local calls = 0
    must(own:codec("citext", { decode = function(text)
      calls = calls + 1
      return text:upper()
    end }))
    local got = stored(own, "SELECT $1::citext AS a, NULL::citext AS b", "abc")
    assert.is_true(exactly({ a = "ABC" }, got))
    assert.equal(1, calls)
    must(own:codec("citext", { encode = function(value) return "<" .. value .. ">" end }))
    got = stored(own, "SELECT $1::citext AS a, $2::citext AS b", "abc", nil)
    assert.is_true(exactly({ a = "<abc>" }, got))
  end)

  it("may take and give what no type does", function()
    local own <close> = connect()
    must(own:codec("int4", { decode = function(n) return function() return n end end,
      encode = function(f) return f() end }))
    assert.equal(7, stored(own, "SELECT $1::int AS f", function() return 7 end).f())
  end)

  it("that raises is an error of that value; the connection goes on", function()
    local own <close> = connect()
    must(own:codec("mood", { decode = function(text)
      if text == "sad" then error("no " .. text, 0) end
      return text
    end, encode = function() error({}, 0) end }))
    for _ = 1, 2 do
      local err = failed("invalid_value",
        own:query "SELECT m FROM unnest('{happy,sad}'::mood[]) AS m")
      assert.equal("m", err.column)
      support.contains(tostring(err), 'column "m", row 2: no sad')
      assert.equal(1, stored(own, "SELECT 1::int8 AS n").n)
      err = failed("invalid_parameter", own:query("SELECT $1::text, $2::person", "a",
        { id = 1, mood = "sad" }))
      support.contains(tostring(err), "parameter $2.mood: its codec raised a table")
      assert.equal("idle", own:status().state)
    end
  end)

  it("cannot wait, use its connection, or answer nil", function()
    local own <close> = connect()
    local cases = {
      { function() return own:query "SELECT 1" end, "busy" },
      { function() return nil end, "answered nil" },
      { function() coroutine.yield() end, "yield" },
    }
    for _, case in ipairs(cases) do
      must(own:codec("mood", { decode = case[1], encode = case[1] }))
      support.contains(failed("invalid_value", own:query "SELECT 'sad'::mood AS m").message,
        case[2])
      support.contains(failed("invalid_parameter", own:query("SELECT $1::mood AS m", "sad"))
        .message, case[2])
    end
    must(own:codec("mood", { encode = function()
      own:pipeline(function(p) p:query "SELECT 1" end)
      return "sad"
    end }))
    failed("invalid_parameter", own:pipeline(function(p) p:query("SELECT $1::mood", "x") end))
    assert.equal(1, stored(own, "SELECT 1 AS n").n)
  end)

  it("may close the connection, which ends with the statement", function()
    local own = connect()
    must(own:codec("mood", { decode = function() own:close() return 1 end }))
    assert.equal(1, stored(own, "SELECT 'sad'::mood AS m").m)
    raises("closed", function() own:query "SELECT 1" end)
  end)

  it("lasts: after DDL, a type made anew, DISCARD ALL, db:reset()", function()
    local own <close> = connect()
    must(own:execute "DROP TYPE IF EXISTS fresh; CREATE TYPE fresh AS ENUM ('a')")
    must(own:codec("fresh", { decode = function(text) return "<" .. text .. ">" end }))
    local function works() assert.equal("<a>", stored(own, "SELECT 'a'::fresh AS f").f) end
    works()
    must(own:execute "CREATE TABLE IF NOT EXISTS other (id int)")
    works()
    must(own:execute "DROP TYPE fresh")
    assert.equal(1, stored(own, "SELECT 1 AS n").n)
    must(own:execute "CREATE TYPE fresh AS ENUM ('a')")
    works()
    must(own:execute "DISCARD ALL")
    works()
    must(own:reset())
    works()
    must(own:execute "DROP TYPE fresh")
  end)

  it("is taken away by nil, and is nobody else's", function()
    local own <close> = connect()
    must(own:codec("mood", moods))
    must(own:codec("date", dates))
    must(own:codec("mood", nil))
    assert.is_true(exactly({ m = "sad", d = day(2026, 1, 2) },
      stored(own, "SELECT 'sad'::mood AS m, '2026-01-02'::date AS d")))
    must(own:codec("date", nil))
    assert.equal("2026-01-02", stored(own, "SELECT '2026-01-02'::date AS d").d)
    assert.equal("sad", stored(db, "SELECT 'sad'::mood AS m").m)
  end)

  it("is refused for a type that is not there, and where it is none", function()
    local err = failed("query_failed", db:codec("nosuch", moods))
    assert.equal("undefined_object", err.condition)
    raises("decode must be a function", function() db:codec("mood", { decode = 1 }) end)
    raises("decode, encode, or both", function() db:codec("mood", {}) end)
    raises("encode", function() db:codec("mood", { encoder = print }) end)
    raises("type by its name", function() db:codec(1, moods) end)
    raises("table", function() db:codec("mood", print) end)
  end)

  it("is refused for a domain, whose values are those of its base type", function()
    local err = failed("wrong_action", db:codec("feeling", moods))
    support.contains(err.message, "feeling is a domain")
  end)

  it("is one for a type, by whatever name, in whatever schema", function()
    local own <close> = connect()
    must(own:codec("int4", { decode = function(n) return -n end }))
    must(own:codec("integer", { decode = function(n) return n * 10 end }))
    assert.equal(70, stored(own, "SELECT 7 AS n").n)
    must(own:codec("pg_catalog.int4", nil))
    assert.equal(7, stored(own, "SELECT 7 AS n").n)
    must(own:codec("mood", moods))
    must(own:execute "CREATE SCHEMA front; CREATE TYPE front.mood AS ENUM ('x')")
    must(own:execute "SET search_path = front, public")
    assert.is_true(exactly({ a = "x", b = mood "sad" },
      stored(own, "SELECT 'x'::mood AS a, 'sad'::public.mood AS b")))
    must(own:execute "DROP SCHEMA front CASCADE")
  end)

  it("has no part in what the module itself asks the server", function()
    local own <close> = connect()
    local turned = { encode = function(v) return v end, decode = function(v) return { v } end }
    must(own:execute "CREATE TABLE plain (id serial PRIMARY KEY, v varchar(20) UNIQUE, n float8)")
    for _, name in ipairs { "text", "bool", "int8", "name", '"char"' } do
      must(own:codec(name, turned))
    end
    must(own:codec("int4", { encode = function(v) return v * 10 end }))
    assert.equal(1, must(own:insert("plain", { v = "a" })).insertedId)
    assert.equal(3, must(own:bulk_insert("plain", { {}, {}, {} })).rowCount)
    local result = must(own:upsert("plain", { { v = "a" }, { v = "b" } }, { conflict = { "v" } }))
    assert.equal(1, result.inserted)
    assert.equal(0, result.updated)
    result = must(own:bulk_update("plain", { { v = "a", n = 1.5 }, { v = "b", n = 2.5 } },
      { key = "v", returning = "*" }))
    assert.equal(2, result.rowCount)
    assert.equal("v", must(own:describe "plain")[2].name)
    must(own:execute "DROP TABLE plain")
  end)

  it("encodes what copy_in takes; lists of rows refuse what they could not encode", function()
    local own <close> = connect()
    must(own:codec("mood", moods))
    must(own:codec("date", dates))
    must(own:execute "TRUNCATE coded")
    must(own:copy_in("coded", { "mood", "moods", "day", "days" },
      { { mood "sad", { mood "happy" }, day(2026, 1, 2), { day(2026, 1, 3) } } }))
    assert.is_true(exactly({ mood = "sad", moods = { "happy" }, day = "2026-01-02",
      days = { "2026-01-03" } }, stored(db, "SELECT mood, moods, day, days FROM coded")))
    for column, value in pairs { mood = mood "sad", days = { day(2026, 1, 2) },
      person = { id = 1 } } do
      local err = failed("invalid_parameter", own:bulk_insert("coded", { { [column] = value } }))
      support.contains(err.message, "codec")
      failed("invalid_parameter", own:bulk_update("coded", { { id = 1, [column] = value } },
        { key = "id" }))
    end
    assert.equal(1, must(own:bulk_insert("coded", { { id = 5 } })).rowCount)
  end)

  it("may free what it was given, and close a pipeline's connection", function()
    local own <close> = connect()
    local held
    must(own:codec("int4", { encode = function(v)
      held[1] = nil
      collectgarbage()
      return v
    end }))
    held = pg.typed(("x"):rep(1000000), "text")
    assert.equal(1000000, stored(own, "SELECT length($1)::int8 AS n, $2::int AS i", held, 5).n)
    local short = connect()
    must(short:codec("mood", { encode = function(v) short:close() return v end }))
    pcall(short.pipeline, short, function(p) p:query("SELECT $1::mood, $2::text", "sad", "b") end)
    raises("closed", function() short:query "SELECT 1" end)
  end)

  it("is there for statements that were known when their types had to be learnt anew", function()
    local own <close> = connect()
    local sql <const> = "SELECT $1::citext AS c"
    must(own:codec("citext", { encode = function(v) return "<" .. v .. ">" end }))
    assert.equal("<a>", stored(own, sql, "a").c)
    must(own:query("SELECT $1::person", { id = 1 }))
    failed("invalid_parameter", own:query("SELECT $1::person", { nothing = 1 }))
    assert.equal("<b>", stored(own, sql, "b").c)
  end)

  it("is there for a type that another session has made anew, from the next statement on",
    function()
      local own <close> = connect()
      must(db:execute "CREATE TYPE again AS ENUM ('a')")
      must(own:codec("again", { decode = function(text) return "<" .. text .. ">" end }))
      assert.equal("<a>", stored(own, "SELECT 'a'::again AS v").v)
      must(db:execute "DROP TYPE again; CREATE TYPE again AS ENUM ('a')")
      must(own:query "SELECT 'a'::again AS v")
      assert.equal("<a>", stored(own, "SELECT 'a'::again AS v").v)
      must(db:execute "DROP TYPE again")
    end)

  it("leaves instants as numbers alone where it only decodes", function()
    local own <close> = connect()
    must(own:codec("timestamptz", { decode = function(t) return t end }))
    local numbers <close> = own:with { timestamps = "epoch" }
    assert.equal(20240101.0, stored(numbers, "SELECT $1::timestamptz AS t", 20240101).t)
  end)

  it("does not keep its connection alive", function()
    local gone = setmetatable({}, { __mode = "k" })
    do
      local own = connect()
      gone[own] = true
      must(own:codec("mood", { decode = function(text) return own and text end }))
      must(own:query "SELECT 'sad'::mood AS m")
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(gone))
  end)
end)

describe("a pool's codec", function()
  it("is every connection's, and a user's own ends with the use", function()
    local pool <close> = must(pg.pool(support.merge(server.options, { size = 2 })))
    assert.is_true(pool:codec("mood", moods))
    local function seen(handle) return must(handle:query "SELECT 'sad'::mood AS m").rows[1].m end
    for _ = 1, 2 do
      local one <close> = must(pool:acquire())
      local two <close> = must(pool:acquire())
      assert.is_true(exactly(mood "sad", seen(one)))
      assert.is_true(exactly(mood "sad", seen(two)))
      must(one:codec("mood", { decode = function() return 1 end }))
      assert.equal(1, seen(one))
      assert.is_true(exactly(mood "sad", seen(two)))
    end
    must(pool:codec("mood", nil))
    for _ = 1, 2 do assert.equal("sad", seen(pool)) end
    assert.equal("undefined_object", select(2, pool:codec("nosuch", moods)).condition)
    raises("decode must be a function", function() pool:codec("mood", { decode = 1 }) end)
  end)
end)
