/* SPDX-License-Identifier: MIT */
/* codecs: the decoders and encoders of src/codec*.c as a Lua module, for bytes
 * that no server sends. Each value lies alone in the heap, so that a sanitizer
 * sees every read past its end.
 *
 * A type is the name of a built-in one, or { kind = "record", name =, part =
 * type, fields = { { name =, oid =, type = }, ... } }. */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"
#include "codec_rows.h"

int luaopen_codecs(lua_State *L);

static const struct {
  const char *kind;
  lpg_type row;
} kinds[] = {
    {"array",
     {.text = lpg_array_text,
      .binary = lpg_array_binary,
      .encode = lpg_array_encode}},
    {"record",
     {.text = lpg_record_text,
      .binary = lpg_record_binary,
      .encode = lpg_record_encode}},
    {"range",
     {.text = lpg_range_text,
      .binary = lpg_range_binary,
      .encode = lpg_range_encode}},
    {"multirange",
     {.text = lpg_multirange_text,
      .binary = lpg_multirange_binary,
      .encode = lpg_multirange_encode}},
    {"hstore",
     {.text = lpg_hstore_text,
      .binary = lpg_hstore_binary,
      .encode = lpg_hstore_encode}},
    {"vector",
     {.text = lpg_vector_text,
      .binary = lpg_vector_binary,
      .encode = lpg_vector_encode}},
};

/* Until the next call. */
static void *keep(lua_State *L, size_t size)
{
  void *made = lua_newuserdatauv(L, size, 0);
  memset(made, 0, size);
  luaL_ref(L, lua_upvalueindex(1));
  return made;
}

static const lpg_type *row(lua_State *L, int index);

static void set_fields(lua_State *L, lpg_type *made, int list)
{
  made->count = (int)lua_rawlen(L, list);
  lpg_field *fields = keep(L, (size_t)made->count * sizeof *fields + 1);
  for (int i = 0; i < made->count; i++) {
    lua_rawgeti(L, list, i + 1);
    int field = lua_gettop(L);
    lua_getfield(L, field, "name");
    fields[i].name = luaL_checkstring(L, -1); /* the program keeps it */
    lua_getfield(L, field, "oid");
    fields[i].oid = (uint32_t)luaL_checkinteger(L, -1);
    lua_getfield(L, field, "type");
    fields[i].type = row(L, lua_gettop(L));
    lua_settop(L, field - 1);
  }
  made->fields = fields;
}

static const lpg_type *row(lua_State *L, int index)
{
  luaL_checkstack(L, 8, "a type");
  if (lua_isnil(L, index))
    return NULL;
  if (lua_isstring(L, index))
    return lpg_type_named(lua_tostring(L, index));
  lua_getfield(L, index, "kind");
  const char *kind = luaL_checkstring(L, -1);
  lpg_type *made = keep(L, sizeof *made);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (strcmp(kinds[i].kind, kind) == 0)
      *made = kinds[i].row;
  made->delimiter = ',';
  lua_getfield(L, index, "name");
  made->name = luaL_optstring(L, -1, kind);
  lua_getfield(L, index, "part");
  made->part = row(L, lua_gettop(L));
  if (lua_getfield(L, index, "fields") == LUA_TTABLE)
    set_fields(L, made, lua_gettop(L));
  lua_pop(L, 4);
  return made;
}

static void begin(lua_State *L)
{
  lua_newtable(L);
  lua_replace(L, lua_upvalueindex(1));
}

/* decode(type, form, bytes, keep_null): the value; or nil and what is wrong. */
static int decode(lua_State *L)
{
  size_t length;
  begin(L);
  const char *form = luaL_checkstring(L, 2);
  const char *bytes = luaL_checklstring(L, 3, &length);
  lpg_view view = {.keep_null = lua_toboolean(L, 4)};
  lua_settop(L, 3);
  const lpg_type *type = row(L, 1);
  bool text = strcmp(form, "text") == 0;
  char *copy = malloc(length + text);
  memcpy(copy, bytes, length);
  if (text)
    copy[length] = '\0';
  const char *wrong = text ? type->text(L, type, &view, copy, length)
                           : type->binary(L, type, &view, copy, length);
  free(copy);
  if (lua_gettop(L) != 3 + !wrong)
    return luaL_error(L, "the decoder left %d values", lua_gettop(L) - 3);
  if (!wrong)
    return 1;
  lua_pushnil(L);
  lua_pushstring(L, wrong);
  return 2;
}

/* encode(type, value): PostgreSQL's text, nil for NULL; or nil and what is
 * wrong. */
static int encode(lua_State *L)
{
  begin(L);
  lua_settop(L, 2);
  const lpg_type *type = row(L, 1);
  lpg_view view = {.depth = 0};
  lpg_fault fault;
  lpg_buffer out = {0};
  lpg_writer w = {.L = L, .out = &out, .fault = &fault, .view = &view};
  bool null;
  bool done = lpg_write(&w, type, &null);
  if (lua_gettop(L) != 2)
    return luaL_error(L, "the encoder left %d values", lua_gettop(L) - 2);
  if (done && !null)
    lua_pushlstring(L, out.data, out.length);
  else
    lua_pushnil(L);
  if (!done)
    lpg_fault_push(L, &fault);
  lpg_buffer_free(&out);
  return done ? 1 : 2;
}

int luaopen_codecs(lua_State *L)
{
  static const luaL_Reg functions[] = {
      {"decode", decode}, {"encode", encode}, {NULL, NULL}};
  luaL_newlibtable(L, functions);
  lua_pushnil(L);
  luaL_setfuncs(L, functions, 1);
  return 1;
}
