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

--- The table's own name, of `"schema"."table"`.
local function plain_name(quoted)
  return (quoted:gsub('"([^"]*)"', "\0[%1\0]"):gsub("\0%]\0%[", '"'):gsub("^.*\0%]%.", "")
    :gsub("\0[%[%]]", ""))
end

--- Where "COPY t, line 5, column x: "abc"" begins, in the server's language, at the end of a stack
--- of calls; up to where it tells no data; the line, and what follows. Statements of functions, and
--- what was in the line, may read like it.
local function place_of(context, name)
  local words = "COPY " .. name .. ", "
  local from = 1
  while from do
    local line, at, rest = context:match("^[^%d\n]-(%d+)()([^\n]*)", from + #words)
    if line and context:sub(from, from + #words - 1) == words then return from, at, line, rest end
    from = context:find("\n", from, true)
    from = from and from + 1
  end
end

--- The longest of the names with which the text begins; else what is before a colon.
local function column_in(rest, names)
  local text, longest = rest:match "^, %S+ (.+)$", nil
  for _, name in ipairs(text and names or {}) do
    if text:sub(1, #name) == name and #name > #(longest or "") then longest = name end
  end
  return longest or text and (text:match "^(.-):" or text)
end

--- Completes the error of COPY ... FROM STDIN: the line that the server names, which is the row
--- where rows were sent.
---@param db pg.Connection
---@param err pg.Error
---@param job { quoted: string, names: string[]?, rows: boolean }
---@return pg.Error
function copy_error.explain(db, err, job)
  local context, name = err.context or "", plain_name(job.quoted)
  err.table = err.table or name
  local from, at, line, rest = place_of(context, name)
  if from then
    local column = column_in(rest, job.names)
    err.column = column or err.column
    err.context = context:sub(1, at - 1) .. (column and rest:match "^, %S+ " .. column or "")
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
