-- SPDX-License-Identifier: MIT
-- unnest: the FROM item, its values and their parameters; no server.
local pg = require "pg"
local support = require "spec.support"
local unnest = require "pg.unnest"

local null, same = pg.null, support.same

local int <const> = { name = "id", type = '"pg_catalog"."int4"', native = "int4" }
local text <const> = { name = "t", type = '"pg_catalog"."text"', native = "text" }
local bytea <const> = { name = "b", type = '"pg_catalog"."bytea"', native = "bytea" }
local json <const> = { name = "j", type = '"pg_catalog"."jsonb"', native = "jsonb" }
local mood <const> = { name = "m", type = '"odd ""s"."mood"', text = true }
local list <const> = { name = "l", type = '"pg_catalog"."_int4"', text = true, array = true,
  element = "int4" }

--- The values of a wrapper, and what type they are declared with.
local function shown(parameter)
  local values = table.move(parameter[1], 1, parameter[1].n, 1, {})
  return { values, parameter[2] }
end

describe("unnest", function()
  it("is a FROM item with an array a column, schema-qualified and without lengths", function()
    local from, items = unnest.source({ int }, 1)
    assert.equal('(SELECT pg_catalog.unnest($1::"pg_catalog"."int4"[]) AS c1) AS u', from)
    same({ "u.c1" }, items)
    from, items = unnest.source({ int, mood, list }, 3)
    assert.equal('(SELECT pg_catalog.unnest($3::"pg_catalog"."int4"[]) AS c1, '
      .. 'pg_catalog.unnest($4::"pg_catalog"."text"[]) AS c2, '
      .. 'pg_catalog.unnest($5::"pg_catalog"."text"[]) AS c3) AS u', from)
    same({ "u.c1", 'u.c2::"odd ""s"."mood"', 'u.c3::"pg_catalog"."_int4"' }, items)
  end)

  it("says each row's place where that is asked for", function()
    assert.equal('pg_catalog.unnest($1::"pg_catalog"."int4"[]) WITH ORDINALITY AS u (c1, place)',
      (unnest.source({ int }, 1, true)))
    assert.equal('unnest($3::"pg_catalog"."int4"[], $4::"pg_catalog"."text"[]) WITH ORDINALITY '
      .. 'AS u (c1, c2, place)', (unnest.source({ int, mood }, 3, true)))
  end)

  it("takes a column that the relation lacks for text", function()
    local columns = unnest.columns({ columns = { id = int } }, { "id", 'no"ne' })
    same({ int, { name = 'no"ne', type = '"pg_catalog"."text"', native = "text" } }, columns)
  end)

  it("puts rows into columns, what is not there as NULL", function()
    local rows <const> = { { id = 0 }, { id = 1, t = "a", l = { 1, 2 } }, { m = "x", t = null },
      { id = 4 } }
    local values = assert(unnest.values({ int, text, mood, list }, rows, 2, 3))
    assert.equal(4, values.n)
    same({ { 1, null }, "int4[]" }, shown(values[1]))
    same({ { "a", null }, "text[]" }, shown(values[2]))
    same({ { null, "x" }, "text[]" }, shown(values[3]))
    same({ { "{1,2}", null }, "text[]" }, shown(values[4]))
  end)

  it("names the row and the column of what cannot be sent", function()
    for _, case in ipairs {
      { text, "a\0", "NUL" }, { mood, "\0", "NUL" }, { int, { 1 }, "does not fit the type" },
      { mood, { a = 1 }, "as PostgreSQL writes it" }, { int, print, "cannot send a function" },
      { int, io.stdout, "cannot send a userdata" }, { text, pg.raw "now()", "pg.raw" },
      { text, pg.default, "pg.default" }, { list, { 1, { 2 } }, "[2]" },
      { list, { x = 1 }, "keys" },
      { json, { print }, "function" }, { list, { "\0" }, "NUL" },
      { int, pg.typed(pg.typed(1, "int4"), "int4"), "wrapped again" },
      { int, coroutine.create(print), "cannot send a thread" },
    } do
      local column, value, reason = table.unpack(case)
      local values, fault = unnest.values({ column }, { {}, { [column.name] = value } }, 1, 2)
      assert.is_nil(values)
      same({ 2, column.name }, { fault.row, fault.column })
      support.contains(fault.reason, reason)
    end
  end)

  it("has each value as it goes into an array", function()
    for _, case in ipairs {
      { int, 5, 5 }, { int, "5", "5" }, { int, null, null }, { int, false, false },
      { bytea, "\0\xff", "\0\xff" }, { bytea, pg.bytea "\0", "\0" }, { json, { 1 }, "[1]" },
      { json, "[1]", "[1]" }, { json, pg.json "s", '"s"' }, { json, pg.array {}, "[]" },
      { text, { 1 }, "[1]" }, { int, pg.typed(5, "int8"), 5 }, { list, {}, "{}" },
      { list, { { 1, null }, { 3, 4 } }, "{{1,NULL},{3,4}}" }, { list, "{1}", "{1}" },
      { list, pg.array({ 1 }, "int8"), "{1}" }, { mood, "sad", "sad" },
      { { array = true, element = "bytea" }, { "\0" }, [[{"\\x00"}]] },
      { { array = true, element = "jsonb" }, { { 1 }, 2 }, [[{"[1]",2}]] },
      { { array = true, element = "box" }, { "(1,1),(0,0)", "x" }, [[{"(1,1),(0,0)";"x"}]] },
      { { array = true }, { 'a"\\' }, [[{"a\"\\"}]] },
    } do
      same(case[3], (unnest.cell(case[1], case[2])))
    end
  end)

  it("finds the first text with a NUL in lists that are ready", function()
    local lists = { { n = 3, 1, 2, 3 }, { n = 3, "a", "b", "\0" }, { n = 3, "\0", "\0", "\0" } }
    local place, at, reason = unnest.unsendable({ int, text, bytea }, lists)
    same({ 3, 2 }, { place, at })
    support.contains(reason, "NUL")
    lists[1][2] = "2\0"
    place, at = unnest.unsendable({ int, text, bytea }, lists)
    same({ 2, 1 }, { place, at })
    assert.is_nil(unnest.unsendable({ bytea }, { lists[3] }))
  end)

  it("slices a list", function()
    same({ n = 2, "b", "c" }, unnest.slice({ n = 4, "a", "b", "c", "d" }, 2, 3))
  end)
end)
