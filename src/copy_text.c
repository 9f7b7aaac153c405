/* SPDX-License-Identifier: MIT */
/* copy_text: Lua rows into the text format of COPY, values by the rules of
 * parameters: what a table or a string becomes is told by the column's type.
 * Raw access only, no user code runs.
 * "e" in a comment: may raise a Lua error. */
#include "copy.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_user.h"
#include "codec_write.h"

/* What a column takes: a built-in type, or one made here for it. */
typedef struct outlet {
  const lpg_type *known;
  lpg_type made;
  char name[64]; /* of that */
} outlet;

typedef struct outlets {
  int count;
  outlet of[];
} outlets;

/* A row under way. */
typedef struct writer {
  lpg_copy *copy;
  const outlets *outlets;
  int names, mark;
  const char *column; /* that does not fit, */
  lpg_fault fault;    /* and why */
} writer;

static const lpg_type *type_of(const outlet *o)
{
  return o->known ? o->known : &o->made;
}

/* --- bytes ------------------------------------------------------------ */

/* In parts, since each byte may become two. */
static void put_escaped(lpg_buffer *out, const char *bytes, size_t length)
{
  static const char escapes[256] = {
      ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n',  ['\r'] = 'r',
      ['\t'] = 't', ['\v'] = 'v', ['\\'] = '\\',
  };
  enum { PART = 4096 };
  while (length > 0) {
    size_t part = length < PART ? length : PART;
    char *at = lpg_buffer_room(out, 2 * part);
    if (!at)
      return;
    const char *first = at;
    for (size_t i = 0; i < part; i++) {
      char letter = escapes[(unsigned char)bytes[i]];
      if (letter)
        *at++ = '\\';
      *at++ = letter ? letter : bytes[i];
    }
    out->length += (size_t)(at - first);
    bytes += part;
    length -= part;
  }
}

/* \x and two digits a byte; COPY takes the backslash for its own. */
static void put_bytes(lpg_buffer *out, const char *bytes, size_t length)
{
  static const char digits[] = "0123456789abcdef";
  lpg_buffer_text(out, "\\\\x");
  char *at = lpg_buffer_room(out, 2 * length);
  if (!at)
    return;
  for (size_t i = 0; i < length; i++) {
    *at++ = digits[(unsigned char)bytes[i] >> 4];
    *at++ = digits[(unsigned char)bytes[i] & 15];
  }
  out->length += 2 * length;
}

/* --- values ----------------------------------------------------------- */

static bool put_string(lua_State *L, writer *w, int index, const outlet *o)
{
  size_t length;
  const char *bytes = lua_tolstring(L, index, &length);
  if (type_of(o)->encode == lpg_bytea_encode) {
    put_bytes(&w->copy->data, bytes, length);
    return true;
  }
  if (memchr(bytes, 0, length))
    return lpg_refuse(&w->fault,
                      "a text cannot hold a NUL byte (only bytea can)");
  put_escaped(&w->copy->data, bytes, length);
  return true;
}

/* As the column's type says. */
static bool put_encoded(lua_State *L, writer *w, int index, const outlet *o)
{
  lpg_buffer *text = &w->copy->scratch;
  const lpg_type *type = type_of(o);
  lpg_writer inner = {
      .L = L, .out = text, .fault = &w->fault, .view = &w->copy->settings.view};
  lpg_buffer_reset(text, LPG_COPY_CHUNK);
  lua_pushvalue(L, index);
  bool done = type->encode(&inner, type);
  lua_pop(L, 1);
  if (text->failed)
    luaL_error(L, "not enough memory");
  if (done)
    put_escaped(&w->copy->data, text->data, text->length);
  return done;
}

static bool put_number(lua_State *L, writer *w, int index, const outlet *o)
{
  char text[LPG_NUMBER];
  if (lpg_is_instant(type_of(o), &w->copy->settings.view))
    return put_encoded(L, w, index, o);
  lpg_buffer_put(&w->copy->data, text,
                 lua_isinteger(L, index)
                     ? lpg_integer_text(lua_tointeger(L, index), text)
                     : lpg_float_text(lua_tonumber(L, index), text));
  return true;
}

