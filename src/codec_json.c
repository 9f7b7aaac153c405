/* SPDX-License-Identifier: MIT */
/* codec_json: JSON text to a Lua value, strictly RFC 8259, the whole text.
 * Knows Lua and nothing of PostgreSQL. Does not recurse: what is open lies on
 * the Lua stack, however deep a document claims to be.
 *
 * The members of a container wait on the Lua stack until it closes, so that
 * its table is made in the size it needs: growing tables step by step is what
 * costs most in a decoder. Each open container is one slot, nil at first and
 * later its table, with its waiting members above it: values, or keys and
 * values by turns.
 *
 * Choices where JSON leaves one: the last of two equal keys counts; -0 is the
 * float -0.0, because an integer would lose the sign and the two are equal
 * anyway; a number beyond a double is infinite, as in lua-cjson; bytes above
 * 0x7f are passed on (the server checks its encoding). */
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#include "codec_json.h"
#include "codec_rows.h"
#include "codec_text.h"

enum {
  DEPTH_LIMIT = 1000, /* containers open at once; lua-cjson's limit */
  WAITING = 128,      /* slots that may wait; even, for pairs */
  SLOTS = WAITING + 8 /* and room for what the functions here push */
};

typedef struct container {
  int slot;
  int room; /* for members that wait */
  bool is_object;
  bool made; /* its table is in the slot */
} container;

/* Where a function has read to is what it answers: NULL with the fault named.
 */
typedef struct reader {
  lua_State *L;
  const char *end;
  const char *fault;
  int list_mark; /* the slot of the metatable that marks a list */
  int depth;
  container open[DEPTH_LIMIT];
} reader;

static const char *fail(reader *r, const char *fault)
{
  r->fault = fault;
  return NULL;
}

/* Names the fault where something else was expected. */
static const char *fail_at(reader *r, const char *at, const char *fault)
{
  return fail(r, at < r->end ? fault : "not valid JSON: it ends too early");
}

/* The next byte, or NUL at the end, which is as little JSON as the end is. */
static inline char peek(const reader *r, const char *at)
{
  return at < r->end ? *at : '\0';
}

static inline bool is_space(unsigned char c)
{
  const uint64_t spaces =
      UINT64_C(1) << ' ' | 1 << '\n' | 1 << '\r' | 1 << '\t';
  return c <= ' ' && (spaces >> c & 1);
}

static inline const char *skip_space(const reader *r, const char *at)
{
  while (at < r->end && is_space((unsigned char)*at))
    at++;
  return at;
}

/* --- strings ----------------------------------------------------------- */

/* The quote that closes a string with escapes. */
static const char *find_quote(reader *r, const char *p)
{
  for (;;) {
    p = lpg_json_span(p, r->end);
    if (p < r->end && *p == '"')
      return p;
    bool escape = p < r->end && *p == '\\';
    if (!escape || r->end - p < 2)
      return fail_at(r, escape ? r->end : p,
                     "not valid JSON: a control character in a string");
    p += 2;
  }
}

/* Pushes a string whose first bytes, up to `span`, are plain. e */
static const char *read_escaped(reader *r, const char *from, const char *span)
{
  const char *quote = find_quote(r, span);
  if (!quote)
    return NULL;
  luaL_Buffer buffer;
  char *start = luaL_buffinitsize(r->L, &buffer, (size_t)(quote - from));
  char *to = start;
  while (from < quote) {
    size_t plain = (size_t)(span - from);
    memcpy(to, from, plain);
    to += plain;
    if (span == quote)
      break;
    from = span + 1;
    to = lpg_json_unescape(&from, quote, to);
    if (!to)
      return fail(r, "not valid JSON: an invalid escape in a string");
    span = lpg_json_span(from, quote);
  }
  luaL_pushresultsize(&buffer, (size_t)(to - start));
  return quote + 1;
}

