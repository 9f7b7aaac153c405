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

/* Bytes are kept as a string where the type is not known. */
static lpg_decode *decoder(const lpg_column *column, bool binary)
{
  if (column->kept)
    return lpg_decode_string;
  return binary ? column->type->binary : column->type->text;
}

/* The columns' types, as the map has them. */
static void find_types(lpg_plan *plan, const lpg_typemap *map)
{
  bool pays = false;
  plan->map = map;
  plan->can_binary = true;
  plan->open = plan->learnt = false;
  for (int i = 0; i < plan->count; i++) {
    lpg_column *column = &plan->columns[i];
    column->was = column->kept;
    column->type = lpg_typemap_find(map, column->oid);
    column->kept = !column->type;
    column->decode = decoder(column, plan->binary);
    plan->can_binary &= column->type && column->type->binary;
    pays |= column->type && column->type->prefers_binary;
    plan->open |= column->kept;
    plan->learnt |= lpg_type_is_learnt(column->type);
  }
  plan->wants_binary = pays && plan->can_binary;
}

void lpg_plan_settle(lua_State *L, int index, int map)
{
  lpg_plan *plan = lua_touserdata(L, index);
  index = lua_absindex(L, index);
  if (plan->map == lua_touserdata(L, map) && !plan->open)
    return;
  find_types(plan, lua_touserdata(L, map));
  lua_pushvalue(L, map);
  lua_setiuservalue(L, index, LPG_PLAN_MAP);
}

void lpg_plan_keep(lpg_plan *plan, const lpg_column *column)
{
  lpg_column *kept = &plan->columns[column - plan->columns];
  kept->kept = plan->open = true;
  kept->decode = lpg_decode_string;
}

void lpg_plan_keep_none(lpg_plan *plan)
{
  for (int i = 0; i < plan->count; i++)
    if (plan->columns[i].kept)
      plan->columns[i].decode = NULL;
}

lpg_plan *lpg_plan_new(lua_State *L, const PGresult *result, int map)
{
  int count = PQnfields(result);
  size_t size = sizeof(lpg_plan) + (size_t)count * sizeof(lpg_column);
  map = lua_absindex(L, map);
  lpg_plan *plan = lua_newuserdatauv(L, size, LPG_PLAN_VALUES);
  luaL_setmetatable(L, plan_name);
  plan->count = count;
  plan->open = true;
  plan->binary = count > 0 && PQfformat(result, 0) == 1;
  lua_createtable(L, count, 0);
  lua_createtable(L, 0, count);
  for (int i = 0; i < count; i++) {
    lpg_column *column = &plan->columns[i];
    column->oid = PQftype(result, i);
    column->kept = false;
    column->name = lua_pushstring(L, PQfname(result, i));
    column->again = seen(L);
    lua_rawseti(L, -3, i + 1);
  }
  lua_pop(L, 1);
  lua_setiuservalue(L, -2, LPG_PLAN_NAMES);
  lpg_plan_settle(L, -1, map);
  return plan;
}

lpg_plan *lpg_plan_test(lua_State *L, int index)
{
  return luaL_testudata(L, index, plan_name);
}

bool lpg_plan_fits(const lpg_plan *plan, const PGresult *result)
{
  if (plan->count != PQnfields(result) ||
      (plan->count > 0 && plan->binary != (PQfformat(result, 0) == 1)))
    return false;
  for (int i = 0; i < plan->count; i++)
    if (plan->columns[i].oid != PQftype(result, i) ||
        strcmp(plan->columns[i].name, PQfname(result, i)) != 0)
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

static const char changed[] =
    "the column's type has changed; run the statement again";

/* Pushes one value that is not NULL. */
static const char *push_cell(lua_State *L, const lpg_column *column,
                             const lpg_view *view, const char *bytes,
                             size_t length)
{
  if (!column->decode)
    return changed;
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
    bool absent = null && shape == LPG_KEYED && !settings->view.keep_null;
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

/* --- values that were kept as bytes ------------------------------------ */

/* Pushes the table that a value lies in, and its key there. */
static void push_place(lua_State *L, lpg_shape shape, int rows, int names,
                       int i, lua_Integer number)
{
  switch (shape) {
  case LPG_KEYED:
    lua_rawgeti(L, rows, number);
    lua_rawgeti(L, names, i + 1);
    break;
  case LPG_ARRAY:
    lua_rawgeti(L, rows, number);
    lua_pushinteger(L, i + 1);
    break;
  case LPG_COLUMNS:
    lua_rawgeti(L, names, i + 1);
    lua_rawget(L, rows);
    lua_pushinteger(L, number);
    break;
  }
}

/* Only the last of namesakes has its values in the row. */
static bool is_shown(const lpg_plan *plan, lpg_shape shape, int i)
{
  for (int j = i + 1; j < plan->count && shape != LPG_ARRAY; j++)
    if (plan->columns[j].again &&
        strcmp(plan->columns[j].name, plan->columns[i].name) == 0)
      return false;
  return true;
}

bool lpg_rows_are_open(lua_State *L, const lpg_plan *plan, lpg_shape shape,
                       int rows, int names, lua_Integer count)
{
  bool open = false;
  int top = lua_gettop(L);
  for (int i = 0; plan->open && i < plan->count && !open; i++) {
    if (!plan->columns[i].kept || !is_shown(plan, shape, i))
      continue;
    for (lua_Integer n = 1; n <= count && !open; n++) {
      push_place(L, shape, rows, names, i, n);
      open = lua_rawget(L, -2) == LUA_TSTRING;
      lua_settop(L, top);
    }
  }
  return open;
}

/* Where values were kept from some row on, any string is one of these: types
 * that may be doubted make something else of their bytes. Text of a type that
 * nobody knows is text; its binary form is not. */
static bool is_done(const lpg_plan *plan, const lpg_column *column)
{
  if (column->kept)
    return !plan->binary;
  return !column->was || column->decode == lpg_decode_string;
}

static const char *read_kept(lua_State *L, const lpg_column *column,
                             const lpg_view *view)
{
  size_t length;
  const char *bytes = lua_tolstring(L, -1, &length);
  return column->kept ? changed : push_cell(L, column, view, bytes, length);
}

lpg_misread lpg_rows_decode(lua_State *L, const lpg_plan *plan,
                            const lpg_settings *settings, int rows, int names,
                            lua_Integer count, lua_Integer *number)
{
  int top = lua_gettop(L);
  for (int i = 0; i < plan->count; i++) {
    const lpg_column *column = &plan->columns[i];
    if (is_done(plan, column) || !is_shown(plan, settings->shape, i))
      continue;
    for (*number = 1; *number <= count; ++*number) {
      push_place(L, settings->shape, rows, names, i, *number);
      lua_pushvalue(L, -1);
      if (lua_rawget(L, -3) == LUA_TSTRING) {
        const char *problem = read_kept(L, column, &settings->view);
        if (problem) {
          lua_settop(L, top);
          return (lpg_misread){problem, column};
        }
        lua_remove(L, -2);
        lua_rawset(L, -3);
      }
      lua_settop(L, top);
    }
  }
  return (lpg_misread){NULL, NULL};
}

void lpg_rows_open_library(lua_State *L)
{
  luaL_newmetatable(L, plan_name);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
