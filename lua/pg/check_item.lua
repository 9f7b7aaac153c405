-- SPDX-License-Identifier: MIT
-- check_item: one item of a checklist: how it is tried without leaving anything behind, and how it
-- is told.
local core = require "pg.core"
local inspect = require "pg.inspect"

local M = {}

--- A question of ours, answered by rows in the one shape that the items read.
function M.ask(db, query, ...)
  return db:query { query = query, parameters = table.pack(...), rows = "object", null = false,
    own = true }
end

--- Answers what try(db) does. In a transaction of the program it runs in a savepoint of its own, so
--- that no failure is left behind.
---@param db pg.Connection
---@param try fun(db: pg.Connection): ...
---@return any ...
function M.contained(db, try)
  if not core.in_transaction(db) then return try(db) end
  local answer
  local _, err = db:dry_run(function(tx)
    answer = table.pack(try(tx))
    return true
  end)
  if not answer then return nil, err end
  return table.unpack(answer, 1, answer.n)
end

function M.explain_text(query)
  return inspect.explain_text({ query = query, costs = false }, "TEXT")
end

--- The server takes in the statement and its values as if to run it, and does not.
---@return pg.Result|nil
---@return pg.Error?
function M.explain(db, query, parameters)
  return inspect.planned(db, { query = M.explain_text(query), parameters = parameters,
    rows = "array" })
end

--- A name that the server gave, with its schema before it, whatever its length.
---@param ... string
---@return string
function M.quoted(...)
  local parts = {}
  for i, name in ipairs { ... } do parts[i] = '"' .. name:gsub('"', '""') .. '"' end
  return table.concat(parts, ".")
end

---@param name string
---@param ok boolean
---@param message string
---@param fixes? string[]
---@return pg.CheckItem
function M.new(name, ok, message, fixes)
  return { item = name, ok = ok, message = message, fixes = fixes or {} }
end

--- An item that failed with an error object.
---@param name string
---@param what string
---@param err pg.Error
---@return pg.CheckItem
function M.failed(name, what, err)
  return M.new(name, false, what .. ": " .. err.message
    .. (err.position and (" (character %d)"):format(err.position) or "") .. ".", err.fixes)
end

--- "1 row", "2 rows".
---@param n integer
---@param noun string
---@return string
function M.count(n, noun)
  return ("%d %s%s"):format(n, noun, n == 1 and "" or "s")
end

return M
