/* SPDX-License-Identifier: MIT */
#include "pipeline.h"

#include <lauxlib.h>
#include <string.h>

#include "ask.h"
#include "collect.h"
#include "error.h"
#include "kept.h"
#include "learnt.h"
#include "outcome.h"
#include "queue.h"
#include "send.h"
#include "transaction.h"

enum { PORTION = 64 * 1024 };

/* The frame of sending, between the SQL text and the connection. */
enum { PIPE = VALUES, RESULTS, TEXTS, HELD, CONNECTION };

/* --- sending ---------------------------------------------------------- */

/* Has the server parsed the item's text just before, with these types? Then it
 * is still there, without a name: nobody else's can come in between. */
static bool is_parsed(const lpg_pipeline *p, const lpg_item *one)
{
  if (p->parsed < 0)
    return false;
  const lpg_item *last = lpg_item_at(p, p->parsed);
  if (last->text != one->text || last->typed != one->typed ||
      !lpg_text_at(p, one->text)->again)
    return false;
  return !one->typed || (last->count == one->count &&
                         memcmp(lpg_item_types(last), lpg_item_types(one),
                                (size_t)one->count * sizeof(Oid)) == 0);
}

static bool queue(lua_State *L, lpg_op *op, lpg_pipeline *p,
                  const lpg_item *one)
{
  static const lpg_signature open = {-1, NULL, NULL, false};
  int top = lua_gettop(L);
  const int *lengths = one->binary ? lpg_item_lengths(one) : NULL;
  const lpg_statement *s = lpg_text_known(L, TEXTS, one->text);
  lpg_request request = {
      .kind = LPG_STATEMENT,
      .sql = lpg_text_at(p, one->text)->sql,
      .name = is_parsed(p, one) ? "" : NULL,
      .count = one->count,
      .types = one->typed ? lpg_item_types(one) : NULL,
      .values = one->values,
      .lengths = lengths,
      .formats = lengths ? lengths + one->count : NULL,
      .result_format = s && s->binary,
  };
  if (!one->values) {
    lpg_fault fault;
    luaL_checkstack(L, one->count, "pipeline");
    for (int i = 1; i <= one->count; i++)
      lua_rawgeti(L, HELD, one->held + i);
    lpg_params_convert(L, &op->conn->params, top + 2, one->count, open,
                       &lpg_settings_at(p, one->settings)->view, &request,
                       &fault);
  }
  bool queued = lpg_wire_queue(&op->conn->wire, &request);
  lua_settop(L, top);
  return queued;
}

static int on_done(lua_State *L, lpg_op *op, int slot);

/* What goes before the items, or NULL. Some statements commit at once when they
 * are the first, CREATE DATABASE for one; behind another one they are refused.
 * It must be no query: a first SET TRANSACTION may choose the isolation. */
static const char *find_lead(const lpg_pipeline *p, const lpg_conn *c)
{
  if (lpg_run_needs_read_only(c))
    return LPG_READ_ONLY;
  bool exposed = PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE &&
                 lpg_count_items(p) > 1 &&
                 !lpg_text_at(p, lpg_item_at(p, 0)->text)->again;
  return exposed ? "SHOW transaction_isolation" : NULL;
}

/* More goes out when the last portion is on its way. */
static int on_rest(lua_State *L, lpg_op *op, int slot)
{
  lpg_wire *w = &op->conn->wire;
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  if (!w->open || !w->flushed)
    return LPG_CONTINUE;
  bool queued = true;
  if (p->sent == 0 && p->lead > 0) {
    lpg_request lead = {.kind = LPG_STATEMENT, .sql = p->leader};
    queued = lpg_wire_queue(w, &lead);
  }
  for (size_t bytes = 0;
       queued && bytes < PORTION && p->sent < lpg_count_items(p); p->sent++) {
    const lpg_item *one = lpg_item_at(p, p->sent);
    queued = queue(L, op, p, one);
    p->parsed = p->sent;
    bytes += sizeof *one + one->bytes;
    lpg_queue_drop_sent(p, one);
  }
  if (queued && p->sent == lpg_count_items(p))
    queued = lpg_wire_seal(w);
  return queued ? LPG_CONTINUE : on_done(L, op, slot);
}

