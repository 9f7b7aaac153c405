/* SPDX-License-Identifier: MIT */
#ifndef LPG_ACTIONS_H
#define LPG_ACTIONS_H

#include <lua.h>

void lpg_actions_open_library(lua_State *L, int core);

#endif
