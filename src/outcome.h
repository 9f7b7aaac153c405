/* SPDX-License-Identifier: MIT */
/* outcome: how a request that did not simply succeed ended, told as an error:
 * what the server said, or which limit acted and whether the statement's
 * changes stand.
 * "e" in a comment: may raise a Lua error (memory only). */
#ifndef LPG_OUTCOME_H
#define LPG_OUTCOME_H

#include "await.h"

/* Cancelled, and nobody here asked for it. */
bool lpg_outcome_unexplained(const lpg_wire *w);
/* Says in the error on the top whether what was asked of the server took
 * place; nothing when the connection went first. e */
void lpg_outcome_completed(lua_State *L, const lpg_conn *c);
/* Pushes the fields of the error that the wire's state amounts to. e */
void lpg_outcome_describe(lua_State *L, const lpg_op *op);
/* Completes the fields on the top and ends the operation: nil and the error;
 * answers 2. The SQL text lies at `sql`, 0 while connecting; the connection
 * below the slot. A lost connection remembers the error as the cause. e */
int lpg_outcome_fail(lua_State *L, int slot, int sql);

/* Do dates and intervals come in a style that the codecs read? */
bool lpg_styles_are_ours(const PGconn *pg);

#endif
