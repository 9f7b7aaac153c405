/* SPDX-License-Identifier: MIT */
/* codec: the table of built-in types, sorted by OID, and the marks of tables.
 * OIDs, names and delimiters are those of pg_type, the same in every server;
 * types that no row can know (enums, composites, extensions) have none. */
#include "codec.h"

#include <lua.h>
#include <string.h>

#include "codec_rows.h"

const char lpg_list_mark = 'l';
const char lpg_wrapper_mark = 'w';

/* What has no decoder of its own is a string, and where PostgreSQL sends the
 * same bytes in binary it may come in either form. */
static const lpg_type scalars[] = {
    {16, 0, "boolean", lpg_bool_text, lpg_bool_binary, false, ','},
    {17, 0, "bytea", lpg_bytea_text, lpg_decode_string, true, ','},
    {18, 0, "\"char\"", lpg_decode_string, lpg_char_binary, false, ','},
    {19, 0, "name", lpg_decode_string, lpg_decode_string, false, ','},
    {20, 0, "bigint", lpg_integer_decode, lpg_int8_binary, false, ','},
    {21, 0, "smallint", lpg_integer_decode, lpg_int2_binary, false, ','},
    {22, 0, "int2vector", lpg_decode_string, NULL, false, ','},
    {23, 0, "integer", lpg_integer_decode, lpg_int4_binary, false, ','},
    {24, 0, "regproc", lpg_decode_string, NULL, false, ','},
    {25, 0, "text", lpg_decode_string, lpg_decode_string, false, ','},
    {26, 0, "oid", lpg_integer_decode, lpg_oid_binary, false, ','},
    {27, 0, "tid", lpg_decode_string, NULL, false, ','},
    {28, 0, "xid", lpg_decode_string, lpg_counter_binary, false, ','},
    {29, 0, "cid", lpg_decode_string, lpg_counter_binary, false, ','},
    {30, 0, "oidvector", lpg_decode_string, NULL, false, ','},
    {114, 0, "json", lpg_json_text, lpg_json_text, false, ','},
    {142, 0, "xml", lpg_decode_string, lpg_decode_string, false, ','},
    {600, 0, "point", lpg_decode_string, NULL, false, ','},
    {601, 0, "lseg", lpg_decode_string, NULL, false, ','},
    {602, 0, "path", lpg_decode_string, NULL, false, ','},
    {603, 0, "box", lpg_decode_string, NULL, false, ';'},
    {604, 0, "polygon", lpg_decode_string, NULL, false, ','},
    {628, 0, "line", lpg_decode_string, NULL, false, ','},
    {650, 0, "cidr", lpg_decode_string, lpg_cidr_binary, false, ','},
    {700, 0, "real", lpg_float4_text, lpg_float4_binary, true, ','},
    {701, 0, "double precision", lpg_float8_text, lpg_float8_binary, true, ','},
    {705, 0, "unknown", lpg_decode_string, lpg_decode_string, false, ','},
    {718, 0, "circle", lpg_decode_string, NULL, false, ','},
    {774, 0, "macaddr8", lpg_decode_string, lpg_macaddr_binary, false, ','},
    {790, 0, "money", lpg_decode_string, NULL, false, ','},
    {829, 0, "macaddr", lpg_decode_string, lpg_macaddr_binary, false, ','},
    {869, 0, "inet", lpg_decode_string, lpg_inet_binary, false, ','},
    {1033, 0, "aclitem", lpg_decode_string, NULL, false, ','},
    {1042, 0, "character", lpg_decode_string, lpg_decode_string, false, ','},
    {1043, 0, "character varying", lpg_decode_string, lpg_decode_string, false,
     ','},
    {1082, 0, "date", lpg_date_text, lpg_date_binary, false, ','},
    {1083, 0, "time without time zone", lpg_time_text, lpg_time_binary, false,
     ','},
    {1114, 0, "timestamp without time zone", lpg_timestamp_text,
     lpg_timestamp_binary, false, ','},
    {1184, 0, "timestamp with time zone", lpg_timestamptz_text,
     lpg_timestamptz_binary, false, ','},
    {1186, 0, "interval", lpg_interval_text, lpg_interval_binary, false, ','},
    {1266, 0, "time with time zone", lpg_timetz_text, lpg_timetz_binary, false,
     ','},
    {1560, 0, "bit", lpg_decode_string, lpg_bit_binary, false, ','},
    {1562, 0, "bit varying", lpg_decode_string, lpg_bit_binary, false, ','},
    {1700, 0, "numeric", lpg_numeric_text, lpg_numeric_binary, false, ','},
    {1790, 0, "refcursor", lpg_decode_string, lpg_decode_string, false, ','},
    {2202, 0, "regprocedure", lpg_decode_string, NULL, false, ','},
    {2203, 0, "regoper", lpg_decode_string, NULL, false, ','},
    {2204, 0, "regoperator", lpg_decode_string, NULL, false, ','},
    {2205, 0, "regclass", lpg_decode_string, NULL, false, ','},
    {2206, 0, "regtype", lpg_decode_string, NULL, false, ','},
    {2249, 0, "record", lpg_decode_string, NULL, false, ','},
    {2275, 0, "cstring", lpg_decode_string, lpg_decode_string, false, ','},
    {2278, 0, "void", lpg_decode_string, lpg_decode_string, false, ','},
    {2950, 0, "uuid", lpg_decode_string, lpg_uuid_binary, false, ','},
    {2970, 0, "txid_snapshot", lpg_decode_string, NULL, false, ','},
    {3220, 0, "pg_lsn", lpg_decode_string, lpg_lsn_binary, false, ','},
    {3614, 0, "tsvector", lpg_decode_string, NULL, false, ','},
    {3615, 0, "tsquery", lpg_decode_string, NULL, false, ','},
    {3642, 0, "gtsvector", lpg_decode_string, NULL, false, ','},
    {3734, 0, "regconfig", lpg_decode_string, NULL, false, ','},
    {3769, 0, "regdictionary", lpg_decode_string, NULL, false, ','},
    {3802, 0, "jsonb", lpg_json_text, lpg_jsonb_binary, false, ','},
    {3904, 0, "int4range", lpg_decode_string, NULL, false, ','},
    {3906, 0, "numrange", lpg_decode_string, NULL, false, ','},
    {3908, 0, "tsrange", lpg_decode_string, NULL, false, ','},
    {3910, 0, "tstzrange", lpg_decode_string, NULL, false, ','},
    {3912, 0, "daterange", lpg_decode_string, NULL, false, ','},
    {3926, 0, "int8range", lpg_decode_string, NULL, false, ','},
    {4072, 0, "jsonpath", lpg_decode_string, lpg_jsonpath_binary, false, ','},
    {4089, 0, "regnamespace", lpg_decode_string, NULL, false, ','},
    {4096, 0, "regrole", lpg_decode_string, NULL, false, ','},
    {4191, 0, "regcollation", lpg_decode_string, NULL, false, ','},
    {4451, 0, "int4multirange", lpg_decode_string, NULL, false, ','},
    {4532, 0, "nummultirange", lpg_decode_string, NULL, false, ','},
    {4533, 0, "tsmultirange", lpg_decode_string, NULL, false, ','},
    {4534, 0, "tstzmultirange", lpg_decode_string, NULL, false, ','},
    {4535, 0, "datemultirange", lpg_decode_string, NULL, false, ','},
    {4536, 0, "int8multirange", lpg_decode_string, NULL, false, ','},
    {5038, 0, "pg_snapshot", lpg_decode_string, NULL, false, ','},
    {5069, 0, "xid8", lpg_decode_string, lpg_counter_binary, false, ','},
};

