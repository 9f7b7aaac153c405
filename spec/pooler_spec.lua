-- SPDX-License-Identifier: MIT
-- A pooler in between, in transaction mode: it is noticed, nothing is left on its servers, and all
-- works as without it.
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, lacks <const>, failed <const> =
  support.contains, support.lacks, support.failed
local with <const>, value <const>, logged <const> = support.with, support.value, support.logged

local server, pooler

setup(function()
  if pgbouncer.found() then
    server = assert(throwaway.start { settings = { log_statement = "all" } })
    -- One session for all clients: each gets what another one left.
    pooler = pgbouncer.start(server, { "default_pool_size = 1", "max_client_conn = 3" })
  end
end)

teardown(function()
  if pooler then
    pooler:close()
    server:stop()
  end
end)

describe("behind PgBouncer", function()
  local function it_pools(title, f)
    it(title, function()
      if not pooler then return pending "PgBouncer is not installed" end
      f()
    end)
  end

  it_pools("pg.connect notices it, and sets nothing (C24, L8)", function()
    local db
    local log = logged(server, function()
      db = assert(pg.connect(with(pooler.options, { name = "pooled" })))
      assert.equal(1, value(db, "SELECT 1"))
    end)
    local statements = 0
    for statement in log:gmatch "LOG:  [%w<> ]+: ([^\n]*)" do
      -- PgBouncer says the client's application_name and encoding itself.
      if not statement:find "^SET application_name=" then
        lacks(statement, "SET ", "RESET", "DISCARD", "PREPARE")
        statements = statements + 1
      end
    end
    assert.equal(2, statements, log)
    assert.not_equal(db:status().pid, value(db, "SELECT pg_backend_pid()"))
    db:close()
  end)

  it_pools("actions take parameters, lists and bytes, and transactions hold (L8)", function()
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

  it_pools("values are right whatever another client has set (R11 to R13)", function()
    local other <close> = assert(pg.connect(pooler.options))
    local row <const> = [[SELECT date '2026-01-15' AS d, interval '1 day 2 hours' AS i,
      1 / 3::float8 AS f, 0.1::float4 AS g]]
    local wanted <const> = { d = "2026-01-15", i = "P1DT2H", f = 1 / 3, g = 0.1 }
    local early <close> = assert(pg.connect(pooler.options))
    assert(other:execute
      "SET DateStyle = German; SET IntervalStyle = sql_standard; SET extra_float_digits = -15")
    assert.same(wanted, assert(early:query(row)).rows[1])
    assert.same(wanted, assert(early:query(row)).rows[1])
    local late <close> = assert(pg.connect(pooler.options))
    assert.same(wanted, assert(late:query(row)).rows[1])
    assert(other:execute "RESET ALL")
  end)

  it_pools("too many clients are too_many_connections (S071)", function()
    local held = {}
    support.eventually(function()
      held[#held + 1] = pg.connect(pooler.options)
      return #held == 3
    end)
    local err = failed("too_many_connections", pg.connect(pooler.options))
    contains(err.message, "no more connections allowed")
    for _, db in ipairs(held) do db:close() end
  end)

  it_pools("what PgBouncer refuses is told in its words (C24)", function()
    local err
    support.eventually(function()
      err = select(2, pg.connect(with(pooler.options, { options = "-c search_path=x" })))
      return err.kind ~= "too_many_connections"
    end)
    contains(err.message, "unsupported startup parameter")
  end)

  it_pools("readonly = true holds for each statement, and for nobody else (S088)", function()
    local db <close> = assert(pg.connect(with(pooler.options, { readonly = true })))
    local other <close> = assert(pg.connect(pooler.options))
    failed("read_only", db:execute "CREATE TABLE forbidden ()")
    -- one statement at a time: a script could leave the read-only transaction
    failed("syntax_error", db:execute "COMMIT; INSERT INTO pooled (id) VALUES (9)")
    failed("read_only", db:insert("pooled", { id = 9 }))
    failed("read_only", db:query("UPDATE pooled SET tags = $1 RETURNING id", { "x" }))
    assert.equal(3, value(db, "SELECT count(*) FROM pooled WHERE id = ANY($1)", { 1, 2, 3 }))
    assert(db:execute "BEGIN")
    failed("read_only", db:execute "DELETE FROM pooled")
    assert(db:execute "ROLLBACK")
    assert.equal("idle", db:status().state)
    assert(other:execute "CREATE TABLE allowed ()")
    assert.equal("off", value(other, "SHOW default_transaction_read_only"))
    assert.equal(3, value(other, "SELECT count(*) FROM pooled"))
  end)

  it_pools("a timeout stops its own statement alone, whatever pid PgBouncer tells (L9)", function()
    local db <close> = assert(pg.connect(pooler.options))
    local other <close> = assert(pg.connect(server.options))
    assert.not_equal(db:status().pid, value(db, "SELECT pg_backend_pid()"))
    local err = failed("query_timeout", db:query { query = "SELECT pg_sleep(60)", timeout = 0.2 })
    assert.is_false(err.completed)
    assert.equal(42, value(db, "SELECT 41 + 1"))
    assert.equal(0, value(other, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
      .. "AND query LIKE '%pg_sleep(60)' AND pid <> pg_backend_pid()"))
  end)

  it_pools("a block that commits is never run twice (Q22)", function()
    local db <close> = assert(pg.connect(pooler.options))
    assert(db:execute "CREATE TABLE done (i int)")
    local block = "DO $$ BEGIN INSERT INTO done VALUES (1); COMMIT; "
      .. "PERFORM no_such_function(); END $$"
    for run = 1, 3 do
      failed("undefined_function", db:query(block))
      assert.equal(run, value(db, "SELECT count(*) FROM done"))
    end
  end)

  it_pools("a place in the SQL is right under readonly too", function()
    local db <close> = assert(pg.connect(with(pooler.options, { readonly = true })))
    assert.equal(8, failed("undefined_column", db:query "SELECT nowhere FROM pooled").position)
    assert.equal(8, failed("undefined_column", db:execute "SELECT nowhere FROM pooled").position)
    assert.equal(1, value(db, "SELECT 1"))
  end)
end)
