/* SPDX-License-Identifier: MIT */
#include "share.h"
#include "learnt.h"

#include <lauxlib.h>

/* A group, LPG_CONN_GROUP of its members, is a table: {map}. */
enum { MAP = 1 };

static bool is_between(const lpg_conn *c)
{
  return c->wire.pg && PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE;
}

/* The connection's map is the common one from now on. */
static void publish(lua_State *L, int index)
{
  lpg_conn *c = lua_touserdata(L, index);
  lua_getiuservalue(L, index, LPG_CONN_GROUP);
  lua_getiuservalue(L, index, LPG_CONN_TYPES);
  lua_rawseti(L, -2, MAP);
  lua_pop(L, 1);
  c->parted = false;
}

void lpg_share_refresh(lua_State *L, int index)
{
  lpg_conn *c = lua_touserdata(L, index);
  index = lua_absindex(L, index);
  if (!c->shares || !is_between(c))
    return;
  if (c->parted) { /* what was learnt in a transaction may be its own */
    lpg_forget_types(L, index);
    return;
  }
  lua_getiuservalue(L, index, LPG_CONN_GROUP);
  lua_rawgeti(L, -1, MAP);
  c->types = lua_touserdata(L, -1);
  lua_setiuservalue(L, index, LPG_CONN_TYPES);
  lua_pop(L, 1);
}

void lpg_share_renewed(lua_State *L, int index)
{
  lpg_conn *c = lua_touserdata(L, index);
  c->parted = c->shares;
  lpg_share_learnt(L, index);
}

void lpg_share_learnt(lua_State *L, int index)
{
  const lpg_conn *c = lua_touserdata(L, index);
  if (c->parted && is_between(c))
    publish(L, lua_absindex(L, index));
}

void lpg_share_leave(lua_State *L, int index)
{
  lpg_conn *c = lua_touserdata(L, index);
  index = lua_absindex(L, index);
  c->shares = c->parted = false;
  lua_pushnil(L);
  lua_setiuservalue(L, index, LPG_CONN_GROUP);
}

/* core.share_types(db, groups): joins those in the table `groups` that talk to
 * the same. Nobody knows who that is behind a pooler. */
static int share_types(lua_State *L)
{
  lpg_conn *c = lpg_handle_any(L, 1)->conn;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  if (c->shares || c->pooler || !*c->server || !c->wire.pg)
    return 0;
  lua_getiuservalue(L, 1, 1);
  lua_pushfstring(L, "%s\n%s\n%s\n%s", PQhost(c->wire.pg), PQport(c->wire.pg),
                  PQdb(c->wire.pg), c->server);
  lua_pushvalue(L, -1);
  if (lua_rawget(L, 2) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_createtable(L, 1, 0);
    lua_getiuservalue(L, 3, LPG_CONN_TYPES);
    lua_rawseti(L, -2, MAP);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
  }
  lua_setiuservalue(L, 3, LPG_CONN_GROUP);
  c->shares = true;
  return 0;
}

void lpg_share_open_library(lua_State *L, int core)
{
  lua_pushcfunction(L, share_types);
  lua_setfield(L, core, "share_types");
}
