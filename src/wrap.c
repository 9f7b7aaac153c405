/* SPDX-License-Identifier: MIT */
#include "wrap.h"

#include <lauxlib.h>
#include <string.h>

#include "box.h"
#include "codec_rows.h"
#include "codec_user.h"
#include "conn.h"
#include "learnt.h"

static int wrap(lua_State *L, int value, const char *type)
{
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, value);
  lua_rawseti(L, -2, 1);
  lua_pushstring(L, type);
  lua_rawseti(L, -2, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_wrapper_mark);
  lua_setmetatable(L, -2);
  return 1;
}

static int json(lua_State *L)
{
  luaL_checkany(L, 1);
  return wrap(L, 1, LPG_JSON_WRAPPER);
}

static int bytea(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TSTRING);
  return wrap(L, 1, "bytea");
}

static const char *type_name(lua_State *L)
{
  size_t length;
  const char *name = luaL_checklstring(L, 2, &length);
  luaL_argcheck(L, strlen(name) == length, 2, "a NUL byte in a type's name");
  return name;
}

static int typed(lua_State *L)
{
  luaL_checkany(L, 1);
  return wrap(L, 1, type_name(L));
}

/* core.column(list, type, plain): as pg.array(list, type), plain without
 * codecs, for values that are their rows', not the program's list: the server
 * judges them, by row. The list may be text already. */
static int column(lua_State *L)
{
  lua_settop(L, 3);
  wrap(L, 1, lua_pushfstring(L, "%s[]", type_name(L)));
  lua_pushboolean(L, 1);
  lua_rawseti(L, -2, 3);
  lua_pushvalue(L, 3);
  lua_rawseti(L, -2, 5);
  return 1;
}

/* pg.array(t): t itself, marked as a list; with a type, also typed. */
static int array(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2))
    return wrap(L, 1, lua_pushfstring(L, "%s[]", type_name(L)));
  if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL &&
      !lpg_is_marked(L, 1))
    return luaL_argerror(L, 1, "its metatable is protected");
  lua_settop(L, 1);
  lpg_mark_list(L);
  return 1;
}

/* The text of the table at 1, as the settings of the handle at 3 have it; or
 * nil and why there is none. */
static int push_text(lua_State *L, const lpg_type *type)
{
  static const lpg_view usual;
  lpg_fault fault;
  const lpg_view *view =
      lua_isnoneornil(L, 3) ? &usual : &lpg_handle_any(L, 3)->settings.view;
  lpg_buffer *out = lpg_box_new(L);
  lpg_writer w = {.L = L, .out = out, .fault = &fault, .view = view};
  lua_pushvalue(L, 1);
  if (!type->encode(&w, type)) {
    lua_pushnil(L);
    lpg_fault_push(L, &fault);
    return 2;
  }
  if (out->failed)
    return luaL_error(L, "not enough memory");
  lua_pushlstring(L, out->data, out->length);
  lpg_buffer_free(out);
  return 1;
}

/* core.text(table, type, handle): as PostgreSQL writes a value of the type: a
 * built-in one by its name, any other by its OID. nil and the reason when it is
 * none; false when the connection does not know the type yet. */
static int text(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  const lpg_type *type =
      lua_isinteger(L, 2) ? lpg_typemap_find(lpg_handle_any(L, 3)->conn->types,
                                             (uint32_t)lua_tointeger(L, 2))
                          : lpg_type_named(luaL_checkstring(L, 2));
  if (type)
    return push_text(L, type);
  lua_pushboolean(L, 0);
  return 1;
}

/* core.knows(handle, oid): does the connection know the type? */
static int knows(lua_State *L)
{
  const lpg_typemap *types = lpg_handle_any(L, 1)->conn->types;
  uint32_t oid = (uint32_t)luaL_checkinteger(L, 2);
  lua_pushboolean(L, lpg_typemap_find(types, oid) != NULL);
  return 1;
}

static bool has_coded(const lpg_type *type, int depth)
{
  if (!type || depth > LPG_DEPTH)
    return false;
  if (lpg_user_encodes(type) ||
      (type->element && has_coded(lpg_type_part(type), depth + 1)))
    return true;
  for (int i = 0; i < type->count; i++)
    if (has_coded(type->fields[i].type, depth + 1))
      return true;
  return false;
}

/* core.encodes(handle, oid): do the type's values, or what lies in them, go
 * through the `encode` of a codec? The connection has to know which types its
 * codecs are for. */
static int encodes(lua_State *L)
{
  const lpg_typemap *types = lpg_handle_any(L, 1)->conn->types;
  uint32_t oid = (uint32_t)luaL_checkinteger(L, 2);
  lua_pushboolean(L, has_coded(lpg_typemap_find(types, oid), 0));
  return 1;
}

/* core.forget_types(handle): a value did not fit a type that may have been
 * altered since it was learnt. */
static int forget_types(lua_State *L)
{
  lpg_handle_any(L, 1);
  lua_getiuservalue(L, 1, 1);
  lpg_forget_types(L, -1);
  return 0;
}

/* core.array_text(list, element, handle): the same for an array whose elements
 * are of the built-in type. */
static int array_text(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  const char *name = luaL_optstring(L, 2, NULL);
  lpg_type type = {.name = "array",
                   .part = name ? lpg_type_named(name) : NULL,
                   .encode = lpg_array_encode};
  return push_text(L, &type);
}

void lpg_wrap_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {
      {"json", json},       {"bytea", bytea},
      {"typed", typed},     {"array", array},
      {"column", column},   {"text", text},
      {"knows", knows},     {"array_text", array_text},
      {"encodes", encodes}, {"forget_types", forget_types},
      {NULL, NULL}};
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
