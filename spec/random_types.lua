-- SPDX-License-Identifier: MIT
-- Random types and random values of them, from math.random alone.
--
-- A type has `sql`, its name as SQL writes it, and functions: make() answers a value, expression(v)
-- SQL that makes the value without the module's help, smaller(self, v, add) calls add(type, value)
-- for what may show the same and is smaller; `create` makes the type of its `parts`. Types with an
-- order have a `pool` of values, ascending.
local pg = require "pg"
local support = require "spec.support"

local random_types = {}

local null, random = pg.null, math.random

local function many(least, most, piece)
  local list = {}
  for i = 1, random(least, most) do list[i] = piece() end
  return list
end

local function one_of(list) return list[random(#list)] end

local function quoted(name) return '"' .. name:gsub('"', '""') .. '"' end

-- --- scalars ----------------------------------------------------------------------------------

local PIECES <const> = { "a", "Z", " ", '"', "\\", ",", "{", "}", "'", "NULL", "é", "世", "[", "]",
  "\u{1f600}", "\n", "\t", ";", "(", ")", "$1", "%", "[1:2]=", "\\x", "empty", "=>", "" }

local function text()
  return table.concat(many(0, 8, function() return one_of(PIECES) end))
end

local function bytes()
  return table.concat(many(0, 12, function() return string.char(random(0, 255)) end))
end

-- Of any size, large and small alike.
local function integer(bits)
  local value = random(0) >> random(0, 63)
  if random(2) == 1 then value = ~value end
  local half = 1 << bits - 1
  return (value + half & 2 * half - 1) - half
end

local function float() return (string.unpack("<d", string.pack("<i8", random(0)))) end

local function numeric()
  local function digit() return tostring(random(0, 9)) end
  local digits = table.concat(many(1, 40, digit))
  local value = digits:gsub("^0+(%d)", "%1")
  if random(2) == 1 then value = value .. "." .. digits end
  return (random(2) == 1 and value:find "[1-9]" and "-" or "") .. value
end

local function json(depth)
  local kind = random(depth > 3 and 6 or 8)
  if kind == 1 then return null end
  if kind == 2 then return random(2) == 1 end
  if kind == 3 then return integer(64) end
  if kind == 4 then return (random() - 0.5) * 10.0 ^ random(-20, 20) end
  if kind < 7 then return text() end
  local value = many(0, 4, function() return json(depth + 1) end)
  if kind == 7 then return pg.array(value) end
  local object = {}
  for i, item in ipairs(value) do object[text() .. i] = item end
  return object
end

local function hexadecimal(value)
  return (value:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

-- What a literal of the value says; "%.17g" is any float, exactly.
local function literal(value)
  if math.type(value) ~= "float" then return tostring(value) end
  if value ~= value then return "NaN" end
  return math.abs(value) == math.huge and (value > 0 and "Infinity" or "-Infinity")
    or ("%.17g"):format(value)
end

local function smaller_string(self, value, add)
  local length = #value
  if length < 2 then return end
  add(self, value:sub(1, length // 2))
  add(self, value:sub(length // 2 + 1))
  for i = 1, length do add(self, value:sub(1, i - 1) .. value:sub(i + 1)) end
end

-- Seconds before and after a moment.
local function seconds() return (random() - 0.5) * 10.0 ^ random(-6, 11) end

-- Random numbers of a type.
local function float8(f) return { "float8", f } end
local function int(least, most)
  return { "int", function() return random(least, most) end }
end

-- Name and how to make a value; or `sql` by which the server makes one of random numbers a, b, c.
-- `ordered`: there are ranges of it.
local SCALARS <const> = {
  { "boolean", function() return random(2) == 1 end },
  { "smallint", function() return integer(16) end, ordered = true },
  { "integer", function() return integer(32) end, ordered = true },
  { "bigint", function() return integer(64) end, ordered = true },
  { "oid", function() return integer(64) & 0xffffffff end },
  { "double precision", float, ordered = true },
  { "numeric", numeric, ordered = true },
  { "text", text, smaller = smaller_string, ordered = true },
  { "bytea", bytes, smaller = smaller_string, ordered = true,
    expression = function(value) return ("decode('%s', 'hex')"):format(hexadecimal(value)) end },
  { "jsonb", function() return { json(0) } end, is_list = true,
    expression = function(value) return pg.literal(pg.encode(value)) .. "::jsonb" end },
  { "bit varying", function()
    return table.concat(many(0, 20, function() return tostring(random(0, 1)) end))
  end },
  { "real", sql = "(a * 10 ^ b)::float4", float8(random), int(-36, 38), ordered = true },
  { "date", sql = "date '2000-01-01' + a", int(-2451545, 2145031948), ordered = true },
  { "time", sql = "time '00:00' + a * interval '24 hours'", float8(random) },
  { "timetz", sql = "(time '00:00' + a * interval '24 hours')::text::timetz AT TIME ZONE "
    .. "make_interval(secs => b)", float8(random), int(-57599, 57599) },
  { "timestamp", sql = "timestamp '2000-01-01' + a * interval '1 second'", float8(seconds),
    ordered = true },
  { "timestamptz", sql = "timestamptz '2000-01-01 00:00Z' + a * interval '1 second'",
    float8(seconds), ordered = true },
  { "interval", sql = "make_interval(months => a, days => b, secs => c)",
    int(-2147483648, 2147483647), int(-2147483648, 2147483647),
    float8(function() return seconds() / 100 end) },
  { "uuid", sql = "md5(a::text)::uuid", float8(random), ordered = true },
  { "inet", sql = "set_masklen('0.0.0.0'::inet + abs(a::int8), b)", int(-2147483648, 2147483647),
    int(0, 32), ordered = true },
  { "macaddr", sql = "substr(md5(a::text), 1, 12)::macaddr", float8(random) },
}

local POOL <const> = 40

-- What the server makes of random numbers.
local function made(db, row)
  local arrays, lists = {}, {}
  for i = 1, #row - 1 do
    arrays[i] = ("$%d::%s[]"):format(i, row[i + 1][1])
    lists[i] = many(POOL, POOL, row[i + 1][2])
  end
  local columns = ("a, b, c"):sub(1, 3 * #lists - 2)
  local sql = ("SELECT %s FROM unnest(%s) AS u (%s)"):format(row.sql, table.concat(arrays, ", "),
    columns)
  local pool = {}
  for i, each in ipairs(assert(db:with { rows = "array" }:query(sql, table.unpack(lists))).rows) do
    pool[i] = each[1]
  end
  return pool
end

-- Distinct, in the server's order; what a range cannot begin with left out.
local function sorted(db, name, pool)
  local list = {}
  for _, row in ipairs(assert(db:query(("SELECT v FROM (SELECT DISTINCT v FROM unnest($1::%s[]) "
    .. "AS u (v)) AS d ORDER BY v"):format(name), pool)).rows) do
    if row.v == row.v then list[#list + 1] = row.v end
  end
  return list
end

local function scalar(db, row)
  local name = row[1]
  local self = { sql = name, smaller = row.smaller, make = row[2], is_list = row.is_list }
  local pool
  if row.sql then
    pool = made(db, row)
    self.make = function() return one_of(pool) end
  end
  if row.ordered then self.pool = sorted(db, name, pool or many(POOL, POOL, row[2])) end
  self.expression = row.expression or function(value)
    return ("%s::%s"):format(pg.literal(literal(value)), name)
  end
  return self
end

-- --- what is made of others --------------------------------------------------------------------

local function sql_of(type, value)
  if value == nil or value == null then return "NULL::" .. type.sql end
  return type.expression(value)
end

local function list_of(type, values, length)
  local list = {}
  for i = 1, length or #values do list[i] = sql_of(type, values[i]) end
  return table.concat(list, ", ")
end

-- The same value under another name.
local function domain(name, base)
  return { sql = name, make = base.make, pool = base.pool, parts = { base },
    is_list = base.is_list or base.is_array,
    create = ("CREATE DOMAIN %s AS %s"):format(name, base.sql),
    expression = function(value) return ("(%s)::%s"):format(base.expression(value), name) end,
    smaller = function(_, value, add) add(base, value) end }
end

local function enum(name)
  local labels, literals = {}, {}
  for i = 1, random(1, 5) do
    labels[i] = (text():sub(1, 20):gsub("[\128-\255]+$", "") .. i)
    literals[i] = pg.literal(labels[i])
  end
  return { sql = name, make = function() return one_of(labels) end, pool = labels,
    create = ("CREATE TYPE %s AS ENUM (%s)"):format(name, table.concat(literals, ", ")),
    expression = function(value) return ("%s::%s"):format(pg.literal(value), name) end }
end

local function smaller_composite(fields)
  return function(self, value, add)
    for _, field in ipairs(fields) do
      if value[field.name] ~= nil then
        add(field.type, value[field.name])
        local rest = {}
        for key, one in pairs(value) do
          if key ~= field.name then rest[key] = one end
        end
        add(self, rest)
      end
    end
  end
end

-- Of a type of its own, or a table's rows, some of whose columns are gone.
local function composite(name, fields)
  local columns, gone, parts, is_table = {}, {}, {}, random(2) == 1
  for i, field in ipairs(fields) do
    parts[i] = field.type
    if is_table and random(3) == 1 then
      local column = ("gone%d"):format(#columns)
      columns[#columns + 1] = column .. " int"
      gone[#gone + 1] = ("ALTER TABLE %s DROP %s"):format(name, column)
    end
    columns[#columns + 1] = ("%s %s"):format(quoted(field.name), field.type.sql)
  end
  local create = ("CREATE %s %s (%s);%s"):format(is_table and "TABLE" or "TYPE",
    is_table and name or name .. " AS", table.concat(columns, ", "), table.concat(gone, ";"))
  local function make()
    local value = {}
    for _, field in ipairs(fields) do
      if random(4) > 1 then value[field.name] = field.type.make() end
    end
    return value
  end
  local function expression(value)
    local list = {}
    for i, field in ipairs(fields) do list[i] = sql_of(field.type, value[field.name]) end
    return ("ROW(%s)::%s"):format(table.concat(list, ", "), name)
  end
  return { sql = name, create = create, make = make, expression = expression,
    parts = parts, smaller = smaller_composite(fields) }
end

local ANY <const>, USUAL <const> = { "[)", "[]", "()", "(]" }, { "[)" }

-- Its server makes those of discrete types usual: they are made so here.
local function range(name, part, is_discrete)
  local pool = part.pool
  local function make()
    local kind = random(8)
    if kind == 1 then return { empty = true } end
    local first = random(#pool)
    local last = random(first, #pool)
    local value = { lower = pool[first], upper = pool[last] }
    value.bounds = one_of(is_discrete and USUAL or ANY)
    if kind == 2 then value.lower, value.bounds = nil, "(" .. value.bounds:sub(2) end
    if kind == 3 then value.upper, value.bounds = nil, value.bounds:sub(1, 1) .. ")" end
    if kind > 3 and first == last then
      if is_discrete then return { empty = true } end
      value.bounds = "[]"
    end
    return value
  end
  local function expression(value)
    if value.empty then return "'empty'::" .. name end
    return ("%s(%s, %s, '%s')"):format(name, sql_of(part, value.lower), sql_of(part, value.upper),
      value.bounds)
  end
  return { sql = name, make = make, expression = expression, parts = { part },
    create = not is_discrete and ("CREATE TYPE %s AS RANGE (subtype = %s)"):format(name, part.sql),
    smaller = function(_, value, add)
      for _, key in ipairs { "lower", "upper" } do
        if value[key] ~= nil then add(part, value[key]) end
      end
    end }
end

-- Ranges that neither overlap nor touch, ascending.
local function multirange(name, of)
  local pool = of.parts[1].pool
  local function make()
    local value, first = {}, 1
    for i = 1, random(0, 3) do
      local lower = first + random(0, 2)
      local upper = lower + random(1, 3)
      if upper > #pool then break end
      value[i] = { lower = pool[lower], upper = pool[upper], bounds = "[)" }
      first = upper + 1
    end
    return value
  end
  return { sql = name, make = make, parts = { of }, is_list = true,
    expression = function(value) return ("%s(%s)"):format(name, list_of(of, value)) end,
    smaller = function(self, value, add)
      for i, one in ipairs(value) do
        add(of, one)
        add(self, { table.unpack(value, 1, i - 1) })
      end
    end }
end

-- Of one dimension or two, which is not seen where the elements are lists themselves: `mark` is the
-- metatable that says it.
local function array(part, mark)
  local name = part.sql .. "[]"
  local function line(length)
    return many(length, length, function() return random(5) == 1 and null or part.make() end)
  end
  local two = setmetatable({}, { __mode = "k" })
  local function make()
    local length = random(0, 4)
    if length < 3 then return line(length) end
    local value = many(1, 3, function() return line(length) end)
    two[value] = true
    return part.is_list and setmetatable(value, mark) or value
  end
  local function expression(value)
    if #value == 0 then return ("'{}'::%s"):format(name) end
    local lines = {}
    for i, one in ipairs(two[value] and value or {}) do
      lines[i] = ("ARRAY[%s]"):format(list_of(part, one))
    end
    return ("ARRAY[%s]::%s"):format(two[value] and table.concat(lines, ", ")
      or list_of(part, value), name)
  end
  return { sql = name, make = make, expression = expression, is_array = true,
    parts = { part },
    smaller = function(self, value, add)
      for i, one in ipairs(value) do
        if two[value] then
          add(self, one)
        else
          if one ~= null then add(part, one) end
          add(self, table.move(value, i + 1, #value, i, { table.unpack(value, 1, i - 1) }))
        end
      end
    end }
end

-- --- schemas ------------------------------------------------------------------------------------

local BUILT_IN <const> = {
  integer = { "int4range", "int4multirange", true },
  bigint = { "int8range", "int8multirange", true },
  date = { "daterange", "datemultirange", true }, numeric = { "numrange", "nummultirange" },
  timestamp = { "tsrange", "tsmultirange" }, timestamptz = { "tstzrange", "tstzmultirange" },
}

local Schema = {}
Schema.__index = Schema

--- Makes random types; `create` is the SQL that makes them, in order.
---@param version integer the server's
function random_types.schema(db, version)
  local self = setmetatable({ create = {}, scalars = {}, version = version }, Schema)
  for i, row in ipairs(SCALARS) do self.scalars[i] = scalar(db, row) end
  self.two = getmetatable(support.value(db, "SELECT '[0:0][0:0]={{1}}'::int[]"))
  self.two.lower = { 1, 1 }
  return self
end

-- A name that nothing else has, some of which have to be quoted.
function Schema:name()
  self.count = (self.count or 0) + 1
  local odd = one_of { "t%d", "t%d", "T %d", 'a"b%d', "é%d", "x,(%d)", "t%d" .. ("n"):rep(50) }
  return quoted(odd:format(self.count))
end

function Schema:add(type)
  if type.create then table.insert(self.create, type.create) end
  return type
end

function Schema:range()
  local part = one_of(self.scalars)
  while not part.pool do part = one_of(self.scalars) end
  if random(4) == 1 then part = self:add(enum(self:name())) end
  local names = BUILT_IN[part.sql]
  local has_multirange = self.version >= 14 and random(3) == 1
  if names and random(2) == 1 then
    local of = range(names[1], part, names[3])
    of.create = nil
    return has_multirange and multirange(names[2], of) or of
  end
  local of, name = range(self:name(), part), self:name()
  if self.version >= 14 then
    of.create = ("%s, multirange_type_name = %s)"):format(of.create:sub(1, -2), name)
  end
  self:add(of)
  return has_multirange and multirange(name, of) or of
end

function Schema:composite(depth)
  local fields = {}
  for i = 1, random(0, 4) do
    local name = one_of { "f%d", "F %d", 'q"%d', "ü%d", "f%d" .. ("n"):rep(58) }
    fields[i] = { name = name:format(i), type = self:any(depth + 1) }
  end
  return self:add(composite(self:name(), fields))
end

--- A type at random, made of others to some depth.
function Schema:any(depth)
  local kind = depth > 3 and 1 or random(10)
  if kind < 4 then return one_of(self.scalars) end
  if kind == 4 then return self:add(enum(self:name())) end
  if kind == 5 then return self:range() end
  if kind < 8 then return self:composite(depth) end
  local part = self:any(depth + 1)
  local has_domains = self.version >= 11
  if kind == 8 and has_domains then return self:add(domain(self:name(), part)) end
  return part.is_array and part or array(part, self.two)
end

--- The SQL that makes a type, of its parts first.
function random_types.needed(type, list)
  for _, part in ipairs(type.parts or {}) do random_types.needed(part, list) end
  if type.create then list[#list + 1] = type.create end
  return list
end

return random_types
