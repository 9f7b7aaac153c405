/* SPDX-License-Identifier: MIT */
#include "hold.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

void lpg_hold_init(lua_State *L, lpg_hold *h, const char *what)
{
  *h = (lpg_hold){.what = what};
  lpg_where(L);
  const char *place = lua_tostring(L, -1);
  size_t length = strlen(place);
  if (length > 2) /* ": " */
    snprintf(h->place, sizeof h->place, " at %.*s", (int)length - 2, place);
  lua_pop(L, 1);
}

void lpg_hold_begin(lpg_hold *h, lpg_conn *c)
{
  h->conn = c;
  c->hold = h;
}

void lpg_hold_end(lpg_hold *h)
{
  if (h->conn)
    h->conn->hold = NULL;
  h->conn = NULL;
}

void lpg_hold_break(lpg_hold *h)
{
  lpg_conn *c = h->conn;
  if (!c)
    return;
  lpg_hold_end(h);
  if (!lpg_wire_busy(&c->wire) || !lpg_process_is_ours(&c->process))
    return;
  c->astray |= h->guarded;
  lpg_wire_stop(&c->wire, LPG_ABANDONED);
}
