/* SPDX-License-Identifier: MIT */
/* A C host that runs a script: it may use one saved connection, within the
 * host's limits, for a number of seconds.
 *
 *   cc host.c -o host $(pkg-config --cflags --libs lua5.4)
 *   PGHOST=db.example.com PGDATABASE=myapp ./host script.lua 10
 */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char setup[] =
    "local pg = require 'pg'\n"
    "pg.save('Production Database', {})\n" /* as PGHOST and the like say */
    "pg.limits{ timeout = 5, max_result = 2^20, saved_only = true,\n"
    "           lock = true }\n";

static time_t deadline;

/* Acts between two instructions, and while a query waits. */
static void stop_in_time(lua_State *L, lua_Debug *where)
{
  (void)where;
  if (time(NULL) < deadline)
    return;
  lua_sethook(L, stop_in_time, LUA_MASKCOUNT, 1); /* no pcall holds it up */
  luaL_error(L, "the script ran out of time");
}

/* An error object as text: where, why, and what to try. */
static int describe(lua_State *L)
{
  luaL_tolstring(L, 1, NULL);
  return 1;
}

int main(int argc, char **argv)
{
  lua_State *L = luaL_newstate();
  if (!L || argc < 3)
    return 2;
  luaL_openlibs(L);
  lua_pushcfunction(L, describe);
  int failed = luaL_loadstring(L, setup) || lua_pcall(L, 0, 0, 1);
  deadline = time(NULL) + atoi(argv[2]);
  lua_sethook(L, stop_in_time, LUA_MASKCOUNT, 1000);
  failed = failed || luaL_loadfile(L, argv[1]) || lua_pcall(L, 0, 0, 1);
  if (failed)
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
  lua_close(L);
  return failed;
}
