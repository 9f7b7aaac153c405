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

#include "codec.h"
#include "codec_json.h"

enum {
  DEPTH_LIMIT = 1000, /* containers open at once; lua-cjson's limit */
  WAITING = 128,      /* slots that may wait; even, for pairs */
  SLOTS = WAITING + 8 /* and room for what the functions here push */
};

typedef struct container {
  int slot;
  bool is_object;
} container;

typedef struct reader {
  lua_State *L;
  const char *at, *end;
  const char *fault;
  int list_mark; /* the slot of the metatable that marks a list */
  int depth;
  container open[DEPTH_LIMIT];
} reader;

static bool fail(reader *r, const char *fault)
{
  r->fault = fault;
  return false;
}

/* The next byte, or NUL at the end, which is as little JSON as the end is. */
static inline char peek(const reader *r)
{
  return r->at < r->end ? *r->at : '\0';
}

static inline char peek_past_space(reader *r)
{
  char c;
  while ((c = peek(r)) == ' ' || c == '\n' || c == '\r' || c == '\t')
    r->at++;
  return c;
}

/* Names the fault at r->at, where something else was expected. */
static bool fail_here(reader *r, const char *fault)
{
  return fail(r, r->at < r->end ? fault : "not valid JSON: it ends too early");
}

/* --- strings ----------------------------------------------------------- */

/* The quote that closes a string with escapes; NULL with the fault named. */
static const char *find_quote(reader *r, const char *p)
{
  for (;;) {
    p = lpg_json_span(p, r->end);
    if (p < r->end && *p == '"')
      return p;
    bool escape = p < r->end && *p == '\\';
    if (escape && r->end - p >= 2) {
      p += 2;
      continue;
    }
    r->at = escape ? r->end : p;
    fail_here(r, "not valid JSON: a control character in a string");
    return NULL;
  }
}

/* A string whose first bytes, up to `span`, are plain. e */
static bool read_escaped(reader *r, const char *span)
{
  const char *from = r->at, *quote = find_quote(r, span);
  if (!quote)
    return false;
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
  r->at = quote + 1;
  return true;
}

/* Pushes the string whose opening quote is at r->at. e */
static inline bool read_string(reader *r)
{
  const char *start = ++r->at;
  const char *span = lpg_json_span(start, r->end);
  if (span == r->end || *span != '"')
    return read_escaped(r, span);
  lua_pushlstring(r->L, start, (size_t)(span - start));
  r->at = span + 1;
  return true;
}

/* --- numbers and words ------------------------------------------------- */

static inline bool is_digit(char c)
{
  return c >= '0' && c <= '9';
}

/* Moves past digits; false when there is none. */
static inline bool skip_digits(reader *r)
{
  const char *start = r->at;
  while (is_digit(peek(r)))
    r->at++;
  return r->at > start;
}

/* Moves past a fraction and an exponent, where there are any. */
static bool skip_fraction(reader *r)
{
  if (peek(r) == '.') {
    r->at++;
    if (!skip_digits(r))
      return false;
  }
  if (peek(r) == 'e' || peek(r) == 'E') {
    r->at++;
    if (peek(r) == '+' || peek(r) == '-')
      r->at++;
    return skip_digits(r);
  }
  return true;
}

/* Pushes digits as an integer, unless they do not fit or are -0. */
static inline bool push_integer(lua_State *L, const char *digits, size_t count,
                                bool negative)
{
  if (count > 19) /* 19 digits fit in 64 bits, 20 are beyond an int64 */
    return false;
  uint64_t magnitude = 0;
  for (size_t i = 0; i < count; i++)
    magnitude = magnitude * 10 + (uint64_t)(digits[i] - '0');
  if (magnitude > (uint64_t)INT64_MAX + negative)
    return false;
  if (negative && magnitude == 0)
    return false;
  lua_pushinteger(L, (lua_Integer)(negative ? 0 - magnitude : magnitude));
  return true;
}

/* Pushes the number that begins at r->at, with a minus sign or a digit. */
static bool read_number(reader *r)
{
  static const char wrong[] = "not valid JSON: a malformed number";
  const char *start = r->at;
  bool negative = *start == '-';
  const char *digits = start + negative;
  r->at = digits;
  if (!skip_digits(r))
    return fail_here(r, wrong);
  size_t count = (size_t)(r->at - digits);
  if (*digits == '0' && count > 1)
    return fail(r, wrong);
  char next = peek(r);
  if (next != '.' && next != 'e' && next != 'E' &&
      push_integer(r->L, digits, count, negative))
    return true;
  if (!skip_fraction(r))
    return fail_here(r, wrong);
  double value;
  if (!lpg_float_parse(start, (size_t)(r->at - start), &value))
    return fail(r, wrong);
  lua_pushnumber(r->L, value);
  return true;
}

