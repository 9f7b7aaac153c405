/* SPDX-License-Identifier: MIT */
#include "send.h"

#include <string.h>

#include "collect.h"
#include "conn_codecs.h"
#include "copy.h"
#include "error.h"
#include "learnt.h"
#include "outcome.h"
#include "prepare.h"
#include "rows.h"
#include "run.h"
#include "stream.h"
#include "transaction.h"

/* Of what was not the script's question: bytes. The catalogue may have much to
 * say of a thousand columns of as many fields. */
enum { OWN_RESULT = 1024 * 1024, TYPES_RESULT = 64 * 1024 * 1024 };

int lpg_give_error(lua_State *L, int slot)
{
  const lpg_op *op = lua_touserdata(L, slot);
  return op->action == LPG_EACH ? lpg_stream_fail(L, slot)
                                : lpg_outcome_fail(L, slot, SQL);
}

static lpg_limits remaining(const lpg_op *op)
{
  lpg_limits limits = op->limits;
  limits.deadline = op->deadline;
  return limits;
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
  return lpg_give_error(L, slot);
}

int lpg_send(lua_State *L, lpg_op *op, int slot, int stage,
             const lpg_request *request)
{
  lpg_limits limits = remaining(op);
  if (stage != LPG_AT_RUN) /* an answer to us, not to the script */
    limits.result = stage == LPG_AT_TYPES || stage == LPG_AT_VALUES
                        ? TYPES_RESULT
                        : OWN_RESULT;
  const lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  limits.narrow = stage == LPG_AT_RUN && s && s->narrow;
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

const char *lpg_restoring(lua_State *L, lpg_conn *c)
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
  lpg_error_new(L, "invalid_parameter", "parameter $%d%s: %s", parameter,
                fault->path, fault->text);
  lpg_error_number(L, "parameter", parameter);
  return lpg_give_error(L, slot);
}

bool lpg_will_prepare(const lpg_op *op)
{
  return op->action == LPG_PREPARE && op->conn->prepares;
}

int lpg_send_describe(lua_State *L, lpg_op *op, int slot)
{
  lpg_fault fault;
  lpg_request request = {.kind = LPG_DESCRIBE, .sql = lua_tostring(L, SQL)};
  if (lpg_codecs_due(op->conn) && !op->settings.own &&
      op->stage != LPG_AT_CODECS) {
    op->described = false; /* comes after it */
    return lpg_codecs_ask(L, op, slot);
  }
  int wrong = op->conn->codecs
                  ? 0 /* a codec may take anything */
                  : lpg_params_check(L, op->first, op->count, &fault);
  if (wrong)
    return misfit(L, slot, wrong, &fault);
  lpg_params_declare(L, &op->conn->params, op->first, op->count, &request);
  op->described = true;
  op->named = lpg_will_prepare(op);
  if (op->named) {
    lpg_statement *s = lpg_statement_new(L, SQL, -1);
    lpg_prepare_name(op->conn, s);
    lua_replace(L, slot + STATEMENT);
    request.name = s->name;
  }
  return lpg_send(L, op, slot, LPG_AT_DESCRIBE, &request);
}

bool lpg_run_needs_read_only(const lpg_conn *c)
{
  return c->readonly && c->pooler &&
         PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE;
}

bool lpg_brings_begin(lua_State *L, const lpg_op *op)
{
  char word[LPG_WORD];
  lpg_next_word(lua_tostring(L, SQL), word);
  return op->action <= LPG_EXECUTE && !op->script &&
         strcmp(word, "copy") != 0 && !lpg_run_needs_read_only(op->conn);
}

