/* SPDX-License-Identifier: MIT */
#include "codec_part.h"

#include <lauxlib.h>
#include <string.h>

#include "codec_rows.h"

const char lpg_too_deep[] = "nested deeper than 100 levels";

bool lpg_deepen(const lpg_view *view, lpg_view *inner)
{
  *inner = *view;
  return inner->depth++ < LPG_DEPTH;
}

const char *lpg_parts_begin(lpg_parts *p, lua_State *L, const lpg_view *view,
                            const char *bytes, size_t length)
{
  if (!lpg_deepen(view, &p->view))
    return lpg_too_deep;
  luaL_checkstack(L, 8, "decoding a nested value");
  p->L = L;
  p->at = bytes;
  p->end = bytes + length;
  p->space = p->small;
  if (length < sizeof p->small)
    lua_pushnil(L);
  else
    p->space = lua_newuserdatauv(L, length + 1, 0);
  p->slot = lua_gettop(L);
  return NULL;
}

const char *lpg_parts_end(lpg_parts *p, const char *wrong)
{
  if (wrong)
    lua_settop(p->L, p->slot - 1);
  else
    lua_replace(p->L, p->slot);
  return wrong;
}

bool lpg_part_read(lpg_parts *p, const char *stops, size_t *length)
{
  char *to = p->space;
  bool quoted = false;
  for (; p->at < p->end; p->at++) {
    char c = *p->at;
    bool twice = c == '"' && p->end - p->at > 1 && p->at[1] == '"';
    if (c == '\\' || (quoted && twice)) {
      if (++p->at == p->end)
        return false;
      *to++ = *p->at;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && c && strchr(stops, c)) {
      break;
    } else {
      *to++ = c;
    }
  }
  *to = '\0';
  *length = (size_t)(to - p->space);
  return !quoted && p->at < p->end;
}

const char *lpg_part_push(lpg_parts *p, const lpg_type *type, size_t length)
{
  if (type)
    return type->text(p->L, type, &p->view, p->space, length);
  lua_pushlstring(p->L, p->space, length);
  return NULL;
}

const char *lpg_parts_binary(lua_State *L, const lpg_type *type,
                             const lpg_view *view, const char *bytes,
                             size_t length, lpg_binary_body *body)
{
  lpg_view inner;
  if (!lpg_deepen(view, &inner))
    return lpg_too_deep;
  luaL_checkstack(L, 8, "decoding a nested value");
  int top = lua_gettop(L);
  lpg_span s = lpg_span_of(bytes, length);
  const char *wrong = body(L, type, &inner, &s);
  if (wrong)
    lua_settop(L, top);
  return wrong;
}

const char *lpg_part_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, lpg_span *s, bool *null)
{
  int32_t length = (int32_t)lpg_u32(s);
  if (s->short_ || length < -1)
    return "cut short";
  *null = length == -1;
  if (*null) {
    lua_pushlightuserdata(L, NULL);
    return NULL;
  }
  const unsigned char *bytes = lpg_take(s, (size_t)length);
  if (!bytes)
    return "cut short";
  if (!type || !type->binary)
    return "a part of it has no known binary form";
  return type->binary(L, type, view, (const char *)bytes, (size_t)length);
}
