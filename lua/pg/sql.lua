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

-- PostgreSQL cuts longer names off, with no more than a notice: two would be one.
local LONGEST <const> = 63

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
  elseif #name > LONGEST then
    error(("a name has at most %d bytes, which PostgreSQL keeps; this one has %d: %s..."):format(
      LONGEST, #name, name:sub(1, utf8.offset(name, 0, 30) - 1)), level)
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
---@param level integer?
---@return string
function sql.literal(value, level)
  level = (level or 1) + 1
  if type(value) == "number" then return number_literal(value) end
  if type(value) == "boolean" then return tostring(value) end
  if type(value) ~= "string" then
    error("pg.literal takes a string, a number or a boolean, not a " .. type(value), level)
  elseif value:find("\0", 1, true) then
    error("a literal cannot hold a NUL byte", level)
  elseif not utf8.len(value) then
    error("a literal must be valid UTF-8", level)
  end
  local quoted = "'" .. value:gsub("'", "''") .. "'"
  if value:find("\\", 1, true) then return " E" .. quoted:gsub("\\", "\\\\") end
  return quoted
end

--- Names, and pg.raw for expressions, as a list of columns: "a", "b".
---@param names (string|table)[] that sql.quote takes
---@return string
function sql.quoted_list(names)
  local list = {}
  for i, name in ipairs(names) do list[i] = sql.is_raw(name) and name[1] or sql.quote(name) end
  return table.concat(list, ", ")
end

--- The keys of a table of columns, sorted, so that the same columns make the
--- same statement. Raw, as all rows are read: no metamethod adds columns or takes
--- them away. Raises on a key that is not a string.
---@param columns table
---@param level integer
---@return string[]
function sql.names(columns, level)
  local names = {}
  for name in next, columns do
    if type(name) ~= "string" then
      error(("columns go by name: there is a value under the %s key %s")
        :format(type(name), tostring(name)), level + 1)
    end
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

--- Raises unless the value is a table of column = value, or a list. One that has
--- its content behind metamethods would be read as empty.
---@param value any
---@param name string the option's
---@param level integer
function sql.need_table(value, name, level)
  if type(value) ~= "table" then
    error(("%s must be a table of column = value, not %s"):format(name,
      value == nil and "nil" or "a " .. type(value)), level + 1)
  end
  local meta = next(value) == nil and getmetatable(value)
  if type(meta) == "table" and (meta.__pairs or meta.__len) then
    error(name .. " is empty but for its metatable, and tables are read without: copy it into a "
      .. "plain one", level + 1)
  end
end

--- A list of values under construction: each is a placeholder, or raw SQL.
--- `names` says of which column each is.
---@return table
function sql.values() return { n = 0, names = {} } end

--- Appends a value and answers its text in the statement.
---@param values table
---@param value any
---@param name? string the column's
---@return string
function sql.place(values, value, name)
  if sql.is_raw(value) then return value[1] end
  values.n = values.n + 1
  values[values.n], values.names[values.n] = value, name
  return "$" .. values.n
end

-- Whatever its metatable: JSON libraries mark lists with theirs.
local function is_list(value)
  if type(value) ~= "table" or sql.is_raw(value) then return false end
  if getmetatable(value) == wrapper_meta then return core.is_list(value) end
  return value[1] ~= nil or next(value) == nil
end

--- `column = value` joined by AND: pg.null is IS NULL, a sequence is = ANY. The `=`
--- is not qualified on purpose, nor in a conflict's `where`: it is what SQL by hand would
--- mean, and the column's type may bring its own (citext, hstore).
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

--- A name or a list of names, checked, each once; with `raw` also expressions.
---@param value string|string[]
---@param what string the option's name
---@param level integer
---@param raw? boolean
---@return string[]
function sql.list(value, what, level, raw)
  if type(value) == "string" then value = { value } end
  if type(value) ~= "table" or sql.is_raw(value) or sql.is_identifier(value) then
    error(("%s must be a name or a list of names, not a %s"):format(what, type(value)), level + 1)
  end
  local names, seen, count = {}, {}, 0
  for _ in pairs(value) do count = count + 1 end
  for _, name in ipairs(value) do
    count = count - 1
    if not (raw and sql.is_raw(name)) then sql.quote(name, level + 1) end
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  if count > 0 then error(what .. " must be a list of names, without gaps", level + 1) end
  return names
end

--- RETURNING's list: "*", one name, or a list of names.
---@param returning string|string[]
---@param level integer
---@return string
function sql.returning(returning, level)
  if returning == "*" then return "*" end
  local names = sql.list(returning, "returning", level + 1)
  if #names == 0 then error("returning is an empty list", level + 1) end
  return sql.quoted_list(names)
end

return sql
