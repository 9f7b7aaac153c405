/* SPDX-License-Identifier: MIT */
#include "collect.h"

#include <lauxlib.h>
#include <string.h>

#include "ask.h"
#include "error.h"
#include "learnt.h"
#include "rows.h"
#include "run.h"
#include "statement.h"
#include "transaction.h"

void lpg_remember(lua_State *L, int slot)
{
  lua_pushvalue(L, slot + STATEMENT);
  lpg_statement_keep(L, slot + CONN, SQL);
}

/* Pushes a plan with the types that the connection knows. */
static lpg_plan *push_plan(lua_State *L, int slot, const PGresult *result)
{
  const lpg_op *op = lua_touserdata(L, slot);
  if (op->settings.own)
    lua_pushnil(L);
  else
    lua_getiuservalue(L, slot + CONN, LPG_CONN_TYPES);
  lpg_plan *plan = lpg_plan_new(L, result, -1);
  lua_remove(L, -2);
  return plan;
}

/* The statement's columns are those of the plan on the top, whose types may be
 * known by now. */
static void suit(lua_State *L, const lpg_op *op, int slot, lpg_statement *s)
{
  const lpg_plan *plan = lua_touserdata(L, -1);
  if (plan->open) {
    lua_getiuservalue(L, slot + CONN, LPG_CONN_TYPES);
    lpg_plan_settle(L, -2, -1);
    lua_pop(L, 1);
  }
  s->binary = plan->wants_binary || (op->conn->shy && plan->can_binary);
}

/* The server's answer to Describe: the last result has the types. */
void lpg_learn(lua_State *L, int slot, const PGresult *result)
{
  const lpg_op *op = lua_touserdata(L, slot);
  int count = PQnparams(result);
  const lpg_statement *named = lua_touserdata(L, slot + STATEMENT);
  lpg_statement *s = lpg_statement_new(L, SQL, count);
  if (op->named)
    memcpy(s->name, named->name, sizeof s->name);
  for (int i = 0; i < count; i++) { /* what was told is not the server's word */
    bool told = i < op->count && lpg_params_own_type(L, op->first + i);
    s->types[i] = told ? 0 : PQparamtype(result, i);
  }
  s->seen = true;
  lua_replace(L, slot + STATEMENT);
  lpg_ask_described(L, slot, result);
  if (PQnfields(result) > 0) {
    push_plan(L, slot, result);
    lua_setiuservalue(L, slot + STATEMENT, LPG_STATEMENT_PLAN);
  }
}

void lpg_learnt(lua_State *L, int slot)
{
  const lpg_op *op = lua_touserdata(L, slot);
  lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  for (int i = 0; i < s->count; i++)
    s->types[i] = lpg_typemap_base(op->conn->types, s->types[i]);
  if (lua_getiuservalue(L, slot + STATEMENT, LPG_STATEMENT_PLAN) ==
      LUA_TUSERDATA)
    suit(L, op, slot, s);
  lua_pop(L, 1);
}

void lpg_describe(lua_State *L, int slot, const PGresult *result)
{
  lpg_ask_described(L, slot, result);
  int parameters = PQnparams(result), columns = PQnfields(result);
  lua_createtable(L, 0, 2);
  lua_createtable(L, parameters, 0);
  for (int i = 0; i < parameters; i++) {
    lua_pushinteger(L, PQparamtype(result, i));
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "parameters");
  lua_createtable(L, columns, 0);
  for (int i = 0; i < columns; i++) {
    lua_createtable(L, 0, 2);
    lpg_error_string(L, "name", PQfname(result, i));
    lua_pushinteger(L, PQftype(result, i));
    lua_setfield(L, -2, "oid");
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "columns");
  lua_replace(L, slot + ROWS);
}

