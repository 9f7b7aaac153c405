-- SPDX-License-Identifier: MIT
-- check_text: what a statement's text tells of how its values are passed: parameters that stand in
-- quotes, templates that were not filled in, values that seem to have been put into the text. Pure
-- text work; it guesses, so that what it finds is advice.
local secrets = require "pg.secrets"
local wording = require "pg.wording"

local M = {}

-- Of templates that a program fills in before it sends them: '%s', '{{name}}', '${name}', ':name'.
local TEMPLATES <const> = {
  "^%%[%d.]*[sdiqfg]$", "^%%?{{[^{}]+}}%%?$", "^%%?[$#]{[^{}]+}%%?$", "^:%a[%w_]*$",
}

-- What differs from call to call: addresses, ids, numbers, times.
local VALUES <const> = {
  "^[%w._+-]+@[%w-]+%.[%w.-]+$", "^%x+%-%x+%-%x+%-%x+%-%x+$", "^-?%d+%.?%d*$",
  "^%d%d%d%d%-%d%d%-%d%d[T ]%d%d:%d%d",
}

-- WHERE name = '' OR '1'='1', OR 1=1
local ALWAYS <const> = { "%f[%w][oO][rR]%s+('[^']*')%s*=%s*('[^']*')",
  "%f[%w][oO][rR]%s+(%d+)%s*=%s*(%d+)" }

local MANY <const> = 10 -- more do not tell more

local function matches(text, patterns)
  for _, pattern in ipairs(patterns) do
    if text:find(pattern) then return true end
  end
  return false
end

local function shown(text)
  return "'" .. (#text > 40 and text:sub(1, 37) .. "..." or text) .. "'"
end

---@class pg.Finding
---@field wrong boolean it cannot be meant so; else it works
---@field message string
---@field fix string

local function parameter_in(text, count)
  for number in text:gmatch "%$(%d+)" do
    if tonumber(number) >= 1 and tonumber(number) <= count then return "$" .. number end
  end
end

-- `place` is a function: to count characters takes time.
local function look_at(text, place, count)
  local parameter, quoted = parameter_in(text, count), shown(text)
  if parameter then
    return { wrong = true,
      message = ("%s stands in quotes%s: there it is text and no parameter"):format(parameter,
        place()),
      fix = text == parameter
        and ("Take the quotes away: write %s, not %s."):format(parameter, quoted)
        or ("Put the text around it together with ||: '...' || %s || '...'."):format(parameter) }
  elseif matches(text, TEMPLATES) then
    return { wrong = true,
      message = quoted .. place() .. " looks like a place that was to be filled in",
      fix = "Write $1, $2, ... for the values, without quotes, and pass them as parameters." }
  elseif matches(text, VALUES) then
    return { wrong = false,
      message = quoted .. place() .. " looks like a value that was put into the text",
      fix = ('Pass %s as a parameter: db:query("... $1 ...", value).'):format(quoted) }
  end
end

--- What is to be said of the literals in a statement that takes `count` parameters.
---@param sql string
---@param count integer
---@return pg.Finding[]
function M.findings(sql, count)
  local list, seen = {}, {}
  sql = secrets.mask(sql)
  secrets.literals(sql, function(first, last, _, quoted)
    local text = sql:sub(first, last)
    if not quoted or seen[text] or #list == MANY then return end
    seen[text] = true
    list[#list + 1] = look_at(text, function()
      return (" (character %d)"):format(wording.character_of(sql, first))
    end, count)
  end)
  for _, pattern in ipairs(ALWAYS) do
    for left, right in sql:gmatch(pattern) do
      if left == right then
        list[#list + 1] = { wrong = true, message = ("OR %s=%s is always true: it looks like input "
          .. "that was put into the text"):format(left, right),
          fix = "Pass input as parameters: nothing in them can be SQL." }
      end
    end
  end
  return list
end

return M
