/* SPDX-License-Identifier: MIT */
/* actions: query, update, delete and execute as scripts call them, with
 * positional values or with one table of the form's fields.
 * "e" in a comment: may raise a Lua error. */
#include "actions.h"

#include <lauxlib.h>
#include <string.h>

#include "error.h"
#include "statement.h"
#include "transaction.h"

static const char form_key = 0; /* builds SQL from {table=, set=, where=} */

/* --- guards ----------------------------------------------------------- */

static bool suits(lpg_action action, const char *word)
{
  switch (action) {
  case LPG_UPDATE:
    return !strcmp(word, "update") || !strcmp(word, "merge") ||
           !strcmp(word, "with");
  case LPG_DELETE:
    return !strcmp(word, "delete") || !strcmp(word, "with");
  case LPG_QUERY:
  case LPG_EXECUTE:
  case LPG_EACH:
  case LPG_LEARN:
  case LPG_TRANSFER:
  case LPG_PREPARE:
  case LPG_DESCRIPTION:
    break;
  }
  return true;
}

/* Pushes the fields of an error when the call must not be sent. e */
static bool refused(lua_State *L, lpg_action action, int count)
{
  size_t length;
  char word[LPG_WORD];
  const char *sql = lua_tolstring(L, 2, &length);
  if (memchr(sql, 0, length)) {
    lpg_error_new(L, "invalid_parameter", "the SQL text holds a NUL byte");
    return true;
  }
  if (length > LPG_MAX_MESSAGE) {
    lpg_error_new(L, "invalid_parameter", "the SQL text is longer than 1 GB");
    return true;
  }
  if (count > LPG_MAX_PARAMS) {
    lpg_error_new(L, "invalid_parameter",
                  "%d parameters: a statement takes at most %d", count,
                  LPG_MAX_PARAMS);
    return true;
  }
  lua_getiuservalue(L, 1, 1);
  if (lpg_scope_refuses(L, lua_gettop(L), sql))
    return true;
  lua_pop(L, 1);
  lpg_next_word(sql, word);
  if (suits(action, word))
    return false;
  lpg_error_new(
      L, "wrong_action", "%s; this one %s%s",
      action == LPG_UPDATE
          ? "update takes a statement that begins with UPDATE, MERGE or WITH"
          : "delete takes a statement that begins with DELETE or WITH",
      *word ? "begins with " : "begins with no word", word);
  return true;
}

/* nil and the error on the top; an iterator raises it. */
static int give_error(lua_State *L, lpg_action action)
{
  return action == LPG_EACH ? lua_error(L) : 2;
}

static int refuse(lua_State *L)
{
  int fields = lua_gettop(L);
  lua_pushvalue(L, 2);
  lua_setfield(L, fields, "sql");
  lpg_error_string(L, "stage", "statement");
  return lpg_handle_fail(L, 1);
}

/* --- one table -------------------------------------------------------- */

/* Replaces the list at 3 by its values. */
static int unpack(lua_State *L)
{
  if (lua_isnil(L, 3)) {
    lua_settop(L, 2);
    return 0;
  }
  if (!lua_istable(L, 3))
    return lpg_raise(L, "parameters must be a list, not a %s",
                     luaL_typename(L, 3));
  lua_pushliteral(L, "n");
  int counted = lua_rawget(L, 3) != LUA_TNIL;
  lua_Integer count =
      counted ? lua_tointegerx(L, -1, &counted) : (lua_Integer)lua_rawlen(L, 3);
  if (!counted && !lua_isnil(L, -1))
    return lpg_raise(L, "parameters.n must be an integer");
  lua_settop(L, 3);
  int n = (int)(count < 0                ? 0
                : count > LPG_MAX_PARAMS ? LPG_MAX_PARAMS + 1
                                         : count);
  luaL_checkstack(L, n + LUA_MINSTACK, "parameters");
  for (int i = 1; i <= n; i++)
    lua_rawgeti(L, 3, i);
  lua_remove(L, 3);
  return n;
}

/* {table=, set=, where=}: the builder answers SQL, values and what is left of
 * the options; or nil and an error, which stay on the stack. */
