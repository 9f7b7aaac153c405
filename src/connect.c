/* SPDX-License-Identifier: MIT */
/* connect: from a specification (made by lua/pg/options.lua, or saved by the
 * host) to a session that is set up; and anew after a loss. Saved
 * specifications live in the registry, where no script can read them.
 * "e" in a comment: may raise a Lua error. */
#include "connect.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "await.h"
#include "conninfo.h"
#include "deadline.h"
#include "error.h"
#include "outcome.h"

static const char saved_key = 0;

enum { CONNECTING, SETTING_UP };
enum { OPEN, RESET };
/* The frame: the specification or the handle, the specification, the
 * connection, and the operation above it. */
enum { GIVEN = 1, SPEC = 2, CONN = 3, PASSWORD = 4 };

enum { OLDEST = 90600, SHORTEST_FLOATS = 120000 };

/* --- setting up the session -------------------------------------------- */

/* One round trip: is the server at the other end the one that greeted us, or
 * does a pooler stand between? Only in the first case are settings changed,
 * and only those that do not stand right already. */
static const char *push_setup(lua_State *L, const lpg_conn *c)
{
  const char *ours = lpg_styles_are_ours(c->wire.pg)
                         ? ""
                         : ", pg_catalog.set_config('DateStyle', 'ISO', false)"
                           ", pg_catalog.set_config('IntervalStyle', "
                           "'postgres', false)";
  const char *readonly =
      c->readonly ? ", pg_catalog.set_config('default_transaction_read_only', "
                    "'on', false)"
                  : "";
  return lua_pushfstring(
      L,
      "SELECT pg_catalog.pg_backend_pid(), f.digits, CASE WHEN "
      "pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %d THEN "
      "pg_catalog.concat(CASE WHEN f.digits OPERATOR(pg_catalog.<) %d THEN "
      "pg_catalog.set_config('extra_float_digits', '%d', false) END%s%s) END "
      "FROM (SELECT pg_catalog.current_setting('extra_float_digits')"
      "::pg_catalog.int4 AS digits) AS f",
      PQbackendPID(c->wire.pg), c->version < SHORTEST_FLOATS ? 3 : 1,
      c->version < SHORTEST_FLOATS ? 3 : 1, ours, readonly);
}

static void on_setup(lua_State *L, lpg_op *op, int slot)
{
  (void)L;
  (void)slot;
  lpg_conn *c = op->conn;
  const PGresult *r = c->wire.result;
  if (op->stage != SETTING_UP || PQntuples(r) != 1 || PQnfields(r) < 2)
    return;
  int digits = atoi(PQgetvalue(r, 0, 1));
  c->pooler = atoi(PQgetvalue(r, 0, 0)) != PQbackendPID(c->wire.pg);
  c->shy = c->pooler && (digits < (c->version < SHORTEST_FLOATS ? 3 : 1) ||
                         !lpg_styles_are_ours(c->wire.pg));
}

/* --- the ends --------------------------------------------------------- */

static int fail(lua_State *L, lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  int results = lpg_outcome_fail(L, slot, 0);
  if (op->action == OPEN) {
    c->closed = true;
    lpg_conn_close(c);
  }
  return results;
}

static int fail_to_connect(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  if (w->stop == LPG_TIMED_OUT) {
    lpg_error_new(L, "connect_timeout",
                  w->words ? "no connection within its limit: %s"
                           : "no connection within its limit",
                  w->words);
    lpg_error_number(L, "elapsed", lpg_now() - w->started);
    lpg_error_number(L, "limit", op->limits.timeout);
  } else {
    lpg_error_new(L, NULL, "%s", w->words ? w->words : "not enough memory");
    lpg_error_boolean(L, "needs_password", w->needs_password);
    lpg_error_boolean(L, "ssl_in_use", w->was_encrypted);
  }
  return fail(L, op, slot);
}

