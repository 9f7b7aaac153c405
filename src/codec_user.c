/* SPDX-License-Identifier: MIT */
#include "codec_user.h"

#include <lauxlib.h>
#include <stdio.h>

#include "codec_write.h"

enum { DECODE = 1, ENCODE };

static const char running_key = 0; /* true while a function of these runs */
static const char problem_key = 0; /* what the last one raised */
static const char owners_key = 0;  /* by the base row; weak */

static void set_running(lua_State *L, bool running)
{
  lua_pushboolean(L, running);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &running_key);
}

bool lpg_in_user(lua_State *L)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &running_key);
  bool running = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return running;
}

/* What was raised, as text that stays until the next one. Pops it. */
static const char *keep_problem(lua_State *L)
{
  if (lua_type(L, -1) != LUA_TSTRING) {
    lua_pushfstring(L, "its codec raised a %s", luaL_typename(L, -1));
    lua_replace(L, -2);
  }
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &problem_key);
  const char *text = lua_tostring(L, -1); /* the registry keeps it */
  lua_pop(L, 1);
  return text;
}

/* Pushes the function, if there is one. */
static bool push_function(lua_State *L, const lpg_type *base, int which)
{
  int top = lua_gettop(L);
  luaL_checkstack(L, 6, "a codec");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &owners_key);
  bool found = lua_rawgetp(L, -1, base) == LUA_TUSERDATA &&
               lua_getiuservalue(L, -1, 1) == LUA_TTABLE &&
               lua_rawgetp(L, -1, base) == LUA_TTABLE &&
               lua_rawgeti(L, -1, which) == LUA_TFUNCTION;
  if (found)
    lua_replace(L, top + 1);
  lua_settop(L, top + found);
  return found;
}

/* Calls the function with the value on the top, in whose place the answer
 * comes; without such a function it stays. NULL, or what went wrong. */
static const char *call(lua_State *L, const lpg_type *type, int which)
{
  if (!push_function(L, type->part, which))
    return NULL;
  lua_insert(L, -2);
  bool inner = lpg_in_user(L);
  set_running(L, true);
  int status = lua_pcall(L, 1, 1, 0);
  set_running(L, inner);
  if (status == LUA_ERRMEM)
    lua_error(L);
  return status == LUA_OK ? NULL : keep_problem(L);
}

/* What the base's decoder has pushed goes through `decode`. */
static const char *decoded(lua_State *L, const lpg_type *type,
                           const char *wrong)
{
  if (wrong || (wrong = call(L, type, DECODE)))
    return wrong;
  if (!lua_isnil(L, -1))
    return NULL;
  lua_pop(L, 1);
  return "its codec's decode answered nil (pg.null is NULL)";
}

static const char *decode_text(lua_State *L, const lpg_type *type,
                               const lpg_view *view, const char *bytes,
                               size_t length)
{
  const lpg_type *base = type->part;
  return decoded(L, type, base->text(L, base, view, bytes, length));
}

static const char *decode_binary(lua_State *L, const lpg_type *type,
                                 const lpg_view *view, const char *bytes,
                                 size_t length)
{
  const lpg_type *base = type->part;
  return decoded(L, type, base->binary(L, base, view, bytes, length));
}

static bool encode(lpg_writer *w, const lpg_type *type)
{
  bool null;
  lua_pushvalue(w->L, -1);
  const char *wrong = call(w->L, type, ENCODE);
  if (wrong)
    return lpg_refuse(w->fault, "%s", wrong);
  bool done = lpg_write(w, type->part, &null);
  lua_pop(w->L, 1);
  if (done && null)
    return lpg_refuse(w->fault, "its codec's encode answered nil");
  return done;
}

static bool encode_base(lpg_writer *w, const lpg_type *type)
{
  return type->part->encode(w, type->part);
}

bool lpg_is_user(const lpg_type *type)
{
  return type && type->text == decode_text;
}

bool lpg_user_encodes(const lpg_type *type)
{
  return type && type->encode == encode;
}

void lpg_user_begin(lua_State *L, int owner, lpg_type *type,
                    const lpg_type *base)
{
  owner = lua_absindex(L, owner);
  bool encodes = lua_rawgeti(L, -1, ENCODE) == LUA_TFUNCTION;
  lua_pop(L, 1);
  lua_getiuservalue(L, owner, 1);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, base);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &owners_key);
  lua_pushvalue(L, owner);
  lua_rawsetp(L, -2, base);
  lua_pop(L, 2);
  type->part = base;
  type->text = decode_text;
  type->binary = base->binary ? decode_binary : NULL;
  type->encode = encodes ? encode : encode_base;
}

void lpg_user_open_library(lua_State *L)
{
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &owners_key);
}