static bool build_form(lua_State *L, lpg_action action)
{
  static const char *const fields[] = {"table", "set", "where", NULL};
  bool form = false;
  if (action != LPG_UPDATE && action != LPG_DELETE)
    return true;
  for (int i = 0; !form && fields[i]; i++) {
    form = lua_getfield(L, 2, fields[i]) != LUA_TNIL;
    lua_pop(L, 1);
  }
  if (!form)
    return true;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &form_key);
  lua_pushvalue(L, 1);
  lua_pushstring(L, action == LPG_UPDATE ? "update" : "delete");
  lua_pushvalue(L, 2);
  lua_call(L, 3, 2);
  if (lua_isnil(L, -2))
    return false;
  lua_pop(L, 1);
  lua_replace(L, 2);
  return true;
}

/* The call's fields from the table at 2; then sql at 2, values from 3.
 * Answers false with nil and an error on the stack. e */
static bool take_table(lua_State *L, lpg_action action, lpg_call *c)
{
  if (lua_gettop(L) > 2)
    lpg_raise(L, "one table takes all: values belong in its `parameters`");
  if (!build_form(L, action))
    return false;
  lua_settop(L, 2);
  lua_pushnil(L); /* 3: parameters */
  lua_pushnil(L); /* 4: query */
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    const char *key = lua_type(L, 5) == LUA_TSTRING ? lua_tostring(L, 5) : "";
    if (strcmp(key, "query") == 0) {
      lua_pushvalue(L, 6);
      lua_replace(L, 4);
    } else if (strcmp(key, "parameters") == 0) {
      lua_pushvalue(L, 6);
      lua_replace(L, 3);
    } else if (!*key || !lpg_settings_take(L, &c->settings, 5, 6)) {
      lpg_unknown_option(L, 5, "action");
    }
  }
  if (lua_type(L, 4) != LUA_TSTRING)
    lpg_raise(L, "query must be a string of SQL, not %s%s",
              lua_isnil(L, 4) ? "" : "a ", luaL_typename(L, 4));
  lua_replace(L, 2);
  c->count = unpack(L);
  return true;
}

/* Runs the SQL text at 2 with the values above it. */
static int run(lua_State *L, lpg_action action, const lpg_call *c)
{
  if (action == LPG_EACH && c->settings.shape == LPG_COLUMNS)
    return lpg_raise(L,
                     "db:each gives row by row, rows = \"columns\" does not");
  if (refused(L, action, c->count)) {
    refuse(L);
    return give_error(L, action);
  }
  if (!lpg_handle_ready(L, 1, lua_touserdata(L, 1)))
    return give_error(L, action);
  return lpg_run(L, action, c->count, &c->settings);
}

static bool read_call(lua_State *L, lpg_action action, lpg_call *c)
{
  c->settings = lpg_handle_check(L, 1)->settings;
  if (lua_type(L, 2) == LUA_TTABLE)
    return take_table(L, action, c); /* which may run others' code */
  if (lua_type(L, 2) != LUA_TSTRING)
    luaL_argerror(L, 2, "a string of SQL or a table expected");
  c->count = lua_gettop(L) - 2;
  return true;
}

bool lpg_actions_read(lua_State *L, lpg_action action, lpg_call *c)
{
  if (!read_call(L, action, c))
    return false;
  bool fits = !refused(L, action, c->count);
  if (!fits)
    refuse(L);
  return fits;
}

static int act(lua_State *L, lpg_action action)
{
  lpg_call c;
  return read_call(L, action, &c) ? run(L, action, &c) : give_error(L, action);
}

static int query(lua_State *L)
{
  return act(L, LPG_QUERY);
}

static int update(lua_State *L)
{
  return act(L, LPG_UPDATE);
}

static int delete (lua_State *L)
{
  return act(L, LPG_DELETE);
}

static int execute(lua_State *L)
{
  return act(L, LPG_EXECUTE);
}

/* db:each(sql, ...): for row in db:each(...) do. Errors are raised. */
static int each(lua_State *L)
{
  return act(L, LPG_EACH);
}

/* core.describe(db, sql, ...): what the statement takes and what would come of
 * it; nothing runs. */
