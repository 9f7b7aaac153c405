/* SPDX-License-Identifier: MIT */
/* codec_range: ranges as {lower=, upper=, bounds="[)"}, where a bound that is
 * not there is infinite, or {empty=true}; multiranges as lists of them. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "codec_part.h"
#include "codec_rows.h"
#include "codec_text.h"
#include "codec_write.h"

static const char malformed[] = "not a range";
static const char not_multirange[] = "not a multirange";

/* The flags of the binary form. */
enum {
  EMPTY = 0x01,
  LOWER_INCLUDED = 0x02,
  UPPER_INCLUDED = 0x04,
  LOWER_INFINITE = 0x08,
  UPPER_INFINITE = 0x10
};

static void push_empty(lua_State *L)
{
  lua_createtable(L, 0, 1);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "empty");
}

static void set_bounds(lua_State *L, bool lower, bool upper)
{
  const char bounds[2] = {lower ? '[' : '(', upper ? ']' : ')'};
  lua_pushlstring(L, bounds, sizeof bounds);
  lua_setfield(L, -2, "bounds");
}

/* --- text ------------------------------------------------------------- */

/* A bound and what ends it; one without a character is infinite. */
static const char *read_bound(lpg_parts *p, const lpg_type *subtype,
                              const char *name, const char *stops)
{
  size_t length;
  const char *wrong = NULL;
  if (p->at == p->end || !strchr(stops, *p->at) || !*p->at) {
    if (!lpg_part_read(p, stops, &length))
      return malformed;
    wrong = lpg_part_push(p, subtype, length);
    if (!wrong)
      lua_setfield(p->L, -2, name);
  }
  return wrong;
}

static const char *read_range(lpg_parts *p, const lpg_type *type)
{
  lua_State *L = p->L;
  const lpg_type *subtype = lpg_type_part(type);
  if (lpg_is(p->at, (size_t)(p->end - p->at), "empty")) {
    push_empty(L);
    return NULL;
  }
  if (p->at == p->end || (*p->at != '[' && *p->at != '('))
    return malformed;
  bool lower = *p->at++ == '[';
  lua_createtable(L, 0, 3);
  const char *wrong = read_bound(p, subtype, "lower", ",");
  if (wrong)
    return wrong;
  p->at++;
  wrong = read_bound(p, subtype, "upper", ")]");
  if (wrong)
    return wrong;
  set_bounds(L, lower, *p->at == ']');
  return ++p->at == p->end ? NULL : malformed;
}

const char *lpg_range_text(lua_State *L, const lpg_type *type,
                           const lpg_view *view, const char *bytes,
                           size_t length)
{
  lpg_parts p;
  const char *wrong = lpg_parts_begin(&p, L, view, bytes, length);
  return wrong ? wrong : lpg_parts_end(&p, read_range(&p, type));
}

/* Where the range that begins here ends: behind its bracket. */
static const char *end_of_range(const char *at, const char *end)
{
  bool quoted = false;
  for (; at < end; at++) {
    if (*at == '\\')
      at++;
    else if (*at == '"')
      quoted = !quoted;
    else if (!quoted && (*at == ')' || *at == ']'))
      return at + 1;
  }
  return NULL;
}

/* Ranges are not escaped in a multirange. */
static const char *read_ranges(lpg_parts *p, const lpg_type *range)
{
  lua_newtable(p->L);
  lpg_mark_list(p->L);
  const char *end = p->end;
  if (p->at == end || *p->at++ != '{')
    return not_multirange;
  if (p->at < end && *p->at == '}')
    return p->at + 1 == end ? NULL : not_multirange;
  for (lua_Integer i = 1;; i++) {
    p->end = end_of_range(p->at, end);
    if (!p->end)
      return not_multirange;
    const char *wrong = read_range(p, range);
    if (wrong)
      return wrong;
    lua_rawseti(p->L, -2, i);
    if (p->at == end)
      return not_multirange;
    char mark = *p->at++;
    if (mark == '}')
      return p->at == end ? NULL : not_multirange;
    if (mark != ',')
      return not_multirange;
  }
}

