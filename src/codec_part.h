/* SPDX-License-Identifier: MIT */
/* codec_part: values that lie in others (fields, bounds), read one by one:
 * unescaped in text, counted in binary. How deep they may lie.
 * "e" in a comment: may raise a Lua error (memory only). */
#ifndef LPG_CODEC_PART_H
#define LPG_CODEC_PART_H

#include "bytes.h"
#include "codec.h"

extern const char lpg_too_deep[];
/* The view for the parts of a value; false at the depth where it ends. */
bool lpg_deepen(const lpg_view *view, lpg_view *inner);

/* A value in text. */
typedef struct lpg_parts {
  lua_State *L;
  const char *at, *end;
  lpg_view view;
  int slot; /* below what is pushed: it keeps the space */
  char *space;
  char small[256];
} lpg_parts;

/* Answers what is wrong. e */
const char *lpg_parts_begin(lpg_parts *p, lua_State *L, const lpg_view *view,
                            const char *bytes, size_t length);
/* Leaves one value, or none where something is wrong, and says so again. */
const char *lpg_parts_end(lpg_parts *p, const char *wrong);
/* The part up to the next of the stops that stands outside of quotes: p->space
 * holds it unescaped, with a NUL behind it. False: there is no such stop. */
bool lpg_part_read(lpg_parts *p, const char *stops, size_t *length);
/* Pushes the part that was read. */
const char *lpg_part_push(lpg_parts *p, const lpg_type *type, size_t length);

/* The body of a decoder of a binary value that has parts, which may leave more
 * than its value on the stack when something is wrong: the frame round it takes
 * that away, and counts how deep it lies. e */
typedef const char *lpg_binary_body(lua_State *L, const lpg_type *type,
                                    const lpg_view *view, lpg_span *s);
const char *lpg_parts_binary(lua_State *L, const lpg_type *type,
                             const lpg_view *view, const char *bytes,
                             size_t length, lpg_binary_body *body);

/* Pushes a part in binary, its length before it; NULL is pg.null. e */
const char *lpg_part_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, lpg_span *s, bool *null);

#endif
