/* SPDX-License-Identifier: MIT */
/* codec_mark: metatables that say what a table alone does not: that it is a
 * list, where its indexes begin in PostgreSQL, that it wraps a value. */
#include <lua.h>

#include "codec.h"

const char lpg_list_mark = 'l';
const char lpg_wrapper_mark = 'w';
static const char bounds_mark = 'b';

void lpg_mark_list(lua_State *L)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_list_mark);
  lua_setmetatable(L, -2); /* nil where no module has set the mark up */
}

/* Whether the value is a table with the metatable under this key. */
static bool has_mark(lua_State *L, int index, const char *key)
{
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
    return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

bool lpg_is_marked(lua_State *L, int index)
{
  return has_mark(L, index, &lpg_list_mark);
}

bool lpg_is_wrapper(lua_State *L, int index)
{
  return has_mark(L, index, &lpg_wrapper_mark);
}

void lpg_mark_bounds(lua_State *L, const int32_t *lower, int dimensions)
{
  lua_createtable(L, 0, 3);
  lua_createtable(L, dimensions, 0);
  for (int i = 0; i < dimensions; i++) {
    lua_pushinteger(L, lower[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "lower");
  lua_pushliteral(L, "pg.array");
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, 1);
  lua_rawsetp(L, -2, &bounds_mark); /* no other metatable has this key */
  lua_setmetatable(L, -2);
}

bool lpg_push_bounds(lua_State *L, int index)
{
  if (!lua_getmetatable(L, index))
    return false;
  bool ours = lua_rawgetp(L, -1, &bounds_mark) != LUA_TNIL;
  lua_pop(L, 1);
  lua_pushliteral(L, "lower");
  ours = lua_rawget(L, -2) == LUA_TTABLE && ours;
  lua_remove(L, -2);
  if (!ours)
    lua_pop(L, 1);
  return ours;
}
