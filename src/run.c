/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deadline.h"
#include "error.h"
#include "outcome.h"
#include "result.h"
#include "rows.h"
#include "statement.h"

/* Which request is under way. */
enum { RECOVER, RESTORE, DESCRIBE, RESOLVE, RUN, DIAGNOSE };

/* The frame: the handle, the SQL text, the values; the connection just below
 * the operation's slot, and above it what the operation keeps. */
enum { HANDLE = 1, SQL = 2, VALUES = 3 };
enum { CONN = -1, STATEMENT = 1, PLAN, NAMES, ROWS, KEPT = ROWS };

static void put_nil(lua_State *L, int index)
{
  lua_pushnil(L);
  lua_replace(L, index);
}

/* --- sending ---------------------------------------------------------- */

static lpg_limits remaining(const lpg_op *op)
{
  lpg_limits limits = op->limits;
  limits.timeout = lpg_left_until(op->deadline);
  return limits;
}

static int refused(lua_State *L, lpg_op *op, int slot)
{
  lpg_error_new(L, NULL, "%s",
                op->conn->wire.pg ? PQerrorMessage(op->conn->wire.pg)
                                  : "the connection was lost");
  if (op->conn->wire.phase == LPG_LOST)
    lpg_error_string(L, "kind", "connection_lost");
  return lpg_outcome_fail(L, slot, SQL);
}

static int send(lua_State *L, lpg_op *op, int slot, int stage,
                const lpg_request *request)
{
  lpg_limits limits = remaining(op);
  op->stage = stage;
  if (!lpg_wire_send(&op->conn->wire, request, &limits))
    return refused(L, op, slot);
  return LPG_CONTINUE;
}

/* The server tells when these change, whoever changed them: values in another
 * style could not be read. Answers the statements that set them back, or NULL.
 * Behind a pooler nothing is set but the encoding, without which no text
 * could be trusted. */
static const char *restoring(lua_State *L, lpg_conn *c)
{
  PGconn *pg = c->wire.pg;
  if (PQtransactionStatus(pg) == PQTRANS_INERROR)
    return NULL;
  const char *encoding = PQparameterStatus(pg, "client_encoding");
  const char *writes = PQparameterStatus(pg, "default_transaction_read_only");
  const char *server = PQparameterStatus(pg, "server_encoding");
  /* where text has no encoding it comes and goes as it is */
  bool raw = server && strcmp(server, "SQL_ASCII") == 0;
  bool encoded = !encoding || strcmp(encoding, raw ? server : "UTF8") == 0;
  bool styled = c->pooler || lpg_styles_are_ours(pg);
  bool exact = c->pooler || !c->settings_changed;
  bool guarded =
      c->pooler || !c->readonly || !writes || strcmp(writes, "on") == 0;
  c->settings_changed = false;
  if (encoded && styled && exact && guarded)
    return NULL;
  return lua_pushfstring(
      L, "%s%s%s%s",
      encoded ? ""
      : raw   ? "SET client_encoding TO 'SQL_ASCII';"
              : "SET client_encoding TO 'UTF8';",
      styled ? "" : "SET DateStyle TO 'ISO';SET IntervalStyle TO 'postgres';",
      exact ? "" : "SET extra_float_digits TO 3;SET array_nulls TO on;",
      guarded ? "" : "SET default_transaction_read_only TO on");
}

static int misfit(lua_State *L, int slot, int parameter, const lpg_fault *fault)
{
  lpg_error_new(L, "invalid_parameter", "parameter $%d: %s", parameter,
                fault->text);
  lpg_error_number(L, "parameter", parameter);
  return lpg_outcome_fail(L, slot, SQL);
}

static int send_describe(lua_State *L, lpg_op *op, int slot)
{
  lpg_fault fault;
  lpg_request request = {.kind = LPG_DESCRIBE, .sql = lua_tostring(L, SQL)};
  int wrong = lpg_params_check(L, op->first, op->count, &fault);
  if (wrong)
    return misfit(L, slot, wrong, &fault);
  lpg_params_declare(L, &op->conn->params, op->first, op->count, &request);
  op->described = true;
  return send(L, op, slot, DESCRIBE, &request);
}

