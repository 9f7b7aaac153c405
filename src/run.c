/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "collect.h"
#include "conn_codecs.h"
#include "copy.h"
#include "deadline.h"
#include "error.h"
#include "kept.h"
#include "learnt.h"
#include "named.h"
#include "outcome.h"
#include "prepare.h"
#include "result.h"
#include "send.h"
#include "share.h"
#include "statement.h"
#include "stream.h"
#include "transaction.h"

/* What is known of the statement; true where that is nothing. */
static int give_lesson(lua_State *L, int slot)
{
  lua_pushvalue(L, slot + STATEMENT);
  if (lua_isnil(L, -1))
    lua_pushboolean(L, 1);
  lpg_op_end(L, slot);
  return 1;
}

/* The transaction has ended while the server was asked what goes before the
 * statement: it would run on its own. */
static int refuse_alone(lua_State *L, int slot)
{
  lpg_error_new(L, "transaction_failed",
                "the transaction ended before this statement was sent");
  lpg_error_boolean(L, "completed", false);
  lpg_error_fix(L, "Let the coroutines that use the transaction end before its "
                   "function does.");
  return lpg_give_error(L, slot);
}

/* Sends what has to come next. */
static int advance(lua_State *L, lpg_op *op, int slot)
{
  lpg_conn *c = op->conn;
  if (lpg_wire_busy(&c->wire)) { /* left by a caller that went away */
    lpg_wire_resume(&c->wire);
    op->stage = LPG_AT_RECOVERY;
    return LPG_CONTINUE;
  }
  if (op->deadline == 0) /* it begins now, or when the way is free */
    op->deadline = (op->stage == LPG_AT_RECOVERY ? lpg_now() : op->ticked) +
                   op->limits.timeout;
  if (op->scope && (op->scope != c->scope || !lpg_scope_guards(c)))
    return refuse_alone(L, slot);
  bool begun = lpg_scope_guards(c) && !*c->begin;
  if (*c->undo && !begun) { /* nobody else will */
    char undo[LPG_UNDO];
    memcpy(undo, c->undo, sizeof undo);
    *c->undo = '\0';
    lpg_request request = {.kind = LPG_SCRIPT, .sql = undo};
    if (PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE)
      return lpg_send(L, op, slot, LPG_AT_UNDO, &request);
  }
  if (c->astray) {
    c->astray = false;
    lpg_request request = {.kind = LPG_SCRIPT, .sql = LPG_HOLD_UNDO};
    if (PQtransactionStatus(c->wire.pg) == PQTRANS_INERROR)
      return lpg_send(L, op, slot, LPG_AT_UNDO, &request);
  }
  const char *sql = lpg_restoring(L, c);
  if (sql && op->stage != LPG_AT_RESTORE) {
    lpg_request request = {.kind = LPG_SCRIPT, .sql = sql};
    return lpg_send(L, op, slot, LPG_AT_RESTORE, &request);
  }
  if (lpg_codecs_due(c) && !op->settings.own && op->stage != LPG_AT_CODECS)
    return lpg_codecs_ask(L, op, slot);
  if (*c->begin && !lpg_brings_begin(L, op))
    return lpg_send_begin(L, op, slot);
  if (op->action == LPG_TRANSFER)
    return lpg_send_copy(L, op, slot);
  if (lpg_named_settle(L, slot + CONN, op->first, op->count))
    return lpg_named_ask(L, op, slot);
  if (!op->script && lua_isnil(L, slot + STATEMENT)) {
    lpg_statement_find(L, slot + CONN, SQL);
    lua_replace(L, slot + STATEMENT);
  }
  /* only who needs them asks with values at hand */
  bool learn = op->action == LPG_LEARN && op->count > 0 && !op->described;
  if (learn || op->action >= LPG_PREPARE || lpg_must_describe(L, op, slot))
    return lpg_send_describe(L, op, slot);
  if (op->action == LPG_LEARN)
    return give_lesson(L, slot);
  return lpg_send_statement(L, op, slot);
}

/* Where it would wait, the rows that are there go first. */
static int on_rest(lua_State *L, lpg_op *op, int slot)
{
  bool rows = op->stage == LPG_AT_RUN && lpg_stream_portion(op) > 0;
  return rows ? lpg_stream_deliver(L, op, slot, false) : LPG_CONTINUE;
}

