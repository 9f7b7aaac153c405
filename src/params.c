/* SPDX-License-Identifier: MIT */
#include "params.h"

#include <lauxlib.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_user.h"
#include "codec_write.h"
#include "meaning.h"

enum { BYTEA = 17, KEEP = 64 * 1024 };

/* One parameter on its way: where its bytes are, and what they are. */
typedef struct cell {
  Oid type;
  const char *string; /* in Lua's memory, or NULL: at `offset` in the buffer */
  size_t offset, length;
  bool null, binary, instant, coded;
  bool plain;  /* of a built-in type, and no codec's */
  bool column; /* a column's values, from core.column() */
} cell;

/* --- what has to be known ----------------------------------------------- */

/* Does the type decide about the string's bytes, and is it not known, or not
 * known well enough? */
static bool is_open(const char *bytes, size_t length, Oid known, bool sure,
                    bool utf8)
{
  if (known && (known != BYTEA || sure))
    return false;
  return lpg_is_ambiguous(bytes, length, utf8) &&
         (!known || (lpg_could_be_text(bytes, length) &&
                     !lpg_fits_text_and_bytea(bytes, length)));
}

/* Does the wrapper name a type that the map lacks? One that does not exist is
 * not waited for. */
static bool means_unknown(lua_State *L, int index, const lpg_typemap *map)
{
  luaL_checkstack(L, 1, "parameters");
  int told = lua_rawgeti(L, index, 2);
  bool unknown = false;
  if (told == LUA_TNUMBER) {
    Oid oid = (Oid)lua_tointeger(L, -1);
    unknown = oid && !lpg_typemap_find(map, oid);
  } else if (told == LUA_TSTRING) {
    const char *name = lua_tostring(L, -1);
    unknown = strcmp(name, LPG_JSON_WRAPPER) != 0 && !lpg_type_named(name);
  }
  lua_pop(L, 1);
  return unknown;
}

bool lpg_params_need_types(lua_State *L, int first, int count,
                           lpg_signature signature, const lpg_view *view,
                           bool utf8)
{
  bool coded = lpg_typemap_is_coded(signature.map);
  if (count > 0 && signature.count < 0 && coded)
    return true;
  for (int i = 0; i < count; i++) {
    int index = first + i;
    size_t length;
    const char *bytes;
    Oid known = i < signature.count ? signature.types[i] : 0;
    if (coded && known && !lpg_typemap_find(signature.map, known))
      return true; /* the map is a new one: its codec waits */
    switch (lua_type(L, index)) {
    case LUA_TTABLE:
      if (lpg_is_wrapper(L, index) ? means_unknown(L, index, signature.map)
                                   : !lpg_typemap_find(signature.map, known))
        return true;
      break;
    case LUA_TNUMBER:
      if (!known && view->timestamps != LPG_ISO)
        return true;
      break;
    case LUA_TSTRING:
      bytes = lua_tolstring(L, index, &length);
      if (is_open(bytes, length, known, signature.sure, utf8))
        return true;
      break;
    }
  }
  return false;
}

bool lpg_params_plain(lua_State *L, int first, int count, const lpg_view *view,
                      bool utf8, size_t *bytes)
{
  *bytes = 0;
  for (int i = first; i < first + count; i++) {
    size_t length = LPG_NUMBER;
    const char *text;
    switch (lua_type(L, i)) {
    case LUA_TSTRING:
      text = lua_tolstring(L, i, &length);
      if (is_open(text, length, 0, false, utf8))
        return false;
      break;
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(L, i))
        return false;
      break;
    case LUA_TNUMBER:
      if (view->timestamps != LPG_ISO)
        return false;
      break;
    case LUA_TNIL:
    case LUA_TBOOLEAN:
      break;
    default:
      return false;
    }
    *bytes += length;
  }
  return *bytes <= LPG_MAX_MESSAGE;
}

/* --- converting ------------------------------------------------------- */

/* Is there any type that could take the value? */
static bool sendable(lua_State *L, int index, lpg_fault *fault)
{
  switch (lua_type(L, index)) {
  case LUA_TFUNCTION:
  case LUA_TTHREAD:
  case LUA_TUSERDATA:
    return lpg_refuse(fault, "cannot send a %s", luaL_typename(L, index));
  case LUA_TLIGHTUSERDATA:
    return !lua_touserdata(L, index) ||
           lpg_refuse(fault, "cannot send a light userdata");
  }
  return true;
}

int lpg_params_check(lua_State *L, int first, int count, lpg_fault *fault)
{
  for (int i = 0; i < count; i++)
    if (!sendable(L, first + i, fault))
      return i + 1;
  return 0;
}

/* The text appended to the buffer since `offset` is the value. */
static bool appended(lpg_params *p, cell *c, size_t offset)
{
  c->offset = offset;
  c->length = p->text.length - offset;
  lpg_buffer_char(&p->text, 0);
  return true;
}

static bool convert_string(lua_State *L, int index, cell *c, lpg_fault *fault)
{
  c->string = lua_tolstring(L, index, &c->length);
  c->binary = c->type == BYTEA && lpg_is_ambiguous(c->string, c->length, false);
  if (!c->binary && memchr(c->string, 0, c->length))
    return lpg_refuse(fault, "a text cannot hold a NUL byte (only bytea can; "
                             "pg.bytea(s) says so)");
  return true;
}

