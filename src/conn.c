/* SPDX-License-Identifier: MIT */
#include "conn.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#include "await.h"
#include "box.h"
#include "codec_user.h"
#include "error.h"
#include "hold.h"
#include "lend.h"
#include "statement.h"
#include "transaction.h"

static const char *const conn_name = "pg.session/1";
static const char *const handle_name = "pg.connection/1";

void lpg_conn_close(lpg_conn *c)
{
  if (c->op)
    c->op->conn = NULL;
  c->op = NULL;
  if (c->hold)
    lpg_hold_end(c->hold);
  c->astray = false;
  if (!lpg_process_is_ours(&c->process))
    lpg_wire_disown(&c->wire);
  else
    lpg_wire_close(&c->wire);
  lpg_params_free(&c->params);
}

void lpg_conn_shut(lpg_conn *c)
{
  c->closed = true;
  if (c->held)
    return;
  bool own = lpg_process_is_ours(&c->process);
  if (lpg_wire_busy(&c->wire) && own)
    lpg_wire_stop(&c->wire, LPG_ABANDONED);
  if (c->op && c->has_wait && own)
    lpg_wire_wake(&c->wire);
  else
    lpg_conn_close(c);
}

static int collect(lua_State *L)
{
  lpg_conn *c = luaL_checkudata(L, 1, conn_name);
  c->params.busy = false;
  c->closed = true; /* also for a finalizer that still has a handle on it */
  lpg_conn_close(c);
  lpg_process_free(&c->process);
  return 0;
}

lpg_conn *lpg_conn_new(lua_State *L)
{
  lpg_conn *c = lua_newuserdatauv(L, sizeof *c, LPG_CONN_VALUES);
  memset(c, 0, sizeof *c);
  lpg_wire_init(&c->wire);
  luaL_setmetatable(L, conn_name);
  lpg_process_init(&c->process);
  c->ceilings = lpg_ceilings_of(L);
  return c;
}

lpg_handle *lpg_handle_new(lua_State *L, int index)
{
  index = lua_absindex(L, index);
  lpg_handle *h = lua_newuserdatauv(L, sizeof *h, 2);
  *h = (lpg_handle){.conn = lua_touserdata(L, index)};
  lua_pushvalue(L, index);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, handle_name);
  return h;
}

lpg_handle *lpg_handle_any(lua_State *L, int index)
{
  return lpg_box_check(L, index, handle_name);
}

void lpg_handle_type(lua_State *L)
{
  luaL_getmetatable(L, handle_name);
}

void lpg_handle_need(lua_State *L, const lpg_handle *h)
{
  const lpg_conn *c = h->conn;
  if (lpg_handle_returned(h))
    lpg_raise(L, "the connection was returned to its pool");
  if (h->lease && h->lease->ended)
    lpg_raise(L, "%s", h->lease->ended);
  if (c->closed)
    lpg_raise(L, "the connection is closed");
  if (!lpg_process_is_ours(&c->process))
    lpg_raise(L, "the connection belongs to the process that opened it: "
                 "connect anew after a fork");
}

lpg_handle *lpg_handle_check(lua_State *L, int index)
{
  lpg_handle *h = lpg_handle_any(L, index);
  lpg_handle_need(L, h);
  return h;
}

void lpg_handle_need_rest(lua_State *L, const lpg_handle *h)
{
  if (h->conn->codecs && lpg_in_user(L))
    lpg_raise(L, "a codec's function cannot use its connection");
}

bool lpg_handle_ready(lua_State *L, int index, const lpg_handle *h)
{
  lpg_handle_need(L, h);
  lpg_scope_tidy(h->conn);
  if (lpg_op_blocks(h->conn))
    lpg_raise(L, "the connection is busy with another statement; one "
                 "connection runs one at a time");
  if (h->conn->hold)
    lpg_raise(L,
              "the connection is busy with %s%s: end its loop or close it "
              "first, or use another connection",
              h->conn->hold->what, h->conn->hold->place);
  lpg_handle_need_rest(L, h);
  if (h->conn->wire.phase != LPG_LOST && h->conn->wire.pg)
    return true;
  lpg_error_new(L, "connection_lost",
                "the connection was lost earlier; db:reset() connects anew");
  lua_getiuservalue(L, index, 1);
  lua_getiuservalue(L, -1, LPG_CONN_CAUSE);
  lua_setfield(L, -3, "cause");
  lua_pop(L, 1);
  lpg_handle_fail(L, index);
  return false;
}

void lpg_conn_record(lua_State *L, int index)
{
  const lpg_conn *c = lua_touserdata(L, index);
  if (!lpg_scope_guards(c))
    return;
  bool first = lua_getiuservalue(L, index, LPG_CONN_FAILURE) == LUA_TNIL;
  lua_pop(L, 1);
  if (!first)
    return;
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, index, LPG_CONN_FAILURE);
}

