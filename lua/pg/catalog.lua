-- SPDX-License-Identifier: MIT
-- catalog: what the server's catalogue says of tables, kept with the
-- connection until DDL runs on it. Every name is schema-qualified, so that no
-- search_path gets in between; nothing that PostgreSQL 9.6 lacks is used.
local core = require "pg.core"
local options = require "pg.options"

local catalog = {}

-- Readable: INSERT may say RETURNING. Rules instead of the INSERT forbid it, and so does row
-- security without any policy that lets this role see rows.
local PRIMARY_KEY = [[
SELECT a.attname AS column,
       pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
       AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_rewrite AS r
         WHERE r.ev_class OPERATOR(pg_catalog.=) c.oid
           AND r.ev_type OPERATOR(pg_catalog.=) '3' AND r.is_instead)
       AND (NOT pg_catalog.row_security_active(c.oid)
         OR EXISTS (SELECT 1 FROM pg_catalog.pg_policy AS p, pg_catalog.unnest(p.polroles) AS role
         WHERE p.polrelid OPERATOR(pg_catalog.=) c.oid
           AND p.polcmd OPERATOR(pg_catalog.=) ANY ('{r,*}')
           AND CASE WHEN role OPERATOR(pg_catalog.=) 0 THEN true
                    ELSE pg_catalog.pg_has_role(role, 'USAGE') END)) AS readable
  FROM pg_catalog.pg_class AS c
  LEFT JOIN pg_catalog.pg_constraint AS k
    ON k.conrelid OPERATOR(pg_catalog.=) c.oid AND k.contype OPERATOR(pg_catalog.=) 'p'
  LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid OPERATOR(pg_catalog.=) c.oid
   AND a.attnum OPERATOR(pg_catalog.=) ANY (k.conkey)
 WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
 ORDER BY a.attnum]]

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
    rows = "object", null = false, max_result = core.limits().max_result }
end

--- The columns of a table's primary key: {} without one, false when an INSERT
--- cannot return them. nil and an error when the question itself failed.
---@param db pg.Connection
---@param quoted string the table's name, as sql.table_name gives it
---@return string[]|false|nil, pg.Error?
function catalog.primary_key(db, quoted)
  local cache = core.cache(db)
  local key = cache["key " .. quoted]
  if key ~= nil then return key end
  local answer, err = ask(db, PRIMARY_KEY, quoted)
  if not answer then return nil, err end
  if answer.rowCount == 0 then return {} end -- no such table: the statement will say so
  key = {}
  for _, row in ipairs(answer.rows) do
    if row.column and not row.readable then
      key = false
      break
    end
    key[#key + 1] = row.column
  end
  core.cache(db)["key " .. quoted] = key
  return key
end

--- The key anew, when it is not what was known (another session has changed the
--- table); nil when it is the same or nothing can be asked now.
---@param db pg.Connection
---@param quoted string
---@param known string[]|false
---@return string[]|false|nil
function catalog.changed_key(db, quoted, known)
  if core.in_transaction(db) then return nil end
  core.cache(db)["key " .. quoted] = nil
  local key = catalog.primary_key(db, quoted)
  if table.concat(key or {}, "\0") ~= table.concat(known or {}, "\0") then return key end
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

return catalog
