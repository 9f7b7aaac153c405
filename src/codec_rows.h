/* SPDX-License-Identifier: MIT */
/* codec_rows: the decoders that the table of types names, and what the codec
 * files share. Not for use outside of codec*.c, but for lpg_array_*_of. */
#ifndef LPG_CODEC_ROWS_H
#define LPG_CODEC_ROWS_H

#include "codec.h"

lpg_decode lpg_bool_text, lpg_bool_binary;
lpg_decode lpg_integer_decode, lpg_int2_binary, lpg_int4_binary;
lpg_decode lpg_int8_binary, lpg_oid_binary;
lpg_decode lpg_float4_text, lpg_float4_binary;
lpg_decode lpg_float8_text, lpg_float8_binary;
lpg_decode lpg_numeric_text, lpg_numeric_binary;
lpg_decode lpg_char_binary, lpg_bytea_text, lpg_bit_binary;
lpg_decode lpg_json_text, lpg_jsonb_binary, lpg_jsonpath_binary;
lpg_decode lpg_counter_binary, lpg_lsn_binary;
lpg_decode lpg_uuid_binary, lpg_inet_binary, lpg_cidr_binary;
lpg_decode lpg_macaddr_binary;
lpg_decode lpg_date_text, lpg_date_binary;
lpg_decode lpg_time_text, lpg_time_binary;
lpg_decode lpg_timetz_text, lpg_timetz_binary;
lpg_decode lpg_timestamp_text, lpg_timestamp_binary;
lpg_decode lpg_timestamptz_text, lpg_timestamptz_binary;
lpg_decode lpg_interval_text, lpg_interval_binary;

/* As lpg_array_text and lpg_array_binary, with the row of the elements given:
 * for element types that are not in the table (composites, ranges). e */
const char *lpg_array_text_of(lua_State *L, const lpg_type *element,
                              const lpg_view *view, const char *bytes,
                              size_t length);
const char *lpg_array_binary_of(lua_State *L, const lpg_type *element,
                                const lpg_view *view, const char *bytes,
                                size_t length);

/* The OIDs that code has to know, beyond the table. */
enum { LPG_OID_BYTEA = 17, LPG_OID_JSON = 114, LPG_OID_JSONB = 3802 };

/* PostgreSQL's limit on an array's dimensions, and ours on recursion. */
enum { LPG_DIMENSIONS = 6 };

/* digits * 10^exponent, and the nearest double to it. */
typedef struct lpg_decimal {
  uint64_t digits;
  int64_t exponent;
} lpg_decimal;
double lpg_decimal_value(lpg_decimal d);

/* The powers of ten that a double holds exactly. */
enum { LPG_TENS = 22 };
extern const double lpg_ten[LPG_TENS + 1];

/* The double of the shortest decimal that reads back as this float4, which is
 * what PostgreSQL 12 and later print. */
double lpg_float4_value(float value);

#endif
