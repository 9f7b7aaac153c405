-- Writes doc/types.md, the reference of types, from the table of types that the module decodes by.
-- Usage, in the project's folder: lua5.4 spec/tools/types_doc.lua > doc/types.md
-- SPDX-License-Identifier: MIT
package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
package.cpath = package.cpath .. ";build/?.so"
local core <const> = require "pg.core"

local STRING <const> = "string, as PostgreSQL writes it"

-- What a value becomes, by families of types: those that have a decoder of their own, and those
-- strings of which there is something to say. All others are STRING.
local FAMILIES <const> = {
  ["boolean"] = { "boolean" },
  ["integer"] = { "smallint", "integer", "oid" },
  ["integer, all 64 bits"] = { "bigint" },
  ["float, `inf` and `nan` included"] = { "double precision" },
  ["float: the double of its shortest decimal form"] = { "real" },
  ['string, exact; `numeric = "number"`: integer or float'] = { "numeric" },
  ["string"] = { "text", "character varying", "name", "cstring", "unknown", "xml" },
  ["string, padded with spaces to its length"] = { "character" },
  ["string of one byte, or empty"] = { '"char"' },
  ["string of the bytes"] = { "bytea" },
  ["string of `0` and `1`"] = { "bit", "bit varying" },
  ["string: `a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11`"] = { "uuid" },
  ["string: `192.168.0.1`, `10.0.0.0/8`, `2001:db8::1`"] = { "inet", "cidr" },
  ["string: `08:00:2b:01:02:03`"] = { "macaddr", "macaddr8" },
  ["string of digits"] = { "xid", "cid", "xid8" },
  ["string: `16/B374D848`"] = { "pg_lsn" },
  ["string: `2026-01-15`"] = { "date" },
  ["string: `10:30:00.5`"] = { "time without time zone" },
  ["string: `10:30:00+02:00`"] = { "time with time zone" },
  ["string: `2026-01-15T10:30:00`; a number by `timestamps`"] = { "timestamp without time zone" },
  ["string: `2026-01-15T10:30:00Z`; a number by `timestamps`"] = { "timestamp with time zone" },
  ["string: `P1Y2M3DT4H5M6.5S`"] = { "interval" },
  ["what it says: table, string, number, boolean, `pg.null`"] = { "json", "jsonb" },
  ['table: `{lower=, upper=, bounds="[)"}` or `{empty=true}`'] = { "int4range", "int8range",
    "numrange", "tsrange", "tstzrange", "daterange" },
  ["list of ranges"] = { "int4multirange", "int8multirange", "nummultirange", "tsmultirange",
    "tstzmultirange", "datemultirange" },
  ["list of its fields as strings, `pg.null` for NULL"] = { "record" },
}

local HEAD <const> = [[
<!-- Made by: lua5.4 spec/tools/types_doc.lua > doc/types.md -->

# Types

What PostgreSQL's types are in Lua. What a query returns may be passed back as a parameter and
stores the same value. The session's settings (DateStyle, TimeZone, bytea_output and others) and
the program's locale change none of this; nor does the form in which a value came, text or binary.

## By kind

| kind | Lua |
| --- | --- |
| NULL | absent from the row; `pg.null` in lists, and with `null = pg.null` in rows, too |
| scalars | see the table below |
| arrays | list of their elements, nested by dimension, `pg.null` for NULL |
| enums | string |
| domains | as the type below them, also within arrays, composites and ranges |
| composites | table by field name |
| `ROW(...)`, whose fields have no names | list of strings, `pg.null` for NULL |
| ranges | `{lower=, upper=, bounds="[)"}`, an infinite bound absent, or `{empty=true}` |
| multiranges | list of ranges |
| hstore | table of strings, `pg.null` for NULL |
| vector (pgvector) | list of floats |
| types of other extensions | string, as PostgreSQL writes it |

An array whose indexes do not begin at 1 in PostgreSQL begins at 1 in Lua, and goes back as it was.

## Options

They are given to `pg.connect`, to `db:with` or to one call.

| option | what changes |
| --- | --- |
| `numeric = "number"` | numeric: an integer where 64 bits hold it, else a float |
| `json = "text"` | json and jsonb: their text, not decoded |
| `timestamps = "epoch"` | timestamptz and timestamp: seconds since 1970, a float |
| `timestamps = "epoch_us"` | the same in microseconds, an integer |

With `timestamps`, a timestamp without time zone counts as UTC, `infinity` is `math.huge`, and a
number that is given for a timestamp counts the same way, wherever it stands; a string is still
one. Seconds are exact to the microsecond from 1684 to 2242. Microseconds are exact until the
year 294247; what 64 bits do not hold is a float. Without the option the server judges what a
number is for a timestamp, and refuses it as a rule.

## Every type

"array" is the OID of the type's array. "binary": no, the type comes as text; yes, it may come in
binary; pays, it makes a result come in binary where all of its columns may.

| type | OID | array | binary | Lua |
| --- | --- | --- | --- | --- |
]]

local lua_values = {}
for value, names in pairs(FAMILIES) do
  for _, name in ipairs(names) do
    assert(not lua_values[name], name)
    lua_values[name] = value
  end
end

local arrays, lines, types = {}, {}, core.types()
table.sort(types, function(a, b) return a.name:gsub('"', "") < b.name:gsub('"', "") end)
for _, row in ipairs(types) do
  if row.name:find "%[%]$" then arrays[row.element] = row.oid end
end
for _, row in ipairs(types) do
  local value = lua_values[row.name]
  if not row.name:find "%[%]$" then
    assert(value or row.string, "no Lua value is told of " .. row.name)
    lines[#lines + 1] = ("| %s | %d | %s | %s | %s |"):format(row.name, row.oid,
      arrays[row.oid] or "", row.prefers_binary and "pays" or row.binary and "yes" or "no",
      value or STRING)
    lua_values[row.name] = nil
  end
end
assert(next(lua_values) == nil, next(lua_values))
io.write(HEAD, table.concat(lines, "\n"), "\n")
