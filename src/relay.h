/* SPDX-License-Identifier: MIT */
/* relay: bounds what libpq can swallow in one call. libpq reserves a whole
 * message as soon as it has the header and then reads until the socket is
 * dry, so one huge value would arrive in one uninterruptible gulp. While
 * engaged, libpq's descriptor number is one end of a socket pair, the real
 * socket is kept aside, and bytes are handed over in slices that are counted.
 * Nothing is parsed: TLS passes through as it is. Knows no Lua. */
#ifndef LPG_RELAY_H
#define LPG_RELAY_H

#include <stdbool.h>
#include <stddef.h>

enum { LPG_SLICE = 64 * 1024 };

typedef struct lpg_relay {
  int number; /* the descriptor number that libpq uses */
  int real;   /* the server's socket, -1 when not engaged */
  int inner;  /* our end of the pair */
  char *slice;
  size_t from, to; /* in `slice`: read from the server, not yet handed over */
} lpg_relay;

#define LPG_RELAY_INIT                                                         \
  (lpg_relay)                                                                  \
  {                                                                            \
    .real = -1, .inner = -1                                                    \
  }

static inline bool lpg_relay_engaged(const lpg_relay *r)
{
  return r->real >= 0;
}

/* The bytes that can be read from the descriptor. */
int lpg_readable(int fd);
/* Answers false, with nothing changed, when descriptors or memory are short. */
bool lpg_relay_engage(lpg_relay *r, int number);
/* Moves at most one slice each way. The bytes that reached libpq's end, or -1
 * when the server closed its side (libpq then sees the end as well). */
long lpg_relay_pump(lpg_relay *r);
/* Is anything left for libpq to read before the real socket counts again? */
bool lpg_relay_pending(const lpg_relay *r);
/* Does the real socket have to become writable? */
bool lpg_relay_blocked(const lpg_relay *r);
/* Gives libpq its socket back. Only when nothing is pending. Answers false,
 * and stays engaged, when something is still on its way to the server. */
bool lpg_relay_release(lpg_relay *r);
/* After PQfinish closed libpq's end. */
void lpg_relay_close(lpg_relay *r);

#endif
