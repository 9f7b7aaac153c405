-- SPDX-License-Identifier: MIT
-- pg.typed and pg.array with types that the server defines: named.c.
local asked = require "spec.asked"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local must = support.must

local server, db

setup(function()
  server = must(throwaway.start { settings = { log_min_duration_statement = 0 } })
  db = must(pg.connect(server.options))
  must(db:execute [[
    CREATE SCHEMA "S x"; CREATE TYPE said AS ENUM ('a', 'b');
    CREATE TYPE "User" AS (n int, s said); CREATE DOMAIN "S x".d AS int;
    CREATE TYPE "user" AS (n int)]])
end)

teardown(function()
  db:close()
  server:stop()
end)

describe("a type that a value says it has", function()
  local function typed(handle, value)
    local row = must(handle:query("SELECT pg_typeof($1)::text AS type, $1 AS value", value)).rows[1]
    return row.type, row.value
  end

  it("may be one of the server's own, named as in SQL", function()
    local cases = {
      { pg.typed("a", "said"), "said", "a" }, { pg.typed("a", "public.SAID"), "said", "a" },
      { pg.typed({ n = 1, s = "b" }, '"User"'), '"User"', { n = 1, s = "b" } },
      { pg.typed({ n = 1 }, "user"), '"user"', { n = 1 } },
      { pg.typed(5, '"S x".d'), '"S x".d', 5 },
      { pg.array({ "a", pg.null }, "said"), "said[]", { "a", pg.null } },
      { pg.array({}, '"User"'), '"User"[]', {} },
    }
    local fresh <close> = must(pg.connect(server.options))
    for _, handle in ipairs { fresh, db, db } do
      for _, case in ipairs(cases) do
        local name, value = typed(handle, case[1])
        assert.equal(case[2], name)
        support.same(case[3], value)
      end
    end
    local results = must(db:pipeline(function(p)
      for _, case in ipairs(cases) do p:query("SELECT pg_typeof($1)::text AS type", case[1]) end
    end))
    for i, case in ipairs(cases) do assert.equal(case[2], results[i].rows[1].type) end
  end)

  it("is refused when there is none of that name, and found once there is", function()
    for _, name in ipairs { "nosuch", "no such(", '"', "a.b.c", "said[", "" } do
      for _ = 1, 2 do
        local err = support.failed("invalid_parameter", db:query("SELECT $1", pg.typed(1, name)))
        support.contains(err.message, ('there is no type "%s"'):format(name))
      end
    end
    must(db:transaction(function(tx)
      support.failed("invalid_parameter", tx:transaction(function(inner)
        return inner:query("SELECT $1", pg.typed(1, "late"))
      end))
      return tx:query "SELECT 1"
    end))
    local other <close> = must(pg.connect(server.options))
    must(other:execute "CREATE DOMAIN late AS int")
    assert.equal("late", (typed(db, pg.typed(1, "late"))))
    must(other:execute "CREATE SCHEMA front; CREATE DOMAIN front.late AS text")
    must(db:execute "SET search_path = front, public")
    assert.equal("late", (typed(db, pg.typed("x", "late"))))
    must(db:execute "RESET search_path")
    assert.equal("late", (typed(db, pg.typed(2, "late"))))
  end)

  it("is looked up again by a pipeline that it failed, when it was made anew", function()
    local other <close> = must(pg.connect(server.options))
    must(other:execute "CREATE TYPE anew AS ENUM ('a')")
    local function run()
      return db:pipeline(function(p) p:query("SELECT $1::text AS t", pg.typed("a", "anew")) end)
    end
    must(run())
    must(other:execute "DROP TYPE anew; CREATE TYPE anew AS ENUM ('b', 'a')")
    run() -- may fail, once
    assert.equal("a", must(run())[1].rows[1].t)
  end)

  it("is looked up once", function()
    local own <close> = must(pg.connect(server.options))
    typed(own, pg.typed("a", "said"))
    local _, parsed, log = asked.count(server, function() typed(own, pg.typed("b", "said")) end)
    assert(parsed == 1, log)
  end)
end)
