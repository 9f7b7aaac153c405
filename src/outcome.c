/* SPDX-License-Identifier: MIT */
#include "outcome.h"

#include <string.h>

#include "error.h"
#include "transaction.h"

static bool state_is(const PGresult *failure, const char *state)
{
  const char *s =
      failure ? PQresultErrorField(failure, PG_DIAG_SQLSTATE) : NULL;
  return s && strcmp(s, state) == 0;
}

bool lpg_outcome_unexplained(const lpg_wire *w)
{
  return w->stop == LPG_RUNS && w->phase == LPG_IDLE &&
         state_is(w->failure, "57014") &&
         PQtransactionStatus(w->pg) == PQTRANS_IDLE;
}

/* A pipeline is committed by its end, which the server has not got, or got
 * after what failed it. */
static bool never_whole(const lpg_wire *w)
{
  return w->open || w->spoiled;
}

void lpg_outcome_completed(lua_State *L, const lpg_conn *c)
{
  bool taken_back = lpg_scope_guards(c), never = never_whole(&c->wire);
  if (taken_back)
    lpg_error_boolean(L, "taken_back", true); /* for errors.lua's words */
  if (taken_back || never || c->wire.phase != LPG_LOST)
    lpg_error_boolean(L, "completed",
                      !c->wire.failure && !taken_back && !never);
}

static void describe_limit(lua_State *L, const lpg_op *op)
{
  const lpg_wire *w = &op->conn->wire;
  double ceiling = lpg_ceilings_of(L)->limits.timeout;
  double limit = op->limits.timeout;
  if (w->stop == LPG_TIMED_OUT) {
    lpg_error_new(L, "query_timeout", NULL); /* errors.lua words it */
    lpg_error_number(L, "elapsed", op->elapsed);
  } else {
    lpg_error_new(L, "result_too_large", NULL);
    lpg_error_number(L, "bytes", w->received + w->since);
    limit = op->limits.result;
    ceiling = lpg_ceilings_of(L)->limits.result;
  }
  lpg_error_number(L, "limit", limit);
  if (limit >= ceiling)
    lpg_error_number(L, "ceiling", ceiling);
  lpg_outcome_completed(L, op->conn);
}

static void describe_lost(lua_State *L, const lpg_wire *w)
{
  if (w->failure && PQresultErrorField(w->failure, PG_DIAG_SQLSTATE))
    lpg_error_from_result(L, w->failure);
  else if (w->stop == LPG_ABANDONED)
    lpg_error_new(L, "connection_lost",
                  "an earlier statement, left in the middle, did not end when "
                  "it was cancelled; the connection was closed");
  else if (w->stop == LPG_CANCELLED && !w->words)
    lpg_error_new(L, "connection_lost",
                  "the statement did not end when it was cancelled; the "
                  "connection was closed");
  else
    lpg_error_new(L, "connection_lost", "%s",
                  w->words ? w->words : "the connection broke");
}

/* The place in the statement alone, without what was sent before it. */
static void shift_position(lua_State *L, int lead)
{
  lua_getfield(L, -1, "position");
  lua_Integer position = lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (position > lead)
    lpg_error_number(L, "position", (double)(position - lead));
}

void lpg_outcome_describe(lua_State *L, const lpg_op *op)
{
  const lpg_wire *w = &op->conn->wire;
  bool ours =
      !w->failure || state_is(w->failure, "57014") || w->phase == LPG_LOST;
  switch (w->stop) {
  case LPG_TIMED_OUT:
  case LPG_TOO_LARGE:
    if (ours) {
      describe_limit(L, op);
      return;
    }
    break;
  case LPG_COPY:
    lpg_error_new(L, "wrong_action",
                  "COPY FROM STDIN and COPY TO STDOUT move data outside of "
                  "the result, which this action cannot do");
    lpg_outcome_completed(L, op->conn);
    return;
  case LPG_CANCELLED:
    if (ours && w->phase != LPG_LOST) {
      lpg_error_new(L, "cancelled", "the statement was cancelled");
      lpg_outcome_completed(L, op->conn);
      return;
    }
    break;
  case LPG_RUNS:
  case LPG_ABANDONED:
    break;
  }
  if (w->phase != LPG_LOST) {
    lpg_error_from_result(L, w->failure);
    if (op->lead > 0)
      shift_position(L, op->lead);
    return;
  }
  describe_lost(L, w);
  if (never_whole(w))
    lpg_error_boolean(L, "completed", false);
}

/* 25P02: what is behind it is the error that failed the transaction. */
static void add_failure(lua_State *L, int fields, int conn)
{
  lua_getfield(L, fields, "sqlstate");
  const char *state = lua_tostring(L, -1);
  if (state && strcmp(state, "25P02") == 0) {
    lua_getiuservalue(L, conn, LPG_CONN_FAILURE);
    lua_setfield(L, fields, "cause");
  }
  lua_pop(L, 1);
}

int lpg_outcome_fail(lua_State *L, int slot, int sql)
{
  int fields = lua_gettop(L), conn = slot - 1;
  const lpg_op *op = lua_touserdata(L, slot);
  const lpg_wire *w = &op->conn->wire;
  bool lost = w->phase == LPG_LOST, was_failing = op->failing;
  bool failing = w->pg && PQtransactionStatus(w->pg) == PQTRANS_INERROR;
  lpg_error_string(L, "stage", sql ? "statement" : "connect");
  if (sql) {
    lua_pushvalue(L, sql);
    lua_setfield(L, fields, "sql");
  }
  if (was_failing)
    add_failure(L, fields, conn);
  lua_getiuservalue(L, conn, LPG_CONN_IDENTITY);
  lua_pushvalue(L, fields);
  lpg_error_identity(L, -2);
  lpg_notices_clear(&op->conn->wire.notices); /* not the next result's */
  lpg_op_end(L, slot);
  lpg_error_return(L);
  const lpg_conn *c = lua_touserdata(L, conn);
  lpg_conn_record(L, conn);
  if (lost || (failing && !was_failing && !c->scope)) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, conn, lost ? LPG_CONN_CAUSE : LPG_CONN_FAILURE);
  }
  return 2;
}

bool lpg_styles_are_ours(const PGconn *pg)
{
  const char *date = PQparameterStatus(pg, "DateStyle");
  const char *interval = PQparameterStatus(pg, "IntervalStyle");
  return (!date || strncmp(date, "ISO", 3) == 0) &&
         (!interval || strcmp(interval, "postgres") == 0 ||
          strcmp(interval, "iso_8601") == 0);
}