/* The limit on a result is looked at before the first row is seen here. */
static void limit_result(lua_State *L, lpg_op *op, const lpg_pipeline *p,
                         int number)
{
  if (number >= lpg_count_items(p))
    return;
  const lpg_item *one = lpg_item_at(p, number);
  const lpg_statement *known = lpg_text_known(L, TEXTS, one->text);
  lua_pop(L, 1);
  op->conn->wire.limits.narrow = op->limits.narrow = known && known->narrow;
  const lpg_settings *s = lpg_settings_at(p, one->settings);
  op->conn->wire.limits.result = op->limits.result =
      lpg_settings_limits(s, op->conn->ceilings).result;
}

/* Makes the frame that of the item whose answer comes, or failed. */
static void turn_to(lua_State *L, lpg_op *op, int slot, int number)
{
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  const lpg_item *one = lpg_item_at(p, number);
  const lpg_item *last = p->at < 0 ? NULL : lpg_item_at(p, p->at);
  p->at = number;
  op->answering = op->tabular = false;
  if (last && last->text == one->text && last->settings == one->settings &&
      last->action == one->action)
    return;
  lua_rawgeti(L, TEXTS, 2 * one->text + 1);
  lua_replace(L, SQL);
  lpg_text_known(L, TEXTS, one->text);
  lua_replace(L, slot + STATEMENT);
  op->action = one->action;
  op->settings = *lpg_settings_at(p, one->settings);
}

static int on_result(lua_State *L, lpg_op *op, int slot)
{
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  if (op->stage == LPG_AT_VALUES) {
    lpg_ask_take(L, slot, op->conn->wire.result);
    return LPG_CONTINUE;
  }
  int number = op->conn->wire.command - p->lead;
  if (number < 0) {
    lpg_notices_clear(&op->conn->wire.notices);
    return LPG_CONTINUE;
  }
  if (number != p->at)
    turn_to(L, op, slot, number);
  lpg_collect(L, op, slot);
  if (op->answering)
    return LPG_CONTINUE;
  lpg_kept_note(L, op, slot);
  lpg_run_shape(L, op, slot);
  lua_rawseti(L, RESULTS, number + 1);
  lua_pushvalue(L, slot + STATEMENT);
  lua_rawseti(L, TEXTS, 2 * lpg_item_at(p, number)->text + 2);
  limit_result(L, op, p, p->answered = number + 1);
  return LPG_CONTINUE;
}

/* The statement that is to blame is the frame's, and what was known of it is
 * forgotten: it may have been out of date. */
static int fail(lua_State *L, lpg_op *op, int slot)
{
  static const char *const of_types[] = {"22", "42", "XX", NULL};
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  const lpg_wire *w = &op->conn->wire;
  bool told = w->failure && w->stop == LPG_RUNS && !op->misread;
  int number = told ? w->failed - p->lead : p->answered;
  bool known = number >= 0 && number < lpg_count_items(p);
  p->failed = known ? number + 1 : 0;
  if (known && !op->misread)
    turn_to(L, op, slot, number);
  if (known && told) {
    lpg_put_nil(L, slot + STATEMENT);
    lpg_remember(L, slot);
    const char *state = PQresultErrorField(w->failure, PG_DIAG_SQLSTATE);
    if (state && lpg_begins_with(state, of_types))
      lpg_forget_types(L, slot + CONN);
  } else if (!known) { /* its end: what was put off to it */
    lua_pushliteral(L, "");
    lua_replace(L, SQL);
  }
  return lpg_run_fail(L, op, slot);
}

