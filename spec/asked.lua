-- SPDX-License-Identifier: MIT
-- How often the catalogue is asked for types.
local support = require "spec.support"

local asked = {}

--- While f runs: the questions, the statements that the server parses, and what it logs.
function asked.count(server, f)
  local log = support.logged(server, f)
  local _, count = log:gsub("  execute [^\n]*WITH RECURSIVE needed", "")
  local _, parsed = log:gsub("  parse [^\n]*: ", "")
  return count, parsed, log
end

--- Asserts the number of questions while f runs.
function asked.times(server, expected, f)
  local count, _, log = asked.count(server, f)
  if count ~= expected then
    error(("asked %d times instead of %d:\n%s"):format(count, expected, log), 3)
  end
end

return asked
