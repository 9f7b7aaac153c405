-- SPDX-License-Identifier: MIT
-- doc/types.md, and the server's own word on the types in it.
local core = require "pg.core"
local pg = require "pg"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

describe("the table of types", function()
  it("is what doc/types.md is made from", function()
    local file <close> = assert(io.open("doc/types.md"))
    local made, errors = support.run(support.lua .. " spec/tools/types_doc.lua")
    assert.are.equal(made .. errors, file:read("a"))
  end)

  it("says what pg_type says of each type that the server has", function()
    local server <close> = assert(throwaway.start {})
    local db <close> = assert(pg.connect(server.options))
    local rows = assert(db:with { rows = "array" }:query [[
      SELECT t.oid, format_type(t.oid, NULL), coalesce(r.rngsubtype, m.rngtypid, CASE
          WHEN t.typname LIKE '\_%' THEN t.typelem END, 0)::oid
        FROM pg_type AS t LEFT JOIN pg_range AS r ON r.rngtypid = t.oid
        LEFT JOIN pg_range AS m ON to_jsonb(m) ->> 'rngmultitypid' = t.oid::text]]).rows
    local known, seen = {}, 0
    for _, row in ipairs(rows) do known[row[1]] = { name = row[2], element = row[3] } end
    for _, type in ipairs(core.types()) do
      local row = known[type.oid]
      if row then
        seen = seen + 1
        assert.are.same({ type.oid, row.name, row.element },
          { type.oid, type.name, type.element })
      end
    end
    assert.is_true(seen > 140)
  end)
end)
