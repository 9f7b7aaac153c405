-- SPDX-License-Identifier: MIT
-- Whether a question to the catalogue suits PostgreSQL 9.6, which cannot be had for the specs any
-- more, and every search_path: it names no function, table, type or column that came later, and
-- nothing without its schema.
local function set(words)
  local all = {}
  for word in words:gmatch "%S+" do all[word] = true end
  return all
end

-- Without col_description and obj_description, whose bodies go by the search_path there.
local names <const> = set [[
  pg_attrdef pg_attribute pg_class pg_constraint pg_depend pg_description pg_enum pg_extension
  pg_index pg_namespace pg_policy pg_range pg_rewrite pg_type
  bool int2 int4 int8 name oid regclass text
  generate_series has_column_privilege pg_get_indexdef pg_has_role row_security_active
  string_to_array to_jsonb
  array_agg array_length array_position bool_and bool_or current_database
  current_setting format_type has_any_column_privilege has_schema_privilege has_sequence_privilege
  has_table_privilege json_build_object pg_backend_pid pg_get_expr pg_my_temp_schema
  pg_relation_is_updatable
  pg_table_is_visible set_config to_regclass unnest]]

local columns <const> = set [[oid
  adbin adnum adrelid atthasdef
  ev_class ev_type is_instead polcmd polrelid polroles
  conindid indexprs indexrelid indimmediate indisprimary indisunique indisvalid indkey indnatts
  indpred indrelid
  attisdropped attname attnotnull attnum attrelid atttypid atttypmod
  relkind relname relnamespace relpages reltuples
  confkey confrelid conkey conname conrelid contype
  classoid description objoid objsubid
  classid deptype objid refclassid refobjid refobjsubid
  enumlabel enumsortorder enumtypid
  extname nspname rngsubtype rngtypid
  typarray typbasetype typdelim typelem typlen typrelid typname typnotnull typtype
  typdefault typnamespace typtypmod]]

local words <const> = set [[
  all and any array as by case cross else end false from inner is join lateral left limit not
  null on or order recursive select then true union when where with
  coalesce desc exists offset greatest group limit nullif ordinality]]

--- Asserts it of the SQL; `own` are the names that the SQL gives to tables of its own.
return function(sql, own)
  own = set(own or "")
  local rest = sql:gsub("%-%-[^\n]*", ""):gsub("'[^']*'", "''"):gsub('"[^"]*"', "_")
  rest = rest:gsub("OPERATOR%(pg_catalog%.[^)]+%)", "")
  rest = rest:gsub("pg_catalog%.([%w_]+)", function(name)
    assert(names[name], name .. " is not known to be in PostgreSQL 9.6")
    return "_"
  end)
  rest = rest:gsub("%f[%w_]%l+%.([%w_]+)", function(name)
    assert(columns[name] or own[name], name .. " is no column of PostgreSQL 9.6")
    return "_"
  end)
  rest = rest:gsub("AS%s+[%w_]+", "_"):gsub("%$%d", "_"):gsub("::_", ""):gsub(" %-1", " _")
  assert(not rest:find "CASE%s+[^W%s]", "CASE x WHEN y looks for an operator")
  local operator = rest:match "[-=<>~!+*/|&^%%#@]+"
  assert(not operator, tostring(operator) .. " stands without its schema in: " .. rest)
  for word in rest:gmatch "%a[%w_]*" do
    assert(words[word:lower()] or own[word:lower()], word .. " stands without its schema")
  end
end