static int fail_to_set_up(lua_State *L, lpg_op *op, int slot)
{
  op->elapsed = lpg_now() - op->conn->wire.started;
  lpg_outcome_describe(L, op);
  if (op->conn->wire.stop == LPG_TIMED_OUT)
    lpg_error_string(L, "kind", "connect_timeout");
  return fail(L, op, slot);
}

static int refuse_version(lua_State *L, lpg_op *op, int slot)
{
  lpg_error_new(L, "unsupported_version",
                "the server is PostgreSQL %s; this module needs 9.6 or newer",
                PQparameterStatus(op->conn->wire.pg, "server_version"));
  return fail(L, op, slot);
}

static int set_up(lua_State *L, lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  c->version = PQserverVersion(c->wire.pg);
  if (c->version < OLDEST)
    return refuse_version(L, op, slot);
  const char *encoding = PQparameterStatus(c->wire.pg, "server_encoding");
  c->utf8 = encoding && strcmp(encoding, "UTF8") == 0;
  lpg_limits limits = {lpg_left_until(op->deadline), 1 << 16};
  lpg_request request = {.kind = LPG_STATEMENT, .sql = push_setup(L, c)};
  op->stage = SETTING_UP;
  if (!lpg_wire_send(&c->wire, &request, &limits)) {
    lpg_error_new(L, "connection_lost", "%s",
                  c->wire.words ? c->wire.words : "cannot send");
    return fail(L, op, slot);
  }
  return LPG_CONTINUE;
}

static int finish(lua_State *L, lpg_op *op, int slot)
{
  bool opened = op->action == OPEN;
  lpg_conn_forget(L, CONN);
  lpg_conn_identify(L, CONN);
  lpg_op_end(L, slot);
  if (!opened) {
    lua_pushboolean(L, true);
    return 1;
  }
  lpg_handle *h = lpg_handle_new(L, CONN);
  h->owner = true;
  if (lua_getfield(L, SPEC, "settings") == LUA_TTABLE)
    lpg_settings_merge(L, &h->settings, -1);
  lua_pop(L, 1);
  return 1;
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  if (op->stage == CONNECTING)
    return w->phase == LPG_IDLE ? set_up(L, op, slot)
                                : fail_to_connect(L, op, slot);
  if (w->phase == LPG_LOST || w->failure || w->dropped || w->stop == LPG_COPY)
    return fail_to_set_up(L, op, slot);
  return finish(L, op, slot);
}

/* --- the beginning ---------------------------------------------------- */

/* With the password (or nil) on the top. Also the continuation of a password
 * function that yields. */
static int begin(lua_State *L, int status, lua_KContext action)
{
  (void)status;
  lua_settop(L, PASSWORD);
  if (!lua_isnoneornil(L, PASSWORD) && lua_type(L, PASSWORD) != LUA_TSTRING)
    return luaL_error(L, "the password function must return a string");
  if (lua_isstring(L, PASSWORD) &&
      strlen(lua_tostring(L, PASSWORD)) != lua_rawlen(L, PASSWORD))
    return luaL_error(L, "a password cannot hold a NUL byte");
  lpg_conn *c = lua_touserdata(L, CONN);
  if (c->op)
    return luaL_error(L, "the connection is busy");
  lua_pushvalue(L, CONN); /* just below the slot, as lpg_outcome_fail wants */
  lpg_op *op = lpg_op_begin(L, -1);
  int slot = lua_gettop(L);
  op->result = on_setup;
  op->done = on_done;
  op->action = (int)action;
  op->stage = CONNECTING;
  op->limits.result = HUGE_VAL;
  lua_getfield(L, SPEC, "open_ssl");
  bool open_ssl = lua_toboolean(L, -1);
  lua_getfield(L, SPEC, "connect_timeout");
  op->limits.timeout = lua_tonumber(L, -1);
  lua_getfield(L, SPEC, "keywords");
  luaL_checktype(L, -1, LUA_TTABLE);
  if (!lpg_conninfo_check(L, -1))
    return fail(L, op, slot);
  lpg_conninfo_start(L, &c->wire, -1, lua_tostring(L, PASSWORD), open_ssl,
                     &op->limits.timeout);
  op->deadline = c->wire.deadline;
  if (c->wire.pg)
    lpg_conn_identify(L, CONN);
  lua_settop(L, slot);
  return lpg_await(L, LUA_OK, slot);
}

