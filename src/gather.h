/* SPDX-License-Identifier: MIT */
/* gather: a row's values into lists by column, for bulk work: it does for each
 * value what would take Lua most of its time. Sees no libpq. */
#ifndef LPG_GATHER_H
#define LPG_GATHER_H

#include <lua.h>
#include <stdbool.h>

void lpg_gather_open_library(lua_State *L, int core);

#endif
