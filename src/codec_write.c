/* SPDX-License-Identifier: MIT */
#include "codec_write.h"

#include <lauxlib.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_text.h"

enum {
  MAX_SIZE = 134217727,           /* elements that an array may have */
  MAX_LENGTH = 1023 * 1024 * 1024 /* bytes that a message may have */
};

/* --- faults ----------------------------------------------------------- */

bool lpg_refuse(lpg_fault *fault, const char *format, ...)
{
  va_list arguments;
  fault->path[0] = '\0';
  va_start(arguments, format);
  vsnprintf(fault->text, sizeof fault->text, format, arguments);
  va_end(arguments);
  return false;
}

bool lpg_refuse_value(lpg_writer *w, const lpg_type *type)
{
  lua_State *L = w->L;
  char number[LPG_NUMBER];
  switch (lua_type(L, -1)) {
  case LUA_TNUMBER:
    if (lua_isinteger(L, -1))
      lpg_integer_text(lua_tointeger(L, -1), number);
    else
      lpg_float_text(lua_tonumber(L, -1), number);
    return lpg_refuse(w->fault, "%s does not fit the type %s", number,
                      type->name);
  case LUA_TBOOLEAN:
  case LUA_TSTRING:
  case LUA_TTABLE:
    return lpg_refuse(w->fault, "a %s does not fit the type %s",
                      luaL_typename(L, -1), type->name);
  case LUA_TLIGHTUSERDATA:
    return lpg_refuse(w->fault, "cannot send a light userdata");
  }
  return lpg_refuse(w->fault, "cannot send a %s", luaL_typename(L, -1));
}

/* Of a long path the outer part is shown. */
static bool prepend(lpg_fault *fault, const char *step)
{
  char inner[sizeof fault->path];
  memcpy(inner, fault->path, sizeof inner);
  int length = snprintf(fault->path, sizeof fault->path, "%s%s", step, inner);
  if (length >= (int)sizeof fault->path)
    memcpy(fault->path + sizeof fault->path - sizeof "...", "...",
           sizeof "...");
  return false;
}

bool lpg_fault_at(lpg_fault *fault, lua_Integer index)
{
  char step[32];
  snprintf(step, sizeof step, "[%lld]", (long long)index);
  return prepend(fault, step);
}

/* A name as the program would write it. */
static bool is_name(const char *text)
{
  for (size_t i = 0; text[i]; i++) {
    char c = text[i], lower = (char)(c | 0x20);
    bool letter = (lower >= 'a' && lower <= 'z') || c == '_';
    if (!letter && !(i > 0 && c >= '0' && c <= '9'))
      return false;
  }
  return text[0] != '\0';
}

bool lpg_fault_in(lpg_fault *fault, const char *field)
{
  char step[80];
  snprintf(step, sizeof step, is_name(field) ? ".%.70s" : "[\"%.70s\"]", field);
  return prepend(fault, step);
}

void lpg_fault_push(lua_State *L, const lpg_fault *fault)
{
  lua_pushfstring(L, "%s%s%s", fault->path, fault->path[0] ? ": " : "",
                  fault->text);
}

/* --- text ------------------------------------------------------------- */

bool lpg_write_string(lpg_writer *w)
{
  size_t length;
  const char *text = lua_tolstring(w->L, -1, &length);
  if (memchr(text, '\0', length))
    return lpg_refuse(w->fault, "a text cannot hold a NUL byte (only bytea "
                                "can; pg.bytea(s) says so)");
  lpg_buffer_put(w->out, text, length);
  return true;
}

void lpg_write_number(lpg_writer *w)
{
  char text[LPG_NUMBER];
  lpg_buffer_put(w->out, text,
                 lua_isinteger(w->L, -1)
                     ? lpg_integer_text(lua_tointeger(w->L, -1), text)
                     : lpg_float_text(lua_tonumber(w->L, -1), text));
}

void lpg_write_quoted(lpg_writer *w, const char *text, size_t length)
{
  lpg_buffer *b = w->out;
  if (length > ((size_t)-1 - 2) / 2) {
    b->failed = true;
    return;
  }
  char *at = lpg_buffer_room(b, length * 2 + 2), *start = at;
  if (!at)
    return;
  *at++ = '"';
  for (size_t i = 0; i < length; i++) {
    char c = text[i];
    if (c == '"' || c == '\\')
      *at++ = '\\';
    *at++ = c;
  }
  *at++ = '"';
  b->length += (size_t)(at - start);
}

/* What stands in an array, a composite or a range without quotes as itself. */
static bool is_bare(const char *text, size_t length)
{
  static const unsigned char special[256] = {
      ['"'] = 1,  ['\\'] = 1, ['('] = 1,  [')'] = 1,  ['['] = 1,
      [']'] = 1,  ['{'] = 1,  ['}'] = 1,  [','] = 1,  [';'] = 1,
      [' '] = 1,  ['\t'] = 1, ['\n'] = 1, ['\v'] = 1, ['\f'] = 1,
      ['\r'] = 1, ['\''] = 1, [':'] = 1,  ['='] = 1};
  for (size_t i = 0; i < length; i++)
    if (special[(unsigned char)text[i]])
      return false;
  bool null = length == 4 && (text[0] | 0x20) == 'n' &&
              (text[1] | 0x20) == 'u' && (text[2] | 0x20) == 'l' &&
              (text[3] | 0x20) == 'l';
  return length > 0 && !null;
}

