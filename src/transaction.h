/* SPDX-License-Identifier: MIT */
/* transaction: the scopes that lua/pg/transaction.lua opens, one in another.
 * While the innermost is guarded, the first failure of a statement is kept and
 * the statements after it are refused. A scope that goes away open (a closed or
 * collected coroutine) leaves a ROLLBACK owed, which the next statement pays.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_TRANSACTION_H
#define LPG_TRANSACTION_H

#include "conn.h"

typedef struct lpg_scope {
  lpg_conn *conn; /* kept alive by user value 1 */
  struct lpg_scope *outer;
  const lua_State *thread; /* to compare with; not to be followed */
  bool open;
  bool guarded; /* the body runs; else BEGIN, COMMIT and the like */
} lpg_scope;

/* Pushes the fields of an error when the statement (NULL: another scope) may
 * not run now on the connection at `index`. e */
bool lpg_scope_refuses(lua_State *L, int index, const char *sql);

/* What a command tag and the end of a statement say of the transaction. */
void lpg_scope_notice(lpg_conn *c, const char *tag, const char *sql);
void lpg_scope_settle(lpg_conn *c);

void lpg_transaction_open_library(lua_State *L, int core);

#endif
