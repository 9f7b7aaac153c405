-- SPDX-License-Identifier: MIT
-- A pooler between: it is noticed, nothing is left on its servers, and all works all the same.
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, lacks <const>, failed <const> =
  support.contains, support.lacks, support.failed
local with <const>, value <const>, logged <const> = support.with, support.value, support.logged

describe("behind PgBouncer in transaction mode", function()
  local pooler

  setup(function()
    if pgbouncer.found() then
      pooler = pgbouncer.start(server, { "default_pool_size = 1", "max_client_conn = 3" })
    end
  end)

  teardown(function()
    if pooler then pooler:close() end
  end)

  local function it_pools(title, f)
    it(title, function()
      if not pooler then return pending "PgBouncer is not installed" end
      f()
    end)
  end

  it_pools("connects, and sets nothing (C24, L8)", function()
    local db
    local log = logged(server, function()
      db = assert(pg.connect(with(pooler.options, { name = "pooled" })))
      assert.equal(1, value(db, "SELECT 1"))
    end)
    for _, line in ipairs { "SET ", "RESET", "DISCARD", "prepare" } do
      for statement in log:gmatch "LOG:  [^\n]*: ([^\n]*)" do
        if not statement:find "^SET application_name" then -- PgBouncer's own
          lacks(statement:gsub("^SELECT pg_catalog.pg_backend_pid.*$", ""), line)
        end
      end
    end
    assert.is_true(db:status().pid ~= value(db, "SELECT pg_backend_pid()"))
    db:close()
  end)

  it_pools("runs actions with parameters, arrays and bytes; transactions too (L8)", function()
    local db <close> = assert(pg.connect(pooler.options))
    assert(db:execute "CREATE TABLE pooled (id int PRIMARY KEY, tags text[], raw bytea, doc jsonb)")
    for i = 1, 3 do
      assert.same({ insertedId = i, rowCount = 1 }, assert(db:insert("pooled", { id = i,
        tags = { "a", "b" }, raw = "\0\\x" .. i, doc = { n = i } })))
    end
    assert.same({ { id = 2, tags = { "a", "b" }, raw = "\0\\x2", doc = { n = 2 } } },
      assert(db:query("SELECT * FROM pooled WHERE id = ANY($1) AND raw = $2", { 1, 2 }, "\0\\x2"))
        .rows)
    assert.equal(2, assert(db:update("UPDATE pooled SET tags = $1 WHERE id = ANY($2)", {},
      { 1, 3 })).rowCount)
    assert(db:execute "BEGIN")
    assert.equal(3, assert(db:delete "DELETE FROM pooled").rowCount)
    assert(db:execute "ROLLBACK")
    assert.equal(3, value(db, "SELECT count(*) FROM pooled"))
  end)

  it_pools("reads what another client's settings did to the server", function()
    local other <close> = assert(pg.connect(pooler.options))
    assert(other:execute "SET DateStyle = German; SET IntervalStyle = sql_standard")
    assert(other:execute "SET extra_float_digits = -15")
    local db <close> = assert(pg.connect(pooler.options))
    assert.same({ d = "2026-01-15", i = "P1DT2H", f = 1 / 3 }, assert(db:query [[SELECT
      date '2026-01-15' AS d, interval '1 day 2 hours' AS i, 1 / 3::float8 AS f]]).rows[1])
    assert(other:execute "RESET ALL")
  end)

  it_pools("says too_many_connections in the pooler's words (S071)", function()
    local held = {}
    for i = 1, 3 do held[i] = assert(pg.connect(pooler.options)) end
    local err = failed("too_many_connections", pg.connect(pooler.options))
    contains(err.message, "no more connections allowed")
    for _, db in ipairs(held) do db:close() end
  end)

  it_pools("refuses what PgBouncer refuses, in its words (C24)", function()
    local db, err = pg.connect(with(pooler.options, { options = "-c search_path=x" }))
    assert.is_nil(db)
    contains(err.message, "unsupported startup parameter")
  end)

  it_pools("readonly = true holds for each statement, and leaves the server as it was (S088)",
    function()
      local db <close> = assert(pg.connect(with(pooler.options, { readonly = true })))
      local other <close> = assert(pg.connect(pooler.options))
      failed("read_only", db:execute "CREATE TABLE forbidden ()")
      failed("read_only", db:execute("INSERT INTO pooled (id) VALUES (9); SELECT 1"))
      failed("read_only", db:insert("pooled", { id = 9 }))
      assert.equal(3, value(db, "SELECT count(*) FROM pooled WHERE id = ANY($1)", { 1, 2, 3 }))
      assert.equal("idle", db:status().state)
      assert(other:execute "CREATE TABLE allowed ()")
      assert.equal("off", value(other, "SHOW default_transaction_read_only"))
    end)
end)