/* The results, unless their values were not all to be read, or are not yet. */
static int give(lua_State *L, int slot, int results)
{
  if (results)
    return results;
  lpg_op_end(L, slot);
  lua_settop(L, RESULTS);
  return 1;
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  if (op->stage == LPG_AT_VALUES)
    return give(L, slot, lpg_kept_end(L, op, slot));
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  const lpg_wire *w = &op->conn->wire;
  bool whole = w->phase == LPG_IDLE && !w->failure && !w->dropped &&
               !w->spoiled && p->answered == lpg_count_items(p);
  p->sending = false;
  lpg_settle(L, op, slot);
  lpg_scope_settle(op->conn);
  if (!whole)
    return fail(L, op, slot);
  return give(L, slot, lpg_kept_ask(L, op, slot));
}

/* Pushes the fields of an error when a statement could end the transaction that
 * all of it is; not so in one that was begun before. e */
static bool has_procedure(lua_State *L, lpg_pipeline *p, const lpg_conn *c)
{
  int number = 0, count = lpg_count_items(p);
  while (number < count &&
         !lpg_text_at(p, lpg_item_at(p, number)->text)->commits)
    number++;
  if (number == count || PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE)
    return false;
  p->failed = number + 1;
  lpg_error_new(L, "wrong_action",
                "CALL and DO could commit in the middle of a pipeline, which "
                "is one transaction");
  lpg_error_fix(L, "Run the pipeline in a transaction, where they cannot: "
                   "db:transaction(function(tx) tx:pipeline(...) end).");
  lua_rawgeti(L, TEXTS, 2 * lpg_item_at(p, number)->text + 1);
  lua_setfield(L, -2, "sql");
  lpg_error_string(L, "stage", "statement");
  return true;
}

/* The connection is ready: nothing of others is left on it. */
static int begin(lua_State *L, int status, lua_KContext context)
{
  (void)status;
  (void)context;
  if (!lua_isuserdata(L, -2) && !lua_isboolean(L, -2))
    return 2;
  lua_settop(L, PIPE);
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  const lpg_handle *handle = lpg_handle_check(L, HANDLE);
  lpg_conn *c = handle->conn;
  int count = lpg_count_items(p);
  lua_createtable(L, count, 0);
  lpg_mark_list(L);
  lua_getiuservalue(L, PIPE, LPG_PIPE_TEXTS);
  lua_getiuservalue(L, PIPE, LPG_PIPE_HELD);
  lua_getiuservalue(L, HANDLE, 1);
  if (lpg_scope_refuses(L, CONNECTION, NULL))
    return lpg_handle_fail(L, HANDLE);
  if (has_procedure(L, p, c))
    return lpg_handle_fail(L, HANDLE);
  lpg_op *op = lpg_op_begin(L, CONNECTION);
  int slot = lua_gettop(L);
  op->kept = KEPT;
  op->result = on_result;
  op->done = on_done;
  op->rest = on_rest;
  op->limits = lpg_run_limits(c, &handle->settings);
  luaL_checkstack(L, 3 * KEPT + 20, "pipeline");
  lua_settop(L, slot + KEPT);
  p->leader = find_lead(p, c);
  p->lead = p->leader != NULL;
  p->at = p->parsed = -1;
  p->sending = true;
  limit_result(L, op, p, 0);
  bool opened = lpg_wire_open(&c->wire, &op->limits);
  return opened ? lpg_await(L, LUA_OK, slot) : on_done(L, op, slot);
}

/* core.send_pipeline(p): the list of results, or nil and an error. */
static int send_pipeline(lua_State *L)
{
  lpg_pipeline *p = lpg_pipeline_check(L);
  lua_settop(L, 1);
  p->open = false;
  if (lua_getiuservalue(L, 1, LPG_PIPE_FAILURE) != LUA_TNIL) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, LPG_PIPE_HANDLE);
  lua_pushliteral(L, "");
  lua_rotate(L, 1, 2); /* the handle, SQL, the pipeline */
  if (lpg_count_items(p) == 0) {
    lua_newtable(L);
    lpg_mark_list(L);
    return 1;
  }
  lua_pushcfunction(L, lpg_queue_learn);
  lua_pushvalue(L, HANDLE);
  lua_pushvalue(L, SQL);
  lua_callk(L, 2, 2, 0, begin);
  return begin(L, LUA_OK, 0);
}

