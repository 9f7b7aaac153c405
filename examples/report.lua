-- SPDX-License-Identifier: MIT
-- A daily report: two queries, then a mail. Run it from cron at nine:
--   0 9 * * *  PGHOST=db.example.com PGDATABASE=myapp lua5.4 report.lua
local pg = require "pg"
local db <close> = assert(pg.connect())

-- Some data to report on, in a schema of its own.
local function tidy() return db:execute "DROP SCHEMA IF EXISTS lua_pg_report CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_report;
  SET search_path TO lua_pg_report;
  CREATE TABLE users (id serial PRIMARY KEY, status text NOT NULL);
  CREATE TABLE orders (id serial PRIMARY KEY, amount numeric(10, 2), created_at timestamptz);
  INSERT INTO users (status)
    SELECT CASE WHEN n % 7 < 5 THEN 'active' ELSE 'dormant' END FROM generate_series(1, 1284) n;
  INSERT INTO orders (amount, created_at)
    SELECT 10 + n * 0.37, '2026-01-12T08:00:00Z'::timestamptz + n * interval '25 minutes'
      FROM generate_series(0, 160) n]])

local function daily_report()
  local users = assert(db:query [[
    SELECT COUNT(*) as total,
      COUNT(*) FILTER (WHERE status = 'active') as active
    FROM users]]).rows[1]

  local days = assert(db:query([[
    SELECT
      DATE_TRUNC('day', created_at) as date,
      COUNT(*) as count,
      SUM(amount) as amount
    FROM orders
    WHERE created_at >= $1
    GROUP BY DATE_TRUNC('day', created_at)
    ORDER BY date DESC]], "2026-01-12T00:00:00Z")).rows

  local lines = {
    ("Users   %5d"):format(users.total),
    ("Active  %5d   %.1f %%"):format(users.active, 100 * users.active / users.total),
    "", "Day         Orders      Amount",
  }
  for _, day in ipairs(days) do
    -- A numeric is an exact string: no cent is lost on the way.
    lines[#lines + 1] = ("%s  %6d  %10s"):format(day.date:sub(1, 10), day.count, day.amount)
  end
  return table.concat(lines, "\n")
end

-- The step that is yours: hand the text to sendmail, an HTTP API, a chat.
local function send_mail(to, subject, text)
  print(("To: %s\nSubject: %s\n\n%s"):format(to, subject, text))
end

send_mail("team@example.com", "Daily user report", daily_report())
