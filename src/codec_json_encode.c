/* SPDX-License-Identifier: MIT */
/* codec_json_encode: a Lua value to JSON text, in lua-cjson's shapes. Knows
 * Lua and nothing of PostgreSQL; reads tables raw, so no user code runs and
 * no table changes under lua_next. Does not recurse: each open table is one
 * slot of the Lua stack, and an object has its current key above it.
 *
 * A float stays a float ("3.0"), so that jsonb gives back the same value.
 * Bytes above 0x7f are passed on as they are: the server checks UTF-8. */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "codec_json.h"

enum {
  DEPTH_LIMIT = 1000, /* tables open at once; lua-cjson's limit */
  SPARSE_SAFE = 10,   /* as in lua-cjson: beyond this index a list may have */
  SPARSE_RATIO = 2,   /* no more than this many places for an item */
  OBJECT = -1
};

/* A table that is being written: a list's current and last index; for an
 * object `last` is OBJECT and `at` counts. */
typedef struct level {
  lua_Integer at, last;
} level;

typedef struct writer {
  lua_State *L;
  lpg_buffer *out;
  lpg_fault *fault;
  int base; /* the slot below the outermost value */
  int depth;
  level open[DEPTH_LIMIT];
} writer;

static size_t number_text(lua_State *L, int slot, char *text)
{
  if (lua_isinteger(L, slot))
    return lpg_integer_text(lua_tointeger(L, slot), text);
  return lpg_float_text(lua_tonumber(L, slot), text);
}

/* --- faults ------------------------------------------------------------ */

enum { KEY_SHOWN = 40, STEP = KEY_SHOWN + 8, PATH = 100 };

static const char too_deep[] = "nested deeper than 1000 levels, or a cycle";

static bool is_name(const char *text, size_t length)
{
  for (size_t i = 0; i < length; i++) {
    char c = text[i], lower = (char)(c | 0x20);
    bool letter = (lower >= 'a' && lower <= 'z') || c == '_';
    if (!letter && !(i > 0 && c >= '0' && c <= '9'))
      return false;
  }
  return length > 0;
}

/* The string key in the slot as a step of a path, long ones cut between
 * characters. */
static void name_string_key(lua_State *L, int slot, char *step)
{
  char shown[KEY_SHOWN + 1];
  size_t length;
  const char *key = lua_tolstring(L, slot, &length);
  size_t kept = length;
  if (length > KEY_SHOWN) {
    kept = KEY_SHOWN;
    while (kept > 0 && (key[kept] & 0xc0) == 0x80)
      kept--;
  }
  for (size_t i = 0; i < kept; i++)
    shown[i] = (unsigned char)key[i] < 0x20 ? '?' : key[i];
  shown[kept] = '\0';
  if (is_name(key, length) && kept == length)
    snprintf(step, STEP, ".%s", shown);
  else
    snprintf(step, STEP, kept < length ? "[\"%s...\"]" : "[\"%s\"]", shown);
}

/* The key in the slot as a step of a path: `.name`, `["a name"]`, `[3]`. */
static void name_key(lua_State *L, int slot, char *step)
{
  char number[LPG_NUMBER];
  if (lua_type(L, slot) == LUA_TSTRING) {
    name_string_key(L, slot, step);
    return;
  }
  if (lua_type(L, slot) != LUA_TNUMBER) {
    snprintf(step, STEP, "[%s]", luaL_typename(L, slot));
    return;
  }
  number_text(L, slot, number);
  snprintf(step, STEP, "[%s]", number);
}

/* Fills in the fault: where the innermost value is, and what is wrong with
 * it. Of a long path the outer part is shown: the inner part of a cycle only
 * repeats itself. */
static bool fail(const writer *w, const char *what, const char *detail)
{
  char *path = w->fault->path, number[LPG_NUMBER];
  size_t length = 0;
  int slot = w->base + 1;
  path[0] = '\0';
  for (int i = 0; i < w->depth; i++) {
    char *step = path + length;
    slot++; /* past the table */
    if (w->open[i].last == OBJECT) {
      name_key(w->L, slot++, step);
    } else {
      lpg_integer_text(w->open[i].at, number);
      snprintf(step, STEP, "[%s]", number);
    }
    length += strlen(step);
    if (length > PATH) {
      memcpy(step, "...", sizeof "...");
      break;
    }
  }
  snprintf(w->fault->text, sizeof w->fault->text, "%s%s", what, detail);
  return false;
}

/* --- scalars ----------------------------------------------------------- */

enum { CHUNK = 256, ESCAPE = 6 }; /* bytes at a time, and of an escape */

/* Writes the string in the slot, which must be one: a number would be
 * converted in place. A chunk has room for the worst, so that the loop need
 * not ask. */
static void put_string(const writer *w, int slot)
{
  size_t left;
  const char *from = lua_tolstring(w->L, slot, &left);
  lpg_buffer_char(w->out, '"');
  while (left > 0) {
    size_t chunk = left < CHUNK ? left : CHUNK;
    char *to = lpg_buffer_room(w->out, chunk * ESCAPE);
    if (!to)
      return;
    for (const char *end = from + chunk; from < end; from++) {
      if (lpg_json_stops[(unsigned char)*from])
        to = lpg_json_escape(to, (unsigned char)*from);
      else
        *to++ = *from;
    }
    w->out->length = (size_t)(to - w->out->data);
    left -= chunk;
  }
  lpg_buffer_char(w->out, '"');
}

