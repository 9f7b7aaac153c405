-- SPDX-License-Identifier: MIT
-- catalog: what the server's catalogue says of tables, kept with the
-- connection until DDL runs on it. Every name is schema-qualified, so that no
-- search_path gets in between; nothing that PostgreSQL 9.6 lacks is used.
local core = require "pg.core"
local options = require "pg.options"
local sql = require "pg.sql"

local catalog = {}

-- A row a column, or one row without any. Returnable: INSERT may say RETURNING; rules instead of it
-- forbid that, and so does row security without any policy that lets this role see rows. What 9.6
-- lacks is asked of the row as JSON, where it is absent.
local RELATION = [[
SELECT c.relkind AS kind, a.attname AS name, a.attnotnull OR b.strict AS notnull,
       a.atthasdef OR t.typtype OPERATOR(pg_catalog.=) 'd' AND t.typdefault IS NOT NULL AS default,
       COALESCE(pg_catalog.to_jsonb(a) OPERATOR(pg_catalog.->>) 'attidentity', '') AS identity,
       COALESCE(pg_catalog.to_jsonb(a) OPERATOR(pg_catalog.->>) 'attgenerated', '')
         OPERATOR(pg_catalog.<>) '' AS generated,
       tn.nspname AS own_schema, t.typname AS own_type, b.nspname AS base_schema,
       b.typname AS base_type, b.oid AS base_oid, b.length, b.array, b.element,
       a.attnum OPERATOR(pg_catalog.=) ANY (k.conkey) AS key,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') AS readable,
       NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite AS r
         WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid
           AND r.ev_type OPERATOR(pg_catalog.=) '3' AND r.is_instead)
       AND (NOT pg_catalog.row_security_active(c.oid)
         OR EXISTS (SELECT 1 FROM pg_catalog.pg_policy AS p, pg_catalog.unnest(p.polroles) AS role
         WHERE p.polrelid OPERATOR(pg_catalog.=) c.oid
           AND p.polcmd OPERATOR(pg_catalog.=) ANY ('{r,*}')
           AND CASE WHEN role OPERATOR(pg_catalog.=) 0 THEN true
                    ELSE pg_catalog.pg_has_role(role, 'USAGE') END)) AS returnable,
       NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite AS r
         WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid
           AND r.ev_type OPERATOR(pg_catalog.=) '2' AND r.is_instead) AS updates_return,
       COALESCE((SELECT pg_catalog.has_column_privilege(c.oid, x.attnum, 'SELECT')
          FROM pg_catalog.pg_attribute AS x WHERE x.attrelid OPERATOR(pg_catalog.=) c.oid
           AND x.attname OPERATOR(pg_catalog.=) 'xmax'), false) AS xmax_readable
  FROM pg_catalog.pg_class AS c
  LEFT JOIN pg_catalog.pg_constraint AS k
    ON k.conrelid OPERATOR(pg_catalog.=) c.oid AND k.contype OPERATOR(pg_catalog.=) 'p'
  LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
   AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
  LEFT JOIN pg_catalog.pg_namespace AS tn ON tn.oid OPERATOR(pg_catalog.=) t.typnamespace
  LEFT JOIN LATERAL (
    WITH RECURSIVE step (type, typmod, strict) AS (
      SELECT a.atttypid, a.atttypmod, false
      UNION ALL
      SELECT d.typbasetype, GREATEST(step.typmod, d.typtypmod), step.strict OR d.typnotnull
        FROM step JOIN pg_catalog.pg_type AS d ON d.oid OPERATOR(pg_catalog.=) step.type
       WHERE d.typtype OPERATOR(pg_catalog.=) 'd')
    SELECT n.nspname, b.typname, b.oid, step.strict,
           CASE WHEN b.oid OPERATOR(pg_catalog.=) ANY ('{1042,1043}')
             THEN NULLIF(GREATEST(step.typmod, 4), 4) OPERATOR(pg_catalog.-) 4 END AS length,
           b.typlen OPERATOR(pg_catalog.<) 0 AND b.typelem OPERATOR(pg_catalog.<>) 0 AS array,
           (WITH RECURSIVE part (type) AS (
              SELECT b.typelem
              UNION ALL
              SELECT d.typbasetype FROM part JOIN pg_catalog.pg_type AS d
                ON d.oid OPERATOR(pg_catalog.=) part.type AND d.typtype OPERATOR(pg_catalog.=) 'd')
            SELECT e.typname FROM part
              JOIN pg_catalog.pg_type AS e ON e.oid OPERATOR(pg_catalog.=) part.type
              JOIN pg_catalog.pg_namespace AS p ON p.oid OPERATOR(pg_catalog.=) e.typnamespace
             WHERE e.typtype OPERATOR(pg_catalog.<>) 'd'
               AND p.nspname OPERATOR(pg_catalog.=) 'pg_catalog') AS element
      FROM step JOIN pg_catalog.pg_type AS b ON b.oid OPERATOR(pg_catalog.=) step.type
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) b.typnamespace
     WHERE b.typtype OPERATOR(pg_catalog.<>) 'd') AS b ON true
 WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
 ORDER BY a.attnum]]

