-- SPDX-License-Identifier: MIT
-- Quoting and statement builders: text in, text out, no server.
local pg = require "pg"
local sql = require "pg.sql"
local support = require "spec.support"

local raises = support.raises

describe("a quoted name", function()
  local cases = {
    { "users", '"users"' },
    { "Users", '"Users"' },
    { "a b", '"a b"' },
    { 'a"b', '"a""b"' },
    { '""', '""""""' },
    { "a'b", '"a\'b"' },
    { "a.b", '"a.b"' },
    { "a\\b", '"a\\b"' },
    { "a\nb", '"a\nb"' },
    { "select", '"select"' },
    { "$1", '"$1"' },
    { "1st", '"1st"' },
    { "größe", '"größe"' },
    { '"; DROP TABLE users; --', '"""; DROP TABLE users; --"' },
    { ("x"):rep(63), '"' .. ("x"):rep(63) .. '"' },
    { ('"'):rep(63), '"' .. ('""'):rep(63) .. '"' },
    { ("é"):rep(31), '"' .. ("é"):rep(31) .. '"' },
  }
  for _, case in ipairs(cases) do
    it(("S041 S1: of %q is %s"):format(case[1], case[2]), function()
      assert.equal(case[2], sql.quote(case[1]))
      assert.equal(case[2], tostring(pg.identifier(case[1])))
    end)
  end

  local wrong = {
    { "", "a name cannot be empty" },
    { "a\0b", "a name cannot hold a NUL byte" },
    { "\0", "a name cannot hold a NUL byte" },
    { "a\xff", "a name must be valid UTF-8" },
    { "\xc0\xa2", "a name must be valid UTF-8" }, -- an overlong quote
    { "\xed\xa0\x80", "a name must be valid UTF-8" }, -- a surrogate
    { 'a\xe2"', "a name must be valid UTF-8" }, -- CVE-2025-1094
    { 7, "a name must be a string, not a number" },
    { nil, "a name must be a string, not a nil" },
    { {}, "a name must be a string, not a table" },
    { ("x"):rep(64), "a name has at most 63 bytes, which PostgreSQL keeps; this one has 64: xxx" },
    { ("é"):rep(32), "this one has 64: éé" },
    { ("x"):rep(28) .. ("é"):rep(50), "this one has 128: " .. ("x"):rep(28) .. "..." },
  }
  for i, case in ipairs(wrong) do
    it(("S1: is refused: %s (%d)"):format(case[2], i), function()
      raises(case[2], function() sql.quote(case[1]) end)
      raises(case[2], function() pg.identifier(case[1]) end)
      raises(case[2], function() pg.identifier("schema", case[1]) end)
    end)
  end
end)

describe("a table's name", function()
  local cases = {
    { "users", '"users"' },
    { "public.users", '"public"."users"' },
    { "My Schema.My Table", '"My Schema"."My Table"' },
    { 'a"b.c"d', '"a""b"."c""d"' },
    { pg.identifier("odd.name"), '"odd.name"' },
    { pg.identifier("public", "odd.name"), '"public"."odd.name"' },
    { pg.identifier("a", "b", "c"), '"a"."b"."c"' },
  }
  for _, case in ipairs(cases) do
    it(("S041: %s is %s"):format(tostring(case[1]), case[2]), function()
      assert.equal(case[2], sql.table_name(case[1]))
    end)
  end

  local wrong = {
    { "a.b.c", "'a.b.c' has more than one dot: pg.identifier(...) takes names as given" },
    { "..", "'..' has more than one dot" },
    { ".users", "a name cannot be empty" },
    { "public.", "a name cannot be empty" },
    { "", "a name cannot be empty" },
    { "a\0.b", "a name cannot hold a NUL byte" },
    { "a.b\0", "a name cannot hold a NUL byte" },
    { "a.\xff", "a name must be valid UTF-8" },
    { nil, "a table's name must be a string or a pg.identifier, not a nil" },
    { 3, "a table's name must be a string or a pg.identifier, not a number" },
    { { "users" }, "a table's name must be a string or a pg.identifier, not a table" },
    { pg.raw "users", "a table's name must be a string or a pg.identifier, not a table" },
  }
  for i, case in ipairs(wrong) do
    it(("S041: is refused: %s (%d)"):format(case[2], i), function()
      raises(case[2], function() sql.table_name(case[1]) end)
    end)
  end

  it("S041: is never made of no name at all", function()
    raises("pg.identifier takes one name or more", function() pg.identifier() end)
  end)
end)

