-- SPDX-License-Identifier: MIT
-- sql: quoting and statement builders. Pure: text in, text out, no server.
local core = require "pg.core"

local sql = {}

local wrapper_meta = getmetatable(core.json(true))
local raw_meta = { __name = "pg.raw" }
local identifier_meta = { __name = "pg.identifier" }

raw_meta.__tostring = function(self) return self[1] end

--- SQL put in as it is, where a value goes: `pg.raw "now()"`. Never from input.
---@param text string
---@return table
function sql.raw(text)
  if type(text) ~= "string" then
    error("pg.raw takes a string of SQL, not a " .. type(text), 2)
  end
  return setmetatable({ text }, raw_meta)
end

--- The column's default, as a value of insert and update.
sql.default = setmetatable({ "DEFAULT" }, raw_meta)

---@return boolean
function sql.is_raw(value) return getmetatable(value) == raw_meta end

--- One name, quoted, so that case counts and nothing in it is SQL.
---@param name string
---@param level integer? of error(), for the caller's position
---@return string
function sql.quote(name, level)
  level = (level or 1) + 1
  if type(name) ~= "string" then
    error("a name must be a string, not a " .. type(name), level)
  elseif name == "" then
    error("a name cannot be empty", level)
  elseif name:find("\0", 1, true) then
    error("a name cannot hold a NUL byte", level)
  elseif not utf8.len(name) then
    error("a name must be valid UTF-8", level)
  end
  return '"' .. name:gsub('"', '""') .. '"'
end

identifier_meta.__tostring = function(self) return self[1] end

--- A name taken as given, dots and all: `pg.identifier "odd.name"`, or with its
--- schema: `pg.identifier("public", "odd.name")`. tostring() gives it quoted.
---@param ... string
---@return table
function sql.identifier(...)
  local parts = table.pack(...)
  if parts.n == 0 then error("pg.identifier takes one name or more", 2) end
  for i = 1, parts.n do parts[i] = sql.quote(parts[i], 2) end
  return setmetatable({ table.concat(parts, ".") }, identifier_meta)
end

---@return boolean
function sql.is_identifier(value) return getmetatable(value) == identifier_meta end

--- A table's name, quoted: "users", "schema.table" (split at its dot), or a
--- pg.identifier.
---@param name string|table
---@param level integer?
---@return string
function sql.table_name(name, level)
  level = (level or 1) + 1
  if sql.is_identifier(name) then return name[1] end
  if type(name) ~= "string" then
    error("a table's name must be a string or a pg.identifier, not a " .. type(name), level)
  end
  local schema, rest = name:match "^([^.]*)%.(.*)$"
  if not schema then return (sql.quote(name, level)) end -- no tail call: levels count frames
  if rest:find(".", 1, true) then
    error(("'%s' has more than one dot: pg.identifier(...) takes names as given"):format(name),
      level)
  end
  return sql.quote(schema, level) .. "." .. sql.quote(rest, level)
end

-- Exact, with a decimal point whatever the locale. A space before a minus sign: "--" begins a
-- comment.
local function number_literal(value)
  if value ~= value then return "'NaN'" end
  if value == math.huge then return "'Infinity'" end
  if value == -math.huge then return "'-Infinity'" end
  return (core.encode(value):gsub("^%-", " -"))
end

--- A value as SQL, for statements that take no parameters (DDL). Safe under
--- either setting of standard_conforming_strings.
---@param value string|number|boolean
---@return string
function sql.literal(value)
  if type(value) == "number" then return number_literal(value) end
  if type(value) == "boolean" then return tostring(value) end
  if type(value) ~= "string" then
    error("pg.literal takes a string, a number or a boolean, not a " .. type(value), 2)
  elseif value:find("\0", 1, true) then
    error("a literal cannot hold a NUL byte", 2)
  elseif not utf8.len(value) then
    error("a literal must be valid UTF-8", 2)
  end
  local quoted = "'" .. value:gsub("'", "''") .. "'"
  if value:find("\\", 1, true) then return " E" .. quoted:gsub("\\", "\\\\") end
  return quoted
end

--- The keys of a table of columns, sorted, so that the same columns make the
--- same statement. Raises on a key that is not a string.
---@param columns table
---@param level integer
---@return string[]
function sql.names(columns, level)
  local names = {}
  for name in pairs(columns) do
    if type(name) ~= "string" then
      error(("columns go by name: there is a value under the %s key %s")
        :format(type(name), tostring(name)), level + 1)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- A list of values under construction: each is a placeholder, or raw SQL.
---@return table
function sql.values() return { n = 0 } end

--- Appends a value and answers its text in the statement.
---@param values table
---@param value any
---@return string
function sql.place(values, value)
  if sql.is_raw(value) then return value[1] end
  values.n = values.n + 1
  values[values.n] = value
  return "$" .. values.n
end

-- Whatever its metatable: JSON libraries mark lists with theirs.
local function is_list(value)
  if type(value) ~= "table" or sql.is_raw(value) then return false end
  return getmetatable(value) ~= wrapper_meta or core.is_list(value)
end

--- `column = value` joined by AND: pg.null is IS NULL, a sequence is = ANY.
---@param where table
---@param values table
---@param level integer
---@return string
function sql.where(where, values, level)
  local terms = {}
  for i, name in ipairs(sql.names(where, level + 1)) do
    local column, value = sql.quote(name, level + 1), where[name]
    if value == core.null then
      terms[i] = column .. " IS NULL"
    elseif is_list(value) then
      terms[i] = column .. " = ANY(" .. sql.place(values, value) .. ")"
    else
      terms[i] = column .. " = " .. sql.place(values, value)
    end
  end
  return table.concat(terms, " AND ")
end

--- RETURNING's list: "*", one name, or a list of names.
---@param returning string|string[]
---@param level integer
---@return string
function sql.returning(returning, level)
  if returning == "*" then return "*" end
  if type(returning) == "string" then return (sql.quote(returning, level + 1)) end
  if type(returning) ~= "table" then
    error("returning must be a name or a list of names, not a " .. type(returning), level + 1)
  end
  local names = {}
  for i, name in ipairs(returning) do names[i] = sql.quote(name, level + 1) end
  if #names == 0 then error("returning is an empty list", level + 1) end
  return table.concat(names, ", ")
end

return sql
