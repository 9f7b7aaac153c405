-- How an error looks: the block on one screen of tostring(err), with a caret under the place in the
-- SQL, and the report for a support request. Escapes what a terminal would obey; hides secrets.
-- SPDX-License-Identifier: MIT
local secrets <const> = require "pg.secrets"
local wording <const> = require "pg.wording"

local M = {}

---@type table<string, string>
M.versions = {}

local width <const> = 76

-- Cuts a text to about n bytes, at a character's border; `total` if it was longer once.
local function cut(text, n, total)
  if #text <= n then
    return text
  end
  local kept = text:sub(1, n):gsub("[\xC0-\xFF][\x80-\xBF]*$", "")
  return ("%s... (%d bytes in all)"):format(kept, total or #text)
end

-- A text without secrets, cut to n bytes. What is looked at goes beyond what is shown, so that a
-- secret is not missed for being cut, and a server's megabytes cost nothing.
local function safe(text, n, known)
  local window = text:sub(1, 2 * n + 2000)
  return cut(secrets.hide_settings(secrets.hide(window, known)), n, #text)
end

local function hex(c)
  return ("\\x%02X"):format(c:byte())
end

local function codepoint(c)
  return ("\\u{%04X}"):format(utf8.codepoint(c))
end

-- Escapes control characters, what reorders text, and bytes that are no UTF-8; keeps line ends.
local function clean(text)
  local from = 1
  while true do
    local ok, bad = utf8.len(text, from)
    if ok then
      break
    end
    text = text:sub(1, bad - 1) .. hex(text:sub(bad, bad)) .. text:sub(bad + 1)
    from = bad + 4
  end
  text = text:gsub("\r\n", "\n"):gsub("\t", " "):gsub("[%z\1-\9\11-\31\127]", hex)
  text = text:gsub("\xC2[\x80-\x9F]", codepoint):gsub("\xE2\x80[\x8B-\x8F\xA8-\xAE]", codepoint)
  return (text:gsub("\xE2\x81[\xA6-\xA9]", codepoint):gsub("\xEF\xBB\xBF", codepoint))
end

local function one_line(text, n)
  return (clean(cut(text, n)):gsub("%s*\n%s*", " "))
end

-- A text of several lines, indented so that it cannot look like a line of ours.
local function indented(text, n, indent)
  local lines = {}
  for line in clean(cut(text, n)):gmatch("[^\n]+") do
    lines[#lines + 1] = (line:gsub("^ +", ""))
    if #lines == 8 then
      break
    end
  end
  return table.concat(lines, "\n" .. indent)
end

-- Columns that a character takes on a terminal.
local function columns(c)
  if c < 0x300 then
    return 1
  elseif c <= 0x36F or c >= 0xFE00 and c <= 0xFE0F then
    return 0
  elseif c >= 0x1100 and c <= 0x115F or c >= 0x2E80 and c <= 0xA4CF or c >= 0xAC00 and c <= 0xD7A3
    or c >= 0xF900 and c <= 0xFAFF or c >= 0xFE30 and c <= 0xFE6F or c >= 0xFF00 and c <= 0xFF60
    or c >= 0xFFE0 and c <= 0xFFE6 or c >= 0x1F300 and c <= 0x1FAFF or c >= 0x20000 then
    return 2
  end
  return 1
end

local function display_width(text)
  local n = 0
  for _, c in utf8.codes(text) do
    n = n + columns(c)
  end
  return n
end

-- Takes whole characters from the end (or the start) of a clean text until it fits.
local function fit(text, room, from_end)
  local list, used = {}, 0
  for _, c in utf8.codes(text) do
    list[#list + 1] = c
  end
  local first, last, step = 1, #list, 1
  if from_end then
    first, last, step = #list, 1, -1
  end
  local kept = {}
  for i = first, last, step do
    used = used + columns(list[i])
    if used > room then
      break
    end
    table.insert(kept, from_end and 1 or #kept + 1, utf8.char(list[i]))
  end
  return table.concat(kept), #kept < #list
end

-- "LINE 2: ... WHERE emial = $1" and the caret below; the SQL has its secrets masked.
local function caret(sql, position)
  local text, at = secrets.mask(sql, wording.byte_of(sql, position))
  local number, start = 1, 1
  for stop in text:sub(1, at - 1):gmatch("()\n") do
    number, start = number + 1, stop + 1
  end
  local stop = (text:find("[\r\n]", at) or #text + 1) - 1
  local label = ("LINE %d: "):format(number)
  -- Only the neighbourhood: a statement may have megabytes.
  local from = math.max(start, at - 4 * width)
  while from < at and from > start and text:find("^[\x80-\xBF]", from) do
    from = from + 1
  end
  local left = clean(text:sub(from, at - 1))
  local right = text:sub(at, math.min(stop, at + 4 * width))
  right = clean((right:gsub("[\xC0-\xFF][\x80-\xBF]*$", function(last)
    return not utf8.len(last) and stop > at + 4 * width and "" or nil
  end)))
  local room = width - #label
  local right_room = math.max(room - display_width(left), room // 2)
  local tail, cut_right = fit(right, right_room - 3)
  local head, cut_left = fit(left, room - 6 - display_width(tail), true)
  head = (cut_left or from > start) and "..." .. head or head
  tail = (cut_right or stop > at + 4 * width) and tail .. "..." or tail
  local column = utf8.len(text:sub(start, at - 1)) or at - start
  return ("  %s%s%s\n  %s^ character %d"):format(label, head, tail,
    (" "):rep(#label + display_width(head)), column + 1)
end

local function where_in_table(e)
  local list = {}
  for _, part in ipairs {
    { "row", e.row }, { "table", e.table and (e.schema and e.schema .. "." or "") .. e.table },
    { "schema", not e.table and e.schema }, { "column", e.column },
    { "constraint", e.constraint }, { "type", e.datatype },
    { "parameter", e.parameter and "$" .. e.parameter },
  } do
    if part[2] then
      list[#list + 1] = part[1] .. " " .. part[2]
    end
  end
  return #list > 0 and table.concat(list, ", ") or nil
end

local function where_to(e)
  local text = e.connection or ""
  if e.host or e.database or e.user then
    local target = (e.user or "") .. (e.user and e.host and "@" or "") .. (e.host or "")
      .. (e.host and e.port and ":" .. e.port or "") .. (e.database and "/" .. e.database or "")
    text = text == "" and target or text .. " (" .. target .. ")"
  end
  return text ~= "" and text or nil
end

local function code(e)
  if not e.sqlstate then
    return ""
  end
  return " (" .. e.sqlstate .. (e.condition and " " .. e.condition or "") .. ")"
end

-- What has become of a pipeline, by `completed`.
local EFFECT <const> = { [false] = "; none of them has taken effect",
  [true] = "; all of them have taken effect" }

---@param e pg.Error
---@param raw table
---@return string
function M.block(e, raw)
  local out, known = {}, secrets.of(e.sql)
  local function shown(text, n)
    return indented(safe(text, n, known), n + 40, "    ")
  end
  local function add(label, text, n)
    if type(text) == "string" and text ~= "" then
      out[#out + 1] = "  " .. label .. shown(text, n or 400)
    end
  end
  local message = type(e.message) == "string" and e.message or ""
  out[1] = "pg: " .. tostring(e.kind) .. ": " .. shown(message, 400) .. clean(code(e))
  if e.sql and e.position then
    out[#out + 1] = caret(e.sql, e.position)
  elseif e.sql then
    out[#out + 1] = "  SQL: " .. one_line(secrets.mask(e.sql:sub(1, 4000)), 2 * width)
  end
  if raw.internal_query and raw.internal_position then
    out[#out + 1] = "  in a query of the function:\n"
      .. caret(raw.internal_query, raw.internal_position)
  end
  add("detail: ", e.detail)
  if type(e.fixes) ~= "table" or e.fixes[1] ~= e.hint then
    add("hint: ", e.hint)
  end
  add("in a pipeline: ", e.of and (e.index and ("statement %d of %d"):format(e.index, e.of)
    or ("of %d statement%s"):format(e.of, e.of == 1 and "" or "s")) .. (EFFECT[e.completed] or ""))
  add("at: ", where_in_table(e))
  -- What "at" has said is not said again.
  add("where: ", e.parameter and e.context and e.context:gsub("unnamed portal parameter %$%d+$", "")
    or e.context)
  if e.elapsed and e.sqlstate then -- else the message has it
    add("time: ", wording.seconds(e.elapsed)
      .. (e.limit and " (the limit is " .. wording.seconds(e.limit) .. ")" or ""))
  end
  add("connection: ", where_to(e))
  if type(e.cause) == "table" and type(e.cause.message) == "string" then
    add("cause: ", tostring(e.cause.kind) .. ": " .. e.cause.message, 200)
  end
  local fixes = type(e.fixes) == "table" and e.fixes or {}
  if #fixes > 0 then
    out[#out + 1] = "  What to try:"
    for i, text in ipairs(fixes) do
      out[#out + 1] = ("   %d. %s"):format(i, one_line(safe(tostring(text), 300, known), 340))
    end
  end
  return table.concat(out, "\n")
end

local function yes_no(value)
  if type(value) == "boolean" then
    return value and "yes" or "no"
  end
end

---@param e pg.Error
---@param raw table
---@return string
function M.report(e, raw)
  local out = { "PostgreSQL error report (without passwords and parameter values)" }
  local known = secrets.of(e.sql)
  local function add(label, text)
    if text ~= nil and text ~= "" then
      text = clean(safe(tostring(text), 4000, known)):gsub("\n", "\n    ")
      out[#out + 1] = label .. ":" .. (text:sub(1, 1) == "\n" and "" or " ") .. text
    end
  end
  local class = type(e.sqlstate) == "string" and e.sqlstate:sub(1, 2)
  local holds_values = class == "22" or class == "23"
  local function without_values(text, hider)
    return type(text) == "string" and (holds_values and hider(text:sub(1, 8000)) or text) or nil
  end
  add("kind", e.kind)
  add("SQLSTATE", e.sqlstate and e.sqlstate .. (e.condition and " " .. e.condition or ""))
  add("severity", e.severity)
  add("message", class == "22" and secrets.hide_values(e.message:sub(1, 8000)) or e.message)
  add("detail", without_values(e.detail, secrets.hide_detail))
  add("hint", e.hint)
  add("at", where_in_table(e))
  add("context", without_values(e.context, secrets.hide_context))
  if e.sql then
    add("statement", (secrets.mask(e.sql:sub(1, 20000))))
    if e.position then
      out[#out + 1] = caret(e.sql, e.position)
    end
  end
  if raw.internal_query then
    add("query of the function", (secrets.mask(raw.internal_query)))
  end
  add("elapsed", e.elapsed and wording.seconds(e.elapsed))
  local show = e.kind == "result_too_large" and wording.bytes or wording.seconds
  add("limit", e.limit and show(e.limit))
  add("bytes", e.bytes)
  add("completed", yes_no(e.completed))
  add("retryable", yes_no(e.retryable))
  add("connection", e.connection)
  add("host", e.host)
  add("port", e.port)
  add("database", e.database)
  add("user", e.user)
  add("sslmode", raw.sslmode)
  add("encrypted", yes_no(raw.ssl_in_use))
  add("server", e.server and "PostgreSQL " .. e.server)
  add("module", M.versions.module and "pg " .. M.versions.module)
  add("libpq", M.versions.libpq)
  add("Lua", (_VERSION:gsub("^Lua ", "")))
  if type(e.cause) == "table" and type(e.cause.report) == "function" and e.cause ~= e then
    out[#out + 1] = "cause:\n    " .. e.cause:report():gsub("\n", "\n    ")
  end
  if type(e.fixes) == "table" and #e.fixes > 0 then
    add("fixes", "\n" .. table.concat(e.fixes, "\n"))
  end
  return table.concat(out, "\n") .. "\n"
end

return M
