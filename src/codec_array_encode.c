/* SPDX-License-Identifier: MIT */
/* codec_array_encode: Lua sequences to array literals. Raw access only, so no
 * code of the user's runs. Every mistake is told with its place. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_text.h"

/* More elements than PostgreSQL lets an array have. */
enum { MAX_SIZE = 134217727 };

typedef struct writer {
  lua_State *L;
  lpg_buffer *out;
  lpg_fault *fault;
  bool bytea, json;
  char delimiter;
  int leaf; /* the depth at which elements stand; 0: none seen yet */
  lua_Integer at[LPG_DIMENSIONS], size[LPG_DIMENSIONS]; /* by depth - 1 */
} writer;

/* "[2][1]" for what stands at this depth; nothing for the array itself. */
static size_t put_path(const writer *w, int depth, char *text)
{
  char *at = text;
  for (int i = 0; i < depth; i++) {
    *at++ = '[';
    at += lpg_integer_text(w->at[i], at);
    *at++ = ']';
  }
  *at = '\0';
  return (size_t)(at - text);
}

static bool refuse(const writer *w, int depth, const char *what)
{
  char path[LPG_DIMENSIONS * 24 + 1];
  bool any = put_path(w, depth, path) > 0;
  snprintf(w->fault->text, sizeof w->fault->text, "%s%s%s", path,
           any ? ": " : "", what);
  return false;
}

static bool refuse_type(const writer *w, int depth, int index)
{
  char what[64];
  snprintf(what, sizeof what, "cannot send a %s",
           lua_typename(w->L, lua_type(w->L, index)));
  return refuse(w, depth, what);
}

/* Puts quotes round what was appended since `start`, and escapes it. */
static void quote_since(lpg_buffer *b, size_t start)
{
  size_t more = 2;
  for (size_t i = start; i < b->length; i++)
    more += b->data[i] == '"' || b->data[i] == '\\';
  if (b->failed || !lpg_buffer_room(b, more))
    return;
  size_t from = b->length, to = from + more;
  b->length = to;
  b->data[--to] = '"';
  while (from > start) {
    char c = b->data[--from];
    b->data[--to] = c;
    if (c == '"' || c == '\\')
      b->data[--to] = '\\';
  }
  b->data[start] = '"';
}

/* Text with quotes round it, and escapes in it: at most twice as long. */
static void put_quoted(lpg_buffer *b, const char *text, size_t length)
{
  if (length > ((size_t)-1 - 2) / 2) {
    b->failed = true;
    return;
  }
  char *at = lpg_buffer_room(b, length * 2 + 2), *start = at;
  if (!at)
    return;
  *at++ = '"';
  for (size_t i = 0; i < length; i++) {
    char c = text[i];
    if (c == '"' || c == '\\')
      *at++ = '\\';
    *at++ = c;
  }
  *at++ = '"';
  b->length += (size_t)(at - start);
}

static void put_hex(lpg_buffer *b, const char *bytes, size_t length)
{
  if (length > ((size_t)-1 - 16) / 2) {
    b->failed = true;
    return;
  }
  char *at = lpg_buffer_room(b, length * 2 + 5);
  if (!at)
    return;
  at = lpg_put_text(at, "\"\\\\x");
  for (size_t i = 0; i < length; i++)
    at = lpg_put_hex(at, (unsigned char)bytes[i]);
  *at = '"';
  b->length += length * 2 + 5;
}

static bool write_string(writer *w, int depth, bool bytea)
{
  size_t length;
  const char *text = lua_tolstring(w->L, -1, &length);
  if (bytea) {
    put_hex(w->out, text, length);
    return true;
  }
  if (memchr(text, '\0', length))
    return refuse(w, depth, "text cannot hold a NUL byte");
  put_quoted(w->out, text, length);
  return true;
}

static bool write_json(writer *w, int depth)
{
  size_t start = w->out->length;
  if (lpg_json_encode(w->L, lua_gettop(w->L), w->out, w->fault)) {
    quote_since(w->out, start);
    return true;
  }
  lpg_fault inner = *w->fault;
  char path[LPG_DIMENSIONS * 24 + 1];
  size_t n = put_path(w, depth, path);
  bool joined = inner.text[0] == '[' || inner.text[0] == '.';
  snprintf(w->fault->text, sizeof w->fault->text, "%s%s%.*s", path,
           joined ? "" : ": ", (int)(sizeof inner.text - n - 3), inner.text);
  return false;
}

/* The element on the top of the stack, which is not a table. */
static bool write_scalar(writer *w, int depth)
{
  lua_State *L = w->L;
  char number[LPG_NUMBER];
  switch (lua_type(L, -1)) {
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(L, -1))
      return refuse_type(w, depth, -1);
    lpg_buffer_put(w->out, "NULL", 4);
    return true;
  case LUA_TBOOLEAN:
    lpg_buffer_text(w->out, lua_toboolean(L, -1) ? "true" : "false");
    return true;
  case LUA_TNUMBER:
    lpg_buffer_put(w->out, number,
                   lua_isinteger(L, -1)
                       ? lpg_integer_text(lua_tointeger(L, -1), number)
                       : lpg_float_text(lua_tonumber(L, -1), number));
    return true;
  case LUA_TSTRING:
    return write_string(w, depth, w->bytea);
  default:
    return refuse_type(w, depth, -1);
  }
}

static bool write_list(writer *w, int depth);

