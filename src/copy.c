/* SPDX-License-Identifier: MIT */
#include "copy.h"

#include <lauxlib.h>
#include <string.h>

#include "deadline.h"
#include "error.h"
#include "outcome.h"
#include "result.h"
#include "run.h"
#include "transaction.h"

static const char *const name = "pg.copy/1";

enum { KEEP = 2 * LPG_COPY_CHUNK };
/* A socket with room takes so much at once. Where it does not, libpq reads, and
 * takes an error along that nobody hears before the end. */
enum { PART = 16 * 1024 };
static const double SLICE = 0.05;

lpg_copy *lpg_copy_check(lua_State *L, int index)
{
  return luaL_checkudata(L, index, name);
}

/* --- beginning -------------------------------------------------------- */

/* core.copy(db): a COPY to be begun. */
static int new_copy(lua_State *L)
{
  const lpg_handle *handle = lpg_handle_check(L, 1);
  lpg_copy *c = lua_newuserdatauv(L, sizeof *c, LPG_COPY_VALUES);
  *c = (lpg_copy){.settings = handle->settings};
  luaL_setmetatable(L, name);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, LPG_COPY_HANDLE);
  return 1;
}

/* nil and the error that the fields on the top become. */
static int refuse(lua_State *L)
{
  int fields = lua_gettop(L);
  lua_pushvalue(L, 2);
  lua_setfield(L, fields, "sql");
  lpg_error_string(L, "stage", "statement");
  return lpg_handle_fail(L, 1);
}

/* core.copy_begin(db, sql, copy, method): sends COPY ... FROM STDIN or TO
 * STDOUT. Answers the COPY, or nil and an error. */
static int begin(lua_State *L)
{
  static const char *const methods[] = {"copy_in", "copy_out", "copy_rows",
                                        "copy_to", NULL};
  static const char *const names[] = {
      "the rows that db:copy_in sends", "the data of db:copy_out",
      "the rows of db:copy_rows", "the data of db:copy_to"};
  const lpg_handle *handle = lpg_handle_check(L, 1);
  const char *sql = luaL_checkstring(L, 2);
  lpg_copy *c = lpg_copy_check(L, 3);
  int method = luaL_checkoption(L, 4, NULL, methods);
  c->in = lua_toboolean(L, 5);
  lua_settop(L, 3);
  lpg_hold_init(L, &c->hold, names[method]);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, 3, LPG_COPY_SQL);
  lua_getiuservalue(L, 1, 1);
  if (lpg_scope_refuses(L, 4, sql))
    return refuse(L);
  if (!lpg_handle_ready(L, 1, handle))
    return 2;
  lua_settop(L, 3);
  return lpg_run(L, LPG_TRANSFER, 0, &handle->settings);
}

const char *lpg_copy_script(lua_State *L, lpg_copy *c, int sql,
                            const char *before, bool transaction)
{
  c->hold.guarded = transaction && !c->in;
  if (c->hold.guarded)
    before = LPG_HOLD_SAVEPOINT ";";
  c->lead = (int)strlen(before);
  return lua_pushfstring(L, "%s%s%s", before, lua_tostring(L, sql),
                         c->hold.guarded ? ";" LPG_HOLD_RELEASE : "");
}

int lpg_copy_begin(lua_State *L, lpg_op *op, int slot, int index)
{
  ExecStatusType status = PQresultStatus(op->conn->wire.result);
  if (status != PGRES_COPY_IN && status != PGRES_COPY_OUT)
    return LPG_CONTINUE;
  lpg_copy *c = lua_touserdata(L, index);
  c->ticked = op->ticked;
  lpg_hold_begin(&c->hold, op->conn);
  lpg_op_end(L, slot);
  lua_pushvalue(L, index);
  return 1;
}

/* --- going on --------------------------------------------------------- */

lpg_op *lpg_copy_resume(lua_State *L, lpg_copy *c)
{
  lua_settop(L, AT_ARGUMENT);
  lua_getiuservalue(L, AT_COPY, LPG_COPY_SQL);
  lua_getiuservalue(L, AT_COPY, LPG_COPY_HANDLE);
  lpg_conn *conn = lpg_handle_check(L, AT_HANDLE)->conn;
  if (c->hold.conn != conn)
    lpg_raise(L, "the COPY was ended before its end, by the end of its "
                 "transaction or connection");
  if (lpg_op_blocks(conn))
    lpg_raise(L, "another coroutine waits for this COPY");
  lua_getiuservalue(L, AT_HANDLE, 1);
  lpg_op *op = lpg_op_begin(L, AT_CONN);
  op->settings = c->settings;
  op->limits = lpg_run_limits(conn, &c->settings);
  op->ticked = c->ticked;
  op->lead = c->lead;
  conn->wire.limits.timeout = op->limits.timeout;
  if (conn->wire.phase == LPG_FETCHING)
    lpg_wire_extend(&conn->wire);
  else
    lpg_wire_resume(&conn->wire);
  return op;
}

bool lpg_copy_overdue(lpg_op *op)
{
  if (lpg_now() - op->ticked < SLICE)
    return false;
  op->stretch = (unsigned)-1; /* await looks after results, now and then */
  return true;
}

void lpg_copy_leave(lua_State *L, lpg_copy *c, const lpg_op *op)
{
  c->ticked = op->ticked;
  lpg_op_end(L, AT_SLOT);
}

int lpg_copy_count(lua_State *L, lpg_op *op, int slot)
{
  (void)slot;
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  const char *count = PQcmdTuples(op->conn->wire.result);
  int64_t value;
  if (*count && lpg_integer_parse(count, strlen(count), &value))
    c->count = value;
  return LPG_CONTINUE;
}

