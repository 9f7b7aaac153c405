/* SPDX-License-Identifier: MIT */
/* lend: a pool's connection in the hands of one user at a time. What the user
 * gets is a handle with a lease; when the lease ends, so do the handles made
 * from it. Then the session is made as new, without waiting for it: whoever is
 * lent it next does.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_LEND_H
#define LPG_LEND_H

#include "conn.h"

/* The borrowed handle at 1 goes back to its pool. Twice is once. e */
int lpg_lend_back(lua_State *L);

void lpg_lend_open_library(lua_State *L, int core);

#endif
