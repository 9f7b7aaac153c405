/* SPDX-License-Identifier: MIT */
/* result: what the plain table of an action's result knows besides its
 * fields: columns(), notices(), json(). Reached through its metatable, so
 * that pairs() shows the fields alone.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_RESULT_H
#define LPG_RESULT_H

#include <lua.h>

#include "notice.h"

/* Sets the metatable of the table on the top. plan: the stack index of the
 * plan of its columns, 0 for none. Empties the queue. e */
void lpg_result_finish(lua_State *L, int plan, lpg_notices *queue);

void lpg_result_open_library(lua_State *L, int core);

#endif
