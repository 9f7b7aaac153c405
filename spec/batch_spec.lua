-- SPDX-License-Identifier: MIT
-- batch: rows in, groups out, within the limits; no server.
local batch = require "pg.batch"
local pg = require "pg"
local support = require "spec.support"

local null, same = pg.null, support.same

describe("a batch", function()
  --- All that is filled, one group after another, as text: "a=1,2 b=x,y @1,2; ..."; `ahead`:
  --- while the batch before is looked at.
  local function fill(input, given, ahead)
    local b = batch.new(batch.source(input, 1), { columns = {} },
      support.merge({ rows = 100, bytes = 1 << 20 }, given))
    local list = {}
    while not b.ended do
      local more, problem = b:fill()
      if more == nil then return problem end
      if not more then break end
      if ahead then b:fill_ahead() end
      local groups = {}
      for i, group in ipairs(b.groups) do
        local parts = {}
        for at, name in ipairs(group.names) do
          local values = {}
          assert.equal(group.n, group.lists[at].n)
          for row = 1, group.n do
            local value = group.lists[at][row]
            values[row] = value == null and "NULL" or tostring(value)
          end
          parts[at] = name .. "=" .. table.concat(values, ",")
        end
        for _, name in ipairs(group.defaults) do parts[#parts + 1] = name end
        parts[#parts + 1] = "@" .. table.concat(group.places, ",", 1, group.n)
        groups[i] = table.concat(parts, " ")
      end
      list[#list + 1] = table.concat(groups, "; ")
    end
    return list
  end

  --- The same, which must not differ when it is filled ahead.
  local function filled(input, given)
    local list = fill(input, given)
    if type(input) == "table" then same(list, fill(input, given, true)) end
    return list
  end

  local function iterate(list)
    local i = 0
    return function()
      i = i + 1
      return list[i]
    end
  end

  it("is the same from a list, from columns and from an iterator", function()
    local list, columns = {}, { a = {}, b = {} }
    for i = 1, 25 do
      list[i] = { a = i, b = "x" .. i }
      columns.a[i], columns.b[i] = i, "x" .. i
    end
    for _, rows in ipairs { 1, 2, 7, 24, 25, 26 } do
      local expected = filled(list, { rows = rows })
      assert.equal((25 + rows - 1) // rows, #expected)
      same(expected, filled(columns, { rows = rows }))
      same(expected, filled(iterate(list), { rows = rows }))
    end
    same({ "a=1,2 b=x1,x2 @1,2", "a=3 b=x3 @3" },
      filled(table.move(list, 1, 3, 1, {}), { rows = 2 }))
  end)

  it("groups rows by their columns and keeps their places", function()
    local list <const> = { { a = 1 }, { b = 2 }, { a = 3, b = 4 }, { a = 5 }, {}, { b = null },
      { a = pg.default }, { b = 6, a = pg.default }, { a = 7 }, {} }
    for _, input in ipairs { list, iterate(list) } do
      same({ "a=1,5,7 @1,4,9; b=2,NULL @2,6; a=3 b=4 @3; @5,10; a @7; b=6 a @8" }, filled(input))
    end
    same({ "a=1 @1; b=2 @2; a=3 b=4 @3", "a=5 @4; @5; b=NULL @6", "a @7; b=6 a @8; a=7 @9", "@10" },
      filled(list, { rows = 3 }))
  end)

  it("ends at the limit of bytes, with one row at least", function()
    local list = {}
    for i = 1, 4 do list[i] = { a = ("x"):rep(92) } end
    local columns <const> = { a = { list[1].a, list[2].a, list[3].a, "" } }
    for _, input in ipairs { list, iterate(list), columns } do
      assert.equal(2, #filled(input, { bytes = 101 }))
    end
    for _, limit in ipairs { 1, 100 } do assert.equal(4, #filled(list, { bytes = limit })) end
    assert.equal(1, #filled(list, { bytes = 400 }))
  end)

  it("has nothing of a row that is the same table each time, nor of one that was left", function()
    local row, i = {}, 0
    same({ "a=1,2 @1,2; b=3 @3", "b=4 @4" }, filled(function()
      i = i + 1
      row.a, row.b = i < 3 and i or nil, i >= 3 and i or nil
      return i < 5 and row or nil
    end, { rows = 3 }))
    same({ "a=1,3 @1,3; a=2 b=2 @2" }, filled { { a = 1 }, { b = 2, a = 2 }, { a = 3 } })
  end)

  it("tells the row and the column of what is wrong", function()
    for _, case in ipairs {
      { { { a = 1 }, { a = print } }, 2, "a" }, { { { a = 1 }, 5 }, 2 },
      { { { a = 1 }, { [1] = 1 } }, 2 }, { { { a = 1 }, { [""] = 1 } }, 2, "" },
      { { { a = 1 }, { a = io.stdout } }, 2, "a" }, { { { a = 1 }, { a = pg.raw "1" } }, 2, "a" },
      { { n = 2, { a = 1 } }, 2 }, { { a = { 1, nil, 3 } }, 2, "a" },
    } do
      for _, rows in ipairs { 1, 2 } do
        local problem = filled(case[1], { rows = rows })
        assert.is_true(batch.is_fault(problem))
        same({ case[2], case[3] or false }, { problem.row, problem.column or false })
      end
    end
    assert.equal("why", filled(function() return nil, "why" end))
    same({}, filled(function() return nil, false end))
  end)

  it("tells what has no place in a list, and what is missing from it", function()
    for _, case in ipairs { { [0] = {}, {} }, { [1.5] = {} }, { [-1] = {}, n = 1, {} } } do
      support.raises("a list begins at 1", function() batch.source(case, 1) end)
      support.raises("a list begins at 1", function() batch.source({ a = case }, 1) end)
    end
    for _, case in ipairs { { {}, {}, [4] = {} }, { {}, {}, [1 << 40] = {} },
      setmetatable({ {}, {} }, { __len = function() return 3 end }) } do
      same({ row = 3, reason = "it is nil" }, filled(case))
    end
    same({ 3, "a" }, { filled({ a = { 1, 2, [4] = 4 } }).row,
      filled({ a = { 1, 2, [4] = 4 } }).column })
  end)

  it("reads rows and lists past their metatables", function()
    local all = { __index = function() return 5 end, __pairs = function() error "pairs" end }
    same({ "a=1 b=2 @1; a=3 @2" },
      filled { setmetatable({ a = 1, b = 2 }, all), setmetatable({ a = 3 }, all) })
    same({ row = 1, reason = "it is nil" }, filled(setmetatable({},
      { __index = function() return { a = 1 } end, __len = function() return 2 end })))
  end)

  it("keeps the order of rows, where that is asked for, by a group for each run", function()
    local list <const> = { { a = 1 }, { a = 2 }, { b = 3 }, { a = 4 }, { a = pg.default },
      { a = 5 }, { a = 6 }, { a = 7, b = 7 }, { a = 8, b = 8 }, { a = 9 } }
    for _, input in ipairs { list, iterate(list) } do
      same({ "a=1,2 @1,2; b=3 @3; a=4 @4; a @5; a=5,6 @6,7; a=7,8 b=7,8 @8,9; a=9 @10" },
        filled(input, { ordered = true }))
    end
    same({ "a=1,2 @1,2; b=3 @3", "a=4 @4; a @5; a=5 @6", "a=6 @7; a=7,8 b=7,8 @8,9", "a=9 @10" },
      filled(list, { ordered = true, rows = 3 }))
  end)

  it("ignores what an iterator answers besides a row", function()
    local i = 0
    same({ "a=1 @1", "a=2 @2" }, filled(function()
      i = i + 1
      if i < 3 then return { a = i }, "more" end
    end, { rows = 1 }))
  end)

  it("takes a column called n, and a length n", function()
    same({ "n=1,2 @1,2" }, filled { n = { 1, 2 } })
    same({ "n=1,2 @1,2" }, filled { { n = 1 }, { n = 2 } })
    same({ "a=1 @1" }, filled { n = 1, { a = 1 }, { a = 2 } })
    same({ "a=1,NULL @1,2" }, filled { a = { n = 2, 1 } })
    same({}, filled {})
    same({}, filled { n = 0 })
    same({}, filled { a = {} })
  end)
end)
