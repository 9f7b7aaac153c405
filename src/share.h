/* SPDX-License-Identifier: MIT */
/* share: what is known of a server's types, in common to the connections of a
 * pool that talk to the same database of it. A transaction sees other types
 * than its neighbours do, its own changes for one: in its course nothing of
 * others is taken over, and what it had to forget it learns for itself.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_SHARE_H
#define LPG_SHARE_H

#include "conn.h"

/* Between transactions the connection at `index` takes over the map that is the
 * common one now. e */
void lpg_share_refresh(lua_State *L, int index);
/* The connection's map is a new one, since the old one may be out of date; or
 * it has learnt something: it becomes the common one, but not in a transaction.
 * e */
void lpg_share_renewed(lua_State *L, int index);
void lpg_share_learnt(lua_State *L, int index);
/* The connection at `index` may have got another server. e */
void lpg_share_leave(lua_State *L, int index);

void lpg_share_open_library(lua_State *L, int core);

#endif