static bool is_raw(lua_State *L, const writer *w, int index)
{
  if (!lua_getmetatable(L, index))
    return false;
  bool raw = lua_rawequal(L, -1, w->mark);
  lua_pop(L, 1);
  return raw;
}

static bool put_wrapped(lua_State *L, writer *w, int index);

static bool put_table(lua_State *L, writer *w, int index, const outlet *o)
{
  if (lpg_is_wrapper(L, index))
    return put_wrapped(L, w, index);
  if (is_raw(L, w, index))
    return lpg_refuse(&w->fault,
                      "COPY sends values, and this is SQL: compute it "
                      "first, or use insert");
  return put_encoded(L, w, index, o);
}

static bool put_value(lua_State *L, writer *w, int index, const outlet *o)
{
  lpg_buffer *out = &w->copy->data;
  int kind = lua_type(L, index);
  if (lpg_user_encodes(type_of(o)) && kind != LUA_TNIL &&
      kind != LUA_TLIGHTUSERDATA && !lpg_is_wrapper(L, index) &&
      !(kind == LUA_TTABLE && is_raw(L, w, index)))
    return put_encoded(L, w, index, o);
  switch (kind) {
  case LUA_TNIL:
    lpg_buffer_text(out, "\\N");
    return true;
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(L, index))
      return lpg_refuse(&w->fault, "cannot send a light userdata");
    lpg_buffer_text(out, "\\N");
    return true;
  case LUA_TBOOLEAN:
    lpg_buffer_text(out, lua_toboolean(L, index) ? "true" : "false");
    return true;
  case LUA_TNUMBER:
    return put_number(L, w, index, o);
  case LUA_TSTRING:
    return put_string(L, w, index, o);
  case LUA_TTABLE:
    return put_table(L, w, index, o);
  }
  return lpg_refuse(&w->fault, "cannot send a %s", luaL_typename(L, index));
}

static void outlet_of(outlet *o, const char *type)
{
  o->known = lpg_type_named(type);
  snprintf(o->name, sizeof o->name, "%s", type);
  o->made = (lpg_type){.name = o->name, .encode = lpg_plain_encode};
}

/* {value, a type's name or LPG_JSON_WRAPPER} */
static bool put_wrapped(lua_State *L, writer *w, int index)
{
  luaL_checkstack(L, 8, "copy");
  lua_rawgeti(L, index, 1);
  lua_rawgeti(L, index, 2);
  int value = lua_gettop(L) - 1;
  const char *type = lua_tostring(L, -1);
  bool done;
  if (!type)
    done = lpg_refuse(&w->fault, "a wrapper without its type");
  else if (lpg_is_wrapper(L, value))
    done = lpg_refuse(&w->fault, "a wrapped value is wrapped again");
  else if (strcmp(type, LPG_JSON_WRAPPER) == 0) {
    lpg_buffer *text = &w->copy->scratch;
    lpg_buffer_reset(text, LPG_COPY_CHUNK);
    done = lpg_json_encode(L, value, text, &w->fault);
    if (done)
      put_escaped(&w->copy->data, text->data, text->length);
    w->copy->data.failed |= text->failed;
  } else {
    outlet o;
    outlet_of(&o, type);
    done = put_value(L, w, value, &o);
  }
  lua_pop(L, 2);
  return done;
}

/* --- rows ------------------------------------------------------------- */

