/* SPDX-License-Identifier: MIT */
/* fetch: a request's answer, one step at a time: flushing, reading under the
 * relay, counting bytes, sorting results, and the end at ReadyForQuery.
 * Belongs to wire, and like it knows no Lua. */
#ifndef LPG_FETCH_H
#define LPG_FETCH_H

#include "wire.h"

enum { LPG_STRETCH = 64 }; /* results between looks at the clock */

/* Asks libpq for the rows of the statement that answers next one by one, or in
 * chunks. */
bool lpg_fetch_by_rows(lpg_wire *w);

/* The next step of a request that is fetching or draining. */
lpg_step lpg_fetch(lpg_wire *w);

/* While a row of COPY TO STDOUT is at hand: the next one in its place, if it is
 * there already. After false the next step goes on. */
bool lpg_fetch_data(lpg_wire *w);

/* The next step of a connection that waits for a notification. */
lpg_step lpg_fetch_notification(lpg_wire *w);

#endif
