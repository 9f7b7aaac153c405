/* SPDX-License-Identifier: MIT */
/* named: types that pg.typed and pg.array name and that are not built in. Which
 * these are the server says, before the statement; the connection remembers.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_NAMED_H
#define LPG_NAMED_H

#include "await.h"

/* Puts the type's OID in the place of its name in the `count` values at
 * `first`, as far as the connection at `index` knows it. Answers whether one is
 * left. e
 */
bool lpg_named_settle(lua_State *L, int index, int first, int count);
/* Asks for those; the answer belongs to LPG_AT_NAMES. Answers as lpg_send. e */
int lpg_named_ask(lua_State *L, lpg_op *op, int slot);
/* Rows of the answer. e */
void lpg_named_take(lua_State *L, int slot, const PGresult *answer);

#endif
