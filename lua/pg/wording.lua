-- How names, values and sizes are written in advice, and how a list of advice is put in order.
-- Pure text work.
-- SPDX-License-Identifier: MIT
local M = {}

---An SQL identifier, always quoted: right for reserved words and capitals too.
---@param name string
---@return string
function M.ident(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

---@param text string
---@return string
function M.literal(text)
  local prefix = text:find("\\", 1, true) and "E" or ""
  return prefix .. "'" .. text:gsub("\\", "\\\\"):gsub("'", "''") .. "'"
end

---Seconds in words: 60 s, 0.25 s.
---@param n number
---@return string
function M.seconds(n)
  local format = n >= 100 and "%.0f" or n >= 10 and "%.1f" or "%.3g"
  local text = format:format(n)
  if text:find(".", 1, true) and not text:find("e", 1, true) then
    text = text:gsub("0+$", ""):gsub("%.$", "")
  end
  return text .. " s"
end

local units <const> = { { 1 << 30, "GiB" }, { 1 << 20, "MiB" }, { 1 << 10, "KiB" } }

---Bytes in words: 10 MiB, 1.5 KiB, 512 bytes. Exactly, if that is asked for: 100000 bytes.
---@param n number
---@param exact? boolean
---@return string
function M.bytes(n, exact)
  for _, unit in ipairs(units) do
    if n >= unit[1] and not (exact and n * 10 % unit[1] ~= 0) then
      return (("%.1f"):format(n / unit[1]):gsub("%.0$", "")) .. " " .. unit[2]
    end
  end
  return ("%.0f byte%s"):format(n, n == 1 and "" or "s")
end

---The byte at which a character begins, or the end. PostgreSQL counts characters; invalid bytes are
---characters here.
---@param text string
---@param position integer
---@return integer
function M.byte_of(text, position)
  local skip = #text:match("^[\x80-\xBF]*")
  local at = utf8.offset(text:sub(skip + 1), position)
  return at and math.min(at + skip, #text + 1) or #text + 1
end

---The number of the character that begins at a byte.
---@param text string
---@param byte integer
---@return integer
function M.character_of(text, byte)
  return select(2, text:sub(1, byte - 1):gsub("[^\x80-\xBF]", "")) + 1
end

---Whether the message has one of these words, outside of quotes: a role may be called "expired".
---@param e pg.Error
---@param ... string
---@return boolean
function M.has(e, ...)
  local text = e.message:gsub('".-"', '""')
  for _, words in ipairs { ... } do
    if text:find(words, 1, true) then
      return true
    end
  end
  return false
end

---@param list string[]
---@param text string goes to the front
function M.first(list, text)
  table.insert(list, 1, text)
end

---@param list string[]
---@param n integer this one goes to the front
function M.lead(list, n)
  table.insert(list, 1, table.remove(list, n))
end

return M
