/* SPDX-License-Identifier: MIT */
#include "wakeup.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "deadline.h"
#include "error.h"

static const char *const name = "pg.wakeup/1";

/* Hooks and Ctrl-C act between slices. */
static const double SLICE = 0.05;

typedef struct wakeup {
  int ends[2]; /* of a pipe: to read, to write; or -1 */
  bool set;    /* there is a byte in it */
} wakeup;

static wakeup *check(lua_State *L)
{
  wakeup *w = luaL_checkudata(L, 1, name);
  if (w->ends[0] < 0)
    lpg_raise(L, "the wakeup is closed");
  return w;
}

/* __gc and __close. */
static int release(lua_State *L)
{
  wakeup *w = luaL_checkudata(L, 1, name);
  for (int i = 0; i < 2; i++) {
    if (w->ends[i] >= 0)
      close(w->ends[i]);
    w->ends[i] = -1;
  }
  return 0;
}

static bool prepare(int fd)
{
  return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
         fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
}

/* core.wakeup(): one that is not set; or nil and why there is none. */
static int new_wakeup(lua_State *L)
{
  wakeup *w = lua_newuserdatauv(L, sizeof *w, 0);
  *w = (wakeup){.ends = {-1, -1}};
  luaL_setmetatable(L, name);
  if (pipe(w->ends) == 0 && prepare(w->ends[0]) && prepare(w->ends[1]))
    return 1;
  lua_pushnil(L);
  lua_pushstring(L, strerror(errno));
  return 2;
}

static int fd(lua_State *L)
{
  lua_pushinteger(L, check(L)->ends[0]);
  return 1;
}

static int set(lua_State *L)
{
  wakeup *w = check(L);
  if (!w->set)
    w->set = write(w->ends[1], "", 1) == 1;
  return 0;
}

static int clear(lua_State *L)
{
  char byte;
  wakeup *w = check(L);
  if (w->set)
    w->set = read(w->ends[0], &byte, 1) != 1;
  return 0;
}

/* core.doze(seconds): blocks, for a slice of them at most; the caller looks at
 * the clock and calls again, which lets hooks act. */
static int doze(lua_State *L)
{
  lua_Number seconds = luaL_checknumber(L, 1);
  poll(NULL, 0, lpg_poll_timeout(seconds < SLICE ? seconds : SLICE));
  return 0;
}

void lpg_wakeup_open_library(lua_State *L, int core)
{
  static const luaL_Reg meta[] = {
      {"__gc", release}, {"__close", release}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"fd", fd}, {"set", set}, {"clear", clear}, {NULL, NULL}};
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  lua_pushcfunction(L, new_wakeup);
  lua_setfield(L, core, "wakeup");
  lua_pushcfunction(L, doze);
  lua_setfield(L, core, "doze");
}
