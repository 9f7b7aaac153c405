/* SPDX-License-Identifier: MIT */
/* trace: has libpq write what a connection of the module sends and gets into a
 * file. That is never closed: libpq says into it how the connection ends. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>

#include "conn.h"

int luaopen_trace(lua_State *L);

static int stay_open(lua_State *L)
{
  luaL_Stream *file = lua_touserdata(L, 1);
  file->closef = stay_open;
  return 0;
}

/* trace(db): the file. */
static int trace(lua_State *L)
{
  const lpg_handle *handle = lua_touserdata(L, 1);
  luaL_Stream *file = lua_newuserdatauv(L, sizeof *file, 0);
  file->closef = NULL;
  luaL_setmetatable(L, LUA_FILEHANDLE);
  file->f = tmpfile();
  if (!file->f)
    return luaL_error(L, "no temporary file");
  file->closef = stay_open;
  PQtrace(handle->conn->wire.pg, file->f);
  PQsetTraceFlags(handle->conn->wire.pg, PQTRACE_SUPPRESS_TIMESTAMPS);
  return 1;
}

int luaopen_trace(lua_State *L)
{
  lua_pushcfunction(L, trace);
  return 1;
}