/* core.pipeline_failure(p): the place of the statement that failed, and how
 * many there are. */
static int failure(lua_State *L)
{
  const lpg_pipeline *p = luaL_checkudata(L, 1, lpg_pipeline_name);
  if (p->failed)
    lua_pushinteger(L, p->failed);
  else
    lua_pushnil(L);
  lua_pushinteger(L, p->places);
  return 2;
}

/* core.pipeline_open(p): may be queued into. */
static int is_open(lua_State *L)
{
  lua_pushboolean(
      L, ((lpg_pipeline *)luaL_checkudata(L, 1, lpg_pipeline_name))->open);
  return 1;
}

/* core.refuse_pipeline(p, err): nil and the error, which is what comes of it.
 */
static int refuse_pipeline(lua_State *L)
{
  luaL_checkudata(L, 1, lpg_pipeline_name);
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, LPG_PIPE_HANDLE);
  lua_replace(L, HANDLE);
  lua_pushnil(L);
  lua_insert(L, 2);
  return lpg_queue_refuse(L);
}

/* core.pipeline(db): a pipeline on the connection, with the handle's settings.
 */
static int new_pipeline(lua_State *L)
{
  const lpg_handle *h = lpg_handle_check(L, 1);
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  lpg_pipeline *p = lua_newuserdatauv(L, sizeof *p, LPG_PIPE_VALUES);
  *p = (lpg_pipeline){.open = true};
  luaL_setmetatable(L, lpg_pipeline_name);
  for (int i = LPG_PIPE_TEXTS; i <= LPG_PIPE_HELD; i++) {
    lua_newtable(L);
    lua_setiuservalue(L, 3, i);
  }
  lua_getiuservalue(L, 1, LPG_PIPE_HOLDER);
  lua_setiuservalue(L, 3, LPG_PIPE_LEASE);
  lpg_handle *own = lpg_handle_new(L, 2);
  own->settings = h->settings;
  own->lease = h->lease;
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, LPG_PIPE_HOLDER);
  lua_setiuservalue(L, 3, LPG_PIPE_HANDLE);
  return 1;
}

/* --- the library ------------------------------------------------------- */

static int collect_pipeline(lua_State *L)
{
  lpg_queue_free(luaL_checkudata(L, 1, lpg_pipeline_name));
  return 0;
}

/* The function that queues has ended, in whatever way. */
static int close_pipeline(lua_State *L)
{
  lpg_pipeline *p = luaL_checkudata(L, 1, lpg_pipeline_name);
  p->open = false;
  if (!p->sending)
    lpg_queue_free(p);
  return 0;
}

static int put_query(lua_State *L)
{
  return lpg_queue_put(L, LPG_QUERY);
}

static int put_update(lua_State *L)
{
  return lpg_queue_put(L, LPG_UPDATE);
}

static int put_delete(lua_State *L)
{
  return lpg_queue_put(L, LPG_DELETE);
}

static int put_execute(lua_State *L)
{
  return lpg_queue_put(L, LPG_EXECUTE);
}

void lpg_pipeline_open_library(lua_State *L, int core)
{
  static const luaL_Reg meta[] = {
      {"__gc", collect_pipeline}, {"__close", close_pipeline}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"query", put_query},
                                     {"update", put_update},
                                     {"delete", put_delete},
                                     {"execute", put_execute},
                                     {NULL, NULL}};
  static const luaL_Reg functions[] = {
      {"pipeline", new_pipeline},           {"send_pipeline", send_pipeline},
      {"pipeline_failure", failure},        {"pipeline_open", is_open},
      {"refuse_pipeline", refuse_pipeline}, {NULL, NULL}};
  luaL_newmetatable(L, lpg_pipeline_name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  if (lua_getfield(L, -1, "__index") != LUA_TTABLE) { /* else loaded again */
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
  }
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, methods, 1);
  lua_setfield(L, core, "pipeline_methods");
  lua_pop(L, 1);
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
