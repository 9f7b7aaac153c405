-- Reads what the server says about a statement only in words: names of tables, columns and other
-- objects, numbers of parameters. English words first; in other languages the SQL helps, since
-- names are the same in all. Pure text work; fills in fields, never changes those that are there.
-- SPDX-License-Identifier: MIT
local wording <const> = require "pg.wording"

local M = {}

-- The identifier that begins at a byte of the SQL, as the catalogue has it, and what comes after.
local function identifier(sql, at)
  if sql:sub(at, at) ~= '"' then
    local name, stop = sql:match("^([%a_\x80-\xFF][%w_$\x80-\xFF]*)()", at)
    return name and name:lower(), stop
  end
  local from = at + 1
  while true do
    local stop = sql:find('"', from, true)
    if not stop then
      return nil
    elseif sql:sub(stop + 1, stop + 1) ~= '"' then
      return sql:sub(at + 1, stop - 1):gsub('""', '"'), stop + 1
    end
    from = stop + 2
  end
end

-- The last two of a chain of identifiers: owner.name, and what comes after.
local function chain(sql, at)
  local owner, name, stop
  repeat
    local part, after = identifier(sql, stop and stop + 1 or at)
    if not part then
      break
    end
    owner, name, stop = name, part, after
  until sql:sub(stop, stop) ~= "."
  return name, owner, stop
end

local function set(words)
  local t = {}
  for word in words:gmatch("%S+") do
    t[word] = true
  end
  return t
end

local before_relation <const> = set [[from join into update table only truncate lock copy exists
  references analyze vacuum]]
local no_relation <const> = set [[select set of nowait skip if not only table lateral values from
  join where]]

