/* SPDX-License-Identifier: MIT */
#include "run.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collect.h"
#include "copy.h"
#include "deadline.h"
#include "error.h"
#include "outcome.h"
#include "prepare.h"
#include "result.h"
#include "rows.h"
#include "statement.h"
#include "stream.h"
#include "transaction.h"

/* Which request is under way. */
enum { RECOVER, UNDO, RESTORE, DESCRIBE, RESOLVE, RUN, DIAGNOSE };

enum { OWN_RESULT = 1024 * 1024 };

/* --- sending ---------------------------------------------------------- */

static lpg_limits remaining(const lpg_op *op)
{
  lpg_limits limits = op->limits;
  limits.deadline = op->deadline;
  return limits;
}

/* nil and the error that the fields on the top become. A stream raises it, but
 * the rows before it go first. */
static int give_error(lua_State *L, int slot)
{
  const lpg_op *op = lua_touserdata(L, slot);
  bool first = op->before == 0;
  lpg_stream *s =
      op->action == LPG_EACH ? lua_touserdata(L, slot + OBJECT) : NULL;
  if (s) {
    s->ended = true;
    lpg_hold_end(&s->hold);
    s->at = 0;
    s->to = op->misread ? 0 : op->rows - op->before;
    lua_pushvalue(L, slot + ROWS);
    lua_setiuservalue(L, slot + OBJECT, LPG_STREAM_ROWS);
  }
  int results = lpg_outcome_fail(L, slot, SQL);
  if (!s)
    return results;
  if (s->at == s->to)
    return lua_error(L);
  lua_setiuservalue(L, slot + OBJECT, LPG_STREAM_ERROR);
  return first ? lpg_stream_iterate(L, slot + OBJECT)
               : lpg_stream_give(L, slot + OBJECT);
}

static int refused(lua_State *L, lpg_op *op, int slot)
{
  const lpg_wire *w = &op->conn->wire;
  lpg_error_new(L, NULL, "%s",
                w->pg      ? PQerrorMessage(w->pg)
                : w->words ? w->words
                           : "the connection was lost");
  if (w->phase == LPG_LOST)
    lpg_error_string(L, "kind", "connection_lost");
  return give_error(L, slot);
}

static int send(lua_State *L, lpg_op *op, int slot, int stage,
                const lpg_request *request)
{
  lpg_limits limits = remaining(op);
  if (stage != RUN) /* an answer to us, not to the script */
    limits.result = OWN_RESULT;
  op->stage = stage;
  if (!lpg_wire_send(&op->conn->wire, request, &limits))
    return refused(L, op, slot);
  return LPG_CONTINUE;
}

static bool is_guarded(const PGconn *pg)
{
  const char *on = PQparameterStatus(pg, "default_transaction_read_only");
  return !on || strcmp(on, "on") == 0;
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
  bool encoded = c->encoding < 0 || PQclientEncoding(pg) == c->encoding;
  bool styled = c->pooler || lpg_styles_are_ours(pg);
  bool exact = c->pooler || !c->settings_changed;
  bool guarded = c->pooler || !c->readonly || is_guarded(pg);
  c->settings_changed = false;
  if (encoded && styled && exact && guarded)
    return NULL;
  return lua_pushfstring(
      L, "%s%s%s%s%s%s", encoded ? "" : "SET client_encoding TO '",
      encoded ? "" : pg_encoding_to_char(c->encoding), encoded ? "" : "';",
      styled ? "" : "SET DateStyle TO 'ISO';SET IntervalStyle TO 'postgres';",
      exact ? "" : "SET extra_float_digits TO 3;SET array_nulls TO on;",
      guarded ? "" : "SET default_transaction_read_only TO on");
}

static int misfit(lua_State *L, int slot, int parameter, const lpg_fault *fault)
{
  lpg_error_new(L, "invalid_parameter", "parameter $%d: %s", parameter,
                fault->text);
  lpg_error_number(L, "parameter", parameter);
  return give_error(L, slot);
}

