/* SPDX-License-Identifier: MIT */
/* send: the requests of one statement, with what goes before and after it in
 * its trip. They answer LPG_CONTINUE, or how many results tell that it failed.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_SEND_H
#define LPG_SEND_H

#include "await.h"

/* Which request of the statement is under way: an operation's stage. */
enum {
  LPG_AT_RECOVERY, /* what a lost caller left */
  LPG_AT_UNDO,     /* what it owes */
  LPG_AT_RESTORE,  /* settings are set back */
  LPG_AT_BEGIN,    /* of a transaction whose first statement cannot bring it */
  LPG_AT_CODECS,   /* which types they are for */
  LPG_AT_NAMES,    /* which types pg.typed means */
  LPG_AT_DESCRIBE,
  LPG_AT_TYPES, /* those that Describe told of are looked up */
  LPG_AT_RUN,
  LPG_AT_VALUES,   /* those of what came are */
  LPG_AT_DIAGNOSIS /* was it statement_timeout? */
};

/* Ends the operation: nil and the error that the fields on the top become; a
 * stream raises it. e */
int lpg_give_error(lua_State *L, int slot);

int lpg_send(lua_State *L, lpg_op *op, int slot, int stage,
             const lpg_request *request);
/* The statements that set back what the session needs, pushed as one text, or
 * NULL. The server tells when these change, whoever changed them: values in
 * another style could not be read. Behind a pooler nothing is set but the
 * encoding, without which no text could be trusted. e */
const char *lpg_restoring(lua_State *L, lpg_conn *c);
/* Do the values depend on types that the server has to be asked for? e */
bool lpg_must_describe(lua_State *L, const lpg_op *op, int slot);
/* Does Describe also give the statement a name? */
bool lpg_will_prepare(const lpg_op *op);
int lpg_send_describe(lua_State *L, lpg_op *op, int slot);
/* Does a BEGIN that waits go along with the statement? With a single one that
 * runs, but COPY, and not where something goes before it already. */
bool lpg_brings_begin(lua_State *L, const lpg_op *op);
int lpg_send_begin(lua_State *L, lpg_op *op, int slot);
int lpg_send_statement(lua_State *L, lpg_op *op, int slot);
int lpg_send_copy(lua_State *L, lpg_op *op, int slot);

#endif