/* As the type says; of one that is not known only that it is an array. */
static bool convert_typed(lua_State *L, lpg_params *p, int index, cell *c,
                          lpg_fault *fault)
{
  static const lpg_type list = {.name = "array", .encode = lpg_array_encode};
  size_t offset = p->text.length;
  const lpg_type *type = lpg_typemap_find(c->plain ? NULL : p->map, c->type);
  lpg_writer w = {.L = L,
                  .out = &p->text,
                  .fault = fault,
                  .view = p->view,
                  .trustful = c->column};
  if (!type)
    type = &list;
  luaL_checkstack(L, 1, "parameters");
  lua_pushvalue(L, index);
  bool done = type->encode(&w, type);
  lua_pop(L, 1);
  return done && appended(p, c, offset);
}

/* A number of seconds or microseconds for a timestamp becomes its text; any
 * other is text as it is. */
static bool convert_number(lua_State *L, lpg_params *p, int index, cell *c,
                           lpg_fault *fault)
{
  char number[LPG_NUMBER];
  size_t offset = p->text.length;
  const lpg_type *type = lpg_typemap_find(p->map, c->type);
  while (lpg_is_user(type) && !lpg_user_encodes(type))
    type = type->part;
  c->instant = lpg_is_instant(type, p->view);
  if (c->instant)
    return convert_typed(L, p, index, c, fault);
  lpg_buffer_put(&p->text, number,
                 lua_isinteger(L, index)
                     ? lpg_integer_text(lua_tointeger(L, index), number)
                     : lpg_float_text(lua_tonumber(L, index), number));
  return appended(p, c, offset);
}

static bool convert_wrapper(lua_State *L, lpg_params *p, int index, cell *c,
                            lpg_fault *fault);

static bool convert_value(lua_State *L, lpg_params *p, int index, cell *c,
                          lpg_fault *fault)
{
  size_t offset = p->text.length;
  int kind = lua_type(L, index);
  c->coded = !c->plain && lpg_user_encodes(lpg_typemap_find(p->map, c->type));
  if (c->coded && kind != LUA_TNIL && kind != LUA_TLIGHTUSERDATA &&
      !lpg_is_wrapper(L, index))
    return convert_typed(L, p, index, c, fault);
  switch (kind) {
  case LUA_TNIL:
    return c->null = true;
  case LUA_TLIGHTUSERDATA:
    c->null = true;
    return sendable(L, index, fault);
  case LUA_TBOOLEAN:
    lpg_buffer_text(&p->text, lua_toboolean(L, index) ? "true" : "false");
    return appended(p, c, offset);
  case LUA_TNUMBER:
    return convert_number(L, p, index, c, fault);
  case LUA_TSTRING:
    return convert_string(L, index, c, fault);
  case LUA_TTABLE:
    return lpg_is_wrapper(L, index) ? convert_wrapper(L, p, index, c, fault)
                                    : convert_typed(L, p, index, c, fault);
  default:
    return sendable(L, index, fault);
  }
}

/* {value, a type's name or LPG_JSON_WRAPPER}, or its OID and the name at 4. The
 * value stays in the wrapper, which stays on the stack. */
static bool convert_wrapper(lua_State *L, lpg_params *p, int index, cell *c,
                            lpg_fault *fault)
{
  luaL_checkstack(L, 8, "parameters");
  int top = lua_gettop(L), value = top + 1;
  size_t offset = p->text.length;
  lua_rawgeti(L, index, 1);
  int told = lua_rawgeti(L, index, 2);
  const char *name = told == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  bool done;
  if (told != LUA_TSTRING && told != LUA_TNUMBER) {
    done = lpg_refuse(fault, "a wrapper without its type");
  } else if (lua_istable(L, value) && lpg_is_wrapper(L, value)) {
    done = lpg_refuse(fault, "a wrapped value is wrapped again");
  } else if (name && strcmp(name, LPG_JSON_WRAPPER) == 0) {
    done = lpg_json_encode(L, value, &p->text, fault) && appended(p, c, offset);
  } else {
    const lpg_type *type =
        name ? lpg_type_named(name)
             : lpg_typemap_find(p->map, (Oid)lua_tointeger(L, -1));
    c->type = type ? type->oid : 0;
    c->column = lua_rawgeti(L, index, 3) != LUA_TNIL;
    lua_rawgeti(L, index, 5);
    c->plain = lua_toboolean(L, -1);
    /* a codec's function may take the string out of the wrapper */
    bool copied =
        lua_type(L, value) == LUA_TSTRING && lpg_typemap_is_coded(p->map);
    lua_rawgeti(L, index, 4);
    done = type
               ? (copied ? convert_typed : convert_value)(L, p, value, c, fault)
               : lpg_refuse(fault,
                            "there is no type \"%.60s\"; a cast in the SQL may "
                            "say more: $1::numeric(5,2)",
                            name ? name : lua_tostring(L, -1));
  }
  lua_settop(L, top);
  return done;
}

