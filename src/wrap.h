/* SPDX-License-Identifier: MIT */
/* wrap: pg.json, pg.bytea, pg.typed and pg.array, which say of a value what it
 * is; and a table as PostgreSQL's text, for parts of statements that the Lua
 * layer puts together.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_WRAP_H
#define LPG_WRAP_H

#include <lua.h>

void lpg_wrap_open_library(lua_State *L, int core);

#endif
