/* SPDX-License-Identifier: MIT */
#include "transaction.h"

#include <lauxlib.h>
#include <string.h>
#include <strings.h>

#include "deadline.h"
#include "error.h"
#include "statement.h"

static const char *const scope_name = "pg.transaction/1";

/* Closes a scope and those that were left open inside of it. */
static void leave(lpg_scope *s)
{
  lpg_conn *c = s->conn;
  for (bool last = !s->open; !last; c->scope = c->scope->outer) {
    last = c->scope == s;
    c->broken |= !last;
    c->scope->open = false;
  }
  if (!c->scope)
    c->deadline = 0;
}

/* __gc and __close. */
static int scope_abandon(lua_State *L)
{
  lpg_scope *s = luaL_checkudata(L, 1, scope_name);
  if (!s->open)
    return 0;
  leave(s);
  s->conn->broken = s->conn->scope != NULL;
  s->conn->undo = s->conn->scope == NULL;
  return 0;
}

/* --- what may run ----------------------------------------------------- */

static bool controls_transaction(const char *sql)
{
  static const char *const words[] = {"begin", "start", "commit", "end", NULL};
  char word[LPG_WORD];
  lpg_first_word(sql, word);
  for (int i = 0; words[i]; i++)
    if (strcmp(word, words[i]) == 0)
      return true;
  return false;
}

static const char return_or_raise[] =
    "Return from the function to commit, raise an error to roll back. A "
    "transaction inside of it, tx:transaction(...), is a savepoint.";

bool lpg_scope_refuses(lua_State *L, int index, const char *sql)
{
  const lpg_conn *c = lua_touserdata(L, index);
  if (!c->scope || !c->scope->guarded)
    return false;
  if (lua_getiuservalue(L, index, LPG_CONN_FAILURE) != LUA_TNIL) {
    lpg_error_new(L, "transaction_failed",
                  "an earlier statement of this transaction failed: it will be "
                  "rolled back, and nothing more runs in it");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "cause");
    lpg_error_fix(L, "Look at err.cause, the first error. A statement that may "
                     "fail belongs in a transaction inside of this one: "
                     "tx:transaction(function(tx) ... end).");
  } else if (c->broken) {
    lpg_error_new(L, "transaction_failed",
                  "the transaction was ended inside of its function: nothing "
                  "more runs in it");
    lpg_error_fix(L, return_or_raise);
  } else if (c->deadline > 0 && lpg_now() >= c->deadline) {
    lpg_error_new(L, "query_timeout",
                  "the transaction's deadline has passed: it will be rolled "
                  "back");
    lpg_error_boolean(L, "completed", false);
  } else if (sql && controls_transaction(sql)) {
    lpg_error_new(L, "wrong_action",
                  "BEGIN, COMMIT and END have no place in the function of a "
                  "transaction");
    lpg_error_fix(L, return_or_raise);
  } else {
    lua_pop(L, 1);
    return false;
  }
  lua_remove(L, -2);
  return true;
}

/* A script, or ROLLBACK, can end the transaction all the same. ROLLBACK is
 * ROLLBACK TO SAVEPOINT's tag, too: the state tells them apart but for AND
 * CHAIN. */
void lpg_scope_notice(lpg_conn *c, const char *tag, const char *sql)
{
  static const char chain[] = "chain";
  strncpy(c->tag, tag, sizeof c->tag - 1);
  if (!c->scope || !c->scope->guarded)
    return;
  if (strcmp(tag, "ROLLBACK") == 0)
    while (*sql && strncasecmp(sql, chain, sizeof chain - 1) != 0)
      sql++;
  else if (strcmp(tag, "COMMIT") != 0 && strcmp(tag, "BEGIN") != 0 &&
           strcmp(tag, "START TRANSACTION") != 0)
    return;
  c->broken |= *sql != '\0';
}

void lpg_scope_settle(lpg_conn *c)
{
  if (c->scope && c->scope->guarded)
    c->broken |= PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE;
}

/* --- for lua/pg/transaction.lua ---------------------------------------- */

