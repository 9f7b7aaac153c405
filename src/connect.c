/* SPDX-License-Identifier: MIT */
/* connect: from a specification (made by lua/pg/options.lua, or saved by the
 * host) to a session that is set up; and anew after a loss. Saved
 * specifications live in the registry, where no script can read them.
 * "e" in a comment: may raise a Lua error. */
#include "connect.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "await.h"
#include "conninfo.h"
#include "deadline.h"
#include "error.h"
#include "hold.h"
#include "learnt.h"
#include "outcome.h"
#include "share.h"
#include "statement.h"

static const char saved_key = 0;

enum { CONNECTING, SETTING_UP };
enum { OPEN, RESET };
/* The frame: the specification or the handle, the specification, the
 * connection, what the password function answered, and the operation. */
enum { GIVEN = 1, SPEC = 2, CONN = 3, PASSWORD = 4, PROBLEM = 5 };
enum { EARLIER = 1 }; /* above the slot: what hosts said that are given up */

enum { OLDEST = 90600, SHORTEST_FLOATS = 120000 };

/* --- setting up the session -------------------------------------------- */

/* One round trip: is the server at the other end the one that greeted us, or
 * does a pooler stand between? Only in the first case are settings changed,
 * and only those that do not stand right already. */
const char *lpg_connect_push_setup(lua_State *L, const lpg_conn *c, bool styled)
{
  const char *ours = !styled && lpg_styles_are_ours(c->wire.pg)
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
      "SELECT pg_catalog.pg_backend_pid(), CASE WHEN "
      "pg_catalog.pg_backend_pid() OPERATOR(pg_catalog.=) %d THEN "
      "pg_catalog.concat(CASE WHEN f.digits OPERATOR(pg_catalog.<) %d THEN "
      "pg_catalog.set_config('extra_float_digits', '%d', false) END, CASE WHEN "
      "pg_catalog.current_setting('array_nulls') OPERATOR(pg_catalog.=) 'off' "
      "THEN pg_catalog.set_config('array_nulls', 'on', false) END%s%s) END, "
      "pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) "
      "FROM (SELECT pg_catalog.current_setting('extra_float_digits')"
      "::pg_catalog.int4 AS digits) AS f",
      PQbackendPID(c->wire.pg), c->version < SHORTEST_FLOATS ? 3 : 1,
      c->version < SHORTEST_FLOATS ? 3 : 1, ours, readonly);
}

static int on_setup(lua_State *L, lpg_op *op, int slot)
{
  (void)L;
  (void)slot;
  lpg_conn *c = op->conn;
  const PGresult *r = c->wire.result;
  /* Behind a pooler other clients may set at any time what text depends on. */
  if (op->stage == SETTING_UP && PQntuples(r) == 1) {
    c->shy = c->pooler = atoi(PQgetvalue(r, 0, 0)) != PQbackendPID(c->wire.pg);
    c->preset = PQgetlength(r, 0, 1) > 0;
    snprintf(c->server, sizeof c->server, "%s",
             PQnfields(r) > 2 ? PQgetvalue(r, 0, 2) : "");
  }
  return LPG_CONTINUE;
}

/* --- the ends --------------------------------------------------------- */

/* A session that is not set up is not kept, not even after a reset. */
static int fail(lua_State *L, lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  lpg_wire_close(&c->wire);
  c->wire.phase = LPG_LOST;
  int results = lpg_outcome_fail(L, slot, 0);
  if (op->action == OPEN) {
    c->closed = true;
    lpg_conn_close(c);
  }
  return results;
}

/* Was a password given that is empty? To libpq that is none. */
static bool was_empty(lua_State *L)
{
  int top = lua_gettop(L);
  lua_pushvalue(L, PASSWORD);
  if (lua_isnil(L, -1) && lua_getfield(L, SPEC, "keywords") == LUA_TTABLE)
    lua_getfield(L, -1, "password");
  bool empty = lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) == 0;
  lua_settop(L, top);
  return empty;
}

