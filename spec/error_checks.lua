-- SPDX-License-Identifier: MIT
-- What the specs about errors check of every error.
local pg = require "pg"
local assert = require "luassert"
local support = require "spec.support"

local contains, lacks = support.contains, support.lacks

local checks = {}

--- The name that the specs give their connections.
checks.name = "Production Database"

--- What every error has, whatever it is.
function checks.sound(err)
  assert.equal("pg.error", getmetatable(err).__name)
  assert.is_true(#err.message > 0)
  assert.is_nil(err.message:find("%s$"))
  local text, report = tostring(err), err:report()
  assert.equal("pg: " .. err.kind .. ": ", text:sub(1, #err.kind + 6))
  local _, lines = text:gsub("\n", "")
  assert.is_true(lines < 25, text)
  contains(report, "kind: " .. err.kind, "module: pg " .. pg.version, "libpq: ", "Lua: 5.4")
  if err.sqlstate then
    local code = err.sqlstate .. (err.condition and " " .. err.condition or "")
    contains(text, "(" .. code .. ")")
    contains(report, "SQLSTATE: " .. code)
  end
  if err.server then contains(report, "server: PostgreSQL " .. err.server) end
  if err.sql and #err.sql > 0 and #err.sql < 100 then contains(report, "statement: ") end
  assert.is_true(#err.fixes >= 2, text)
  for i, fix in ipairs(err.fixes) do
    contains(text, ("   %d. %s"):format(i, fix:gsub("%s*\n%s*", " ")))
    lacks(fix, "{=", "|}", "***")
    assert.is_nil(fix:find("{[%w_]+|"), fix)
  end
  lacks(text, "***")
  return err
end

--- The error of a call that must fail; `wanted` holds the fields that it must have.
function checks.failed(wanted, answer, err)
  err = support.failed(wanted.kind, answer, err)
  checks.sound(err)
  assert.equal(wanted.connection or checks.name, err.connection)
  for name, value in pairs(wanted) do
    if name == "fixes" then
      assert.equal(value, #err.fixes, tostring(err))
    elseif name ~= "message" and name ~= "connection" then
      assert.equal(value, err[name], name .. " of " .. tostring(err))
    end
  end
  if wanted.message then contains(err.message, wanted.message) end
  assert.equal(wanted.retryable or false, err.retryable)
  return err
end

--- The character under the caret and what follows, and the line of the SQL.
function checks.under_caret(err)
  local line, mark = tostring(err):match("\n(  LINE [^\n]*)\n( *)%^")
  assert.is_truthy(line, tostring(err))
  return line:sub(utf8.offset(line, utf8.len(mark) + 1)), line
end

return checks