static int describe(lua_State *L)
{
  luaL_checktype(L, 2, LUA_TSTRING);
  return act(L, LPG_DESCRIPTION);
}

/* --- db:prepare ------------------------------------------------------- */

/* A statement object is a handle and an SQL text: what the server keeps of it
 * is the connection's, by the text. */
static const char *const prepared_name = "pg.prepared/1";
enum { PREPARED_HANDLE = 1, PREPARED_SQL, PREPARED_VALUES = PREPARED_SQL };

typedef struct prepared {
  bool closed;
} prepared;

static int prepare(lua_State *L)
{
  lpg_call c;
  const lpg_handle *handle = lpg_handle_check(L, 1);
  luaL_checktype(L, 2, LUA_TSTRING);
  c.settings = handle->settings;
  lua_settop(L, 2);
  *(prepared *)lua_newuserdatauv(L, sizeof(prepared), PREPARED_VALUES) =
      (prepared){false};
  luaL_setmetatable(L, prepared_name);
  for (int i = 1; i <= 2; i++) {
    lua_pushvalue(L, i);
    lua_setiuservalue(L, 3, i);
  }
  if (refused(L, LPG_PREPARE, 0))
    return refuse(L);
  if (!lpg_handle_ready(L, 1, handle))
    return 2;
  return lpg_run(L, LPG_PREPARE, 0, &c.settings);
}

/* st:query(...): the action with the values alone. */
static int act_prepared(lua_State *L, lpg_action action)
{
  lpg_call c;
  if (((prepared *)luaL_checkudata(L, 1, prepared_name))->closed)
    return lpg_raise(L, "the statement is closed");
  lua_getiuservalue(L, 1, PREPARED_SQL);
  lua_insert(L, 2);
  lua_getiuservalue(L, 1, PREPARED_HANDLE);
  lua_replace(L, 1);
  c.settings = lpg_handle_check(L, 1)->settings;
  c.settings.eager = true;
  c.count = lua_gettop(L) - 2;
  return run(L, action, &c);
}

static int prepared_query(lua_State *L)
{
  return act_prepared(L, LPG_QUERY);
}

static int prepared_update(lua_State *L)
{
  return act_prepared(L, LPG_UPDATE);
}

static int prepared_delete(lua_State *L)
{
  return act_prepared(L, LPG_DELETE);
}

static int prepared_execute(lua_State *L)
{
  return act_prepared(L, LPG_EXECUTE);
}

static int prepared_each(lua_State *L)
{
  return act_prepared(L, LPG_EACH);
}

/* st:close(): the server forgets it in the trip of a later statement. */
static int prepared_close(lua_State *L)
{
  prepared *p = luaL_checkudata(L, 1, prepared_name);
  if (p->closed)
    return 0;
  p->closed = true;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, PREPARED_SQL);
  lua_getiuservalue(L, 1, PREPARED_HANDLE);
  lua_getiuservalue(L, -1, 1);
  lua_pushnil(L);
  lpg_statement_keep(L, 4, 2);
  return 0;
}

static void open_prepared(lua_State *L)
{
  static const luaL_Reg meta[] = {{"__close", prepared_close}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"query", prepared_query},
                                     {"update", prepared_update},
                                     {"delete", prepared_delete},
                                     {"execute", prepared_execute},
                                     {"each", prepared_each},
                                     {"close", prepared_close},
                                     {NULL, NULL}};
  luaL_newmetatable(L, prepared_name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

/* core.on_form(f): f(db, action, options) answers {query=, parameters=, ...}.
 */
static int on_form(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &form_key);
  return 0;
}

void lpg_actions_open_library(lua_State *L, int core)
{
  static const luaL_Reg methods[] = {{"query", query},   {"update", update},
                                     {"delete", delete}, {"execute", execute},
                                     {"each", each},     {"prepare", prepare},
                                     {NULL, NULL}};
  lua_getfield(L, core, "methods");
  lpg_handle_type(L);
  luaL_setfuncs(L, methods, 1);
  lua_pop(L, 1);
  lua_pushcfunction(L, on_form);
  lua_setfield(L, core, "on_form");
  lua_pushcfunction(L, describe);
  lua_setfield(L, core, "describe");
  open_prepared(L);
}
