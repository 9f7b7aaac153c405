-- SPDX-License-Identifier: MIT
-- report: tables for a terminal and for Markdown of the same cells, numbers that read well, and
-- what was measured on what.
local pg = require "pg"

local report = {}

--- Three digits and a k, M or G: 26.1k, 1.59M, 328.
function report.count(number)
  if not number then return "" end
  for _, unit in ipairs { { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } } do
    if number >= unit[1] * 0.9995 then return report.digits(number / unit[1]) .. unit[2] end
  end
  return report.digits(number)
end

--- Three digits of a number that is not large.
function report.digits(number)
  if not number then return "" end
  return (number < 0.1 and "%.3f" or number < 10 and "%.2f" or number < 100 and "%.1f" or "%.0f")
    :format(number)
end

local function width(text)
  return utf8.len(text) or #text
end

--- A table: heads are { text, width } with a negative width for what stands at the right.
local Table = {}
Table.__index = Table

function report.table(heads)
  return setmetatable({ heads = heads, rows = {} }, Table)
end

local function padded(head, text)
  local space = (" "):rep(math.abs(head[2]) - width(text))
  return head[2] < 0 and space .. text or text .. space
end

local function joined(self, texts)
  local cells = {}
  for i, head in ipairs(self.heads) do cells[i] = padded(head, texts[i] or "") end
  return (table.concat(cells, "  "):gsub("%s+$", ""))
end

--- The line of the heads, for the terminal.
function Table:head()
  local texts = {}
  for i, head in ipairs(self.heads) do texts[i] = head[1] end
  local line = joined(self, texts)
  return line .. "\n" .. ("-"):rep(width(line))
end

--- Adds a row; its line for the terminal.
function Table:add(texts)
  self.rows[#self.rows + 1] = texts
  return joined(self, texts)
end

function Table:markdown()
  local lines, rule = { {} }, {}
  for i, head in ipairs(self.heads) do
    lines[1][i] = head[1]
    rule[i] = head[2] < 0 and "---:" or ":---"
  end
  lines[2] = rule
  for i, texts in ipairs(self.rows) do
    lines[i + 2] = {}
    for k = 1, #self.heads do
      lines[i + 2][k] = (texts[k] or ""):gsub("^   ", "&emsp;"):gsub("|", "\\|")
    end
  end
  for i, cells in ipairs(lines) do lines[i] = "| " .. table.concat(cells, " | ") .. " |" end
  return table.concat(lines, "\n") .. "\n"
end

local function first_line(command)
  local pipe <close> = io.popen(command .. " 2>/dev/null")
  return pipe:read "l" or ""
end

--- The machine, the versions, the command: a list of texts.
function report.circumstances(db, lua, command)
  local libpq <const> = pg.libpq
  local model = first_line "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo"
  local load = first_line "cut -d ' ' -f 1-3 /proc/loadavg"
  return {
    ("%s, %s cores, %s; load %s at the start"):format(model == "" and "CPU unknown" or model,
      first_line "getconf _NPROCESSORS_ONLN", first_line "uname -srm", load),
    ("PostgreSQL %s over TCP on loopback, libpq %d.%d, %s"):format(
      assert(db:query "SHOW server_version").rows[1].server_version, libpq // 10000,
      libpq % 10000, first_line(lua .. " -v"):match "^Lua [%d.]+" or _VERSION),
    ("%s by `%s`"):format(os.date "!%Y-%m-%d %H:%M UTC", command),
  }
end

function report.write(path, parts)
  local file <close> = assert(io.open(path, "w"))
  assert(file:write(table.concat(parts, "\n")))
end

return report
