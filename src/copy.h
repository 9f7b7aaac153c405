/* SPDX-License-Identifier: MIT */
/* copy: one COPY FROM STDIN or TO STDOUT, which holds its connection from its
 * beginning to its end, so that what feeds it and what takes from it is plain
 * Lua between calls. copy_text.c makes its rows, copy_rows.c reads them.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_COPY_H
#define LPG_COPY_H

#include "await.h"
#include "hold.h"
#include "rows.h"

typedef struct lpg_copy {
  lpg_hold hold;
  lpg_settings settings;
  bool in;    /* FROM STDIN */
  bool ended; /* the server's answer is complete */
  bool closed;
  bool headed;        /* the head of the binary format has been read */
  int lead;           /* characters before the statement in what was sent */
  double ticked;      /* when hooks and other coroutines had their last turn */
  lua_Integer rows;   /* taken in */
  lua_Integer at, to; /* of the portion at hand: given out, and all */
  lua_Integer made;   /* decoded for the next one */
  lua_Integer count;  /* the server's, at the end */
  size_t sent;        /* of what is being put */
  lpg_buffer data;    /* rows to send, or a portion of what came */
  lpg_buffer scratch; /* of copy_text.c */
  PGresult *description; /* of copy_rows.c */
} lpg_copy;

/* A COPY's user values. */
enum {
  LPG_COPY_HANDLE = 1,
  LPG_COPY_SQL,
  LPG_COPY_PLAN,  /* of the columns: a plan to read, outlets to write */
  LPG_COPY_NAMES, /* theirs */
  LPG_COPY_ROWS,
  LPG_COPY_RESULT,
  LPG_COPY_MARK, /* the metatable of pg.raw */
  LPG_COPY_VALUES = LPG_COPY_MARK
};

/* What is sent or handed over at a time, about. */
enum { LPG_COPY_CHUNK = 64 * 1024 };

/* The COPY at `index`; else raises. e */
lpg_copy *lpg_copy_check(lua_State *L, int index);

/* --- for run.c -------------------------------------------------------- */

/* Pushes the script for the statement at `sql`, with what goes before it. In a
 * transaction a COPY TO that is left in the middle must not fail it. e */
const char *lpg_copy_script(lua_State *L, lpg_copy *c, int sql,
                            const char *before, bool transaction);
/* A result of that script. Once the COPY has begun it ends the operation and
 * answers the COPY at `index`. e */
int lpg_copy_begin(lua_State *L, lpg_op *op, int slot, int index);

/* --- of the other copy files ------------------------------------------ */

/* The frame of a call: the COPY, its argument, the SQL text, the handle, the
 * connection, and the operation's slot. */
enum { AT_COPY = 1, AT_ARGUMENT, AT_SQL, AT_HANDLE, AT_CONN, AT_SLOT };

/* An operation on the connection that the COPY holds; else raises. e */
lpg_op *lpg_copy_resume(lua_State *L, lpg_copy *c);
/* Hooks and other coroutines shall have their turn before the call ends. */
bool lpg_copy_overdue(lpg_op *op);
/* Ends the operation, but not the COPY. e */
void lpg_copy_leave(lua_State *L, lpg_copy *c, const lpg_op *op);
/* The end of a statement of the script: what COPY's tag says. */
int lpg_copy_count(lua_State *L, lpg_op *op, int slot);
/* The request has ended. Answers whether as it should. */
bool lpg_copy_ended(lpg_copy *c, const lpg_op *op);
/* Ends the operation: nil and the error. e */
int lpg_copy_fail(lua_State *L, lpg_op *op);
/* {rowCount = n}, with what the server remarked. e */
void lpg_copy_push_result(lua_State *L, const lpg_copy *c, lpg_op *op);

typedef struct lpg_copied {
  char *bytes; /* a NUL follows; they are unescaped where they lie */
  size_t size;
} lpg_copied;

/* Appends the row to the list at `rows` as number `number`, with the table of
 * names at `names`. What holds no row, the head and the tail of the binary
 * format, appends nothing: answers false. e */
bool lpg_copy_decode(lua_State *L, lpg_copy *c, const lpg_plan *plan,
                     lpg_copied row, int rows, int names, lua_Integer number,
                     lpg_misread *misread);

void lpg_copy_take_open_library(lua_State *L, int core);
void lpg_copy_rows_open_library(lua_State *L, int core);
void lpg_copy_text_open_library(lua_State *L, int core);
void lpg_copy_open_library(lua_State *L, int core);

#endif
