/* SPDX-License-Identifier: MIT */
/* codec_scalar_encode: Lua scalars to PostgreSQL's text, by what their type
 * takes. What a string means is left to the server; what it would refuse or
 * misread for certain is refused here, where its place is known. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_text.h"
#include "codec_write.h"

bool lpg_plain_encode(lpg_writer *w, const lpg_type *type)
{
  switch (lua_type(w->L, -1)) {
  case LUA_TBOOLEAN:
    lpg_buffer_text(w->out, lua_toboolean(w->L, -1) ? "true" : "false");
    return true;
  case LUA_TNUMBER:
    lpg_write_number(w);
    return true;
  case LUA_TSTRING:
    return lpg_write_string(w);
  }
  return lpg_refuse_value(w, type);
}

bool lpg_word_encode(lpg_writer *w, const lpg_type *type)
{
  return lua_isboolean(w->L, -1) && !w->trustful ? lpg_refuse_value(w, type)
                                                 : lpg_plain_encode(w, type);
}

bool lpg_text_encode(lpg_writer *w, const lpg_type *type)
{
  if (!lua_istable(w->L, -1))
    return lpg_plain_encode(w, type);
  return lpg_json_encode(w->L, lua_gettop(w->L), w->out, w->fault);
}

/* A string is JSON text already. */
bool lpg_document_encode(lpg_writer *w, const lpg_type *type)
{
  (void)type;
  if (lua_type(w->L, -1) == LUA_TSTRING)
    return lpg_write_string(w);
  return lpg_json_encode(w->L, lua_gettop(w->L), w->out, w->fault);
}

/* PostgreSQL reads 1 and 0, too. */
bool lpg_bool_encode(lpg_writer *w, const lpg_type *type)
{
  double value = lua_type(w->L, -1) == LUA_TNUMBER ? lua_tonumber(w->L, -1) : 1;
  if (value == 0) { /* not as -0 */
    lpg_buffer_char(w->out, '0');
    return true;
  }
  return value == 1 || w->trustful ? lpg_plain_encode(w, type)
                                   : lpg_refuse_value(w, type);
}

bool lpg_bytea_encode(lpg_writer *w, const lpg_type *type)
{
  if (lua_type(w->L, -1) != LUA_TSTRING)
    return lpg_plain_encode(w, type);
  size_t length;
  const char *bytes = lua_tolstring(w->L, -1, &length);
  char *at =
      length < (size_t)-1 / 4 ? lpg_buffer_room(w->out, length * 2 + 2) : NULL;
  if (!at) {
    w->out->failed = true;
    return true;
  }
  at = lpg_put_text(at, "\\x");
  for (size_t i = 0; i < length; i++)
    at = lpg_put_hex(at, (unsigned char)bytes[i]);
  w->out->length += length * 2 + 2;
  return true;
}

static bool encode_integer(lpg_writer *w, const lpg_type *type,
                           lua_Integer least, lua_Integer most)
{
  if (lua_type(w->L, -1) != LUA_TNUMBER || w->trustful)
    return lpg_word_encode(w, type);
  char text[LPG_NUMBER];
  int integral;
  lua_Integer value = lua_tointegerx(w->L, -1, &integral);
  if (!integral || value < least || value > most)
    return lpg_refuse_value(w, type);
  lpg_buffer_put(w->out, text, lpg_integer_text(value, text));
  return true;
}

bool lpg_int2_encode(lpg_writer *w, const lpg_type *type)
{
  return encode_integer(w, type, INT16_MIN, INT16_MAX);
}

bool lpg_int4_encode(lpg_writer *w, const lpg_type *type)
{
  return encode_integer(w, type, INT32_MIN, INT32_MAX);
}

bool lpg_int8_encode(lpg_writer *w, const lpg_type *type)
{
  return encode_integer(w, type, LUA_MININTEGER, LUA_MAXINTEGER);
}

bool lpg_oid_encode(lpg_writer *w, const lpg_type *type)
{
  return encode_integer(w, type, 0, UINT32_MAX);
}
