/* SPDX-License-Identifier: MIT */
/* listen: db:notification. LISTEN itself is a statement, in lua/pg/listen.lua.
 */
#ifndef LPG_LISTEN_H
#define LPG_LISTEN_H

#include <lua.h>

void lpg_listen_open_library(lua_State *L, int core);

#endif
