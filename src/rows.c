/* SPDX-License-Identifier: MIT */
#include "rows.h"

#include <lauxlib.h>
#include <string.h>

static const char *const plan_name = "pg.plan/1";

/* Was the name on the top in the set below it already? It is now. */
static bool seen(lua_State *L)
{
  lua_pushvalue(L, -1);
  bool again = lua_rawget(L, -3) != LUA_TNIL;
  lua_pushvalue(L, -2);
  lua_pushboolean(L, 1);
  lua_rawset(L, -5);
  lua_pop(L, 1);
  return again;
}

/* A type without a row is shown as its text. */
static lpg_decode *decoder(const lpg_type *type, bool binary)
{
  if (!type)
    return binary ? NULL : lpg_decode_string;
  return binary ? type->binary : type->text;
}

lpg_plan *lpg_plan_new(lua_State *L, const PGresult *result)
{
  int count = PQnfields(result);
  size_t size = sizeof(lpg_plan) + (size_t)count * sizeof(lpg_column);
  lpg_plan *plan = lua_newuserdatauv(L, size, LPG_PLAN_VALUES);
  luaL_setmetatable(L, plan_name);
  plan->count = count;
  plan->binary = count > 0 && PQfformat(result, 0) == 1;
  plan->can_binary = true;
  bool pays = false;
  lua_createtable(L, count, 0);
  lua_createtable(L, 0, count);
  for (int i = 0; i < count; i++) {
    lpg_column *column = &plan->columns[i];
    column->oid = PQftype(result, i);
    column->type = lpg_type_find(column->oid);
    plan->can_binary &= column->type && column->type->binary;
    pays |= column->type && column->type->prefers_binary;
    column->decode = decoder(column->type, plan->binary);
    column->name = lua_pushstring(L, PQfname(result, i));
    column->again = seen(L);
    lua_rawseti(L, -3, i + 1);
  }
  lua_pop(L, 1);
  plan->wants_binary = pays && plan->can_binary;
  lua_setiuservalue(L, -2, LPG_PLAN_NAMES);
  return plan;
}

lpg_plan *lpg_plan_test(lua_State *L, int index)
{
  return luaL_testudata(L, index, plan_name);
}

bool lpg_plan_fits(const lpg_plan *plan, const PGresult *result, bool named)
{
  if (plan->count != PQnfields(result) ||
      (plan->count > 0 && plan->binary != (PQfformat(result, 0) == 1)))
    return false;
  for (int i = 0; i < plan->count; i++)
    if (plan->columns[i].oid != PQftype(result, i) ||
        (!named && strcmp(plan->columns[i].name, PQfname(result, i)) != 0))
      return false;
  return true;
}

void lpg_rows_new(lua_State *L, const lpg_plan *plan, int plan_index,
                  const lpg_settings *settings)
{
  plan_index = lua_absindex(L, plan_index);
  lua_createtable(L, settings->shape == LPG_COLUMNS ? 0 : 1, 0);
  if (settings->shape != LPG_COLUMNS) {
    lpg_mark_list(L);
    return;
  }
  lua_getiuservalue(L, plan_index, LPG_PLAN_NAMES);
  for (int i = 1; i <= plan->count; i++) {
    lua_rawgeti(L, -1, i);
    lua_newtable(L);
    lpg_mark_list(L);
    lua_rawset(L, -4);
  }
  lua_pop(L, 1);
}

/* Pushes one value that is not NULL. */
static const char *push_cell(lua_State *L, const lpg_column *column,
                             const lpg_view *view, const char *bytes,
                             size_t length)
{
  if (!column->decode)
    return "the column's type has changed; run the statement again";
  return column->decode(L, column->type, view, bytes, length);
}

/* The value on the top goes where the shape says; a keyed one lies above its
 * name. */
static void store(lua_State *L, lpg_shape shape, int rows, int names, int i,
                  lua_Integer number)
{
  switch (shape) {
  case LPG_KEYED:
    lua_rawset(L, -3);
    break;
  case LPG_ARRAY:
    lua_rawseti(L, -2, i + 1);
    break;
  case LPG_COLUMNS:
    lua_rawgeti(L, names, i + 1);
    lua_rawget(L, rows);
    lua_insert(L, -2);
    lua_rawseti(L, -2, number);
    lua_pop(L, 1);
    break;
  }
}

lpg_misread lpg_rows_append(lua_State *L, const lpg_plan *plan,
                            const lpg_settings *settings,
                            const PGresult *result, int row, int rows,
                            int names, lua_Integer number)
{
  lpg_shape shape = settings->shape;
  int top = lua_gettop(L);
  if (shape != LPG_COLUMNS)
    lua_createtable(L, shape == LPG_ARRAY ? plan->count : 0,
                    shape == LPG_KEYED ? plan->count : 0);
  if (shape == LPG_ARRAY && plan->count == 0)
    lpg_mark_list(L); /* [], where no value says so */
  const lpg_column *column = plan->columns;
  for (int i = 0; i < plan->count; i++, column++) {
    size_t length = (size_t)PQgetlength(result, row, i);
    bool null = length == 0 && PQgetisnull(result, row, i);
    bool absent = null && shape == LPG_KEYED && !settings->keep_null;
    if (absent && !column->again)
      continue;
    if (shape == LPG_KEYED)
      lua_rawgeti(L, names, i + 1);
    const char *problem = NULL;
    if (absent)
      lua_pushnil(L); /* the last of two namesakes counts, NULL or not */
    else if (null)
      lua_pushlightuserdata(L, NULL);
    else
      problem = push_cell(L, column, &settings->view,
                          PQgetvalue(result, row, i), length);
    if (problem) {
      lua_settop(L, top);
      return (lpg_misread){problem, column};
    }
    store(L, shape, rows, names, i, number);
  }
  if (shape != LPG_COLUMNS)
    lua_rawseti(L, rows, number);
  return (lpg_misread){NULL, NULL};
}

void lpg_rows_open_library(lua_State *L)
{
  luaL_newmetatable(L, plan_name);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
