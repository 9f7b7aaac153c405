/* SPDX-License-Identifier: MIT */
/* box: a buffer in a userdata, owned by Lua before it holds anything. */
#ifndef LPG_BOX_H
#define LPG_BOX_H

#include <lua.h>

#include "buffer.h"

/* Pushes it; freed when closed (lua_toclose) or collected. e */
lpg_buffer *lpg_box_new(lua_State *L);
void lpg_box_open_library(lua_State *L);

#endif
