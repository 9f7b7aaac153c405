-- SPDX-License-Identifier: MIT
-- Checks the data: each rule is a query that returns the rows that break it.
local pg = require "pg"
local db <close> = assert(pg.connect())

-- Some data with faults, in a schema of its own.
local function tidy() return db:execute "DROP SCHEMA IF EXISTS lua_pg_check CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_check;
  SET search_path TO lua_pg_check;
  CREATE TABLE users (id integer PRIMARY KEY, email text);
  CREATE TABLE orders (id integer PRIMARY KEY, user_id integer, total numeric(10, 2));
  INSERT INTO users VALUES (1, 'john@example.com'), (2, 'jane.example.com'), (3, NULL);
  INSERT INTO orders VALUES (10, 1, 99.90), (11, 4, 5.00), (12, 2, -3.50)]])

local rules = {
  { "users have an e-mail address",
    "SELECT id, email FROM users WHERE email IS NULL OR email NOT LIKE '%_@_%' ORDER BY id" },
  { "orders belong to a user",
    "SELECT o.id, o.user_id FROM orders o LEFT JOIN users u ON u.id = o.user_id "
      .. "WHERE u.id IS NULL" },
  { "no order is negative", "SELECT id, total FROM orders WHERE total < 0" },
  { "no order is twice there", "SELECT id FROM orders GROUP BY id HAVING COUNT(*) > 1" },
}

for _, rule in ipairs(rules) do
  local title, sql = table.unpack(rule)
  local result = assert(db:query(sql))
  print(("%-7s %s"):format(result.rowCount == 0 and "ok" or "ALERT", title))
  for _, row in ipairs(result.rows) do print("        " .. pg.encode(row)) end
end
