/* SPDX-License-Identifier: MIT */
/* codec_array: arrays of any element type to Lua sequences, nested by
 * dimension. Knows the shape of arrays; elements are their row's business. What
 * the sequence alone does not tell is its mark's. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "bytes.h"
#include "codec_part.h"
#include "codec_rows.h"
#include "codec_text.h"

static const char malformed[] = "not an array";
static const char too_deep[] = "an array of more than six dimensions";

/* Elements of a list in text that wait on the Lua stack until it closes, so
 * that its table is made in the size it needs. */
enum { WAITING = 128 };

typedef struct reader {
  lua_State *L;
  const lpg_type *element;
  lpg_view view;
  const char *at, *end;
  char delimiter;
  int told; /* dimensions that have their bounds written before */
  int32_t lower[LPG_DIMENSIONS];
  int leaf; /* the depth at which elements stand; 0: none seen yet */
  int box;  /* the stack slot of big scratch space */
  char *big;
  char small[256];
} reader;

/* The reader's own slots, the nested lists of the binary form, what waits. */
static void make_room(lua_State *L, int waiting)
{
  luaL_checkstack(L, waiting + 2 * LPG_DIMENSIONS + 8, "decoding an array");
}

static lpg_type string_row(void)
{
  return (lpg_type){.name = "text",
                    .text = lpg_decode_string,
                    .binary = lpg_decode_string,
                    .delimiter = ','};
}

/* Space for one element: no element is longer than what is left when the
 * first that needs it is met. */
static char *scratch(reader *r, size_t size)
{
  if (size < sizeof r->small)
    return r->small;
  if (!r->big) {
    r->big = lua_newuserdatauv(r->L, (size_t)(r->end - r->at) + 1, 0);
    lua_replace(r->L, r->box);
  }
  return r->big;
}

/* Decoders are promised a NUL behind a text, which only a copy has. */
static const char *decode_copy(reader *r, char *copy, size_t length)
{
  copy[length] = '\0';
  return r->element->text(r->L, r->element, &r->view, copy, length);
}

static const char *read_quoted(reader *r)
{
  const char *first = ++r->at, *at = first;
  size_t escapes = 0;
  while (at < r->end && *at != '"') {
    if (*at == '\\') {
      escapes++;
      at++;
    }
    at++;
  }
  if (at >= r->end)
    return malformed;
  size_t length = (size_t)(at - first);
  if (!escapes && r->element->text == lpg_decode_string) {
    r->at = at + 1;
    lua_pushlstring(r->L, first, length);
    return NULL;
  }
  char *copy = scratch(r, length), *out = copy;
  r->at = at + 1;
  if (!escapes) {
    memcpy(copy, first, length);
    return decode_copy(r, copy, length);
  }
  for (const char *from = first; from < at; from++) {
    from += *from == '\\';
    *out++ = *from;
  }
  return decode_copy(r, copy, (size_t)(out - copy));
}

static const bool is_mark[256] = {['"'] = true, ['{'] = true, ['}'] = true};

static const char *read_plain(reader *r)
{
  const char *first = r->at, *at = first;
  const char delimiter = r->delimiter;
  while (at < r->end && *at != delimiter && !is_mark[(unsigned char)*at])
    at++;
  if (at < r->end && *at != delimiter && *at != '}')
    return malformed;
  size_t length = (size_t)(at - first);
  if (length == 0)
    return malformed;
  if (lpg_is(first, length, "NULL")) {
    lua_pushlightuserdata(r->L, NULL);
  } else if (r->element->text == lpg_decode_string) {
    lua_pushlstring(r->L, first, length);
  } else {
    char *copy = scratch(r, length);
    r->at = at;
    memcpy(copy, first, length);
    return decode_copy(r, copy, length);
  }
  r->at = at;
  return NULL;
}

static const char *read_element(reader *r, int depth)
{
  if (r->leaf == 0)
    r->leaf = depth;
  if (depth != r->leaf || r->at == r->end)
    return malformed;
  return *r->at == '"' ? read_quoted(r) : read_plain(r);
}