-- Of a constraint, or of a unique index that is none.
local CONSTRAINT = [[
SELECT a.attname AS name
  FROM (SELECT k.conrelid AS relation, k.conkey AS columns
          FROM pg_catalog.pg_constraint AS k
         WHERE k.conname OPERATOR(pg_catalog.=) $2
           AND k.contype OPERATOR(pg_catalog.=) ANY ('{p,u,x}')
        UNION ALL
        SELECT i.indrelid, (pg_catalog.string_to_array(i.indkey::pg_catalog.text, ' ')
            ::pg_catalog.int2[])[1:COALESCE((pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.->>)
              'indnkeyatts')::pg_catalog.int4, i.indnatts)] -- 11 has columns that are but included
          FROM pg_catalog.pg_index AS i
          JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid
         WHERE c.relname OPERATOR(pg_catalog.=) $2 AND i.indisunique AND i.indexprs IS NULL
           AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint AS k
             WHERE k.conindid OPERATOR(pg_catalog.=) i.indexrelid)) AS u
 CROSS JOIN LATERAL pg_catalog.unnest(u.columns) WITH ORDINALITY AS place (number, at)
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) u.relation
   AND a.attnum OPERATOR(pg_catalog.=) place.number
 WHERE u.relation OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
 ORDER BY place.at]]

local TABLES = [[
SELECT c.relname AS name, n.nspname AS schema,
       pg_catalog.pg_table_is_visible(c.oid) AS visible
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v,m,f,p}')
   AND n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema,pg_toast}')
 ORDER BY c.relname LIMIT 5000]]

local COLUMNS = [[
SELECT a.attname AS name FROM pg_catalog.pg_attribute AS a
 WHERE a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
   AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped]]

local function ask(db, query, ...)
  return db:query { query = query, parameters = { n = select("#", ...), ... },
    rows = "object", null = false, own = true, max_result = core.limits().max_result }
end

-- The types whose arrays the core knows, and what it calls them. Values of all others go as text
-- and are cast: arrays, which unnest would flatten, composites, enums, and whatever an extension or
-- a newer server defines.
local NATIVE = { ["char"] = '"char"' }
for name in ([[bool bytea name int2 int4 int8 float4 float8 numeric oid text varchar bpchar json
  jsonb uuid date time timetz timestamp timestamptz interval inet cidr macaddr bit varbit xml
  int4range int8range numrange tsrange tstzrange daterange int4multirange int8multirange
  nummultirange tsmultirange tstzmultirange datemultirange]])
  :gmatch "%w+" do NATIVE[name] = name end

---@class pg.catalog.Column
---@field name string
---@field type string the type, of a domain its base: schema-qualified, quoted, without a length
---@field oid integer of that type
---@field native string? what the core calls it
---@field text true? values go as text and are cast to `type`: the core does not know its arrays
---@field array boolean whether it is an array type
---@field element string? what the core calls the type of its elements
---@field own_type string the type it was declared with, schema-qualified and quoted
---@field identity ""|"a"|"d" GENERATED ALWAYS or BY DEFAULT AS IDENTITY
---@field generated boolean GENERATED ALWAYS AS an expression
---@field notnull boolean
---@field default boolean
---@field length integer? how many characters a varchar or char holds
---@field readable boolean this role may select it

---@param row table
---@return pg.catalog.Column
local function column_of(row)
  local native = row.base_schema == "pg_catalog" and NATIVE[row.base_type] or nil
  return { name = row.name, type = sql.quote(row.base_schema) .. "." .. sql.quote(row.base_type),
    own_type = sql.quote(row.own_schema) .. "." .. sql.quote(row.own_type),
    oid = row.base_oid, native = native, text = not native or nil, array = row.array,
    element = row.array and row.element and not row.element:find "^_" -- a domain over arrays
      and (NATIVE[row.element] or row.element) or nil,
    identity = row.identity, generated = row.generated, notnull = row.notnull,
    default = row.default, length = row.length, readable = row.readable }
end

---@class pg.catalog.Relation
---@field kind string? as pg_class.relkind; absent when there is no such relation
---@field key string[]|false the primary key: {} without one, false when INSERT cannot return it
---@field columns table the columns in the table's order, and by name
---@field updates_return boolean? UPDATE may say RETURNING: no rule stands instead of it
---@field xmax_readable boolean? this role may read xmax, which a view lacks

