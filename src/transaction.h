/* SPDX-License-Identifier: MIT */
/* transaction: the scopes that lua/pg/transaction.lua opens, one in another.
 * The outermost's BEGIN waits in the connection for the first statement.
 * While the innermost is guarded, the first failure of a statement is kept and
 * the statements after it are refused. A scope that goes away open (a closed,
 * dead or collected coroutine) leaves it to the next statement to take back
 * what the scope has begun.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_TRANSACTION_H
#define LPG_TRANSACTION_H

#include "conn.h"

typedef struct lpg_scope {
  lpg_conn *conn; /* kept alive by user value 1 */
  struct lpg_scope *outer;
  lua_State *thread; /* that it was opened in; by user value 2 */
  lpg_lease *lease;  /* of its handles, by user value 3 */
  bool open;
  bool guarded; /* the body runs; else SAVEPOINT, COMMIT and the like */
  bool torn;    /* a statement of the body was left in the middle */
  char undo[LPG_UNDO];
} lpg_scope;

/* Does the body of a transaction run? */
static inline bool lpg_scope_guards(const lpg_conn *c)
{
  return c->scope && c->scope->guarded;
}

/* Pushes the fields of an error when the statement (NULL: another scope) may
 * not run now on the connection at `index`. e */
bool lpg_scope_refuses(lua_State *L, int index, const char *sql);

/* Gives up the scopes of coroutines that died of an error: Lua leaves the
 * frames of such a coroutine as they are. */
void lpg_scope_tidy(lpg_conn *c);

/* BEGIN, COMMIT and the like, but not ROLLBACK TO SAVEPOINT. */
bool lpg_controls_transaction(const char *sql);
/* Gives up all. */
void lpg_scope_end_all(lpg_conn *c);

/* What a command tag and the end of a statement say of the transaction, and
 * what a statement that is left in the middle may have done. */
void lpg_scope_notice(lpg_conn *c, const char *tag, const char *sql);
void lpg_scope_settle(lpg_conn *c);
void lpg_scope_tear(lpg_conn *c, bool several_statements);

void lpg_transaction_open_library(lua_State *L, int core);

#endif
