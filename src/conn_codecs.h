/* SPDX-License-Identifier: MIT */
/* conn_codecs: a connection's own codecs (db:codec). They are kept by the names
 * of types; which types these are is asked before the next statement, and again
 * when that may have changed. "e" in a comment: may raise a Lua error. */
#ifndef LPG_CONN_CODECS_H
#define LPG_CONN_CODECS_H

#include "await.h"

/* Has the server to be asked which types the codecs are for? */
bool lpg_codecs_due(const lpg_conn *c);
/* Asks; the answer belongs to LPG_AT_CODECS. Answers as lpg_send. e */
int lpg_codecs_ask(lua_State *L, lpg_op *op, int slot);
/* Rows of the answer; and its end. e */
void lpg_codecs_take(lua_State *L, int slot, const PGresult *answer);
void lpg_codecs_settle(lua_State *L, lpg_conn *c, int slot);

void lpg_codecs_open_library(lua_State *L, int core);

#endif