/* What the server's word on the parameters' types leaves open; the question is
 * on the top. */
static int send_question(lua_State *L, lpg_op *op, int slot)
{
  lpg_request request = {.kind = LPG_STATEMENT, .sql = lua_tostring(L, -1)};
  return send(L, op, slot, RESOLVE, &request);
}

/* Behind a pooler a session cannot be made read-only: each transaction is. */
#define READ_ONLY                                                              \
  "SELECT pg_catalog.set_config('transaction_read_only', 'on', true)"

static bool needs_read_only(const lpg_conn *c)
{
  return c->readonly && c->pooler &&
         PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE;
}

/* The same for what is to run; a script is one implicit transaction. COPY,
 * which could not be read back from a pipeline, is refused. */
static bool make_read_only(lua_State *L, lpg_op *op, lpg_request *request)
{
  char word[LPG_WORD];
  lpg_first_word(request->sql, word);
  if (strcmp(word, "copy") == 0)
    return false;
  if (op->script) {
    lua_pushfstring(L, READ_ONLY ";%s", request->sql);
    request->sql = lua_tostring(L, -1);
    op->ahead = (int)sizeof READ_ONLY;
  } else {
    request->prelude = READ_ONLY;
  }
  return true;
}

static lpg_signature signature_of(const lpg_statement *s)
{
  return s ? (lpg_signature){s->count, s->types} : (lpg_signature){-1, NULL};
}

static int send_statement(lua_State *L, lpg_op *op, int slot)
{
  lpg_fault fault;
  lpg_conn *c = op->conn;
  const lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  lpg_request request = {.kind = op->script ? LPG_SCRIPT : LPG_STATEMENT,
                         .sql = lua_tostring(L, SQL),
                         .result_format = s && s->binary};
  int wrong = lpg_params_convert(L, &c->params, op->first, op->count,
                                 signature_of(s), &request, &fault);
  if (wrong)
    return misfit(L, slot, wrong, &fault);
  op->transaction = PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE;
  if (needs_read_only(c) && !make_read_only(L, op, &request)) {
    lpg_error_new(L, "wrong_action",
                  "COPY does not run on a read-only "
                  "connection behind a pooler");
    return lpg_outcome_fail(L, slot, SQL);
  }
  return send(L, op, slot, RUN, &request);
}

static bool must_describe(lua_State *L, const lpg_op *op, int slot)
{
  const lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (op->script || op->described)
    return false;
  return (op->conn->shy && !s) ||
         lpg_params_need_types(L, op->first, op->count, signature_of(s),
                               op->conn->utf8);
}

/* Sends what has to come next. */
static int advance(lua_State *L, lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  if (lpg_wire_busy(&c->wire)) { /* left by a caller that went away */
    lpg_wire_resume(&c->wire);
    op->stage = RECOVER;
    return LPG_CONTINUE;
  }
  if (op->deadline == 0)
    op->deadline = lpg_now() + op->limits.timeout;
  const char *sql = restoring(L, c);
  if (sql && op->stage != RESTORE) {
    lpg_request request = {.kind = LPG_SCRIPT, .sql = sql};
    return send(L, op, slot, RESTORE, &request);
  }
  if (!op->script && lua_isnil(L, slot + STATEMENT)) {
    lpg_statement_find(L, slot + CONN, SQL);
    lua_replace(L, slot + STATEMENT);
  }
  if (must_describe(L, op, slot))
    return send_describe(L, op, slot);
  return send_statement(L, op, slot);
}

/* --- what comes back -------------------------------------------------- */

static void remember(lua_State *L, int slot)
{
  lua_pushvalue(L, slot + STATEMENT);
  lpg_statement_keep(L, slot + CONN, SQL);
}

