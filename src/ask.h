/* SPDX-License-Identifier: MIT */
/* ask: the one question to the catalogue, about all types at once that a
 * statement takes or gives and the connection's map lacks, with all that they
 * are made of. A box in the frame (TYPES) holds what is asked, then what the
 * answer says. "e" in a comment: may raise a Lua error. */
#ifndef LPG_ASK_H
#define LPG_ASK_H

#include "await.h"
#include "rows.h"

/* A type is asked about, unless the map of the connection at slot + CONN has
 * it; so are those that Describe told of, and those of a plan. e */
void lpg_ask_type(lua_State *L, int slot, Oid oid);
void lpg_ask_described(lua_State *L, int slot, const PGresult *result);
void lpg_ask_columns(lua_State *L, int slot, const lpg_plan *plan);
/* Is there something to ask? */
bool lpg_ask_any(lua_State *L, int slot);
/* Sends the question; its answer belongs to the stage. Answers as lpg_send. e
 */
int lpg_ask_send(lua_State *L, lpg_op *op, int slot, int stage);
/* Rows of the answer. e */
void lpg_ask_take(lua_State *L, int slot, const PGresult *result);
/* The answer is whole: the connection's map takes it in. e */
void lpg_ask_learn(lua_State *L, int slot);

#endif
