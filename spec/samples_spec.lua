-- SPDX-License-Identifier: MIT
-- The samples of every type (spec/samples/): in text and in binary, alone and within others, and
-- back as parameters; the same under settings and a locale that change how numbers and times are
-- written.
local pg = require "pg"
local samples = require "spec.samples"
local support = require "spec.support"
local throwaway = require "pg.throwaway"
local values = require "spec.values"

local null, exactly = pg.null, support.exactly

local server, db

setup(function()
  server = assert(throwaway.start {})
  db = assert(pg.connect(server.options))
  values.create_paying(db)
  samples.create(db)
  assert(db:execute "CREATE ROLE hostile SUPERUSER LOGIN")
  samples.learn(db, samples.kinds)
end)

teardown(function()
  db:close()
  server:stop()
end)

describe("a value", function()
  for _, kind in ipairs(samples.kinds) do
    it(("of type %s is the same in text and binary and passes back %s"):format(kind[1],
      kind.title and "(" .. kind.title .. ")" or ""), function()
      local missing = samples.missing(db, kind)
      if missing then return pending(missing) end
      local before = values.binary_count(db)
      local count = samples.check(db, kind)
      assert.are.equal(kind.text_only and 0 or count, values.binary_count(db) - before)
    end)
  end
end)

-- What the server's settings could change: alone, and within others, too.
local sensitive <const> = samples.of("float", "bytea", "time")
local all_sensitive <const> = samples.of("float", "bytea", "text", "time", "json", "domain",
  "composite", "range", "array")

