/* SPDX-License-Identifier: MIT */
/* params: Lua values into libpq's types, values, lengths and formats. All are
 * converted before the first libpq call, in memory that the connection owns;
 * strings are used where they lie. Runs no user code.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_PARAMS_H
#define LPG_PARAMS_H

#include <lua.h>

#include "codec.h"
#include "typemap.h"
#include "wire.h"

enum { LPG_MAX_PARAMS = 65535 };
/* libpq fails on messages of 1 GB and takes the connection with it. */
#define LPG_MAX_MESSAGE ((size_t)1023 * 1024 * 1024)

typedef struct lpg_params {
  bool busy;         /* a codec's function may run, and must not free these */
  lpg_buffer text;   /* converted values, each with a NUL */
  lpg_buffer arrays; /* types, values, lengths, formats */
  const lpg_typemap *map; /* of the types being converted to, */
  const lpg_view *view;   /* and how values look */
} lpg_params;

/* What Parse was told, or what the server answered to Describe. */
typedef struct lpg_signature {
  int count; /* -1: not known */
  const Oid *types;
  const lpg_typemap *map;
  bool sure; /* the server has just said so */
} lpg_signature;

/* Must the server be asked for the parameters' types first? Only for a table
 * that does not say what it is, a string that bytea would read otherwise, or a
 * number that may be an instant, where the type is not known. e */
bool lpg_params_need_types(lua_State *L, int first, int count,
                           lpg_signature signature, const lpg_view *view,
                           bool utf8);

/* Does each value mean the same to every type, and can it not change? Then it
 * may be converted later, with no types known. Tells their bytes, or so. */
bool lpg_params_plain(lua_State *L, int first, int count, const lpg_view *view,
                      bool utf8, size_t *bytes);

/* The type that the value at `index` says it has, or 0. pg.json() leaves open
 * which of the two it is. e */
Oid lpg_params_own_type(lua_State *L, int index);
/* Tells the request what the values say so, before the server is asked. e */
void lpg_params_declare(lua_State *L, lpg_params *p, int first, int count,
                        lpg_request *request);

/* Before the server is asked for types: answers 0, or the number of a value
 * that fits none, with the fault filled in. */
int lpg_params_check(lua_State *L, int first, int count, lpg_fault *fault);

/* Converts the values at `first`... into the request. Answers 0, or the
 * number of the parameter that does not fit, with the fault filled in. The
 * request points into the connection's memory and at the strings on the
 * stack. e */
int lpg_params_convert(lua_State *L, lpg_params *p, int first, int count,
                       lpg_signature signature, const lpg_view *view,
                       lpg_request *request, lpg_fault *fault);
void lpg_params_free(lpg_params *p);

#endif