---@param rows table[] RELATION's answer, one row at least
---@return pg.catalog.Relation
local function relation_of(rows)
  local relation = { kind = rows[1].kind, updates_return = rows[1].updates_return,
    xmax_readable = rows[1].xmax_readable, key = {}, columns = {} }
  for i, row in ipairs(rows) do
    if not row.name then break end
    local column = column_of(row)
    relation.columns[i], relation.columns[row.name] = column, column
    if row.key and relation.key then
      relation.key = row.readable and row.returnable and relation.key
      if relation.key then relation.key[#relation.key + 1] = row.name end
    end
  end
  return relation
end

--- What is kept of a table.
local function kept(db, quoted)
  local cache = core.cache(db)
  cache[quoted] = cache[quoted] or {}
  return cache[quoted]
end

--- What is known of a table or view. Without `kind`, columns and key where
--- there is none of that name: the statement itself will say so.
---@param db pg.Connection
---@param quoted string its name, as sql.table_name gives it
---@return pg.catalog.Relation|nil, pg.Error?
function catalog.relation(db, quoted)
  local relation = kept(db, quoted).relation
  if relation then return relation end
  local answer, err = ask(db, RELATION, quoted)
  if not answer then return nil, err end
  if answer.rowCount == 0 then return { key = {}, columns = {} } end
  relation = relation_of(answer.rows)
  kept(db, quoted).relation = relation
  return relation
end

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  for key, value in pairs(a) do
    if not same(value, b[key]) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

-- What a server says of a statement that was built on what is not so any more.
local STALE = { ["42P01"] = true, ["42703"] = true, ["0A000"] = true, ["42804"] = true,
  ["42501"] = true, ["42P10"] = true, ["42704"] = true, ["3F000"] = true }

--- After a statement that failed: the relation anew, when another session has
--- changed it, so that the statement should be built and run once again. nil
--- when it is as it was, or in a transaction, where nothing can be run again: what
--- was kept is forgotten there, too.
---@param db pg.Connection
---@param quoted string
---@param known pg.catalog.Relation
---@param err pg.Error
---@return pg.catalog.Relation?
function catalog.renewed(db, quoted, known, err)
  local state = err.sqlstate or ""
  local stale = STALE[state] or state:find "^22" -- a value that its type did not take
  if not stale then return nil end
  core.cache(db)[quoted] = nil
  if core.in_transaction(db) then return nil end
  local relation = catalog.relation(db, quoted)
  if relation and not same(relation, known) then return relation end
end

--- The columns of a primary key, unique or exclusion constraint, or of a unique
--- index on plain columns; nil when there is none of that name.
---@param db pg.Connection
---@param quoted string
---@param name string
---@return string[]|nil, pg.Error?
function catalog.constraint(db, quoted, name)
  local place = "constraint " .. name
  local columns = kept(db, quoted)[place]
  if columns then return columns end
  local answer, err = ask(db, CONSTRAINT, quoted, name)
  if not answer then return nil, err end
  if answer.rowCount == 0 then return nil end
  columns = {}
  for i, row in ipairs(answer.rows) do columns[i] = row.name end
  kept(db, quoted)[place] = columns
  return columns
end

--- The table or column whose name is most like the one that does not exist,
--- quoted as it has to be written; nil when nothing is near, or when the
--- connection can answer nothing now.
---@param db pg.Connection
---@param err pg.Error
---@param quoted string
---@param names string[] of the columns used
---@return string?
function catalog.nearest(db, err, quoted, names)
  if core.in_transaction(db) then return nil end
  local undefined_table = err.sqlstate == "42P01"
  local answer
  if undefined_table then answer = ask(db, TABLES) else answer = ask(db, COLUMNS, quoted) end
  if not answer then return nil end
  local known, shown, plain = {}, {}, quoted:gsub('"', "")
  local qualified = quoted:find('"."', 1, true)
  for i, row in ipairs(answer.rows) do
    local full = row.schema and row.schema .. "." .. row.name
    known[i] = full and qualified and full or row.name
    if row.visible ~= false then
      shown[known[i]] = known[i]
    else
      shown[known[i]] = shown[known[i]] or full
    end
  end
  if undefined_table then return shown[options.nearest(plain, known)] end
  for _, name in ipairs(names) do
    if not shown[name] then return options.nearest(name, known) end
  end
end

--- Makes the connection know what the columns' types are made of, where the server defines them: it
--- looks that up for a statement that takes them.
---@param db pg.Connection
---@param columns pg.catalog.Column[]
---@return boolean?, pg.Error?
function catalog.learn(db, columns)
  local casts = {}
  for _, column in ipairs(columns) do
    if column.oid and not column.native and not core.knows(db, column.oid) then
      casts[#casts + 1] = ("$%d::%s"):format(#casts + 1, column.type)
    end
  end
  if #casts == 0 then return true end
  local statement, err = db:prepare("SELECT " .. table.concat(casts, ", "))
  if not statement then return nil, err end
  statement:close()
  return true
end

return catalog
