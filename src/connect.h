/* SPDX-License-Identifier: MIT */
#ifndef LPG_CONNECT_H
#define LPG_CONNECT_H

#include <lua.h>

void lpg_connect_open_library(lua_State *L, int core);

#endif
