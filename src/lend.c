/* SPDX-License-Identifier: MIT */
#include "lend.h"

#include <lauxlib.h>
#include <math.h>
#include <poll.h>
#include <unistd.h>

#include "await.h"
#include "connect.h"
#include "deadline.h"
#include "error.h"
#include "hold.h"
#include "learnt.h"
#include "statement.h"
#include "transaction.h"

static const char *const name = "pg.lease/1";

/* User values of a lease: the pool's function, and what it is called with. */
enum { LEASE_RELEASE = 1, LEASE_SLOT, LEASE_VALUES = LEASE_SLOT };

enum { ANSWER = 1024 * 1024, LOOKS = 100 };

/* Seconds that the server may take to make a session as new. */
static const double RENEWAL = 5;

/* core.lend(db, release, slot): a handle for one user, and its lease; given
 * back, it calls release(slot). */
static int lend(lua_State *L)
{
  const lpg_handle *own = lpg_handle_check(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, 1);
  lpg_handle *h = lpg_handle_new(L, -1);
  h->settings = own->settings;
  lpg_lease *lease = lua_newuserdatauv(L, sizeof *lease, LEASE_VALUES);
  *lease = (lpg_lease){.session = true};
  luaL_setmetatable(L, name);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, LEASE_RELEASE);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, LEASE_SLOT);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, 2);
  h->conn->lease = h->lease = lease;
  h->borrowed = true;
  return 2;
}

static int gone_back(lua_State *L, int status, lua_KContext context)
{
  (void)L;
  (void)status;
  (void)context;
  return 0;
}

int lpg_lend_back(lua_State *L)
{
  lua_settop(L, 1);
  const lpg_handle *h = lua_touserdata(L, 1);
  lua_getiuservalue(L, 1, 2);
  if (!luaL_testudata(L, 2, name))
    return lpg_raise(L, "this is not what a pool gave: db:close() closes a "
                        "connection of its own");
  if (lpg_handle_returned(h))
    return 0;
  h->conn->lease = NULL;
  lua_getiuservalue(L, 2, LEASE_RELEASE);
  lua_getiuservalue(L, 2, LEASE_SLOT);
  lua_callk(L, 1, 0, 0, gone_back);
  return 0;
}

/* db:release(): the same as closing what a pool gave, by any handle of it. */
static int release(lua_State *L)
{
  lpg_handle_any(L, 1);
  return lpg_lend_back(L);
}

/* core.recall(db): ends the handles, streams and transactions of who had it.
 * Answers whether it can be lent again: not when it is lost or closed, nor
 * under a statement of another coroutine. */
static int recall(lua_State *L)
{
  lpg_conn *c = lpg_handle_any(L, 1)->conn;
  c->lease = NULL;
  if (c->hold)
    lpg_hold_break(c->hold);
  lpg_scope_end_all(c);
  lua_pushboolean(L, !c->closed && lpg_process_is_ours(&c->process) &&
                         !lpg_op_blocks(c) && c->wire.pg &&
                         c->wire.phase != LPG_LOST);
  return 1;
}

/* As DISCARD ALL, but for what the module has prepared, if nobody else did;
 * then what the module itself had to set when it connected. */
static const char *push_renewal(lua_State *L, const lpg_conn *c, bool open)
{
  const char *rollback = open ? "ROLLBACK;" : "";
  if (c->pooler)
    return rollback;
  return lua_pushfstring(
      L,
      "%sCLOSE ALL;SET SESSION AUTHORIZATION DEFAULT;RESET ALL;UNLISTEN *;"
      "SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;"
      "DISCARD SEQUENCES;%s%s",
      rollback, c->named ? "DEALLOCATE ALL;" : "",
      c->preset ? lpg_connect_push_setup(L, c, true) : "");
}

/* core.renew(db, forget): tells the server to end what is open in the session
 * and to forget what was set in it, and does not wait for the answer. `forget`:
 * so does the connection with what it learnt. Behind a pooler it only rolls
 * back. Answers whether that could be sent. */
