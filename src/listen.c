/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include <lauxlib.h>

#include "await.h"
#include "deadline.h"
#include "error.h"
#include "outcome.h"

/* The frame: the handle, the seconds, no SQL text, the connection. */
enum { HANDLE = 1, SECONDS, NO_SQL, CONN, SLOT };

enum { CLEARING, LISTENING };

/* Pushes the oldest notification, or nil. */
static int push_next(lua_State *L, lpg_notifies *queue)
{
  if (queue->count == 0) {
    lua_pushnil(L);
    return 1;
  }
  const PGnotify *n = queue->ring[queue->first];
  lua_createtable(L, 0, 4);
  lpg_error_string(L, "channel", n->relname);
  lpg_error_string(L, "payload", n->extra);
  lua_pushinteger(L, n->be_pid);
  lua_setfield(L, -2, "pid");
  if (queue->dropped > 0)
    lpg_error_number(L, "dropped", queue->dropped);
  queue->dropped = 0;
  PQfreemem(lpg_notifies_next(queue));
  return 1;
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  lpg_wire *w = &op->conn->wire;
  if (w->phase == LPG_LOST) {
    lpg_outcome_describe(L, op);
    return lpg_outcome_fail(L, slot, NO_SQL);
  }
  if (op->stage == CLEARING) {
    op->stage = LISTENING;
    lpg_wire_listen(w, op->deadline);
    return LPG_CONTINUE;
  }
  lpg_op_end(L, slot);
  return push_next(L, &w->notifies);
}

/* db:notification([seconds]): the next one, waiting for it so long; nil when
 * none came; or nil and an error. */
static int notification(lua_State *L)
{
  const lpg_handle *handle = lpg_handle_check(L, HANDLE);
  double seconds = luaL_optnumber(
      L, SECONDS,
      lpg_settings_limits(&handle->settings, handle->conn->ceilings).timeout);
  luaL_argcheck(L, seconds >= 0, SECONDS, "seconds of 0 or more expected");
  lua_settop(L, SECONDS);
  lua_pushnil(L);
  if (!lpg_handle_ready(L, HANDLE, handle))
    return 2;
  lpg_wire *w = &handle->conn->wire;
  if (*handle->conn->begin ||
      (PQtransactionStatus(w->pg) != PQTRANS_IDLE && !lpg_wire_busy(w)))
    return lpg_raise(L, "notifications do not come inside of a transaction");
  if (w->notifies.count > 0)
    return push_next(L, &w->notifies);
  lua_getiuservalue(L, HANDLE, 1);
  lpg_op *op = lpg_op_begin(L, CONN);
  op->done = on_done;
  op->stage = CLEARING;
  op->deadline = lpg_now() + seconds;
  if (lpg_wire_busy(w)) /* left by a caller that went away */
    lpg_wire_resume(w);
  return lpg_await(L, LUA_OK, SLOT);
}

/* core.is_pooled(db): something stands between it and the server. */
static int is_pooled(lua_State *L)
{
  lua_pushboolean(L, lpg_handle_any(L, 1)->conn->pooler);
  return 1;
}

void lpg_listen_open_library(lua_State *L, int core)
{
  lua_getfield(L, core, "methods");
  lua_pushcfunction(L, notification);
  lua_setfield(L, -2, "notification");
  lua_pop(L, 1);
  lua_pushcfunction(L, is_pooled);
  lua_setfield(L, core, "is_pooled");
}
