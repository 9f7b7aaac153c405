-- SPDX-License-Identifier: MIT
-- The samples of all types, a file for each family in spec/samples/, and their check: in text and
-- in binary, alone and within others, and back as a parameter.
--
-- A family is a list of types. A type is its name and its samples, each { literal, value }, with
-- `sql` where no literal can be written (the first is its name then), `since` for the server's
-- version, `big` for one to leave out of what is repeated. Of the type:
--   title      cases that it shows
--   create     SQL that makes the type
--   extension  that it comes with
--   since      the server's version
--   needs      an expression that fails where the server was built without it
--   text_only  it never comes in binary
--   listed     false where there is no array of it, since it is one
--   ordered    false where there can be no range of it
--   equal      what is compared on the server besides the value: "text" where the type has no
--              equality, "json" where its text is not kept; else both
local pg = require "pg"
local support = require "spec.support"
local values = require "spec.values"

local samples = {}

local null, exactly = pg.null, support.exactly

local FAMILIES <const> = { "boolean", "integer", "float", "numeric", "text", "bytea", "bit",
  "network", "time", "json", "geometric", "system", "search", "enum", "domain", "composite",
  "range", "array", "extension" }

--- All types, in their order; `number` and `family` are set here.
samples.kinds = {}
for _, family in ipairs(FAMILIES) do
  for _, kind in ipairs(require("spec.samples." .. family)) do
    table.insert(samples.kinds, kind)
    kind.number, kind.family = #samples.kinds, family
  end
end

local function to_itself(v)
  return v == nil and { bounds = "()" } or { lower = v, upper = v, bounds = "[]" }
end

-- What a value is alone and within others: a column of this type, made of the value like this, and
-- what it is in Lua; NAME is the type's, # its number.
local SHAPES <const> = {
  { "alone", "NAME", "alone", function(v) return v end },
  { "listed", "NAME[]", "ARRAY[alone, NULL]::NAME[]",
    function(v) return { v == nil and null or v, null } end },
  { "held", "holder#", "ROW(alone, NULL)::holder#", function(v) return { v = v } end },
  { "ranged", "range#", "range#(alone, alone, '[]')", to_itself },
  { "ranged_twice", "multirange#", "multirange#(range#(alone, alone, '[]'))",
    function(v) return { to_itself(v) } end, since = 14 },
}

