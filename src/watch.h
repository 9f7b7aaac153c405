/* SPDX-License-Identifier: MIT */
/* watch: looks, while COPY data is being sent, whether the server has ended
 * the COPY already: libpq does not read an error as long as data may be put.
 * Nothing is taken from the socket. Knows no Lua. */
#ifndef LPG_WATCH_H
#define LPG_WATCH_H

#include <libpq-fe.h>

typedef enum lpg_sight {
  LPG_BLIND,   /* it cannot be seen: libpq has to take it in */
  LPG_NOTHING, /* to be seen */
  LPG_REMARKS, /* little enough to be left where it is: libpq would take along
                  what follows it meanwhile */
  LPG_SPEAKS,  /* more, or the end of the connection: for libpq to take in */
  LPG_REFUSED  /* the server has told an error, or waits for a statement */
} lpg_sight;

lpg_sight lpg_watch(PGconn *pg);

#endif
