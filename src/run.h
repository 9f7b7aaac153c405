/* SPDX-License-Identifier: MIT */
/* run: one statement from its values to its result table: what a lost caller
 * left is cleared away, changed session settings are set back, parameter
 * types are asked for where they matter, rows are collected as they arrive.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_RUN_H
#define LPG_RUN_H

#include "await.h"

typedef enum lpg_action {
  LPG_QUERY,
  LPG_UPDATE,
  LPG_DELETE,
  LPG_EXECUTE,
  LPG_EACH,       /* raises errors; its rows come in portions */
  LPG_TRANSFER,   /* COPY: answers the object at the index 3 once it began */
  LPG_LEARN,      /* runs nothing: asks for types where they matter */
  LPG_PREPARE,    /* runs nothing: answers the object at the index 3 */
  LPG_DESCRIPTION /* runs nothing: what it takes and what would come */
} lpg_action;

/* Runs the SQL text at stack index 2 on the handle at 1, whose connection is
 * ready, with the `count` values at 3... up to the top. Answers the action's
 * result table (of a description: {parameters = OIDs, columns = {{name=, oid=},
 * ...}}), or nil and an error; of
 * LPG_EACH what a generic `for` takes. e */
int lpg_run(lua_State *L, lpg_action action, int count,
            const lpg_settings *settings);

/* The next row of the stream at stack index 1, when its portion is used up. e
 */
int lpg_run_on(lua_State *L);

/* --- for pipeline.c --------------------------------------------------- */

/* Behind a pooler a session cannot be made read-only: each transaction is. It
 * is no query, so that what is said next may still choose the isolation. */
#define LPG_READ_ONLY "SET TRANSACTION READ ONLY"
bool lpg_run_needs_read_only(const lpg_conn *c);

/* What is left of a transaction's deadline counts, too. When it has passed
 * there is ROLLBACK to send, which has not much time either. */
lpg_limits lpg_run_limits(const lpg_conn *c, const lpg_settings *settings);
/* Pushes the result table of the statement in the frame. e */
void lpg_run_shape(lua_State *L, lpg_op *op, int slot);
/* Ends an operation whose statement in the frame has failed: nil and the
 * error, maybe after a question to the server. e */
int lpg_run_fail(lua_State *L, lpg_op *op, int slot);

#endif