/* --- the request ------------------------------------------------------ */

/* Only where the bytes were chosen by the type is it declared to the server:
 * elsewhere it shall infer, also when a column's type has changed. */
static bool chosen_by_type(lua_State *L, int index, const cell *c)
{
  if (lua_type(L, index) == LUA_TTABLE || c->instant || c->coded)
    return true;
  return c->string && lpg_is_ambiguous(c->string, c->length, false) &&
         !(c->binary && lpg_fits_text_and_bytea(c->string, c->length));
}

/* libpq wants an array of each. */
typedef struct columns {
  const char **values;
  Oid *types;
  int *lengths, *formats;
} columns;

static columns arrays_for(lua_State *L, lpg_params *p, size_t count)
{
  columns a;
  size_t size = sizeof *a.values + sizeof *a.types + 2 * sizeof(int);
  lpg_buffer_reset(&p->arrays, KEEP);
  char *base = lpg_buffer_room(&p->arrays, count * size);
  if (!base)
    luaL_error(L, "not enough memory");
  a.values = (const char **)(void *)base;
  a.types = (Oid *)(void *)(a.values + count);
  a.lengths = (int *)(void *)(a.types + count);
  a.formats = a.lengths + count;
  return a;
}

Oid lpg_params_own_type(lua_State *L, int index)
{
  if (!lpg_is_wrapper(L, index))
    return 0;
  luaL_checkstack(L, 1, "parameters");
  Oid oid = 0;
  if (lua_rawgeti(L, index, 2) == LUA_TNUMBER) { /* the server's own: named.h */
    oid = (Oid)lua_tointeger(L, -1);
  } else if (lua_isstring(L, -1)) {
    const lpg_type *type = lpg_type_named(lua_tostring(L, -1));
    oid = type ? type->oid : 0;
  }
  lua_pop(L, 1);
  return oid;
}

/* No parameter of the statement has a higher number: one that only a value is
 * declared for would count as one of its own. */
static int highest_number(const char *sql)
{
  int highest = 0;
  while ((sql = strchr(sql, '$'))) {
    int number = 0;
    for (sql++; *sql >= '0' && *sql <= '9' && number <= LPG_MAX_PARAMS; sql++)
      number = number * 10 + (*sql - '0');
    if (number > highest)
      highest = number;
  }
  return highest;
}

void lpg_params_declare(lua_State *L, lpg_params *p, int first, int count,
                        lpg_request *request)
{
  int highest = highest_number(request->sql);
  if (count > highest)
    count = highest;
  while (count > 0 && !lpg_params_own_type(L, first + count - 1))
    count--;
  if (count == 0)
    return;
  Oid *types = arrays_for(L, p, (size_t)count).types;
  for (int i = 0; i < count; i++)
    types[i] = lpg_params_own_type(L, first + i);
  request->count = count;
  request->types = types;
}

static int convert(lua_State *L, lpg_params *p, int first, int count,
                   lpg_signature signature, const lpg_view *view,
                   lpg_request *request, lpg_fault *fault)
{
  request->count = count;
  lpg_buffer_reset(&p->text, KEEP);
  if (count == 0)
    return 0;
  columns a = arrays_for(L, p, (size_t)count);
  p->map = signature.map;
  p->view = view;
  bool typed = false;
  size_t total = 0;
  for (int i = 0; i < count; i++) {
    cell c = {.type = i < signature.count ? signature.types[i] : 0};
    if (!convert_value(L, p, first + i, &c, fault))
      return i + 1;
    if (c.type && !chosen_by_type(L, first + i, &c))
      c.type = 0;
    total += c.length;
    if (total > LPG_MAX_MESSAGE) {
      lpg_refuse(fault, "more than 1 GB cannot be sent in one statement");
      return i + 1;
    }
    typed |= c.type != 0;
    a.types[i] = c.type;
    a.formats[i] = c.binary;
    /* the buffer may still move: an offset, marked by the length -1 */
    a.lengths[i] = c.null || c.string ? (int)c.length : -1;
    a.values[i] = c.null ? NULL : c.string ? c.string : (char *)c.offset;
  }
  if (p->text.failed)
    luaL_error(L, "not enough memory");
  for (int i = 0; i < count; i++)
    if (a.lengths[i] < 0)
      a.values[i] = p->text.data + (size_t)a.values[i];
  /* Of too many none is declared, so that the server says how many it wants. */
  bool more = typed && count > highest_number(request->sql);
  request->types = typed && !more ? a.types : NULL;
  request->values = a.values;
  request->lengths = a.lengths;
  request->formats = a.formats;
  return 0;
}

int lpg_params_convert(lua_State *L, lpg_params *p, int first, int count,
                       lpg_signature signature, const lpg_view *view,
                       lpg_request *request, lpg_fault *fault)
{
  p->busy = true;
  int wrong = convert(L, p, first, count, signature, view, request, fault);
  p->busy = false;
  return wrong;
}

void lpg_params_free(lpg_params *p)
{
  if (p->busy) /* freed with the connection */
    return;
  lpg_buffer_free(&p->text);
  lpg_buffer_free(&p->arrays);
}