static void push_scope(lua_State *L, int handle, int conn)
{
  lpg_scope *s = lua_newuserdatauv(L, sizeof *s, 1);
  lpg_handle *tx;
  *s = (lpg_scope){.conn = lua_touserdata(L, conn), .thread = L};
  lua_pushvalue(L, conn);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, scope_name);
  tx = lpg_handle_new(L, conn);
  tx->settings = ((const lpg_handle *)lua_touserdata(L, handle))->settings;
  tx->scope = s;
  lua_pushvalue(L, -2);
  lua_setiuservalue(L, -2, 2);
}

/* core.enter(db, deadline): the handle for the body, its scope, which closes
 * itself, and how deep it is nested, from 1; or nil and an error. `deadline`
 * is on core.now()'s clock; only the outermost has one. */
static int enter(lua_State *L)
{
  lpg_handle *h = lpg_handle_check(L, 1);
  lpg_conn *c = h->conn;
  lua_Number deadline = luaL_optnumber(L, 2, 0);
  lua_settop(L, 1);
  if (!lpg_handle_ready(L, 1, h))
    return 2;
  if (c->scope && !h->scope && c->scope->thread != L)
    return lpg_raise(L, "the connection is in a transaction of another "
                        "coroutine");
  lua_getiuservalue(L, 1, 1); /* 2 */
  if (lpg_scope_refuses(L, 2, NULL))
    return lpg_handle_fail(L, 1);
  push_scope(L, 1, 2); /* 3: scope, 4: handle */
  lpg_scope *s = lua_touserdata(L, 3);
  lua_Integer depth = 1;
  for (const lpg_scope *outer = c->scope; outer; outer = outer->outer)
    depth++;
  lua_pushinteger(L, depth);
  lua_pushvalue(L, 3);
  lua_insert(L, -2);
  if (!c->scope)
    c->deadline = deadline;
  s->outer = c->scope;
  s->open = true;
  c->scope = s;
  return 3;
}

/* core.guard(scope, true): the body begins. core.guard(scope, false): it has
 * ended; answers its first failure, or nil, and whether the transaction was
 * ended under it. */
static int guard(lua_State *L)
{
  lpg_scope *s = luaL_checkudata(L, 1, scope_name);
  lpg_conn *c = s->conn;
  bool on = lua_toboolean(L, 2);
  lua_settop(L, 1);
  for (; s->open && c->scope != s; c->broken = true)
    leave(c->scope); /* left in the middle by another coroutine */
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 2, LPG_CONN_FAILURE);
  lua_pushnil(L);
  lua_setiuservalue(L, 2, LPG_CONN_FAILURE);
  s->guarded = on;
  lua_pushboolean(L, !s->open || c->broken || c->closed);
  return 2;
}

/* core.leave(scope): the transaction has ended; its handle is of no use. */
static int leave_scope(lua_State *L)
{
  lpg_scope *s = luaL_checkudata(L, 1, scope_name);
  leave(s);
  if (!s->conn->scope)
    s->conn->broken = false;
  return 0;
}

/* core.spoil(db, err): as if a statement had failed with it. */
static int spoil(lua_State *L)
{
  lpg_handle_any(L, 1);
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, 1);
  lua_insert(L, 2);
  lpg_conn_record(L, 2);
  return 0;
}

/* core.command(db): the last command tag that has no row count. */
static int command(lua_State *L)
{
  lua_pushstring(L, lpg_handle_any(L, 1)->conn->tag);
  return 1;
}

/* core.lose(db): cuts a connection whose state nobody knows. */
static int lose(lua_State *L)
{
  lpg_conn *c = lpg_handle_any(L, 1)->conn;
  if (c->wire.pg && !c->op && !c->closed)
    lpg_wire_close(&c->wire);
  return 0;
}

void lpg_transaction_open_library(lua_State *L, int core)
{
  static const luaL_Reg meta[] = {
      {"__gc", scope_abandon}, {"__close", scope_abandon}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"enter", enter}, {"guard", guard}, {"leave", leave_scope},
      {"spoil", spoil}, {"lose", lose},   {"command", command},
      {NULL, NULL}};
  luaL_newmetatable(L, scope_name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 2);
}
