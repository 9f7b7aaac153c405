-- SPDX-License-Identifier: MIT
-- Moves tables to another database: all or nothing, as one moment saw them, counted and compared on
-- both sides before it counts. Run again, it brings over what the source has by then.
--   TARGET=postgresql://app_user@db.example.com/new  lua5.4 migrate.lua
local pg = require "pg"
local source <close> = assert(pg.connect())
local target <close> = assert(pg.connect(os.getenv "TARGET")) -- without one: the same database

-- The source and an empty target, each in a schema of its own.
local tables = [[
  CREATE TABLE users (
    id serial PRIMARY KEY, email text NOT NULL, tags text[], plan text DEFAULT 'free');
  CREATE TABLE orders (
    id serial PRIMARY KEY, user_id integer REFERENCES users, total numeric(10, 2), items jsonb,
    at timestamptz)]]

local function prepare(db, schema)
  assert(db:execute("DROP SCHEMA IF EXISTS " .. schema .. " CASCADE; CREATE SCHEMA " .. schema
    .. "; SET search_path TO " .. schema .. "; SET TimeZone TO UTC;" .. tables))
  return setmetatable({}, { __close = function()
    db:execute("DROP SCHEMA IF EXISTS " .. schema .. " CASCADE")
  end })
end
local _ <close> = prepare(source, "lua_pg_migrate_source")
local _ <close> = prepare(target, "lua_pg_migrate_target")
assert(source:execute [[
  INSERT INTO users (email, tags, plan)
    SELECT n || '@example.com', ARRAY['a,b', NULL, '"' || n || '"'],
      CASE WHEN n % 3 > 0 THEN 'paid' END FROM generate_series(1, 2500) n;
  INSERT INTO orders (user_id, total, items, at)
    SELECT 1 + n % 2500, n * 1.25, jsonb_build_object('sku', n),
      '2026-01-15T00:00:00Z'::timestamptz + n * interval '1 min'
      FROM generate_series(1, 7000) n]])

-- The rows of a table, a thousand at a time, so that memory stays flat. A NULL keeps its key: left
-- out, it would become the column's default.
local function rows_of(db, name)
  db = db:with { null = pg.null }
  assert(db:execute("DECLARE " .. name .. "_rows CURSOR FOR SELECT * FROM " .. name))
  local page, i = {}, 0
  return function()
    i = i + 1
    if i > #page then
      page, i = assert(db:query("FETCH 1000 FROM " .. name .. "_rows")).rows, 1
    end
    return page[i]
  end
end

-- How many rows, and a sum over all that is in them, whatever their order.
local function checksum(db, name)
  return assert(db:query("SELECT count(*) AS rows, coalesce(sum(('x' || left(md5(t::text), 15))"
    .. "::bit(60)::bigint), 0) AS sum FROM " .. name .. " t")).rows[1]
end

local function migrate(names)
  return source:transaction(function(from)
    return target:transaction(function(to)
      assert(to:execute("TRUNCATE " .. table.concat(names, ", ")))
      for _, name in ipairs(names) do
        assert(to:bulk_insert(name, rows_of(from, name)))
        assert(to:query("SELECT setval(pg_get_serial_sequence($1, 'id'), (SELECT max(id) FROM "
          .. name .. "))", name))
        local sent, came = checksum(from, name), checksum(to, name)
        if sent.rows ~= came.rows or sent.sum ~= came.sum then
          error(name .. " differs: nothing is migrated")
        end
        print(("  %-7s %5d rows, checksum %s on both sides"):format(name, came.rows, came.sum))
      end
      return true
    end)
  end, { isolation = "repeatable read", readonly = true })
end

print "first run"
assert(migrate { "users", "orders" }) -- a table before those that refer to it
assert(source:execute [[
  DELETE FROM orders WHERE id <= 500;
  UPDATE users SET email = upper(email) WHERE id = 7;
  INSERT INTO users (email) VALUES ('new@example.com')]])
print "second run, after changes"
assert(migrate { "users", "orders" })
print("next id: " .. assert(target:insert("users", { email = "first@example.com" })).insertedId)
