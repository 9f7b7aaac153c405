/* SPDX-License-Identifier: MIT */
/* stream: the rows of db:each, decoded in portions of what has arrived. It
 * holds its connection from its first row to the end of the answer.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_STREAM_H
#define LPG_STREAM_H

#include "await.h"
#include "hold.h"

typedef struct lpg_stream {
  lpg_hold hold;
  lpg_settings settings;
  lua_Integer rows;   /* decoded so far */
  lua_Integer at, to; /* of the portion at hand: given out, decoded */
  bool ended;         /* no more will come */
  bool closed;
} lpg_stream;

/* What it keeps for run.c, as user values. */
enum {
  LPG_STREAM_HANDLE = 1,
  LPG_STREAM_SQL,
  LPG_STREAM_PLAN,
  LPG_STREAM_NAMES,
  LPG_STREAM_ROWS,
  LPG_STREAM_ERROR, /* that followed the rows */
  LPG_STREAM_VALUES = LPG_STREAM_ERROR
};

enum { LPG_PORTION = 64, LPG_PORTION_BYTES = 64 * 1024 };

/* Pushes a stream for the handle and the SQL text at the indexes. e */
lpg_stream *lpg_stream_new(lua_State *L, int handle, int sql,
                           const lpg_settings *settings);
/* Pushes what a generic `for` takes, with the stream at `index`. Answers 4. e
 */
int lpg_stream_iterate(lua_State *L, int index);
/* Pushes the next row of the stream at `index`, or what ends it. e */
int lpg_stream_give(lua_State *L, int index);

/* The rows of the portion that an operation of LPG_EACH has decoded; is that
 * enough? */
lua_Integer lpg_stream_portion(const lpg_op *op);
bool lpg_stream_is_full(const lpg_op *op);
/* Ends the operation, but not, maybe, the answer, and gives the first row. e */
int lpg_stream_deliver(lua_State *L, lpg_op *op, int slot, bool ended);
/* Ends the operation with the error whose fields are on the top: it is raised
 * when the rows before it have been given. e */
int lpg_stream_fail(lua_State *L, int slot);

void lpg_stream_open_library(lua_State *L);

#endif