static int fail_to_connect(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  const char *earlier = luaL_optstring(L, slot + EARLIER, "");
  if (w->stop == LPG_TIMED_OUT) { /* errors.lua words it */
    lpg_error_new(L, "connect_timeout", "%s%s", earlier,
                  w->words ? w->words : "");
    lpg_error_number(L, "elapsed",
                     lpg_now() - op->deadline + op->limits.timeout);
    lpg_error_number(L, "limit", op->limits.timeout);
  } else {
    lpg_error_new(L, NULL, "%s%s", earlier,
                  w->words ? w->words : "not enough memory");
    lpg_error_boolean(L, "needs_password", w->needs_password);
    lpg_error_boolean(L, "empty_password", was_empty(L));
    lpg_error_boolean(L, "ssl_in_use", w->was_encrypted);
  }
  return fail(L, op, slot);
}

static int fail_to_set_up(lua_State *L, lpg_op *op, int slot)
{
  op->elapsed = lpg_now() - op->deadline + op->limits.timeout;
  lpg_outcome_describe(L, op);
  if (op->conn->wire.stop == LPG_TIMED_OUT)
    lpg_error_string(L, "kind", "connect_timeout");
  return fail(L, op, slot);
}

static int refuse_version(lua_State *L, lpg_op *op, int slot)
{
  const char *version = PQparameterStatus(op->conn->wire.pg, "server_version");
  lpg_error_new(L, "unsupported_version",
                "the server is PostgreSQL %s; this module needs 9.6 or newer",
                version ? version : "of an unknown version");
  return fail(L, op, slot);
}

/* Where text has no encoding it comes and goes as it is. */
static void learn_encoding(lpg_conn *c)
{
  const char *server = PQparameterStatus(c->wire.pg, "server_encoding");
  bool raw = server && strcmp(server, "SQL_ASCII") == 0;
  c->utf8 = server && strcmp(server, "UTF8") == 0;
  c->encoding = PQparameterStatus(c->wire.pg, "client_encoding")
                    ? pg_char_to_encoding(raw ? server : "UTF8")
                    : -1;
}

static int set_up(lua_State *L, lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  c->version = PQserverVersion(c->wire.pg);
  if (c->version < OLDEST)
    return refuse_version(L, op, slot);
  learn_encoding(c);
  lpg_limits limits = {.timeout = lpg_left_until(op->deadline),
                       .result = 1 << 16,
                       .strict = true};
  lpg_request request = {.kind = LPG_STATEMENT,
                         .sql = lpg_connect_push_setup(L, c, false)};
  op->stage = SETTING_UP;
  if (!lpg_wire_send(&c->wire, &request, &limits)) {
    lpg_error_new(L, "connection_lost", "%s",
                  c->wire.words ? c->wire.words : "cannot send");
    return fail(L, op, slot);
  }
  return LPG_CONTINUE;
}

/* prepare = false: never; true: also where a pooler stands between, which then
 * has to keep prepared statements. */
static void decide_preparing(lua_State *L, lpg_conn *c)
{
  int type = lua_getfield(L, SPEC, "prepare");
  c->prepares = type == LUA_TNIL ? !c->pooler : lua_toboolean(L, -1);
  c->prefix = c->names = 0;
  lua_pop(L, 1);
}