describe("values", function()
  -- Settings in pairs of name and value.
  local all <const> = { "DateStyle", "SQL, YMD", "IntervalStyle", "sql_standard", "TimeZone",
    "Europe/Amsterdam", "bytea_output", "escape", "extra_float_digits", "-15",
    "standard_conforming_strings", "off", "array_nulls", "off" }
  local cases = {
    { "R12", "DateStyle", "German, DMY" }, { "R12", "DateStyle", "SQL, DMY" },
    { "R12", "DateStyle", "Postgres, MDY" }, { "S039", "DateStyle", "ISO, YMD" },
    { "R13", "IntervalStyle", "sql_standard" }, { "R13", "IntervalStyle", "postgres_verbose" },
    { "R13", "IntervalStyle", "iso_8601" }, { "R13", "bytea_output", "escape" },
    { "S039", "TimeZone", "Asia/Kolkata" }, { "S039", "TimeZone", "America/St_Johns" },
    { "R14", "TimeZone", "<-0123>+01:23" }, { "S039", "TimeZone", "UTC" },
    { "R11", "extra_float_digits", "-15" }, { "R11", "extra_float_digits", "0" },
    { "R11", "extra_float_digits", "3" }, { "R25", "standard_conforming_strings", "off" },
    { "R15", "array_nulls", "off" }, { "R8", "lc_numeric", "POSIX", "quote_all_identifiers", "on" },
    { "R11, R12, R13", table.unpack(all) },
  }

  local one

  setup(function()
    one = assert(pg.connect(server.options))
    samples.learn(one, all_sensitive)
  end)

  teardown(function() one:close() end)

  local function make_default(settings)
    assert(db:execute "ALTER ROLE hostile RESET ALL")
    for i = 1, #settings, 2 do
      assert(db:execute(("ALTER ROLE hostile SET %s TO '%s'"):format(settings[i], settings[i + 1])))
    end
    return assert(pg.connect(support.with(server.options, { user = "hostile" })))
  end

  local function set(hostile, settings, scope)
    for i = 1, #settings, 2 do
      assert(hostile:execute(("SET %s %s TO '%s'"):format(scope, settings[i], settings[i + 1])))
    end
  end

  for _, case in ipairs(cases) do
    local settings, shown = table.move(case, 2, #case, 1, {}), {}
    for i = 1, #settings, 2 do shown[#shown + 1] = settings[i] .. " = " .. settings[i + 1] end
    shown = ("%s (%s)"):format(table.concat(shown, ", "), case[1])

    it("are the same where the role's default is " .. shown, function()
      local hostile <close> = make_default(settings)
      samples.learn(hostile, sensitive)
      samples.check_all(hostile, sensitive)
    end)

    it("are the same after SET " .. shown, function()
      set(one, settings, "SESSION")
      samples.check_all(one, all_sensitive)
      assert(one:execute "RESET ALL")
    end)
  end

  it("are the same in a transaction with settings of its own, and after it", function()
    for _, last in ipairs { "COMMIT", "ROLLBACK" } do
      for _, scope in ipairs { "LOCAL", "SESSION" } do
        assert(one:execute "BEGIN")
        set(one, all, scope)
        samples.check_all(one, sensitive)
        assert(one:execute(last))
        samples.check_all(one, sensitive)
      end
    end
  end)

  it("are stored as they are by insert, update and pg.literal under all of these (R25)", function()
    local hostile <close> = make_default(all)
    assert(hostile:execute [[CREATE TEMPORARY TABLE stored (id serial PRIMARY KEY, text text,
      bytes bytea, number float8, list text[], at timestamptz, span interval)]])
    local row = { text = [[a\'b"c\\ $1]], bytes = [[\'\\x00]] .. "\0\255", number = 0.1 + 0.2,
      list = { [[\]], "'", null, "NULL" }, at = "0044-03-15T10:00:00.5Z BC", span = "P-1Y2DT-0.5S" }
    row.id = assert(hostile:insert("stored", row)).insertedId
    local read = "SELECT * FROM stored WHERE text = "
    assert.is_true(exactly({ row }, assert(hostile:query(read .. "$1", row.text)).rows))
    assert.is_true(exactly({ row }, assert(hostile:query(read .. pg.literal(row.text))).rows))
    row.text = row.text:reverse()
    local changed = { set = { text = row.text }, where = { bytes = row.bytes, span = row.span } }
    changed.table = "stored"
    assert.are.equal(1, assert(hostile:update(changed)).rowCount)
    assert.is_true(exactly({ row }, assert(hostile:query(read .. pg.literal(row.text))).rows))
  end)

  it("are the same after the role's defaults came back", function()
    local hostile <close> = make_default(all)
    for _, reset in ipairs { "RESET ALL", "DISCARD ALL", "RESET extra_float_digits" } do
      assert(hostile:execute(reset))
      samples.check_all(hostile, sensitive)
    end
  end)
end)

describe("numbers under a locale with a decimal comma", function()
  -- In a process of its own, with its server: LOCPATH has to stand before they start.
  local program = [[
    local pg = require "pg"
    local samples = require "spec.samples"
    local values = require "spec.values"
    local server <close> = assert(require("pg.throwaway").start {
      settings = { lc_numeric = "comma" } })
    assert(os.setlocale(...), "setlocale")
    assert(("%.1f"):format(0.5) == "0,5", "this locale has no decimal comma")
    local db <close> = assert(pg.connect(server.options))
    values.create_paying(db)
    samples.create(db)
    local kinds = samples.of("integer", "float", "numeric", "time", "json", "geometric", "range",
      "composite", "array", "extension")
    samples.learn(db, kinds)
    samples.check_all(db, kinds)
    local row = assert(db:with { numeric = "number" }:query("SELECT 12.25 AS n, $1::numeric = 0.1 "
      .. "AS same, $2::text AS text, to_char(0.5, '0D0') AS comma", 0.1, 1.5)).rows[1]
    assert(row.n == 12.25 and row.same and row.text == "1.5" and row.comma == " 0,5", "numeric")
    assert(pg.encode { 0.5, 1e300, 5e-324 } == "[0.5,1e300,5e-324]", "JSON")
    io.write "all the same"
  ]]

  it("are those of any other, at the server, too (R11, P9)", function()
    local folder <const> = support.folder()
    local removed <close> = setmetatable({}, { -- luacheck: ignore 211
      __close = function() os.execute("rm -rf " .. folder) end,
    })
    local _, message, code = support.run("localedef -i de_DE -f ISO-8859-1 " .. folder .. "/comma")
    if code ~= 0 then return pending("no locale can be made: " .. message) end
    support.write(folder .. "/program.lua", program)
    local output, errors = support.run(("LOCPATH=%s %s %s/program.lua comma"):format(folder,
      support.lua, folder))
    assert.are.equal("all the same", output .. errors)
  end)
end)