static bool put_cell(lua_State *L, writer *w, int i)
{
  lpg_buffer *out = &w->copy->data;
  bool done = put_value(L, w, lua_gettop(L), &w->outlets->of[i]);
  if (!done) {
    lua_rawgeti(L, w->names, i + 1);
    w->column = lua_tostring(L, -1); /* the list of names keeps it */
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  lpg_buffer_char(out, i + 1 < w->outlets->count ? '\t' : '\n');
  return done;
}

static bool is_column(lua_State *L, const writer *w, int index)
{
  bool known = false;
  for (int i = 0; !known && i < w->outlets->count; i++) {
    lua_rawgeti(L, w->names, i + 1);
    known = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
  }
  return known;
}

static bool is_n(lua_State *L, int key)
{
  return lua_type(L, key) == LUA_TSTRING &&
         strcmp(lua_tostring(L, key), "n") == 0 && lua_isinteger(L, key + 1);
}

/* Whether the row has a place for the key; the `n` of table.pack needs none. */
static bool is_known(lua_State *L, const writer *w, int key, bool list)
{
  if (!list)
    return is_column(L, w, key);
  lua_Integer place = lua_isinteger(L, key) ? lua_tointeger(L, key) : 0;
  return (place >= 1 && place <= w->outlets->count) || is_n(L, key);
}

/* What has no column would go unnoticed: misspelt, or one too many. */
static bool refuse_key(lua_State *L, writer *w, int row, bool list)
{
  int count = w->outlets->count, key = row + 1;
  bool unknown = false;
  lua_pushnil(L);
  while (!unknown && lua_next(L, row)) {
    unknown = !is_known(L, w, key, list);
    lua_settop(L, key);
  }
  w->fault.path[0] = '\0';
  char *text = w->fault.text;
  size_t size = sizeof w->fault.text, length = lua_rawlen(L, row);
  if (unknown && lua_type(L, key) == LUA_TSTRING)
    snprintf(text, size,
             list ? "it is a list, and has '%.100s' by name"
                  : "'%.100s' is not among the columns",
             lua_tostring(L, key));
  else if (unknown && length > (size_t)count)
    snprintf(text, size, "it has %zu values, and there are %d columns", length,
             count);
  else if (unknown && lua_isinteger(L, key))
    snprintf(text, size, "it has a value at %lld, and %s",
             (long long)lua_tointeger(L, key),
             list ? "there is no such column" : "others by name");
  else if (unknown)
    snprintf(text, size, "it has a %s as a key", luaL_typename(L, key));
  lua_settop(L, row);
  return !unknown;
}

/* Values in the order of the columns, or by their names. */
static bool put_cells(lua_State *L, writer *w, int row, bool list)
{
  int found = 0, entries = 0;
  for (int i = 0; i < w->outlets->count; i++) {
    if (!list)
      lua_rawgeti(L, w->names, i + 1);
    int type = list ? lua_rawgeti(L, row, i + 1) : lua_rawget(L, row);
    found += type != LUA_TNIL;
    if (!put_cell(L, w, i))
      return false;
  }
  for (lua_pushnil(L); lua_next(L, row); lua_pop(L, 1))
    entries++;
  return found == entries || refuse_key(L, w, row, list);
}

/* Whether values go by place. What table.pack makes of nothing but nils is
 * {n = 2}. */
static bool is_list(lua_State *L, const writer *w, int row)
{
  if (lua_rawlen(L, row) > 0)
    return true;
  lua_pushnil(L);
  if (!lua_next(L, row))
    return false;
  int key = row + 1;
  bool list = lua_type(L, key) == LUA_TNUMBER;
  if (!list && is_n(L, key) && !is_column(L, w, key)) {
    lua_pop(L, 1);
    list = !lua_next(L, row);
  }
  lua_settop(L, row);
  return list;
}

/* The row on the top of the stack, which it takes away. e */
static bool put_row(lua_State *L, writer *w)
{
  int row = lua_gettop(L);
  bool done;
  if (!lua_istable(L, row)) {
    done = lpg_refuse(&w->fault, "a row must be a table, not %s%s",
                      lua_isnil(L, row) ? "" : "a ", luaL_typename(L, row));
  } else {
    done = put_cells(L, w, row, is_list(L, w, row));
    if (w->outlets->count == 0)
      lpg_buffer_char(&w->copy->data, '\n');
  }
  lua_settop(L, row - 1);
  if (w->copy->data.failed)
    luaL_error(L, "not enough memory");
  return done;
}

static writer writer_for(lua_State *L, lpg_copy *c)
{
  writer w = {.copy = c};
  luaL_checkstack(L, 16, "copy");
  if (lua_getiuservalue(L, 1, LPG_COPY_PLAN) != LUA_TUSERDATA)
    luaL_error(L, "core.copy_writes was not called");
  w.outlets = lua_touserdata(L, -1);
  lua_getiuservalue(L, 1, LPG_COPY_NAMES);
  w.names = lua_gettop(L);
  lua_getiuservalue(L, 1, LPG_COPY_MARK);
  w.mark = lua_gettop(L);
  return w;
}

static int give_fault(lua_State *L, const writer *w, lua_Integer row)
{
  lua_pushnil(L);
  lua_pushinteger(L, row);
  lua_pushstring(L, w->column);
  lpg_fault_push(L, &w->fault);
  return 4;
}

/* core.copy_rows(copy, rows, first, last): makes text of rows first..last, as
 * many as a portion holds. Answers the number of the one after them; or nil,
 * the number of the row that does not fit, its column, and why. */
static int add_rows(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer at = luaL_checkinteger(L, 3), last = luaL_checkinteger(L, 4);
  lua_settop(L, 2);
  writer w = writer_for(L, c);
  for (; at <= last && c->data.length < LPG_COPY_CHUNK; at++) {
    lua_rawgeti(L, 2, at);
    if (!put_row(L, &w))
      return give_fault(L, &w, at);
  }
  lua_pushinteger(L, at);
  return 1;
}

/* core.copy_add(copy, row, number): the same for one row, or for a string,
 * which is taken as it is. Answers whether there is a portion. */
static int add(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  if (lua_type(L, 2) == LUA_TSTRING) {
    size_t length;
    const char *bytes = lua_tolstring(L, 2, &length);
    lpg_buffer_put(&c->data, bytes, length);
    if (c->data.failed)
      return luaL_error(L, "not enough memory");
  } else {
    lua_Integer number = luaL_optinteger(L, 3, 0);
    writer w = writer_for(L, c);
    lua_pushvalue(L, 2);
    if (!put_row(L, &w))
      return give_fault(L, &w, number);
  }
  lua_pushboolean(L, c->data.length >= LPG_COPY_CHUNK);
  return 1;
}

/* --- what the columns are --------------------------------------------- */

/* What a column takes, described by the table at 5. */
static void read_outlet(lua_State *L, outlet *o, const lpg_typemap *types)
{
  lua_getfield(L, 5, "type");
  lua_getfield(L, 5, "oid");
  lua_getfield(L, 5, "array");
  lua_getfield(L, 5, "element");
  const char *element = lua_tostring(L, -1);
  outlet_of(o, luaL_checkstring(L, 6));
  if (!o->known || lpg_typemap_is_coded(types))
    o->known = lpg_typemap_find(types, (uint32_t)lua_tointeger(L, 7));
  if (o->known || !lua_toboolean(L, 8))
    return;
  o->made.encode = lpg_array_encode;
  o->made.part = element ? lpg_type_named(element) : NULL;
}

/* The connection's types, which the plan on the top keeps alive. */
static const lpg_typemap *keep_types(lua_State *L)
{
  lua_getiuservalue(L, 1, LPG_COPY_HANDLE);
  lua_getiuservalue(L, -1, 1);
  lua_getiuservalue(L, -1, LPG_CONN_TYPES);
  const lpg_typemap *types = lua_touserdata(L, -1);
  lua_setiuservalue(L, -4, 1);
  lua_pop(L, 2);
  return types;
}

/* core.copy_writes(copy, columns, mark): {{name=, type=, oid=, array=,
 * element=}, ...}, types by the names of built-in ones; and pg.raw's metatable.
 */
static int writes(lua_State *L)
{
  lpg_copy_check(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 3);
  lua_setiuservalue(L, 1, LPG_COPY_MARK);
  int count = (int)lua_rawlen(L, 2);
  outlets *all =
      lua_newuserdatauv(L, sizeof *all + (size_t)count * sizeof *all->of, 1);
  const lpg_typemap *types = keep_types(L);
  all->count = count;
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, 2, i + 1);
    read_outlet(L, &all->of[i], types);
    lua_getfield(L, 5, "name");
    lua_rawseti(L, 4, i + 1);
    lua_settop(L, 4);
  }
  lua_setiuservalue(L, 1, LPG_COPY_NAMES);
  lua_setiuservalue(L, 1, LPG_COPY_PLAN);
  return 0;
}

void lpg_copy_text_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {{"copy_writes", writes},
                                       {"copy_rows", add_rows},
                                       {"copy_add", add},
                                       {NULL, NULL}};
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
