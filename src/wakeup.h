/* SPDX-License-Identifier: MIT */
/* wakeup: a descriptor that becomes ready to be read at a word from elsewhere
 * in the program: what one coroutine waits for until another one calls it.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_WAKEUP_H
#define LPG_WAKEUP_H

#include <lua.h>

void lpg_wakeup_open_library(lua_State *L, int core);

#endif
