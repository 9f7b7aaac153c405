/* SPDX-License-Identifier: MIT */
#include "named.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "box.h"
#include "collect.h"
#include "send.h"

/* What is remembered of names, by the text of each: the OID, 0 where there is
 * no such type. The settings that they were looked up with are at EPOCH. */
enum { EPOCH = 1 };

/* Pushes the table of names. What a name means depends on search_path. */
static void push_names(lua_State *L, int index)
{
  const lpg_conn *c = lua_touserdata(L, index);
  if (lua_getiuservalue(L, index, LPG_CONN_NAMES) == LUA_TTABLE) {
    lua_rawgeti(L, -1, EPOCH);
    bool current = lua_tointeger(L, -1) == (lua_Integer)c->epoch;
    lua_pop(L, 1);
    if (current)
      return;
  }
  lua_pop(L, 1);
  lua_newtable(L);
  lua_pushinteger(L, (lua_Integer)c->epoch);
  lua_rawseti(L, -2, EPOCH);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, index, LPG_CONN_NAMES);
}

/* Pushes the name that the value says its type has, unless it is built in. */
static bool push_name(lua_State *L, int index)
{
  if (!lpg_is_wrapper(L, index))
    return false;
  bool named = lua_rawgeti(L, index, 2) == LUA_TSTRING &&
               strcmp(lua_tostring(L, -1), LPG_JSON_WRAPPER) != 0 &&
               !lpg_type_named(lua_tostring(L, -1));
  if (!named)
    lua_pop(L, 1);
  return named;
}

/* That there is no such type is true for now. */
static void forget(lua_State *L, int names, int name)
{
  lua_pushvalue(L, name);
  lua_pushnil(L);
  lua_rawset(L, names);
}

bool lpg_named_settle(lua_State *L, int index, int first, int count)
{
  bool left = false;
  int top = lua_gettop(L);
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, "the names of types");
  for (int i = first; i < first + count; i++) {
    if (!push_name(L, i))
      continue;
    push_names(L, index);
    lua_pushvalue(L, top + 1);
    if (lua_rawget(L, top + 2) == LUA_TNUMBER) {
      if (lua_tointeger(L, -1) == 0)
        forget(L, top + 2, top + 1);
      lua_createtable(L, 4, 0); /* the program's own stays as it is */
      lua_rawgeti(L, i, 1);
      lua_rawseti(L, -2, 1);
      lua_pushvalue(L, top + 3);
      lua_rawseti(L, -2, 2);
      lua_rawgeti(L, i, 3);
      lua_rawseti(L, -2, 3);
      lua_pushvalue(L, top + 1);
      lua_rawseti(L, -2, 4);
      lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_wrapper_mark);
      lua_setmetatable(L, -2);
      lua_replace(L, i);
    } else {
      left = true;
    }
    lua_settop(L, top);
  }
  return left;
}

/* --- the question ----------------------------------------------------- */

static bool is_letter(char c)
{
  char lower = (char)(c | 0x20);
  return (lower >= 'a' && lower <= 'z') || c == '_' || (unsigned char)c >= 0x80;
}

/* What stands at `at` as an identifier in quotes. Answers what follows it, or
 * NULL. */
static const char *put_identifier(lpg_buffer *out, const char *at)
{
  lpg_buffer_char(out, '"');
  if (*at == '"') {
    for (at++; *at && (*at != '"' || at[1] == '"'); at++) {
      lpg_buffer_char(out, *at);
      if (*at == '"')
        lpg_buffer_char(out, *++at);
    }
    lpg_buffer_char(out, '"');
    return *at ? at + 1 : NULL;
  }
  const char *first = at;
  for (; is_letter(*at) ||
         (at > first && (*at == '$' || (*at >= '0' && *at <= '9')));
       at++)
    lpg_buffer_char(out, *at >= 'A' && *at <= 'Z' ? (char)(*at | 0x20) : *at);
  lpg_buffer_char(out, '"');
  return at > first ? at : NULL;
}

/* The name as SQL would have it, whatever word it is; false: it is none, and
 * the server would raise an error, not say so. */
static bool put_name(lpg_buffer *out, const char *name)
{
  const char *at = put_identifier(out, name);
  if (at && *at == '.') {
    lpg_buffer_char(out, '.');
    at = put_identifier(out, at + 1);
  }
  for (; at && at[0] == '[' && at[1] == ']'; at += 2)
    lpg_buffer_text(out, "[]");
  return at && !*at;
}

/* The list as an array of text, in a box that is pushed. */
static const char *put_list(lua_State *L, int list)
{
  const lpg_type *type = lpg_type_named("text[]");
  lpg_fault fault;
  lpg_buffer *text = lpg_box_new(L);
  lpg_writer w = {.L = L, .out = text, .fault = &fault};
  lua_pushvalue(L, list);
  type->encode(&w, type);
  lua_pop(L, 1);
  lpg_buffer_char(text, '\0');
  if (text->failed)
    luaL_error(L, "not enough memory");
  return text->data;
}

/* The name on the top goes to the lists, unless it is none. Pops it. */
static void add(lua_State *L, int lists, int names)
{
  lpg_buffer *text = lpg_box_new(L);
  if (put_name(text, lua_tostring(L, -2))) {
    lua_Integer next = (lua_Integer)lua_rawlen(L, lists) + 1;
    lua_pushvalue(L, -2);
    lua_rawseti(L, lists, next);
    lua_pushlstring(L, text->data, text->length);
    lua_rawseti(L, lists + 1, next);
  } else {
    lua_pushvalue(L, -2);
    lua_pushinteger(L, 0);
    lua_rawset(L, names);
  }
  if (text->failed)
    luaL_error(L, "not enough memory");
  lua_pop(L, 2);
}

int lpg_named_ask(lua_State *L, lpg_op *op, int slot)
{
  int top = lua_gettop(L);
  push_names(L, slot + CONN);
  lua_newtable(L);
  lua_newtable(L);
  for (int i = 0; i < op->count; i++)
    if (push_name(L, op->first + i))
      add(L, top + 2, top + 1);
  const char *values[] = {put_list(L, top + 2), put_list(L, top + 3)};
  const lpg_request request = {
      .kind = LPG_STATEMENT,
      .sql =
          "SELECT n.name, COALESCE(pg_catalog.to_regtype(n.quoted)"
          "::pg_catalog.oid, 0) FROM ROWS FROM (pg_catalog.unnest("
          "$1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) "
          "AS n (name, quoted)",
      .count = 2,
      .values = values};
  int results = lpg_send(L, op, slot, LPG_AT_NAMES, &request);
  if (results == LPG_CONTINUE)
    lua_settop(L, top);
  return results;
}

void lpg_named_take(lua_State *L, int slot, const PGresult *answer)
{
  int rows = PQnfields(answer) == 2 ? PQntuples(answer) : 0;
  for (int row = 0; row < rows; row++) /* may forget the names */
    lpg_ask_type(L, slot, (Oid)strtoul(PQgetvalue(answer, row, 1), NULL, 10));
  push_names(L, slot + CONN);
  for (int row = 0; row < rows; row++) {
    lua_pushstring(L, PQgetvalue(answer, row, 0));
    lua_pushinteger(L, strtoll(PQgetvalue(answer, row, 1), NULL, 10));
    lua_rawset(L, -3);
  }
  lua_pop(L, 1);
}