static bool skip_word(reader *r, const char *word, size_t length)
{
  size_t left = (size_t)(r->end - r->at);
  if (left >= length && memcmp(r->at, word, length) == 0) {
    r->at += length;
    return true;
  }
  if (left < length && memcmp(r->at, word, left) == 0)
    r->at = r->end;
  return fail_here(r, "not valid JSON: an unknown word");
}

/* Pushes true, false or null, by its first letter. */
static bool read_word(reader *r, char first)
{
  if (first == 'n') {
    lua_pushlightuserdata(r->L, NULL);
    return skip_word(r, "null", 4);
  }
  lua_pushboolean(r->L, first == 't');
  return first == 't' ? skip_word(r, "true", 4) : skip_word(r, "false", 5);
}

/* --- containers -------------------------------------------------------- */

/* Moves the waiting members into the container's table. They go in the order
 * of the text, so the last of two equal keys stays. e */
static void store(reader *r, const container *c)
{
  lua_State *L = r->L;
  int slot = c->slot, top = lua_gettop(L);
  if (lua_isnil(L, slot)) {
    int count = top - slot;
    lua_createtable(L, c->is_object ? 0 : count, c->is_object ? count / 2 : 0);
    lua_replace(L, slot);
  }
  if (c->is_object) {
    for (int i = slot + 1; i < top; i += 2) {
      lua_pushvalue(L, i);
      lua_pushvalue(L, i + 1);
      lua_rawset(L, slot);
    }
  } else {
    /* no value is nil, so the length is what was stored before */
    lua_Integer stored = (lua_Integer)lua_rawlen(L, slot);
    for (int i = slot + 1; i <= top; i++) {
      lua_pushvalue(L, i);
      lua_rawseti(L, slot, ++stored);
    }
  }
  lua_settop(L, slot);
}

/* Opens the container whose bracket is at r->at. e */
static bool open_container(reader *r, bool is_object)
{
  if (r->depth == DEPTH_LIMIT)
    return fail(r, "JSON nested deeper than 1000 levels");
  luaL_checkstack(r->L, SLOTS, "JSON document");
  lua_pushnil(r->L);
  r->open[r->depth++] = (container){lua_gettop(r->L), is_object};
  r->at++;
  return true;
}

/* Closes the innermost container, whose table is then on the top. e */
static void close_container(reader *r)
{
  const container *c = &r->open[--r->depth];
  store(r, c);
  if (!c->is_object) {
    lua_pushvalue(r->L, r->list_mark);
    lua_setmetatable(r->L, c->slot);
  }
  r->at++;
}

/* Pushes a member's key and moves past its colon. e */
static bool read_key(reader *r)
{
  if (peek_past_space(r) != '"')
    return fail_here(r, "not valid JSON: a key must be a string");
  if (!read_string(r))
    return false;
  if (peek_past_space(r) != ':')
    return fail_here(r, "not valid JSON: a colon is missing after a key");
  r->at++;
  return true;
}

/* Pushes a scalar or an empty container, and opens all containers that begin
 * before it. e */
static bool read_value(reader *r)
{
  for (;;) {
    char c = peek_past_space(r);
    switch (c) {
    case '"':
      return read_string(r);
    case '{':
    case '[':
      if (!open_container(r, c == '{'))
        return false;
      if (peek_past_space(r) == (c == '{' ? '}' : ']')) {
        close_container(r);
        return true;
      }
      if (c == '{' && !read_key(r))
        return false;
      break;
    case 't':
    case 'f':
    case 'n':
      return read_word(r, c);
    default:
      if (c != '-' && !is_digit(c))
        return fail_here(r, "not valid JSON: a value was expected");
      return read_number(r);
    }
  }
}

/* After a value: closes what closes here and moves to where the next value
 * begins. False when the document is complete, or for a fault. e */
static bool next_value(reader *r)
{
  while (r->depth > 0) {
    const container *c = &r->open[r->depth - 1];
    char mark = peek_past_space(r);
    if (mark == ',') {
      r->at++;
      if (lua_gettop(r->L) - c->slot >= WAITING)
        store(r, c);
      return c->is_object ? read_key(r) : true;
    }
    if (mark != (c->is_object ? '}' : ']'))
      return fail_here(r, "not valid JSON: a comma or bracket was expected");
    close_container(r);
  }
  peek_past_space(r);
  return r->at < r->end && fail(r, "not valid JSON: text after its end");
}

const char *lpg_json_decode(lua_State *L, const char *bytes, size_t length)
{
  reader r; /* not initialised whole: most documents are flat */
  int base = lua_gettop(L);
  luaL_checkstack(L, SLOTS, "JSON document");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_list_mark);
  r.L = L;
  r.at = bytes;
  r.end = bytes + length;
  r.fault = NULL;
  r.list_mark = base + 1;
  r.depth = 0;
  while (read_value(&r) && next_value(&r))
    continue;
  if (r.fault)
    lua_settop(L, base);
  else
    lua_replace(L, base + 1);
  return r.fault;
}