const char *lpg_multirange_text(lua_State *L, const lpg_type *type,
                                const lpg_view *view, const char *bytes,
                                size_t length)
{
  lpg_parts p;
  const lpg_type *range = lpg_type_part(type);
  if (!range)
    return lpg_decode_string(L, type, view, bytes, length);
  const char *wrong = lpg_parts_begin(&p, L, view, bytes, length);
  return wrong ? wrong : lpg_parts_end(&p, read_ranges(&p, range));
}

/* --- binary ----------------------------------------------------------- */

static const char *read_bound_binary(lua_State *L, const lpg_type *subtype,
                                     const lpg_view *view, lpg_span *s,
                                     const char *name)
{
  bool null;
  const char *wrong = lpg_part_binary(L, subtype, view, s, &null);
  if (wrong)
    return wrong;
  lua_setfield(L, -2, name);
  return null ? malformed : NULL;
}

static const char *read_range_binary(lua_State *L, const lpg_type *type,
                                     const lpg_view *view, lpg_span *s)
{
  const lpg_type *subtype = lpg_type_part(type);
  unsigned flags = lpg_u8(s);
  const char *wrong = s->short_ ? malformed : NULL;
  if (!wrong && (flags & EMPTY)) {
    push_empty(L);
  } else {
    lua_createtable(L, 0, 3);
    if (!wrong && !(flags & LOWER_INFINITE))
      wrong = read_bound_binary(L, subtype, view, s, "lower");
    if (!wrong && !(flags & UPPER_INFINITE))
      wrong = read_bound_binary(L, subtype, view, s, "upper");
    if (!wrong)
      set_bounds(L, (flags & LOWER_INCLUDED) && !(flags & LOWER_INFINITE),
                 (flags & UPPER_INCLUDED) && !(flags & UPPER_INFINITE));
  }
  return !wrong && s->at != s->end ? malformed : wrong;
}

const char *lpg_range_binary(lua_State *L, const lpg_type *type,
                             const lpg_view *view, const char *bytes,
                             size_t length)
{
  return lpg_parts_binary(L, type, view, bytes, length, read_range_binary);
}

static const char *read_ranges_binary(lua_State *L, const lpg_type *type,
                                      const lpg_view *view, lpg_span *s)
{
  uint32_t count = lpg_u32(s);
  if (s->short_ || count > lpg_left(s) / 5) /* a length and flags each */
    return not_multirange;
  lua_createtable(L, (int)count, 0);
  lpg_mark_list(L);
  for (uint32_t i = 1; i <= count; i++) {
    bool null;
    const char *wrong = lpg_part_binary(L, lpg_type_part(type), view, s, &null);
    if (wrong)
      return wrong;
    lua_rawseti(L, -2, i);
    if (null)
      return not_multirange;
  }
  return s->at == s->end ? NULL : not_multirange;
}

const char *lpg_multirange_binary(lua_State *L, const lpg_type *type,
                                  const lpg_view *view, const char *bytes,
                                  size_t length)
{
  return lpg_parts_binary(L, type, view, bytes, length, read_ranges_binary);
}

/* --- encoding --------------------------------------------------------- */

/* The table on the top has nothing but what a range may have. */
static bool check_keys(lpg_writer *w)
{
  static const char *const keys[] = {"lower", "upper", "bounds", "empty"};
  lua_State *L = w->L;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    bool known = false;
    size_t length = 0;
    const char *key =
        lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
    for (int i = 0; key && i < 4; i++)
      known = known || lpg_is(key, length, keys[i]);
    if (!known && key)
      return lpg_refuse(w->fault,
                        "a range has no '%.40s'; it has lower, upper, bounds "
                        "or empty",
                        key);
    if (!known)
      return lpg_refuse(w->fault, "a range is {lower =, upper =, bounds =}, "
                                  "not a list");
  }
  return true;
}