-- Those of SHAPES that a type has.
local function shapes_of(db, kind)
  local list = {}
  for _, shape in ipairs(SHAPES) do
    local is_range = shape[1]:find "^ranged"
    if values.known(db, shape) and not (is_range and kind.ordered == false)
      and not (shape[1] == "listed" and kind.listed == false) then list[#list + 1] = shape end
  end
  return list
end

-- The template with the type's name and number.
local function of(kind, template)
  local name = kind[1]:gsub("%%", "%%%%")
  return (template:gsub("NAME", name):gsub("#", kind.number))
end

local function known_samples(db, kind)
  local list = {}
  for i = 2, #kind do
    if values.known(db, kind[i]) then list[#list + 1] = kind[i] end
  end
  return list
end

local function is_big(sample)
  return sample.big or #sample[1] > 1000 or #tostring(sample[2]) > 1000
end

local function create_table(db, kind)
  local columns, made, rows = {}, {}, { of(kind, "(0, false, NULL::NAME)") }
  for i, shape in ipairs(shapes_of(db, kind)) do
    columns[i] = shape[1] .. " " .. of(kind, shape[2])
    made[i] = of(kind, shape[3])
  end
  for i, sample in ipairs(known_samples(db, kind)) do
    rows[i + 1] = ("(%d, %s, %s::%s)"):format(i, is_big(sample),
      sample.sql or pg.literal(sample[1]), kind[1])
  end
  assert(db:execute(("CREATE TABLE stored%d (id int, big boolean, %s)"):format(kind.number,
    table.concat(columns, ", "))))
  assert(db:execute(("INSERT INTO stored%d SELECT id, big, %s FROM (VALUES %s) AS v "
    .. "(id, big, alone)"):format(kind.number, table.concat(made, ", "), table.concat(rows, ", "))))
end

--- Why this server has no such type, or nil.
function samples.missing(db, kind)
  if not values.known(db, kind) then return "needs PostgreSQL " .. kind.since end
  if kind.needs and not db:query("SELECT " .. kind.needs) then
    return "this server was built without " .. kind[1]
  end
  local extension = kind.extension
  if extension and not support.value(db, "SELECT true FROM pg_extension WHERE extname = $1",
    extension) then return "this server lacks the extension " .. extension end
end

--- Makes the types, and for each a table of its samples, alone and within others, and of NULL.
function samples.create(db)
  for _, kind in ipairs(samples.kinds) do
    if kind.extension then db:execute("CREATE EXTENSION IF NOT EXISTS " .. kind.extension) end
    if not samples.missing(db, kind) then
      if kind.create then assert(db:execute(kind.create)) end
      assert(db:execute(of(kind, "CREATE TYPE holder# AS (v NAME, absent NAME)")))
      if kind.ordered ~= false then
        assert(db:execute(of(kind, "CREATE TYPE range# AS RANGE (subtype = NAME)")))
      end
      create_table(db, kind)
    end
  end
end

--- The types of these families.
function samples.of(...)
  local wanted, list = {}, {}
  for _, family in ipairs { ... } do wanted[family] = true end
  for _, kind in ipairs(samples.kinds) do
    if wanted[kind.family] then list[#list + 1] = kind end
  end
  return list
end

--- Lets the connection learn these types at once.
function samples.learn(db, kinds)
  local columns = {}
  for _, kind in ipairs(kinds) do
    for _, shape in ipairs(not samples.missing(db, kind) and shapes_of(db, kind) or {}) do
      columns[#columns + 1] = ("(SELECT %s FROM stored%d WHERE id = 1)"):format(shape[1],
        kind.number)
    end
  end
  assert(db:query("SELECT " .. table.concat(columns, ", ")))
end

local function shown(value)
  local text = type(value) == "table" and pg.encode(value) or tostring(value)
  if math.type(value) then text = math.type(value) .. " " .. text end
  return #text > 200 and text:sub(1, 200) .. "..." or text
end

local function title(kind, sample)
  return ("%s %s"):format(kind[1], sample and shown(sample[1]) or "NULL")
end

-- The sample of a row.
local function sample_of(list, row)
  local sample = list[row.id]
  return sample, sample and sample[2]
end

local function expect_rows(kind, list, shapes, rows, form)
  for _, row in ipairs(rows) do
    local sample, value = sample_of(list, row)
    for _, shape in ipairs(shapes) do
      local expected = shape[4](value)
      if not exactly(expected, row[shape[1]]) then
        error(("%s, %s in %s: %s instead of %s"):format(title(kind, sample), shape[1], form,
          shown(row[shape[1]]), shown(expected)), 0)
      end
    end
  end
end

local function same_in_sql(kind, shape, place)
  local parameter = ("$%d::%s"):format(place, of(kind, shape[2]))
  if kind.equal == "json" then
    return ("to_jsonb(%s) IS NOT DISTINCT FROM to_jsonb(%s)"):format(parameter, shape[1])
  end
  local text = ("%s::text IS NOT DISTINCT FROM %s::text"):format(parameter, shape[1])
  if kind.equal == "text" then return text end
  return ("%s AND %s IS NOT DISTINCT FROM %s"):format(text, parameter, shape[1])
end

local function pass_back(db, kind, list, shapes, rows)
  local conditions = {}
  for i, shape in ipairs(shapes) do
    conditions[i] = same_in_sql(kind, shape, i + 1) .. " AS " .. shape[1]
  end
  local sql = values.unseen(("SELECT %s FROM stored%d WHERE id = $1"):format(
    table.concat(conditions, ", "), kind.number))
  local function of_row(row) return title(kind, sample_of(list, row)) end
  local results, err = db:pipeline(function(p)
    for _, row in ipairs(rows) do
      local parameters = { row.id, n = #shapes + 1 }
      for i, shape in ipairs(shapes) do parameters[i + 1] = row[shape[1]] end
      p:query { query = sql, parameters = parameters }
    end
  end)
  if not results then
    error(("%s passed back: %s"):format(of_row(rows[err.index] or {}), tostring(err)), 0)
  end
  for i, row in ipairs(rows) do
    for _, shape in ipairs(shapes) do
      if results[i].rows[1][shape[1]] ~= true then
        error(("%s, %s passed back is another value"):format(of_row(row), shape[1]), 0)
      end
    end
  end
end

--- Calls f(id, column, value) for each sample: where it is stored and what it has to be.
function samples.each(db, kind, f)
  for id, sample in ipairs(known_samples(db, kind)) do
    for _, shape in ipairs(shapes_of(db, kind)) do f(id, shape[1], shape[4](sample[2])) end
  end
end

--- Raises unless every sample comes as its value in both forms and goes back as it was.
---@param short? boolean without the big ones
function samples.check(db, kind, short)
  local list, shapes, names = known_samples(db, kind), shapes_of(db, kind), {}
  for i, shape in ipairs(shapes) do names[i] = shape[1] end
  local text, binary = values.twice(db, "id, " .. table.concat(names, ", "),
    ("FROM stored%d %s ORDER BY id"):format(kind.number, short and "WHERE NOT big" or ""))
  expect_rows(kind, list, shapes, text, "text")
  expect_rows(kind, list, shapes, binary, "binary")
  pass_back(db, kind, list, shapes, binary)
  return #binary
end

--- The same of all samples of these types but the big ones.
function samples.check_all(db, kinds)
  for _, kind in ipairs(kinds) do
    if not samples.missing(db, kind) then samples.check(db, kind, true) end
  end
end

return samples