static bool put_number(const writer *w, int slot)
{
  char text[LPG_NUMBER];
  size_t length = number_text(w->L, slot, text);
  if (!lua_isinteger(w->L, slot)) {
    double value = lua_tonumber(w->L, slot);
    if (isnan(value))
      return fail(w, "cannot send nan as JSON", "");
    if (isinf(value))
      return fail(w, "cannot send infinity as JSON", "");
    if (!strpbrk(text, ".e")) {
      memcpy(text + length, ".0", 2);
      length += 2;
    }
  }
  lpg_buffer_put(w->out, text, length);
  return true;
}

/* Writes the value on the top, which is not a table. */
static bool put_scalar(const writer *w, int type)
{
  lua_State *L = w->L;
  switch (type) {
  case LUA_TSTRING:
    put_string(w, -1);
    return true;
  case LUA_TNUMBER:
    return put_number(w, -1);
  case LUA_TBOOLEAN:
    lpg_buffer_text(w->out, lua_toboolean(L, -1) ? "true" : "false");
    return true;
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(L, -1))
      break;
    lpg_buffer_text(w->out, "null");
    return true;
  case LUA_TNIL:
    lpg_buffer_text(w->out, "null");
    return true;
  }
  return fail(w, "cannot send a ", lua_typename(L, type));
}

/* --- tables ------------------------------------------------------------ */

/* Whether the table on the top is a list: no keys but positive integers, and
 * one at least unless it is marked. Counts them and finds the highest. A
 * marked table with other keys is a fault: to leave them out would lose data,
 * to write an object would not be what was asked for. */
static bool find_shape(const writer *w, bool marked, level *shape,
                       lua_Integer *count)
{
  lua_State *L = w->L;
  char step[STEP];
  *shape = (level){0, marked ? 0 : OBJECT};
  *count = 0;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    lua_Integer index = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    if (index <= 0) {
      shape->last = OBJECT;
      if (marked)
        name_key(L, -1, step);
      lua_pop(L, 1);
      return !marked || fail(w, "a list cannot have the key ", step);
    }
    ++*count;
    if (index > shape->last)
      shape->last = index;
  }
  return true;
}

/* Opens the table on the top; its first item is next. e */
static bool open_table(writer *w)
{
  lua_State *L = w->L;
  level shape;
  lua_Integer count;
  bool marked = lpg_is_marked(L, -1);
  if (w->depth == DEPTH_LIMIT)
    return fail(w, too_deep, "");
  luaL_checkstack(L, LUA_MINSTACK, "JSON document");
  if (!find_shape(w, marked, &shape, &count))
    return false;
  if (shape.last > SPARSE_SAFE && shape.last > count * SPARSE_RATIO)
    return fail(w, "excessively sparse array", "");
  w->open[w->depth++] = shape;
  lpg_buffer_char(w->out, shape.last == OBJECT ? '{' : '[');
  if (shape.last == OBJECT)
    lua_pushnil(L); /* the key before the first */
  return true;
}

/* Closes the innermost table, which is on the top, and pops it. */
static void close_table(writer *w)
{
  const level *closed = &w->open[--w->depth];
  lpg_buffer_char(w->out, closed->last == OBJECT ? '}' : ']');
  lua_pop(w->L, 1);
}

/* Pushes the innermost table's next value; false after the last one. */
static bool next_item(writer *w)
{
  level *inner = &w->open[w->depth - 1];
  if (inner->last == OBJECT) {
    if (!lua_next(w->L, -2))
      return false;
  } else {
    if (inner->at == inner->last)
      return false;
    lua_rawgeti(w->L, -1, inner->at + 1);
  }
  inner->at++;
  return true;
}

/* Writes what stands before the value on the top: a comma, a key. */
static bool put_prefix(const writer *w)
{
  const level *inner = &w->open[w->depth - 1];
  char number[LPG_NUMBER];
  if (inner->at > 1)
    lpg_buffer_char(w->out, ',');
  if (inner->last != OBJECT)
    return true;
  if (lua_type(w->L, -2) == LUA_TSTRING) {
    put_string(w, -2);
  } else if (lua_type(w->L, -2) == LUA_TNUMBER) {
    lpg_buffer_char(w->out, '"');
    lpg_buffer_put(w->out, number, number_text(w->L, -2, number));
    lpg_buffer_char(w->out, '"');
  } else {
    return fail(w, "a key cannot be a ", luaL_typename(w->L, -2));
  }
  lpg_buffer_char(w->out, ':');
  return true;
}

/* Writes the value on the top and pops it; a table is only opened. A wrapper
 * counts as what it holds; one that holds itself would never end, so the depth
 * limit is for wrappers too. e */
static bool put_value(writer *w)
{
  lua_State *L = w->L;
  int type;
  for (int i = 0; (type = lua_type(L, -1)) == LUA_TTABLE; i++) {
    if (!lpg_is_wrapper(L, -1))
      return open_table(w);
    if (i == DEPTH_LIMIT)
      return fail(w, too_deep, "");
    lua_rawgeti(L, -1, 1);
    lua_replace(L, -2);
  }
  if (!put_scalar(w, type))
    return false;
  lua_pop(L, 1);
  return true;
}

/* Writes the value on the top, whole. e */
static bool put_document(writer *w)
{
  for (;;) {
    if (!put_value(w))
      return false;
    while (w->depth > 0 && !next_item(w))
      close_table(w);
    if (w->depth == 0)
      return true;
    if (!put_prefix(w))
      return false;
  }
}

bool lpg_json_encode(lua_State *L, int index, lpg_buffer *out, lpg_fault *fault)
{
  writer w; /* not initialised whole: most values are flat */
  w.L = L;
  w.out = out;
  w.fault = fault;
  w.base = lua_gettop(L);
  w.depth = 0;
  luaL_checkstack(L, LUA_MINSTACK, "JSON document");
  lua_pushvalue(L, index);
  bool ok = put_document(&w);
  lua_settop(L, w.base);
  return ok;
}
