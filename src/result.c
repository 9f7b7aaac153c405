/* SPDX-License-Identifier: MIT */
#include "result.h"

#include <lauxlib.h>

#include "box.h"
#include "codec.h"
#include "error.h"
#include "rows.h"

static const char methods_key = 0;
static const char plain_key = 0; /* the metatable of results without columns */

/* {__index = methods, __name, plan = , notices = } */
static void push_meta(lua_State *L, int plan)
{
  lua_createtable(L, 0, 4);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &methods_key);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, "pg.result");
  lua_setfield(L, -2, "__name");
  if (plan) {
    lua_pushvalue(L, plan);
    lua_setfield(L, -2, "plan");
  }
}

static void push_notices(lua_State *L, lpg_notices *queue)
{
  static const char *const names[] = {"severity", "sqlstate", "message",
                                      "detail", "hint"};
  lua_createtable(L, (int)queue->count, 1);
  lua_Integer i = 0;
  for (const lpg_notice *n = queue->first; n; n = n->next) {
    lua_createtable(L, 0, 5);
    for (int f = 0; f < 5; f++)
      lpg_error_string(L, names[f], n->field[f]);
    lua_rawseti(L, -2, ++i);
  }
  if (queue->dropped > 0)
    lpg_error_number(L, "dropped", (double)queue->dropped);
  lpg_notices_clear(queue);
}

void lpg_result_finish(lua_State *L, int plan, lpg_notices *queue)
{
  if (queue->first || queue->dropped) {
    push_meta(L, plan);
    push_notices(L, queue);
    lua_setfield(L, -2, "notices");
  } else if (!plan) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &plain_key);
  } else if (lua_getiuservalue(L, plan, LPG_PLAN_META) != LUA_TTABLE) {
    lua_pop(L, 1);
    push_meta(L, plan);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, plan, LPG_PLAN_META);
  }
  lua_setmetatable(L, -2);
}

/* Pushes what the metatable of the result at 1 holds under `field`. */
static int about(lua_State *L, const char *field)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  if (!lua_getmetatable(L, 1))
    return luaL_argerror(L, 1, "not a result of this module");
  return lua_getfield(L, -1, field);
}

/* result:columns(): a list of {name=, type=, oid=}. */
static int columns(lua_State *L)
{
  lua_newtable(L);
  int list = lua_gettop(L);
  about(L, "plan");
  const lpg_plan *plan = lpg_plan_test(L, -1);
  for (int i = 0; plan && i < plan->count; i++) {
    const lpg_column *column = &plan->columns[i];
    lua_createtable(L, 0, 3);
    lpg_error_string(L, "name", column->name);
    lpg_error_string(L, "type", column->type ? column->type->name : NULL);
    lua_pushinteger(L, column->oid);
    lua_setfield(L, -2, "oid");
    lua_rawseti(L, list, i + 1);
  }
  lua_settop(L, list);
  return 1;
}

/* result:notices(): a list of {severity=, sqlstate=, message=, ...}. */
static int notices(lua_State *L)
{
  if (about(L, "notices") != LUA_TTABLE)
    lua_newtable(L);
  return 1;
}

/* pg.encode(value), result:json(): JSON text. */
static int encode(lua_State *L)
{
  lpg_fault fault;
  luaL_checkany(L, 1);
  lpg_buffer *out = lpg_box_new(L);
  if (!lpg_json_encode(L, 1, out, &fault)) {
    lpg_fault_push(L, &fault);
    lpg_error_new(L, "invalid_parameter", "%s", lua_tostring(L, -1));
    return lpg_error_return(L);
  }
  if (out->failed)
    return luaL_error(L, "not enough memory");
  lua_pushlstring(L, out->data, out->length);
  lpg_buffer_free(out);
  return 1;
}

/* core.json_decode(text): the value, or nil and what is wrong. */
static int json_decode(lua_State *L)
{
  size_t length;
  const char *bytes = luaL_checklstring(L, 1, &length);
  const char *problem = lpg_json_decode(L, bytes, length);
  if (!problem)
    return 1;
  lua_pushnil(L);
  lua_pushstring(L, problem);
  return 2;
}

/* core.result(t): a table that the Lua layer made, as a result like any other.
 */
static int as_result(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &plain_key);
  lua_setmetatable(L, 1);
  return 1;
}

void lpg_result_open_library(lua_State *L, int core)
{
  static const luaL_Reg methods[] = {{"columns", columns},
                                     {"notices", notices},
                                     {"json", encode},
                                     {NULL, NULL}};
  luaL_newlib(L, methods);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &methods_key);
  push_meta(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &plain_key);
  lua_pushcfunction(L, as_result);
  lua_setfield(L, core, "result");
  lua_pushcfunction(L, encode);
  lua_setfield(L, core, "encode");
  lua_pushcfunction(L, json_decode);
  lua_setfield(L, core, "json_decode");
}