/* The server's answer to Describe: the last result has the types. */
static void learn(lua_State *L, int slot, const PGresult *result)
{
  const lpg_op *op = lua_touserdata(L, slot);
  int count = PQnparams(result);
  lpg_statement *s = lpg_statement_new(L, count);
  for (int i = 0; i < count; i++) { /* what was told is not the server's word */
    bool told = i < op->count && lpg_params_own_type(L, op->first + i);
    s->types[i] = told ? 0 : PQparamtype(result, i);
  }
  lua_replace(L, slot + STATEMENT);
  if (PQnfields(result) > 0) {
    const lpg_plan *plan = lpg_plan_new(L, result);
    s->binary = plan->wants_binary || (op->conn->shy && plan->can_binary);
    lua_pop(L, 1);
  }
}

/* The plan of a result's columns: the statement's, if it still fits. */
static void plan_columns(lua_State *L, lpg_op *op, int slot,
                         const PGresult *result)
{
  lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (s && lua_getiuservalue(L, slot + STATEMENT, LPG_STATEMENT_PLAN) ==
               LUA_TUSERDATA) {
    if (lpg_plan_fits(lua_touserdata(L, -1), result)) {
      lua_replace(L, slot + PLAN);
      return;
    }
    lua_pop(L, 1);
  }
  const lpg_plan *plan = lpg_plan_new(L, result);
  lua_replace(L, slot + PLAN);
  if (op->script)
    return;
  if (!s) {
    s = lpg_statement_new(L, -1);
    lua_replace(L, slot + STATEMENT);
  }
  s->binary = plan->wants_binary || (op->conn->shy && plan->can_binary);
  lua_pushvalue(L, slot + PLAN);
  lua_setiuservalue(L, slot + STATEMENT, LPG_STATEMENT_PLAN);
  remember(L, slot);
}

