-- SPDX-License-Identifier: MIT
-- Prepared statements behind PgBouncer in transaction mode: several clients on two server
-- connections, steered so that a client's next statement lands on the other one.
local pg = require "pg"
local pgbouncer = require "spec.fault.pgbouncer"
local support = require "spec.support"
local throwaway = require "pg.throwaway"

local contains <const>, failed <const>, must <const>, value <const> =
  support.contains, support.failed, support.must, support.value

local CLIENTS <const> = 4

local server, pooler, direct, holders, ends

local function connect(more)
  return assert(pg.connect(support.merge(pooler.options, more)))
end

local function pid(db)
  return must(db:with { rows = "array" }:execute "SELECT pg_backend_pid()").rows[1][1]
end

setup(function()
  if not pgbouncer.found() then return end
  server = assert(throwaway.start())
  pooler = pgbouncer.start(server, { "default_pool_size = 2" })
  direct = assert(pg.connect(server.options))
  holders, ends = { connect(), connect() }, {}
  for i, holder in ipairs(holders) do assert(holder:execute "BEGIN"); ends[i] = pid(holder) end
  for _, holder in ipairs(holders) do assert(holder:execute "COMMIT") end
  assert.not_equal(ends[1], ends[2])
end)

teardown(function()
  if pooler then
    pooler:close()
    server:stop()
  end
end)

-- Runs f while the other one of the two server connections is taken.
local function on(wanted, f)
  local free, taken = holders[1], holders[2]
  for _, holder in ipairs(holders) do assert(holder:execute "BEGIN") end
  if pid(free) ~= wanted then free, taken = taken, free end
  assert(free:execute "COMMIT")
  local ok, problem = pcall(f)
  assert(taken:execute "COMMIT")
  if not ok then error(problem, 0) end
end

-- Every client's statements on each of the two, in turn; f gets the client, its number, the round.
local function rounds(clients, count, f)
  for round = 1, count do
    for number, db in ipairs(clients) do
      for _, wanted in ipairs(ends) do
        on(wanted, function()
          assert.equal(wanted, pid(db))
          f(db, number, round)
        end)
      end
    end
  end
end

local function prepared()
  local most = 0
  for _, wanted in ipairs(ends) do
    on(wanted, function()
      for _, holder in ipairs(holders) do
        if holder:status().state == "idle" then
          most = math.max(most, must(holder:with { rows = "array" }:execute
            "SELECT count(*) FROM pg_prepared_statements").rows[1][1])
        end
      end
    end)
  end
  return most
end

local function texts(number)
  return ("SELECT $1::int * %d AS v, 'client %d' AS who"):format(number, number),
    ("SELECT i * %d AS v FROM generate_series(1, $1::int) AS i"):format(number)
end

describe("behind PgBouncer", function()
  local clients = {}

  local function it_pools(title, more, f)
    it(title, function()
      if not pooler then return pending "PgBouncer is not installed" end
      for i = 1, CLIENTS do clients[i] = connect(more) end
      f()
      for i = 1, CLIENTS do clients[i]:close() end
      for _, wanted in ipairs(ends) do
        on(wanted, function()
          for _, holder in ipairs(holders) do
            if holder:status().state == "idle" then assert(holder:execute "DEALLOCATE ALL") end
          end
        end)
      end
    end)
  end

  local function ask(db, number, round)
    local one, many = texts(number)
    local row = must(db:query(one, round)).rows[1]
    assert.same({ v = round * number, who = "client " .. number }, row)
    local count = 0
    for r in db:each(many, 70) do
      count = count + 1
      assert.equal(count * number, r.v)
      if count == 69 and round % 2 == 0 then break end
    end
    assert.is_true(count == 70 or round % 2 == 0)
  end

  it_pools("nothing is prepared without a setting, and all is right (L8)", nil, function()
    rounds(clients, 8, ask)
    for _, db in ipairs(clients) do
      local st <close> = assert(db:prepare "SELECT $1::int AS v")
      assert.equal(7, must(st:query(7)).rows[1].v)
    end
    assert.equal(0, prepared())
  end)

  -- Debian's 1.18 keeps no statements: the promise that prepare = true makes is broken.
  it_pools("no client runs another's statement when a pooler cannot keep them (L8, Q22)",
    { prepare = true }, function()
      rounds(clients, 8, ask)
      for number, db in ipairs(clients) do
        local statement = "SELECT $1::int + " .. number .. " AS v"
        for _, wanted in ipairs { ends[1], ends[2], ends[1] } do
          on(wanted, function()
            local st <close> = assert(db:prepare(statement))
            assert.equal(10 + number, must(st:query(10)).rows[1].v)
          end)
        end
      end
      assert.is_true(prepared() <= 4 * CLIENTS, prepared())
    end)

  it_pools("in a transaction a lost name fails once, clearly, and is not used again",
    { prepare = true }, function()
      local db, sql = clients[1], (texts(1))
      on(ends[1], function()
        for i = 1, 6 do must(db:query(sql, i)) end
      end)
      local function run(tx) return must(tx:query(sql, 7)).rows[1].v end
      local version = support.run("/usr/sbin/pgbouncer --version"):match "PgBouncer 1%.(%d+)"
      on(ends[2], function()
        local answer, err = db:transaction(run)
        if tonumber(version) < 21 then
          assert.equal("26000", failed("query_failed", answer, err).sqlstate)
          contains(err.fixes[1], "PgBouncer keeps statements from 1.21 on")
        else
          assert.equal(7, answer)
        end
      end)
      for _ = 1, 6 do
        for _, wanted in ipairs(ends) do
          on(wanted, function() assert.equal(7, must(db:transaction(run))) end)
        end
      end
    end)

  it_pools("a changed table fails no more than one transaction", { prepare = true }, function()
    assert(direct:execute "CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
    local db = clients[1]
    on(ends[1], function()
      for _ = 1, 6 do must(db:query "SELECT * FROM t") end
      assert(direct:execute "ALTER TABLE t ADD j int DEFAULT 2")
      local failures = 0
      for _ = 1, 20 do
        local rows, err = db:transaction(function(tx)
          return must(tx:query "SELECT * FROM t").rows
        end)
        if rows then assert.same({ { i = 1, j = 2 } }, rows) else
          assert.equal("0A000", err.sqlstate)
          failures = failures + 1
        end
      end
      assert.is_true(failures <= 1, failures)
    end)
  end)

  it_pools("readonly = true holds for what is prepared", { prepare = true, readonly = true },
    function()
      assert(direct:execute "DROP TABLE IF EXISTS t; CREATE TABLE t (i int)")
      rounds(clients, 6, function(db, number, round)
        assert.equal(number * round, value(db, "SELECT $1::int * $2::int", number, round))
        failed("read_only", db:execute("INSERT INTO t VALUES ($1)", round))
      end)
      assert.equal(0, value(direct, "SELECT count(*) FROM t"))
    end)

  it_pools("one client asks for a bounded number of names", { prepare = true }, function()
    on(ends[1], function()
      for i = 1, 520 do
        for _ = 1, 5 do must(clients[1]:query("SELECT " .. i)) end
      end
    end)
    assert.is_true(prepared() <= 512, prepared())
  end)
end)