/* Pushes the string whose opening quote is before `at`. e */
static inline const char *read_string(reader *r, const char *at)
{
  const char *span = lpg_json_span(at, r->end);
  if (span == r->end || *span != '"')
    return read_escaped(r, at, span);
  lua_pushlstring(r->L, at, (size_t)(span - at));
  return span + 1;
}

/* --- numbers and words ------------------------------------------------- */

static const char malformed[] = "not valid JSON: a malformed number";

/* Pushes a whole number, unless it does not fit or is -0. */
static inline bool push_integer(lua_State *L, uint64_t sum, ptrdiff_t count,
                                bool negative)
{
  if (count > LPG_EXACT || sum > (uint64_t)INT64_MAX + negative ||
      (negative && sum == 0))
    return false;
  lua_pushinteger(L, (lua_Integer)(negative ? 0 - sum : sum));
  return true;
}

static const char *read_exponent(reader *r, const char *at)
{
  uint64_t sum = 0;
  at++;
  at += peek(r, at) == '+' || peek(r, at) == '-';
  const char *end = lpg_sum_digits(at, r->end, &sum);
  return end > at ? end : fail_at(r, end, malformed);
}

/* Pushes the number that begins with a minus sign or a digit. */
static const char *read_number(reader *r, const char *start)
{
  bool negative = *start == '-';
  const char *first = start + negative;
  lpg_decimal d = {0, 0};
  ptrdiff_t count;
  const char *at = lpg_decimal_read(first, r->end, &d, &count);
  bool zeros = at - first > 1 && *first == '0' && first[1] != '.';
  if (zeros || (at > first && *first == '.'))
    return fail(r, malformed);
  if (at == first || at[-1] == '.')
    return fail_at(r, at, malformed);
  bool power = peek(r, at) == 'e' || peek(r, at) == 'E';
  if (power && !(at = read_exponent(r, at)))
    return NULL;
  bool whole = !power && count == at - first;
  if (whole && push_integer(r->L, d.digits, count, negative))
    return at;
  double value;
  if (!power && count <= LPG_EXACT)
    value = negative ? -lpg_decimal_value(d) : lpg_decimal_value(d);
  else if (!lpg_float_parse(start, (size_t)(at - start), &value))
    return fail(r, malformed);
  lua_pushnumber(r->L, value);
  return at;
}

static inline const char *skip_word(reader *r, const char *at, const char *word,
                                    size_t length)
{
  size_t left = (size_t)(r->end - at);
  if (left >= length && memcmp(at, word, length) == 0)
    return at + length;
  bool cut = left < length && memcmp(at, word, left) == 0;
  return fail_at(r, cut ? r->end : at, "not valid JSON: an unknown word");
}

/* Pushes true, false or null, by its first letter. */
static const char *read_word(reader *r, const char *at)
{
  if (*at == 'n') {
    lua_pushlightuserdata(r->L, NULL);
    return skip_word(r, at, "null", 4);
  }
  lua_pushboolean(r->L, *at == 't');
  return *at == 't' ? skip_word(r, at, "true", 4)
                    : skip_word(r, at, "false", 5);
}

/* --- containers -------------------------------------------------------- */

/* Moves the waiting members into the container's table. They go in the order
 * of the text, so the last of two equal keys stays. e */
static void store(reader *r, container *c)
{
  lua_State *L = r->L;
  int slot = c->slot, top = lua_gettop(L), count = top - slot;
  bool made = c->made;
  if (!made) {
    lua_createtable(L, c->is_object ? 0 : count, c->is_object ? count / 2 : 0);
    lua_replace(L, slot);
    c->made = true;
  }
  c->room = WAITING;
  if (c->is_object) {
    for (int i = slot + 1; i < top; i += 2) {
      lua_pushvalue(L, i);
      lua_pushvalue(L, i + 1);
      lua_rawset(L, slot);
    }
    lua_settop(L, slot);
    return;
  }
  /* no value is nil, so the length is what was stored before */
  lua_Integer stored = made ? (lua_Integer)lua_rawlen(L, slot) : 0;
  for (int i = slot + 1; i <= top; i++) {
    lua_pushvalue(L, i);
    lua_rawseti(L, slot, ++stored);
  }
  lua_settop(L, slot);
}

