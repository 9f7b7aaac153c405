-- SPDX-License-Identifier: MIT
-- inspect: looking at the database: what a table's columns are, which tables there are, how a
-- statement would run. Changes nothing. Every name in its SQL is schema-qualified, and nothing that
-- the server's version lacks is used, from PostgreSQL 9.6 on.
local core = require "pg.core"
local catalog = require "pg.catalog"
local errors = require "pg.errors"
local options = require "pg.options"
local sql = require "pg.sql"

local inspect = {}

local KINDS <const> = {
  r = "table", p = "partitioned table", v = "view", m = "materialized view", f = "foreign table",
  i = "index", I = "partitioned index", S = "sequence", c = "composite type", t = "TOAST table",
}

-- Before PostgreSQL 14 col_description() and obj_description() go by the search_path.
local COMMENT <const> = [[
(SELECT s.description FROM pg_catalog.pg_description AS s
         WHERE s.objoid OPERATOR(pg_catalog.=) c.oid
           AND s.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass]]

-- A column's type may be an array or a domain of the enum whose labels it takes, and a domain of
-- its own may forbid NULL.
local COLUMNS <const> = [[
WITH RECURSIVE walk (number, type, strict, whole) AS (
  SELECT a.attnum, a.atttypid, a.attnotnull, true
    FROM pg_catalog.pg_attribute AS a
   WHERE a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
     AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  UNION ALL
  SELECT w.number,
         CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN t.typbasetype ELSE t.typelem END,
         w.whole AND t.typtype OPERATOR(pg_catalog.=) 'd' AND t.typnotnull,
         w.whole AND t.typtype OPERATOR(pg_catalog.=) 'd'
    FROM walk AS w JOIN pg_catalog.pg_type AS t ON t.oid OPERATOR(pg_catalog.=) w.type
   WHERE t.typtype OPERATOR(pg_catalog.=) 'd'
      OR t.typelem OPERATOR(pg_catalog.<>) 0 AND t.typlen OPERATOR(pg_catalog.=) -1
)
SELECT c.relkind AS kind, a.attname AS name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
       NOT (SELECT pg_catalog.bool_or(w.strict) FROM walk AS w
             WHERE w.number OPERATOR(pg_catalog.=) a.attnum) AS nullable,
       CASE WHEN NOT {computed} THEN COALESCE({expression},
         (SELECT t.typdefault FROM pg_catalog.pg_type AS t
           WHERE t.oid OPERATOR(pg_catalog.=) a.atttypid
             AND t.typtype OPERATOR(pg_catalog.=) 'd')) END AS "default",
       pg_catalog.array_position(k.conkey, a.attnum) AS key,
       (SELECT pg_catalog.array_agg(e.enumlabel::pg_catalog.text ORDER BY e.enumsortorder)
          FROM walk AS w JOIN pg_catalog.pg_enum AS e
            ON e.enumtypid OPERATOR(pg_catalog.=) w.type
         WHERE w.number OPERATOR(pg_catalog.=) a.attnum) AS "values",
       {identity} AS identity,
       CASE WHEN {computed} THEN {expression} END AS generated,
       (SELECT pg_catalog.json_build_object('schema', n.nspname, 'table', r.relname,
                                            'column', b.attname)
          FROM pg_catalog.pg_constraint AS f
          JOIN pg_catalog.pg_class AS r ON r.oid OPERATOR(pg_catalog.=) f.confrelid
          JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace
          JOIN pg_catalog.pg_attribute AS b
            ON b.attrelid OPERATOR(pg_catalog.=) f.confrelid
           AND b.attnum OPERATOR(pg_catalog.=)
               f.confkey[pg_catalog.array_position(f.conkey, a.attnum)]
         WHERE f.conrelid OPERATOR(pg_catalog.=) c.oid
           AND f.contype OPERATOR(pg_catalog.=) 'f'
           AND a.attnum OPERATOR(pg_catalog.=) ANY (f.conkey)
         ORDER BY pg_catalog.array_length(f.conkey, 1), f.oid LIMIT 1) AS "references",
       {comment}
           AND s.objsubid OPERATOR(pg_catalog.=) a.attnum) AS comment
  FROM pg_catalog.pg_class AS c
  LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid OPERATOR(pg_catalog.=) c.oid
   AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  LEFT JOIN pg_catalog.pg_attrdef AS d
    ON d.adrelid OPERATOR(pg_catalog.=) c.oid AND d.adnum OPERATOR(pg_catalog.=) a.attnum
  LEFT JOIN pg_catalog.pg_constraint AS k
    ON k.conrelid OPERATOR(pg_catalog.=) c.oid AND k.contype OPERATOR(pg_catalog.=) 'p'
 WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)
 ORDER BY a.attnum]]

