/* SPDX-License-Identifier: MIT */
#include "gather.h"

#include <lauxlib.h>

/* What a value counts for besides the bytes of a string. */
enum { CELL = 8 };

/* Is it a value that goes into an array as it is? A table and pg.null's like
 * are for others to look at. Adds the bytes of a string. */
static bool plain(lua_State *L, int index, lua_Integer *bytes)
{
  switch (lua_type(L, index)) {
  case LUA_TSTRING:
    *bytes += (lua_Integer)lua_rawlen(L, index);
    return true;
  case LUA_TNUMBER:
  case LUA_TBOOLEAN:
    return true;
  case LUA_TLIGHTUSERDATA:
    return !lua_touserdata(L, index);
  }
  return false;
}

/* The values of the row on the top of the stack, each at n of the list under
 * its name. The number of values; -1: one has no list, or is not plain. e */
static lua_Integer put_row(lua_State *L, int lists, lua_Integer n,
                           lua_Integer *bytes)
{
  int row = lua_gettop(L);
  lua_Integer width = 0;
  for (lua_pushnil(L); lua_next(L, row); width++) {
    lua_pushvalue(L, row + 1);
    if (lua_rawget(L, lists) != LUA_TTABLE || !plain(L, row + 2, bytes))
      return -1;
    lua_pushvalue(L, row + 2);
    lua_rawseti(L, row + 3, n);
    lua_settop(L, row + 1);
  }
  return width;
}

/* core.gather(lists, width, rows, first, last, n, limit): puts the values of
 * rows first..last into the lists under their names, from n + 1 on. Answers how
 * many rows that were, and their bytes: it ends at a row that is no table, has
 * other names, or more or fewer than `width`, or a value that is not plain
 * (what was put for that row counts for nothing), and when the bytes reach the
 * limit. Raw access only. */
static int gather(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_Integer width = luaL_checkinteger(L, 2), first = luaL_checkinteger(L, 4);
  lua_Integer last = luaL_checkinteger(L, 5), n = luaL_checkinteger(L, 6);
  lua_Integer limit = luaL_checkinteger(L, 7), count = 0, bytes = 0;
  lua_settop(L, 3);
  for (; count <= last - first && bytes < limit; count++) {
    lua_Integer more = width * CELL;
    if (lua_rawgeti(L, 3, first + count) != LUA_TTABLE ||
        put_row(L, 1, n + count + 1, &more) != width)
      break;
    bytes += more;
    lua_settop(L, 3);
  }
  lua_pushinteger(L, count);
  lua_pushinteger(L, bytes);
  return 2;
}

/* core.sequence(t): how many values it has, if they lie under 1, 2, ... and
 * there is nothing else in it, nor a length of its own; otherwise nil. Raw
 * access. */
static int sequence(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  if (luaL_getmetafield(L, 1, "__len") != LUA_TNIL)
    return 0;
  lua_Integer last = (lua_Integer)lua_rawlen(L, 1), count = 0;
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    int whole;
    lua_Integer key = lua_tointegerx(L, 2, &whole);
    if (!whole || lua_type(L, 2) != LUA_TNUMBER || key < 1 || key > last)
      return 0;
    count++;
  }
  if (count != last)
    return 0;
  lua_pushinteger(L, last);
  return 1;
}

void lpg_gather_open_library(lua_State *L, int core)
{
  lua_pushcfunction(L, gather);
  lua_setfield(L, core, "gather");
  lua_pushcfunction(L, sequence);
  lua_setfield(L, core, "sequence");
}
