/* SPDX-License-Identifier: MIT */
/* memory: a Lua host that watches its own memory. Runs the Lua file named by
 * its argument with the rest as `...`; the function given to it as the global
 * `watched` is run and prints in KiB, over what there was before: the peak of
 * the process as the kernel keeps it, the peak of Lua, and the peak of all that
 * is not Lua's, as a thread sees them a thousand times a second. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static atomic_long in_lua; /* bytes */
static atomic_bool stop;
static long before, lua_before, of_lua, of_others;

static void *allocate(void *state, void *block, size_t old, size_t size)
{
  (void)state;
  if (!block)
    old = 0;
  atomic_fetch_add(&in_lua, (long)size - (long)old);
  if (size > 0)
    return realloc(block, size);
  free(block);
  return NULL;
}

static long resident(void) /* bytes */
{
  long total = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file)
    return 0;
  if (fscanf(file, "%ld %ld", &total, &pages) != 2)
    pages = 0;
  fclose(file);
  return pages * sysconf(_SC_PAGESIZE);
}

static long peak(void) /* bytes, since the process began */
{
  long kib = 0;
  char line[256];
  FILE *file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %ld", &kib) == 1)
      break;
  if (file)
    fclose(file);
  return kib * 1024;
}

static void raise_to(long *most, long value)
{
  *most = value > *most ? value : *most;
}

static void *sample(void *unused)
{
  const struct timespec pause = {0, 1000000};
  while (!atomic_load(&stop)) {
    long lua = atomic_load(&in_lua) - lua_before;
    raise_to(&of_lua, lua);
    raise_to(&of_others, resident() - before - lua);
    nanosleep(&pause, NULL);
  }
  return unused;
}

/* watched(f): what f returns. */
static int watched(lua_State *L)
{
  pthread_t thread;
  lua_gc(L, LUA_GCCOLLECT);
  before = resident();
  lua_before = atomic_load(&in_lua);
  if (pthread_create(&thread, NULL, sample, NULL) != 0)
    return luaL_error(L, "no thread");
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
  atomic_store(&stop, true);
  pthread_join(thread, NULL);
  printf("%ld %ld %ld\n", (peak() - before) / 1024, of_lua / 1024,
         of_others / 1024);
  return lua_gettop(L);
}

int main(int argc, char **argv)
{
  lua_State *L = lua_newstate(allocate, NULL);
  if (!L || argc < 2)
    return 2;
  luaL_openlibs(L);
  lua_register(L, "watched", watched);
  int failed = luaL_loadfile(L, argv[1]);
  for (int i = 2; i < argc && !failed; i++)
    lua_pushstring(L, argv[i]);
  failed = failed || lua_pcall(L, argc - 2, 0, 0);
  if (failed)
    fprintf(stderr, "%s\n", luaL_tolstring(L, -1, NULL));
  lua_close(L);
  return failed;
}