-- reltuples is -1 where nothing has counted yet, before PostgreSQL 14 it is 0 there.
local TABLES <const> = [[
SELECT c.relname AS name, n.nspname AS schema, c.relkind AS kind,
       CASE WHEN c.relkind OPERATOR(pg_catalog.<>) 'v'
             AND c.reltuples OPERATOR(pg_catalog.>=) 0
             AND (c.reltuples OPERATOR(pg_catalog.>) 0 OR c.relpages OPERATOR(pg_catalog.>) 0
               OR $2::pg_catalog.bool) THEN c.reltuples::pg_catalog.int8 END AS rows,
       pg_catalog.pg_table_is_visible(c.oid) AS visible,
       {comment}
           AND s.objsubid OPERATOR(pg_catalog.=) 0) AS comment
  FROM pg_catalog.pg_class AS c
  JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
 WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,v,m,f}')
   AND CASE WHEN $1::pg_catalog.text IS NOT NULL
            THEN n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name
            ELSE n.nspname OPERATOR(pg_catalog.!~) '^pg_'
             AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'
              OR n.oid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() END
 ORDER BY n.nspname, c.relname]]

local SCHEMA <const> = [[
SELECT 1 FROM pg_catalog.pg_namespace AS n
 WHERE n.nspname OPERATOR(pg_catalog.=) $1::pg_catalog.name]]

-- Whatever the handle's settings: the answer's shape is promised.
local function ask(db, query, ...)
  return db:query { query = query, parameters = table.pack(...), rows = "object", null = false,
    own = true, json = "value" }
end

--- The questions, for a server of this version: for a table's columns, for the tables, and
--- whether there is a schema.
---@param version integer as core.version gives it
---@return { columns: string, tables: string, schema: string }
function inspect.queries(version)
  local parts = {
    computed = version >= 120000 and "(a.attgenerated OPERATOR(pg_catalog.<>) '')" or "false",
    identity = version >= 100000 and "CASE WHEN a.attidentity OPERATOR(pg_catalog.=) 'a' "
      .. "THEN 'always' WHEN a.attidentity OPERATOR(pg_catalog.=) 'd' THEN 'by default' END"
      or "NULL::pg_catalog.text",
    expression = "pg_catalog.pg_get_expr(d.adbin, d.adrelid)",
    comment = COMMENT,
  }
  return { columns = COLUMNS:gsub("{(%l+)}", parts), tables = TABLES:gsub("{(%l+)}", parts),
    schema = SCHEMA }
end

