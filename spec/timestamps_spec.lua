-- SPDX-License-Identifier: MIT
-- The timestamps option: instants as numbers, from text and from binary, and back.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local values = require "spec.values"

local null, same = pg.null, support.same
local inf <const> = math.huge

local server, db

setup(function()
  server = assert(throwaway.start { settings = { log_min_duration_statement = 0 } })
  db = assert(pg.connect(server.options))
  values.create_paying(db)
end)

teardown(function()
  db:close()
  server:stop()
end)

-- An instant in UTC as PostgreSQL writes it, as seconds and as microseconds since 1970.
local INSTANTS <const> = {
  { "1970-01-01 00:00:00", 0.0, 0 },
  { "1970-01-01 00:00:00.000001", 1e-6, 1 },
  { "1969-12-31 23:59:59.999999", -1e-6, -1 },
  { "1999-12-31 23:59:59.999999", 946684799.999999, 946684799999999 },
  { "2000-01-01 00:00:00", 946684800.0, 946684800000000 },
  { "2026-01-15 10:30:00.5", 1768473000.5, 1768473000500000 },
  { "2242-03-16 12:56:31.999999", 8589934591.999999, 8589934591999999 },
  { "0001-01-01 00:00:00", -62135596800.0, -62135596800000000 },
  { "0001-12-31 23:59:59 BC", -62135596801.0, -62135596801000000 },
  { "4714-11-24 00:00:00 BC", -210866803200.0, -210866803200000000 },
  { "9999-12-31 23:59:59.999999", 253402300799.999999, 253402300799999999 },
  { "294247-01-10 04:00:54.775807", 9223372036854.775807, math.maxinteger },
  -- what 64 bits do not hold is the nearest float
  { "294247-01-10 04:00:54.775808", 9223372036854.775808, 2.0 ^ 63 },
  { "294276-12-31 23:59:59.999999", 9224318015999.999999, 9224318015999999999.0 },
  { "infinity", inf, inf },
  { "-infinity", -inf, -inf },
}

local MODES <const> = { epoch = 2, epoch_us = 3 }

-- What the columns give in text and in binary has to be `expected`, by name.
local function gives(handle, columns, expected)
  expected.paying = ""
  local text, binary = values.both(handle, columns)
  same(expected, text)
  same(expected, binary)
end

