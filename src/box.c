/* SPDX-License-Identifier: MIT */
#include "box.h"

#include <lauxlib.h>
#include <stdbool.h>

static const char *const name = "pg.buffer/1";

static int release(lua_State *L)
{
  lpg_buffer_free(luaL_checkudata(L, 1, name));
  return 0;
}

lpg_buffer *lpg_box_new(lua_State *L)
{
  lpg_buffer *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (lpg_buffer){0};
  luaL_setmetatable(L, name);
  return b;
}

void *lpg_box_check(lua_State *L, int index, const char *name_of_type)
{
  void *data = lua_touserdata(L, index);
  if (!data || !lua_getmetatable(L, index))
    return luaL_checkudata(L, index, name_of_type);
  bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
  lua_pop(L, 1);
  return same ? data : luaL_checkudata(L, index, name_of_type);
}

void lpg_box_open_library(lua_State *L)
{
  static const luaL_Reg meta[] = {
      {"__gc", release}, {"__close", release}, {NULL, NULL}};
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
