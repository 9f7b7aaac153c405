/* SPDX-License-Identifier: MIT */
#include "await.h"

#include <lauxlib.h>
#include <poll.h>

#include "box.h"
#include "deadline.h"
#include "error.h"
#include "hold.h"
#include "transaction.h"

static const char *const name = "pg.operation/1";
static const char tick_key = 0;

/* The host's debug hooks and Ctrl-C act between slices. */
static const double SLICE = 0.05;
/* No event loop is asked for more: what another coroutine asked of this
 * connection (db:cancel) acts soon, whatever the server does. */
static const double LONGEST = 1;
enum { STRETCH = 64 };   /* results between looks at the clock */
enum { TICK = 1000000 }; /* instructions, at most */

/* An operation's user values: what its pointers point at. */
enum { OP_CONN = 1, OP_THREAD, OP_VALUES = OP_THREAD };

/* Cuts the operation off its connection. */
static lpg_conn *detach(lpg_op *op)
{
  lpg_conn *c = op->conn;
  op->conn = NULL;
  c->op = NULL;
  c->held = c->has_meanwhile = false;
  return c;
}

/* Marks the connection abandoned: the frame that waited is gone. A forked
 * child does nothing to the parent's statement. */
static void give_up(lpg_op *op)
{
  if (!op->conn)
    return;
  lpg_conn *c = detach(op);
  if (c->hold)
    lpg_hold_end(c->hold);
  lpg_scope_tear(c, op->several);
  if (c->closed)
    lpg_conn_shut(c);
  else if (!lpg_process_is_ours(&c->process))
    return;
  else if (op->opening)
    lpg_wire_close(&c->wire);
  else
    lpg_wire_stop(&c->wire, LPG_ABANDONED);
}

/* What was to be done meanwhile holds the program's values. */
static void drop_work(lua_State *L, const lpg_op *op, int index)
{
  if (!op->conn || !op->conn->has_meanwhile)
    return;
  lua_getiuservalue(L, index, OP_CONN);
  lua_pushnil(L);
  lua_setiuservalue(L, -2, LPG_CONN_MEANWHILE);
  lua_pop(L, 1);
}

/* __close and __gc; after a good end it finds nothing to do. */
static int abandon(lua_State *L)
{
  lpg_op *op = lpg_box_check(L, 1, name);
  drop_work(L, op, 1);
  give_up(op);
  return 0;
}

bool lpg_op_blocks(lpg_conn *c)
{
  if (c->op && lua_status(c->op->thread) > LUA_YIELD)
    give_up(c->op);
  return c->op != NULL;
}

lpg_op *lpg_op_begin(lua_State *L, int index)
{
  index = lua_absindex(L, index);
  lpg_conn *c = lua_touserdata(L, index);
  luaL_checkstack(L, 8, "operation");
  if (lua_getiuservalue(L, index, LPG_CONN_OP) == LUA_TUSERDATA) {
    lua_pushnil(L); /* in use: only this frame holds it now */
    lua_setiuservalue(L, index, LPG_CONN_OP);
  } else {
    lua_pop(L, 1);
    lpg_op *fresh = lua_newuserdatauv(L, sizeof *fresh, OP_VALUES);
    fresh->conn = NULL;
    luaL_setmetatable(L, name);
  }
  lpg_op *op = lua_touserdata(L, -1);
  *op = (lpg_op){.thread = L, .ticked = lpg_now()};
  lua_pushvalue(L, index);
  lua_setiuservalue(L, -2, OP_CONN);
  lua_pushthread(L);
  lua_setiuservalue(L, -2, OP_THREAD);
  lua_toclose(L, -1);
  op->conn = c;
  op->failing =
      c->wire.pg && PQtransactionStatus(c->wire.pg) == PQTRANS_INERROR;
  c->op = op;
  c->held = true;
  return op;
}