/* A statement of the script (or the only one) begins to answer. */
static void begin(lua_State *L, lpg_op *op, int slot, const PGresult *result)
{
  op->answering = true;
  op->rows = op->affected = 0;
  op->tabular = PQresultStatus(result) == PGRES_SINGLE_TUPLE ||
                PQresultStatus(result) == PGRES_TUPLES_OK;
  put_nil(L, slot + PLAN);
  put_nil(L, slot + ROWS);
  if (!op->tabular)
    return;
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

static bool begins_with(const char *tag, const char *const *words)
{
  for (; *words; words++)
    if (strncmp(tag, *words, strlen(*words)) == 0)
      return true;
  return false;
}

static void forget(lua_State *L, const lpg_conn *c, int slot)
{
  if (c->unsettled == LPG_DDL)
    lpg_conn_forget(L, slot + CONN);
  else if (c->unsettled == LPG_TABLES)
    lpg_conn_forget_tables(L, slot + CONN);
}

/* DDL makes stale what was learnt. So may SET (search_path, role) and GRANT
 * what is known of tables; and taking back what a transaction did of these. */
static void notice_ddl(lua_State *L, lpg_op *op, int slot, const char *tag)
{
  static const char *const ddl[] = {"ALTER ", "DROP ", "CREATE ", "DISCARD",
                                    "DO",     "CALL",  "IMPORT ", NULL};
  static const char *const sets[] = {"SET", "RESET", "GRANT", "REVOKE", NULL};
  static const char *const undo[] = {"ROLLBACK", NULL};
  lpg_conn *c = op->conn;
  bool set = begins_with(tag, sets);
  if (begins_with(tag, ddl))
    c->unsettled = LPG_DDL;
  else if (set && c->unsettled == LPG_SETTLED)
    c->unsettled = LPG_TABLES;
  else if (!set && !begins_with(tag, undo))
    return;
  forget(L, c, slot);
}

/* The request has ended, and with it, maybe, its transaction. */
static void settle(lua_State *L, const lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  if (c->unsettled == LPG_SETTLED || !c->wire.pg ||
      PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE)
    return;
  forget(L, c, slot);
  c->unsettled = LPG_SETTLED;
}

/* No server tells when these change; the statement may. */
static void notice_settings(lpg_conn *c, const char *tag, const char *sql)
{
  static const char *const all[] = {"RESET", "DISCARD", NULL};
  static const char digits[] = "extra_float_digits", nulls[] = "array_nulls";
  if (strcmp(tag, "SET") == 0)
    while (*sql && strncasecmp(sql, digits, sizeof digits - 1) != 0 &&
           strncasecmp(sql, nulls, sizeof nulls - 1) != 0)
      sql++;
  else if (!begins_with(tag, all))
    return;
  c->settings_changed |= *sql != '\0';
}

/* The number in a command tag; 0 where there is none. */
static lua_Integer tuples(PGresult *result)
{
  const char *text = PQcmdTuples(result);
  int64_t count;
  return lpg_integer_parse(text, strlen(text), &count) ? count : -1;
}

static void collect(lua_State *L, lpg_op *op, int slot)
{
  PGresult *result = op->conn->wire.result;
  ExecStatusType status = PQresultStatus(result);
  if (!op->answering)
    begin(L, op, slot, result);
  const lpg_plan *plan = lua_touserdata(L, slot + PLAN);
  for (int i = 0, n = PQntuples(result); i < n; i++) {
    lpg_misread what = lpg_rows_append(L, plan, &op->settings, result, i,
                                       slot + ROWS, slot + NAMES, ++op->rows);
    if (what.problem) {
      misread(L, op, slot, what);
      return;
    }
  }
  if (status == PGRES_SINGLE_TUPLE)
    return;
  op->answering = false;
  op->answers++;
  lua_Integer count = tuples(result);
  op->affected = count >= 0 ? count : op->rows;
  notice_ddl(L, op, slot, PQcmdStatus(result));
  notice_settings(op->conn, PQcmdStatus(result), lua_tostring(L, SQL));
}

static void on_result(lua_State *L, lpg_op *op, int slot)
{
  const PGresult *result = op->conn->wire.result;
  switch (op->stage) {
  case DESCRIBE:
    learn(L, slot, result);
    break;
  case RESOLVE:
    lpg_statement_settle(lua_touserdata(L, slot + STATEMENT), result);
    break;
  case RUN:
    collect(L, op, slot);
    break;
  case DIAGNOSE: /* statement_timeout, in milliseconds */
    if (PQntuples(result) == 1)
      op->server_timeout = atof(PQgetvalue(result, 0, 0)) / 1000;
    break;
  default:
    break;
  }
}

/* --- the end ---------------------------------------------------------- */

static int shape(lua_State *L, lpg_op *op, int slot)
{
  bool query = op->action == LPG_QUERY;
  if (op->ahead > 0 && op->answers == 1) { /* the script itself was empty */
    op->tabular = false;
    op->affected = 0;
  }
  lua_createtable(L, 0, 2);
  if (op->tabular) {
    lua_pushvalue(L, slot + ROWS);
    lua_setfield(L, -2, "rows");
  } else if (query) {
    lua_newtable(L);
    lpg_mark_list(L);
    lua_setfield(L, -2, "rows");
  }
  if (op->action == LPG_EXECUTE) {
    lua_pushboolean(L, true);
    lua_setfield(L, -2, "success");
  }
  lua_pushinteger(L, op->affected);
  lua_setfield(L, -2, "rowCount");
  lpg_result_finish(L, op->tabular ? slot + PLAN : 0, &op->conn->wire.notices);
  lpg_op_end(L, slot);
  return 1;
}

/* What was learnt earlier may no longer fit the statement: it is forgotten.
 * Answers whether to ask again and run it again at once, which is done where
 * nothing can have been done twice; a procedure may have committed. */
static bool stale(lua_State *L, lpg_op *op, int slot)
{
  static const char *const states[] = {"42804", "42883", "42846", "42809",
                                       "42P08", "42725", "42P18", "42704",
                                       "22P03", "08P01", "XX000", NULL};
  static const char *const values[] = {"22", NULL};
  char word[LPG_WORD];
  const lpg_wire *w = &op->conn->wire;
  const lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (!s || op->described || w->stop != LPG_RUNS || w->phase != LPG_IDLE ||
      !w->failure)
    return false;
  bool typed = s->count >= 0, binary = s->binary;
  const char *state = PQresultErrorField(w->failure, PG_DIAG_SQLSTATE);
  bool type = state && begins_with(state, states);
  if (!type && !(typed && state && begins_with(state, values)))
    return false;
  put_nil(L, slot + STATEMENT);
  remember(L, slot); /* forgets it */
  lpg_first_word(lua_tostring(L, SQL), word);
  return type && (typed || binary) && !op->transaction &&
         strcmp(word, "call") != 0;
}

static int fail(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  if (op->misread) {
    lua_pushvalue(L, slot + ROWS);
    lpg_error_boolean(L, "completed", !w->failure);
    return lpg_outcome_fail(L, slot, SQL);
  }
  op->elapsed = lpg_now() - w->started;
  if (lpg_outcome_unexplained(w)) { /* somebody cancelled: was it a timeout? */
    lpg_outcome_describe(L, op);
    lua_replace(L, slot + ROWS);
    lpg_request request = {
        .kind = LPG_STATEMENT,
        .sql = "SELECT setting FROM pg_catalog.pg_settings "
               "WHERE name OPERATOR(pg_catalog.=) 'statement_timeout'"};
    op->deadline = lpg_now() + 5;
    return send(L, op, slot, DIAGNOSE, &request);
  }
  lpg_outcome_describe(L, op);
  return lpg_outcome_fail(L, slot, SQL);
}

/* What precedes the statement is done; goes on, unless that was cancelled. */
static int proceed(lua_State *L, lpg_op *op, int slot)
{
  if (op->conn->wire.stop != LPG_CANCELLED)
    return advance(L, op, slot);
  lpg_error_new(L, "cancelled", "the statement was cancelled");
  lpg_error_boolean(L, "completed", false);
  return lpg_outcome_fail(L, slot, SQL);
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  bool failed =
      w->phase == LPG_LOST || w->failure || w->dropped || w->stop == LPG_COPY;
  switch (op->stage) {
  case RECOVER:
    if (w->phase == LPG_LOST)
      return fail(L, op, slot);
    return advance(L, op, slot);
  case DESCRIBE:
    if (failed)
      return fail(L, op, slot);
    lpg_notices_clear(&op->conn->wire.notices); /* they come again */
    if (lpg_statement_ask(L, lua_touserdata(L, slot + STATEMENT)))
      return send_question(L, op, slot);
    remember(L, slot);
    return proceed(L, op, slot);
  case RESOLVE:
    if (failed)
      return fail(L, op, slot);
    remember(L, slot);
    return proceed(L, op, slot);
  case RESTORE:
    return failed ? fail(L, op, slot) : proceed(L, op, slot);
  case DIAGNOSE:
    lua_pushvalue(L, slot + ROWS);
    if (op->server_timeout > 0 && op->elapsed >= op->server_timeout * 0.99) {
      lpg_error_string(L, "kind", "query_timeout");
      lpg_error_number(L, "limit", op->server_timeout);
    }
    lpg_error_number(L, "elapsed", op->elapsed);
    return lpg_outcome_fail(L, slot, SQL);
  default:
    settle(L, op, slot);
    if (!failed)
      return shape(L, op, slot);
    if (stale(L, op, slot))
      return send_describe(L, op, slot);
    return fail(L, op, slot);
  }
}

int lpg_run(lua_State *L, lpg_action action, int count,
            const lpg_settings *settings)
{
  lua_getiuservalue(L, HANDLE, 1);
  lpg_op *op = lpg_op_begin(L, -1);
  int slot = lua_gettop(L);
  op->kept = KEPT;
  op->result = on_result;
  op->done = on_done;
  op->action = (int)action;
  op->first = VALUES;
  op->count = count;
  op->script = action == LPG_EXECUTE && count == 0;
  op->settings = *settings;
  op->limits = lpg_settings_limits(L, settings);
  luaL_checkstack(L, 3 * KEPT + 20, "statement");
  lua_settop(L, slot + KEPT);
  op->stage = RUN;
  int results = advance(L, op, slot);
  return results == LPG_CONTINUE ? lpg_await(L, LUA_OK, slot) : results;
}