/* Was the plan made for this result, and of what is known? */
static bool fits(const lpg_plan *plan, const lpg_op *op, const PGresult *result)
{
  const lpg_typemap *types = op->conn->types;
  bool same = plan->map == (op->settings.own ? NULL : types);
  bool alike = !plan->learnt && !plan->open && !lpg_typemap_is_coded(types);
  return (same || alike) && lpg_plan_fits(plan, result);
}

/* The plan of a result's columns: the statement's, if it still fits. */
static void plan_columns(lua_State *L, lpg_op *op, int slot,
                         const PGresult *result)
{
  lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (s && lua_getiuservalue(L, slot + STATEMENT, LPG_STATEMENT_PLAN) ==
               LUA_TUSERDATA) {
    const lpg_plan *plan = lua_touserdata(L, -1);
    if (fits(plan, op, result)) {
      if (plan->open)
        suit(L, op, slot, s);
      lua_replace(L, slot + PLAN);
      return;
    }
    lua_pop(L, 1);
  }
  lpg_plan *plan = push_plan(L, slot, result);
  lua_replace(L, slot + PLAN);
  if (op->script)
    return;
  if (!s) {
    s = lpg_statement_new(L, SQL, -1);
    lua_replace(L, slot + STATEMENT);
  }
  s->seen = true;
  lua_pushvalue(L, slot + PLAN);
  suit(L, op, slot, s);
  if (op->action == LPG_EACH) /* it was described, but has changed since */
    lpg_plan_keep_none(plan);
  lua_setiuservalue(L, slot + STATEMENT, LPG_STATEMENT_PLAN);
  lpg_remember(L, slot);
}

/* A statement of the script (or the only one) begins to answer. */
static void begin(lua_State *L, lpg_op *op, int slot, const PGresult *result)
{
  op->answering = true;
  op->rows = op->affected = 0;
  op->tabular = lpg_wire_status(result) == PGRES_SINGLE_TUPLE ||
                lpg_wire_status(result) == PGRES_TUPLES_OK;
  if (!op->tabular) {
    lpg_put_nil(L, slot + PLAN);
    lpg_put_nil(L, slot + ROWS);
    return;
  }
  plan_columns(L, op, slot, result);
  const lpg_plan *plan = lua_touserdata(L, slot + PLAN);
  lua_getiuservalue(L, slot + PLAN, LPG_PLAN_NAMES);
  lua_replace(L, slot + NAMES);
  lpg_rows_new(L, plan, slot + PLAN, &op->settings);
  lua_replace(L, slot + ROWS);
}

/* A cell that cannot be read: what follows is let go, the error is kept. */
static void misread(lua_State *L, lpg_op *op, int slot, lpg_misread what)
{
  lpg_error_new(L, "invalid_value", "column \"%s\", row %d: %s",
                what.column->name, (int)op->rows, what.problem);
  lpg_error_string(L, "column", what.column->name);
  lua_replace(L, slot + ROWS);
  op->misread = true;
  op->conn->wire.dropped = true;
}

/* The server's own types may have been changed by somebody else: the bytes are
 * kept, and it is asked anew. Rows of a stream are given out at once: the next
 * run asks. Answers whether the row can be taken in again. */
static bool doubt(lua_State *L, lpg_op *op, int slot, const lpg_column *column)
{
  if (column->type == NULL || !lpg_type_is_learnt(column->type))
    return false;
  bool coded = lpg_typemap_is_coded(op->conn->types);
  lpg_forget_types(L, slot + CONN);
  if (op->action == LPG_EACH || coded) {
    lpg_put_nil(L, slot + STATEMENT);
    lpg_remember(L, slot);
    return false;
  }
  lpg_plan_keep(lua_touserdata(L, slot + PLAN), column);
  return true;
}

static void forget(lua_State *L, const lpg_conn *c, int slot)
{
  if (c->unsettled == LPG_DDL)
    lpg_forget(L, slot + CONN);
  else if (c->unsettled == LPG_TABLES)
    lpg_forget_tables(L, slot + CONN);
}

/* DDL makes stale what was learnt. So may SET (search_path, role) and GRANT
 * what is known of tables; and taking back what a transaction did of these. */
