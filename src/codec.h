/* SPDX-License-Identifier: MIT */
/* codec: PostgreSQL's bytes of one value to one Lua value, and Lua tables to
 * PostgreSQL's text. A type is a row in a table. Knows Lua, not libpq.
 * "e" in a comment: may raise a Lua error (memory only); nothing is leaked. */
#ifndef LPG_CODEC_H
#define LPG_CODEC_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

/* timestamps = "iso", "epoch", "epoch_us" */
enum { LPG_ISO, LPG_EPOCH, LPG_EPOCH_US };

/* How the caller wants values to look; one a statement. */
typedef struct lpg_view {
  bool numeric_as_number;   /* numeric = "number" */
  bool json_as_text;        /* json = "text" */
  unsigned char timestamps; /* LPG_ISO... */
  bool keep_null;           /* null = pg.null: fields of composites, too */
  unsigned char depth;      /* values that the one at hand lies in */
} lpg_view;

typedef struct lpg_type lpg_type;

/* Of a composite type, in its order. */
typedef struct lpg_field {
  uint32_t oid;
  const lpg_type *type; /* NULL: text as it is */
  const char *name;
} lpg_field;

/* Pushes exactly one value and answers NULL, or pushes nothing and answers
 * what is wrong with the bytes (a static text in lower case, without the
 * bytes themselves: "not an integer"). Never reads past bytes[length - 1];
 * in the text format bytes[length] is a NUL too. e */
typedef const char *lpg_decode(lua_State *L, const lpg_type *type,
                               const lpg_view *view, const char *bytes,
                               size_t length);

/* What cannot be encoded, and where in the value: "[2].street" and "a boolean
 * does not fit the type integer". */
typedef struct lpg_fault {
  char path[160];
  char text[200];
} lpg_fault;

/* One value on its way to PostgreSQL's text. */
typedef struct lpg_writer {
  lua_State *L;
  lpg_buffer *out; /* owned by the caller in a box */
  lpg_fault *fault;
  const lpg_view *view;
  int depth;     /* as in lpg_view */
  bool trustful; /* the server shall judge which numbers fit */
} lpg_writer;

/* Appends the text form of the value on the top, which is not NULL, and answers
 * true; or false with the fault filled in. Raw access only, so no user code
 * runs; the stack is left as it was. A failed buffer is the caller's to notice.
 * e */
typedef bool lpg_encode(lpg_writer *w, const lpg_type *type);

struct lpg_type {
  uint32_t oid;
  uint32_t element; /* of an array, the subtype of a range, the range of a
                       multirange; else 0 */
  const char *name; /* as format_type() writes it: "timestamp with time zone",
                       "integer[]" */
  lpg_decode *text;
  lpg_decode *binary; /* NULL: only the text form is known */
  lpg_encode *encode;
  bool prefers_binary; /* binary results pay: bytea, float and int arrays */
  char delimiter;      /* between array elements of this element type */
  /* of a type that was learnt from the catalogue: */
  const lpg_type *part; /* the row of `element` */
  int count;
  const lpg_field *fields;
};

/* The built-in rows, one after the other; NULL: no more. */
const lpg_type *lpg_type_at(size_t i);
/* The row of a built-in type, or NULL. */
const lpg_type *lpg_type_find(uint32_t oid);
/* The same by name: "integer", "int4", "timestamptz[]". */
const lpg_type *lpg_type_named(const char *name);

/* The row of what it is made of; NULL: text as it is. */
static inline const lpg_type *lpg_type_part(const lpg_type *type)
{
  return type->part ? type->part : lpg_type_find(type->element);
}

/* A type without a row: the text as it is. e */
lpg_decode lpg_decode_string;

/* The value on the top as the type says, or as what wraps it says; NULL and nil
 * append nothing and are told so. Answers false with the fault filled in. e */
bool lpg_write(lpg_writer *w, const lpg_type *type, bool *null);
/* Any value as JSON text. e */
bool lpg_json_encode(lua_State *L, int index, lpg_buffer *out,
                     lpg_fault *fault);
/* Pushes "path: text". e */
void lpg_fault_push(lua_State *L, const lpg_fault *fault);

/* One JSON document, whole: pushes its value, strings at the top level as
 * strings. Answers as lpg_decode does. e */
const char *lpg_json_decode(lua_State *L, const char *bytes, size_t length);

/* Numbers as PostgreSQL reads them, whatever the host's LC_NUMERIC: integral
 * floats without fraction or exponent while they fit in 64 bits, otherwise
 * the shortest digits that read back the same; "NaN", "Infinity". Answers the
 * length; `text` holds at least LPG_NUMBER bytes, NUL included. */
enum { LPG_NUMBER = 40 };
size_t lpg_float_text(double value, char *text);
size_t lpg_integer_text(lua_Integer value, char *text);
/* A float in C's or PostgreSQL's spelling ("1.5e300", "NaN", "Infinity",
 * "-Infinity"), whole and correctly rounded, whatever LC_NUMERIC. */
bool lpg_float_parse(const char *text, size_t length, double *value);

/* An integer in decimal, whole, within 64 bits. */
bool lpg_integer_parse(const char *text, size_t length, int64_t *value);

/* Marks the table on the top as a list, so that it is `[]` even when empty.
 * The mark is the metatable under this registry key (lua-cjson's
 * empty_array_mt where it has one). e */
extern const char lpg_list_mark;
void lpg_mark_list(lua_State *L);
bool lpg_is_marked(lua_State *L, int index);

/* Marks the table on the top as an array with these lower bounds: its metatable
 * is {lower = {0, 1}, __name = "pg.array"}. e */
void lpg_mark_bounds(lua_State *L, const int32_t *lower, int dimensions);
/* Pushes the list of lower bounds of an array marked so, else nothing. */
bool lpg_push_bounds(lua_State *L, int index);

/* pg.json(v), pg.bytea(s), pg.typed(v, type): a table {v, type} with the
 * metatable under this registry key; the type is a type's name or, for
 * pg.json, a word of its own. */
extern const char lpg_wrapper_mark;
#define LPG_JSON_WRAPPER "pg.json"
bool lpg_is_wrapper(lua_State *L, int index);

#endif