describe("a literal", function()
  local cases = {
    { "", "''" },
    { "O'Brien", "'O''Brien'" },
    { "'; DROP TABLE users; --", "'''; DROP TABLE users; --'" },
    { "a\\b", " E'a\\\\b'" },
    { "\\'", " E'\\\\'''" },
    { "größe\n", "'größe\n'" },
    { "$1", "'$1'" },
    { 0, "0" },
    { 3, "3" },
    { 3.0, "3.0" },
    { 0.1 + 0.2, "0.30000000000000004" },
    { -1, " -1" }, -- 1 - -1 would be a comment
    { -0.5, " -0.5" },
    { math.maxinteger, "9223372036854775807" },
    { math.mininteger, " -9223372036854775808" },
    { 0 / 0, "'NaN'" },
    { math.huge, "'Infinity'" },
    { -math.huge, "'-Infinity'" },
    { true, "true" },
    { false, "false" },
  }
  for _, case in ipairs(cases) do
    it(("of %q is %s"):format(case[1], case[2]), function()
      assert.equal(case[2], pg.literal(case[1]))
    end)
  end

  local wrong = {
    { "a\0b", "a literal cannot hold a NUL byte" },
    { "a\xff", "a literal must be valid UTF-8" },
    { "\xe2'", "a literal must be valid UTF-8" }, -- CVE-2025-1094
    { nil, "pg.literal takes a string, a number or a boolean, not a nil" },
    { {}, "pg.literal takes a string, a number or a boolean, not a table" },
    { pg.null, "pg.literal takes a string, a number or a boolean, not a userdata" },
  }
  for i, case in ipairs(wrong) do
    it(("is refused: %s (%d)"):format(case[2], i), function()
      raises(case[2], function() pg.literal(case[1]) end)
    end)
  end
end)

describe("pg.raw", function()
  it("holds SQL as it is, and shows it", function()
    local now = pg.raw "now() - '1 day'::interval"
    assert.is_true(sql.is_raw(now))
    assert.is_true(sql.is_raw(pg.default))
    assert.equal("now() - '1 day'::interval", tostring(now))
    assert.equal("DEFAULT", tostring(pg.default))
  end)

  it("is not what a table of its shape is", function()
    assert.is_false(sql.is_raw { "now()" })
    assert.is_false(sql.is_raw "now()")
    assert.is_false(sql.is_raw(pg.identifier "now"))
    assert.is_false(sql.is_raw(nil))
  end)

  it("takes only a string", function()
    raises("pg.raw takes a string of SQL, not a nil", function() pg.raw() end)
    raises("pg.raw takes a string of SQL, not a table", function() pg.raw {} end)
  end)
end)

describe("the names of columns", function()
  it("come sorted, so that the same columns make the same statement", function()
    assert.same({ "A", "a", "b", "c" }, sql.names({ c = 1, a = false, b = pg.null, A = "" }, 1))
    assert.same({}, sql.names({}, 1))
  end)

  for _, key in ipairs { 1, 2.5, true } do
    it(("are strings, not the %s %s"):format(type(key), tostring(key)), function()
      raises(("columns go by name: there is a value under the %s key %s"):format(type(key),
        tostring(key)), function() sql.names({ a = 1, [key] = 2 }, 1) end)
    end)
  end
end)

describe("a list of values", function()
  it("gives placeholders in order, and raw SQL as it is", function()
    local values = sql.values()
    assert.equal("$1", sql.place(values, "a"))
    assert.equal("now()", sql.place(values, pg.raw "now()"))
    assert.equal("$2", sql.place(values, nil))
    assert.equal("DEFAULT", sql.place(values, pg.default))
    assert.equal("$3", sql.place(values, pg.null))
    assert.same({ n = 3, names = {}, "a", nil, pg.null }, values)
  end)
end)

