/* SPDX-License-Identifier: MIT */
/* rows: a PGresult's rows into Lua tables. The plan (names, types, decoders)
 * is made once a statement and kept with it.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_ROWS_H
#define LPG_ROWS_H

#include <libpq-fe.h>
#include <lua.h>

#include "settings.h"

typedef struct lpg_column {
  Oid oid;
  const lpg_type *type; /* NULL: no row in the table of types */
  lpg_decode *decode;   /* for the plan's format; NULL: none */
  const char *name;     /* in the plan's table of names */
  bool again;           /* an earlier column has the same name */
} lpg_column;

typedef struct lpg_plan {
  int count;
  bool binary;       /* the format of the results it was made for */
  bool can_binary;   /* every column could come in binary, */
  bool wants_binary; /* and it would pay */
  lpg_column columns[];
} lpg_plan;

/* A plan's user values. */
enum { LPG_PLAN_NAMES = 1, LPG_PLAN_META, LPG_PLAN_VALUES = LPG_PLAN_META };

/* Pushes a plan for the result. e */
lpg_plan *lpg_plan_new(lua_State *L, const PGresult *result);
/* The plan at `index`, or NULL when it is anything else. e */
lpg_plan *lpg_plan_test(lua_State *L, int index);
/* Was the plan made for a result of this shape? `named`: the names are the same
 * if the types are. */
bool lpg_plan_fits(const lpg_plan *plan, const PGresult *result, bool named);

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

void lpg_rows_open_library(lua_State *L);

#endif