static bool will_prepare(const lpg_op *op)
{
  return op->action == LPG_PREPARE && op->conn->prepares;
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
  op->named = will_prepare(op);
  if (op->named) {
    lpg_statement *s = lpg_statement_new(L, SQL, -1);
    lpg_prepare_name(op->conn, s);
    lua_replace(L, slot + STATEMENT);
    request.name = s->name;
  }
  return send(L, op, slot, DESCRIBE, &request);
}

/* What the server's word on the parameters' types leaves open; the question is
 * on the top. */
static int send_question(lua_State *L, lpg_op *op, int slot)
{
  lpg_request request = {.kind = LPG_STATEMENT, .sql = lua_tostring(L, -1)};
  return send(L, op, slot, RESOLVE, &request);
}

bool lpg_run_needs_read_only(const lpg_conn *c)
{
  return c->readonly && c->pooler &&
         PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE;
}

/* A savepoint round it would be lost, or it would be lost in one. */
static bool steers(const char *sql)
{
  static const char *const words[] = {"savepoint", "release", "rollback", NULL};
  char word[LPG_WORD];
  lpg_next_word(sql, word);
  return lpg_controls_transaction(sql) || lpg_begins_with(word, words);
}

/* What goes before and after the statement in its trip. In a transaction a
 * stream that is broken off must not fail it. Answers false for COPY, which
 * could not be read back from a pipeline, and has no rows for a stream. */
static bool surround(lua_State *L, const lpg_op *op, int slot,
                     lpg_request *request)
{
  char word[LPG_WORD];
  if (lpg_run_needs_read_only(op->conn)) {
    request->before = LPG_READ_ONLY;
  } else if (op->action == LPG_EACH && op->transaction &&
             !steers(request->sql)) {
    lpg_stream *stream = lua_touserdata(L, slot + OBJECT);
    stream->hold.guarded = true;
    request->before = LPG_HOLD_SAVEPOINT;
    request->after = LPG_HOLD_RELEASE;
  } else if (op->action != LPG_EACH) {
    return true;
  }
  lpg_next_word(request->sql, word);
  return strcmp(word, "copy") != 0;
}

/* The statement's own record, from its first run on. */
static lpg_statement *record(lua_State *L, lpg_op *op, int slot)
{
  lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (s || op->script || !op->conn->prepares)
    return s;
  s = lpg_statement_new(L, SQL, -1);
  if (!s->recurs) {
    lua_pop(L, 1);
    return NULL;
  }
  lua_replace(L, slot + STATEMENT);
  lpg_remember(L, slot);
  return s;
}

static lpg_signature signature_of(const lpg_statement *s)
{
  return s ? (lpg_signature){s->count, s->types} : (lpg_signature){-1, NULL};
}

static int send_statement(lua_State *L, lpg_op *op, int slot)
{
  lpg_fault fault;
  lpg_conn *c = op->conn;
  const lpg_statement *s = record(L, op, slot);
  lpg_request request = {.kind = op->script ? LPG_SCRIPT : LPG_STATEMENT,
                         .sql = lua_tostring(L, SQL),
                         .result_format = s && s->binary};
  int wrong = lpg_params_convert(L, &c->params, op->first, op->count,
                                 signature_of(s), &request, &fault);
  if (wrong)
    return misfit(L, slot, wrong, &fault);
  op->transaction = PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE;
  if (!surround(L, op, slot, &request)) {
    lpg_error_new(L, "wrong_action",
                  op->action == LPG_EACH
                      ? "COPY has no rows for db:each; db:copy_rows has"
                      : "COPY does not run on a read-only connection behind a "
                        "pooler");
    return give_error(L, slot);
  }
  lpg_prepare_choose(L, c, slot + CONN, slot + STATEMENT, op->settings.eager,
                     &request);
  op->named = request.name != NULL;
  return send(L, op, slot, RUN, &request);
}

static int send_copy(lua_State *L, lpg_op *op, int slot)
{
  lpg_copy *copy = lua_touserdata(L, VALUES);
  bool guard = lpg_run_needs_read_only(op->conn);
  lpg_request request = {.kind = copy->in ? LPG_TO_SERVER : LPG_FROM_SERVER};
  op->transaction = PQtransactionStatus(op->conn->wire.pg) != PQTRANS_IDLE;
  op->limits.each = true;
  request.sql = lpg_copy_script(L, copy, SQL, guard ? LPG_READ_ONLY ";" : "",
                                op->transaction);
  op->lead = copy->lead;
  return send(L, op, slot, RUN, &request);
}