/* Arrays are binary where their elements can be. */
static const lpg_type arrays[] = {
    {143, 142, "xml[]", lpg_array_text, lpg_array_binary, false, ','},
    {199, 114, "json[]", lpg_array_text, lpg_array_binary, false, ','},
    {271, 5069, "xid8[]", lpg_array_text, lpg_array_binary, false, ','},
    {629, 628, "line[]", lpg_array_text, NULL, false, ','},
    {651, 650, "cidr[]", lpg_array_text, lpg_array_binary, false, ','},
    {719, 718, "circle[]", lpg_array_text, NULL, false, ','},
    {775, 774, "macaddr8[]", lpg_array_text, lpg_array_binary, false, ','},
    {791, 790, "money[]", lpg_array_text, NULL, false, ','},
    {1000, 16, "boolean[]", lpg_array_text, lpg_array_binary, false, ','},
    {1001, 17, "bytea[]", lpg_array_text, lpg_array_binary, true, ','},
    {1002, 18, "\"char\"[]", lpg_array_text, lpg_array_binary, false, ','},
    {1003, 19, "name[]", lpg_array_text, lpg_array_binary, false, ','},
    {1005, 21, "smallint[]", lpg_array_text, lpg_array_binary, true, ','},
    {1006, 22, "int2vector[]", lpg_array_text, NULL, false, ','},
    {1007, 23, "integer[]", lpg_array_text, lpg_array_binary, true, ','},
    {1008, 24, "regproc[]", lpg_array_text, NULL, false, ','},
    {1009, 25, "text[]", lpg_array_text, lpg_array_binary, false, ','},
    {1010, 27, "tid[]", lpg_array_text, NULL, false, ','},
    {1011, 28, "xid[]", lpg_array_text, lpg_array_binary, false, ','},
    {1012, 29, "cid[]", lpg_array_text, lpg_array_binary, false, ','},
    {1013, 30, "oidvector[]", lpg_array_text, NULL, false, ','},
    {1014, 1042, "character[]", lpg_array_text, lpg_array_binary, false, ','},
    {1015, 1043, "character varying[]", lpg_array_text, lpg_array_binary, false,
     ','},
    {1016, 20, "bigint[]", lpg_array_text, lpg_array_binary, true, ','},
    {1017, 600, "point[]", lpg_array_text, NULL, false, ','},
    {1018, 601, "lseg[]", lpg_array_text, NULL, false, ','},
    {1019, 602, "path[]", lpg_array_text, NULL, false, ','},
    {1020, 603, "box[]", lpg_array_text, NULL, false, ','},
    {1021, 700, "real[]", lpg_array_text, lpg_array_binary, true, ','},
    {1022, 701, "double precision[]", lpg_array_text, lpg_array_binary, true,
     ','},
    {1027, 604, "polygon[]", lpg_array_text, NULL, false, ','},
    {1028, 26, "oid[]", lpg_array_text, lpg_array_binary, false, ','},
    {1034, 1033, "aclitem[]", lpg_array_text, NULL, false, ','},
    {1040, 829, "macaddr[]", lpg_array_text, lpg_array_binary, false, ','},
    {1041, 869, "inet[]", lpg_array_text, lpg_array_binary, false, ','},
    {1115, 1114, "timestamp without time zone[]", lpg_array_text,
     lpg_array_binary, false, ','},
    {1182, 1082, "date[]", lpg_array_text, lpg_array_binary, false, ','},
    {1183, 1083, "time without time zone[]", lpg_array_text, lpg_array_binary,
     false, ','},
    {1185, 1184, "timestamp with time zone[]", lpg_array_text, lpg_array_binary,
     false, ','},
    {1187, 1186, "interval[]", lpg_array_text, lpg_array_binary, false, ','},
    {1231, 1700, "numeric[]", lpg_array_text, lpg_array_binary, false, ','},
    {1263, 2275, "cstring[]", lpg_array_text, lpg_array_binary, false, ','},
    {1270, 1266, "time with time zone[]", lpg_array_text, lpg_array_binary,
     false, ','},
    {1561, 1560, "bit[]", lpg_array_text, lpg_array_binary, false, ','},
    {1563, 1562, "bit varying[]", lpg_array_text, lpg_array_binary, false, ','},
    {2201, 1790, "refcursor[]", lpg_array_text, lpg_array_binary, false, ','},
    {2207, 2202, "regprocedure[]", lpg_array_text, NULL, false, ','},
    {2208, 2203, "regoper[]", lpg_array_text, NULL, false, ','},
    {2209, 2204, "regoperator[]", lpg_array_text, NULL, false, ','},
    {2210, 2205, "regclass[]", lpg_array_text, NULL, false, ','},
    {2211, 2206, "regtype[]", lpg_array_text, NULL, false, ','},
    {2287, 2249, "record[]", lpg_array_text, NULL, false, ','},
    {2949, 2970, "txid_snapshot[]", lpg_array_text, NULL, false, ','},
    {2951, 2950, "uuid[]", lpg_array_text, lpg_array_binary, false, ','},
    {3221, 3220, "pg_lsn[]", lpg_array_text, lpg_array_binary, false, ','},
    {3643, 3614, "tsvector[]", lpg_array_text, NULL, false, ','},
    {3644, 3642, "gtsvector[]", lpg_array_text, NULL, false, ','},
    {3645, 3615, "tsquery[]", lpg_array_text, NULL, false, ','},
    {3735, 3734, "regconfig[]", lpg_array_text, NULL, false, ','},
    {3770, 3769, "regdictionary[]", lpg_array_text, NULL, false, ','},
    {3807, 3802, "jsonb[]", lpg_array_text, lpg_array_binary, false, ','},
    {3905, 3904, "int4range[]", lpg_array_text, NULL, false, ','},
    {3907, 3906, "numrange[]", lpg_array_text, NULL, false, ','},
    {3909, 3908, "tsrange[]", lpg_array_text, NULL, false, ','},
    {3911, 3910, "tstzrange[]", lpg_array_text, NULL, false, ','},
    {3913, 3912, "daterange[]", lpg_array_text, NULL, false, ','},
    {3927, 3926, "int8range[]", lpg_array_text, NULL, false, ','},
    {4073, 4072, "jsonpath[]", lpg_array_text, lpg_array_binary, false, ','},
    {4090, 4089, "regnamespace[]", lpg_array_text, NULL, false, ','},
    {4097, 4096, "regrole[]", lpg_array_text, NULL, false, ','},
    {4192, 4191, "regcollation[]", lpg_array_text, NULL, false, ','},
    {5039, 5038, "pg_snapshot[]", lpg_array_text, NULL, false, ','},
    {6150, 4451, "int4multirange[]", lpg_array_text, NULL, false, ','},
    {6151, 4532, "nummultirange[]", lpg_array_text, NULL, false, ','},
    {6152, 4533, "tsmultirange[]", lpg_array_text, NULL, false, ','},
    {6153, 4534, "tstzmultirange[]", lpg_array_text, NULL, false, ','},
    {6155, 4535, "datemultirange[]", lpg_array_text, NULL, false, ','},
    {6157, 4536, "int8multirange[]", lpg_array_text, NULL, false, ','},
};

