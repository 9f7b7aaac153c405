/* SPDX-License-Identifier: MIT */
/* copy_take: what comes of COPY TO STDOUT, in portions: as it is, or as rows.
 * "e" in a comment: may raise a Lua error. */
#include "copy.h"

#include <lauxlib.h>

#include "deadline.h"
#include "error.h"
#include "fetch.h"
#include "learnt.h"
#include "outcome.h"

/* What the operation of decoded rows keeps. */
enum { NAMES = AT_SLOT + 1, ROWS, KEPT = ROWS - AT_SLOT };

enum { ROWS_AT_A_TIME = 64, KEEP = 2 * LPG_COPY_CHUNK };

/* Ends the call with the portion at hand. */
static int hand_over(lua_State *L, lpg_copy *c, const lpg_op *op)
{
  lua_pushlstring(L, c->data.data, c->data.length);
  lpg_buffer_reset(&c->data, KEEP);
  lpg_copy_leave(L, c, op);
  return 1;
}

/* The deadline counts each wait. */
static int wait_on(lua_State *L, lpg_op *op, int slot)
{
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  (void)slot;
  if (c->data.length >= LPG_COPY_CHUNK)
    return hand_over(L, c, op);
  if (op->rows != c->rows && op->conn->wire.phase == LPG_FETCHING)
    lpg_wire_extend(&op->conn->wire);
  op->rows = c->rows;
  return LPG_CONTINUE;
}

static int take_data(lua_State *L, lpg_op *op, int slot)
{
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  lpg_wire *w = &op->conn->wire;
  if (!w->data)
    return lpg_copy_count(L, op, slot);
  do {
    c->rows++;
    lpg_buffer_put(&c->data, w->data, (size_t)w->size);
    if (c->data.failed)
      return luaL_error(L, "not enough memory");
  } while (c->data.length < LPG_COPY_CHUNK && lpg_fetch_data(w));
  if (c->data.length < LPG_COPY_CHUNK || lpg_copy_overdue(op))
    return LPG_CONTINUE;
  return hand_over(L, c, op);
}

static int data_done(lua_State *L, lpg_op *op, int slot)
{
  (void)slot;
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  if (!lpg_copy_ended(c, op))
    return lpg_copy_fail(L, op);
  lpg_copy_push_result(L, c, op);
  lua_setiuservalue(L, AT_COPY, LPG_COPY_RESULT);
  if (c->data.length > 0)
    return hand_over(L, c, op);
  lpg_op_end(L, AT_SLOT);
  return 0;
}

/* core.copy_get(copy): the next portion, whole rows of it; nothing at the end;
 * nil and an error. */
static int get(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  if (c->ended)
    return 0;
  lpg_op *op = lpg_copy_resume(L, c);
  op->result = take_data;
  op->rest = wait_on;
  op->done = data_done;
  return lpg_await(L, LUA_OK, AT_SLOT);
}

/* core.copy_result(copy): {rowCount = n} after the end. */
static int result(lua_State *L)
{
  lpg_copy_check(L, 1);
  lua_getiuservalue(L, 1, LPG_COPY_RESULT);
  return 1;
}

/* --- rows from the server --------------------------------------------- */

/* The next row of the portion, which is the program's alone then. */
static int give_row(lua_State *L, lpg_copy *c)
{
  lua_getiuservalue(L, AT_COPY, LPG_COPY_ROWS);
  lua_rawgeti(L, -1, ++c->at);
  lua_pushnil(L);
  lua_rawseti(L, -3, c->at);
  return 1;
}

static int give_portion(lua_State *L, lpg_copy *c, const lpg_op *op)
{
  lua_pushvalue(L, ROWS);
  lua_setiuservalue(L, AT_COPY, LPG_COPY_ROWS);
  c->at = 0;
  c->to = c->made;
  lpg_copy_leave(L, c, op);
  return give_row(L, c);
}

/* A value that cannot be read: what follows is let go, the error is kept. */
static int misread(lua_State *L, lpg_op *op, const lpg_copy *c,
                   lpg_misread what)
{
  lpg_error_new(L, "invalid_value", "column \"%s\", row %I: %s",
                what.column ? what.column->name : "?", (LUAI_UACINT)c->rows,
                what.problem);
  if (what.column)
    lpg_error_string(L, "column", what.column->name);
  if (what.column && lpg_type_is_learnt(what.column->type))
    lpg_forget_types(L, AT_CONN);
  lua_replace(L, ROWS);
  op->misread = true;
  lpg_wire_stop(&op->conn->wire, LPG_ABANDONED);
  return LPG_CONTINUE;
}

static int take_row(lua_State *L, lpg_op *op, int slot)
{
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  lpg_wire *w = &op->conn->wire;
  if (!w->data)
    return lpg_copy_count(L, op, slot);
  lpg_misread what = {NULL, NULL};
  lua_getiuservalue(L, AT_COPY, LPG_COPY_PLAN);
  const lpg_plan *plan = lua_touserdata(L, -1);
  lua_pop(L, 1); /* the COPY keeps it */
  bool full;
  do {
    c->rows++;
    if (lpg_copy_decode(L, c, plan, (lpg_copied){w->data, (size_t)w->size},
                        ROWS, NAMES, c->made + 1, &what))
      c->made++;
    if (what.problem)
      return misread(L, op, c, what);
    full = c->made >= ROWS_AT_A_TIME ||
           (double)w->size * (double)c->made > LPG_COPY_CHUNK;
  } while (!full && lpg_fetch_data(w));
  return full && !lpg_copy_overdue(op) ? give_portion(L, c, op) : LPG_CONTINUE;
}

/* Where it would wait, the rows that are there go first. */
static int rows_on(lua_State *L, lpg_op *op, int slot)
{
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  (void)slot;
  if (c->made > 0 && !op->misread)
    return give_portion(L, c, op);
  return LPG_CONTINUE;
}

static int rows_done(lua_State *L, lpg_op *op, int slot)
{
  (void)slot;
  lpg_copy *c = lua_touserdata(L, AT_COPY);
  if (!lpg_copy_ended(c, op)) {
    if (op->misread)
      lua_pushvalue(L, ROWS);
    else {
      op->elapsed = lpg_now() - op->conn->wire.started;
      lpg_outcome_describe(L, op);
    }
    c->closed = true; /* a further call must not look like the end */
    lpg_outcome_fail(L, AT_SLOT, AT_SQL);
    return lua_error(L);
  }
  if (c->made > 0)
    return give_portion(L, c, op);
  lpg_op_end(L, AT_SLOT);
  return 0;
}

/* core.copy_row(copy): the next row, decoded; nothing at the end; raises what
 * went wrong. */
static int row(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  if (c->closed)
    return lpg_raise(L, "the iterator of db:copy_rows has ended");
  if (c->at < c->to && (c->ended || c->hold.conn))
    return give_row(L, c);
  if (c->ended)
    return 0;
  lpg_op *op = lpg_copy_resume(L, c);
  op->kept = KEPT;
  op->result = take_row;
  op->rest = rows_on;
  op->done = rows_done;
  c->at = c->to = c->made = 0;
  lua_getiuservalue(L, AT_COPY, LPG_COPY_NAMES);
  lua_createtable(L, ROWS_AT_A_TIME, 0);
  return lpg_await(L, LUA_OK, AT_SLOT);
}

void lpg_copy_take_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {{"copy_get", get},
                                       {"copy_result", result},
                                       {"copy_row", row},
                                       {NULL, NULL}};
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