static bool must_describe(lua_State *L, const lpg_op *op, int slot)
{
  const lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (op->script || op->described)
    return false;
  return (op->conn->shy && !(s && s->seen)) ||
         lpg_params_need_types(L, op->first, op->count, signature_of(s),
                               op->conn->utf8);
}

/* What is known of the statement; true where that is nothing. */
static int give_lesson(lua_State *L, int slot)
{
  lua_pushvalue(L, slot + STATEMENT);
  if (lua_isnil(L, -1))
    lua_pushboolean(L, 1);
  lpg_op_end(L, slot);
  return 1;
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
  if (op->deadline == 0) /* it begins now, or when the way is free */
    op->deadline = (op->stage == RECOVER ? lpg_now() : op->ticked) +
                   op->limits.timeout;
  if (*c->undo && !lpg_scope_guards(c)) { /* nobody else will */
    char undo[LPG_UNDO];
    memcpy(undo, c->undo, sizeof undo);
    *c->undo = '\0';
    lpg_request request = {.kind = LPG_SCRIPT, .sql = undo};
    if (PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE)
      return send(L, op, slot, UNDO, &request);
  }
  if (c->astray) {
    c->astray = false;
    lpg_request request = {.kind = LPG_SCRIPT, .sql = LPG_HOLD_UNDO};
    if (PQtransactionStatus(c->wire.pg) == PQTRANS_INERROR)
      return send(L, op, slot, UNDO, &request);
  }
  const char *sql = restoring(L, c);
  if (sql && op->stage != RESTORE) {
    lpg_request request = {.kind = LPG_SCRIPT, .sql = sql};
    return send(L, op, slot, RESTORE, &request);
  }
  if (op->action == LPG_TRANSFER)
    return send_copy(L, op, slot);
  if (!op->script && lua_isnil(L, slot + STATEMENT)) {
    lpg_statement_find(L, slot + CONN, SQL);
    lua_replace(L, slot + STATEMENT);
  }
  if (op->action >= LPG_PREPARE || must_describe(L, op, slot))
    return send_describe(L, op, slot);
  if (op->action == LPG_LEARN)
    return give_lesson(L, slot);
  return send_statement(L, op, slot);
}

/* --- streams ---------------------------------------------------------- */

static lua_Integer portion(const lpg_op *op)
{
  return op->action == LPG_EACH ? op->rows - op->before : 0;
}

static bool has_portion(const lpg_op *op)
{
  return portion(op) > 0 &&
         (portion(op) >= LPG_PORTION ||
          op->conn->wire.received * (double)portion(op) > LPG_PORTION_BYTES);
}

/* Ends the operation, but not, maybe, the answer, and gives the first row. */
static int deliver(lua_State *L, lpg_op *op, int slot, bool ended)
{
  int index = slot + OBJECT;
  lpg_stream *s = lua_touserdata(L, index);
  lua_pushvalue(L, slot + PLAN);
  lua_setiuservalue(L, index, LPG_STREAM_PLAN);
  lua_pushvalue(L, slot + NAMES);
  lua_setiuservalue(L, index, LPG_STREAM_NAMES);
  lua_pushvalue(L, slot + ROWS);
  lua_setiuservalue(L, index, LPG_STREAM_ROWS);
  bool first = op->before == 0;
  if (first)
    lpg_prepare_settle(L, op->conn, slot + CONN, slot + STATEMENT);
  s->rows = op->rows;
  s->at = 0;
  s->to = portion(op);
  s->ended = ended;
  if (ended)
    lpg_hold_end(&s->hold);
  else
    lpg_hold_begin(&s->hold, op->conn);
  if (s->closed) /* while this coroutine waited */
    lpg_hold_break(&s->hold);
  lpg_op_end(L, slot);
  return first ? lpg_stream_iterate(L, index) : lpg_stream_give(L, index);
}