/* How many elements are left of a long list: exact where none is quoted or a
 * list, otherwise some of them. Never more than bytes. */
static size_t guess_rest(const reader *r)
{
  size_t size = 1;
  for (const char *at = r->at; at < r->end && *at != '}'; at++)
    if (*at == r->delimiter)
      size++;
    else if (*at == '"' || *at == '{')
      break;
  return size;
}

/* Stores `count` elements from the top into a new table of this size. */
static void store(reader *r, int slot, int count, size_t size)
{
  lua_createtable(r->L, size < 1 << 27 ? (int)size : 1 << 27, 0);
  lua_replace(r->L, slot);
  for (; count > 0; count--)
    lua_rawseti(r->L, slot, count);
}

/* From behind the opening brace to behind the closing one. On failure there
 * may be more on the stack than before. */
static const char *read_list(reader *r, int depth)
{
  if (depth > LPG_DIMENSIONS)
    return too_deep;
  make_room(r->L, WAITING);
  lua_pushnil(r->L);
  int slot = lua_gettop(r->L);
  for (lua_Integer n = 1;; n++) {
    const char *wrong;
    if (r->at < r->end && *r->at == '{') {
      r->at++;
      wrong = read_list(r, depth + 1);
    } else {
      wrong = read_element(r, depth);
    }
    if (wrong)
      return wrong;
    if (n > WAITING)
      lua_rawseti(r->L, slot, n);
    if (r->at == r->end)
      return malformed;
    char mark = *r->at++;
    if (mark != '}' && mark != r->delimiter)
      return malformed;
    if (mark == '}' && n <= WAITING)
      store(r, slot, (int)n, (size_t)n);
    else if (n == WAITING)
      store(r, slot, WAITING, WAITING + guess_rest(r));
    if (mark == '}')
      return NULL;
  }
}

static bool read_bound(reader *r, char mark, int32_t *bound)
{
  const char *first = r->at;
  int64_t value;
  while (r->at < r->end && *r->at != mark)
    r->at++;
  if (r->at == r->end ||
      !lpg_integer_parse(first, (size_t)(r->at - first), &value) ||
      value < INT32_MIN || value > INT32_MAX)
    return false;
  r->at++;
  *bound = (int32_t)value;
  return true;
}

/* "[0:2][-1:1]=" before an array whose indexes do not all begin at 1. */
static bool read_bounds(reader *r)
{
  int32_t upper;
  while (r->at < r->end && *r->at == '[') {
    r->at++;
    if (r->told == LPG_DIMENSIONS ||
        !read_bound(r, ':', &r->lower[r->told++]) ||
        !read_bound(r, ']', &upper))
      return false;
  }
  return r->told == 0 || (r->at < r->end && *r->at++ == '=');
}

/* A sequence does not tell where its indexes begin, nor, where elements are
 * lists themselves, how many of its levels are dimensions. */
static void mark(reader *r, int dimensions)
{
  bool usual = dimensions <= 1 || lpg_type_takes(r->element) != LPG_TAKES_LISTS;
  for (int i = 0; i < dimensions; i++)
    usual = usual && r->lower[i] == 1;
  if (!usual)
    lpg_mark_bounds(r->L, r->lower, dimensions);
}

static const char *read_text(reader *r)
{
  if (!read_bounds(r) || r->at == r->end || *r->at++ != '{')
    return malformed;
  if (r->end - r->at == 1 && *r->at == '}') {
    lua_createtable(r->L, 0, 0);
    lpg_mark_list(r->L);
    return NULL;
  }
  const char *wrong = read_list(r, 1);
  if (wrong)
    return wrong;
  if (r->at != r->end || (r->told > 0 && r->told != r->leaf))
    return malformed;
  mark(r, r->leaf);
  return NULL;
}

