/* SPDX-License-Identifier: MIT */
/* codec_numeric: PostgreSQL's exact decimals, as strings or as numbers. */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "bytes.h"
#include "codec_rows.h"
#include "codec_text.h"

static const char not_numeric[] = "not a numeric value";

/* The binary form's signs. */
enum {
  POSITIVE = 0x0000,
  NEGATIVE = 0x4000,
  NOT_A_NUMBER = 0xc000,
  INFINITE = 0xd000,
  MINUS_INFINITE = 0xf000
};

/* "-12.50", and nothing else; the integral part ends at *point. */
static bool is_decimal(const char *bytes, size_t length, const char **point)
{
  const char *at = bytes, *end = bytes + length;
  if (at < end && *at == '-')
    at++;
  const char *first = at;
  while (at < end && *at >= '0' && *at <= '9')
    at++;
  *point = at;
  if (at == first)
    return false;
  if (at < end && *at == '.') {
    at++;
    while (at < end && *at >= '0' && *at <= '9')
      at++;
    if (at == *point + 1)
      return false;
  }
  return at == end;
}

static bool only_zeros(const char *at, const char *end)
{
  while (at < end && *at == '0')
    at++;
  return at == end;
}

/* Of a text known to be a number. */
static void push_float(lua_State *L, const char *bytes, size_t length)
{
  double value = 0;
  lpg_float_parse(bytes, length, &value);
  lua_pushnumber(L, value);
}

/* An integral value is an integer while 64 bits hold it. */
static void push_number(lua_State *L, const char *bytes, size_t length,
                        const char *point)
{
  const char *end = bytes + length;
  int64_t integer;
  if ((point == end || only_zeros(point + 1, end)) &&
      lpg_integer_parse(bytes, (size_t)(point - bytes), &integer))
    lua_pushinteger(L, integer);
  else
    push_float(L, bytes, length);
}

const char *lpg_numeric_text(lua_State *L, const lpg_type *type,
                             const lpg_view *view, const char *bytes,
                             size_t length)
{
  (void)type;
  const char *point;
  bool decimal = is_decimal(bytes, length, &point);
  if (!decimal && !lpg_is(bytes, length, "NaN") &&
      !lpg_is(bytes, length, "Infinity") && !lpg_is(bytes, length, "-Infinity"))
    return not_numeric;
  if (!view->numeric_as_number)
    lua_pushlstring(L, bytes, length);
  else if (decimal)
    push_number(L, bytes, length, point);
  else
    push_float(L, bytes, length);
  return NULL;
}

/* The binary form: digits of base 10000, the first one worth 10000^weight. */
typedef struct numeric {
  lpg_span groups;
  int count, weight, scale;
  bool negative;
} numeric;

static char *put_group(char *at, unsigned group)
{
  at[0] = (char)('0' + group / 1000);
  at[1] = (char)('0' + group / 100 % 10);
  at[2] = (char)('0' + group / 10 % 10);
  at[3] = (char)('0' + group % 10);
  return at + 4;
}

/* The group worth 10000^weight; those that are not sent are zero. Asked for
 * in order, so that it can read on. */
static unsigned next_group(numeric *n, int weight)
{
  if (weight > n->weight || weight <= n->weight - n->count)
    return 0;
  return lpg_u16(&n->groups);
}

static size_t numeric_size(const numeric *n)
{
  int whole = n->weight < 0 ? 1 : (n->weight + 1) * 4;
  return (size_t)(whole + n->scale) + 8; /* sign, point, the last group */
}

static char *put_numeric(char *at, numeric *n)
{
  if (n->negative)
    *at++ = '-';
  char *first = at;
  int weight = n->weight > 0 ? n->weight : 0;
  for (; weight >= 0; weight--)
    at = put_group(at, next_group(n, weight));
  char *kept = first;
  while (kept < at - 1 && *kept == '0')
    kept++;
  memmove(first, kept, (size_t)(at - kept));
  at -= kept - first;
  if (n->scale == 0)
    return at;
  *at++ = '.';
  char *end = at + n->scale;
  for (; at < end; weight--)
    at = put_group(at, next_group(n, weight));
  return end;
}

/* Fills in n; answers a word for what has no digits, NULL when it has, and an
 * empty text for what is malformed. */
static const char *read_numeric(const char *bytes, size_t length, numeric *n)
{
  lpg_span s = lpg_span_of(bytes, length);
  unsigned count = lpg_u16(&s);
  n->weight = (int16_t)lpg_u16(&s);
  unsigned sign = lpg_u16(&s);
  n->scale = lpg_u16(&s);
  if (s.short_ || lpg_left(&s) != (size_t)count * 2)
    return "";
  if (sign == NOT_A_NUMBER)
    return "NaN";
  if (sign == INFINITE)
    return "Infinity";
  if (sign == MINUS_INFINITE)
    return "-Infinity";
  if ((sign != POSITIVE && sign != NEGATIVE) || n->scale > 0x3fff)
    return "";
  n->count = (int)count;
  if (count == 0) /* zero, whatever its weight */
    n->weight = -1;
  n->negative = sign == NEGATIVE && count > 0;
  n->groups = s;
  while (lpg_left(&s))
    if (lpg_u16(&s) > 9999)
      return "";
  return NULL;
}

const char *lpg_numeric_binary(lua_State *L, const lpg_type *type,
                               const lpg_view *view, const char *bytes,
                               size_t length)
{
  numeric n = {0};
  const char *word = read_numeric(bytes, length, &n);
  if (word)
    return *word ? lpg_numeric_text(L, type, view, word, strlen(word))
                 : not_numeric;
  luaL_Buffer b;
  char *text = luaL_buffinitsize(L, &b, numeric_size(&n));
  size_t size = (size_t)(put_numeric(text, &n) - text);
  luaL_pushresultsize(&b, size);
  if (!view->numeric_as_number)
    return NULL;
  const char *digits = lua_tolstring(L, -1, &size);
  const char *wrong = lpg_numeric_text(L, type, view, digits, size);
  lua_remove(L, wrong ? -1 : -2);
  return wrong;
}
