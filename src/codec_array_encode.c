/* SPDX-License-Identifier: MIT */
/* codec_array_encode: Lua sequences to array literals. Knows the shape of
 * arrays; elements are their row's business. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_text.h"
#include "codec_write.h"

typedef struct list {
  lpg_writer *w;
  const lpg_type *element;
  lpg_takes takes;
  bool told; /* it says itself how many dimensions it has */
  int leaf;  /* the depth at which elements stand; 0: none seen yet */
  lua_Integer sizes[LPG_DIMENSIONS]; /* by depth - 1 */
} list;

/* Is the table on the top a list of elements, rather than one? */
static bool is_dimension(const list *l, int depth)
{
  lua_State *L = l->w->L;
  if (l->told)
    return depth < l->leaf;
  switch (l->takes) {
  case LPG_TAKES_LISTS:
    return false;
  case LPG_TAKES_KEYED:
    return lua_rawlen(L, -1) > 0 || lpg_is_marked(L, -1);
  case LPG_TAKES_SCALARS:
    break;
  }
  return true;
}

/* Does a string stand for itself, and a number without quotes? */
static bool takes_text(lpg_encode *encode)
{
  return encode == lpg_plain_encode || encode == lpg_word_encode ||
         encode == lpg_text_encode;
}

static bool takes_integers(lpg_encode *encode)
{
  return encode == lpg_int4_encode || encode == lpg_int8_encode ||
         encode == lpg_int2_encode || encode == lpg_oid_encode;
}

static bool write_element(list *l)
{
  lpg_writer *w = l->w;
  lpg_encode *encode = l->element ? l->element->encode : lpg_plain_encode;
  int kind = lua_type(w->L, -1);
  if (kind == LUA_TNUMBER && (takes_text(encode) || takes_integers(encode)))
    return encode(w, l->element);
  if (kind == LUA_TSTRING && takes_text(encode)) {
    size_t length;
    const char *text = lua_tolstring(w->L, -1, &length);
    if (!memchr(text, '\0', length)) {
      lpg_write_quoted(w, text, length);
      return true;
    }
  }
  bool null;
  if (!lpg_write_part(w, l->element, &null))
    return false;
  if (null)
    lpg_buffer_text(w->out, "NULL");
  return true;
}

static bool write_list(list *l, int depth);

/* The value on the top of the stack, found at this depth. */
static bool write_value(list *l, int depth)
{
  lua_State *L = l->w->L;
  bool table = lua_istable(L, -1) && !lpg_is_wrapper(L, -1);
  if (table && is_dimension(l, depth)) {
    if (l->leaf && depth >= l->leaf)
      return lpg_refuse(l->w->fault,
                        "a table where its siblings are plain values");
    return write_list(l, depth + 1);
  }
  if (l->leaf == 0)
    l->leaf = depth;
  if (depth != l->leaf)
    return lpg_refuse(l->w->fault,
                      "a plain value where its siblings are tables");
  return write_element(l);
}

static bool check_size(list *l, int depth, lua_Integer size)
{
  lua_Integer *known = &l->sizes[depth - 1];
  if (*known == 0)
    *known = size;
  return *known == size ||
         lpg_refuse(l->w->fault, "%lld elements where its siblings have %lld",
                    (long long)size, (long long)*known);
}

static bool write_elements(list *l, int depth, lua_Integer size, bool counted)
{
  lpg_writer *w = l->w;
  for (lua_Integer i = 1; i <= size && !w->out->failed; i++) {
    if (i > 1)
      lpg_buffer_char(w->out, l->element ? l->element->delimiter : ',');
    if (!lpg_push_element(w, i, counted))
      return false;
    if (!write_value(l, depth))
      return lpg_fault_at(w->fault, i);
    lua_pop(w->L, 1);
  }
  return true;
}

/* The sequence on the top of the stack. */
static bool write_list(list *l, int depth)
{
  lpg_writer *w = l->w;
  if (depth > LPG_DIMENSIONS)
    return lpg_refuse(w->fault, "more than six dimensions, or a cycle");
  bool counted;
  lua_Integer size = lpg_measure(w, &counted);
  if (size < 0)
    return false;
  if (size == 0 && depth > 1)
    return lpg_refuse(w->fault, "an empty table inside an array");
  if (!check_size(l, depth, size))
    return false;
  lpg_buffer_char(w->out, '{');
  if (!write_elements(l, depth, size, counted))
    return false;
  lpg_buffer_char(w->out, '}');
  return true;
}

/* --- lower bounds ----------------------------------------------------- */

/* The lower bounds in the list on the top; their number, or -1. */
static int read_bounds(lpg_writer *w, lua_Integer *lower)
{
  lua_State *L = w->L;
  size_t count = lua_rawlen(L, -1);
  bool valid = count >= 1 && count <= LPG_DIMENSIONS;
  for (size_t i = 0; valid && i < count; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i + 1);
    valid = lua_isinteger(L, -1);
    lower[i] = valid ? lua_tointeger(L, -1) : 0;
    valid = valid && lower[i] >= INT32_MIN && lower[i] <= INT32_MAX;
    lua_pop(L, 1);
  }
  if (valid)
    return (int)count;
  lpg_refuse(w->fault, "its lower bounds are not one to six integers");
  return -1;
}

/* "[0:2][1:1]=" before what was appended since `start`, if it says more than
 * nothing would. */
static void put_bounds(const list *l, const lua_Integer *lower, size_t start)
{
  char text[LPG_DIMENSIONS * 48 + 2], *at = text;
  lpg_buffer *b = l->w->out;
  bool usual = true;
  for (int i = 0; i < l->leaf; i++) {
    usual = usual && lower[i] == 1;
    *at++ = '[';
    at += lpg_integer_text(lower[i], at);
    *at++ = ':';
    at += lpg_integer_text(lower[i] + l->sizes[i] - 1, at);
    *at++ = ']';
  }
  *at++ = '=';
  size_t length = (size_t)(at - text), body = b->length - start;
  if (usual || l->sizes[0] == 0 || !lpg_buffer_room(b, length))
    return;
  memmove(b->data + start + length, b->data + start, body);
  memcpy(b->data + start, text, length);
  b->length += length;
}

/* The sequence on the top, which may have bounds of its own. */
static bool write_array(lpg_writer *w, const lpg_type *type)
{
  const lpg_type *element = lpg_type_part(type);
  list l = {.w = w, .element = element, .takes = lpg_type_takes(element)};
  lua_Integer lower[LPG_DIMENSIONS];
  size_t start = w->out->length;
  l.told = lpg_push_bounds(w->L, -1);
  if (l.told) {
    l.leaf = read_bounds(w, lower);
    lua_pop(w->L, 1);
    if (l.leaf < 0)
      return false;
  }
  if (!write_list(&l, 1))
    return false;
  if (l.told)
    put_bounds(&l, lower, start);
  return true;
}

bool lpg_array_encode(lpg_writer *w, const lpg_type *type)
{
  return lpg_write_table(w, type, write_array);
}