static bool is_word(lua_State *L, int index, const char *word)
{
  size_t length;
  if (lua_type(L, index) != LUA_TSTRING)
    return false;
  const char *text = lua_tolstring(L, index, &length);
  return lpg_is(text, length, word);
}

/* The element on the top of the stack: pg.json(v), pg.bytea(s) or another
 * {v, type} whose v is put in its place. */
static bool write_wrapped(writer *w, int depth)
{
  lua_State *L = w->L;
  lua_rawgeti(L, -1, 2);
  bool json = is_word(L, -1, LPG_JSON_WRAPPER), bytea = is_word(L, -1, "bytea");
  lua_pop(L, 1);
  lua_rawgeti(L, -1, 1);
  lua_replace(L, -2);
  if (json)
    return write_json(w, depth);
  if (lua_type(L, -1) == LUA_TSTRING)
    return write_string(w, depth, bytea || w->bytea);
  if (lua_type(L, -1) == LUA_TNIL) {
    lpg_buffer_text(w->out, "NULL");
    return true;
  }
  if (bytea)
    return refuse_type(w, depth, -1);
  if (lua_type(L, -1) != LUA_TTABLE)
    return write_scalar(w, depth);
  return w->json ? write_json(w, depth)
                 : refuse(w, depth, "a typed table inside an array");
}

/* The value on the top of the stack, found at this depth. */
static bool write_value(writer *w, int depth)
{
  bool table = lua_type(w->L, -1) == LUA_TTABLE;
  bool wrapper = table && lpg_is_wrapper(w->L, -1);
  if (table && !wrapper && !w->json) {
    if (w->leaf && depth >= w->leaf)
      return refuse(w, depth, "a table where its siblings are plain values");
    return write_list(w, depth + 1);
  }
  if (w->leaf == 0)
    w->leaf = depth;
  if (depth != w->leaf)
    return refuse(w, depth, "a plain value where its siblings are tables");
  if (wrapper)
    return write_wrapped(w, depth);
  return table ? write_json(w, depth) : write_scalar(w, depth);
}

/* The length of the sequence on the top: its field n, else what Lua says.
 * Negative: refused. */
static lua_Integer measure(const writer *w, int depth, bool *counted)
{
  lua_State *L = w->L;
  lua_pushliteral(L, "n");
  *counted = lua_rawget(L, -2) == LUA_TNUMBER && lua_isinteger(L, -1);
  lua_Integer size =
      *counted ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, -2);
  lua_pop(L, 1);
  if (size < 0 || size > MAX_SIZE) {
    refuse(w, depth, "a length n that no array can have");
    return -1;
  }
  if (size > 0 || *counted)
    return size;
  lua_pushnil(L);
  if (!lua_next(L, -2))
    return 0;
  lua_pop(L, 2);
  refuse(w, depth, "a table with keys where a sequence is wanted");
  return -1;
}

static bool check_size(writer *w, int depth, lua_Integer size)
{
  lua_Integer *known = &w->size[depth - 1];
  if (*known == 0)
    *known = size;
  if (*known == size)
    return true;
  char what[80];
  snprintf(what, sizeof what, "%lld elements where its siblings have %lld",
           (long long)size, (long long)*known);
  return refuse(w, depth - 1, what);
}

static bool write_elements(writer *w, int depth, lua_Integer size, bool counted)
{
  for (lua_Integer i = 1; i <= size && !w->out->failed; i++) {
    if (i > 1)
      lpg_buffer_char(w->out, w->delimiter);
    w->at[depth - 1] = i;
    if (lua_rawgeti(w->L, -1, i) == LUA_TNIL) {
      if (!counted)
        return refuse(w, depth, "nil: use pg.null, or give the length as n");
      lua_pop(w->L, 1);
      lua_pushlightuserdata(w->L, NULL);
    }
    if (!write_value(w, depth))
      return false;
    lua_pop(w->L, 1);
  }
  return true;
}

/* The sequence on the top of the stack. */
static bool write_list(writer *w, int depth)
{
  if (depth > LPG_DIMENSIONS)
    return refuse(w, depth - 1, "more than six dimensions, or a cycle");
  bool counted;
  lua_Integer size = measure(w, depth - 1, &counted);
  if (size < 0)
    return false;
  if (size == 0 && depth > 1)
    return refuse(w, depth - 1, "an empty table inside an array");
  if (!check_size(w, depth, size))
    return false;
  lpg_buffer_char(w->out, '{');
  if (!write_elements(w, depth, size, counted))
    return false;
  lpg_buffer_char(w->out, '}');
  return true;
}

bool lpg_array_encode(lua_State *L, int index, const lpg_type *element,
                      lpg_buffer *out, lpg_fault *fault)
{
  int top = lua_gettop(L);
  luaL_checkstack(L, 2 * LPG_DIMENSIONS + 8, "encoding an array");
  uint32_t oid = element ? element->oid : 0;
  writer w = {.L = L,
              .out = out,
              .fault = fault,
              .bytea = oid == LPG_OID_BYTEA,
              .json = oid == LPG_OID_JSON || oid == LPG_OID_JSONB,
              .delimiter = element ? element->delimiter : ','};
  lua_pushvalue(L, index);
  if (lua_type(L, -1) == LUA_TTABLE && lpg_is_wrapper(L, -1)) {
    lua_rawgeti(L, -1, 1);
    lua_replace(L, -2);
  }
  bool done = lua_type(L, -1) == LUA_TTABLE ? write_list(&w, 1)
                                            : refuse_type(&w, 0, -1);
  lua_settop(L, top);
  return done;
}
