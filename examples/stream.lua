-- SPDX-License-Identifier: MIT
-- A report over a million orders, row by row: only a few rows are in memory at a time. One pass
-- over sorted rows tells each total, and the longest pause between two orders of a customer.
local pg = require "pg"
local db <close> = assert(pg.connect())

-- Orders to report on, gone with the connection.
local ORDERS <const> = 1000000
assert(db:execute(([[
  CREATE TEMPORARY TABLE orders AS
    SELECT n AS id, n * 7919 %% 1000 AS customer, n * 7907 %% 100000 / 100.0 AS amount,
           timestamp '2026-01-01' + n * interval '7 seconds' AS ordered_at
      FROM generate_series(1::bigint, %d) AS n]]):format(ORDERS)))

-- Sums go in hundredths: a numeric arrives as an exact string.
local function cents(amount) return math.tointeger(tonumber((amount:gsub("%.", "", 1)))) end

collectgarbage()
local before, peak, count = collectgarbage "count", 0, 0
local report, current = {}, nil
for order in db:each [[SELECT customer, amount::numeric(12, 2) AS amount,
    extract(epoch FROM ordered_at)::bigint AS second FROM orders ORDER BY customer, ordered_at]] do
  if not current or current.customer ~= order.customer then
    current = { customer = order.customer, orders = 0, total = 0, pause = 0, last = order.second }
    report[#report + 1] = current
  end
  current.orders = current.orders + 1
  current.total = current.total + cents(order.amount)
  current.pause = math.max(current.pause, order.second - current.last)
  current.last = order.second
  count = count + 1
  if count % 10000 == 0 then peak = math.max(peak, collectgarbage "count" - before) end
end

table.sort(report, function(a, b) return a.total > b.total end)
print(("%d orders of %d customers; the best three:"):format(count, #report))
for i = 1, 3 do
  local c = report[i]
  print(("  customer %3d  %d orders  %9.2f  longest pause %d s"):format(c.customer, c.orders,
    c.total / 100, c.pause))
end
print(("Lua's memory grew by less than %d MB"):format(peak // 1024 + 1))

-- What is asked for again and again is prepared once: by itself, or by name.
local find <close> = assert(db:prepare
  "SELECT count(*) AS n, max(amount) AS most FROM orders WHERE customer = $1 AND id <= $2")
for _, customer in ipairs { 1, 2, 3 } do
  local row = assert(find:query(customer, 10000)).rows[1]
  print(("  customer %d  %d of the first 10000 orders, at most %.2f"):format(customer, row.n,
    row.most))
end
