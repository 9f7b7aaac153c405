/* SPDX-License-Identifier: MIT */
/* notice: what the server says beside its results, in a bounded queue. Fed by
 * libpq's callback, which never enters Lua; read when no libpq call runs. */
#ifndef LPG_NOTICE_H
#define LPG_NOTICE_H

#include <libpq-fe.h>
#include <stddef.h>

enum { LPG_NOTICES = 100, LPG_NOTICE_BYTES = 64 * 1024 };

typedef struct lpg_notice {
  struct lpg_notice *next;
  size_t size;
  /* severity, SQLSTATE, message, detail, hint: NULL where absent */
  const char *field[5];
} lpg_notice;

typedef struct lpg_notices {
  lpg_notice *first, *last;
  size_t bytes;
  unsigned count;  /* held now */
  size_t dropped;  /* over the bounds since the queue was last emptied */
  size_t received; /* bytes on the wire, ever: of messages that came whole */
} lpg_notices;

/* `queue` must outlive the connection. */
void lpg_notices_receive(lpg_notices *queue, PGconn *pg);
void lpg_notices_clear(lpg_notices *queue);

#endif
