-- SPDX-License-Identifier: MIT
-- Writes an audit log: one row for each event, as a webhook would hand it over.
local pg = require "pg"
local db <close> = assert(pg.connect())

-- The log, in a schema of its own.
local function tidy() return db:execute "DROP SCHEMA IF EXISTS lua_pg_audit CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_audit;
  SET search_path TO lua_pg_audit;
  CREATE TABLE audit_logs (
    id bigserial PRIMARY KEY, user_id integer, action text NOT NULL, details jsonb,
    ip_address inet, created_at timestamptz NOT NULL DEFAULT now())]])

local function log(event)
  return db:insert("audit_logs", {
    user_id = event.user_id, -- nil: the column is left out, so it is NULL
    action = event.action,
    details = event.details, -- a table goes into jsonb as JSON
    ip_address = event.ip_address,
    created_at = event.time,
  })
end

local events = {
  { user_id = 7, action = "login", ip_address = "192.0.2.17", time = "2026-01-15T10:30:00Z",
    details = { attempts = 2 } },
  { user_id = 7, action = "update", ip_address = "2001:db8::1", time = "2026-01-15T10:31:12.5Z",
    details = { changed = { "email", { phone = pg.null } } } }, -- pg.null: null in the JSON
  { action = "cleanup", time = "2026-01-16T03:00:00Z" }, -- nobody's: no user, no address
}
for _, event in ipairs(events) do print(assert(log(event)):json()) end

-- What cannot be stored is refused by the server, and the error says which value it was.
local _, err = log { user_id = 8, action = "login", ip_address = "300.1.2.3" }
print(err)

print "\nThe log:"
local rows = assert(db:query "SELECT * FROM audit_logs ORDER BY id").rows
for _, row in ipairs(rows) do
  print(("%-22s  %-7s  user %s  %-11s  %s"):format(row.created_at, row.action,
    row.user_id or "-", row.ip_address or "-", row.details and pg.encode(row.details) or "-"))
end
