/* SPDX-License-Identifier: MIT */
/* codec: the table of built-in types, sorted by OID.
 * OIDs, names and delimiters are those of pg_type, the same in every server;
 * types that no row can know (enums, composites, extensions) have none. */
#include "codec.h"

#include <string.h>

#include "codec_rows.h"
#include "codec_user.h"

#define ROW(o, e, n, t, b, w, pays)                                            \
  {                                                                            \
    .oid = (o), .element = (e), .name = (n), .text = (t), .binary = (b),       \
    .encode = (w), .prefers_binary = (pays), .delimiter = ','                  \
  }
#define PLAIN(oid, name, binary)                                               \
  ROW(oid, 0, name, lpg_decode_string, binary, lpg_plain_encode, false)
#define WORD(oid, name, text, binary)                                          \
  ROW(oid, 0, name, text, binary, lpg_word_encode, false)
#define SCALAR(oid, name, text, binary, encode)                                \
  ROW(oid, 0, name, text, binary, encode, false)
#define PAYING(oid, name, text, binary, encode)                                \
  ROW(oid, 0, name, text, binary, encode, true)
#define TEXT(oid, name)                                                        \
  ROW(oid, 0, name, lpg_decode_string, lpg_decode_string, lpg_text_encode,     \
      false)
#define RANGE(oid, subtype, name)                                              \
  ROW(oid, subtype, name, lpg_range_text, lpg_range_binary, lpg_range_encode,  \
      false)
#define MULTIRANGE(oid, range, name)                                           \
  ROW(oid, range, name, lpg_multirange_text, lpg_multirange_binary,            \
      lpg_multirange_encode, false)
#define ARRAY(oid, element, name, binary, pays)                                \
  ROW(oid, element, name, lpg_array_text, binary, lpg_array_encode, pays)
#define LIST(oid, element, name)                                               \
  ARRAY(oid, element, name, lpg_array_binary, false)
#define PAYING_LIST(oid, element, name)                                        \
  ARRAY(oid, element, name, lpg_array_binary, true)
#define TEXT_LIST(oid, element, name) ARRAY(oid, element, name, NULL, false)

/* What has no decoder of its own is a string, and where PostgreSQL sends the
 * same bytes in binary it may come in either form. */
