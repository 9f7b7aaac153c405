/* SPDX-License-Identifier: MIT */
#include "transaction.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "await.h"
#include "deadline.h"
#include "error.h"
#include "hold.h"
#include "statement.h"

static const char *const scope_name = "pg.transaction/1";
static const char ended[] = "the transaction has ended";

enum { SCOPE_CONN = 1, SCOPE_THREAD, SCOPE_LEASE, SCOPE_VALUES = SCOPE_LEASE };

static void close_scope(lpg_scope *s)
{
  lpg_scope **at = &s->conn->scope;
  while (*at != s)
    at = &(*at)->outer;
  *at = s->outer;
  s->open = false;
  s->lease->ended = ended;
}

static void leave(lpg_scope *s)
{
  lpg_conn *c = s->conn;
  if (!s->open)
    return;
  close_scope(s);
  if (!c->scope) {
    c->deadline = 0;
    c->broken = false;
    *c->begin = '\0';
  }
}

/* What is inside of another one, or has others inside of it, makes the whole
 * transaction one that cannot be committed. */
static void abandon(lpg_scope *s)
{
  lpg_conn *c = s->conn;
  if (!s->open)
    return;
  bool alone = c->scope == s && !s->outer;
  if (alone || !s->outer)
    memcpy(c->undo, s->undo, sizeof c->undo);
  c->broken |= !alone;
  leave(s);
}

void lpg_scope_tidy(lpg_conn *c)
{
  while (c->scope && lua_status(c->scope->thread) > LUA_YIELD)
    abandon(c->scope);
}

void lpg_scope_end_all(lpg_conn *c)
{
  while (c->scope)
    abandon(c->scope);
}

/* __gc and __close. */
static int scope_abandon(lua_State *L)
{
  abandon(luaL_checkudata(L, 1, scope_name));
  return 0;
}

/* --- what may run ----------------------------------------------------- */

static bool among(const char *word, const char *const *words)
{
  for (; *words; words++)
    if (strcmp(word, *words) == 0)
      return true;
  return false;
}

bool lpg_controls_transaction(const char *sql)
{
  static const char *const always[] = {"begin", "start", "commit",
                                       "end",   "abort", NULL};
  static const char *const noise[] = {"work", "transaction", NULL};
  char word[LPG_WORD];
  for (sql = lpg_next_word(sql, word); !*word && *sql == ';';)
    sql = lpg_next_word(sql + 1, word);
  if (strcmp(word, "prepare") == 0) {
    lpg_next_word(sql, word);
    return strcmp(word, "transaction") == 0;
  }
  if (strcmp(word, "rollback") != 0)
    return among(word, always);
  sql = lpg_next_word(sql, word);
  if (among(word, noise))
    lpg_next_word(sql, word);
  return strcmp(word, "to") != 0;
}

static const char return_or_raise[] =
    "Return from the function to commit, raise an error to roll back. A "
    "transaction inside of it, tx:transaction(...), is a savepoint.";

static void refuse_after(lua_State *L, int failure)
{
  lpg_error_new(L, "transaction_failed",
                "an earlier statement of this transaction failed: it will be "
                "rolled back, and nothing more runs in it");
  lua_pushvalue(L, failure);
  lua_setfield(L, -2, "cause");
  lpg_error_fix(L, "Look at err.cause, the first error. A statement that may "
                   "fail belongs in a transaction inside of this one: "
                   "tx:transaction(function(tx) ... end).");
}

