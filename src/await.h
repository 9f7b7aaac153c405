/* SPDX-License-Identifier: MIT */
/* await: the one loop that waits. An operation is a userdata of its own in a
 * to-be-closed slot of the C function that runs it; when that frame goes away
 * in the middle (an error, a closed or collected coroutine), the operation
 * marks its connection abandoned, asks the server to cancel, and never waits.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_AWAIT_H
#define LPG_AWAIT_H

#include "conn.h"

enum { LPG_CONTINUE = -1 };

typedef struct lpg_op {
  lpg_conn *conn;    /* NULL once it is over, or cut off */
  lua_State *thread; /* the coroutine that it runs in */
  int kept;          /* stack slots above its own that belong to it */
  double ticked;
  bool worked; /* what was to be done meanwhile has just been */
  unsigned stretch;
  /* Called with the stack at slot + kept: for LPG_RESULT (NULL: nobody looks
   * at it), for LPG_DONE, and, if it is not NULL, for LPG_ROOM and before each
   * wait. They answer LPG_CONTINUE, or end the operation and answer how many
   * results are on the top. e */
  int (*result)(lua_State *L, struct lpg_op *op, int slot);
  int (*done)(lua_State *L, struct lpg_op *op, int slot);
  int (*rest)(lua_State *L, struct lpg_op *op, int slot);

  /* what run.c and connect.c keep here */
  int stage, action, first, count;
  lpg_settings settings;
  lpg_limits limits;
  double deadline, elapsed, server_timeout;
  lua_Integer rows, affected;
  lua_Integer before; /* rows of earlier portions of a stream */
  bool doubted;       /* what was known of types was forgotten */
  bool cancelled, script, described, answering, tabular, misread, transaction;
  bool opening;            /* without its end there is no session */
  bool named;              /* run by the name of a prepared statement */
  bool several;            /* more than one statement may run */
  struct lpg_scope *scope; /* whose body it is of; to compare only */
  char begin[LPG_BEGIN];   /* the BEGIN that went before it, or empty */
  int lead;                /* characters that were sent before the statement */
  bool failing;            /* an earlier statement had failed the transaction */
} lpg_op;

/* Pushes an operation on the connection at `index`, into a slot to be closed.
 * The connection must be free. e */
lpg_op *lpg_op_begin(lua_State *L, int index);
/* The operation at `slot` has ended well; its connection is free. e */
void lpg_op_end(lua_State *L, int slot);
/* Is an operation under way? One whose coroutine died of an error is given
 * up: Lua leaves the frames of such a coroutine as they are. */
bool lpg_op_blocks(lpg_conn *c);

/* Steps and waits until `done` answers. Both first call and continuation:
 * `return lpg_await(L, LUA_OK, slot)`. e */
int lpg_await(lua_State *L, int status, lua_KContext slot);

void lpg_await_open_library(lua_State *L, int core);

#endif