void lpg_op_end(lua_State *L, int slot)
{
  lpg_op *op = lua_touserdata(L, slot);
  drop_work(L, op, slot);
  lpg_conn *c = detach(op);
  if (c->closed)
    lpg_conn_shut(c);
  lua_getiuservalue(L, slot, OP_CONN);
  lua_pushvalue(L, slot);
  lua_setiuservalue(L, -2, LPG_CONN_OP);
  lua_pop(L, 1);
  for (int value = 1; value <= OP_VALUES; value++) {
    lua_pushnil(L);
    lua_setiuservalue(L, slot, value);
  }
}

/* Code of others runs, which may close the connection. */
static void let_go(lpg_op *op)
{
  op->ticked = lpg_now();
  if (op->conn)
    op->conn->held = false;
}

/* The wire is ours again, unless it was closed meanwhile. While it is held,
 * a finalizer can run whenever Lua allocates: what it closes is closed here. */
static bool hold(lpg_op *op)
{
  if (op->conn && op->conn->closed)
    lpg_conn_shut(detach(op));
  else if (op->conn && !op->conn->held &&
           !lpg_process_is_ours(&op->conn->process))
    detach(op); /* others' code forked: the child lets the parent's be */
  if (!op->conn)
    return false;
  return op->conn->held = true;
}

/* An empty stretch of Lua: hooks by count, line or call see it. */
static void tick(lua_State *L, lpg_op *op, int slot)
{
  int count = lua_gethookmask(L) & LUA_MASKCOUNT ? lua_gethookcount(L) : 1;
  let_go(op);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tick_key);
  lua_pushinteger(L, count < TICK ? count : TICK);
  lua_callk(L, 1, 0, slot, lpg_await);
}

/* Calls the connection's own `wait`. Answers false when it cannot yield. */
static bool yield(lua_State *L, lpg_op *op, int slot, int fd, const char *mode,
                  double seconds)
{
  lua_getiuservalue(L, slot, OP_CONN);
  lua_getiuservalue(L, -1, LPG_CONN_WAIT);
  lua_pushinteger(L, fd);
  lua_pushstring(L, mode);
  lua_pushnumber(L, seconds < LONGEST ? seconds : LONGEST);
  let_go(op);
  lua_callk(L, 3, 1, slot, lpg_await);
  return !lua_isboolean(L, -1) || lua_toboolean(L, -1);
}

static void wait(lua_State *L, lpg_op *op, int slot, lpg_step need)
{
  const lpg_wire *w = &op->conn->wire;
  bool has_wait = op->conn->has_wait;
  int fd = lpg_wire_descriptor(w);
  double now = lpg_now(), left = fmax(w->deadline - now, 0);
  const char *mode = need == LPG_READ ? "r" : need == LPG_WRITE ? "w" : "rw";
  if (has_wait && lua_isyieldable(L) && yield(L, op, slot, fd, mode, left))
    return;
  if (!op->conn || op->conn->closed) /* by the code that `wait` ran */
    return;
  short events = need == LPG_READ    ? POLLIN
                 : need == LPG_WRITE ? POLLOUT
                                     : POLLIN | POLLOUT;
  struct pollfd p = {.fd = fd, .events = events};
  bool ready = poll(&p, 1, lpg_poll_timeout(left < SLICE ? left : SLICE)) > 0;
  if (!ready)
    lpg_wire_quiet(&op->conn->wire);
  if (!ready || now - op->ticked >= SLICE) /* or data that drips in */
    tick(L, op, slot);
}

/* While the server works, so does the function that was to be called: once, at
 * the operation's first wait. */
static void work(lua_State *L, lpg_op *op, int slot)
{
  op->conn->has_meanwhile = false;
  op->worked = true;
  lua_getiuservalue(L, slot, OP_CONN);
  lua_getiuservalue(L, -1, LPG_CONN_MEANWHILE);
  lua_pushnil(L);
  lua_setiuservalue(L, -3, LPG_CONN_MEANWHILE);
  let_go(op);
  lua_callk(L, 0, 0, slot, lpg_await);
}

/* Rows that pour in without a wait must not shut out hooks and other
 * coroutines. */
static void breathe(lua_State *L, lpg_op *op, int slot)
{
  if (++op->stretch % STRETCH != 0 || lpg_now() - op->ticked < SLICE)
    return;
  if (op->conn->has_wait && lua_isyieldable(L) &&
      yield(L, op, slot, lpg_wire_descriptor(&op->conn->wire), "r", 0))
    return;
  tick(L, op, slot);
}