static int finish(lua_State *L, lpg_op *op, int slot)
{
  bool opened = op->action == OPEN;
  op->conn->patience = 0;
  lpg_share_leave(L, CONN);
  lpg_forget(L, CONN);
  lpg_statement_closed(L, CONN);
  decide_preparing(L, op->conn);
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

/* Starts, or starts anew with the hosts that are left. */
static int start(lua_State *L, lpg_op *op, int slot)
{
  lpg_wire *w = &op->conn->wire;
  lpg_attempt attempt = {.password = lua_tostring(L, PASSWORD),
                         .timeout = op->limits.timeout,
                         .most = op->conn->patience,
                         .skipped = op->first};
  if (op->first > 0)
    attempt.timeout = lpg_left_until(op->deadline);
  lua_getfield(L, SPEC, "open_ssl");
  attempt.open_ssl = lua_toboolean(L, -1);
  lua_getfield(L, SPEC, "keywords");
  luaL_checktype(L, -1, LUA_TTABLE);
  lpg_wire_close(w);
  if (!lpg_conninfo_start(L, w, -1, &attempt))
    return fail(L, op, slot);
  if (op->first == 0) {
    op->limits.timeout = attempt.timeout;
    op->deadline = w->started + attempt.timeout;
    op->count = attempt.hosts;
  }
  if (w->pg)
    lpg_conn_identify(L, CONN);
  return LPG_CONTINUE;
}

/* A host's share of the time is over. One that libpq got to later than to the
 * first has more, the last has all that is left. Otherwise it is the next
 * host's turn: libpq alone would stay with a dead one to the end. */
static int end_turn(lua_State *L, lpg_op *op, int slot)
{
  lpg_wire *w = &op->conn->wire;
  int left = op->count - op->first, passed = 0;
  if (left > 1) {
    lua_getfield(L, SPEC, "keywords");
    passed = lpg_conninfo_place(L, -1, w->pg, op->first) - op->first;
  }
  double now = lpg_now(), share = (op->deadline - w->started) / left;
  w->deadline = fmin(w->started + share * (passed + 1), op->deadline);
  if (now < w->deadline)
    return LPG_CONTINUE;
  if (passed + 1 >= left || now >= op->deadline) {
    lpg_wire_lose(w);
    return fail_to_connect(L, op, slot);
  }
  lua_pushfstring(L, "%s%stimeout expired\n",
                  luaL_optstring(L, slot + EARLIER, ""), PQerrorMessage(w->pg));
  lua_replace(L, slot + EARLIER);
  op->first += passed + 1;
  return start(L, op, slot);
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  if (op->stage == CONNECTING) {
    if (w->phase == LPG_IDLE)
      return set_up(L, op, slot);
    return w->phase == LPG_CONNECTING ? end_turn(L, op, slot)
                                      : fail_to_connect(L, op, slot);
  }
  if (w->phase == LPG_LOST || w->failure || w->dropped || w->stop == LPG_COPY)
    return fail_to_set_up(L, op, slot);
  return finish(L, op, slot);
}

/* --- the beginning ---------------------------------------------------- */

/* Does the specification have a password function? */
static bool has_function(lua_State *L)
{
  bool has = lua_getfield(L, SPEC, "password") == LUA_TFUNCTION;
  lua_pop(L, 1);
  return has;
}

static int fail_to_get_password(lua_State *L, lpg_op *op, int slot)
{
  const char *why = luaL_tolstring(L, PROBLEM, NULL);
  lpg_error_new(L, "authentication_failed",
                lua_isnil(L, PROBLEM) ? "the password function gave none"
                                      : "the password function gave none: %s",
                why);
  lua_pushvalue(L, PROBLEM);
  lua_setfield(L, -2, "cause");
  return fail(L, op, slot);
}

/* With the password function's answer on the top, if there is one. Also its
 * continuation, when it yields. */
static int begin(lua_State *L, int status, lua_KContext action)
{
  (void)status;
  lua_settop(L, PROBLEM);
  if (!lua_isnil(L, PASSWORD) && lua_type(L, PASSWORD) != LUA_TSTRING)
    return lpg_raise(L, "the password function must return a string, not a %s",
                     luaL_typename(L, PASSWORD));
  if (lua_isstring(L, PASSWORD) &&
      strlen(lua_tostring(L, PASSWORD)) != lua_rawlen(L, PASSWORD))
    return lpg_raise(L, "a password cannot hold a NUL byte");
  lpg_conn *c = lua_touserdata(L, CONN);
  /* by the password function, or while it waited */
  if (lpg_op_blocks(c) || c->closed)
    return lpg_raise(L, "the connection is %s", c->op ? "busy" : "closed");
  if (action == RESET && c->wire.phase == LPG_IDLE) { /* it reset it, too */
    lua_pushboolean(L, true);
    return 1;
  }
  lua_pushvalue(L, CONN); /* just below the slot, as lpg_outcome_fail wants */
  lpg_op *op = lpg_op_begin(L, -1);
  int slot = lua_gettop(L);
  op->result = on_setup;
  op->done = on_done;
  op->action = (int)action;
  op->opening = true;
  op->stage = CONNECTING;
  op->kept = EARLIER;
  op->limits.result = HUGE_VAL;
  if (has_function(L) && lua_isnil(L, PASSWORD))
    return fail_to_get_password(L, op, slot);
  lua_getfield(L, SPEC, "connect_timeout");
  op->limits.timeout = lua_tonumber(L, -1);
  lua_settop(L, slot);
  lua_settop(L, slot + EARLIER); /* nil */
  int results = start(L, op, slot);
  return results == LPG_CONTINUE ? lpg_await(L, LUA_OK, slot) : results;
}

static int ask_password(lua_State *L, int action)
{
  lua_settop(L, CONN);
  if (has_function(L)) {
    lua_getfield(L, SPEC, "password");
    lua_callk(L, 0, 2, action, begin);
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

/* Replaces the table on the top by a copy, and the tables in it by copies,
 * `levels` deep. e */
static void copy(lua_State *L, int levels)
{
  int from = lua_gettop(L);
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, from);) {
    if (levels > 1 && lua_istable(L, -1))
      copy(L, levels - 1);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, from + 1);
  }
  lua_remove(L, from);
}