bool lpg_copy_ended(lpg_copy *c, const lpg_op *op)
{
  const lpg_wire *w = &op->conn->wire;
  c->ended = true;
  lpg_hold_end(&c->hold);
  lpg_scope_settle(op->conn);
  return w->phase == LPG_IDLE && !w->failure && !w->dropped;
}

int lpg_copy_fail(lua_State *L, lpg_op *op)
{
  op->elapsed = lpg_now() - op->conn->wire.started;
  lpg_outcome_describe(L, op);
  return lpg_outcome_fail(L, AT_SLOT, AT_SQL);
}

void lpg_copy_push_result(lua_State *L, const lpg_copy *c, lpg_op *op)
{
  lua_createtable(L, 0, 2);
  lua_pushinteger(L, c->count);
  lua_setfield(L, -2, "rowCount");
  lpg_result_finish(L, 0, &op->conn->wire.notices);
}

/* --- to the server ---------------------------------------------------- */

static bool has_room(const lpg_wire *w)
{
  return w->phase == LPG_FETCHING && w->copying == LPG_COPYING_IN &&
         w->flushed && !w->broken;
}

/* All of it lies in libpq's memory or the socket's in the end, a chunk at the
 * most in libpq's. */
static int put_on(lua_State *L, lpg_op *op, int slot)
{
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  lpg_wire *w = &op->conn->wire;
  (void)slot;
  if (!has_room(w))
    return LPG_CONTINUE;
  size_t size = c->data.length;
  const char *bytes = lua_isnil(L, AT_ARGUMENT)
                          ? c->data.data
                          : lua_tolstring(L, AT_ARGUMENT, &size);
  if (c->sent < size) {
    size_t left = size - c->sent;
    size_t part = left < PART ? left : PART;
    if (!lpg_wire_put(w, bytes + c->sent, part))
      return w->broken ? LPG_CONTINUE : luaL_error(L, "not enough memory");
    c->sent += part;
    lpg_wire_extend(w);
  }
  if (c->sent < size || lpg_copy_overdue(op))
    return LPG_CONTINUE;
  if (lua_isnil(L, AT_ARGUMENT))
    lpg_buffer_reset(&c->data, KEEP);
  lpg_copy_leave(L, c, op);
  lua_pushboolean(L, 1);
  return 1;
}

/* It ended although nobody has said so. */
static int put_done(lua_State *L, lpg_op *op, int slot)
{
  (void)slot;
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  if (!lpg_copy_ended(c, op))
    return lpg_copy_fail(L, op);
  lpg_error_new(L, "query_failed", "the server ended the COPY by itself");
  return lpg_outcome_fail(L, AT_SLOT, AT_SQL);
}

/* core.copy_put(copy[, string]): sends it, or the rows that were made. Answers
 * true; or nil and the error that has ended the COPY. */
static int put(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  if (!lua_isnoneornil(L, 2))
    luaL_checktype(L, 2, LUA_TSTRING);
  lpg_op *op = lpg_copy_resume(L, c);
  c->sent = 0;
  op->result = lpg_copy_count;
  op->rest = put_on;
  op->done = put_done;
  return lpg_await(L, LUA_OK, AT_SLOT);
}

static int end_on(lua_State *L, lpg_op *op, int slot)
{
  lpg_wire *w = &op->conn->wire;
  (void)slot;
  if (has_room(w)) {
    lpg_wire_put_end(w, lua_tostring(L, AT_ARGUMENT));
    lpg_wire_extend(w);
  }
  return LPG_CONTINUE;
}

static int end_done(lua_State *L, lpg_op *op, int slot)
{
  (void)slot;
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  if (!lpg_copy_ended(c, op))
    return lpg_copy_fail(L, op);
  lpg_copy_push_result(L, c, op);
  lpg_op_end(L, AT_SLOT);
  return 1;
}

/* core.copy_end(copy[, reason]): that was all; or, with a reason, nothing of
 * it shall be stored. Answers {rowCount = n}, or nil and an error. */
static int end(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  luaL_optstring(L, 2, NULL);
  lpg_op *op = lpg_copy_resume(L, c);
  op->result = lpg_copy_count;
  op->rest = end_on;
  op->done = end_done;
  return lpg_await(L, LUA_OK, AT_SLOT);
}

/* --- the end ---------------------------------------------------------- */

/* __close, __gc and core.copy_close(copy): left in the middle. What was sent is
 * not stored. */
static int abandon(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  lpg_conn *conn = c->hold.conn;
  bool sends = conn && c->in && lpg_process_is_ours(&conn->process) &&
               conn->wire.phase == LPG_FETCHING &&
               conn->wire.copying == LPG_COPYING_IN;
  if (sends)
    lpg_wire_put_end(&conn->wire, lua_type(L, 2) == LUA_TSTRING
                                      ? lua_tostring(L, 2)
                                      : "it was left in the middle");
  lpg_hold_break(&c->hold);
  c->closed = true;
  lpg_buffer_free(&c->data);
  lpg_buffer_free(&c->scratch);
  PQclear(c->description);
  c->description = NULL;
  return 0;
}

/* core.is_same(db, other): handles on the same connection? */
static int is_same(lua_State *L)
{
  lua_pushboolean(L, lpg_handle_any(L, 1)->conn == lpg_handle_any(L, 2)->conn);
  return 1;
}

void lpg_copy_open_library(lua_State *L, int core)
{
  static const luaL_Reg meta[] = {
      {"__close", abandon}, {"__gc", abandon}, {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"copy", new_copy}, {"copy_begin", begin}, {"copy_put", put},
      {"copy_end", end},  {"is_same", is_same},  {"copy_close", abandon},
      {NULL, NULL}};
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 2);
  lpg_copy_take_open_library(L, core);
  lpg_copy_rows_open_library(L, core);
  lpg_copy_text_open_library(L, core);
}