const char *lpg_array_text(lua_State *L, const lpg_type *type,
                           const lpg_view *view, const char *bytes,
                           size_t length)
{
  const lpg_type string = string_row(), *element = lpg_type_part(type);
  reader r;
  if (!lpg_deepen(view, &r.view))
    return lpg_too_deep;
  make_room(L, 0);
  lua_pushnil(L);
  r.L = L;
  r.element = element ? element : &string;
  r.at = bytes;
  r.end = bytes + length;
  r.delimiter = r.element->delimiter;
  r.told = 0;
  for (int i = 0; i < LPG_DIMENSIONS; i++)
    r.lower[i] = 1;
  r.leaf = 0;
  r.box = lua_gettop(L);
  r.big = NULL;
  const char *wrong = read_text(&r);
  if (wrong)
    lua_settop(L, r.box - 1);
  else
    lua_replace(L, r.box);
  return wrong;
}

/* The binary form. */

/* The elements of a list, whose table is on the top. */
static const char *read_elements(reader *r, lpg_span *from, int32_t count)
{
  lpg_span s = *from; /* kept in registers */
  lpg_decode *decode = r->element->binary;
  for (int32_t i = 1; i <= count; i++) {
    int32_t length = (int32_t)lpg_u32(&s);
    const unsigned char *bytes = s.at;
    if (length > 0)
      lpg_take(&s, (size_t)length);
    if (s.short_ || length < -1)
      return malformed;
    const char *wrong = NULL;
    if (length == -1)
      lua_pushlightuserdata(r->L, NULL);
    else
      wrong = decode(r->L, r->element, &r->view, (const char *)bytes,
                     (size_t)length);
    if (wrong)
      return wrong;
    lua_rawseti(r->L, -2, i);
  }
  *from = s;
  return NULL;
}

static const char *read_dimension(reader *r, lpg_span *s, const int32_t *sizes,
                                  int left)
{
  lua_createtable(r->L, sizes[0], 0);
  if (left == 1)
    return read_elements(r, s, sizes[0]);
  for (int32_t i = 1; i <= sizes[0]; i++) {
    const char *wrong = read_dimension(r, s, sizes + 1, left - 1);
    if (wrong)
      return wrong;
    lua_rawseti(r->L, -2, i);
  }
  return NULL;
}

static const char *read_binary(reader *r, const char *bytes, size_t length)
{
  lpg_span s = lpg_span_of(bytes, length);
  uint32_t dimensions = lpg_u32(&s);
  lpg_u32(&s); /* whether there are NULLs: each says so itself */
  lpg_u32(&s); /* the element type: the column's type says so too */
  if (dimensions > LPG_DIMENSIONS)
    return too_deep;
  int32_t sizes[LPG_DIMENSIONS];
  uint64_t total = 1;
  for (uint32_t i = 0; i < dimensions; i++) {
    uint32_t size = lpg_u32(&s);
    r->lower[i] = (int32_t)lpg_u32(&s);
    /* An element has four bytes at least: a size that is a lie allocates
     * nothing. */
    total *= size;
    if (size == 0 || size > length / 4 || total > length / 4)
      return malformed;
    sizes[i] = (int32_t)size;
  }
  if (s.short_ || total > lpg_left(&s) / 4 + (dimensions == 0))
    return malformed;
  if (dimensions == 0) {
    lua_createtable(r->L, 0, 0);
    lpg_mark_list(r->L);
  } else {
    const char *wrong = read_dimension(r, &s, sizes, (int)dimensions);
    if (wrong)
      return wrong;
    mark(r, (int)dimensions);
  }
  return s.at == s.end ? NULL : malformed;
}

const char *lpg_array_binary(lua_State *L, const lpg_type *type,
                             const lpg_view *view, const char *bytes,
                             size_t length)
{
  const lpg_type string = string_row(), *element = lpg_type_part(type);
  reader r = {.L = L, .element = element ? element : &string};
  if (!lpg_deepen(view, &r.view))
    return lpg_too_deep;
  if (!r.element->binary)
    return "an array whose elements have no known binary form";
  make_room(L, 0);
  int top = lua_gettop(L);
  const char *wrong = read_binary(&r, bytes, length);
  if (wrong)
    lua_settop(L, top);
  return wrong;
}