describe("a where clause", function()
  local list = { 1, 2 }
  local cases = {
    { "S096: pg.null is IS NULL", { a = pg.null }, '"a" IS NULL', { n = 0 } },
    { "a value is =", { a = 1 }, '"a" = $1', { n = 1, 1 } },
    { "false is a value", { a = false }, '"a" = $1', { n = 1, false } },
    { "a list is = ANY", { a = list }, '"a" = ANY($1)', { n = 1, list } },
    { "an empty list is = ANY", { a = {} }, '"a" = ANY($1)', { n = 1, {} } },
    { "several are joined by AND, sorted", { b = 2, a = 1, c = pg.null },
      '"a" = $1 AND "b" = $2 AND "c" IS NULL', { n = 2, 1, 2 } },
    { "a table with keys is a value", { a = { b = 1 } }, '"a" = $1', { n = 1, { b = 1 } } },
    { "raw SQL stands as it is", { a = pg.raw "lower('X')", b = 1 },
      '"a" = lower(\'X\') AND "b" = $1', { n = 1, 1 } },
    { "a name is quoted", { ['a" = 1 OR "b'] = 1 }, '"a"" = 1 OR ""b" = $1', { n = 1, 1 } },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local values = sql.values()
      assert.equal(case[3], sql.where(case[2], values, 1))
      case[4].names = {}
      assert.same(case[4], values)
    end)
  end

  it("takes a marked or typed list as a list, and other wrappers as values", function()
    local marked = setmetatable({ 1 }, { __jsontype = "array" }) -- as dkjson does
    for text, value in pairs {
      ['"a" =   ANY($1)'] = marked,
      ['"a" = ANY($1)'] = pg.array {}, ['"a"  = ANY($1)'] = pg.array({}, "text"),
      ['"a" = $1'] = pg.json { 1 }, ['"a"  = $1'] = pg.typed({ 1 }, "jsonb"),
    } do
      assert.equal((text:gsub(" +", " ")), sql.where({ a = value }, sql.values(), 1))
    end
  end)
end)

describe("a table of columns", function()
  local hiding = { __pairs = function() return next, { c = 1 } end, __len = function() return 2 end,
    __index = function() return 1 end }

  it("is read as it is, without its metatable", function()
    assert.same({ "a", "b" }, sql.names(setmetatable({ b = 1, a = 2 }, hiding), 1))
    assert.equal('"a", "b""", lower(c)', sql.quoted_list { "a", 'b"', pg.raw "lower(c)" })
    assert.equal("", sql.quoted_list {})
  end)

  it("is refused where all of it is behind a metatable", function()
    for _, name in ipairs { "__pairs", "__len" } do
      raises("x is empty but for its metatable, and tables are read without", function()
        sql.need_table(setmetatable({}, { [name] = hiding[name] }), "x", 1)
      end)
    end
    for _, plain in ipairs { {}, setmetatable({}, { __index = {} }), pg.array {},
      setmetatable({ a = 1 }, hiding), setmetatable({}, { __metatable = "locked" }) } do
      sql.need_table(plain, "x", 1)
    end
  end)
end)

describe("a list of names", function()
  it("is one name or several, each once", function()
    assert.same({ "a" }, sql.list("a", "x", 1))
    assert.same({ "b", "a" }, sql.list({ "b", "a", "b" }, "x", 1))
    assert.same({}, sql.list({}, "x", 1))
  end)

  it("holds expressions only where they may stand", function()
    local lower = pg.raw "lower(a)"
    assert.same({ lower, "b" }, sql.list({ lower, "b" }, "x", 1, true))
    raises("a name must be a string, not a table", function() sql.list({ lower }, "x", 1) end)
  end)

  local wrong = {
    { 5, "x must be a name or a list of names, not a number" },
    { true, "x must be a name or a list of names, not a boolean" },
    { pg.raw "a", "x must be a name or a list of names, not a table" },
    { pg.identifier "a", "x must be a name or a list of names, not a table" },
    { { 1 }, "a name must be a string, not a number" },
    { { "a", [3] = "b" }, "x must be a list of names, without gaps" },
    { { a = true }, "x must be a list of names, without gaps" },
    { { "a", "" }, "a name cannot be empty" },
    { "", "a name cannot be empty" },
    { { ("x"):rep(64) }, "a name has at most 63 bytes" },
  }
  for i, case in ipairs(wrong) do
    it(("is refused: %s (%d)"):format(case[2], i), function()
      raises(case[2], function() sql.list(case[1], "x", 1) end)
    end)
  end
end)

describe("a RETURNING list", function()
  it("is a name, several, or all", function()
    assert.equal('"id"', sql.returning("id", 1))
    assert.equal('"id", "Created At"', sql.returning({ "id", "Created At" }, 1))
    assert.equal("*", sql.returning("*", 1))
    assert.equal('"*"', sql.returning({ "*" }, 1))
  end)

  it("is refused when it is empty or no list of names", function()
    raises("returning is an empty list", function() sql.returning({}, 1) end)
    raises("returning must be a name or a list of names, not a number",
      function() sql.returning(1, 1) end)
    raises("a name must be a string, not a number", function() sql.returning({ 1 }, 1) end)
    raises("a name cannot be empty", function() sql.returning("", 1) end)
  end)
end)
