/* SPDX-License-Identifier: MIT */
#include "learnt.h"

#include "share.h"
#include "statement.h"

void lpg_forget(lua_State *L, int index)
{
  lpg_statement_forget(L, index);
  lpg_forget_tables(L, index);
  lpg_forget_types(L, index);
}

/* What the codecs are for is the same in the new map, as far as is known. */
static void code_types(lua_State *L, int index, int map)
{
  if (lua_getiuservalue(L, index, LPG_CONN_CODED) == LUA_TTABLE)
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i += 2) {
      uint32_t oid = (uint32_t)lua_tointeger(L, -1);
      lua_pop(L, 1);
      lua_rawgeti(L, -1, i + 1);
      lpg_typemap_code(L, map, oid);
    }
}

void lpg_forget_types(lua_State *L, int index)
{
  lpg_conn *c = lua_touserdata(L, index);
  index = lua_absindex(L, index);
  lua_pushnil(L);
  lua_setiuservalue(L, index, LPG_CONN_NAMES);
  lpg_typemap *types = lpg_typemap_new(L);
  if (c->codecs) {
    int map = lua_gettop(L);
    code_types(L, index, map);
    lua_settop(L, map);
    c->codecs_due = true;
  }
  lua_setiuservalue(L, index, LPG_CONN_TYPES);
  c->types = types;
  lpg_share_renewed(L, index);
}

void lpg_forget_tables(lua_State *L, int index)
{
  index = lua_absindex(L, index);
  lua_newtable(L);
  lua_setiuservalue(L, index, LPG_CONN_CATALOG);
}

void lpg_forget_undone(lua_State *L, int index)
{
  lpg_conn *c = lua_touserdata(L, index);
  if (c->recent)
    lpg_forget_types(L, index);
  c->recent = false;
}
