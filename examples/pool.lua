-- SPDX-License-Identifier: MIT
-- Answers many webhooks at once on few connections. With cqueues, each call waits while the others
-- go on; without it they run one after another, with the same result.
local pg = require "pg"
local found, cqueues = pcall(require, "cqueues")
local CALLS <const>, SIZE <const> = 200, 4

local pool <close> = pg.pool {
  size = SIZE, acquire_timeout = 10, wait = found and require "pg.wait.cqueues" or nil,
}
assert(pool:ping())

-- A table of events, in a schema of its own.
local function tidy() return pool:execute "DROP SCHEMA IF EXISTS lua_pg_pool CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(pool:execute [[
  CREATE SCHEMA lua_pg_pool;
  CREATE TABLE lua_pg_pool.events (id bigserial PRIMARY KEY, call integer NOT NULL, body jsonb);
  CREATE TABLE lua_pg_pool.totals (kind text PRIMARY KEY, amount bigint NOT NULL)]])

-- One statement borrows a connection for itself; several of one transaction share one.
local function webhook(call)
  local body = { kind = call % 2 == 0 and "sale" or "refund", amount = call }
  assert(pool:insert("lua_pg_pool.events", { call = call, body = body }))
  assert(pool:transaction(function(tx)
    return tx:upsert("lua_pg_pool.totals", { kind = body.kind, amount = body.amount },
      { set = { amount = pg.raw "totals.amount + excluded.amount" } })
  end, { retries = 3 }))
end

if found then
  local loop = cqueues.new()
  for call = 1, CALLS do loop:wrap(webhook, call) end
  assert(loop:loop())
else
  for call = 1, CALLS do webhook(call) end
end

for _, row in ipairs(assert(pool:query "SELECT * FROM lua_pg_pool.totals ORDER BY kind").rows) do
  print(("%-8s %6d"):format(row.kind, row.amount))
end
local status = pool:status()
print(("%d calls on %d of %d connections, which were lent %d times"):format(CALLS, status.created,
  status.size, status.acquired))
