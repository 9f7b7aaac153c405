-- SPDX-License-Identifier: MIT
-- ON CONFLICT as text, from the options of insert, upsert and bulk_insert: no server.
local conflict = require "pg.conflict"
local pg = require "pg"
local sql = require "pg.sql"
local support = require "spec.support"

local raises = support.raises

-- As the catalogue answers it.
local function relation_of(key, ...)
  local relation = { kind = "r", key = key, columns = {} }
  for i, name in ipairs { ... } do
    relation.columns[i] = { name = name }
    relation.columns[name] = relation.columns[i]
  end
  return relation
end

local users <const> = relation_of({ "id" }, "id", "email", "name", "seen")

describe("an ON CONFLICT clause", function()
  local row <const> = { "email", "id", "name" }
  local cases = {
    { "is of the primary key, and updates all else", { conflict = true },
      '("id") DO UPDATE SET "email" = EXCLUDED."email", "name" = EXCLUDED."name"' },
    { "is of one column", { conflict = "email" },
      '("email") DO UPDATE SET "id" = EXCLUDED."id", "name" = EXCLUDED."name"' },
    { "is of several columns", { conflict = { "name", "email" } },
      '("name", "email") DO UPDATE SET "id" = EXCLUDED."id"' },
    { "names a column once", { conflict = { "id", "id" }, update = { "name", "name" } },
      '("id") DO UPDATE SET "name" = EXCLUDED."name"' },
    { "is of an expression", { conflict = pg.raw "lower(email)", update = "name" },
      '(lower(email)) DO UPDATE SET "name" = EXCLUDED."name"' },
    { "mixes columns and expressions", { conflict = { "name", pg.raw 'email COLLATE "C"' },
      update = "id" }, '("name", email COLLATE "C") DO UPDATE SET "id" = EXCLUDED."id"' },
    { "updates what is said", { conflict = "id", update = { "name" } },
      '("id") DO UPDATE SET "name" = EXCLUDED."name"' },
    { "updates a column of the conflict when that is said", { conflict = "id", update = "id" },
      '("id") DO UPDATE SET "id" = EXCLUDED."id"' },
    { "does not touch a column that the row lacks",
      { conflict = "id", update = { "name", "seen" } },
      '("id") DO UPDATE SET "name" = EXCLUDED."name"' },
    { "leaves a column that the table lacks to the server", { conflict = "id", update = "nmae" },
      '("id") DO UPDATE SET "nmae" = EXCLUDED."nmae"' },
    { "sets more",
      { conflict = "id", update = "name", set = { seen = pg.raw "now()", email = "x" } },
      '("id") DO UPDATE SET "name" = EXCLUDED."name", "email" = $1, "seen" = now()', { "x" } },
    { "prefers what is set", { conflict = "id", set = { name = "x", email = pg.default } },
      '("id") DO UPDATE SET "email" = DEFAULT, "name" = $1', { "x" } },
    { "sets NULL", { conflict = "id", update = {}, set = { name = pg.null } },
      '("id") DO UPDATE SET "name" = $1', { pg.null } },
    { "does nothing", { conflict = "id", update = false }, '("id") DO NOTHING' },
    { "does nothing where nothing is to be updated", { conflict = "id", update = {} },
      '("id") DO NOTHING' },
    { "S105: does nothing where all columns are the conflict's", { conflict = row },
      '("email", "id", "name") DO NOTHING' },
    { "has a partial index's condition", { conflict = "email", where = { seen = pg.null },
      update = false }, '("email") WHERE "seen" IS NULL DO NOTHING' },
    { "compares with literals, for the planner", { conflict = "email", update = false,
      where = { a = "it's", b = true, c = -1, d = 1.5, e = pg.raw "'x'::mood" } },
      [[("email") WHERE "a" = 'it''s' AND "b" = true AND "c" =  -1 AND "d" = 1.5 AND "e" = ]]
        .. "'x'::mood DO NOTHING" },
    { "takes a condition as SQL", { conflict = "email", where = pg.raw "seen > now()",
      update = false }, '("email") WHERE seen > now() DO NOTHING' },
    { "is of a constraint", { constraint = "The Key", update = "name" },
      'ON CONSTRAINT "The Key" DO UPDATE SET "name" = EXCLUDED."name"' },
    { "quotes every name", { conflict = 'a"', where = { ['b"'] = 1 }, update = 'c"',
      set = { ['d"'] = pg.raw "1" } }, '("a""") WHERE "b""" = 1 DO UPDATE SET "c""" = '
        .. 'EXCLUDED."c""", "d""" = 1' },
  }
  for _, case in ipairs(cases) do
    it(case[1], function()
      local plan = conflict.read(case[2], 1)
      local columns = plan.constraint and { "email" } or conflict.columns(plan, nil, "", users)
      local values = sql.values()
      local text, updates = conflict.clause(plan, columns, row, users, values)
      assert.equal(" ON CONFLICT " .. case[3], text)
      assert.equal(text:find("DO UPDATE", 1, true) ~= nil, updates)
      local expected = case[4] or {}
      for i = 1, math.max(#expected, values.n) do assert.equal(expected[i], values[i]) end
    end)
  end

  it("binds after the values that are there already, and knows their columns", function()
    local plan, values = conflict.read({ conflict = "id", set = { seen = "now" } }, 1), sql.values()
    assert.equal("$1", sql.place(values, 7, "id"))
    local text = conflict.clause(plan, { "id" }, { "id" }, users, values)
    assert.equal(' ON CONFLICT ("id") DO UPDATE SET "seen" = $2', text)
    assert.same({ n = 2, 7, "now", names = { "id", "seen" } }, values)
  end)

  it("is not changed by being built: another row has another one", function()
    local plan = conflict.read({ conflict = "id", update = { "email", "name" } }, 1)
    for _, case in ipairs { { { "id", "name" }, '"name" = EXCLUDED."name"' },
      { { "email", "id" }, '"email" = EXCLUDED."email"' } } do
      assert.equal(' ON CONFLICT ("id") DO UPDATE SET ' .. case[2],
        (conflict.clause(plan, { "id" }, case[1], users, sql.values())))
    end
  end)

  it("is none without a conflict or a constraint, unless it has to be one", function()
    assert.is_nil(conflict.read({}, 1))
    local plan = conflict.read({}, 1, true)
    assert.equal(' ON CONFLICT ("id") DO UPDATE SET "name" = EXCLUDED."name"',
      (conflict.clause(plan, conflict.columns(plan, nil, "", users), { "name" }, users,
        sql.values())))
  end)

  it("fails, and never becomes another statement, where there is no such table", function()
    local nothing = { key = {}, columns = {} }
    local plan = conflict.read({}, 1, true)
    assert.same({ "ctid" }, conflict.columns(plan, nil, "", nothing)) -- nothing can be unique on it
  end)
end)

describe("the options of a conflict", function()
  local wrong = {
    { { conflict = 5 }, "conflict must be a name or a list of names, not a number" },
    { { conflict = false }, "conflict must be a name or a list of names, not a boolean" },
    { { conflict = {} }, "conflict is an empty list" },
    { { conflict = { a = 1 } }, "conflict must be a list of names" },
    { { conflict = "" }, "a name cannot be empty" },
    { { conflict = "a\0" }, "a name cannot hold a NUL byte" },
    { { conflict = pg.identifier "a" }, "conflict must be a name or a list of names" },
    { { conflict = "a", constraint = "b" }, "give one of them" },
    { { constraint = "" }, "a name cannot be empty" },
    { { constraint = { "a" } }, "a name must be a string, not a table" },
    { { constraint = "a", where = { b = 1 } }, "where belongs to conflict" },
    { { conflict = true, where = { b = 1 } }, "where needs the columns of its index" },
    { { conflict = "a", where = {} }, "where is empty" },
    { { conflict = "a", where = "b = 1" }, "where must be a table of column = value or pg.raw" },
    { { conflict = "a", where = { 1 } }, "under the number key 1" },
    { { conflict = "a", where = { b = {} } }, "where compares with a string" },
    { { conflict = "a", where = { b = pg.json {} } }, "where compares with a string" },
    { { conflict = "a", where = { b = "a\0" } }, "a literal cannot hold a NUL byte" },
    { { conflict = "a", where = { b = "\xff" } }, "a literal must be valid UTF-8" },
    { { conflict = "a", update = true }, "update must be a name or a list of names" },
    { { conflict = "a", update = 1 }, "update must be a name or a list of names" },
    { { conflict = "a", update = { 1 } }, "a name must be a string, not a number" },
    { { conflict = "a", update = { "b", [3] = "c" } }, "without gaps" },
    { { conflict = "a", update = false, set = { b = 1 } }, "there is nothing to set" },
    { { conflict = "a", set = "b = 1" }, "set must be a table of column = value" },
    { { conflict = "a", set = pg.raw "b = 1" }, "under the number key 1" },
    { { conflict = "a", set = { ["b\0"] = 1 } }, "a name cannot hold a NUL byte" },
    { { where = { a = 1 } }, "where needs the columns of its index" },
    { { update = false }, "update is for a conflict: say which" },
    { { set = { a = 1 } }, "set is for a conflict: say which" },
  }
  for i, case in ipairs(wrong) do
    it(("are refused: %s (%d)"):format(case[2], i), function()
      raises(case[2], function() conflict.read(case[1], 1) end)
    end)
  end
end)
