-- SPDX-License-Identifier: MIT
-- Books an order with its lines: the order, a line and a stock for each article, all in one round
-- trip and one transaction. When an article has run out, nothing of the order is stored, and the
-- error says which line it was.
local pg = require "pg"
local db <close> = assert(pg.connect())

-- A shop, in a schema of its own.
local function tidy() return db:execute "DROP SCHEMA IF EXISTS lua_pg_pipeline CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_pipeline;
  SET search_path TO lua_pg_pipeline;
  CREATE TABLE stock (article text PRIMARY KEY, pieces int NOT NULL CHECK (pieces >= 0));
  CREATE TABLE orders (id uuid PRIMARY KEY, customer text);
  CREATE TABLE lines (order_id uuid REFERENCES orders, article text REFERENCES stock, pieces int);
  INSERT INTO stock VALUES ('cup', 100), ('plate', 100), ('spoon', 5)]])

-- An order's key comes from the program, so that its lines need not wait for it.
local function book(id, customer, basket)
  return db:pipeline(function(p)
    p:insert("orders", { id = id, customer = customer })
    for _, line in ipairs(basket) do
      p:execute("INSERT INTO lines VALUES ($1, $2, $3)", id, line.article, line.pieces)
    end
    for _, line in ipairs(basket) do
      p:update("UPDATE stock SET pieces = pieces - $2 WHERE article = $1 RETURNING pieces",
        line.article, line.pieces)
    end
  end)
end

local basket = { { article = "cup", pieces = 4 }, { article = "spoon", pieces = 4 } }
for run, id in ipairs { "5b6f1a3e-0000-4000-8000-000000000001",
  "5b6f1a3e-0000-4000-8000-000000000002" } do
  local results, err = book(id, "Ann", basket)
  print(("Order %d:"):format(run))
  for i, line in ipairs(results and basket or {}) do
    print(("  %-6s %d left"):format(line.article, results[1 + #basket + i].rows[1].pieces))
  end
  if err then
    print(("  statement %d of %d: %s of %s"):format(err.index, err.of, err.condition,
      basket[err.index - 1 - #basket].article))
  end
end

local count = assert(db:query "SELECT count(*) AS orders FROM orders").rows[1]
print(("%d order stored"):format(count.orders))
