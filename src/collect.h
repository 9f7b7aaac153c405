/* SPDX-License-Identifier: MIT */
/* collect: what comes back of a statement: its types when they were asked
 * for, its rows as they arrive, and what its command tag says besides.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_COLLECT_H
#define LPG_COLLECT_H

#include <string.h>

#include "await.h"

/* The frame of a statement: the handle, the SQL text, the values; the
 * connection just below the operation's slot, and above it what the operation
 * keeps. */
enum { HANDLE = 1, SQL = 2, VALUES = 3 };
enum { CONN = -1, STATEMENT = 1, PLAN, NAMES, ROWS, OBJECT, TYPES, OPEN };
enum { KEPT = OPEN };

static inline void lpg_put_nil(lua_State *L, int index)
{
  lua_pushnil(L);
  lua_replace(L, index);
}

static inline bool lpg_begins_with(const char *tag, const char *const *words)
{
  for (; *words; words++)
    if (strncmp(tag, *words, strlen(*words)) == 0)
      return true;
  return false;
}

/* Takes the types of parameters and columns from the server's answer to
 * Describe; lpg_learnt: and what was asked of them then. e */
void lpg_learn(lua_State *L, int slot, const PGresult *result);
void lpg_learnt(lua_State *L, int slot);
/* Keeps that answer as a table. e */
void lpg_describe(lua_State *L, int slot, const PGresult *result);
/* Keeps the statement in the frame for its text; nil: forgets it. e */
void lpg_remember(lua_State *L, int slot);
/* Takes in the result at hand: a row, or the end of a statement. e */
void lpg_collect(lua_State *L, lpg_op *op, int slot);

/* The request has ended, and with it, maybe, its transaction. e */
void lpg_settle(lua_State *L, const lpg_op *op, int slot);

#endif