int lpg_send_begin(lua_State *L, lpg_op *op, int slot)
{
  bool guard = lpg_run_needs_read_only(op->conn);
  lpg_request request = {.kind = guard ? LPG_STATEMENT : LPG_SCRIPT,
                         .sql = op->begin,
                         .before = guard ? LPG_READ_ONLY : NULL};
  memcpy(op->begin, op->conn->begin, sizeof op->begin);
  *op->conn->begin = '\0';
  return lpg_send(L, op, slot, LPG_AT_BEGIN, &request);
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

static lpg_signature signature_of(const lpg_op *op, const lpg_statement *s)
{
  const lpg_typemap *types = op->settings.own ? NULL : op->conn->types;
  return s ? (lpg_signature){s->count, s->types, types, false}
           : (lpg_signature){-1, NULL, types, false};
}

/* What was learnt of the types may be out of date: another session may have
 * altered them since. */
static int doubt(lua_State *L, lpg_op *op, int slot)
{
  op->doubted = true;
  if (lpg_statement_takes_learnt(lua_touserdata(L, slot + STATEMENT)))
    lpg_forget_types(L, slot + CONN);
  lpg_put_nil(L, slot + STATEMENT);
  lpg_remember(L, slot); /* forgets it */
  return lpg_send_describe(L, op, slot);
}

int lpg_send_statement(lua_State *L, lpg_op *op, int slot)
{
  lpg_fault fault;
  lpg_conn *c = op->conn;
  const lpg_statement *s = record(L, op, slot);
  lpg_request request = {.kind = op->script ? LPG_SCRIPT : LPG_STATEMENT,
                         .sql = lua_tostring(L, SQL),
                         .result_format = s && s->binary};
  int wrong = lpg_params_convert(L, &c->params, op->first, op->count,
                                 signature_of(op, s), &op->settings.view,
                                 &request, &fault);
  if (wrong && s && s->count >= 0 && !op->doubted &&
      (!op->described || lpg_statement_takes_learnt(s)))
    return doubt(L, op, slot);
  if (wrong)
    return misfit(L, slot, wrong, &fault);
  memcpy(op->begin, c->begin, sizeof op->begin);
  op->transaction =
      *op->begin || PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE;
  if (*op->begin) {
    request.before = op->begin;
  } else if (!surround(L, op, slot, &request)) {
    lpg_error_new(L, "wrong_action",
                  op->action == LPG_EACH
                      ? "COPY has no rows for db:each; db:copy_rows has"
                      : "COPY does not run on a read-only connection behind a "
                        "pooler");
    return lpg_give_error(L, slot);
  }
  lpg_prepare_choose(L, c, slot + CONN, slot + STATEMENT, op->settings.eager,
                     &request);
  op->named = request.name != NULL;
  *c->begin = '\0';
  return lpg_send(L, op, slot, LPG_AT_RUN, &request);
}

int lpg_send_copy(lua_State *L, lpg_op *op, int slot)
{
  lpg_copy *copy = lua_touserdata(L, VALUES);
  bool guard = lpg_run_needs_read_only(op->conn);
  lpg_request request = {.kind = copy->in ? LPG_TO_SERVER : LPG_FROM_SERVER};
  op->transaction = PQtransactionStatus(op->conn->wire.pg) != PQTRANS_IDLE;
  op->limits.each = true;
  request.sql = lpg_copy_script(L, copy, SQL, guard ? LPG_READ_ONLY ";" : "",
                                op->transaction);
  op->lead = copy->lead;
  return lpg_send(L, op, slot, LPG_AT_RUN, &request);
}

/* Rows of a stream cannot wait for their types. */
static bool must_see(lua_State *L, const lpg_op *op, int slot)
{
  const lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (op->action != LPG_EACH)
    return op->conn->shy && !(s && s->seen);
  if (!s || !s->seen)
    return true;
  lua_getiuservalue(L, slot + STATEMENT, LPG_STATEMENT_PLAN);
  const lpg_plan *plan = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return plan && (plan->open || (plan->learnt && plan->map != op->conn->types));
}

bool lpg_must_describe(lua_State *L, const lpg_op *op, int slot)
{
  const lpg_statement *s = lua_touserdata(L, slot + STATEMENT);
  if (op->script || op->described)
    return false;
  return must_see(L, op, slot) ||
         lpg_params_need_types(L, op->first, op->count, signature_of(op, s),
                               &op->settings.view, op->conn->utf8);
}
