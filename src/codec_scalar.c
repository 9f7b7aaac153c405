/* SPDX-License-Identifier: MIT */
/* codec_scalar: truth values, integers, floats, bytes and bits, documents:
 * types of one plain value. Knows Lua and the wire, not libpq. */
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <string.h>

#include "bytes.h"
#include "codec_rows.h"
#include "codec_text.h"

static const char not_integer[] = "not an integer";
static const char not_float[] = "not a floating point number";
static const char not_bytea[] = "not a bytea value";
static const char not_bits[] = "not a bit string";

const char *lpg_decode_string(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  (void)type;
  (void)view;
  lua_pushlstring(L, bytes, length);
  return NULL;
}

const char *lpg_bool_text(lua_State *L, const lpg_type *type,
                          const lpg_view *view, const char *bytes,
                          size_t length)
{
  (void)type;
  (void)view;
  if (length != 1 || (*bytes != 't' && *bytes != 'f'))
    return "not a boolean";
  lua_pushboolean(L, *bytes == 't');
  return NULL;
}

const char *lpg_bool_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  if (length != 1 || (*bytes != 1 && *bytes != 0))
    return "not a boolean";
  lua_pushboolean(L, *bytes);
  return NULL;
}

const char *lpg_integer_decode(lua_State *L, const lpg_type *type,
                               const lpg_view *view, const char *bytes,
                               size_t length)
{
  (void)type;
  (void)view;
  int64_t value;
  if (!lpg_integer_parse(bytes, length, &value))
    return not_integer;
  lua_pushinteger(L, value);
  return NULL;
}

const char *lpg_int2_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 2)
    return not_integer;
  lua_pushinteger(L, (int16_t)lpg_u16(&s));
  return NULL;
}

const char *lpg_int4_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 4)
    return not_integer;
  lua_pushinteger(L, (int32_t)lpg_u32(&s));
  return NULL;
}

const char *lpg_int8_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 8)
    return not_integer;
  lua_pushinteger(L, (int64_t)lpg_u64(&s));
  return NULL;
}

const char *lpg_oid_binary(lua_State *L, const lpg_type *type,
                           const lpg_view *view, const char *bytes,
                           size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 4)
    return not_integer;
  lua_pushinteger(L, lpg_u32(&s));
  return NULL;
}

/* xid, cid, xid8: unsigned, and strings, for they do not count in order. */
const char *lpg_counter_binary(lua_State *L, const lpg_type *type,
                               const lpg_view *view, const char *bytes,
                               size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 4 && length != 8)
    return not_integer;
  char text[24];
  char *end = lpg_put_digits(text, length == 4 ? lpg_u32(&s) : lpg_u64(&s), 1);
  lua_pushlstring(L, text, (size_t)(end - text));
  return NULL;
}

const char *lpg_float8_text(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  double value;
  if (!lpg_float_parse(bytes, length, &value))
    return not_float;
  lua_pushnumber(L, value);
  return NULL;
}

const char *lpg_float8_binary(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 8)
    return not_float;
  uint64_t bits = lpg_u64(&s);
  double value;
  memcpy(&value, &bits, sizeof value);
  lua_pushnumber(L, value);
  return NULL;
}

/* By way of the float, a text with more digits than it needs comes out as from
 * any other server. One with just enough may, as a double, be the middle of two
 * floats: then the other may be the one that was printed. */
static double shorten(double value)
{
  float near = (float)value;
  float side = value > (double)near ? HUGE_VALF : -HUGE_VALF;
  double shortest = lpg_float4_value(near);
  if (shortest != value && lpg_float4_value(nextafterf(near, side)) == value)
    return value;
  return shortest;
}

/* Servers before 12 print nine digits where fewer would do. */
const char *lpg_float4_text(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  double value;
  if (!lpg_float_parse(bytes, length, &value))
    return not_float;
  if (length > 6) /* six digits are never too many */
    value = shorten(value);
  lua_pushnumber(L, value);
  return NULL;
}

const char *lpg_float4_binary(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 4)
    return not_float;
  uint32_t bits = lpg_u32(&s);
  float value;
  memcpy(&value, &bits, sizeof value);
  lua_pushnumber(L, lpg_float4_value(value));
  return NULL;
}

/* "char": one byte, none for zero; what is not ASCII as in bytea's escapes. */
const char *lpg_char_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  if (length != 1)
    return "not a single byte";
  unsigned byte = (unsigned char)*bytes;
  char octal[4] = {'\\', (char)('0' + (byte >> 6)),
                   (char)('0' + (byte >> 3 & 7)), (char)('0' + (byte & 7))};
  if (byte < 0x80)
    lua_pushlstring(L, bytes, byte != 0);
  else
    lua_pushlstring(L, octal, sizeof octal);
  return NULL;
}