---The tables and views that the SQL names: a list of { name =, schema = }.
---@param sql string
---@return { name: string, schema: string? }[]
function M.relations(sql)
  local list = {}
  sql = sql:sub(1, 10000)
  for word, at in sql:gmatch("%f[%a](%a+)%s+()") do -- a long word is looked at once
    while at and before_relation[word:lower()] do
      local name, schema, stop = chain(sql, at)
      local call = name and sql:find("^%s*%(", stop) and word:lower() ~= "into"
      if not name or call or (sql:byte(at) ~= 34 and no_relation[name]) then
        break
      end
      list[#list + 1] = { name = name, schema = schema }
      at = sql:match("^%s*,%s*()", stop) or sql:match("^%s+[%w_]+%s*,%s*()", stop)
        or sql:match("^%s+[aA][sS]%s+[%w_]+%s*,%s*()", stop)
    end
  end
  return list
end

local function find_relation(sql, name)
  for _, relation in ipairs(sql and M.relations(sql) or {}) do
    if relation.name == name then
      return relation
    end
  end
end

-- The identifier under the error's place.
local function at_place(e)
  if e.sql and e.position then
    return chain(e.sql, wording.byte_of(e.sql, e.position))
  end
end

local function mentions(text, name)
  local from = 1
  while #name > 0 do
    local start, stop = text:find(name, from, true)
    if not start then
      return false
    elseif not text:find("^[%w_]", stop + 1) and not text:sub(1, start - 1):find("[%w_]$") then
      return true
    end
    from = stop + 1
  end
  return false
end

local object_types <const> = {
  ["materialized view"] = "table", ["foreign table"] = "table", relation = "table", table = "table",
  view = "table", sequence = "sequence", schema = "schema", ["function"] = "function",
  procedure = "procedure", aggregate = "aggregate", database = "database", language = "language",
  type = "type", ["foreign server"] = "foreign server", index = "index",
}

-- The schema that the SQL names for a sequence or function.
local function schema_in_sql(sql, name)
  if not sql then
    return nil
  end
  sql = sql:sub(1, 10000)
  for at in sql:gmatch('%f[%w_"]()[%w_"]') do
    local found, schema = chain(sql, at)
    if found == name and schema then
      return schema
    end
  end
end

-- Which object of the SQL the message speaks of, in whatever language.
local function denied_object(e, text)
  local relations = e.sql and M.relations(e.sql) or {}
  for _, relation in ipairs(relations) do
    if mentions(text, relation.name) then
      return { type = "table", name = relation.name }
    end
  end
  for _, relation in ipairs(relations) do
    if relation.schema and mentions(text, relation.schema) then
      return { type = "schema", name = relation.schema }
    end
  end
  local sql = (e.sql or ""):sub(1, 10000)
  for call, at in sql:gmatch("(%a+)%s*%(%s*'()") do
    local name = call:lower():find("val$") and chain(sql, at)
    if name and mentions(text, name) then
      return { type = "sequence", name = name }
    end
  end
  for at in sql:gmatch('%f[%w_"]()[%w_"]') do
    local name, _, stop = chain(sql, at)
    if name and sql:find("^%s*%(", stop) and mentions(text, name) then
      return { type = "function", name = name }
    end
  end
end

local function permission_denied(e, raw, text)
  local what, name = text:match("^permission denied for ([%l%- ]+) (.+)$")
  local column, owner = text:match('^permission denied for column "?(.-)"? of relation "?(.-)"?$')
  local owned, own = text:match("^must be owner of ([%l%- ]+) (.+)$")
  if column then
    raw.object = { type = "column", name = column }
    e.column, e.table = e.column or column, e.table or owner
  elseif owned then
    raw.object = { type = object_types[owned] or owned, name = own, owner = true }
  elseif what and object_types[what] then
    raw.object = { type = object_types[what], name = name:match('^"(.*)"$') or name }
  elseif text:find("row-level security", 1, true) then
    e.table = e.table or text:match(' table "(.+)"$')
  elseif not text:find("^permission denied") and not text:find("^must be") then
    raw.object = denied_object(e, text)
  end
  local object = raw.object or {}
  if object.type == "table" then
    e.table = e.table or object.name
  elseif object.type == "schema" then
    e.schema = e.schema or object.name
  elseif object.type then
    object.schema = schema_in_sql(e.sql, object.name)
  end
  local relation = e.table and find_relation(e.sql, e.table)
  e.schema = e.schema or relation and relation.schema
end

local readers = {}

readers["42501"] = permission_denied

readers["42P01"] = function(e, _, text)
  local name = text:match('^relation "(.+)" does not exist$')
    or text:match('^%l+ "(.+)" does not exist$')
  if text:find("FROM-clause entry", 1, true) then
    return
  elseif name and not find_relation(e.sql, name) then
    local schema, rest = name:match("^([^.]+)%.([^.]+)$")
    e.schema, name = e.schema or schema, rest or name
  elseif not name then
    local schema
    name, schema = at_place(e)
    if not name or not find_relation(e.sql, name) then
      return
    end
    e.schema = e.schema or schema
  end
  e.table = e.table or name
end

readers["42703"] = function(e, _, text)
  local column, rel = text:match('^column "(.-)" of relation "(.+)" does not exist$')
  column = column or text:match('^column "(.+)" does not exist$')
  if not column then
    rel, column = text:match("^column ([^.]+)%.([^.]+) does not exist$")
  end
  if not column then
    column, rel = at_place(e)
  end
  e.column = e.column or column
  -- It may be an alias, or a schema.
  e.table = e.table or (not e.sql or find_relation(e.sql, rel)) and rel or nil
end

readers["55P03"] = function(e, _, text)
  local name = text:match('relation "(.+)"$')
  local placed, schema = at_place(e)
  if not name and placed and find_relation(e.sql, placed) then
    name, e.schema = placed, e.schema or schema
  end
  e.table = e.table or name
end

readers["42P18"] = function(e, _, text)
  e.parameter = e.parameter or math.tointeger(tonumber(text:match("%$(%d+)")))
end

readers["42P02"] = readers["42P18"]

---Fills in the names and numbers that the message tells.
---@param e table
---@param raw table gets `object`, what a permission was denied for
function M.read(e, raw)
  local text = raw.words or e.message
  local reader = readers[e.sqlstate]
  if reader and #text <= 1000 then
    reader(e, raw, text)
  end
end

---08P01 with two numbers: the count of parameters is wrong. Says so in our words.
---@param e table
---@param raw table gets `given` and `needed`
---@return boolean
function M.parameter_count(e, raw)
  local text = (e.message or ""):sub(1, 500)
  if text:find("startup", 1, true) then
    return false
  end
  local outward = (text:find("»", 1, true) or 0) < (text:find("«", 1, true) or 0)
  text = text:gsub('".-"', ""):gsub(outward and "».-«" or "«.-»", "")
  local given, needed = text:match("^[^%d]+(%d+)[^%d]+(%d+)[^%d]*$")
  if not given then
    return false
  end
  raw.given, raw.needed = math.tointeger(tonumber(given)), math.tointeger(tonumber(needed))
  e.message = ("the statement has %s parameter%s, but %s %s given"):format(
    needed == "0" and "no" or needed, needed == "1" and "" or "s",
    given == "0" and "none" or given, (given == "1" or given == "0") and "was" or "were")
  return true
end

-- "canceling statement due to statement timeout": the SQLSTATE is that of every cancel.
local timeout_words <const> = {
  "statement timeout", "Zeitüberschreitung der Anfrage", "espera de sentencias",
  "délai écoulé pour l'exécution", "istruzione a causa di timeout",
  "ステートメントのタイムアウト", "명령실행시간 초과", "отменено из-за тайм-аута", "sats-timeout",
  "скасовано через тайм-аут", "语句执行超时", "陳述式逾時",
}

---@param text string the message of a 57014
---@return boolean # whether it was the server's statement_timeout
function M.tells_timeout(text)
  for _, words in ipairs(timeout_words) do
    if text:find(words, 1, true) then
      return true
    end
  end
  return false
end

local reading <const> = set "select values table show explain fetch"

---The first word of the SQL, in lower case.
---@param sql string
---@return string
function M.first_word(sql)
  local from = 1
  while true do
    from = sql:match("^[%s(]*()", from)
    local after = sql:match("^%-%-[^\n]*()", from) or sql:match("^/%*.-%*/()", from)
    if not after then
      return (sql:match("^%a*", from):lower())
    end
    from = after
  end
end

---Whether the statement was not meant to change anything. SELECT ... INTO makes a table.
---@param sql string
---@return boolean
function M.only_reads(sql)
  local word, low = M.first_word(sql), sql:sub(1, 10000):lower()
  return reading[word] and not low:find("%f[%a]into%f[%A]")
    or word == "copy" and low:find("%f[%a]to%f[%A]") ~= nil
end

---Whether a statement that failed may have committed a part of its work: a script or procedure
---that says COMMIT.
---@param sql string
---@return boolean
function M.may_commit(sql)
  return M.first_word(sql) == "call" or sql:lower():find("%f[%a]commit%f[%A]") ~= nil
end

-- The end of a quoted value whose text begins at `from`; quotes inside are doubled.
local function value_end(text, from)
  while true do
    local quote = text:find("'", from, true)
    if not quote then
      return #text
    elseif text:sub(quote + 1, quote + 1) ~= "'" then
      return quote
    end
    from = quote + 2
  end
end

---Parameter values do not stay in the context: "unnamed portal parameter $3 = '...'", and with
---log_parameter_max_length_on_error "... with parameters: $1 = '...', $2 = '...'", in any language.
---@param e table
function M.clean_context(e)
  -- A server's megabytes are not a place; this much holds any stack of calls.
  local text, from, count, number = e.context and e.context:sub(1, 65536), 1, 0, nil
  while text do
    local blank, open = text:find(" = '", from, true)
    if not blank then
      break
    end
    local before = text:sub(math.max(from, blank - 200), blank - 1):match("[^=\n,]*$")
    local close = value_end(text, open + 1)
    local name = before:match("%$(%d+)") or before:match("(%d+)%D*$")
    -- A quoted SQL statement may look like it, but does not end its line there.
    if name and (text:find("^[\n,]", close + 1) or close == #text) then
      text = text:sub(1, blank - 1) .. text:sub(close + 1)
      count, number, from = count + 1, name, blank
    else
      from = open
    end
  end
  if not text then
    return
  end
  if count == 0 then -- in binary, or not even valid text: no value is shown
    count, number = 1, ("\n" .. text):match("\n[^\n$]*%$(%d+)$")
  end
  if count == 1 and not text:find("%$%d+, ?%$%d+") then
    e.parameter = e.parameter or math.tointeger(tonumber(number))
  end
  e.context = text
  e.column = e.column or ("\n" .. text):match("\nCOPY [^,\n]+, %S+ %d+, %S+ ([^:\n]+): ")
end

return M
