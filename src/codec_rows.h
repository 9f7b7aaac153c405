/* SPDX-License-Identifier: MIT */
/* codec_rows: the decoders and encoders that rows of types name, and what the
 * codec files share. Not for use outside of codec*.c and typemap*.c. */
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

/* Made of others: by type->part or type->element; records by type->fields. */
lpg_decode lpg_array_text, lpg_array_binary;
lpg_decode lpg_record_text, lpg_record_binary;
lpg_decode lpg_row_text; /* an anonymous record: its fields' texts */
lpg_decode lpg_range_text, lpg_range_binary;
lpg_decode lpg_multirange_text, lpg_multirange_binary;
/* Of extensions. */
lpg_decode lpg_hstore_text, lpg_hstore_binary;
lpg_decode lpg_vector_text, lpg_vector_binary;

/* Scalars: any; any but booleans; any, and tables as JSON; as JSON. */
lpg_encode lpg_plain_encode, lpg_word_encode, lpg_text_encode;
lpg_encode lpg_document_encode;
lpg_encode lpg_bool_encode, lpg_bytea_encode;
lpg_encode lpg_int2_encode, lpg_int4_encode, lpg_int8_encode, lpg_oid_encode;
lpg_encode lpg_timestamp_encode, lpg_timestamptz_encode;
lpg_encode lpg_array_encode, lpg_record_encode, lpg_row_encode;
lpg_encode lpg_range_encode, lpg_multirange_encode;
lpg_encode lpg_hstore_encode, lpg_vector_encode;

/* Which tables a type takes as one value; the others make dimensions where they
 * lie in an array of it. */
typedef enum lpg_takes {
  LPG_TAKES_SCALARS, /* none */
  LPG_TAKES_KEYED,   /* by name */
  LPG_TAKES_LISTS    /* any */
} lpg_takes;
lpg_takes lpg_type_takes(const lpg_type *type);

/* PostgreSQL's limit on an array's dimensions, and ours on how deep a value may
 * lie in others. */
enum { LPG_DIMENSIONS = 6, LPG_DEPTH = 100 };

/* digits * 10^exponent, and the nearest double to it. */
typedef struct lpg_decimal {
  uint64_t digits;
  int64_t exponent;
} lpg_decimal;
double lpg_decimal_value(lpg_decimal d);
/* value * 10^power, a half rounded to even, where it is known to be exact. */
bool lpg_decimal_scale(double value, int power, uint64_t *whole);
/* Reads digits with at most one point among them into d, which is zero; answers
 * where they end. `*count`: those that d stands for, zeros in front included,
 * without what was dropped from a fraction's end; d is exact up to LPG_EXACT.
 */
const char *lpg_decimal_read(const char *at, const char *end, lpg_decimal *d,
                             ptrdiff_t *count);

/* An instant in PostgreSQL's microseconds since 2000, the ends of int64_t being
 * infinite, as the number that timestamps = "epoch" or "epoch_us" asks for;
 * and such a number back, if a timestamp can hold it. */
void lpg_epoch_push(lua_State *L, int64_t micros, const lpg_view *view);
bool lpg_epoch_read(lua_State *L, int index, const lpg_view *view,
                    int64_t *micros);
/* Does a number for this type (NULL: not known) stand for an instant? */
static inline bool lpg_is_instant(const lpg_type *type, const lpg_view *view)
{
  return view->timestamps != LPG_ISO && type &&
         (type->encode == lpg_timestamp_encode ||
          type->encode == lpg_timestamptz_encode);
}

/* The powers of ten that a double holds exactly. */
enum { LPG_TENS = 22 };
extern const double lpg_ten[LPG_TENS + 1];

/* The double of the shortest decimal that reads back as this float4, which is
 * what PostgreSQL 12 and later print. */
double lpg_float4_value(float value);

#endif