static const lpg_type *find(const lpg_type *rows, size_t count, uint32_t oid)
{
  while (count > 0) {
    size_t middle = count / 2;
    if (rows[middle].oid == oid)
      return &rows[middle];
    if (rows[middle].oid < oid) {
      rows += middle + 1;
      count -= middle + 1;
    } else {
      count = middle;
    }
  }
  return NULL;
}

const lpg_type *lpg_type_find(uint32_t oid)
{
  const lpg_type *type = find(scalars, sizeof scalars / sizeof *scalars, oid);
  return type ? type : find(arrays, sizeof arrays / sizeof *arrays, oid);
}

void lpg_mark_list(lua_State *L)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_list_mark);
  lua_setmetatable(L, -2); /* nil where no module has set the mark up */
}

/* Whether the value is a table with the metatable under this key. */
static bool has_mark(lua_State *L, int index, const char *key)
{
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
    return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

bool lpg_is_marked(lua_State *L, int index)
{
  return has_mark(L, index, &lpg_list_mark);
}

bool lpg_is_wrapper(lua_State *L, int index)
{
  return has_mark(L, index, &lpg_wrapper_mark);
}

/* --- by name ----------------------------------------------------------- */

static const char *const aliases[][2] = {
    {"bool", "boolean"},
    {"int", "integer"},
    {"int2", "smallint"},
    {"int4", "integer"},
    {"int8", "bigint"},
    {"float4", "real"},
    {"float8", "double precision"},
    {"decimal", "numeric"},
    {"char", "character"},
    {"bpchar", "character"},
    {"varchar", "character varying"},
    {"varbit", "bit varying"},
    {"time", "time without time zone"},
    {"timetz", "time with time zone"},
    {"timestamp", "timestamp without time zone"},
    {"timestamptz", "timestamp with time zone"},
};

static bool same_name(const char *name, size_t length, const char *other)
{
  return strlen(other) == length && strncmp(name, other, length) == 0;
}

const lpg_type *lpg_type_named(const char *name)
{
  size_t length = strlen(name);
  bool array = length > 2 && strcmp(name + length - 2, "[]") == 0;
  if (array)
    length -= 2;
  for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
    if (same_name(name, length, aliases[i][0])) {
      name = aliases[i][1];
      length = strlen(name);
      break;
    }
  for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
    const lpg_type *type = &scalars[i];
    if (!same_name(name, length, type->name))
      continue;
    for (size_t j = 0; array && j < sizeof arrays / sizeof *arrays; j++)
      if (arrays[j].element == type->oid)
        return &arrays[j];
    return array ? NULL : type;
  }
  return NULL;
}