static int on_result(lua_State *L, lpg_op *op, int slot)
{
  const PGresult *result = op->conn->wire.result;
  switch (op->stage) {
  case LPG_AT_DESCRIBE:
    if (op->action == LPG_DESCRIPTION)
      lpg_describe(L, slot, result);
    else
      lpg_learn(L, slot, result);
    break;
  case LPG_AT_TYPES:
  case LPG_AT_VALUES:
    lpg_ask_take(L, slot, result);
    break;
  case LPG_AT_NAMES:
    lpg_named_take(L, slot, result);
    break;
  case LPG_AT_CODECS:
    lpg_codecs_take(L, slot, result);
    break;
  case LPG_AT_RUN:
    if (op->action == LPG_TRANSFER)
      return lpg_copy_begin(L, op, slot, VALUES);
    lpg_collect(L, op, slot);
    return lpg_stream_is_full(op) ? lpg_stream_deliver(L, op, slot, false)
                                  : LPG_CONTINUE;
  case LPG_AT_DIAGNOSIS: /* statement_timeout, in milliseconds */
    if (PQntuples(result) == 1)
      op->server_timeout = atof(PQgetvalue(result, 0, 0)) / 1000;
    break;
  default:
    break;
  }
  return LPG_CONTINUE;
}

/* --- the end ---------------------------------------------------------- */

void lpg_run_shape(lua_State *L, lpg_op *op, int slot)
{
  bool query = op->action == LPG_QUERY;
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
}

static int give_result(lua_State *L, lpg_op *op, int slot)
{
  if (op->action == LPG_EACH)
    return lpg_stream_deliver(L, op, slot, true);
  lpg_run_shape(L, op, slot);
  lpg_op_end(L, slot);
  return 1;
}

/* The result, unless its values were not all to be read, or are not yet. */
static int give(lua_State *L, lpg_op *op, int slot, int results)
{
  return results ? results : give_result(L, op, slot);
}

/* The server does not have the name any more, or not with these columns. */
static const char *const lost_names[] = {"26000", "42P05", "0A000", NULL};

/* Bind refused a value: "unnamed portal parameter $1", in any language, is all
 * that the server says of the place. Nothing has run. */
static bool refused_to_bind(const PGresult *failure)
{
  const char *context = PQresultErrorField(failure, PG_DIAG_CONTEXT);
  const char *number = context ? strchr(context, '$') : NULL;
  if (!number)
    return false;
  const char *end = number + 1 + strspn(number + 1, "0123456789");
  return !*end || strncmp(end, " = '", 4) == 0;
}

/* What was learnt earlier may no longer fit the statement: it is forgotten.
 * Answers whether to ask again and run it again at once, which is done where
 * nothing can have been done twice: it was refused before its first row, and
 * is not a procedure, which may have committed. */
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
  bool typed = s->count >= 0 || op->named, binary = s->binary;
  const char *state = PQresultErrorField(w->failure, PG_DIAG_SQLSTATE);
  bool lost = op->named && state && lpg_begins_with(state, lost_names);
  bool type = lost || (state && lpg_begins_with(state, states));
  bool value = typed && state && lpg_begins_with(state, values);
  if (!type && !value)
    return false;
  bool learnt = lpg_statement_takes_learnt(s);
  if (learnt)
    lpg_forget_types(L, slot + CONN);
  type |= (op->named || learnt) && refused_to_bind(w->failure);
  if (lost && op->conn->pooler) /* another name would lead to the same plan */
    op->conn->prepares = false;
  lpg_put_nil(L, slot + STATEMENT);
  lpg_remember(L, slot); /* forgets it */
  lpg_next_word(lua_tostring(L, SQL), word);
  return type && (typed || binary) && !op->transaction && !op->answering &&
         strcmp(word, "call") != 0 && strcmp(word, "do") != 0;
}

static int fail(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  if (op->misread) {
    lua_pushvalue(L, slot + ROWS);
    lpg_outcome_completed(L, op->conn);
    return lpg_give_error(L, slot);
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
    return lpg_send(L, op, slot, LPG_AT_DIAGNOSIS, &request);
  }
  lpg_outcome_describe(L, op);
  lua_getfield(L, -1, "sqlstate");
  bool lost_name = op->named && op->transaction && !lua_isnil(L, -1) &&
                   lpg_begins_with(lua_tostring(L, -1), lost_names);
  lua_pop(L, 1);
  if (lost_name && op->conn->pooler)
    lpg_error_fix(L, "The pooler has lost the prepared statement, or a table "
                     "of it has changed. This connection prepares no more: "
                     "run the transaction again. Without prepare = true it "
                     "does not happen; PgBouncer keeps statements from 1.21 "
                     "on, with max_prepared_statements.");
  else if (lost_name)
    lpg_error_fix(L, "The statement had been prepared, and the server has "
                     "dropped it since, or a table of it has changed. It will "
                     "be prepared anew: run the transaction again.");
  if (op->action == LPG_EACH && w->stop == LPG_TOO_LARGE)
    lpg_error_number(L, "row", (double)(op->rows + 1));
  return lpg_give_error(L, slot);
}