int lpg_handle_fail(lua_State *L, int index)
{
  int fields = lua_gettop(L);
  lua_getiuservalue(L, index, 1);
  lua_insert(L, fields++);
  lua_getiuservalue(L, fields - 1, LPG_CONN_IDENTITY);
  lua_insert(L, fields++);
  lpg_error_identity(L, fields - 1);
  lpg_error_return(L);
  if (!lpg_handle_returned(lua_touserdata(L, index)))
    lpg_conn_record(L, fields - 2);
  return 2;
}

static void identify(lua_State *L, const char *field, const char *value)
{
  if (value && *value)
    lpg_error_string(L, field, value);
}

/* The version alone: packagers add "(Debian ...)". */
static void identify_server(lua_State *L, PGconn *pg)
{
  const char *version = PQparameterStatus(pg, "server_version");
  if (!version)
    return;
  lua_pushlstring(L, version, strcspn(version, " "));
  lua_setfield(L, -2, "server");
}

/* The mode that applies, wherever it came from. */
static void find_sslmode(PGconn *pg, char *mode, size_t size)
{
  PQconninfoOption *options = PQconninfo(pg);
  for (const PQconninfoOption *o = options; o && o->keyword; o++)
    if (strcmp(o->keyword, "sslmode") == 0 && o->val)
      snprintf(mode, size, "%s", o->val);
  PQconninfoFree(options);
}

void lpg_conn_identify(lua_State *L, int index)
{
  index = lua_absindex(L, index);
  const lpg_conn *c = lua_touserdata(L, index);
  PGconn *pg = c->wire.pg;
  lua_createtable(L, 0, 8);
  identify(L, "host", PQhost(pg));
  identify(L, "port", PQport(pg));
  identify(L, "database", PQdb(pg));
  identify(L, "user", PQuser(pg));
  identify_server(L, pg);
  lpg_error_boolean(L, "ssl_in_use", PQsslInUse(pg));
  char mode[16] = "";
  find_sslmode(pg, mode, sizeof mode);
  identify(L, "sslmode", mode);
  lua_getiuservalue(L, index, LPG_CONN_SPEC);
  lua_getfield(L, -1, "name");
  lua_setfield(L, -3, "connection");
  lua_pop(L, 1);
  lua_setiuservalue(L, index, LPG_CONN_IDENTITY);
}

/* --- methods ---------------------------------------------------------- */

/* db:close(): twice is once. A handle of db:with{} closes nothing. */
static int handle_close(lua_State *L)
{
  const lpg_handle *h = lpg_handle_any(L, 1);
  if (h->borrowed)
    return lpg_lend_back(L);
  if (h->owner && !h->conn->closed)
    lpg_conn_shut(h->conn);
  return 0;
}

static const char *state_of(const lpg_handle *h)
{
  const lpg_conn *c = h->conn;
  if (c->closed || lpg_handle_returned(h))
    return "closed";
  if (c->wire.phase == LPG_LOST || !c->wire.pg)
    return "lost";
  if (c->op || lpg_wire_busy(&c->wire))
    return "busy";
  if (*c->begin)
    return "transaction";
  switch (PQtransactionStatus(c->wire.pg)) {
  case PQTRANS_IDLE:
    return "idle";
  case PQTRANS_INTRANS:
    return "transaction";
  case PQTRANS_INERROR:
    return "failed";
  case PQTRANS_ACTIVE:
    return "busy";
  case PQTRANS_UNKNOWN:
    break;
  }
  return "lost";
}

static void push_ssl(lua_State *L, PGconn *pg)
{
  if (!pg || !PQsslInUse(pg)) {
    lua_pushboolean(L, 0);
    return;
  }
  lua_createtable(L, 0, 2);
  lpg_error_string(L, "version", PQsslAttribute(pg, "protocol"));
  lpg_error_string(L, "cipher", PQsslAttribute(pg, "cipher"));
}

static int handle_status(lua_State *L)
{
  const lpg_handle *h = lpg_handle_any(L, 1);
  PGconn *pg = lpg_handle_returned(h) ? NULL : h->conn->wire.pg;
  lua_createtable(L, 0, 4);
  lpg_error_string(L, "state", state_of(h));
  if (pg) {
    lua_pushinteger(L, PQbackendPID(pg));
    lua_setfield(L, -2, "pid");
    identify_server(L, pg);
  }
  push_ssl(L, pg);
  lua_setfield(L, -2, "ssl");
  return 1;
}

static int handle_tostring(lua_State *L)
{
  const lpg_handle *h = lpg_handle_any(L, 1);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, -1, LPG_CONN_IDENTITY);
  lua_pushfstring(L, "pg.connection (%s)", state_of(h));
  int text = lua_gettop(L);
  if (lua_istable(L, text - 1)) {
    lua_getfield(L, text - 1, "connection");
    lua_getfield(L, text - 1, "user");
    lua_getfield(L, text - 1, "host");
    lua_getfield(L, text - 1, "database");
    const char *name = lua_tostring(L, text + 1);
    lua_pushfstring(
        L, "%s%s%s@%s/%s (%s)", name ? name : "",
        name ? ": " : "pg.connection: ", luaL_optstring(L, text + 2, "?"),
        luaL_optstring(L, text + 3, "localhost"),
        luaL_optstring(L, text + 4, "?"), state_of(h));
  }
  return 1;
}

