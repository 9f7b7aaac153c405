/* SPDX-License-Identifier: MIT */
#include "error.h"

#include <lauxlib.h>
#include <string.h>

const char lpg_error_hook = 0;
static const char folder_key = 0; /* where this module's Lua files lie */

void lpg_error_new(lua_State *L, const char *kind, const char *message, ...)
{
  lua_createtable(L, 0, 16);
  lpg_error_string(L, "kind", kind);
  if (!message)
    return;
  va_list arguments;
  va_start(arguments, message);
  lua_pushvfstring(L, message, arguments);
  va_end(arguments);
  lua_setfield(L, -2, "message");
}

void lpg_error_string(lua_State *L, const char *field, const char *value)
{
  if (!value)
    return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, field);
}

void lpg_error_number(lua_State *L, const char *field, double value)
{
  lua_Integer integer;
  if (lua_numbertointeger(value, &integer) && (double)integer == value)
    lua_pushinteger(L, integer);
  else
    lua_pushnumber(L, value);
  lua_setfield(L, -2, field);
}

void lpg_error_boolean(lua_State *L, const char *field, bool value)
{
  lua_pushboolean(L, value);
  lua_setfield(L, -2, field);
}

void lpg_error_fix(lua_State *L, const char *text)
{
  lua_createtable(L, 1, 0);
  lua_pushstring(L, text);
  lua_rawseti(L, -2, 1);
  lua_setfield(L, -2, "fixes");
}

void lpg_error_from_result(lua_State *L, const PGresult *result)
{
  static const struct {
    int code;
    const char *name;
  } fields[] = {
      {PG_DIAG_SQLSTATE, "sqlstate"},
      {PG_DIAG_MESSAGE_DETAIL, "detail"},
      {PG_DIAG_MESSAGE_HINT, "hint"},
      {PG_DIAG_STATEMENT_POSITION, "position"},
      {PG_DIAG_INTERNAL_POSITION, "internal_position"},
      {PG_DIAG_INTERNAL_QUERY, "internal_query"},
      {PG_DIAG_CONTEXT, "context"},
      {PG_DIAG_SCHEMA_NAME, "schema"},
      {PG_DIAG_TABLE_NAME, "table"},
      {PG_DIAG_COLUMN_NAME, "column"},
      {PG_DIAG_DATATYPE_NAME, "datatype"},
      {PG_DIAG_CONSTRAINT_NAME, "constraint"},
  };
  const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char *severity =
      PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
  lpg_error_new(L, NULL, NULL);
  lpg_error_string(L, "message",
                   message ? message : PQresultErrorMessage(result));
  lpg_error_string(L, "severity",
                   severity ? severity
                            : PQresultErrorField(result, PG_DIAG_SEVERITY));
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
    lpg_error_string(L, fields[i].name,
                     PQresultErrorField(result, fields[i].code));
}

void lpg_error_identity(lua_State *L, int identity)
{
  int error = lua_gettop(L);
  if (!lua_istable(L, identity))
    return;
  identity = lua_absindex(L, identity);
  for (lua_pushnil(L); lua_next(L, identity);) {
    lua_pushvalue(L, -2);
    if (lua_rawget(L, error) == LUA_TNIL) { /* what is known already stays */
      lua_pushvalue(L, -3);
      lua_pushvalue(L, -3);
      lua_rawset(L, error);
    }
    lua_pop(L, 2);
  }
}

/* Is the running function one of the folder's files? */
static bool is_ours(const lua_Debug *d, const char *folder)
{
  size_t length = folder ? strlen(folder) : 0;
  return length > 0 && strncmp(d->source, folder, length) == 0 &&
         !strchr(d->source + length, '/');
}

void lpg_where(lua_State *L)
{
  lua_Debug d;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &folder_key);
  const char *folder = lua_tostring(L, -1);
  int level = 1;
  while (lua_getstack(L, level, &d) && lua_getinfo(L, "Sl", &d) &&
         (d.currentline < 0 || is_ours(&d, folder)))
    level++;
  luaL_where(L, level);
  lua_remove(L, -2);
}

int lpg_raise(lua_State *L, const char *message, ...)
{
  lpg_where(L);
  va_list arguments;
  va_start(arguments, message);
  lua_pushvfstring(L, message, arguments);
  va_end(arguments);
  lua_concat(L, 2);
  return lua_error(L);
}

int lpg_error_return(lua_State *L)
{
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_error_hook) == LUA_TFUNCTION) {
    lua_insert(L, -2);
    lua_call(L, 1, 1);
  } else {
    lua_pop(L, 1);
  }
  lua_pushnil(L);
  lua_insert(L, -2);
  return 2;
}

/* core.on_error(f): f(fields) answers the error object. */
static int on_error(lua_State *L)
{
  lua_Debug d;
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushvalue(L, 1);
  lua_getinfo(L, ">S", &d);
  const char *slash = strrchr(d.source, '/');
  lua_pushlstring(L, d.source, slash ? (size_t)(slash - d.source) + 1 : 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &folder_key);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lpg_error_hook);
  return 0;
}

void lpg_error_open_library(lua_State *L, int core)
{
  lua_pushcfunction(L, on_error);
  lua_setfield(L, core, "on_error");
}
