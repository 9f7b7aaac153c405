/* SPDX-License-Identifier: MIT */
/* typemap: the types that a server defines (enums, domains, composites,
 * ranges, arrays of all these, a few of extensions), as rows like those of the
 * built-in ones. It only grows: where the catalogue may have changed, another
 * takes its place, and what still points into the old one keeps it alive.
 * Knows Lua, not libpq. "e" in a comment: may raise a Lua error (memory only);
 * what was there before stays as it was. */
#ifndef LPG_TYPEMAP_H
#define LPG_TYPEMAP_H

#include "codec.h"

typedef struct lpg_typemap lpg_typemap;

/* What the catalogue says of a type; of a composite there is one a field. */
typedef struct lpg_fact {
  uint32_t oid;
  uint32_t part; /* of an array, a domain, a range, a multirange; else 0 */
  uint32_t field_oid;
  char kind; /* as pg_type.typtype, an array 'a' */
  char delimiter;
  const char *name;
  const char *extension; /* that it is the type of; or "" */
  const char *field;     /* its name; NULL: none */
} lpg_fact;

/* Pushes an empty one. e */
lpg_typemap *lpg_typemap_new(lua_State *L);
/* The row of a type, a built-in one too, or NULL; so with a map that is NULL.
 */
const lpg_type *lpg_typemap_find(const lpg_typemap *map, uint32_t oid);
/* Has it grown so that another one should begin? Types may be made and dropped
 * without an end. */
bool lpg_typemap_is_full(const lpg_typemap *map);
/* What a domain is made of; any other type is itself. */
uint32_t lpg_typemap_base(const lpg_typemap *map, uint32_t oid);
/* Is the type one of the server's own, whose row may be out of date? */
static inline bool lpg_type_is_learnt(const lpg_type *type)
{
  return type && type != lpg_type_find(type->oid);
}

/* Into an empty map at `index`: values of the type, which may be unknown yet,
 * go through the functions on the top (codec_user.h), and with them those of
 * types made of it. Pops the functions. e */
void lpg_typemap_code(lua_State *L, int index, uint32_t oid);
/* Are there such types? */
bool lpg_typemap_is_coded(const lpg_typemap *map);

/* Takes in an answer: the facts of each type in a row, and those of all that
 * it is made of with them, for the map at `index`. What is known already
 * stays. e */
void lpg_typemap_note(lpg_buffer *facts, const lpg_fact *fact);
void lpg_typemap_learn(lua_State *L, int index, const lpg_buffer *facts);

void lpg_typemap_open_library(lua_State *L);

#endif