static void notice_ddl(lua_State *L, lpg_op *op, int slot, const char *tag)
{
  static const char *const ddl[] = {"ALTER ", "DROP ", "CREATE ", "DISCARD",
                                    "DO",     "CALL",  "IMPORT ", NULL};
  static const char *const sets[] = {"SET", "RESET", "GRANT", "REVOKE", NULL};
  static const char *const undo[] = {"ROLLBACK", NULL};
  static const char *const closed[] = {"DISCARD ALL", "DEALLOCATE ALL", NULL};
  lpg_conn *c = op->conn;
  c->named |= strcmp(tag, "PREPARE") == 0;
  bool set = lpg_begins_with(tag, sets);
  if (lpg_begins_with(tag, closed)) {
    lpg_statement_forget(L, slot + CONN);
    lpg_statement_closed(L, slot + CONN);
  }
  if (lpg_begins_with(tag, undo))
    lpg_forget_undone(L, slot + CONN);
  bool undone = c->unsettled != LPG_SETTLED && lpg_begins_with(tag, undo);
  c->epoch += set || undone;
  if (lpg_begins_with(tag, ddl))
    c->unsettled = LPG_DDL;
  else if (set && c->unsettled == LPG_SETTLED)
    c->unsettled = LPG_TABLES;
  else if (!set && !lpg_begins_with(tag, undo))
    return;
  forget(L, c, slot);
}

void lpg_settle(lua_State *L, const lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  if (!c->wire.pg || PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE)
    return;
  c->recent = false;
  forget(L, c, slot);
  c->unsettled = LPG_SETTLED;
}

/* No server tells when these change; the statement may. */
static void notice_settings(lpg_conn *c, const char *tag, const char *sql)
{
  static const char *const all[] = {"RESET", "DISCARD", NULL};
  if (strcmp(tag, "SET") == 0 || strncmp(tag, "SELECT", 6) == 0)
    c->settings_changed |= lpg_mentions(sql, "extra_float_digits") ||
                           lpg_mentions(sql, "array_nulls");
  else
    c->settings_changed |= lpg_begins_with(tag, all);
}

/* The number in a command tag; 0 where there is none. */
static lua_Integer tuples(PGresult *result)
{
  const char *text = PQcmdTuples(result);
  int64_t count;
  return lpg_integer_parse(text, strlen(text), &count) ? count : -1;
}

void lpg_collect(lua_State *L, lpg_op *op, int slot)
{
  PGresult *result = op->conn->wire.result;
  ExecStatusType status = lpg_wire_status(result);
  if (!op->answering)
    begin(L, op, slot, result);
  const lpg_plan *plan = lua_touserdata(L, slot + PLAN);
  for (int i = 0, n = PQntuples(result); i < n; i++) {
    lpg_misread what;
    op->rows++;
    do
      what = lpg_rows_append(L, plan, &op->settings, result, i, slot + ROWS,
                             slot + NAMES, op->rows - op->before);
    while (what.problem && doubt(L, op, slot, what.column));
    if (what.problem) {
      misread(L, op, slot, what);
      return;
    }
  }
  if (status == PGRES_SINGLE_TUPLE)
    return;
  op->answering = false;
  lua_Integer count = tuples(result);
  op->affected = count >= 0 ? count : op->rows;
  const char *sql = lua_tostring(L, SQL), *tag = PQcmdStatus(result);
  lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (s && op->action != LPG_EACH)
    s->narrow = op->rows > 1 &&
                op->conn->wire.received <= (double)op->rows * LPG_NARROW_ROW;
  bool sets = s ? s->sets : lpg_mentions(sql, LPG_SETTER);
  if (count >= 0 && !sets) /* SELECT, INSERT, ... */
    return;
  lpg_scope_notice(op->conn, tag, sql);
  notice_ddl(L, op, slot, count >= 0 ? "SET" : tag);
  notice_settings(op->conn, tag, sql);
}
