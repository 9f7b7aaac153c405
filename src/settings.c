/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "error.h"

static const char ceilings_key = 0;
static const char unknown_key = 0;

lpg_ceilings *lpg_ceilings_of(lua_State *L)
{
  lua_rawgetp(L, LUA_REGISTRYINDEX, &ceilings_key);
  lpg_ceilings *c = lua_touserdata(L, -1);
  lua_pop(L, 1); /* the registry keeps it */
  return c;
}

int lpg_unknown_option(lua_State *L, int key, const char *where)
{
  key = lua_absindex(L, key);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &unknown_key) == LUA_TFUNCTION) {
    lua_pushvalue(L, key);
    lua_pushstring(L, where);
    lua_call(L, 2, 1);
    if (lua_isstring(L, -1))
      return lpg_raise(L, "%s", lua_tostring(L, -1));
  }
  return lpg_raise(L, "unknown option '%s'", luaL_tolstring(L, key, NULL));
}

/* A positive number within the ceiling. */
static double limit(lua_State *L, int value, const char *name, double ceiling,
                    const char *unit)
{
  if (lua_type(L, value) != LUA_TNUMBER || !(lua_tonumber(L, value) > 0))
    lpg_raise(L, "%s must be a number of %s above 0", name, unit);
  double number = lua_tonumber(L, value);
  if (number > ceiling)
    lpg_raise(L,
              "%s = %f is above this host's ceiling of %f %s; the host can "
              "raise it with pg.limits{ %s = ... }",
              name, number, ceiling, unit, name);
  return number;
}

/* The index of the string among the words, or an error that lists them. */
static int choice(lua_State *L, int value, const char *name,
                  const char *const *words, const char *listed)
{
  const char *word =
      lua_type(L, value) == LUA_TSTRING ? lua_tostring(L, value) : NULL;
  for (int i = 0; word && words[i]; i++)
    if (strcmp(word, words[i]) == 0)
      return i;
  return lpg_raise(L, "%s must be %s", name, listed);
}

bool lpg_settings_take(lua_State *L, lpg_settings *s, int key, int value)
{
  static const char *const shapes[] = {"object", "array", "columns", NULL};
  static const char *const numerics[] = {"string", "number", NULL};
  static const char *const jsons[] = {"value", "text", NULL};
  static const char *const timestamps[] = {"iso", "epoch", "epoch_us", NULL};
  const char *name = lua_tostring(L, key);
  const lpg_ceilings *ceilings = lpg_ceilings_of(L);
  if (strcmp(name, "timeout") == 0) {
    s->limits.timeout =
        limit(L, value, name, ceilings->limits.timeout, "seconds");
  } else if (strcmp(name, "max_result") == 0) {
    s->limits.result = limit(L, value, name, ceilings->limits.result, "bytes");
  } else if (strcmp(name, "rows") == 0) {
    s->shape = (lpg_shape)choice(L, value, name, shapes,
                                 "\"object\", \"array\" or \"columns\"");
  } else if (strcmp(name, "numeric") == 0) {
    s->view.numeric_as_number =
        choice(L, value, name, numerics, "\"string\" or \"number\"") == 1;
  } else if (strcmp(name, "json") == 0) {
    s->view.json_as_text =
        choice(L, value, name, jsons, "\"value\" or \"text\"") == 1;
  } else if (strcmp(name, "timestamps") == 0) {
    s->view.timestamps = (unsigned char)choice(
        L, value, name, timestamps, "\"iso\", \"epoch\" or \"epoch_us\"");
  } else if (strcmp(name, "own") == 0) { /* of the module, not of scripts */
    s->own = lua_toboolean(L, value);
  } else if (strcmp(name, "null") == 0) {
    bool null = lua_islightuserdata(L, value) && !lua_touserdata(L, value);
    if (!null && !(lua_isboolean(L, value) && !lua_toboolean(L, value)))
      lpg_raise(L, "null must be pg.null (keep the key) or false");
    s->view.keep_null = null;
  } else {
    return false;
  }
  return true;
}