/* db:with{ timeout = 2 }: the same connection with other settings. */
static int handle_with(lua_State *L)
{
  lpg_handle *h = lpg_handle_check(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_getiuservalue(L, 1, 1);
  lpg_handle *other = lpg_handle_new(L, -1);
  other->settings = h->settings;
  other->lease = h->lease;
  lua_getiuservalue(L, 1, 2);
  lua_setiuservalue(L, -2, 2);
  lpg_settings_merge(L, &other->settings, 2);
  return 1;
}

/* db:cancel(): asks the server to stop what another coroutine runs. */
static int handle_cancel(lua_State *L)
{
  lpg_handle *h = lpg_handle_check(L, 1);
  const lpg_wire *w = &h->conn->wire;
  bool waits = lpg_wire_busy(w) && w->stop == LPG_ABANDONED; /* for its turn */
  bool runs =
      (h->conn->op || h->conn->hold) && (waits || w->phase == LPG_FETCHING);
  if (runs && waits && h->conn->op)
    h->conn->op->cancelled = true;
  else if (runs)
    lpg_wire_stop(&h->conn->wire, LPG_CANCELLED);
  lua_pushboolean(L, runs);
  return 1;
}

/* core.cache(db): a table that lives as long as the connection and is emptied
 * when DDL runs on it. */
static int cache(lua_State *L)
{
  lpg_handle_check(L, 1);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, -1, LPG_CONN_CATALOG);
  return 1;
}

/* core.in_transaction(db): nil while the answer is still under way. */
static int in_transaction(lua_State *L)
{
  lpg_conn *c = lpg_handle_check(L, 1)->conn;
  lpg_scope_tidy(c);
  if (lpg_wire_busy(&c->wire))
    return 0;
  lua_pushboolean(L, *c->begin ||
                         (c->wire.pg && strcmp(c->undo, "ROLLBACK") != 0 &&
                          PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE));
  return 1;
}

/* core.identity(db): a copy of what errors may show of the connection, and the
 * address that the host name led to. */
static int identity(lua_State *L)
{
  const PGconn *pg = lpg_handle_any(L, 1)->conn->wire.pg;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, 2, LPG_CONN_IDENTITY);
  lua_newtable(L);
  lpg_error_identity(L, 3);
  identify(L, "address", pg ? PQhostaddr(pg) : NULL);
  return 1;
}

/* core.is_free(db): no statement of another coroutine runs on it. */
static int is_free(lua_State *L)
{
  lua_pushboolean(L, !lpg_op_blocks(lpg_handle_any(L, 1)->conn));
  return 1;
}

/* core.is_readonly(db): it was opened so. */
static int is_readonly(lua_State *L)
{
  lua_pushboolean(L, lpg_handle_any(L, 1)->conn->readonly);
  return 1;
}

/* core.version(db): the server's, as PQserverVersion gives it: 150018. */
static int version(lua_State *L)
{
  lua_pushinteger(L, lpg_handle_any(L, 1)->conn->version);
  return 1;
}

/* core.timeout(db): the seconds that a statement may take on this handle. */
static int timeout(lua_State *L)
{
  const lpg_handle *h = lpg_handle_any(L, 1);
  lua_pushnumber(L,
                 lpg_settings_limits(&h->settings, h->conn->ceilings).timeout);
  return 1;
}

/* core.fail(fields[, db]): nil and the error object that the fields describe;
 * of a connection: its transaction remembers it. */
static int fail(lua_State *L)
{
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  bool of_connection = !lua_isnil(L, 2);
  if (of_connection)
    lpg_handle_any(L, 2);
  lua_insert(L, 1);
  return of_connection ? lpg_handle_fail(L, 1) : lpg_error_return(L);
}

static void protect(lua_State *L)
{
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
}

void lpg_conn_open_library(lua_State *L, int core)
{
  static const luaL_Reg conn_meta[] = {{"__gc", collect}, {NULL, NULL}};
  static const luaL_Reg handle_meta[] = {
      {"__close", handle_close}, {"__tostring", handle_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"close", handle_close},
                                     {"status", handle_status},
                                     {"with", handle_with},
                                     {"cancel", handle_cancel},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {{"cache", cache},
                                       {"in_transaction", in_transaction},
                                       {"version", version},
                                       {"is_free", is_free},
                                       {"is_readonly", is_readonly},
                                       {"identity", identity},
                                       {"timeout", timeout},
                                       {"fail", fail},
                                       {NULL, NULL}};
  luaL_newmetatable(L, conn_name);
  luaL_setfuncs(L, conn_meta, 0);
  protect(L);
  luaL_newmetatable(L, handle_name);
  luaL_setfuncs(L, handle_meta, 0);
  protect(L);
  if (lua_getfield(L, -1, "__index") != LUA_TTABLE) { /* else loaded again */
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
  }
  luaL_setfuncs(L, methods, 0);
  lua_setfield(L, core, "methods");
  lua_pop(L, 2);
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
