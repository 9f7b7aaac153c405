-- Finds and hides secrets in SQL and in texts about it: the literals after PASSWORD and its like,
-- connection strings inside literals, values in messages. Pure text work.
-- SPDX-License-Identifier: MIT
local wording <const> = require "pg.wording"

local M = {}

local stars <const> = "***"

local words <const> = {
  "password", "passwd", "passphrase", "secret", "token", "api_?key", "access_?key", "pwd",
}

-- Whether the text right before a literal says that it is a secret: PASSWORD 'x', token = 'x'.
local function announces(before)
  local last = before:find('[%w_"%s:=>]$') and before:match('([%w_]+)["%s]*[:=]?=?>?%s*$')
  last = last and last:lower()
  for _, word in ipairs(last and words or {}) do
    if last:find(word .. "$") then
      return true
    end
  end
  return false
end

-- The parts of a literal that are secrets in a connection string or URI.
local function inside(text, offset, ranges)
  local low = text:lower()
  local at, stop = low:find("://", 1, true), 0
  while at do
    local start = low:match("^://[^:/@%s]*:()", at)
    if start and stop < start then
      stop = low:find("[@%s]", start) or #low + 1
    end
    if start and stop > start and low:sub(stop, stop) == "@" then
      ranges[#ranges + 1] = { offset + start - 1, offset + stop - 2 }
    end
    at = low:find("://", at + 3, true)
  end
  if not low:find("passw", 1, true) then
    return
  end
  -- SQL in a literal, at whatever depth: PASSWORD ''x'', PASSWORD ''''x''''.
  for start, last in low:gmatch("passw%a?%a?%a?%a?%a?%s*''+()[^']+()") do
    ranges[#ranges + 1] = { offset + start - 1, offset + last - 2 }
  end
  for _, word in ipairs { "password", "sslpassword", "passwd" } do
    for start, last in low:gmatch("%f[%w]" .. word .. "%s*=%s*()[^%s;&,]+()") do
      ranges[#ranges + 1] = { offset + start - 1, offset + last - 2 }
    end
  end
end

-- Where a literal that begins with a quote at `at` ends: position of its closing quote.
local function literal_end(sql, at, escapes)
  local from = at + 1
  while true do
    local stop = sql:find(escapes and "['\\]" or "'", from)
    if not stop then
      return #sql + 1
    elseif sql:sub(stop, stop) == "\\" or sql:sub(stop + 1, stop + 1) == "'" then
      from = stop + 2
    else
      return stop
    end
  end
end

---Calls found(first, last, before, doubled) for the text inside each literal of the SQL; `doubled`
---says that the quotes in it are.
---@param sql string
---@param found fun(first: integer, last: integer, before: string, doubled: boolean?)
function M.literals(sql, found)
  local at = 1
  while true do
    at = sql:find("['\"$/-]", at)
    if not at then
      return
    end
    local c = sql:sub(at, at)
    if c == "'" then
      local escapes = sql:find("^[eE]", at - 1) and at > 1 and not sql:find("^[%w_]", at - 2)
      local before = sql:sub(math.max(1, at - 60), at - 1):gsub("[eEnN]$", "")
      before = before:gsub("[uU]&$", "")
      local stop = literal_end(sql, at, escapes)
      found(at + 1, stop - 1, before, true)
      at = stop + 1
    elseif c == '"' then
      at = (sql:find('"', at + 1, true) or #sql) + 1
    elseif c == "-" then
      at = sql:find("^%-%-", at) and (sql:find("\n", at, true) or #sql) + 1 or at + 1
    elseif c == "/" then
      at = sql:find("^/%*", at) and (sql:find("*/", at + 2, true) or #sql) + 1 or at + 1
    else
      local tag = sql:match("^%$[%a_\x80-\xFF][%w_\x80-\xFF]*%$", at) or sql:match("^%$%$", at)
      if tag then
        local stop = sql:find(tag, at + #tag, true) or #sql + 1
        found(at + #tag, stop - 1, sql:sub(math.max(1, at - 60), at - 1))
        -- A function's body is SQL too.
        at = stop + #tag
      else
        at = at + 1
      end
    end
  end
end

local suspects <const> = { "pass", "secret", "token", "key", "pwd", "://" }

local function suspicious(text)
  local low = text:lower()
  for _, word in ipairs(suspects) do
    if low:find(word, 1, true) then
      return true
    end
  end
  return false
end

local function ranges_of(sql, depth)
  local ranges = {}
  if not suspicious(sql) then
    return ranges
  end
  M.literals(sql, function(first, last, before, doubled)
    if last < first then
      return
    elseif announces(before) then
      ranges[#ranges + 1] = { first, last }
    else
      local text = sql:sub(first, last)
      inside(text, first, ranges)
      -- DO $$ ... PASSWORD 'x' ... $$: one level deeper, and not without end.
      if not doubled and (depth or 0) < 4 and text:find("'", 1, true) then
        for _, r in ipairs(ranges_of(text, (depth or 0) + 1)) do
          ranges[#ranges + 1] = { first + r[1] - 1, first + r[2] - 1 }
        end
      end
    end
  end)
  table.sort(ranges, function(a, b)
    return a[1] < b[1]
  end)
  return ranges
end

---The SQL with its secrets starred, and where the byte `at` has gone.
---@param sql string
---@param at? integer
---@param ranges? integer[][]
---@return string, integer?
function M.mask(sql, at, ranges)
  local out, from, moved = {}, 1, at
  for _, r in ipairs(ranges or ranges_of(sql)) do
    if r[1] >= from then
      out[#out + 1] = sql:sub(from, r[1] - 1)
      out[#out + 1] = stars
      if at and at > r[2] then
        moved = moved - (r[2] - r[1] + 1) + #stars
      elseif at and at >= r[1] then
        moved = moved - (at - r[1])
      end
      from = r[2] + 1
    end
  end
  out[#out + 1] = sql:sub(from)
  return table.concat(out), moved
end

local function replace(text, secret)
  local out, from = {}, 1
  while true do
    local start, stop = text:find(secret, from, true)
    if not start then
      break
    end
    out[#out + 1] = text:sub(from, start - 1) .. stars
    from = stop + 1
  end
  return table.concat(out) .. text:sub(from)
end

---The secrets that stand in a statement, for `hide`.
---@param sql? string
---@param ranges? integer[][]
---@return string[]
function M.of(sql, ranges)
  local list = {}
  for _, r in ipairs(sql and (ranges or ranges_of(sql)) or {}) do
    if #list > 100 then
      break
    elseif r[2] - r[1] >= 2 then -- shorter ones stand in many innocent words
      list[#list + 1] = sql:sub(r[1], r[2])
    end
    if r[2] == #sql then -- without its closing quote, a secret has run into the rest
      local word = sql:match("^%S+", r[1])
      list[#list + 1] = word and #word >= 5 and word or nil
    end
  end
  return list
end

---A message about a statement, without the statement's secrets.
---@param text string
---@param known string[]
---@return string
function M.hide(text, known)
  for _, secret in ipairs(known) do
    text = replace(text, secret)
  end
  if not suspicious(text) then
    return text
  end
  -- "Key (token)=(x) already exists."
  text = text:gsub("(%([^()]*%)=%()[^\n]*%)", function(names)
    local low = names:lower()
    for _, word in ipairs(words) do
      if low:find(word) then
        return names .. stars .. ")"
      end
    end
  end)
  -- And those of a statement that a context or a message quotes, as "...", itself. What follows
  -- "the password's" is no literal.
  local plain = text:gsub('"', " "):gsub("(%a)'(s%f[%W])", "%1 %2")
  return (M.mask(text, nil, ranges_of(plain)))
end

local function scrub_sql(sql, position, ranges)
  if not sql or #ranges == 0 then
    return sql, position
  end
  local masked, at = M.mask(sql, wording.byte_of(sql, position or 1), ranges)
  return masked, position and wording.character_of(masked, at)
end

local shown <const> = { "message", "detail", "hint", "context" }

---Stars the secrets of the statement in all fields of an error, and moves its place with them.
---@param e table
---@param raw table its `internal_query` too
function M.scrub(e, raw)
  local ranges, inner = e.sql and ranges_of(e.sql) or {}, raw.internal_query
  local known = M.of(e.sql, ranges)
  e.sql, e.position = scrub_sql(e.sql, e.position, ranges)
  raw.internal_query, raw.internal_position = scrub_sql(inner, raw.internal_position,
    inner and ranges_of(inner))
  for _, name in ipairs(shown) do
    e[name] = e[name] and M.hide(e[name], known)
  end
end

---Settings in running text: password=x, token = x, user:password@host.
---@param text string
---@return string
function M.hide_settings(text)
  text = text:gsub("(://[^:/@%s]*:)[^@%s]+@", "%1" .. stars .. "@")
  for _, word in ipairs(words) do
    local any = word:gsub("%a", function(c)
      return "[" .. c .. c:upper() .. "]"
    end)
    text = text:gsub("(" .. any .. "%s*=%s*)([^%s,;&$'\"*(][^%s,;&'\"]*)", "%1" .. stars)
  end
  return text
end

---A message that may quote a value (class 22), without it.
---@param text string
---@return string
function M.hide_values(text)
  text = text:gsub('".*"', '"..."'):gsub("«.*»", "«...»"):gsub("».*«", "»...«")
  return (text:gsub("„.*“", "„...“"))
end

---A detail that may show a row or a key (class 22 and 23).
---@param text string
---@return string
function M.hide_detail(text)
  local hidden, n = text:gsub("=%(.*%)", "=(...)")
  if n == 0 then
    hidden, n = text:gsub("%(.*%)", "(...)")
  end
  return n > 0 and hidden or M.hide_values(text)
end

---A context that may show input data: "COPY t, line 1, column a: "x"", "JSON data, line 1: ...".
---@param text string
---@return string
function M.hide_context(text)
  local lines = {}
  for line in text:gmatch("[^\n]+") do
    lines[#lines + 1] = line:gsub(": .*$", ": ...")
  end
  return table.concat(lines, "\n")
end

return M
