-- SPDX-License-Identifier: MIT
-- Sends orders to an external system, each at least once. An order is marked only
-- after the other side has taken it: what fails in between is sent again by the next
-- run, never lost. The other side knows an order by its id and so stores it once.
local pg = require "pg"
local db <close> = assert(pg.connect())

-- Some orders to send, in a schema of its own.
local function tidy() return db:execute "DROP SCHEMA IF EXISTS lua_pg_sync CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_sync;
  SET search_path TO lua_pg_sync;
  CREATE TABLE orders (
    id bigserial PRIMARY KEY, customer text, total numeric(10, 2), items jsonb,
    created_at timestamptz DEFAULT now(), synced boolean NOT NULL DEFAULT false);
  INSERT INTO orders (customer, total, items)
    SELECT 'customer ' || n % 9, n * 1.25, jsonb_build_array(jsonb_build_object('sku', n))
      FROM generate_series(1, 120) n]])

-- A stand-in for the HTTP request: yours would POST the JSON.
local api = { available = true, requests = 0, stored = {} }

function api.post(orders)
  local body = pg.encode(orders)
  api.requests = api.requests + 1
  io.write(("  POST /orders   %3d orders, %5d bytes   "):format(#orders, #body))
  for _, order in ipairs(orders) do api.stored[order.id] = true end
  if not api.available then return nil, "no answer" end
  return true
end

local function sync()
  local orders = assert(db:query [[
    SELECT * FROM orders
    WHERE synced = false
    LIMIT 100]]).rows
  if #orders == 0 then return print "  nothing to send" end

  -- No transaction is open during this step: it may take its time.
  local taken, problem = api.post(orders)
  if not taken then return print(problem .. ": nothing is marked") end

  local ids = {}
  for i, order in ipairs(orders) do ids[i] = order.id end
  local marked = assert(db:update([[
    UPDATE orders SET synced = true
    WHERE id = ANY($1)]], ids))
  print(("201 Created: %d marked"):format(marked.rowCount))
end

for _, run in ipairs { "09:00", "10:00, the answer gets lost", "11:00", "12:00" } do
  print(run)
  api.available = not run:find "lost"
  sync()
end

local stored = 0
for _ in pairs(api.stored) do stored = stored + 1 end
print(("120 orders, %d requests, %d orders on the other side"):format(api.requests, stored))
