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

#define ROW(o, e, n, t, b, pays)                                               \
  {                                                                            \
    .oid = (o), .element = (e), .name = (n), .text = (t), .binary = (b),       \
    .prefers_binary = (pays), .delimiter = ','                                 \
  }
#define SCALAR(oid, name, text, binary) ROW(oid, 0, name, text, binary, false)
#define PAYING(oid, name, text, binary) ROW(oid, 0, name, text, binary, true)
#define LIST(oid, element, name)                                               \
  ROW(oid, element, name, lpg_array_text, lpg_array_binary, false)
#define PAYING_LIST(oid, element, name)                                        \
  ROW(oid, element, name, lpg_array_text, lpg_array_binary, true)
#define TEXT_LIST(oid, element, name)                                          \
  ROW(oid, element, name, lpg_array_text, NULL, false)

/* What has no decoder of its own is a string, and where PostgreSQL sends the
 * same bytes in binary it may come in either form. */
static const lpg_type scalars[] = {
    SCALAR(16, "boolean", lpg_bool_text, lpg_bool_binary),
    PAYING(17, "bytea", lpg_bytea_text, lpg_decode_string),
    SCALAR(18, "\"char\"", lpg_decode_string, lpg_char_binary),
    SCALAR(19, "name", lpg_decode_string, lpg_decode_string),
    SCALAR(20, "bigint", lpg_integer_decode, lpg_int8_binary),
    SCALAR(21, "smallint", lpg_integer_decode, lpg_int2_binary),
    SCALAR(22, "int2vector", lpg_decode_string, NULL),
    SCALAR(23, "integer", lpg_integer_decode, lpg_int4_binary),
    SCALAR(24, "regproc", lpg_decode_string, NULL),
    SCALAR(25, "text", lpg_decode_string, lpg_decode_string),
    SCALAR(26, "oid", lpg_integer_decode, lpg_oid_binary),
    SCALAR(27, "tid", lpg_decode_string, NULL),
    SCALAR(28, "xid", lpg_decode_string, lpg_counter_binary),
    SCALAR(29, "cid", lpg_decode_string, lpg_counter_binary),
    SCALAR(30, "oidvector", lpg_decode_string, NULL),
    SCALAR(114, "json", lpg_json_text, lpg_json_text),
    SCALAR(142, "xml", lpg_decode_string, lpg_decode_string),
    SCALAR(600, "point", lpg_decode_string, NULL),
    SCALAR(601, "lseg", lpg_decode_string, NULL),
    SCALAR(602, "path", lpg_decode_string, NULL),
    {.oid = 603, .name = "box", .text = lpg_decode_string, .delimiter = ';'},
    SCALAR(604, "polygon", lpg_decode_string, NULL),
    SCALAR(628, "line", lpg_decode_string, NULL),
    SCALAR(650, "cidr", lpg_decode_string, lpg_cidr_binary),
    PAYING(700, "real", lpg_float4_text, lpg_float4_binary),
    PAYING(701, "double precision", lpg_float8_text, lpg_float8_binary),
    SCALAR(705, "unknown", lpg_decode_string, lpg_decode_string),
    SCALAR(718, "circle", lpg_decode_string, NULL),
    SCALAR(774, "macaddr8", lpg_decode_string, lpg_macaddr_binary),
    SCALAR(790, "money", lpg_decode_string, NULL),
    SCALAR(829, "macaddr", lpg_decode_string, lpg_macaddr_binary),
    SCALAR(869, "inet", lpg_decode_string, lpg_inet_binary),
    SCALAR(1033, "aclitem", lpg_decode_string, NULL),
    SCALAR(1042, "character", lpg_decode_string, lpg_decode_string),
    SCALAR(1043, "character varying", lpg_decode_string, lpg_decode_string),
    SCALAR(1082, "date", lpg_date_text, lpg_date_binary),
    SCALAR(1083, "time without time zone", lpg_time_text, lpg_time_binary),
    SCALAR(1114, "timestamp without time zone", lpg_timestamp_text,
           lpg_timestamp_binary),
    SCALAR(1184, "timestamp with time zone", lpg_timestamptz_text,
           lpg_timestamptz_binary),
    SCALAR(1186, "interval", lpg_interval_text, lpg_interval_binary),
    SCALAR(1266, "time with time zone", lpg_timetz_text, lpg_timetz_binary),
    SCALAR(1560, "bit", lpg_decode_string, lpg_bit_binary),
    SCALAR(1562, "bit varying", lpg_decode_string, lpg_bit_binary),
    SCALAR(1700, "numeric", lpg_numeric_text, lpg_numeric_binary),
    SCALAR(1790, "refcursor", lpg_decode_string, lpg_decode_string),
    SCALAR(2202, "regprocedure", lpg_decode_string, NULL),
    SCALAR(2203, "regoper", lpg_decode_string, NULL),
    SCALAR(2204, "regoperator", lpg_decode_string, NULL),
    SCALAR(2205, "regclass", lpg_decode_string, NULL),
    SCALAR(2206, "regtype", lpg_decode_string, NULL),
    SCALAR(2249, "record", lpg_decode_string, NULL),
    SCALAR(2275, "cstring", lpg_decode_string, lpg_decode_string),
    SCALAR(2278, "void", lpg_decode_string, lpg_decode_string),
    SCALAR(2950, "uuid", lpg_decode_string, lpg_uuid_binary),
    SCALAR(2970, "txid_snapshot", lpg_decode_string, NULL),
    SCALAR(3220, "pg_lsn", lpg_decode_string, lpg_lsn_binary),
    SCALAR(3614, "tsvector", lpg_decode_string, NULL),
    SCALAR(3615, "tsquery", lpg_decode_string, NULL),
    SCALAR(3642, "gtsvector", lpg_decode_string, NULL),
    SCALAR(3734, "regconfig", lpg_decode_string, NULL),
    SCALAR(3769, "regdictionary", lpg_decode_string, NULL),
    SCALAR(3802, "jsonb", lpg_json_text, lpg_jsonb_binary),
    SCALAR(3904, "int4range", lpg_decode_string, NULL),
    SCALAR(3906, "numrange", lpg_decode_string, NULL),
    SCALAR(3908, "tsrange", lpg_decode_string, NULL),
    SCALAR(3910, "tstzrange", lpg_decode_string, NULL),
    SCALAR(3912, "daterange", lpg_decode_string, NULL),
    SCALAR(3926, "int8range", lpg_decode_string, NULL),
    SCALAR(4072, "jsonpath", lpg_decode_string, lpg_jsonpath_binary),
    SCALAR(4089, "regnamespace", lpg_decode_string, NULL),
    SCALAR(4096, "regrole", lpg_decode_string, NULL),
    SCALAR(4191, "regcollation", lpg_decode_string, NULL),
    SCALAR(4451, "int4multirange", lpg_decode_string, NULL),
    SCALAR(4532, "nummultirange", lpg_decode_string, NULL),
    SCALAR(4533, "tsmultirange", lpg_decode_string, NULL),
    SCALAR(4534, "tstzmultirange", lpg_decode_string, NULL),
    SCALAR(4535, "datemultirange", lpg_decode_string, NULL),
    SCALAR(4536, "int8multirange", lpg_decode_string, NULL),
    SCALAR(5038, "pg_snapshot", lpg_decode_string, NULL),
    SCALAR(5069, "xid8", lpg_decode_string, lpg_counter_binary),
};

