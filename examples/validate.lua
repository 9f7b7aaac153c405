-- SPDX-License-Identifier: MIT
-- Looks at rows before they are loaded: by what the table says of itself, and by rules of our own.
-- Bad rows are listed with their reasons, good ones are loaded.
local pg = require "pg"
local db <close> = assert(pg.connect())

local function tidy() return db:execute "DROP SCHEMA IF EXISTS lua_pg_validate CASCADE" end
tidy()
local _ <close> = setmetatable({}, { __close = tidy })
assert(db:execute [[
  CREATE SCHEMA lua_pg_validate;
  SET search_path TO lua_pg_validate;
  CREATE TYPE status AS ENUM ('trial', 'active', 'closed');
  CREATE TABLE customers (number integer PRIMARY KEY, name varchar(20) NOT NULL, email text,
    status status NOT NULL DEFAULT 'trial', first_day date, last_day date)]])

-- As they might come from a file.
local rows = {
  { number = 1, name = "John Doe", email = "john@example.com", status = "active" },
  { number = 2, email = "jane@example.com" },
  { number = 3, name = "Kim", email = "kim.example.com", status = "actve" },
  { number = "4a", name = "Lee", fax = "555-0100" },
  { number = 1, name = "A name that is far too long" },
  { number = 6, name = "Ann", first_day = "15.1.2026" },
  { number = 7, name = "Bob", first_day = "2026-01-15", last_day = "2025-12-31" },
  { number = 8, name = "Eve", first_day = "2026-01-15" },
}

-- A rule: the column, what is wrong when it does not hold, and the test of a value that is there.
local own_rules = {
  { "email", "is no e-mail address", function(v) return v:find "^[^@%s]+@[^@%s]+%.%a+$" end },
  { "first_day", "is no date", function(v) return v:find "^%d%d%d%d%-%d%d%-%d%d$" end },
  { "last_day", "is before the first", function(v, row) return v >= (row.first_day or v) end },
}

-- The rules that the table brings with it.
local function rules_of(columns)
  local rules, required, known = {}, {}, {}
  for _, column in ipairs(columns) do
    local name, length = column.name, tonumber(column.type:match "^character varying%((%d+)%)")
    known[name] = true
    required[name] = not (column.nullable or column.default or column.identity
      or column.generated) or nil
    if column.type == "integer" then
      rules[#rules + 1] = { name, "is no integer", math.tointeger }
    elseif column.values then
      local is = {}
      for _, label in ipairs(column.values) do is[label] = true end
      rules[#rules + 1] = { name, "is none of " .. table.concat(column.values, ", "),
        function(v) return is[v] end }
    elseif length then
      rules[#rules + 1] = { name, "is longer than " .. length,
        function(v) return utf8.len(v) <= length end }
    end
    if column.key then
      local seen = {}
      rules[#rules + 1] = { name, "is there twice", function(v)
        seen[v], v = true, seen[v]
        return not v
      end }
    end
  end
  return table.move(own_rules, 1, #own_rules, #rules + 1, rules), required, known
end

local rules, required, known = rules_of(assert(db:describe "customers"))

local function reasons(row)
  local list = {}
  for name in pairs(required) do
    if row[name] == nil then list[#list + 1] = name .. " is missing" end
  end
  for name in pairs(row) do
    if not known[name] then list[#list + 1] = name .. " is no column" end
  end
  for _, rule in ipairs(rules) do
    local name, wrong, holds = table.unpack(rule)
    if row[name] ~= nil and not holds(row[name], row) then
      list[#list + 1] = ("%s %q %s"):format(name, row[name], wrong)
    end
  end
  table.sort(list)
  return list
end

local good = {}
for i, row in ipairs(rows) do
  local wrong = reasons(row)
  if #wrong == 0 then good[#good + 1] = row end
  for _, reason in ipairs(wrong) do print(("row %d  %s"):format(i, reason)) end
end
local loaded = assert(db:bulk_insert("customers", good))
print(("%d rows, %d bad, %d loaded"):format(#rows, #rows - #good, loaded.rowCount))