/* Opens a container. e */
static bool open_container(reader *r, bool is_object)
{
  if (r->depth == DEPTH_LIMIT)
    return fail(r, "JSON nested deeper than 1000 levels");
  luaL_checkstack(r->L, SLOTS, "JSON document");
  lua_pushnil(r->L);
  r->open[r->depth++] = (container){
      .slot = lua_gettop(r->L), .room = WAITING, .is_object = is_object};
  return true;
}

/* Closes the innermost container, whose table is then on the top. e */
static void close_container(reader *r)
{
  container *c = &r->open[--r->depth];
  store(r, c);
  if (!c->is_object) {
    lua_pushvalue(r->L, r->list_mark);
    lua_setmetatable(r->L, c->slot);
  }
}

/* Pushes a member's key; answers what is behind its colon. e */
static const char *read_key(reader *r, const char *at)
{
  at = skip_space(r, at);
  if (peek(r, at) != '"')
    return fail_at(r, at, "not valid JSON: a key must be a string");
  at = read_string(r, at + 1);
  if (!at)
    return NULL;
  at = skip_space(r, at);
  if (peek(r, at) != ':')
    return fail_at(r, at, "not valid JSON: a colon is missing after a key");
  return at + 1;
}

/* Pushes a scalar or an empty container, and opens all containers that begin
 * before it. e */
static const char *read_value(reader *r, const char *at)
{
  for (;;) {
    at = skip_space(r, at);
    char c = peek(r, at);
    switch (c) {
    case '"':
      return read_string(r, at + 1);
    case '{':
    case '[':
      if (!open_container(r, c == '{'))
        return NULL;
      at = skip_space(r, at + 1);
      if (peek(r, at) == (c == '{' ? '}' : ']')) {
        close_container(r);
        return at + 1;
      }
      if (c == '{' && !(at = read_key(r, at)))
        return NULL;
      break;
    case 't':
    case 'f':
    case 'n':
      return read_word(r, at);
    default:
      if (c != '-' && (c < '0' || c > '9'))
        return fail_at(r, at, "not valid JSON: a value was expected");
      return read_number(r, at);
    }
  }
}

/* After a value: closes what closes here; answers where the next value begins.
 * NULL when the document is complete, or for a fault. e */
static const char *next_value(reader *r, const char *at)
{
  for (; r->depth > 0; at++) {
    container *c = &r->open[r->depth - 1];
    at = skip_space(r, at);
    char mark = peek(r, at);
    if (mark == ',') {
      c->room -= 1 + c->is_object;
      if (c->room == 0)
        store(r, c);
      return c->is_object ? read_key(r, at + 1) : at + 1;
    }
    if (mark != (c->is_object ? '}' : ']'))
      return fail_at(r, at, "not valid JSON: a comma or bracket was expected");
    close_container(r);
  }
  at = skip_space(r, at);
  return at < r->end ? fail(r, "not valid JSON: text after its end") : NULL;
}

const char *lpg_json_decode(lua_State *L, const char *bytes, size_t length)
{
  reader r; /* not initialised whole: most documents are flat */
  int base = lua_gettop(L);
  luaL_checkstack(L, SLOTS, "JSON document");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_list_mark);
  r.L = L;
  r.end = bytes + length;
  r.fault = NULL;
  r.list_mark = base + 1;
  r.depth = 0;
  for (const char *at = bytes; at && (at = read_value(&r, at));)
    at = next_value(&r, at);
  if (r.fault)
    lua_settop(L, base);
  else
    lua_replace(L, base + 1);
  return r.fault;
}
