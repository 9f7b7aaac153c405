/* SPDX-License-Identifier: MIT */
/* codec_hstore: types of extensions that are more than text: hstore, a table of
 * strings, and vector (pgvector's), a list of floats. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "codec_part.h"
#include "codec_rows.h"
#include "codec_text.h"
#include "codec_write.h"

static const char not_hstore[] = "not an hstore";
static const char not_vector[] = "not a vector";

/* --- hstore ----------------------------------------------------------- */

static bool expect(lpg_parts *p, const char *text)
{
  size_t length = strlen(text);
  bool there =
      (size_t)(p->end - p->at) >= length && memcmp(p->at, text, length) == 0;
  if (there)
    p->at += length;
  return there;
}

/* A key or a value, which stand in quotes; pushed. */
static bool read_quoted(lpg_parts *p)
{
  char *to = p->space;
  if (!expect(p, "\""))
    return false;
  for (; p->at < p->end && *p->at != '"'; p->at++) {
    if (*p->at == '\\' && ++p->at == p->end)
      return false;
    *to++ = *p->at;
  }
  lua_pushlstring(p->L, p->space, (size_t)(to - p->space));
  return expect(p, "\"");
}

static const char *read_pairs(lpg_parts *p)
{
  lua_newtable(p->L);
  while (p->at < p->end) {
    if (!read_quoted(p) || !expect(p, "=>"))
      return not_hstore;
    if (expect(p, "NULL"))
      lua_pushlightuserdata(p->L, NULL);
    else if (!read_quoted(p))
      return not_hstore;
    lua_rawset(p->L, -3);
    if (p->at < p->end && (!expect(p, ", ") || p->at == p->end))
      return not_hstore;
  }
  return NULL;
}

const char *lpg_hstore_text(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  lpg_parts p;
  const char *wrong = lpg_parts_begin(&p, L, view, bytes, length);
  return wrong ? wrong : lpg_parts_end(&p, read_pairs(&p));
}

static const char *read_pairs_binary(lua_State *L, const lpg_view *view,
                                     lpg_span *s)
{
  static const lpg_type text = {.text = lpg_decode_string,
                                .binary = lpg_decode_string};
  uint32_t count = lpg_u32(s);
  if (s->short_ || count > lpg_left(s) / 8) /* two lengths each */
    return not_hstore;
  lua_createtable(L, 0, (int)count);
  for (uint32_t i = 0; i < count; i++) {
    bool null;
    const char *wrong = lpg_part_binary(L, &text, view, s, &null);
    if (wrong || null)
      return not_hstore;
    wrong = lpg_part_binary(L, &text, view, s, &null);
    if (wrong)
      return not_hstore;
    lua_rawset(L, -3);
  }
  return s->at == s->end ? NULL : not_hstore;
}

const char *lpg_hstore_binary(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  (void)type;
  luaL_checkstack(L, 8, "decoding an hstore");
  int top = lua_gettop(L);
  lpg_span s = lpg_span_of(bytes, length);
  const char *wrong = read_pairs_binary(L, view, &s);
  if (wrong)
    lua_settop(L, top);
  return wrong;
}

/* The key below the value on the top. */
static bool write_key(lpg_writer *w)
{
  size_t length;
  if (lua_type(w->L, -2) != LUA_TSTRING)
    return lpg_refuse(w->fault,
                      "the keys of an hstore are strings, and one "
                      "is a %s",
                      luaL_typename(w->L, -2));
  const char *key = lua_tolstring(w->L, -2, &length);
  if (memchr(key, '\0', length))
    return lpg_refuse(w->fault, "a key of an hstore cannot hold a NUL byte");
  lpg_write_quoted(w, key, length);
  return true;
}

/* Values are texts: always in quotes, so that "NULL" is one. */
static bool write_item(lpg_writer *w)
{
  static const lpg_type text = {.name = "hstore", .encode = lpg_plain_encode};
  lpg_buffer *b = w->out;
  bool null;
  size_t start = b->length;
  if (!lpg_write(w, &text, &null))
    return false;
  if (null) {
    lpg_buffer_text(b, "NULL");
    return true;
  }
  return lpg_quote(w, start);
}

static bool write_hstore(lpg_writer *w, const lpg_type *type)
{
  (void)type;
  lua_State *L = w->L;
  bool first = true;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    if (!first)
      lpg_buffer_text(w->out, ", ");
    first = false;
    if (!write_key(w))
      return false;
    lpg_buffer_text(w->out, "=>");
    if (!write_item(w))
      return lpg_fault_in(w->fault, lua_tostring(L, -2));
    lua_pop(L, 1);
  }
  return true;
}

bool lpg_hstore_encode(lpg_writer *w, const lpg_type *type)
{
  return lpg_write_table(w, type, write_hstore);
}

/* --- vector ----------------------------------------------------------- */

static const char *read_floats(lua_State *L, const lpg_view *view,
                               lpg_cursor *c)
{
  lua_newtable(L);
  lpg_mark_list(L);
  if (!lpg_accept(c, '['))
    return not_vector;
  for (lua_Integer i = 1;; i++) {
    const char *first = c->at;
    while (c->at < c->end && *c->at != ',' && *c->at != ']')
      c->at++;
    if (c->at == c->end ||
        lpg_float4_text(L, NULL, view, first, (size_t)(c->at - first)))
      return not_vector;
    lua_rawseti(L, -2, i);
    if (*c->at++ == ']')
      return c->at == c->end ? NULL : not_vector;
  }
}

const char *lpg_vector_text(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  luaL_checkstack(L, 4, "decoding a vector");
  int top = lua_gettop(L);
  lpg_cursor c = {bytes, bytes + length};
  const char *wrong = read_floats(L, view, &c);
  if (wrong)
    lua_settop(L, top);
  return wrong;
}

const char *lpg_vector_binary(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  (void)type;
  (void)view;
  luaL_checkstack(L, 4, "decoding a vector");
  lpg_span s = lpg_span_of(bytes, length);
  int count = lpg_u16(&s);
  lpg_u16(&s); /* unused */
  if (s.short_ || lpg_left(&s) != (size_t)count * 4)
    return not_vector;
  lua_createtable(L, count, 0);
  lpg_mark_list(L);
  for (int i = 1; i <= count; i++) {
    uint32_t bits = lpg_u32(&s);
    float value;
    memcpy(&value, &bits, sizeof value);
    lua_pushnumber(L, lpg_float4_value(value));
    lua_rawseti(L, -2, i);
  }
  return NULL;
}

static bool write_vector(lpg_writer *w, const lpg_type *type)
{
  bool counted;
  lua_Integer size = lpg_measure(w, &counted);
  if (size < 0)
    return false;
  lpg_buffer_char(w->out, '[');
  for (lua_Integer i = 1; i <= size && !w->out->failed; i++) {
    if (i > 1)
      lpg_buffer_char(w->out, ',');
    if (!lpg_push_element(w, i, counted))
      return false;
    if (lua_type(w->L, -1) != LUA_TNUMBER) {
      lpg_refuse(w->fault, "a %s holds numbers, not a %s", type->name,
                 luaL_typename(w->L, -1));
      return lpg_fault_at(w->fault, i);
    }
    lpg_write_number(w);
    lua_pop(w->L, 1);
  }
  lpg_buffer_char(w->out, ']');
  return true;
}

bool lpg_vector_encode(lpg_writer *w, const lpg_type *type)
{
  return lpg_write_table(w, type, write_vector);
}
