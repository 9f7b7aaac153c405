/* SPDX-License-Identifier: MIT */
/* libFuzzer's entry: one Lua state, in which the target that the program is
 * named after gets one input after the other. Built by spec/tools/fuzz.sh. */
#include "fuzz.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static lua_State *state;
static const fuzz_target *chosen;

void fuzz_expect(bool kept, const char *promise)
{
  if (kept)
    return;
  fprintf(stderr, "not kept: %s\n", promise);
  abort();
}

lpg_view fuzz_view(uint8_t bits)
{
  return (lpg_view){.numeric_as_number = bits & 1,
                    .json_as_text = bits >> 1 & 1,
                    .keep_null = bits >> 2 & 1,
                    .timestamps = (bits >> 3 & 3) % 3};
}

bool fuzz_decode(lua_State *L, const lpg_type *type, const lpg_view *view,
                 bool binary, fuzz_input input)
{
  size_t length = (size_t)(input.end - input.at);
  lpg_decode *decode = binary ? type->binary : type->text;
  if (!decode)
    return false;
  char *bytes = malloc(length + !binary);
  fuzz_expect(bytes || length + !binary == 0, "memory");
  if (length)
    memcpy(bytes, input.at, length);
  if (!binary)
    bytes[length] = '\0';
  int top = lua_gettop(L);
  const char *problem = decode(L, type, view, bytes, length);
  free(bytes);
  fuzz_expect(lua_gettop(L) == top + !problem, "one value, or none");
  fuzz_expect(problem ? *problem : !lua_isnil(L, -1), "a reason, or a value");
  return !problem;
}

static bool same_fields(lua_State *L, int a, int b)
{
  for (lua_pushnil(L); lua_next(L, a); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_rawget(L, b);
    bool same = fuzz_same(L, lua_gettop(L) - 1, lua_gettop(L));
    lua_pop(L, 1);
    if (!same)
      return lua_pop(L, 2), false;
  }
  return true;
}

static bool is_nothing(lua_State *L, int index)
{
  return lua_isnil(L, index) || lua_islightuserdata(L, index);
}

bool fuzz_same(lua_State *L, int a, int b)
{
  luaL_checkstack(L, 8, "comparing");
  if (lua_istable(L, a) && lua_istable(L, b))
    return same_fields(L, a, b) && same_fields(L, b, a);
  if (is_nothing(L, a) && is_nothing(L, b))
    return true;
  if (lua_type(L, a) == LUA_TNUMBER && !lua_rawequal(L, a, a))
    return lua_type(L, b) == LUA_TNUMBER && !lua_rawequal(L, b, b);
  return lua_rawequal(L, a, b);
}

/* The marks of the module, which pg.core sets up. */
static void mark(lua_State *L, const char *key)
{
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  const char *slash = strrchr((*argv)[0], '/');
  const char *name = slash ? slash + 1 : (*argv)[0];
  chosen = fuzz_targets;
  while (chosen->name && strcmp(chosen->name, name) != 0)
    chosen++;
  fuzz_expect(chosen->name, "the program's name is that of a target");
  state = luaL_newstate();
  mark(state, &lpg_list_mark);
  mark(state, &lpg_wrapper_mark);
  return 0;
}

static int run(lua_State *L)
{
  fuzz_input input = *(const fuzz_input *)lua_touserdata(L, 1);
  lua_settop(L, 0);
  chosen->run(L, input);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  fuzz_input input = {data, data + size};
  lua_pushcfunction(state, run);
  lua_pushlightuserdata(state, &input);
  int status = lua_pcall(state, 1, 0, 0);
  if (status != LUA_OK)
    fprintf(stderr, "%s\n", lua_tostring(state, -1));
  fuzz_expect(status == LUA_OK, "nothing is raised");
  return 0;
}