static int ask_password(lua_State *L, int action)
{
  lua_settop(L, CONN);
  if (lua_getfield(L, SPEC, "password") == LUA_TFUNCTION) {
    lua_callk(L, 0, 1, action, begin);
  } else {
    lua_pop(L, 1);
    lua_pushnil(L);
  }
  return begin(L, LUA_OK, action);
}

/* Pushes the saved specification of that name, or nil. */
static int push_saved(lua_State *L, int name)
{
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &saved_key) != LUA_TTABLE)
    return LUA_TNIL;
  lua_pushvalue(L, name);
  int type = lua_rawget(L, -2);
  lua_remove(L, -2);
  return type;
}

/* core.open(specification or saved name): a handle, or nil and an error. */
static int open(lua_State *L)
{
  lua_settop(L, GIVEN);
  if (lua_type(L, GIVEN) == LUA_TSTRING) {
    if (push_saved(L, GIVEN) != LUA_TTABLE)
      return lpg_unknown_option(L, GIVEN, "saved");
  } else {
    luaL_checktype(L, GIVEN, LUA_TTABLE);
    if (lpg_ceilings_of(L)->saved_only)
      return luaL_error(L, "this host allows saved connections only: "
                           "pg.connect \"name\"");
    lua_pushvalue(L, GIVEN);
  }
  lpg_conn *c = lpg_conn_new(L);
  lua_pushvalue(L, SPEC);
  lua_setiuservalue(L, CONN, LPG_CONN_SPEC);
  lua_getfield(L, SPEC, "wait");
  c->has_wait = lua_isfunction(L, -1);
  lua_setiuservalue(L, CONN, LPG_CONN_WAIT);
  lua_getfield(L, SPEC, "readonly");
  c->readonly = lua_toboolean(L, -1);
  return ask_password(L, OPEN);
}

/* db:reset(): connects anew, all hosts again; what the session held is gone. */
static int reset(lua_State *L)
{
  lua_settop(L, GIVEN);
  lpg_conn *c = lpg_handle_check(L, GIVEN)->conn;
  if (c->op)
    return luaL_error(L, "the connection is busy with another statement");
  if (c->wire.pg && !lpg_wire_busy(&c->wire) &&
      PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE)
    return luaL_error(L, "reset inside a transaction would lose it: end the "
                         "transaction first");
  lua_getiuservalue(L, GIVEN, 1);
  lua_getiuservalue(L, -1, LPG_CONN_SPEC);
  lua_insert(L, SPEC);
  lpg_wire_stop(&c->wire, LPG_ABANDONED);
  lpg_wire_close(&c->wire);
  return ask_password(L, RESET);
}

/* --- saved connections ------------------------------------------------- */

/* core.save(name, specification) */
static int save(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TSTRING);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (lpg_ceilings_of(L)->locked)
    return luaL_error(L, "the host locked its saved connections");
  lua_settop(L, 2);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &saved_key) != LUA_TTABLE) {
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &saved_key);
    lua_replace(L, 3);
  }
  lua_insert(L, 1);
  lua_settop(L, 3);
  lua_rawset(L, 1);
  return 0;
}

/* core.saved(): the names, as a list. */
static int saved(lua_State *L)
{
  lua_newtable(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &saved_key) != LUA_TTABLE)
    return lua_pop(L, 1), 1;
  lua_Integer i = 0;
  for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_rawseti(L, 1, ++i);
  }
  lua_settop(L, 1);
  return 1;
}

void lpg_connect_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {
      {"open", open}, {"save", save}, {"saved", saved}, {NULL, NULL}};
  lua_getfield(L, core, "methods");
  lua_pushcfunction(L, reset);
  lua_setfield(L, -2, "reset");
  lua_pop(L, 1);
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