/* Arrays are binary where their elements can be. */
static const lpg_type arrays[] = {
    LIST(143, 142, "xml[]"),
    LIST(199, 114, "json[]"),
    LIST(271, 5069, "xid8[]"),
    TEXT_LIST(629, 628, "line[]"),
    LIST(651, 650, "cidr[]"),
    TEXT_LIST(719, 718, "circle[]"),
    LIST(775, 774, "macaddr8[]"),
    TEXT_LIST(791, 790, "money[]"),
    LIST(1000, 16, "boolean[]"),
    PAYING_LIST(1001, 17, "bytea[]"),
    LIST(1002, 18, "\"char\"[]"),
    LIST(1003, 19, "name[]"),
    PAYING_LIST(1005, 21, "smallint[]"),
    TEXT_LIST(1006, 22, "int2vector[]"),
    PAYING_LIST(1007, 23, "integer[]"),
    TEXT_LIST(1008, 24, "regproc[]"),
    LIST(1009, 25, "text[]"),
    TEXT_LIST(1010, 27, "tid[]"),
    LIST(1011, 28, "xid[]"),
    LIST(1012, 29, "cid[]"),
    TEXT_LIST(1013, 30, "oidvector[]"),
    LIST(1014, 1042, "character[]"),
    LIST(1015, 1043, "character varying[]"),
    PAYING_LIST(1016, 20, "bigint[]"),
    TEXT_LIST(1017, 600, "point[]"),
    TEXT_LIST(1018, 601, "lseg[]"),
    TEXT_LIST(1019, 602, "path[]"),
    TEXT_LIST(1020, 603, "box[]"),
    PAYING_LIST(1021, 700, "real[]"),
    PAYING_LIST(1022, 701, "double precision[]"),
    TEXT_LIST(1027, 604, "polygon[]"),
    LIST(1028, 26, "oid[]"),
    TEXT_LIST(1034, 1033, "aclitem[]"),
    LIST(1040, 829, "macaddr[]"),
    LIST(1041, 869, "inet[]"),
    LIST(1115, 1114, "timestamp without time zone[]"),
    LIST(1182, 1082, "date[]"),
    LIST(1183, 1083, "time without time zone[]"),
    LIST(1185, 1184, "timestamp with time zone[]"),
    LIST(1187, 1186, "interval[]"),
    LIST(1231, 1700, "numeric[]"),
    LIST(1263, 2275, "cstring[]"),
    LIST(1270, 1266, "time with time zone[]"),
    LIST(1561, 1560, "bit[]"),
    LIST(1563, 1562, "bit varying[]"),
    LIST(2201, 1790, "refcursor[]"),
    TEXT_LIST(2207, 2202, "regprocedure[]"),
    TEXT_LIST(2208, 2203, "regoper[]"),
    TEXT_LIST(2209, 2204, "regoperator[]"),
    TEXT_LIST(2210, 2205, "regclass[]"),
    TEXT_LIST(2211, 2206, "regtype[]"),
    TEXT_LIST(2287, 2249, "record[]"),
    TEXT_LIST(2949, 2970, "txid_snapshot[]"),
    LIST(2951, 2950, "uuid[]"),
    LIST(3221, 3220, "pg_lsn[]"),
    TEXT_LIST(3643, 3614, "tsvector[]"),
    TEXT_LIST(3644, 3642, "gtsvector[]"),
    TEXT_LIST(3645, 3615, "tsquery[]"),
    TEXT_LIST(3735, 3734, "regconfig[]"),
    TEXT_LIST(3770, 3769, "regdictionary[]"),
    LIST(3807, 3802, "jsonb[]"),
    TEXT_LIST(3905, 3904, "int4range[]"),
    TEXT_LIST(3907, 3906, "numrange[]"),
    TEXT_LIST(3909, 3908, "tsrange[]"),
    TEXT_LIST(3911, 3910, "tstzrange[]"),
    TEXT_LIST(3913, 3912, "daterange[]"),
    TEXT_LIST(3927, 3926, "int8range[]"),
    LIST(4073, 4072, "jsonpath[]"),
    TEXT_LIST(4090, 4089, "regnamespace[]"),
    TEXT_LIST(4097, 4096, "regrole[]"),
    TEXT_LIST(4192, 4191, "regcollation[]"),
    TEXT_LIST(5039, 5038, "pg_snapshot[]"),
    TEXT_LIST(6150, 4451, "int4multirange[]"),
    TEXT_LIST(6151, 4532, "nummultirange[]"),
    TEXT_LIST(6152, 4533, "tsmultirange[]"),
    TEXT_LIST(6153, 4534, "tstzmultirange[]"),
    TEXT_LIST(6155, 4535, "datemultirange[]"),
    TEXT_LIST(6157, 4536, "int8multirange[]"),
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