/* Of a hexadecimal digit its value, and a bit that says it is one. */
enum { HEX = 16 };
static const unsigned char nibble[256] = {
    ['0'] = HEX,      ['1'] = HEX + 1,  ['2'] = HEX + 2,  ['3'] = HEX + 3,
    ['4'] = HEX + 4,  ['5'] = HEX + 5,  ['6'] = HEX + 6,  ['7'] = HEX + 7,
    ['8'] = HEX + 8,  ['9'] = HEX + 9,  ['a'] = HEX + 10, ['b'] = HEX + 11,
    ['c'] = HEX + 12, ['d'] = HEX + 13, ['e'] = HEX + 14, ['f'] = HEX + 15,
    ['A'] = HEX + 10, ['B'] = HEX + 11, ['C'] = HEX + 12, ['D'] = HEX + 13,
    ['E'] = HEX + 14, ['F'] = HEX + 15};

static bool unhex(const char *at, const char *end, char *out)
{
  unsigned all = HEX;
  for (; at < end; at += 2) {
    unsigned high = nibble[(unsigned char)at[0]];
    unsigned low = nibble[(unsigned char)at[1]];
    all &= high & low;
    *out++ = (char)(high << 4 | (low & 15));
  }
  return all;
}

static bool octal(const char *at, unsigned char *byte)
{
  unsigned a = (unsigned)at[0] - '0', b = (unsigned)at[1] - '0';
  unsigned c = (unsigned)at[2] - '0';
  *byte = (unsigned char)(a << 6 | b << 3 | c);
  return a <= 3 && b <= 7 && c <= 7;
}

/* bytea_output = escape: "\\" is a backslash, "\ooo" a byte in octal. Answers
 * the length, or -1. */
static ptrdiff_t unescape(const char *at, const char *end, char *out)
{
  char *first = out;
  while (at < end) {
    if (*at != '\\') {
      *out++ = *at++;
    } else if (end - at >= 2 && at[1] == '\\') {
      *out++ = '\\';
      at += 2;
    } else {
      if (end - at < 4 || !octal(at + 1, (unsigned char *)out++))
        return -1;
      at += 4;
    }
  }
  return out - first;
}

const char *lpg_bytea_text(lua_State *L, const lpg_type *type,
                           const lpg_view *view, const char *bytes,
                           size_t length)
{
  (void)type;
  (void)view;
  bool hex = length >= 2 && bytes[0] == '\\' && bytes[1] == 'x';
  if (hex && length % 2 != 0)
    return not_bytea;
  int top = lua_gettop(L);
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, hex ? length / 2 : length);
  ptrdiff_t n = (ptrdiff_t)(length / 2) - 1;
  if (!hex)
    n = unescape(bytes, bytes + length, out);
  else if (!unhex(bytes + 2, bytes + length, out))
    n = -1;
  if (n < 0) {
    lua_settop(L, top);
    return not_bytea;
  }
  luaL_pushresultsize(&b, (size_t)n);
  return NULL;
}

const char *lpg_bit_binary(lua_State *L, const lpg_type *type,
                           const lpg_view *view, const char *bytes,
                           size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  size_t bits = lpg_u32(&s);
  if (s.short_ || lpg_left(&s) != bits / 8 + (bits % 8 != 0))
    return not_bits;
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, bits);
  for (size_t i = 0; i < bits; i++)
    out[i] = (char)('0' + (s.at[i / 8] >> (7 - i % 8) & 1));
  luaL_pushresultsize(&b, bits);
  return NULL;
}

/* A string at the top level stays JSON text, so that it passes back. */
const char *lpg_json_text(lua_State *L, const lpg_type *type,
                          const lpg_view *view, const char *bytes,
                          size_t length)
{
  (void)type;
  size_t space = 0;
  while (space < length && bytes[space] && strchr(" \t\r\n", bytes[space]))
    space++;
  if (!view->json_as_text && (space == length || bytes[space] != '"'))
    return lpg_json_decode(L, bytes, length);
  lua_pushlstring(L, bytes, length);
  return NULL;
}

const char *lpg_jsonb_binary(lua_State *L, const lpg_type *type,
                             const lpg_view *view, const char *bytes,
                             size_t length)
{
  if (length < 1 || *bytes != 1)
    return "not a known version of jsonb";
  return lpg_json_text(L, type, view, bytes + 1, length - 1);
}

const char *lpg_jsonpath_binary(lua_State *L, const lpg_type *type,
                                const lpg_view *view, const char *bytes,
                                size_t length)
{
  if (length < 1 || *bytes != 1)
    return "not a known version of jsonpath";
  return lpg_decode_string(L, type, view, bytes + 1, length - 1);
}