-- As the server writes a name in its messages: without quotes.
local function plain(quoted)
  return (quoted:gsub('"*', function(quotes) return ('"'):rep(#quotes // 2) end))
end

--- The error of a table that is not there; names the nearest.
---@param quoted string as sql.table_name gives it
---@return nil
---@return pg.Error
function inspect.undefined_table(db, quoted)
  local _, err = core.fail({ kind = "undefined_table", sqlstate = "42P01",
    message = ('relation "%s" does not exist'):format(plain(quoted)) }, db)
  local near = catalog.nearest(db, err, quoted, {})
  if near then errors.advise(err, near) end
  return nil, err
end

---@class pg.Column
---@field name string
---@field type string as PostgreSQL writes it: "character varying(40)", "numeric(10,2)", "text[]"
---@field nullable boolean whether the column and its domain take NULL
---@field default? string the expression's text, of the column or of its domain
---@field key? integer its place in the primary key, from 1
---@field values? string[] the labels of an enum, in their order; of an array's elements, too
---@field identity? "always"|"by default"
---@field generated? string the expression of a generated column
---@field references? { schema: string, table: string, column: string } by a foreign key
---@field comment? string

--- The columns of a table, view, materialized view or foreign table, in their order.
---@param name string|table the table's name, as for insert
---@return pg.Column[]|nil
---@return pg.Error?
function inspect.describe(db, name)
  local quoted = sql.table_name(name, 2)
  local answer, err = ask(db, inspect.queries(core.version(db)).columns, quoted)
  if not answer then return nil, err end
  local columns = answer.rows
  if #columns == 0 then return inspect.undefined_table(db, quoted) end
  local kind = columns[1].kind
  if not ("rpvmf"):find(kind, 1, true) then
    return core.fail({ sqlstate = "42809", message = ('"%s" is %s %s, not a table'):format(
      plain(quoted), KINDS[kind]:find "^i" and "an" or "a", KINDS[kind]) }, db)
  end
  for _, column in ipairs(columns) do column.kind = nil end
  if not columns[1].name then columns[1] = nil end -- a table may have no columns
  return columns
end

---@class pg.Table
---@field name string
---@field schema string
---@field kind "table"|"partitioned table"|"view"|"materialized view"|"foreign table"
---@field rows? integer about how many, as the last ANALYZE or VACUUM counted
---@field visible boolean whether its name alone finds it, by the search_path
---@field comment? string

--- The tables and views, by schema and name; without those of the system, unless their schema is
--- asked for.
---@param given? { schema: string }
---@return pg.Table[]|nil
---@return pg.Error?
function inspect.tables(db, given)
  if given ~= nil and type(given) ~= "table" then
    error("tables takes a table of options, not a " .. type(given), 2)
  end
  given = given or {}
  options.check(given, { "schema" }, 2)
  if given.schema ~= nil then sql.quote(given.schema, 2) end -- raises for what is no name
  local version = core.version(db)
  local answer, err = ask(db, inspect.queries(version).tables, given.schema, version >= 140000)
  if not answer then return nil, err end
  if #answer.rows == 0 and given.schema then
    local known, failure = ask(db, SCHEMA, given.schema)
    if not known then return nil, failure end
    if known.rowCount == 0 then
      return core.fail({ sqlstate = "3F000",
        message = ('schema "%s" does not exist'):format(given.schema) }, db)
    end
  end
  for _, row in ipairs(answer.rows) do row.kind = KINDS[row.kind] end
  return answer.rows
end

local FLAGS <const> = { "analyze", "verbose", "costs", "settings", "generic_plan", "buffers",
  "wal", "timing", "summary", "memory" }
local EXPLAIN <const> = { "query", "parameters", "format", "timeout", "max_result",
  table.unpack(FLAGS) }

--- EXPLAIN's text for a statement. Its options stand in parentheses, so that nothing at the
--- statement's beginning can be one.
---@param given table query and EXPLAIN's flags
---@param format "JSON"|"TEXT"
---@return string
function inspect.explain_text(given, format)
  local list = { "FORMAT " .. format }
  for _, flag in ipairs(FLAGS) do
    if given[flag] ~= nil then
      list[#list + 1] = flag:upper() .. (given[flag] and " true" or " false")
    end
  end
  return "EXPLAIN (" .. table.concat(list, ", ") .. ") " .. given.query
end

-- The form, checked; level 3 is the caller of explain.
local function explain_form(query, ...)
  if type(query) == "string" then return { query = query, parameters = table.pack(...) } end
  if type(query) ~= "table" then
    error("explain takes a string of SQL or a table, not a " .. type(query), 3)
  elseif select("#", ...) > 0 then
    error("one table takes all: values belong in its `parameters`", 3)
  end
  options.check(query, EXPLAIN, 3)
  if type(query.query) ~= "string" then
    error("query must be a string of SQL, not a " .. type(query.query), 3)
  end
  for _, flag in ipairs(FLAGS) do
    if query[flag] ~= nil and type(query[flag]) ~= "boolean" then
      error(("%s must be true or false, not a %s"):format(flag, type(query[flag])), 3)
    end
  end
  if query.format ~= nil and query.format ~= "json" and query.format ~= "text" then
    error('format must be "json" or "text"', 3)
  end
  return query
end

--- Runs an EXPLAIN that runs nothing. The planner may call functions that are declared to change
--- nothing, so they are not let change anything.
---@param db pg.Connection
---@param call pg.Call
---@return pg.Result|nil
---@return pg.Error?
function inspect.planned(db, call)
  return db:dry_run(function(tx)
    local guarded, err = tx:execute "SET TRANSACTION READ ONLY"
    if not guarded then return nil, err end
    return tx:query(call)
  end)
end

-- Analyzed, the statement runs: what it did is undone.
local function explain_rows(db, given, format)
  local call = { query = inspect.explain_text(given, format), parameters = given.parameters,
    timeout = given.timeout, max_result = given.max_result, rows = "array", json = "value" }
  local result, err
  if given.analyze then
    result, err = db:dry_run(function(tx) return tx:query(call) end)
  else
    result, err = inspect.planned(db, call)
  end
  return result and result.rows, err
end

---@class pg.Explain
---@field query string
---@field parameters? table
---@field analyze? boolean
---@field format? "json"|"text"
---@field verbose? boolean and costs, settings, generic_plan, buffers, wal, timing, summary, memory:
--- EXPLAIN's own, as far as the server has them
---@field timeout? number seconds, of each run
---@field max_result? number

--- How the server would run a statement: db:explain("SELECT ... WHERE id = $1", 7). Nothing runs.
--- db:explain{ query =, parameters =, analyze = true } runs it, once for the plan and once for the
--- text, each time in a transaction that is rolled back; `format = "text"` or "json" asks for one
--- of the two.
---@param query string|pg.Explain
---@param ... any values for $1, $2, ...
---@return { plan: table[]?, text: string? }|nil plan: the JSON form, decoded: a list of one table
---@return pg.Error?
function inspect.explain(db, query, ...)
  local given = explain_form(query, ...)
  local explained = {}
  if given.format ~= "text" then
    local rows, err = explain_rows(db, given, "JSON")
    if not rows then return nil, err end
    explained.plan = rows[1][1]
  end
  if given.format ~= "json" then
    local rows, err = explain_rows(db, given, "TEXT")
    if not rows then return nil, err end
    for i, row in ipairs(rows) do rows[i] = row[1] end
    explained.text = table.concat(rows, "\n")
  end
  return explained
end

return inspect