/* What precedes the statement is done; goes on, unless that was cancelled. */
static int proceed(lua_State *L, lpg_op *op, int slot)
{
  if (op->conn->wire.stop != LPG_CANCELLED && !op->cancelled)
    return advance(L, op, slot);
  lpg_error_new(L, "cancelled", "the statement was cancelled");
  lpg_error_boolean(L, "completed", false);
  return lpg_give_error(L, slot);
}

/* The error is of the BEGIN, and not of the statement that it went before. */
static void blame_begin(lua_State *L, const lpg_op *op)
{
  lua_pushstring(L, op->begin);
  lua_replace(L, SQL);
}

/* BEGIN was answered, in a trip of its own. */
static int begun(lua_State *L, lpg_op *op, int slot, bool failed)
{
  if (!failed && PQtransactionStatus(op->conn->wire.pg) != PQTRANS_IDLE) {
    *op->begin = '\0';
    return proceed(L, op, slot);
  }
  blame_begin(L, op);
  if (failed)
    return fail(L, op, slot);
  lpg_error_new(L, "transaction_failed",
                "the server answered BEGIN, but no transaction is open");
  lpg_error_fix(L, "Look in the server's log.");
  return lpg_give_error(L, slot);
}

/* What the statement takes and gives is known. */
static int described(lua_State *L, lpg_op *op, int slot)
{
  if (op->action != LPG_DESCRIPTION) {
    lpg_learnt(L, slot);
    if (lpg_will_prepare(op))
      lpg_prepare_keep(L, slot + STATEMENT);
    lpg_remember(L, slot);
  }
  if (op->action < LPG_PREPARE)
    return proceed(L, op, slot);
  lua_pushvalue(L, slot + (op->action == LPG_PREPARE ? OBJECT : ROWS));
  lpg_op_end(L, slot);
  return 1;
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  bool failed =
      w->phase == LPG_LOST || w->failure || w->dropped || w->stop == LPG_COPY;
  switch (op->stage) {
  case LPG_AT_RECOVERY:
    lpg_notices_clear(&op->conn->wire.notices); /* of what was left */
    return w->phase == LPG_LOST ? fail(L, op, slot) : proceed(L, op, slot);
  case LPG_AT_DESCRIBE:
    if (failed)
      return fail(L, op, slot);
    lpg_notices_clear(&op->conn->wire.notices); /* they come again */
    return lpg_ask_any(L, slot) ? lpg_ask_send(L, op, slot, LPG_AT_TYPES)
                                : described(L, op, slot);
  case LPG_AT_TYPES:
    if (failed)
      return fail(L, op, slot);
    lpg_ask_learn(L, slot);
    return op->described ? described(L, op, slot) : proceed(L, op, slot);
  case LPG_AT_VALUES:
    return give(L, op, slot, lpg_kept_end(L, op, slot));
  case LPG_AT_CODECS:
    if (!failed)
      lpg_codecs_settle(L, op->conn, slot);
    return failed ? fail(L, op, slot) : proceed(L, op, slot);
  case LPG_AT_NAMES:
    if (!failed && lpg_ask_any(L, slot))
      return lpg_ask_send(L, op, slot, LPG_AT_TYPES);
    return failed ? fail(L, op, slot) : proceed(L, op, slot);
  case LPG_AT_UNDO:
    lpg_forget_undone(L, slot + CONN);
    /* fall through */
  case LPG_AT_RESTORE:
    return failed ? fail(L, op, slot) : proceed(L, op, slot);
  case LPG_AT_BEGIN:
    return begun(L, op, slot, failed);
  case LPG_AT_DIAGNOSIS:
    lua_pushvalue(L, slot + ROWS);
    if (op->server_timeout > 0 && op->elapsed >= op->server_timeout * 0.99) {
      lpg_error_string(L, "kind", "query_timeout");
      lpg_error_number(L, "limit", op->server_timeout);
    }
    lpg_error_number(L, "elapsed", op->elapsed);
    return lpg_give_error(L, slot);
  default:
    lpg_prepare_settle(L, op->conn, slot + CONN, slot + STATEMENT);
    lpg_settle(L, op, slot);
    lpg_scope_settle(op->conn);
    if (!failed && op->action == LPG_TRANSFER) {
      lpg_error_new(L, "query_failed", "the server did not begin to copy");
      return lpg_give_error(L, slot);
    }
    if (!failed) {
      lpg_kept_note(L, op, slot);
      return give(L, op, slot, lpg_kept_ask(L, op, slot));
    }
    if (*op->begin && w->failure && w->failed == w->asides) {
      blame_begin(L, op);
      op->named = false;
    } else if (stale(L, op, slot)) {
      return lpg_send_describe(L, op, slot);
    }
    return fail(L, op, slot);
  }
}

