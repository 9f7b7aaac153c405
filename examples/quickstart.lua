-- SPDX-License-Identifier: MIT
-- The first ten lines. Connects as psql does: PGHOST, PGDATABASE, PGUSER, ...
local pg = require "pg"
local db <close> = assert(pg.connect())
assert(db:execute "CREATE TEMPORARY TABLE users (id serial PRIMARY KEY, name text, email text)")

local new = assert(db:insert("users", { name = "John Doe", email = "john@example.com" }))
print("inserted", new.insertedId)

local found = assert(db:query("SELECT id, name FROM users WHERE email = $1", "john@example.com"))
for _, user in ipairs(found.rows) do print("found", user.id, user.name) end

local result, err = db:query "SELECT id FROM users WHERE emial = 'john@example.com'"
if not result then print(err) end
