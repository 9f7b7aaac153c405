/* SPDX-License-Identifier: MIT */
#include "kept.h"

#include "ask.h"
#include "collect.h"
#include "deadline.h"
#include "error.h"
#include "outcome.h"
#include "rows.h"
#include "run.h"
#include "send.h"
#include "transaction.h"

/* What the list at OPEN has of each result. */
enum { AT_PLAN = 1, AT_ROWS, AT_COUNT, AT_SETTINGS, STRIDE = AT_SETTINGS };

static void append(lua_State *L, int list)
{
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

void lpg_kept_note(lua_State *L, const lpg_op *op, int slot)
{
  const lpg_plan *plan = lua_touserdata(L, slot + PLAN);
  int open = slot + OPEN;
  if (!op->tabular || !plan->open || op->action == LPG_EACH ||
      !lpg_rows_are_open(L, plan, op->settings.shape, slot + ROWS, slot + NAMES,
                         op->rows))
    return;
  lpg_ask_columns(L, slot, plan);
  if (lua_isnil(L, open)) {
    lua_newtable(L);
    lua_replace(L, open);
  }
  lua_pushvalue(L, slot + PLAN);
  append(L, open);
  lua_pushvalue(L, slot + ROWS);
  append(L, open);
  lua_pushinteger(L, op->rows);
  append(L, open);
  lpg_settings *settings = lua_newuserdatauv(L, sizeof *settings, 0);
  *settings = op->settings;
  append(L, open);
}

/* The statement has run, but its values cannot be read. */
static int fail(lua_State *L, const lpg_op *op, int slot)
{
  lpg_outcome_completed(L, op->conn);
  lpg_error_boolean(L, "completed",
                    !op->transaction && !lpg_scope_guards(op->conn));
  return lpg_give_error(L, slot);
}

static int misread(lua_State *L, const lpg_op *op, int slot, lpg_misread what,
                   lua_Integer number)
{
  lpg_error_new(L, "invalid_value", "column \"%s\", row %I: %s",
                what.column->name, (LUAI_UACINT)number, what.problem);
  lpg_error_string(L, "column", what.column->name);
  return fail(L, op, slot);
}

/* The result whose entries in the list begin after `at`. */
static int decode(lua_State *L, const lpg_op *op, int slot, lua_Integer at)
{
  int top = lua_gettop(L);
  for (int i = AT_PLAN; i <= STRIDE; i++)
    lua_rawgeti(L, slot + OPEN, at + i);
  lua_getiuservalue(L, slot + CONN, LPG_CONN_TYPES);
  lpg_plan_settle(L, top + AT_PLAN, -1);
  lua_getiuservalue(L, top + AT_PLAN, LPG_PLAN_NAMES);
  lua_Integer number;
  lpg_misread what = lpg_rows_decode(
      L, lua_touserdata(L, top + AT_PLAN), lua_touserdata(L, top + AT_SETTINGS),
      top + AT_ROWS, lua_gettop(L), lua_tointeger(L, top + AT_COUNT), &number);
  lua_settop(L, top);
  return what.problem ? misread(L, op, slot, what, number) : 0;
}

static int decode_all(lua_State *L, const lpg_op *op, int slot)
{
  lua_Integer count = (lua_Integer)lua_rawlen(L, slot + OPEN);
  for (lua_Integer at = 0; at < count; at += STRIDE) {
    int results = decode(L, op, slot, at);
    if (results != 0)
      return results;
  }
  lpg_put_nil(L, slot + OPEN);
  return 0;
}

int lpg_kept_ask(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  if (lua_isnil(L, slot + OPEN))
    return 0;
  op->transaction = PQtransactionStatus(w->pg) != PQTRANS_IDLE;
  op->deadline = w->deadline;
  return lpg_ask_any(L, slot) ? lpg_ask_send(L, op, slot, LPG_AT_VALUES)
                              : decode_all(L, op, slot);
}

int lpg_kept_end(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  if (w->phase != LPG_LOST && !w->failure && !w->dropped &&
      w->stop == LPG_RUNS) {
    lpg_ask_learn(L, slot);
    return decode_all(L, op, slot);
  }
  op->elapsed = lpg_now() - w->started;
  lpg_outcome_describe(L, op);
  if (lua_getfield(L, -1, "message") == LUA_TSTRING) {
    lua_pushfstring(L, "the types of what came could not be asked for: %s",
                    lua_tostring(L, -1));
    lua_setfield(L, -3, "message");
  }
  lua_pop(L, 1);
  lua_pushnil(L); /* a place in the question, not in the statement */
  lua_setfield(L, -2, "position");
  return fail(L, op, slot);
}
