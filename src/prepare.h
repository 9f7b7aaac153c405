/* SPDX-License-Identifier: MIT */
/* prepare: which statements the server keeps for this connection. One that
 * comes again is prepared under a name in the trip of a run; names that are
 * given up are closed in the trip of a later statement. The types that were
 * declared in Parse stay with the name: a call with others runs unnamed.
 * What writes gets a name at the program's word alone (db:prepare): where a
 * column's type changes under it, a value would be stored as the server casts
 * it from the old type, and nobody would be told.
 * "e" in a comment: may raise a Lua error (memory only). */
#ifndef LPG_PREPARE_H
#define LPG_PREPARE_H

#include "conn.h"
#include "statement.h"

/* Chooses how the request for the statement at `index` is run, on a connection
 * that is ready: r->name, r->parse, r->asides. `eager`: prepare it at its
 * first run. e */
void lpg_prepare_choose(lua_State *L, lpg_conn *c, int conn, int index,
                        bool eager, lpg_request *r);
/* The run has ended; was it prepared? e */
void lpg_prepare_settle(lua_State *L, lpg_conn *c, int conn, int index);
/* A new name for a statement that Describe will prepare. */
void lpg_prepare_name(lpg_conn *c, lpg_statement *s);
/* Describe has prepared the statement at `index`, with its types. e */
void lpg_prepare_keep(lua_State *L, int index);
#endif