void lpg_settings_merge(lua_State *L, lpg_settings *s, int index)
{
  index = lua_absindex(L, index);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int key = lua_gettop(L) - 1;
    if (lua_type(L, key) != LUA_TSTRING ||
        !lpg_settings_take(L, s, key, key + 1))
      lpg_unknown_option(L, key, "settings");
  }
}

lpg_limits lpg_settings_limits(const lpg_settings *s, const lpg_ceilings *c)
{
  lpg_limits now = c->limits;
  if (s->limits.timeout > 0)
    now.timeout = fmin(now.timeout, s->limits.timeout);
  if (s->limits.result > 0)
    now.result = fmin(now.result, s->limits.result);
  return now;
}

/* --- pg.limits -------------------------------------------------------- */

static double ceiling(lua_State *L, const char *name, double now, bool locked)
{
  if (lua_getfield(L, 1, name) == LUA_TNIL)
    return lua_pop(L, 1), now;
  if (lua_type(L, -1) != LUA_TNUMBER || !(lua_tonumber(L, -1) > 0))
    lpg_raise(L, "pg.limits: %s must be a number above 0", name);
  double asked = lua_tonumber(L, -1);
  if (locked && asked > now)
    lpg_raise(L, "pg.limits: the host locked %s at %f", name, now);
  lua_pop(L, 1);
  return asked;
}

static bool flag(lua_State *L, const char *name, bool now, bool locked)
{
  int type = lua_getfield(L, 1, name);
  bool asked = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (type == LUA_TNIL)
    return now;
  if (type != LUA_TBOOLEAN)
    lpg_raise(L, "pg.limits: %s must be true or false", name);
  if (locked && now && !asked)
    lpg_raise(L, "pg.limits: the host locked %s", name);
  return asked;
}

/* pg.limits{ timeout=, max_result=, saved_only=, lock= }: sets what is given,
 * answers what holds. */
static int limits(lua_State *L)
{
  lpg_ceilings *c = lpg_ceilings_of(L), next = *c;
  lua_settop(L, 1);
  if (!lua_isnoneornil(L, 1)) {
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
      const char *key =
          lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
      if (strcmp(key, "timeout") != 0 && strcmp(key, "max_result") != 0 &&
          strcmp(key, "saved_only") != 0 && strcmp(key, "lock") != 0)
        lpg_unknown_option(L, -2, "limits");
    }
    next.limits.timeout = ceiling(L, "timeout", c->limits.timeout, c->locked);
    next.limits.result = ceiling(L, "max_result", c->limits.result, c->locked);
    next.saved_only = flag(L, "saved_only", c->saved_only, c->locked);
    next.locked = flag(L, "lock", c->locked, c->locked);
    *c = next;
  }
  lua_createtable(L, 0, 4);
  lua_pushnumber(L, c->limits.timeout);
  lua_setfield(L, -2, "timeout");
  lua_pushnumber(L, c->limits.result);
  lua_setfield(L, -2, "max_result");
  lua_pushboolean(L, c->saved_only);
  lua_setfield(L, -2, "saved_only");
  lua_pushboolean(L, c->locked);
  lua_setfield(L, -2, "lock");
  return 1;
}

/* core.on_unknown(f): f(key, where) answers the message. */
static int on_unknown(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &unknown_key);
  return 0;
}

void lpg_settings_open_library(lua_State *L, int core)
{
  if (!lpg_ceilings_of(L)) { /* a second load must not lift a lock */
    lpg_ceilings *c = lua_newuserdatauv(L, sizeof *c, 0);
    *c = (lpg_ceilings){.limits = {.timeout = 60, .result = 10 * 1024 * 1024}};
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ceilings_key);
  }
  lua_pushcfunction(L, limits);
  lua_setfield(L, core, "limits");
  lua_pushcfunction(L, on_unknown);
  lua_setfield(L, core, "on_unknown");
}