/* Where it would wait, the rows that are there go first. */
static int on_rest(lua_State *L, lpg_op *op, int slot)
{
  bool rows = op->stage == RUN && portion(op) > 0;
  return rows ? deliver(L, op, slot, false) : LPG_CONTINUE;
}

static int on_result(lua_State *L, lpg_op *op, int slot)
{
  const PGresult *result = op->conn->wire.result;
  switch (op->stage) {
  case DESCRIBE:
    if (op->action == LPG_DESCRIPTION)
      lpg_describe(L, slot, result);
    else
      lpg_learn(L, slot, result);
    break;
  case RESOLVE:
    lpg_statement_settle(lua_touserdata(L, slot + STATEMENT), result);
    break;
  case RUN:
    if (op->action == LPG_TRANSFER)
      return lpg_copy_begin(L, op, slot, VALUES);
    lpg_collect(L, op, slot);
    return has_portion(op) ? deliver(L, op, slot, false) : LPG_CONTINUE;
  case DIAGNOSE: /* statement_timeout, in milliseconds */
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
    return deliver(L, op, slot, true);
  lpg_run_shape(L, op, slot);
  lpg_op_end(L, slot);
  return 1;
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
  type |= op->named && refused_to_bind(w->failure);
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
    return give_error(L, slot);
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
  return give_error(L, slot);
}

/* What precedes the statement is done; goes on, unless that was cancelled. */
static int proceed(lua_State *L, lpg_op *op, int slot)
{
  if (op->conn->wire.stop != LPG_CANCELLED && !op->cancelled)
    return advance(L, op, slot);
  lpg_error_new(L, "cancelled", "the statement was cancelled");
  lpg_error_boolean(L, "completed", false);
  return give_error(L, slot);
}

/* What the statement takes and gives is known. */
static int described(lua_State *L, lpg_op *op, int slot)
{
  if (op->action != LPG_DESCRIPTION) {
    if (will_prepare(op))
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
  case RECOVER:
    return w->phase == LPG_LOST ? fail(L, op, slot) : proceed(L, op, slot);
  case DESCRIBE:
    if (failed)
      return fail(L, op, slot);
    lpg_notices_clear(&op->conn->wire.notices); /* they come again */
    if (op->action != LPG_DESCRIPTION &&
        lpg_statement_ask(L, lua_touserdata(L, slot + STATEMENT)))
      return send_question(L, op, slot);
    return described(L, op, slot);
  case RESOLVE:
    return failed ? fail(L, op, slot) : described(L, op, slot);
  case UNDO:
  case RESTORE:
    return failed ? fail(L, op, slot) : proceed(L, op, slot);
  case DIAGNOSE:
    lua_pushvalue(L, slot + ROWS);
    if (op->server_timeout > 0 && op->elapsed >= op->server_timeout * 0.99) {
      lpg_error_string(L, "kind", "query_timeout");
      lpg_error_number(L, "limit", op->server_timeout);
    }
    lpg_error_number(L, "elapsed", op->elapsed);
    return give_error(L, slot);
  default:
    lpg_prepare_settle(L, op->conn, slot + CONN, slot + STATEMENT);
    lpg_settle(L, op, slot);
    lpg_scope_settle(op->conn);
    if (!failed && op->action == LPG_TRANSFER) {
      lpg_error_new(L, "query_failed", "the server did not begin to copy");
      return give_error(L, slot);
    }
    if (!failed)
      return give_result(L, op, slot);
    if (stale(L, op, slot))
      return send_describe(L, op, slot);
    return fail(L, op, slot);
  }
}

int lpg_run_fail(lua_State *L, lpg_op *op, int slot)
{
  op->stage = RUN;
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
  op->stage = RUN;
  op->settings = *settings;
  op->limits = lpg_run_limits(op->conn, settings);
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
  op->script = action == LPG_EXECUTE && count == 0 &&
               !(op->conn->readonly && op->conn->pooler);
  op->several = op->script && strchr(lua_tostring(L, SQL), ';');
  if (action == LPG_EACH) {
    lpg_stream_new(L, HANDLE, SQL, settings);
    lua_replace(L, slot + OBJECT);
  } else if (action == LPG_PREPARE) {
    lua_pushvalue(L, VALUES);
    lua_replace(L, slot + OBJECT);
  }
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
