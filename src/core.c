/* SPDX-License-Identifier: MIT */
/* core: luaopen_pg_core. Everything that the module keeps lies in the Lua
 * state: metatables by versioned names, and registry values under the
 * addresses of static constants (error hook, unknown-option hook, form hook,
 * ceilings, saved connections, list and wrapper marks, result methods, tick).
 * A connection's user values are listed in conn.h. */
#include <dlfcn.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "actions.h"
#include "await.h"
#include "box.h"
#include "codec_user.h"
#include "conn.h"
#include "conn_codecs.h"
#include "connect.h"
#include "conninfo.h"
#include "copy.h"
#include "deadline.h"
#include "error.h"
#include "gather.h"
#include "lend.h"
#include "listen.h"
#include "pipeline.h"
#include "result.h"
#include "rows.h"
#include "share.h"
#include "stream.h"
#include "transaction.h"
#include "wakeup.h"
#include "wrap.h"

_Static_assert(sizeof(lua_Integer) == 8, "int8 needs 64-bit Lua integers");
_Static_assert(sizeof(lua_Number) == sizeof(double),
               "float8 needs Lua floats that are doubles");

/* core.mark_lists(metatable): lua-cjson's empty_array_mt, where it has one. */
static int mark_lists(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lpg_list_mark);
  return 0;
}

/* core.is_list(value): marked as a list, or wrapped as a typed array. */
static int is_list(lua_State *L)
{
  lua_settop(L, 1);
  bool list = lpg_is_marked(L, 1);
  if (!list && lpg_is_wrapper(L, 1)) {
    lua_rawgeti(L, 1, 2);
    const char *name = lua_tostring(L, -1);
    size_t length = name ? strlen(name) : 0;
    list = length > 2 && strcmp(name + length - 2, "[]") == 0;
  }
  lua_pushboolean(L, list);
  return 1;
}

/* core.types(): what is known of each built-in type, for doc/types.md. */
static int types(lua_State *L)
{
  enum { FIRST_OWN = 16384 }; /* OID of what a server's users define */
  lua_settop(L, 0);
  lua_newtable(L);
  for (uint32_t oid = 1; oid < FIRST_OWN; oid++) {
    const lpg_type *type = lpg_type_find(oid);
    if (!type)
      continue;
    lua_createtable(L, 0, 6);
    lua_pushinteger(L, type->oid);
    lua_setfield(L, 2, "oid");
    lua_pushinteger(L, type->element);
    lua_setfield(L, 2, "element");
    lua_pushstring(L, type->name);
    lua_setfield(L, 2, "name");
    lua_pushboolean(L, type->text == lpg_decode_string);
    lua_setfield(L, 2, "string");
    lua_pushboolean(L, type->binary != NULL);
    lua_setfield(L, 2, "binary");
    lua_pushboolean(L, type->prefers_binary);
    lua_setfield(L, 2, "prefers_binary");
    lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
  }
  return 1;
}

/* core.now(): seconds on the monotonic clock. */
static int now(lua_State *L)
{
  lua_pushnumber(L, lpg_now());
  return 1;
}

/* Lua unloads its C modules when a state closes, but a request to cancel may
 * still be under way in its thread: one more reference, never given back, keeps
 * this code and libpq where they are. */
static void pin(const char *path)
{
  if (path)
    (void)dlopen(path, RTLD_NOW);
}

/* Made once a state, the last of them last. */
static void open_marks(lua_State *L)
{
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_wrapper_mark) != LUA_TTABLE) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &lpg_list_mark);
    lua_newtable(L);
    lua_pushliteral(L, "pg.wrapper");
    lua_setfield(L, -2, "__name");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &lpg_wrapper_mark);
  }
  lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_pg_core(lua_State *L);

int luaopen_pg_core(lua_State *L)
{
  pin(lua_tostring(L, 2)); /* require says where it found the file */
  lua_newtable(L);
  int core = lua_gettop(L);
  lua_pushinteger(L, PQlibVersion());
  lua_setfield(L, core, "libpq");
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, core, "null");
  lua_pushcfunction(L, mark_lists);
  lua_setfield(L, core, "mark_lists");
  lua_pushcfunction(L, is_list);
  lua_setfield(L, core, "is_list");
  lua_pushcfunction(L, types);
  lua_setfield(L, core, "types");
  lua_pushcfunction(L, now);
  lua_setfield(L, core, "now");
  open_marks(L);
  lpg_box_open_library(L);
  lpg_typemap_open_library(L);
  lpg_rows_open_library(L);
  lpg_stream_open_library(L);
  lpg_await_open_library(L, core);
  lpg_error_open_library(L, core);
  lpg_settings_open_library(L, core);
  lpg_gather_open_library(L, core);
  lpg_result_open_library(L, core);
  lpg_conn_open_library(L, core);
  lpg_copy_open_library(L, core);
  lpg_transaction_open_library(L, core);
  lpg_lend_open_library(L, core);
  lpg_share_open_library(L, core);
  lpg_wakeup_open_library(L, core);
  lpg_user_open_library(L);
  lpg_codecs_open_library(L, core);
  lpg_wrap_open_library(L, core);
  lpg_conninfo_open_library(L, core);
  lpg_connect_open_library(L, core);
  lpg_actions_open_library(L, core);
  lpg_listen_open_library(L, core);
  lpg_pipeline_open_library(L, core);
  return 1;
}
