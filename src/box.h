/* SPDX-License-Identifier: MIT */
/* box: a buffer in a userdata, owned by Lua before it holds anything; and a
 * userdata's type, looked at the short way.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_BOX_H
#define LPG_BOX_H

#include <lua.h>

#include "buffer.h"

/* Pushes it; freed when closed (lua_toclose) or collected. e */
lpg_buffer *lpg_box_new(lua_State *L);
/* luaL_checkudata at a fourth of its cost: for functions that each call goes
 * through, whose first upvalue is the metatable. e */
void *lpg_box_check(lua_State *L, int index, const char *name);

void lpg_box_open_library(lua_State *L);

#endif
