/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <lauxlib.h>

#include "collect.h"
#include "error.h"
#include "outcome.h"
#include "prepare.h"
#include "run.h"

static const char *const name = "pg.stream/1";

lpg_stream *lpg_stream_new(lua_State *L, int handle, int sql,
                           const lpg_settings *settings)
{
  lpg_stream *s = lua_newuserdatauv(L, sizeof *s, LPG_STREAM_VALUES);
  *s = (lpg_stream){.settings = *settings};
  luaL_setmetatable(L, name);
  lpg_hold_init(L, &s->hold, "the rows of db:each");
  lua_pushvalue(L, handle);
  lua_setiuservalue(L, -2, LPG_STREAM_HANDLE);
  lua_pushvalue(L, sql);
  lua_setiuservalue(L, -2, LPG_STREAM_SQL);
  return s;
}

int lpg_stream_give(lua_State *L, int index)
{
  lpg_stream *s = lua_touserdata(L, index);
  if (s->at < s->to) {
    lua_getiuservalue(L, index, LPG_STREAM_ROWS);
    lua_rawgeti(L, -1, ++s->at);
    lua_pushnil(L); /* it is the program's alone now */
    lua_rawseti(L, -3, s->at);
    return 1;
  }
  if (lua_getiuservalue(L, index, LPG_STREAM_ERROR) == LUA_TNIL)
    return 1;       /* the end */
  s->closed = true; /* a further call must not look like the end */
  return lua_error(L);
}

/* next(stream): a row; nil at the end; raises what went wrong. */
static int next(lua_State *L)
{
  lpg_stream *s = luaL_checkudata(L, 1, name);
  if (s->closed)
    return lpg_raise(L, "the iterator of db:each has ended");
  if (!s->ended && !s->hold.conn)
    return lpg_raise(L, "the statement of db:each was ended before its last "
                        "row, by the end of its transaction or connection");
  if (s->at < s->to || s->ended)
    return lpg_stream_give(L, 1);
  return lpg_run_on(L);
}

int lpg_stream_iterate(lua_State *L, int index)
{
  lua_pushcfunction(L, next);
  lua_pushvalue(L, index);
  lua_pushnil(L);
  lua_pushvalue(L, index);
  return 4;
}

/* --- portions --------------------------------------------------------- */

lua_Integer lpg_stream_portion(const lpg_op *op)
{
  return op->action == LPG_EACH ? op->rows - op->before : 0;
}

bool lpg_stream_is_full(const lpg_op *op)
{
  lua_Integer rows = lpg_stream_portion(op);
  return rows > 0 &&
         (rows >= LPG_PORTION ||
          op->conn->wire.received * (double)rows > LPG_PORTION_BYTES);
}

int lpg_stream_deliver(lua_State *L, lpg_op *op, int slot, bool ended)
{
  int index = slot + OBJECT;
  lpg_stream *s = lua_touserdata(L, index);
  lua_pushvalue(L, slot + PLAN);
  lua_setiuservalue(L, index, LPG_STREAM_PLAN);
  lua_pushvalue(L, slot + NAMES);
  lua_setiuservalue(L, index, LPG_STREAM_NAMES);
  lua_pushvalue(L, slot + ROWS);
  lua_setiuservalue(L, index, LPG_STREAM_ROWS);
  bool first = op->before == 0;
  if (first)
    lpg_prepare_settle(L, op->conn, slot + CONN, slot + STATEMENT);
  s->rows = op->rows;
  s->at = 0;
  s->to = lpg_stream_portion(op);
  s->ended = ended;
  if (ended)
    lpg_hold_end(&s->hold);
  else
    lpg_hold_begin(&s->hold, op->conn);
  if (s->closed) /* while this coroutine waited */
    lpg_hold_break(&s->hold);
  lpg_op_end(L, slot);
  return first ? lpg_stream_iterate(L, index) : lpg_stream_give(L, index);
}

int lpg_stream_fail(lua_State *L, int slot)
{
  int index = slot + OBJECT;
  const lpg_op *op = lua_touserdata(L, slot);
  lpg_stream *s = lua_touserdata(L, index);
  bool first = op->before == 0;
  s->ended = true;
  lpg_hold_end(&s->hold);
  s->at = 0;
  s->to = op->misread ? 0 : op->rows - op->before;
  lua_pushvalue(L, slot + ROWS);
  lua_setiuservalue(L, index, LPG_STREAM_ROWS); /* the fields are on the top */
  lpg_outcome_fail(L, slot, SQL);
  if (s->at == s->to) {
    s->closed = true;
    return lua_error(L);
  }
  lua_setiuservalue(L, index, LPG_STREAM_ERROR);
  return first ? lpg_stream_iterate(L, index) : lpg_stream_give(L, index);
}

/* --- closing ---------------------------------------------------------- */

static int collect(lua_State *L)
{
  lpg_stream *s = luaL_checkudata(L, 1, name);
  lpg_hold_break(&s->hold);
  s->closed = true;
  return 0;
}

/* Where another coroutine waits for a row of it, that call has to end first. */
static int stream_close(lua_State *L)
{
  lpg_stream *s = luaL_checkudata(L, 1, name);
  lpg_conn *c = s->hold.conn;
  if (!c || !lpg_op_blocks(c))
    return collect(L);
  s->closed = true;
  lpg_wire_stop(&c->wire, LPG_CANCELLED);
  return 0;
}

void lpg_stream_open_library(lua_State *L)
{
  static const luaL_Reg meta[] = {
      {"__close", stream_close}, {"__gc", collect}, {NULL, NULL}};
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