bool lpg_scope_refuses(lua_State *L, int index, const char *sql)
{
  const lpg_conn *c = lua_touserdata(L, index);
  if (!lpg_scope_guards(c))
    return false;
  if (lua_getiuservalue(L, index, LPG_CONN_FAILURE) != LUA_TNIL) {
    refuse_after(L, lua_gettop(L));
  } else if (c->broken || c->scope->torn) {
    lpg_error_new(L, "transaction_failed",
                  c->broken ? "the transaction was ended inside of its "
                              "function: nothing more runs in it"
                            : "a statement of this transaction was left in "
                              "the middle: nothing more runs in it");
    lpg_error_fix(L, return_or_raise);
  } else if (c->deadline > 0 && lpg_now() >= c->deadline) {
    lpg_error_new(L, "query_timeout",
                  "the transaction's deadline has passed: it will be rolled "
                  "back");
    lpg_error_boolean(L, "completed", false);
  } else if (sql && lpg_controls_transaction(sql)) {
    lpg_error_new(L, "wrong_action",
                  "BEGIN, COMMIT, ROLLBACK and the like have no place in the "
                  "function of a transaction");
    lpg_error_fix(L, return_or_raise);
  } else {
    lua_pop(L, 1);
    return false;
  }
  lua_remove(L, -2);
  return true;
}

static bool chains(const char *sql)
{
  char word[LPG_WORD] = "", before[LPG_WORD];
  while (*sql) {
    memcpy(before, word, sizeof word);
    sql = lpg_next_word(sql, word);
    if (strcmp(before, "and") == 0 && strcmp(word, "chain") == 0)
      return true;
    if (!*word && *sql)
      sql++;
  }
  return false;
}

/* A script can end the transaction all the same. ROLLBACK is ROLLBACK TO
 * SAVEPOINT's tag, too: the state tells them apart but for AND CHAIN. */
void lpg_scope_notice(lpg_conn *c, const char *tag, const char *sql)
{
  static const char *const ends[] = {"COMMIT", "BEGIN", "START TRANSACTION",
                                     NULL};
  snprintf(c->tag, sizeof c->tag, "%s", tag);
  if (lpg_scope_guards(c))
    c->broken |=
        among(tag, ends) || (strcmp(tag, "ROLLBACK") == 0 && chains(sql));
}

void lpg_scope_settle(lpg_conn *c)
{
  if (lpg_scope_guards(c) && !*c->begin)
    c->broken |= PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE;
}

void lpg_scope_tear(lpg_conn *c, bool several_statements)
{
  if (!lpg_scope_guards(c))
    return;
  c->scope->torn = true;
  c->broken |= several_statements;
}

/* --- for lua/pg/transaction.lua ---------------------------------------- */

/* core.scope(db): a scope, for a variable that closes it, yet to be opened. */
static int new_scope(lua_State *L)
{
  lpg_conn *c = lpg_handle_check(L, 1)->conn;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  lpg_scope *s = lua_newuserdatauv(L, sizeof *s, SCOPE_VALUES);
  *s = (lpg_scope){.conn = c, .thread = L};
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, SCOPE_CONN);
  lua_pushthread(L);
  lua_setiuservalue(L, 3, SCOPE_THREAD);
  s->lease = lua_newuserdatauv(L, sizeof *s->lease, 0);
  *s->lease = (lpg_lease){.ended = ended};
  lua_setiuservalue(L, 3, SCOPE_LEASE);
  luaL_setmetatable(L, scope_name);
  return 1;
}

/* The handle for the body. It holds the lease alone: a handle that is kept
 * must not keep the scope from being collected. */
static void push_handle(lua_State *L, int scope, const lpg_handle *h)
{
  const lpg_scope *s = lua_touserdata(L, scope);
  lua_getiuservalue(L, scope, SCOPE_CONN);
  lpg_handle *tx = lpg_handle_new(L, -1);
  tx->settings = h->settings;
  tx->lease = s->lease;
  lua_getiuservalue(L, scope, SCOPE_LEASE);
  lua_setiuservalue(L, -2, 2);
}

/* core.enter(scope, db, deadline, begin, savepoint): opens it and answers the
 * handle for the body; or nil and an error. `begin` is the BEGIN that goes with
 * the first statement, unless there is a savepoint, by its name; `deadline` is
 * on core.now()'s clock, and the outermost's counts. */
