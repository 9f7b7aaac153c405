/* SPDX-License-Identifier: MIT */
/* queue: what a pipeline holds: statements with their values, taken when they
 * are queued. Short strings are copied, long ones stay where Lua has them.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_QUEUE_H
#define LPG_QUEUE_H

#include "buffer.h"
#include "run.h"
#include "statement.h"

/* A pipeline's user values: its own handle, which holds it in turn; the
 * transaction's lease; texts with what is known of them; values that wait as
 * they are; the error of a call that was refused. */
enum {
  LPG_PIPE_HANDLE = 1,
  LPG_PIPE_LEASE,
  LPG_PIPE_TEXTS,
  LPG_PIPE_HELD,
  LPG_PIPE_FAILURE
};
enum { LPG_PIPE_VALUES = LPG_PIPE_FAILURE, LPG_PIPE_HOLDER = 2 };

/* Values on their way, first queued, first sent. */
typedef struct lpg_chunk {
  struct lpg_chunk *next;
  size_t used, size;
  char bytes[];
} lpg_chunk;

/* A statement. Its values are converted when it is sent, if they mean the same
 * to every type; else they have been. Behind these lie their types, if any is
 * declared, and their lengths and formats, if any is binary. */
typedef struct lpg_item {
  const char **values; /* NULL: they are held from `held` on */
  size_t bytes;
  lua_Integer held;
  int count, text, settings;
  unsigned char action;
  bool typed, binary;
} lpg_item;

typedef struct lpg_text {
  const char *sql; /* in Lua's memory */
  size_t length;
  bool again;   /* it means the same when it is run again */
  bool commits; /* it might, in its middle */
  bool asked;   /* the server has said what it takes */
} lpg_text;

typedef struct lpg_pipeline {
  lpg_buffer items, texts, settings;
  lpg_chunk *first, *last;
  bool open; /* to be queued into */
  bool sending;
  lua_Integer held;   /* values */
  int places;         /* that were asked for, also by calls that were refused */
  const char *leader; /* goes before the items; or NULL */
  int lead;           /* commands before the items: 1 with a leader, else 0 */
  int sent;           /* items */
  int answered;       /* items, to their end */
  int at;             /* whose answer comes */
  int parsed; /* the item whose text the server has parsed last, or -1 */
  int failed; /* the place of the item that failed, from 1; 0: none */
} lpg_pipeline;

static inline lpg_item *lpg_item_at(const lpg_pipeline *p, int i)
{
  return (lpg_item *)(void *)p->items.data + i;
}

static inline lpg_text *lpg_text_at(const lpg_pipeline *p, int i)
{
  return (lpg_text *)(void *)p->texts.data + i;
}

static inline lpg_settings *lpg_settings_at(const lpg_pipeline *p, int i)
{
  return (lpg_settings *)(void *)p->settings.data + i;
}

static inline int lpg_count_items(const lpg_pipeline *p)
{
  return (int)(p->items.length / sizeof(lpg_item));
}

static inline int lpg_count_texts(const lpg_pipeline *p)
{
  return (int)(p->texts.length / sizeof(lpg_text));
}

static inline Oid *lpg_item_types(const lpg_item *one)
{
  return (Oid *)(void *)(one->values + one->count);
}

static inline int *lpg_item_lengths(const lpg_item *one)
{
  return (int *)(void *)(lpg_item_types(one) + (one->typed ? one->count : 0));
}

/* The pipeline at 1, open; its functions have the metatable as first upvalue.
 * e */
lpg_pipeline *lpg_pipeline_check(lua_State *L);
extern const char *const lpg_pipeline_name;
/* The action of a script: the pipeline at 1, the call above it. Answers the
 * place in the results; or nil and an error. May wait. e */
int lpg_queue_put(lua_State *L, lpg_action action);
/* nil and the error on the top are what comes of the pipeline, too, whose
 * handle is at HANDLE. Answers 2. e */
int lpg_queue_refuse(lua_State *L);
/* A C function (handle, SQL, values...): makes the connection ready, and learns
 * types where they matter. What is known, or nil and an error. e */
int lpg_queue_learn(lua_State *L);
/* Pushes what is known of the text with this number. */
lpg_statement *lpg_text_known(lua_State *L, int texts, int number);
/* What lies before the chunk that holds these values has been sent. */
void lpg_queue_drop_sent(lpg_pipeline *p, const lpg_item *next);
void lpg_queue_free(lpg_pipeline *p);

#endif
