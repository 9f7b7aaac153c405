/* SPDX-License-Identifier: MIT */
/* notify: what NOTIFY sent to this session, in a bounded queue: libpq would
 * hoard it without bound. Knows no Lua. */
#ifndef LPG_NOTIFY_H
#define LPG_NOTIFY_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

enum { LPG_NOTIFIES = 1000, LPG_NOTIFY_BYTES = 1024 * 1024 };

typedef struct lpg_notifies {
  PGnotify **ring; /* LPG_NOTIFIES places, made for the first one */
  unsigned first, count;
  size_t bytes;
  double dropped; /* over the bounds, since one was last taken */
} lpg_notifies;

/* Takes what libpq has. Answers whether there was any. */
bool lpg_notifies_take(lpg_notifies *queue, PGconn *pg);
/* The oldest, for the caller to give to PQfreemem; or NULL. */
PGnotify *lpg_notifies_next(lpg_notifies *queue);
void lpg_notifies_clear(lpg_notifies *queue);

#endif