/* Reads {empty = true}, which has nothing else. */
static bool read_empty(lpg_writer *w, bool *empty)
{
  lua_State *L = w->L;
  lua_pushliteral(L, "empty");
  int type = lua_rawget(L, -2);
  *empty = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (type != LUA_TNIL && type != LUA_TBOOLEAN)
    return lpg_refuse(w->fault, "empty must be true or false");
  if (!*empty)
    return true;
  lua_pushnil(L);
  lua_next(L, -2);
  lua_pop(L, 1);
  bool alone = !lua_next(L, -2);
  return alone || lpg_refuse(w->fault, "a range that is empty has no bounds");
}

static bool read_brackets(lpg_writer *w, char *brackets)
{
  lua_State *L = w->L;
  size_t length = 0;
  lua_pushliteral(L, "bounds");
  int type = lua_rawget(L, -2);
  const char *bounds =
      type == LUA_TSTRING ? lua_tolstring(L, -1, &length) : "[)";
  bool known = type == LUA_TNIL ||
               (length == 2 && (bounds[0] == '[' || bounds[0] == '(') &&
                (bounds[1] == ']' || bounds[1] == ')'));
  brackets[0] = known ? bounds[0] : '[';
  brackets[1] = known ? bounds[1] : ')';
  lua_pop(L, 1);
  return known || lpg_refuse(w->fault, "bounds must be one of \"[)\", \"[]\", "
                                       "\"(]\" and \"()\"");
}

static bool write_bound(lpg_writer *w, const lpg_type *subtype,
                        const char *name)
{
  bool null;
  lua_pushstring(w->L, name);
  lua_rawget(w->L, -2);
  if (!lpg_write_part(w, subtype, &null))
    return lpg_fault_in(w->fault, name);
  lua_pop(w->L, 1);
  return true;
}

static bool write_range(lpg_writer *w, const lpg_type *type)
{
  const lpg_type *subtype = lpg_type_part(type);
  char brackets[2];
  bool empty;
  if (!check_keys(w) || !read_empty(w, &empty))
    return false;
  if (empty) {
    lpg_buffer_text(w->out, "empty");
    return true;
  }
  if (!read_brackets(w, brackets))
    return false;
  lpg_buffer_char(w->out, brackets[0]);
  if (!write_bound(w, subtype, "lower"))
    return false;
  lpg_buffer_char(w->out, ',');
  if (!write_bound(w, subtype, "upper"))
    return false;
  lpg_buffer_char(w->out, brackets[1]);
  return true;
}

bool lpg_range_encode(lpg_writer *w, const lpg_type *type)
{
  return lpg_write_table(w, type, write_range);
}

/* Ranges stand beside each other without quotes. */
static bool write_ranges(lpg_writer *w, const lpg_type *type)
{
  lua_State *L = w->L;
  const lpg_type *range = lpg_type_part(type);
  bool counted;
  lua_Integer size = lpg_measure(w, &counted);
  if (size < 0)
    return false;
  lpg_buffer_char(w->out, '{');
  for (lua_Integer i = 1; i <= size && !w->out->failed; i++) {
    bool null;
    if (i > 1)
      lpg_buffer_char(w->out, ',');
    if (!lpg_push_element(w, i, counted))
      return false;
    if (!lpg_write(w, range, &null))
      return lpg_fault_at(w->fault, i);
    if (null) {
      lpg_refuse(w->fault, "a multirange cannot hold NULL");
      return lpg_fault_at(w->fault, i);
    }
    lua_pop(L, 1);
  }
  lpg_buffer_char(w->out, '}');
  return true;
}

bool lpg_multirange_encode(lpg_writer *w, const lpg_type *type)
{
  return lpg_write_table(w, type, write_ranges);
}
