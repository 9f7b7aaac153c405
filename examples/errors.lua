-- SPDX-License-Identifier: MIT
-- One error: what it says to people, and what it says to a program.
local pg = require "pg"
local db <close> = assert(pg.connect())
assert(db:execute [[
  CREATE TEMPORARY TABLE users (id serial PRIMARY KEY, email text UNIQUE NOT NULL);
  INSERT INTO users (email) VALUES ('john@example.com')]])

-- print(err) shows where and why, and what to try.
local _, err = db:query([[
SELECT id, email
FROM users
WHERE emial = $1]], "john@example.com")
print(err)

-- A program branches on the kind; the rest is there as fields.
local function register(email)
  local new, problem = db:insert("users", { email = email })
  if new then return "welcome, number " .. new.insertedId end
  if problem.condition == "unique_violation" then return email .. " is registered already" end
  if problem.kind == "constraint_violation" then return "please give your " .. problem.column end
  error(problem) -- what is not expected goes on as it is
end

print()
print(register "jane@example.com")
print(register "john@example.com")
print(register(pg.null))
