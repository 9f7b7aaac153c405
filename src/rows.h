/* SPDX-License-Identifier: MIT */
/* rows: a PGresult's rows into Lua tables. The plan (names, types, decoders)
 * is made once a statement and kept with it.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_ROWS_H
#define LPG_ROWS_H

#include <libpq-fe.h>
#include <lua.h>

#include "settings.h"
#include "typemap.h"

typedef struct lpg_column {
  Oid oid;
  const lpg_type *type; /* NULL: not known */
  lpg_decode *decode;   /* for the plan's format; NULL: none */
  const char *name;     /* in the plan's table of names */
  bool again;           /* an earlier column has the same name */
  bool kept;            /* as bytes, until the type is known */
  bool was;             /* kept, before the plan was settled */
} lpg_column;

typedef struct lpg_plan {
  int count;
  bool binary;            /* the format of the results it was made for */
  bool can_binary;        /* every column could come in binary, */
  bool wants_binary;      /* and it would pay */
  bool open;              /* values of a column are kept as bytes */
  bool learnt;            /* a type is not a built-in one */
  const lpg_typemap *map; /* that the types are from */
  lpg_column columns[];
} lpg_plan;

/* A plan's user values. */
enum {
  LPG_PLAN_NAMES = 1,
  LPG_PLAN_META,
  LPG_PLAN_MAP,
  LPG_PLAN_VALUES = LPG_PLAN_MAP
};

/* Pushes a plan for the result, with the types in the map at `map`. e */
lpg_plan *lpg_plan_new(lua_State *L, const PGresult *result, int map);
/* Finds the types of the plan at `index` anew: more may be known now. e */
void lpg_plan_settle(lua_State *L, int index, int map);
/* A column's type is not what it was thought to be. */
void lpg_plan_keep(lpg_plan *plan, const lpg_column *column);
/* Nothing can be kept: a value of a type that is not known is a misread one. */
void lpg_plan_keep_none(lpg_plan *plan);
/* The plan at `index`, or NULL when it is anything else. e */
lpg_plan *lpg_plan_test(lua_State *L, int index);
/* Was the plan made for a result of this shape? */
bool lpg_plan_fits(const lpg_plan *plan, const PGresult *result);

/* Pushes what rows are appended to, in the shape the settings ask for. e */
void lpg_rows_new(lua_State *L, const lpg_plan *plan, int plan_index,
                  const lpg_settings *settings);

typedef struct lpg_misread {
  const char *problem; /* NULL: none */
  const lpg_column *column;
} lpg_misread;

/* Appends a row of the result to the rows at `rows` as number `number`, with
 * the plan's table of names at `names`. e */
lpg_misread lpg_rows_append(lua_State *L, const lpg_plan *plan,
                            const lpg_settings *settings,
                            const PGresult *result, int row, int rows,
                            int names, lua_Integer number);

/* Decodes what was kept as bytes of the `count` rows at `rows`, as far as the
 * types are known now; a misread one is the row of number `*number`. e */
lpg_misread lpg_rows_decode(lua_State *L, const lpg_plan *plan,
                            const lpg_settings *settings, int rows, int names,
                            lua_Integer count, lua_Integer *number);
/* Is a value kept as bytes in these rows? e */
bool lpg_rows_are_open(lua_State *L, const lpg_plan *plan, lpg_shape shape,
                       int rows, int names, lua_Integer count);

void lpg_rows_open_library(lua_State *L);

#endif