int lpg_await(lua_State *L, int status, lua_KContext context)
{
  (void)status;
  int slot = (int)context;
  lpg_op *op = lua_touserdata(L, slot);
  for (;;) {
    lua_settop(L, slot + op->kept); /* what `wait` left */
    if (!hold(op))
      return lpg_raise(L, "the connection was closed during this call");
    if (op->worked)
      lpg_wire_look(&op->conn->wire);
    op->worked = false;
    int results = LPG_CONTINUE;
    lpg_step need = lpg_wire_step(&op->conn->wire);
    switch (need) {
    case LPG_READ:
    case LPG_WRITE:
    case LPG_READ_WRITE:
      if (op->rest)
        results = op->rest(L, op, slot);
      if (results == LPG_CONTINUE && need == LPG_READ &&
          op->conn->has_meanwhile)
        work(L, op, slot);
      else if (results == LPG_CONTINUE)
        wait(L, op, slot, need);
      break;
    case LPG_RESULT:
    case LPG_ROOM:
      if (need == LPG_ROOM)
        results = op->rest(L, op, slot);
      else if (op->result)
        results = op->result(L, op, slot);
      if (need == LPG_RESULT && op->conn && op->conn->wire.chunked)
        op->stretch |= STRETCH - 1; /* that were many rows */
      if (results == LPG_CONTINUE)
        breathe(L, op, slot);
      break;
    case LPG_AGAIN:
      breathe(L, op, slot);
      break;
    case LPG_DONE:
      results = op->done(L, op, slot);
      break;
    }
    if (results != LPG_CONTINUE)
      return results;
  }
}

/* core.pause(db, seconds): sleeps, or a while of it: the caller looks at the
 * clock and asks again, which lets hooks act. */
static int paused(lua_State *L, int status, lua_KContext context)
{
  (void)context;
  bool refused =
      status != LUA_OK && lua_isboolean(L, -1) && !lua_toboolean(L, -1);
  double seconds = lua_tonumber(L, 2);
  if (status == LUA_OK || refused)
    poll(NULL, 0, lpg_poll_timeout(seconds < SLICE ? seconds : SLICE));
  return 0;
}

static int sleep_awhile(lua_State *L)
{
  const lpg_conn *c = lpg_handle_check(L, 1)->conn;
  lua_Number seconds = luaL_checknumber(L, 2);
  if (!c->has_wait || !lua_isyieldable(L))
    return paused(L, LUA_OK, 0);
  lua_getiuservalue(L, 1, 1);
  lua_getiuservalue(L, -1, LPG_CONN_WAIT);
  lua_pushnil(L);
  lua_pushliteral(L, "r");
  lua_pushnumber(L, seconds);
  lua_callk(L, 3, 1, 0, paused);
  return paused(L, LUA_YIELD, 0);
}

/* core.meanwhile(db, f): f() is called once, when the next operation on the
 * connection has to wait for the server. */
static int meanwhile(lua_State *L)
{
  lpg_conn *c = lpg_handle_check(L, 1)->conn;
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_getiuservalue(L, 1, 1);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, LPG_CONN_MEANWHILE);
  c->has_meanwhile = true;
  return 0;
}

void lpg_await_open_library(lua_State *L, int core)
{
  static const luaL_Reg meta[] = {
      {"__gc", abandon}, {"__close", abandon}, {NULL, NULL}};
  luaL_newmetatable(L, name);
  lua_pushvalue(L, -1);
  luaL_setfuncs(L, meta, 1);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
  static const char code[] = "for _ = 1, ... do end";
  if (luaL_loadbuffer(L, code, sizeof code - 1, "=pg.wait") != LUA_OK)
    lua_error(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &tick_key);
  lua_pushcfunction(L, sleep_awhile);
  lua_setfield(L, core, "pause");
  lua_pushcfunction(L, meanwhile);
  lua_setfield(L, core, "meanwhile");
}
