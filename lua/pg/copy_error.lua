-- SPDX-License-Identifier: MIT
-- copy_error: what is told of a COPY that failed beyond the server's words: the row, the nearest
-- name, on which of two sides it was.
local core = require "pg.core"
local catalog = require "pg.catalog"
local errors = require "pg.errors"

local copy_error = {}

--- The error of what a program gave to be sent.
---@param db pg.Connection
---@param row integer?
---@param column string?
---@param reason string
---@return pg.Error
function copy_error.refuse(db, row, column, reason)
  local place = {}
  if row then place[1] = "row " .. row end
  if column then place[#place + 1] = ("column '%s'"):format(column) end
  local words = table.concat(place, ", ")
  local _, err = core.fail({ kind = "invalid_parameter",
    message = words ~= "" and words .. ": " .. reason or reason }, db)
  err.row, err.column = row, column
  err.fixes = { row and ("Look at row %d of those given; none of them was stored."):format(row)
    or "Look at what the source gives; nothing of it was stored." }
  return err
end

--- Of a function that answered nil, or false, and a reason; an error object stays as it is.
---@param db pg.Connection
---@param what string
---@param problem any
---@return any
function copy_error.failure(db, what, problem)
  if type(problem) == "table" then return problem end
  return select(2, core.fail({ kind = "query_failed", message = ("%s failed: %s"):format(what,
    tostring(problem)) }, db))
end

-- "COPY t, line 5, column x: "abc"", in the server's language; the last of a stack of calls. What
-- was in the line is data, and no place.
local PLACE <const> = "COPY [^\n]-, %D-(%d+)([^\n]*)"

--- Completes the error of COPY ... FROM STDIN: the line that the server names, which is the row
--- where rows were sent.
---@param db pg.Connection
---@param err pg.Error
---@param job { quoted: string, names: string[]?, rows: boolean }
---@return pg.Error
function copy_error.explain(db, err, job)
  local context = err.context
  err.table = err.table or (job.quoted:gsub('^.*"%."', ""):gsub('"', ""))
  local from = context and context:find "COPY [^\n]-, %D-%d+"
  if from then
    local line, rest = context:match(PLACE, from)
    local column = rest:match "^, %S+ (.-): " or rest:match "^, %S+ (.-)$"
    for _, name in ipairs(column and not err.column and job.names or {}) do
      if name == column then err.column = name end
    end
    err.context = context:sub(1, from - 1) .. context:match("COPY [^\n]-, %D-%d+[^:\n]*", from)
    err[job.rows and "row" or "line"] = math.tointeger(line)
    errors.advise(err)
    if job.rows then
      table.insert(err.fixes, 1, ("Look at row %d of those given; none of them was stored.")
        :format(line))
    end
  elseif err.sqlstate == "42P01" or err.sqlstate == "42703" then
    errors.advise(err, catalog.nearest(db, err, job.quoted, job.names or {}))
  end
  return err
end

--- An error of copy_to: on which side it was.
---@param err any
---@param side "source"|"target"
---@return any
function copy_error.on(err, side)
  if errors.is(err) then
    err.side = side
    table.insert(err.fixes, 1, side == "source"
      and "It was the database that was read from; nothing was stored in the other one."
      or "It was the database that was written to; nothing was stored there.")
  end
  return err
end

return copy_error
