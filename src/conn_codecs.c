/* SPDX-License-Identifier: MIT */
#include "conn_codecs.h"

#include <lauxlib.h>
#include <stdlib.h>

#include "collect.h"
#include "error.h"
#include "learnt.h"
#include "send.h"
#include "share.h"

/* What LPG_CONN_CODECS holds: functions by name; the names as an array. */
enum { BY_NAME = 1, NAMES_TEXT };

bool lpg_codecs_due(const lpg_conn *c)
{
  return (c->codecs_due || c->torn) &&
         PQtransactionStatus(c->wire.pg) != PQTRANS_INERROR;
}

int lpg_codecs_ask(lua_State *L, lpg_op *op, int slot)
{
  lua_getiuservalue(L, slot + CONN, LPG_CONN_CODECS);
  lua_rawgeti(L, -1, NAMES_TEXT);
  const char *values[] = {lua_tostring(L, -1)};
  const lpg_request request = {
      .kind = LPG_STATEMENT,
      .sql = "SELECT c.name, t.type::pg_catalog.oid FROM "
             "pg_catalog.unnest($1::pg_catalog.text[]) AS c (name), LATERAL "
             "pg_catalog.to_regtype(c.name) AS t (type) "
             "WHERE t.type IS NOT NULL",
      .count = 1,
      .values = values};
  lua_newtable(L);
  lua_replace(L, slot + ROWS);
  return lpg_send(L, op, slot, LPG_AT_CODECS, &request);
}

void lpg_codecs_take(lua_State *L, int slot, const PGresult *answer)
{
  int top = lua_gettop(L);
  lua_getiuservalue(L, slot + CONN, LPG_CONN_CODECS);
  lua_rawgeti(L, -1, BY_NAME);
  for (int row = 0; row < PQntuples(answer) && PQnfields(answer) == 2; row++) {
    lua_Integer next = (lua_Integer)lua_rawlen(L, slot + ROWS) + 1;
    lua_pushinteger(L, strtoll(PQgetvalue(answer, row, 1), NULL, 10));
    lua_rawseti(L, slot + ROWS, next);
    if (lua_getfield(L, top + 2, PQgetvalue(answer, row, 0)) == LUA_TTABLE)
      lua_rawseti(L, slot + ROWS, next + 1);
  }
  lua_settop(L, top);
}

/* Are they for the types that they were for? Then what is known of these holds.
 */
static bool is_same(lua_State *L, int slot)
{
  int top = lua_gettop(L);
  bool same = lua_getiuservalue(L, slot + CONN, LPG_CONN_CODED) == LUA_TTABLE &&
              lua_rawlen(L, -1) == lua_rawlen(L, slot + ROWS);
  for (lua_Integer i = same ? (lua_Integer)lua_rawlen(L, -1) : 0; i > 0 && same;
       i--) {
    lua_rawgeti(L, top + 1, i);
    lua_rawgeti(L, slot + ROWS, i);
    same = lua_rawequal(L, -1, -2);
    lua_settop(L, top + 1);
  }
  lua_settop(L, top);
  return same;
}

void lpg_codecs_settle(lua_State *L, lpg_conn *c, int slot)
{
  bool same = !c->torn && is_same(L, slot);
  lua_pushvalue(L, slot + ROWS);
  lua_setiuservalue(L, slot + CONN, LPG_CONN_CODED);
  lpg_put_nil(L, slot + ROWS);
  if (!same)
    lpg_forget_types(L, slot + CONN);
  c->codecs_due = c->torn = false;
}

/* core.codecs(db): the table of codecs by name, or nil.
 * core.codecs(db, by_name, names): another one, names being its keys as an
 * array; or nil for none. What was learnt of statements is forgotten. */
static int codecs(lua_State *L)
{
  lpg_conn *c = lpg_handle_check(L, 1)->conn;
  bool sets = lua_gettop(L) > 1;
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, 1);
  if (lua_getiuservalue(L, 4, LPG_CONN_CODECS) == LUA_TTABLE)
    lua_rawgeti(L, 5, BY_NAME);
  else
    lua_pushnil(L);
  if (!sets || lua_rawequal(L, 6, 2))
    return 1;
  lua_createtable(L, 2, 0);
  for (int i = BY_NAME; i <= NAMES_TEXT; i++) {
    lua_pushvalue(L, 1 + i);
    lua_rawseti(L, 7, i);
  }
  c->codecs = lua_istable(L, 2);
  if (!c->codecs) {
    lua_pushnil(L);
    lua_replace(L, 7);
  }
  lua_setiuservalue(L, 4, LPG_CONN_CODECS);
  lua_pushnil(L);
  lua_setiuservalue(L, 4, LPG_CONN_CODED);
  c->codecs_due = c->codecs;
  lpg_share_leave(L, 4);
  lpg_forget(L, 4);
  return 0;
}

void lpg_codecs_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {{"codecs", codecs}, {NULL, NULL}};
  lua_pushvalue(L, core);
  lpg_handle_type(L);
  luaL_setfuncs(L, functions, 1);
  lua_pop(L, 1);
}