/* Raises if a setting of the specification is wrong: before connecting. */
static void check_settings(lua_State *L, int spec)
{
  lpg_settings settings = {0};
  if (lua_getfield(L, spec, "settings") == LUA_TTABLE)
    lpg_settings_merge(L, &settings, -1);
  lua_pop(L, 1);
}

/* core.open(specification or saved name[, seconds]): a handle, or nil and an
 * error; within the seconds, where those are fewer than it may take. */
static int open(lua_State *L)
{
  lua_Number patience = luaL_optnumber(L, 2, 0);
  lua_settop(L, GIVEN);
  if (lua_type(L, GIVEN) == LUA_TSTRING) {
    if (push_saved(L, GIVEN) != LUA_TTABLE)
      return lpg_unknown_option(L, GIVEN, "saved");
  } else {
    luaL_checktype(L, GIVEN, LUA_TTABLE);
    if (lpg_ceilings_of(L)->saved_only)
      return lpg_raise(L, "this host allows saved connections only: "
                          "pg.connect \"name\"");
    lua_pushvalue(L, GIVEN);
    copy(L, 2); /* plain tables: nothing in them runs */
  }
  check_settings(L, SPEC);
  lpg_conn *c = lpg_conn_new(L);
  c->patience = patience;
  lua_pushvalue(L, SPEC);
  lua_setiuservalue(L, CONN, LPG_CONN_SPEC);
  lpg_conn_identify(L, CONN);
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
  if (lpg_op_blocks(c))
    return lpg_raise(L, "the connection is busy with another statement");
  if (c->hold)
    lpg_raise(L, "the connection is busy with %s%s", c->hold->what,
              c->hold->place);
  if (c->wire.pg && !lpg_wire_busy(&c->wire) &&
      (*c->begin || PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE))
    return lpg_raise(L, "reset inside a transaction would lose it: end the "
                        "transaction first");
  lua_getiuservalue(L, GIVEN, 1);
  lua_getiuservalue(L, -1, LPG_CONN_SPEC);
  lua_insert(L, SPEC);
  lpg_wire_stop(&c->wire, LPG_ABANDONED);
  lpg_wire_close(&c->wire);
  c->broken = c->scope != NULL;
  *c->undo = '\0';
  return ask_password(L, RESET);
}

/* --- saved connections ------------------------------------------------- */

/* core.save(name, specification): a copy, which nobody else can change. */
static int save(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TSTRING);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (lpg_ceilings_of(L)->locked)
    return lpg_raise(L, "the host locked its saved connections");
  lua_settop(L, 2);
  copy(L, 2);
  check_settings(L, 2);
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

/* core.saved_wait(name): the `wait` function of a saved connection, or nil. */
static int saved_wait(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TSTRING);
  lua_settop(L, 1);
  if (push_saved(L, 1) != LUA_TTABLE)
    return lpg_unknown_option(L, 1, "saved");
  lua_getfield(L, -1, "wait");
  return 1;
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
  static const luaL_Reg functions[] = {{"open", open},
                                       {"save", save},
                                       {"saved", saved},
                                       {"saved_wait", saved_wait},
                                       {NULL, NULL}};
  lua_getfield(L, core, "methods");
  lua_pushcfunction(L, reset);
  lua_setfield(L, -2, "reset");
  lua_pop(L, 1);
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
