/* SPDX-License-Identifier: MIT */
/* hold: what keeps a connection busy between two calls: a stream, a COPY.
 * It belongs to a userdata whose __gc and __close break it. */
#ifndef LPG_HOLD_H
#define LPG_HOLD_H

#include "conn.h"

enum { LPG_PLACE = 80 };

typedef struct lpg_hold {
  lpg_conn *conn;        /* NULL: it does not hold (yet, any more) */
  const char *what;      /* for the busy error: "the rows of db:each" */
  char place[LPG_PLACE]; /* the line that opened it */
  bool guarded;          /* by a savepoint, which is owed when it is broken */
} lpg_hold;

/* The savepoint of a hold inside of a transaction: cancelling the statement
 * must not fail the transaction. */
#define LPG_HOLD_SAVEPOINT "SAVEPOINT pg_stream"
#define LPG_HOLD_RELEASE   "RELEASE SAVEPOINT pg_stream"
#define LPG_HOLD_UNDO      "ROLLBACK TO SAVEPOINT pg_stream;" LPG_HOLD_RELEASE

/* Notes the line that runs now. e */
void lpg_hold_init(lua_State *L, lpg_hold *h, const char *what);
void lpg_hold_begin(lpg_hold *h, lpg_conn *c);
/* The answer has come to its end. */
void lpg_hold_end(lpg_hold *h);
/* Gives up what still comes: the server is asked to stop, the next statement
 * clears it away. */
void lpg_hold_break(lpg_hold *h);

#endif
