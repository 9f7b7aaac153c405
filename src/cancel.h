/* SPDX-License-Identifier: MIT */
/* cancel: asks the server to stop a statement, without blocking the caller.
 * PQcancel and PQcancelBlocking may block for ever, so a helper thread calls
 * them: signals blocked, a small stack, its own copy of what it needs, never
 * near Lua. Its pipe becomes readable when it is done. The caller may walk
 * away at any time. Knows no Lua; the one place that looks at libpq's
 * version. */
#ifndef LPG_CANCEL_H
#define LPG_CANCEL_H

#include <libpq-fe.h>
#include <stdbool.h>

typedef struct lpg_cancel {
  int done; /* readable once the request has been answered; -1: none */
} lpg_cancel;

/* Answers false when no thread, pipe or memory can be had. */
bool lpg_cancel_start(lpg_cancel *c, PGconn *pg);
/* Forgets the request, whether it has ended or not. */
void lpg_cancel_forget(lpg_cancel *c);

#endif