static int renew(lua_State *L)
{
  lpg_conn *c = lpg_handle_check(L, 1)->conn;
  lpg_wire *w = &c->wire;
  bool forget = lua_toboolean(L, 2);
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  if (!w->pg || lpg_wire_busy(w)) {
    lua_pushboolean(L, false);
    return 1;
  }
  if (forget || c->named) { /* DDL has been heard of, and types are the same */
    lpg_statement_forget(L, 2);
    lpg_forget_tables(L, 2);
  }
  if (c->named)
    lpg_statement_closed(L, 2);
  bool open = PQtransactionStatus(w->pg) != PQTRANS_IDLE;
  if (open)
    lpg_forget_undone(L, 2);
  lpg_request request = {.kind = LPG_SCRIPT, .sql = push_renewal(L, c, open)};
  lpg_limits limits = {.timeout = RENEWAL, .result = ANSWER, .strict = true};
  *c->undo = '\0';
  c->settings_changed = c->named = false;
  bool sent = !*request.sql || lpg_wire_send(w, &request, &limits);
  w->dropped = true; /* nobody looks at the rows */
  lua_pushboolean(L, sent);
  return 1;
}

/* Looks without waiting at what has come while nobody asked: notices and
 * notifications, which are let go, or the end of the connection. */
static bool sound(lpg_wire *w)
{
  for (int i = 0; i < LOOKS; i++) {
    struct pollfd p = {.fd = PQsocket(w->pg), .events = POLLIN};
    if (poll(&p, 1, 0) == 0)
      return true;
    if (!PQconsumeInput(w->pg) || PQstatus(w->pg) != CONNECTION_OK)
      return false;
    PQisBusy(w->pg); /* sorts what came */
    for (PGnotify *n; (n = PQnotifies(w->pg));)
      PQfreemem(n);
    lpg_notices_clear(&w->notices);
  }
  return false;
}

static int answer(lua_State *L, lpg_wire *w, bool well)
{
  well = well && w->phase == LPG_IDLE &&
         PQtransactionStatus(w->pg) == PQTRANS_IDLE && sound(w);
  lpg_notices_clear(&w->notices);
  lpg_notifies_clear(&w->notifies);
  lua_pushboolean(L, well);
  return 1;
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  lpg_wire *w = &op->conn->wire;
  lpg_op_end(L, slot);
  return answer(L, w, !w->failure && w->stop == LPG_RUNS);
}

/* core.settle(db, seconds): waits for what core.renew has begun, so long at
 * most, and looks whether the connection is there. Answers whether all is well.
 */
static int settle(lua_State *L)
{
  lpg_conn *c = lpg_handle_check(L, 1)->conn;
  double seconds = fmin(luaL_checknumber(L, 2), RENEWAL);
  if (!c->wire.pg || lpg_op_blocks(c)) {
    lua_pushboolean(L, false);
    return 1;
  }
  if (!lpg_wire_busy(&c->wire))
    return answer(L, &c->wire, true);
  c->wire.deadline = lpg_now() + seconds;
  lua_getiuservalue(L, 1, 1);
  lpg_op *op = lpg_op_begin(L, -1);
  op->done = on_done;
  return lpg_await(L, LUA_OK, lua_gettop(L));
}

/* core.discard(db): closes it. What still runs without anybody who waits for it
 * has been told to stop, or stops by itself soon. */
static int discard(lua_State *L)
{
  lpg_conn *c = lpg_handle_any(L, 1)->conn;
  if (!c->op && lpg_process_is_ours(&c->process))
    lpg_wire_close(&c->wire);
  lpg_conn_shut(c);
  return 0;
}

/* core.pid(): the process's. */
static int pid(lua_State *L)
{
  lua_pushinteger(L, getpid());
  return 1;
}

void lpg_lend_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {{"lend", lend},       {"recall", recall},
                                       {"renew", renew},     {"settle", settle},
                                       {"discard", discard}, {"pid", pid},
                                       {NULL, NULL}};
  luaL_newmetatable(L, name);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_getfield(L, -1, "methods");
  lua_pushcfunction(L, release);
  lua_setfield(L, -2, "release");
  lua_pop(L, 2);
}