bool lpg_quote(lpg_writer *w, size_t start)
{
  lpg_buffer *b = w->out;
  if (b->failed)
    return true;
  size_t more = 2;
  for (size_t i = start; i < b->length; i++)
    more += b->data[i] == '"' || b->data[i] == '\\';
  if (b->length + more > MAX_LENGTH)
    return lpg_refuse(w->fault, "more than 1 GB cannot be sent in one "
                                "statement; each level of nesting doubles "
                                "the quotes");
  if (!lpg_buffer_room(b, more))
    return true;
  size_t from = b->length, to = from + more;
  b->length = to;
  b->data[--to] = '"';
  while (from > start) {
    char c = b->data[--from];
    b->data[--to] = c;
    if (c == '"' || c == '\\')
      b->data[--to] = '\\';
  }
  b->data[start] = '"';
  return true;
}

/* --- values ----------------------------------------------------------- */

static bool encode_json(lpg_writer *w, const lpg_type *type)
{
  (void)type;
  return lpg_json_encode(w->L, lua_gettop(w->L), w->out, w->fault);
}

/* What the wrapper on the top says of its value, which is pushed. NULL: the
 * fault is filled in. */
static const lpg_type *unwrap(lpg_writer *w)
{
  static const lpg_type json = {.name = "json", .encode = encode_json};
  lua_State *L = w->L;
  luaL_checkstack(L, 2, "a wrapped value");
  lua_rawgeti(L, -1, 1);
  bool again = lpg_is_wrapper(L, -1);
  const char *name =
      lua_rawgeti(L, -2, 2) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  lua_pop(L, 1); /* the wrapper keeps it */
  const lpg_type *type = NULL;
  if (!name)
    lpg_refuse(w->fault, "a wrapper without its type");
  else if (again)
    lpg_refuse(w->fault, "a wrapped value is wrapped again");
  else if (strcmp(name, LPG_JSON_WRAPPER) == 0)
    type = &json;
  else if (!(type = lpg_type_named(name)))
    lpg_refuse(w->fault,
               "the type \"%.60s\" is not a built-in one: cast the parameter "
               "in the SQL instead",
               name);
  return type;
}

bool lpg_write(lpg_writer *w, const lpg_type *type, bool *null)
{
  static const lpg_type any = {.name = "text", .encode = lpg_plain_encode};
  lua_State *L = w->L;
  int top = lua_gettop(L);
  bool done = true;
  *null = false;
  if (!type)
    type = &any;
  if (lpg_is_wrapper(L, -1))
    type = unwrap(w);
  if (!type)
    done = false;
  else if (type->encode != encode_json &&
           (lua_isnil(L, -1) ||
            (lua_islightuserdata(L, -1) && !lua_touserdata(L, -1))))
    *null = true;
  else
    done = type->encode(w, type);
  lua_settop(L, top);
  return done;
}

bool lpg_write_table(lpg_writer *w, const lpg_type *type, lpg_encode *body)
{
  lua_State *L = w->L;
  if (lua_type(L, -1) == LUA_TSTRING)
    return lpg_write_string(w);
  if (!lua_istable(L, -1))
    return lpg_refuse_value(w, type);
  if (w->depth == LPG_DEPTH)
    return lpg_refuse(w->fault, "nested deeper than %d levels, or a cycle",
                      LPG_DEPTH);
  luaL_checkstack(L, 2 * LPG_DIMENSIONS + 8, "a nested value");
  int top = lua_gettop(L);
  w->depth++;
  bool done = body(w, type);
  w->depth--;
  lua_settop(L, top);
  return done;
}

bool lpg_write_part(lpg_writer *w, const lpg_type *type, bool *null)
{
  size_t start = w->out->length;
  if (!lpg_write(w, type, null))
    return false;
  return *null || w->out->failed ||
         is_bare(w->out->data + start, w->out->length - start) ||
         lpg_quote(w, start);
}

/* --- sequences -------------------------------------------------------- */

lua_Integer lpg_measure(lpg_writer *w, bool *counted)
{
  lua_State *L = w->L;
  lua_pushliteral(L, "n");
  *counted = lua_rawget(L, -2) == LUA_TNUMBER && lua_isinteger(L, -1);
  lua_Integer size =
      *counted ? lua_tointeger(L, -1) : (lua_Integer)lua_rawlen(L, -2);
  lua_pop(L, 1);
  if (size < 0 || size > MAX_SIZE) {
    lpg_refuse(w->fault, "a length n that no array can have");
    return -1;
  }
  if (size > 0 || *counted)
    return size;
  lua_pushnil(L);
  if (!lua_next(L, -2))
    return 0;
  lua_pop(L, 2);
  lpg_refuse(w->fault, "a table with keys where a sequence is wanted");
  return -1;
}

bool lpg_push_element(lpg_writer *w, lua_Integer i, bool counted)
{
  if (lua_rawgeti(w->L, -1, i) != LUA_TNIL || counted)
    return true;
  lpg_refuse(w->fault, "nil: use pg.null, or give the length as n");
  return lpg_fault_at(w->fault, i);
}