describe("an instant", function()
  for mode, at in pairs(MODES) do
    local numbers
    setup(function() numbers = db:with { timestamps = mode } end)

    for _, case in ipairs(INSTANTS) do
      local literal, number <const> = case[1], case[at]
      it(("%s is the same number by %s in text and binary, in every zone (R14)"):format(literal,
        mode), function()
        local zoned = literal:gsub("^(%d.*%d)", "%1+00")
        local columns = ([=[$q$%s$q$::timestamptz AS z, $q$%s$q$::timestamp AS t,
          ARRAY[$q$%s$q$::timestamptz, NULL] AS list, ARRAY[[$q$%s$q$::timestamp]] AS lists]=])
          :format(zoned, literal, zoned, literal)
        local expected = { z = number, t = number, list = { number, null }, lists = { { number } } }
        for _, zone in ipairs { "UTC", "Asia/Kolkata", "America/St_Johns", "<-0123>+01:23" } do
          assert(db:execute(("SET TimeZone TO '%s'"):format(zone)))
          gives(numbers, columns, expected)
        end
        assert(db:execute "SET TimeZone TO 'UTC'")
      end)
    end
  end

  it("is rounded to the nearest float, as the server rounds it", function()
    -- extract() of that type is exact from 14 on
    if not values.known(db, { since = 14 }) then return pending "needs PostgreSQL 14" end
    local rows = assert(db:with { timestamps = "epoch" }:query [[
      SELECT t, extract(epoch FROM t)::float8 AS number, decode('', 'hex')::paying AS paying
        FROM (SELECT timestamp '1970-01-01' + make_interval(
                secs => ((hashint8extended(i, 1) % 9000000000000)::numeric / 1000000)::float8)
                + make_interval(years => (i % 10000)::int) FROM generate_series(1, 5000) i) AS s (t)
    ]]).rows
    for _, row in ipairs(rows) do same(row.number, row.t) end
    assert.are.equal(5000, #rows)
  end)

  it("is text unless asked for otherwise, and so are dates and times", function()
    gives(db:with { timestamps = "epoch" }:with { timestamps = "iso" },
      "timestamptz '2026-01-15 10:30Z' AS z, timestamp '2026-01-15 10:30' AS t",
      { z = "2026-01-15T10:30:00Z", t = "2026-01-15T10:30:00" })
    gives(db:with { timestamps = "epoch" },
      "date '2026-01-15' AS d, time '10:30' AS t, interval '1 day' AS i, timetz '10:30Z' AS z",
      { d = "2026-01-15", t = "10:30:00", i = "P1D", z = "10:30:00+00:00" })
  end)
end)

describe("the option", function()
  local sql <const> = "SELECT timestamptz '1970-01-02 00:00Z' AS at"

  for mode, expected in pairs { epoch = 86400.0, epoch_us = 86400000000,
    iso = "1970-01-02T00:00:00Z" } do
    it("holds for a connection, a handle, a call: " .. mode, function()
      local other <close> = assert(pg.connect(support.with(server.options, { timestamps = mode })))
      same({ { at = expected } }, assert(other:query(sql)).rows)
      same({ { at = expected } }, assert(db:with { timestamps = mode }:query(sql)).rows)
      same({ { at = expected } }, assert(db:query { query = sql, timestamps = mode }).rows)
      same({ at = { expected } },
        assert(db:query { query = sql, timestamps = mode, rows = "columns" }).rows)
      for row in db:with { timestamps = mode }:each(sql) do same({ at = expected }, row) end
      for row in db:with { timestamps = mode }:copy_rows(sql) do same({ at = expected }, row) end
      local results = assert(db:with { timestamps = mode }:pipeline(function(p) p:query(sql) end))
      same({ { at = expected } }, results[1].rows)
    end)
  end
end)

describe("a number for a timestamp", function()
  setup(function()
    assert(db:execute [[
      CREATE DOMAIN moment AS timestamptz;
      CREATE TYPE visit AS (at timestamptz, until timestamp, n float8);
      CREATE TABLE visits (id serial PRIMARY KEY, z timestamptz, t timestamp, list timestamptz[],
        span tstzrange, spans tsrange[], plain float8, note text)]])
  end)

  for mode, at in pairs(MODES) do
    it("is the instant that it came from: " .. mode, function()
      local numbers <const> = db:with { timestamps = mode }
      local asked <const> = "SELECT $1::timestamptz IS NOT DISTINCT FROM $3::timestamptz AS z, "
        .. "$2::timestamp IS NOT DISTINCT FROM $4::timestamp AS t"
      for _, case in ipairs(INSTANTS) do
        local literal, number <const> = case[1], case[at]
        local zoned <const> = literal:gsub("^(%d.*%d)", "%1+00")
        local row = assert(numbers:query(asked, number, number, zoned, literal)).rows[1]
        -- floats of seconds far away, and of what 64 bits do not hold, are not so fine
        local coarse <const> = math.type(number) == "float" and literal:find "%." and at == 2
          and math.abs(number) >= 2 ^ 33 or number == 2.0 ^ 63
        if not coarse or literal:find "^294276" then same({ z = true, t = true }, row) end
        row = assert(numbers:query("SELECT $1::timestamptz AS z, $2::timestamp[] AS list", number,
          { number, null })).rows[1]
        same({ z = number, list = { number, null } }, row)
      end
    end)

    it("is stored as the instant by every way in: " .. mode, function()
      local numbers <const> = db:with { timestamps = mode }
      local now <const> = mode == "epoch" and 1768473000.5 or 1768473000500000
      local row <const> = { z = now, t = now, list = { now, null }, plain = 1.5, note = 7,
        span = { lower = now, bounds = "[)" }, spans = { { lower = now, upper = now,
          bounds = "[]" } } }
      local function stores(way, ...)
        support.must(...)
        local found = assert(numbers:query "SELECT * FROM visits").rows
        assert.are.equal(1, #found, way)
        found[1].id = nil
        same(support.merge(row, { note = "7" }), found[1])
        assert.are.equal("2026-01-15 10:30:00.5", support.value(db, "SELECT t::text FROM visits"))
        assert(db:execute "TRUNCATE visits")
      end
      stores("insert", numbers:insert("visits", row))
      stores("a form", db:insert { table = "visits", columns = row, timestamps = mode })
      stores("bulk_insert", numbers:bulk_insert("visits", { row }))
      stores("bulk_insert by column", numbers:bulk_insert("visits", (function()
        local columns = {}
        for name, value in pairs(row) do columns[name] = { value } end
        return columns
      end)()))
      stores("upsert", numbers:upsert("visits", support.merge(row, { id = 1 })))
      stores("copy_in", numbers:copy_in("visits", nil, { row }))
      stores("a pipeline", numbers:pipeline(function(p) p:insert("visits", row) end))
      stores("a call in a pipeline", db:pipeline(function(p)
        for _ = 1, 2 do
          p:query { timestamps = mode,
            query = "INSERT INTO visits (z, t, list, span, spans, plain, note) SELECT "
              .. "$1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT FROM visits)",
            parameters = { now, now, row.list, row.span, row.spans, 1.5, 7 } }
        end
      end))
      local prepared <close> = assert(numbers:prepare(
        "INSERT INTO visits (z, t, list, span, spans, plain, note) VALUES "
        .. "($1, $2, $3, $4, $5, $6, $7)"))
      stores("prepare", prepared:execute(now, now, row.list, row.span, row.spans, 1.5, 7))
      assert(numbers:insert("visits", { z = now }))
      assert.are.equal(1, assert(numbers:update { table = "visits", set = support.merge(row),
        where = { z = now } }).rowCount)
      stores("update", true)
    end)
  end

  it("is one in domains, composites and typed values", function()
    local seconds <const> = db:with { timestamps = "epoch" }
    assert(db:execute "SET TimeZone TO 'UTC'")
    local row = assert(seconds:query(
      "SELECT $1::moment::text AS d, ($2::visit).at::text AS f, $3::text AS typed, $2::visit AS v",
      0, { at = 1, ["until"] = 2.5, n = 3 }, pg.typed(4, "timestamptz"))).rows[1]
    assert.are.equal("1970-01-01 00:00:00+00", row.d)
    assert.are.equal("1970-01-01 00:00:01+00", row.f)
    assert.are.equal("1970-01-01 00:00:04+00", row.typed)
    same({ at = 1.0, ["until"] = 2.5, n = 3.0 }, row.v)
  end)

  it("is rounded to the microsecond", function()
    local row = assert(db:with { timestamps = "epoch" }:query(
      "SELECT $1::timestamp::text AS up, $2::timestamp::text AS down, "
        .. "$3::timestamp::text AS before",
      0.0000005, 0.0000004, -0.0000006)).rows[1]
    same({ up = "1970-01-01 00:00:00.000001", down = "1970-01-01 00:00:00",
      before = "1969-12-31 23:59:59.999999" }, row)
    row = assert(db:with { timestamps = "epoch_us" }:query("SELECT $1::timestamp::text AS t", 1.5))
      .rows[1]
    assert.are.equal("1970-01-01 00:00:00.000002", row.t)
  end)

  it("leaves other numbers and strings what they are", function()
    local row = assert(db:with { timestamps = "epoch" }:query(
      "SELECT $1::int AS i, $2::float8 AS f, $3::timestamptz AS z, $4::numeric AS n, "
      .. "$5::text AS t, "
      .. "date '2026-01-15' + $6::int AS d", 7, 0.5, "2026-01-15 10:30Z", 1.5, 2, 1)).rows[1]
    same({ i = 7, f = 0.5, z = 1768473000.0, n = "1.5", t = "2", d = "2026-01-16" }, row)
  end)

  local BEYOND <const> = { { "epoch", 1e13 }, { "epoch", -3e11 }, { "epoch", 9224318016001 },
    { "epoch", math.maxinteger }, { "epoch", math.mininteger }, { "epoch_us", math.mininteger },
    { "epoch_us", -1e300 }, { "epoch_us", 1e300 }, { "epoch_us", 9.2244e18 }, { "epoch", 0 / 0 },
    { "epoch_us", 0 / 0 }, { "epoch", 9224318016000 } }
  for _, case in ipairs(BEYOND) do
    it(("is refused where no timestamp can be it: %s by %s"):format(case[2], case[1]), function()
      local numbers <const> = db:with { timestamps = case[1] }
      local err = support.failed("invalid_parameter",
        numbers:query("SELECT $1::int, $2::timestamptz", 1, case[2]))
      assert.are.equal(2, err.parameter)
      support.contains(err.message, "parameter $2: ", case[1] == "epoch" and " seconds since 1970"
        or " microseconds since 1970", "from 4714 BC")
      err = support.failed("invalid_parameter",
        numbers:query("SELECT $1::timestamp[]", { 1, case[2] }))
      support.contains(err.message, "parameter $1[2]: ")
      assert.are.equal("idle", db:status().state)
    end)
  end

  it("is refused by its row and column in bulk and in COPY", function()
    local seconds <const> = db:with { timestamps = "epoch" }
    local cases <const> = { { z = 1e13 }, { list = { 1, 1e13 } }, { span = { lower = 1e13 } } }
    for _, bad in ipairs(cases) do
      local rows <const> = { { [next(bad)] = null }, bad }
      for _, way in ipairs {
        function() return seconds:bulk_insert("visits", rows) end,
        function() return seconds:copy_in("visits", nil, rows) end,
      } do
        local err = support.failed("invalid_parameter", way())
        assert.are.same({ 2, (next(bad)) }, { err.row, err.column })
        support.contains(err.message, "row 2, column '" .. next(bad) .. "'", "seconds since 1970")
      end
    end
  end)

  it("is the server's to refuse without the option, and the error names it", function()
    for _, number in ipairs { 1768473000, 1768473000.5 } do
      local err = support.failed("invalid_value", db:query("SELECT $1::timestamptz", number))
      support.contains(table.concat(err.fixes, "\n"), 'timestamps = "epoch"')
    end
  end)

  it("costs a round trip more the first time that a statement gets a number", function()
    local numbers <const> = db:with { timestamps = "epoch" }
    local function trips(sql, value)
      local log = support.logged(server, function() assert(numbers:query(sql, value)) end)
      return select(2, log:gsub("  parse <unnamed>: ", ""))
    end
    local sql = "SELECT $1::timestamptz AS at -- trips"
    assert.are.equal(1, trips(sql, "2026-01-15 10:30Z"))
    assert.are.equal(2, trips(sql, 1768473000))
    assert.are.equal(1, trips(sql, 1768473001.5))
    assert.are.equal(2, trips("SELECT $1::int8 AS n -- trips", 1768473000))
  end)

  it("is a plain number again where its column has become one meanwhile", function()
    local seconds <const> = db:with { timestamps = "epoch" }
    assert(db:execute "CREATE TABLE changing (at timestamptz)")
    local sql = "INSERT INTO changing VALUES ($1)"
    assert(seconds:query(sql, 86400))
    local other <close> = assert(pg.connect(server.options))
    assert(other:execute "ALTER TABLE changing ALTER at TYPE bigint USING 0")
    assert(seconds:query(sql, 86400))
    assert.are.equal(86400, support.value(db, "SELECT max(at) FROM changing"))
  end)
end)