static int enter(lua_State *L)
{
  lpg_scope *s = luaL_checkudata(L, 1, scope_name);
  const lpg_handle *h = lpg_handle_check(L, 2);
  lua_Number deadline = luaL_optnumber(L, 3, 0);
  const char *begin = luaL_checkstring(L, 4);
  const char *savepoint = luaL_optstring(L, 5, NULL);
  lpg_conn *c = s->conn;
  if (!lpg_handle_ready(L, 2, h))
    return 2;
  if (c->scope && c->scope->thread != L && h->lease != c->scope->lease)
    return lpg_raise(L, "the connection is in a transaction of another "
                        "coroutine");
  lua_getiuservalue(L, 1, SCOPE_CONN);
  if (lpg_scope_refuses(L, lua_gettop(L), NULL))
    return lpg_handle_fail(L, 2);
  push_handle(L, 1, h);
  snprintf(s->undo, sizeof s->undo,
           savepoint ? "ROLLBACK TO SAVEPOINT %s" : "ROLLBACK", savepoint);
  if (!c->scope)
    c->deadline = deadline;
  if (!savepoint)
    snprintf(c->begin, sizeof c->begin, "%s", begin);
  s->outer = c->scope;
  s->open = true;
  s->lease->ended = NULL;
  c->scope = s;
  return 1;
}

/* core.guard(scope, true): the body begins. core.guard(scope, false): it has
 * ended, and a BEGIN that was put off is not sent any more. Answers its first
 * failure, or nil, whether the transaction is not the one any more that was
 * begun, whether the scope is open, and whether nothing has begun for sure. */
static int guard(lua_State *L)
{
  lpg_scope *s = luaL_checkudata(L, 1, scope_name);
  lpg_conn *c = s->conn;
  bool on = lua_toboolean(L, 2);
  lua_settop(L, 1);
  if (!s->open) {
    lua_pushnil(L);
    lua_pushboolean(L, 1);
    lua_pushboolean(L, 0);
    return 3;
  }
  if (!on && c->hold)
    lpg_hold_break(c->hold);
  for (; c->scope != s; c->broken = true)
    close_scope(c->scope); /* left in the middle by another coroutine */
  lua_getiuservalue(L, 1, SCOPE_CONN);
  lua_getiuservalue(L, 2, LPG_CONN_FAILURE);
  lua_pushnil(L);
  lua_setiuservalue(L, 2, LPG_CONN_FAILURE);
  s->guarded = on;
  lua_pushboolean(L, c->broken || c->closed || s->torn);
  lua_pushboolean(L, 1);
  lua_pushboolean(L, *c->begin && !c->op); /* which may send it */
  if (!on && !s->outer)
    *c->begin = '\0';
  return 4;
}

/* core.leave(scope): what it has begun has ended; core.abandon(scope): it has
 * not. */
static int leave_scope(lua_State *L)
{
  leave(luaL_checkudata(L, 1, scope_name));
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

/* core.lose(db, cause): cuts a connection whose state nobody knows. */
static int lose(lua_State *L)
{
  lpg_conn *c = lpg_handle_any(L, 1)->conn;
  lua_settop(L, 2);
  if (c->wire.pg && !c->op && !c->closed) {
    lpg_wire_close(&c->wire);
    lua_getiuservalue(L, 1, 1);
    lua_insert(L, 2);
    lua_setiuservalue(L, 2, LPG_CONN_CAUSE);
  }
  return 0;
}

void lpg_transaction_open_library(lua_State *L, int core)
{
  static const luaL_Reg meta[] = {
      {"__gc", scope_abandon}, {"__close", scope_abandon}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"scope", new_scope},   {"enter", enter},           {"guard", guard},
      {"leave", leave_scope}, {"abandon", scope_abandon}, {"spoil", spoil},
      {"lose", lose},         {"command", command},       {NULL, NULL}};
  luaL_newmetatable(L, scope_name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 2);
}
