-- SPDX-License-Identifier: MIT
-- update and delete as forms, on a real server: names are quoted, values are bound, and what is
-- wrong is named.
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local null, raises, failed, same = pg.null, support.raises, support.failed, support.same

describe("a form", function()
  local server, db

  setup(function()
    server = assert(throwaway.start { settings = { log_statement = "all" } })
  end)

  teardown(function()
    server:stop()
  end)

  before_each(function() db = support.emptied(server.options, db) end)

  local function rows(sql, ...)
    return assert(db:query(sql, ...)).rows
  end
  describe("of update", function()
    before_each(function()
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int, b text DEFAULT 'b', j jsonb, l int[]);
INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (NULL, 'z')]])
    end)

    it("S046 S050: gives the count", function()
      same({ rowCount = 1 }, db:update { table = "t", set = { b = "new" }, where = { a = 1 } })
      same({ rowCount = 0 }, db:update { table = "t", set = { b = "new" }, where = { a = 99 } })
      same({ rowCount = 1, rows = { { a = 2, b = "q" } } }, db:update { table = "public.t",
        set = { b = "q" }, where = { a = 2, b = "y" }, returning = { "a", "b" } })
      same({ rowCount = 0, rows = {} }, db:update { table = "t", set = { b = "q" },
        where = { a = 99 }, returning = "*" })
    end)

    it("S046: sets NULL, defaults, raw SQL, lists and JSON", function()
      same({ rowCount = 1, rows = { { a = 8, b = "b", j = { k = { 1 } }, l = { 1, 2 } } } },
        db:update { table = "t", set = { a = pg.raw "a + 7", b = pg.default,
          j = { k = { 1 } }, l = { 1, 2 } }, where = { id = 1 },
          returning = { "a", "b", "j", "l" } })
      same({ rowCount = 1, rows = { { id = 2, b = "y" } } }, db:update { table = "t",
        set = { a = null, j = null }, where = { id = 2 }, returning = "*" })
      same({ rowCount = 1, rows = { { j = { 1 } } } }, db:update { table = "t",
        set = { j = pg.json { 1 } }, where = { id = 2 }, returning = "j" })
    end)

    it("S096: matches NULL, lists, and several conditions", function()
      local function matched(where)
        local answer = assert(db:update { table = "t", set = { a = pg.raw "a" }, where = where,
          returning = "id" })
        local ids = {}
        for i, row in ipairs(answer.rows) do ids[i] = row.id end
        table.sort(ids)
        return ids
      end
      same({ 3 }, matched { a = null })
      same({ 1, 2 }, matched { a = { 1, 2, 3 } })
      same({ 2 }, matched { a = { 1, 2 }, b = "y" })
      same({}, matched { a = {} })
      same({}, matched { a = pg.array {} })
      same({ 1 }, matched { a = { 1, null } })
      same({ 1, 3 }, matched { b = { "x", "z" } })
      same({ 1 }, matched { b = pg.array({ "x" }, "text") })
      same({ 2 }, matched { a = pg.raw "1 + 1" })
      same({}, matched { a = 1, b = "y" })
    end)

    it("S046: refuses to change every row unless it is told to", function()
      assert.equal("", support.logged(server, function()
        for _, form in ipairs {
          { table = "t", set = { a = 1 } }, { table = "t", set = { a = 1 }, where = {} },
          { table = "t", set = { a = 1 }, where = { id = nil }, all = false },
        } do
          local err = failed("invalid_parameter", db:update(form))
          support.contains(err.message, "all = true")
          support.contains(table.concat(err.fixes, "\n"), "all = true")
        end
      end))
      same({ rowCount = 3 }, db:update { table = "t", set = { a = 1 }, all = true })
      same({ rowCount = 3 }, db:update { table = "t", set = { a = 1 }, where = {}, all = true })
      same({ rowCount = 1 }, db:update { table = "t", set = { a = 1 }, where = { id = 1 },
        all = true })
    end)

    it("refuses to set nothing", function()
      failed("invalid_parameter", db:update { table = "t", set = {}, where = { id = 1 } })
    end)

    it("raises where it was called wrongly", function()
      local where = { id = 1 }
      raises("set must be a table", function() db:update { table = "t", where = where } end)
      raises("set must be a table", function() db:update { table = "t", set = "a = 1" } end)
      raises("where must be a table", function()
        db:update { table = "t", set = { a = 1 }, where = "id = 1" }
      end)
      raises("not a nil", function() db:update { set = { a = 1 }, where = where } end)
      raises("not a nil", function() db:update { where = where, set = { a = 1 }, all = true } end)
      raises("unknown option 'query'", function()
        db:update { table = "t", query = "UPDATE t SET a = 1", set = { a = 1 } }
      end)
      raises("did you mean 'where'?", function()
        db:update { table = "t", set = { a = 1 }, wher = where }
      end)
      raises("all must be true or false", function()
        db:update { table = "t", set = { a = 1 }, all = 1 }
      end)
      raises("has more than one dot", function()
        db:update { table = "a.b.c", set = { a = 1 }, where = where }
      end)
      raises("under the number key 1", function()
        db:update { table = "t", set = { 1 }, where = where }
      end)
      raises("under the number key 1", function()
        db:update { table = "t", set = { a = 1 }, where = { 1 } }
      end)
      raises("a name cannot hold a NUL byte", function()
        db:update { table = "t", set = { ["a\0"] = 1 }, where = where }
      end)
      raises("a name must be valid UTF-8", function()
        db:update { table = "t", set = { a = 1 }, where = { ["\xff"] = 1 } }
      end)
      raises("returning is an empty list", function()
        db:update { table = "t", set = { a = 1 }, where = where, returning = {} }
      end)
      raises("a name cannot be empty", function()
        db:update { table = "t", set = { a = 1 }, where = where, returning = "" }
      end)
      raises("unknown option 'table'", function() db:query { table = "t" } end)
      raises("unknown option 'where'", function() db:execute { query = "", where = {} } end)
    end)
  end)

  describe("of delete", function()
    before_each(function()
      assert(db:execute [[
CREATE TABLE t (id serial PRIMARY KEY, a int, b text);
INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (NULL, 'z')]])
    end)

    it("S051 S054: gives the count", function()
      same({ rowCount = 1 }, db:delete { table = "t", where = { a = null } })
      same({ rowCount = 0 }, db:delete { table = "t", where = { a = null } })
      same({ rowCount = 0 }, db:delete { table = "t", where = { id = {} } })
      same({ rowCount = 1, rows = { { b = "x" } } }, db:delete { table = "public.t",
        where = { a = { 1, 7 }, b = "x" }, returning = "b" })
      same({ { id = 2, a = 2, b = "y" } }, rows "SELECT * FROM t")
    end)

    it("S051: refuses to empty the table unless it is told to", function()
      assert.equal("", support.logged(server, function()
        for _, form in ipairs {
          { table = "t" }, { table = "t", where = {} }, { table = "t", where = { id = nil } },
        } do
          support.contains(failed("invalid_parameter", db:delete(form)).message, "all = true")
        end
      end))
      same({ rowCount = 3 }, db:delete { table = "t", where = {}, all = true })
    end)

    it("raises where it was called wrongly", function()
      raises("where must be a table", function() db:delete { table = "t", where = 5 } end)
      raises("unknown option 'set'", function() db:delete { table = "t", set = {} } end)
      raises("not a nil", function() db:delete { where = { id = 1 } } end)
      raises("not a number", function() db:delete { table = 5, where = { id = 1 } } end)
      raises("all must be true or false", function() db:delete { table = "t", all = "no" } end)
    end)
  end)
end)