int lpg_run_fail(lua_State *L, lpg_op *op, int slot)
{
  op->stage = LPG_AT_RUN;
  op->result = on_result;
  op->done = on_done;
  op->rest = NULL;
  return fail(L, op, slot);
}

lpg_limits lpg_run_limits(const lpg_conn *c, const lpg_settings *settings)
{
  static const double last = 2;
  lpg_limits limits = lpg_settings_limits(settings, c->ceilings);
  if (c->deadline > 0) {
    double left = c->deadline - lpg_now();
    limits.timeout = fmin(limits.timeout, left > 0 ? left : last);
  }
  return limits;
}

/* An operation on the connection of the handle, with what it keeps above it. */
static lpg_op *begin(lua_State *L, lpg_action action,
                     const lpg_settings *settings)
{
  lua_getiuservalue(L, HANDLE, 1);
  lpg_op *op = lpg_op_begin(L, -1);
  op->kept = KEPT;
  op->result = on_result;
  op->done = on_done;
  op->action = (int)action;
  op->stage = LPG_AT_RUN;
  op->settings = *settings;
  op->limits = lpg_run_limits(op->conn, settings);
  op->scope = lpg_scope_guards(op->conn) ? op->conn->scope : NULL;
  if (action == LPG_EACH) {
    op->rest = on_rest;
    op->limits.each = true;
  }
  luaL_checkstack(L, 3 * KEPT + 20, "statement");
  lua_settop(L, lua_gettop(L) + KEPT);
  return op;
}

int lpg_run(lua_State *L, lpg_action action, int count,
            const lpg_settings *settings)
{
  lpg_op *op = begin(L, action, settings);
  int slot = lua_gettop(L) - KEPT;
  op->first = VALUES;
  op->count = count;
  /* a script could leave the read-only transaction: statements one by one */
  const lpg_conn *c = op->conn;
  bool several = strchr(lua_tostring(L, SQL), ';');
  op->script = action == LPG_EXECUTE && count == 0 &&
               !(c->readonly && c->pooler) && (several || !*c->begin);
  op->several = op->script && several;
  if (action == LPG_EACH) {
    lpg_stream_new(L, HANDLE, SQL, settings);
    lua_replace(L, slot + OBJECT);
  } else if (action == LPG_PREPARE) {
    lua_pushvalue(L, VALUES);
    lua_replace(L, slot + OBJECT);
  }
  lpg_share_refresh(L, slot + CONN);
  int results = advance(L, op, slot);
  return results == LPG_CONTINUE ? lpg_await(L, LUA_OK, slot) : results;
}

int lpg_run_on(lua_State *L)
{
  lpg_stream *s = lua_touserdata(L, 1);
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, LPG_STREAM_HANDLE);
  lua_getiuservalue(L, 1, LPG_STREAM_SQL);
  lua_rotate(L, 1, -1); /* the handle, the SQL text, the stream */
  if (lpg_op_blocks(lpg_handle_check(L, HANDLE)->conn))
    return lpg_raise(L, "another coroutine waits for a row of this db:each");
  lpg_op *op = begin(L, LPG_EACH, &s->settings);
  int slot = lua_gettop(L) - KEPT;
  lua_pushvalue(L, VALUES);
  lua_replace(L, slot + OBJECT);
  for (int kept = PLAN; kept <= ROWS; kept++) {
    lua_getiuservalue(L, slot + OBJECT, LPG_STREAM_PLAN + kept - PLAN);
    lua_replace(L, slot + kept);
  }
  op->answering = op->tabular = op->described = true;
  op->rows = op->before = s->rows;
  op->conn->wire.limits.timeout = op->limits.timeout;
  lpg_wire_extend(&op->conn->wire);
  return lpg_await(L, LUA_OK, slot);
}