static const lpg_type scalars[] = {
    SCALAR(16, "boolean", lpg_bool_text, lpg_bool_binary, lpg_bool_encode),
    PAYING(17, "bytea", lpg_bytea_text, lpg_decode_string, lpg_bytea_encode),
    PLAIN(18, "\"char\"", lpg_char_binary),
    PLAIN(19, "name", lpg_decode_string),
    SCALAR(20, "bigint", lpg_integer_decode, lpg_int8_binary, lpg_int8_encode),
    SCALAR(21, "smallint", lpg_integer_decode, lpg_int2_binary,
           lpg_int2_encode),
    WORD(22, "int2vector", lpg_decode_string, NULL),
    SCALAR(23, "integer", lpg_integer_decode, lpg_int4_binary, lpg_int4_encode),
    PLAIN(24, "regproc", NULL),
    TEXT(25, "text"),
    SCALAR(26, "oid", lpg_integer_decode, lpg_oid_binary, lpg_oid_encode),
    WORD(27, "tid", lpg_decode_string, NULL),
    WORD(28, "xid", lpg_decode_string, lpg_counter_binary),
    WORD(29, "cid", lpg_decode_string, lpg_counter_binary),
    WORD(30, "oidvector", lpg_decode_string, NULL),
    SCALAR(114, "json", lpg_json_text, lpg_json_text, lpg_document_encode),
    PLAIN(142, "xml", lpg_decode_string),
    WORD(600, "point", lpg_decode_string, NULL),
    WORD(601, "lseg", lpg_decode_string, NULL),
    WORD(602, "path", lpg_decode_string, NULL),
    {.oid = 603,
     .name = "box",
     .text = lpg_decode_string,
     .encode = lpg_word_encode,
     .delimiter = ';'},
    WORD(604, "polygon", lpg_decode_string, NULL),
    WORD(628, "line", lpg_decode_string, NULL),
    WORD(650, "cidr", lpg_decode_string, lpg_cidr_binary),
    PAYING(700, "real", lpg_float4_text, lpg_float4_binary, lpg_word_encode),
    PAYING(701, "double precision", lpg_float8_text, lpg_float8_binary,
           lpg_word_encode),
    PLAIN(705, "unknown", lpg_decode_string),
    WORD(718, "circle", lpg_decode_string, NULL),
    WORD(774, "macaddr8", lpg_decode_string, lpg_macaddr_binary),
    WORD(790, "money", lpg_decode_string, NULL),
    WORD(829, "macaddr", lpg_decode_string, lpg_macaddr_binary),
    WORD(869, "inet", lpg_decode_string, lpg_inet_binary),
    PLAIN(1033, "aclitem", NULL),
    TEXT(1042, "character"),
    TEXT(1043, "character varying"),
    WORD(1082, "date", lpg_date_text, lpg_date_binary),
    WORD(1083, "time without time zone", lpg_time_text, lpg_time_binary),
    SCALAR(1114, "timestamp without time zone", lpg_timestamp_text,
           lpg_timestamp_binary, lpg_timestamp_encode),
    SCALAR(1184, "timestamp with time zone", lpg_timestamptz_text,
           lpg_timestamptz_binary, lpg_timestamptz_encode),
    WORD(1186, "interval", lpg_interval_text, lpg_interval_binary),
    WORD(1266, "time with time zone", lpg_timetz_text, lpg_timetz_binary),
    WORD(1560, "bit", lpg_decode_string, lpg_bit_binary),
    WORD(1562, "bit varying", lpg_decode_string, lpg_bit_binary),
    WORD(1700, "numeric", lpg_numeric_text, lpg_numeric_binary),
    PLAIN(1790, "refcursor", lpg_decode_string),
    PLAIN(2202, "regprocedure", NULL),
    PLAIN(2203, "regoper", NULL),
    PLAIN(2204, "regoperator", NULL),
    PLAIN(2205, "regclass", NULL),
    PLAIN(2206, "regtype", NULL),
    SCALAR(2249, "record", lpg_row_text, NULL, lpg_row_encode),
    PLAIN(2275, "cstring", lpg_decode_string),
    PLAIN(2278, "void", lpg_decode_string),
    WORD(2950, "uuid", lpg_decode_string, lpg_uuid_binary),
    PLAIN(2970, "txid_snapshot", NULL),
    WORD(3220, "pg_lsn", lpg_decode_string, lpg_lsn_binary),
    PLAIN(3614, "tsvector", NULL),
    PLAIN(3615, "tsquery", NULL),
    PLAIN(3642, "gtsvector", NULL),
    PLAIN(3734, "regconfig", NULL),
    PLAIN(3769, "regdictionary", NULL),
    SCALAR(3802, "jsonb", lpg_json_text, lpg_jsonb_binary, lpg_document_encode),
    RANGE(3904, 23, "int4range"),
    RANGE(3906, 1700, "numrange"),
    RANGE(3908, 1114, "tsrange"),
    RANGE(3910, 1184, "tstzrange"),
    RANGE(3912, 1082, "daterange"),
    RANGE(3926, 20, "int8range"),
    PLAIN(4072, "jsonpath", lpg_jsonpath_binary),
    PLAIN(4089, "regnamespace", NULL),
    PLAIN(4096, "regrole", NULL),
    PLAIN(4191, "regcollation", NULL),
    MULTIRANGE(4451, 3904, "int4multirange"),
    MULTIRANGE(4532, 3906, "nummultirange"),
    MULTIRANGE(4533, 3908, "tsmultirange"),
    MULTIRANGE(4534, 3910, "tstzmultirange"),
    MULTIRANGE(4535, 3912, "datemultirange"),
    MULTIRANGE(4536, 3926, "int8multirange"),
    PLAIN(5038, "pg_snapshot", NULL),
    WORD(5069, "xid8", lpg_decode_string, lpg_counter_binary),
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
    LIST(3905, 3904, "int4range[]"),
    LIST(3907, 3906, "numrange[]"),
    LIST(3909, 3908, "tsrange[]"),
    LIST(3911, 3910, "tstzrange[]"),
    LIST(3913, 3912, "daterange[]"),
    LIST(3927, 3926, "int8range[]"),
    LIST(4073, 4072, "jsonpath[]"),
    TEXT_LIST(4090, 4089, "regnamespace[]"),
    TEXT_LIST(4097, 4096, "regrole[]"),
    TEXT_LIST(4192, 4191, "regcollation[]"),
    TEXT_LIST(5039, 5038, "pg_snapshot[]"),
    LIST(6150, 4451, "int4multirange[]"),
    LIST(6151, 4532, "nummultirange[]"),
    LIST(6152, 4533, "tsmultirange[]"),
    LIST(6153, 4534, "tstzmultirange[]"),
    LIST(6155, 4535, "datemultirange[]"),
    LIST(6157, 4536, "int8multirange[]"),
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

const lpg_type *lpg_type_at(size_t i)
{
  const size_t single = sizeof scalars / sizeof *scalars;
  if (i < single)
    return &scalars[i];
  i -= single;
  return i < sizeof arrays / sizeof *arrays ? &arrays[i] : NULL;
}

const lpg_type *lpg_type_find(uint32_t oid)
{
  const lpg_type *type = find(scalars, sizeof scalars / sizeof *scalars, oid);
  return type ? type : find(arrays, sizeof arrays / sizeof *arrays, oid);
}

lpg_takes lpg_type_takes(const lpg_type *type)
{
  if (lpg_user_encodes(type))
    return LPG_TAKES_LISTS; /* whatever the function takes */
  if (lpg_is_user(type))
    type = type->part;
  lpg_encode *encode = type ? type->encode : lpg_plain_encode;
  if (encode == lpg_record_encode || encode == lpg_range_encode ||
      encode == lpg_hstore_encode)
    return LPG_TAKES_KEYED;
  if (encode == lpg_document_encode || encode == lpg_row_encode ||
      encode == lpg_multirange_encode || encode == lpg_vector_encode ||
      encode == lpg_array_encode)
    return LPG_TAKES_LISTS;
  return LPG_TAKES_SCALARS;
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
