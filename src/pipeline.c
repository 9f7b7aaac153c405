/* SPDX-License-Identifier: MIT */
#include "pipeline.h"

#include <lauxlib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "actions.h"
#include "box.h"
#include "collect.h"
#include "error.h"
#include "outcome.h"
#include "run.h"
#include "statement.h"
#include "transaction.h"

static const char *const name = "pg.pipeline/1";

/* Strings up to SHORT bytes are copied, longer ones stay where Lua has them. */
enum { CHUNK = 64 * 1024, SHORT = 256, PORTION = 64 * 1024 };

/* A pipeline's user values: its own handle, which holds it in turn; the
 * transaction's lease; texts with what is known of them; long strings; the
 * error of a call that was refused. */
enum { PIPE_HANDLE = 1, PIPE_LEASE, PIPE_TEXTS, PIPE_STRINGS, PIPE_FAILURE };
enum { PIPE_VALUES = PIPE_FAILURE, OWN_HANDLE_HOLDS = 2 };

/* The frame of sending, between the SQL text and the connection. */
enum { PIPE = VALUES, RESULTS, TEXTS, CONNECTION };

/* Values on their way, first queued, first sent. */
typedef struct chunk {
  struct chunk *next;
  size_t used, size;
  char bytes[];
} chunk;

/* A statement. Behind the values lie their types, if any is declared, and
 * their lengths and formats, if any is binary. */
typedef struct item {
  const char **values;
  size_t bytes;
  int count, text, settings;
  unsigned char action;
  bool typed, binary;
} item;

typedef struct text {
  const char *sql; /* in Lua's memory */
  size_t length;
  bool again;   /* it means the same when it is run again */
  bool commits; /* it might, in its middle */
} text;

typedef struct lpg_pipeline {
  lpg_buffer items, texts, settings;
  chunk *first, *last;
  bool open; /* to be queued into */
  bool sending;
  int places;         /* that were asked for, also by calls that were refused */
  const char *leader; /* goes before the items; or NULL */
  int lead;           /* commands before the items: 1 with a leader, else 0 */
  int sent;           /* items */
  int answered;       /* items, to their end */
  int at;             /* whose answer comes */
  int parsed; /* the item whose text the server has parsed last, or -1 */
  int failed; /* the place of the item that failed, from 1; 0: none */
} lpg_pipeline;

static item *item_at(const lpg_pipeline *p, int i)
{
  return (item *)(void *)p->items.data + i;
}

static text *text_at(const lpg_pipeline *p, int i)
{
  return (text *)(void *)p->texts.data + i;
}

static lpg_settings *settings_at(const lpg_pipeline *p, int i)
{
  return (lpg_settings *)(void *)p->settings.data + i;
}

static int count_items(const lpg_pipeline *p)
{
  return (int)(p->items.length / sizeof(item));
}

static int count_texts(const lpg_pipeline *p)
{
  return (int)(p->texts.length / sizeof(text));
}

static Oid *types_of(const item *one)
{
  return (Oid *)(void *)(one->values + one->count);
}

static int *lengths_of(const item *one)
{
  return (int *)(void *)(types_of(one) + (one->typed ? one->count : 0));
}

static void append(lua_State *L, lpg_buffer *b, const void *bytes, size_t n)
{
  lpg_buffer_put(b, bytes, n);
  if (b->failed)
    luaL_error(L, "not enough memory");
}

/* --- memory ----------------------------------------------------------- */

static void drop_chunk(lpg_pipeline *p)
{
  chunk *first = p->first;
  p->first = first->next;
  if (!p->first)
    p->last = NULL;
  free(first);
}

static void release(lpg_pipeline *p)
{
  while (p->first)
    drop_chunk(p);
  lpg_buffer_free(&p->items);
  lpg_buffer_free(&p->texts);
  lpg_buffer_free(&p->settings);
}

/* Room that stays where it is. e */
static void *room(lua_State *L, lpg_pipeline *p, size_t n)
{
  n = (n + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
  if (!p->last || p->last->size - p->last->used < n) {
    size_t size = n > CHUNK ? n : CHUNK;
    chunk *c = malloc(sizeof *c + size);
    if (!c)
      luaL_error(L, "not enough memory");
    *c = (chunk){.size = size};
    *(p->last ? &p->last->next : &p->first) = c;
    p->last = c;
  }
  p->last->used += n;
  return p->last->bytes + p->last->used - n;
}

/* What lies before the chunk that holds these values has been sent. */
static void drop_sent(lpg_pipeline *p, const item *next)
{
  const char *at = (const char *)next->values;
  while (at && p->first != p->last &&
         !(at >= p->first->bytes && at < p->first->bytes + p->first->size))
    drop_chunk(p);
}

static int collect_pipeline(lua_State *L)
{
  release(luaL_checkudata(L, 1, name));
  return 0;
}

/* The function that queues has ended, in whatever way. */
static int close_pipeline(lua_State *L)
{
  lpg_pipeline *p = luaL_checkudata(L, 1, name);
  p->open = false;
  if (!p->sending)
    release(p);
  return 0;
}

/* --- queueing --------------------------------------------------------- */

/* The word that decides what the statement is. */
static void first_word(const char *sql, char word[LPG_WORD])
{
  for (sql = lpg_next_word(sql, word); !*word && *sql == ';';)
    sql = lpg_next_word(sql + 1, word);
}

static bool among(const char *word, const char *const *words)
{
  for (; *words; words++)
    if (strcmp(word, *words) == 0)
      return true;
  return false;
}

/* nil and the error on the top are what comes of the pipeline, too. */
static int refuse(lua_State *L)
{
  int err = lua_gettop(L);
  lua_getiuservalue(L, HANDLE, OWN_HANDLE_HOLDS);
  lpg_pipeline *p = lua_touserdata(L, -1);
  lua_pushinteger(L, ++p->places);
  lua_setfield(L, err, "index");
  if (lua_getiuservalue(L, -1, PIPE_FAILURE) == LUA_TNIL) {
    lua_pushvalue(L, err);
    lua_setiuservalue(L, -3, PIPE_FAILURE);
  }
  lua_settop(L, err);
  return 2;
}

/* The same for the fields on the top of an error. */
static int refuse_statement(lua_State *L)
{
  lua_pushvalue(L, SQL);
  lua_setfield(L, -2, "sql");
  lpg_error_string(L, "stage", "statement");
  lpg_handle_fail(L, HANDLE);
  return refuse(L);
}

/* Pushes the fields of an error when the statement cannot be in a pipeline: a
 * COPY would never end there, and all of it is one transaction. e */
static bool unfit(lua_State *L, const char *word)
{
  static const char *const savepoints[] = {"savepoint", "release", "rollback",
                                           NULL};
  if (strcmp(word, "copy") == 0) {
    lpg_error_new(L, "wrong_action", "COPY has no place in a pipeline");
    lpg_error_fix(L, "Run it on the connection, before or after.");
    return true;
  }
  if (!among(word, savepoints) &&
      !lpg_controls_transaction(lua_tostring(L, SQL)))
    return false;
  lpg_error_new(L, "wrong_action",
                "BEGIN, COMMIT, SAVEPOINT and the like have no place in a "
                "pipeline, which is one transaction");
  lpg_error_fix(L, "Leave it out; or run the pipeline in a transaction: "
                   "db:transaction(function(tx) tx:pipeline(...) end).");
  return true;
}

/* The number of the SQL text in the frame; -1: refused, with the fields of an
 * error pushed. e */
static int find_text(lua_State *L, lpg_pipeline *p)
{
  static const char *const steady[] = {"select", "insert", "update", "delete",
                                       "with",   "merge",  "values", NULL};
  static const char *const procedures[] = {"call", "do", NULL};
  int count = count_texts(p), top = lua_gettop(L);
  text t = {0};
  t.sql = lua_tolstring(L, SQL, &t.length);
  const text *last = count > 0 ? text_at(p, count - 1) : NULL;
  if (last && (last->sql == t.sql || (last->length == t.length &&
                                      memcmp(last->sql, t.sql, t.length) == 0)))
    return count - 1;
  lua_getiuservalue(L, HANDLE, OWN_HANDLE_HOLDS);
  lua_getiuservalue(L, -1, PIPE_TEXTS);
  int texts = lua_gettop(L);
  lua_pushvalue(L, SQL);
  if (lua_rawget(L, texts) != LUA_TNIL) {
    int known = (int)lua_tointeger(L, -1);
    lua_settop(L, top);
    return known;
  }
  char word[LPG_WORD];
  first_word(t.sql, word);
  if (unfit(L, word))
    return -1;
  t.again = among(word, steady);
  t.commits = among(word, procedures);
  lua_pushvalue(L, SQL);
  lua_rawseti(L, texts, 2 * count + 1);
  lua_getiuservalue(L, HANDLE, 1);
  if (!lpg_statement_find(L, lua_gettop(L), SQL))
    lpg_statement_new(L, SQL, -1);
  lua_rawseti(L, texts, 2 * count + 2);
  lua_pushvalue(L, SQL);
  lua_pushinteger(L, count);
  lua_rawset(L, texts);
  append(L, &p->texts, &t, sizeof t);
  lua_settop(L, top);
  return count;
}

static int find_settings(lua_State *L, lpg_pipeline *p, const lpg_settings *s)
{
  int last = (int)(p->settings.length / sizeof *s) - 1;
  const lpg_settings *before = last < 0 ? NULL : settings_at(p, last);
  if (before && before->limits.result == s->limits.result &&
      before->shape == s->shape && before->keep_null == s->keep_null &&
      memcmp(&before->view, &s->view, sizeof s->view) == 0)
    return last;
  append(L, &p->settings, s, sizeof *s);
  return last + 1;
}

/* A long string stays where it is: the pipeline holds it. It is the value at
 * the index, or in its wrapper. e */
static void hold_string(lua_State *L, int index, const char *bytes)
{
  int top = lua_gettop(L);
  lua_getiuservalue(L, HANDLE, OWN_HANDLE_HOLDS);
  lua_getiuservalue(L, -1, PIPE_STRINGS);
  lua_pushvalue(L, index);
  if (lua_istable(L, -1))
    lua_rawgeti(L, -1, 1);
  if (lua_tostring(L, -1) != bytes)
    luaL_error(L, "a parameter changed while it was queued");
  lua_rawseti(L, top + 2, (lua_Integer)lua_rawlen(L, top + 2) + 1);
  lua_settop(L, top);
}

/* Without a length it is text in the connection's memory. */
static size_t length_of(const lpg_request *r, size_t i)
{
  return r->lengths[i] < 0 ? strlen(r->values[i]) : (size_t)r->lengths[i];
}

/* Makes room for the values; answers where those that are copied go. e */
static char *value_room(lua_State *L, lpg_pipeline *p, const lpg_request *r,
                        item *one)
{
  size_t n = (size_t)r->count, copied = 0;
  for (size_t i = 0; i < n; i++) {
    one->bytes += r->values[i] ? length_of(r, i) + 1 : 0;
    one->binary |= r->formats[i] != 0;
    if (r->values[i] && r->lengths[i] <= SHORT)
      copied += length_of(r, i) + 1;
  }
  one->typed = r->types != NULL;
  size_t cell = sizeof *one->values + (one->typed ? sizeof(Oid) : 0) +
                (one->binary ? 2 * sizeof(int) : 0);
  one->values = room(L, p, n * cell + copied);
  return (char *)one->values + n * cell;
}

/* The values as they will be sent. e */
static void keep_values(lua_State *L, lpg_pipeline *p, const lpg_request *r,
                        item *one)
{
  size_t n = (size_t)r->count;
  char *at = value_room(L, p, r, one);
  if (one->typed)
    memcpy(types_of(one), r->types, n * sizeof(Oid));
  if (one->binary)
    memcpy(lengths_of(one) + n, r->formats, n * sizeof(int));
  for (size_t i = 0; i < n; i++) {
    size_t length = r->values[i] ? length_of(r, i) : 0;
    one->values[i] = r->values[i];
    if (one->binary)
      lengths_of(one)[i] = (int)length;
    if (r->values[i] && r->lengths[i] > SHORT) {
      hold_string(L, VALUES + (int)i, r->values[i]);
    } else if (r->values[i]) {
      one->values[i] = memcpy(at, r->values[i], length + 1);
      at += length + 1;
    }
  }
}

/* The frame: the handle, SQL, `count` values, the numbers of the text and the
 * settings. Answers the place in the results. e */
static int keep(lua_State *L, const lpg_statement *s, lpg_action action,
                int count)
{
  lpg_fault fault;
  lpg_request request = {.sql = lua_tostring(L, SQL)};
  const lpg_handle *handle = lua_touserdata(L, HANDLE);
  lua_getiuservalue(L, HANDLE, OWN_HANDLE_HOLDS);
  lpg_pipeline *p = lua_touserdata(L, -1);
  item one = {.count = count,
              .text = (int)lua_tointeger(L, VALUES + count),
              .settings = (int)lua_tointeger(L, VALUES + count + 1),
              .action = (unsigned char)action};
  lpg_signature known = {s ? s->count : -1, s ? s->types : NULL};
  int wrong = lpg_params_convert(L, &handle->conn->params, VALUES, count, known,
                                 &request, &fault);
  if (wrong) {
    lpg_error_new(L, "invalid_parameter", "parameter $%d: %s", wrong,
                  fault.text);
    lpg_error_number(L, "parameter", wrong);
    return refuse_statement(L);
  }
  if (count > 0)
    keep_values(L, p, &request, &one);
  append(L, &p->items, &one, sizeof one);
  lua_pushinteger(L, ++p->places);
  return 1;
}

enum { ACTION_BITS = 8 };

/* The server has said which types the statement takes, or why it does not. */
static int learnt(lua_State *L, int status, lua_KContext context)
{
  (void)status;
  int count = (int)(context >> ACTION_BITS);
  lpg_action action = (lpg_action)(context & ((1 << ACTION_BITS) - 1));
  if (!lua_isuserdata(L, -2))
    return refuse(L);
  lua_pop(L, 1);
  lua_getiuservalue(L, HANDLE, OWN_HANDLE_HOLDS);
  const lpg_pipeline *p = lua_touserdata(L, -1);
  if (!p->open)
    return lpg_raise(L, "the pipeline has ended");
  lpg_handle_check(L, HANDLE);
  lua_getiuservalue(L, -1, PIPE_TEXTS);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, 2 * lua_tointeger(L, VALUES + count) + 2);
  lua_pop(L, 2);
  return keep(L, lua_touserdata(L, -1), action, count);
}

static int learn(lua_State *L)
{
  const lpg_handle *handle = lpg_handle_check(L, HANDLE);
  if (!lpg_handle_ready(L, HANDLE, handle))
    return 2;
  return lpg_run(L, LPG_LEARN, lua_gettop(L) - 2, &handle->settings);
}

/* Pushes what is known of the text with this number. */
static lpg_statement *known_of(lua_State *L, int texts, int number)
{
  lua_rawgeti(L, texts, 2 * number + 2);
  return lua_touserdata(L, -1);
}

static lpg_pipeline *check_open(lua_State *L)
{
  lpg_pipeline *p = lpg_box_check(L, 1, name);
  if (!p->open)
    lpg_raise(L, "the pipeline has ended");
  return p;
}

static int put(lua_State *L, lpg_action action)
{
  lpg_call call;
  lpg_pipeline *p = check_open(L);
  lua_getiuservalue(L, 1, PIPE_HANDLE);
  lua_replace(L, HANDLE); /* which holds the pipeline */
  const lpg_handle *handle = lua_touserdata(L, HANDLE);
  if (!lpg_actions_read(L, action, &call))
    return refuse(L);
  if (call.settings.limits.timeout != handle->settings.limits.timeout)
    return lpg_raise(L, "the timeout is the whole pipeline's: "
                        "db:pipeline(f, { timeout = ... })");
  luaL_checkstack(L, call.count + 20, "pipeline");
  int number = find_text(L, p);
  if (number < 0)
    return refuse_statement(L);
  int settings = find_settings(L, p, &call.settings);
  lua_pushinteger(L, number);
  lua_pushinteger(L, settings);
  lua_getiuservalue(L, HANDLE, OWN_HANDLE_HOLDS);
  lua_getiuservalue(L, -1, PIPE_TEXTS);
  const lpg_statement *s = known_of(L, lua_gettop(L), number);
  lpg_signature known = {s ? s->count : -1, s ? s->types : NULL};
  bool asks =
      (handle->conn->shy && !(s && s->seen)) ||
      lpg_params_need_types(L, VALUES, call.count, known, handle->conn->utf8);
  if (!asks)
    return keep(L, s, action, call.count);
  lua_pushcfunction(L, learn);
  for (int i = HANDLE; i < VALUES + call.count; i++)
    lua_pushvalue(L, i);
  lua_KContext context = (lua_KContext)call.count << ACTION_BITS | action;
  lua_callk(L, call.count + 2, 2, context, learnt);
  return learnt(L, LUA_OK, context);
}

static int put_query(lua_State *L)
{
  return put(L, LPG_QUERY);
}

static int put_update(lua_State *L)
{
  return put(L, LPG_UPDATE);
}

static int put_delete(lua_State *L)
{
  return put(L, LPG_DELETE);
}

static int put_execute(lua_State *L)
{
  return put(L, LPG_EXECUTE);
}

/* --- sending ---------------------------------------------------------- */

/* Has the server parsed the item's text just before, with these types? Then it
 * is still there, without a name: nobody else's can come in between. */
static bool is_parsed(const lpg_pipeline *p, const item *one)
{
  if (p->parsed < 0)
    return false;
  const item *last = item_at(p, p->parsed);
  if (last->text != one->text || last->typed != one->typed ||
      !text_at(p, one->text)->again)
    return false;
  return !one->typed || (last->count == one->count &&
                         memcmp(types_of(last), types_of(one),
                                (size_t)one->count * sizeof(Oid)) == 0);
}

static bool queue(lua_State *L, lpg_op *op, lpg_pipeline *p, const item *one)
{
  const int *lengths = one->binary ? lengths_of(one) : NULL;
  const lpg_statement *s = known_of(L, TEXTS, one->text);
  lpg_request request = {
      .kind = LPG_STATEMENT,
      .sql = text_at(p, one->text)->sql,
      .name = is_parsed(p, one) ? "" : NULL,
      .count = one->count,
      .types = one->typed ? types_of(one) : NULL,
      .values = one->values,
      .lengths = lengths,
      .formats = lengths ? lengths + one->count : NULL,
      .result_format = s && s->binary,
  };
  lua_pop(L, 1);
  return lpg_wire_queue(&op->conn->wire, &request);
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
                 count_items(p) > 1 && !text_at(p, item_at(p, 0)->text)->again;
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
  for (size_t bytes = 0; queued && bytes < PORTION && p->sent < count_items(p);
       p->sent++) {
    const item *one = item_at(p, p->sent);
    queued = queue(L, op, p, one);
    p->parsed = p->sent;
    bytes += sizeof *one + one->bytes;
    drop_sent(p, one);
  }
  if (queued && p->sent == count_items(p))
    queued = lpg_wire_seal(w);
  return queued ? LPG_CONTINUE : on_done(L, op, slot);
}

/* The limit on a result is looked at before the first row is seen here. */
static void limit_result(lpg_op *op, const lpg_pipeline *p, int number)
{
  if (number >= count_items(p))
    return;
  const lpg_settings *s = settings_at(p, item_at(p, number)->settings);
  op->conn->wire.limits.result = op->limits.result =
      lpg_settings_limits(s, op->conn->ceilings).result;
}

/* Makes the frame that of the item whose answer comes, or failed. */
static void turn_to(lua_State *L, lpg_op *op, int slot, int number)
{
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  const item *one = item_at(p, number);
  const item *last = p->at < 0 ? NULL : item_at(p, p->at);
  p->at = number;
  op->answering = op->tabular = false;
  if (last && last->text == one->text && last->settings == one->settings &&
      last->action == one->action)
    return;
  lua_rawgeti(L, TEXTS, 2 * one->text + 1);
  lua_replace(L, SQL);
  known_of(L, TEXTS, one->text);
  lua_replace(L, slot + STATEMENT);
  op->action = one->action;
  op->settings = *settings_at(p, one->settings);
}

static int on_result(lua_State *L, lpg_op *op, int slot)
{
  lpg_pipeline *p = lua_touserdata(L, PIPE);
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
  lpg_run_shape(L, op, slot);
  lua_rawseti(L, RESULTS, number + 1);
  lua_pushvalue(L, slot + STATEMENT);
  lua_rawseti(L, TEXTS, 2 * item_at(p, number)->text + 2);
  limit_result(op, p, p->answered = number + 1);
  return LPG_CONTINUE;
}

/* The statement that is to blame is the frame's, and what was known of it is
 * forgotten: it may have been out of date. */
static int fail(lua_State *L, lpg_op *op, int slot)
{
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  const lpg_wire *w = &op->conn->wire;
  bool told = w->failure && w->stop == LPG_RUNS;
  int number = told ? w->failed - p->lead : p->answered;
  bool known = number >= 0 && number < count_items(p);
  p->failed = known ? number + 1 : 0;
  if (known && !op->misread)
    turn_to(L, op, slot, number);
  if (known && told) {
    lpg_put_nil(L, slot + STATEMENT);
    lpg_remember(L, slot);
  } else if (!known) { /* its end: what was put off to it */
    lua_pushliteral(L, "");
    lua_replace(L, SQL);
  }
  return lpg_run_fail(L, op, slot);
}

static int on_done(lua_State *L, lpg_op *op, int slot)
{
  lpg_pipeline *p = lua_touserdata(L, PIPE);
  const lpg_wire *w = &op->conn->wire;
  bool whole = w->phase == LPG_IDLE && !w->failure && !w->dropped &&
               !w->spoiled && p->answered == count_items(p);
  p->sending = false;
  lpg_settle(L, op, slot);
  lpg_scope_settle(op->conn);
  if (!whole)
    return fail(L, op, slot);
  lpg_op_end(L, slot);
  lua_settop(L, RESULTS);
  return 1;
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
  int count = count_items(p);
  lua_createtable(L, count, 0);
  lpg_mark_list(L);
  lua_getiuservalue(L, PIPE, PIPE_TEXTS);
  lua_getiuservalue(L, HANDLE, 1);
  if (lpg_scope_refuses(L, CONNECTION, NULL))
    return lpg_handle_fail(L, HANDLE);
  bool idle = PQtransactionStatus(c->wire.pg) == PQTRANS_IDLE;
  for (int i = 0; idle && i < count; i++) {
    if (!text_at(p, item_at(p, i)->text)->commits)
      continue;
    p->failed = i + 1;
    lpg_error_new(L, "wrong_action",
                  "CALL and DO could commit in the middle of a pipeline, which "
                  "is one transaction");
    lpg_error_fix(L, "Run the pipeline in a transaction, where they cannot: "
                     "db:transaction(function(tx) tx:pipeline(...) end).");
    lua_rawgeti(L, TEXTS, 2 * item_at(p, i)->text + 1);
    lua_setfield(L, -2, "sql");
    lpg_error_string(L, "stage", "statement");
    return lpg_handle_fail(L, HANDLE);
  }
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
  limit_result(op, p, 0);
  bool opened = lpg_wire_open(&c->wire, &op->limits);
  return opened ? lpg_await(L, LUA_OK, slot) : on_done(L, op, slot);
}

/* core.send_pipeline(p): the list of results, or nil and an error. */
static int send_pipeline(lua_State *L)
{
  lpg_pipeline *p = check_open(L);
  lua_settop(L, 1);
  p->open = false;
  if (lua_getiuservalue(L, 1, PIPE_FAILURE) != LUA_TNIL) {
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
  }
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, PIPE_HANDLE);
  lua_pushliteral(L, "");
  lua_rotate(L, 1, 2); /* the handle, SQL, the pipeline */
  if (count_items(p) == 0) {
    lua_newtable(L);
    lpg_mark_list(L);
    return 1;
  }
  lua_pushcfunction(L, learn);
  lua_pushvalue(L, HANDLE);
  lua_pushvalue(L, SQL);
  lua_callk(L, 2, 2, 0, begin);
  return begin(L, LUA_OK, 0);
}

/* core.pipeline_failure(p): the place of the statement that failed, and how
 * many there are. */
static int failure(lua_State *L)
{
  const lpg_pipeline *p = luaL_checkudata(L, 1, name);
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
  lua_pushboolean(L, ((lpg_pipeline *)luaL_checkudata(L, 1, name))->open);
  return 1;
}

/* core.refuse_pipeline(p, err): nil and the error, which is what comes of it.
 */
static int refuse_pipeline(lua_State *L)
{
  luaL_checkudata(L, 1, name);
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, PIPE_HANDLE);
  lua_replace(L, HANDLE);
  lua_pushnil(L);
  lua_insert(L, 2);
  return refuse(L);
}

/* core.pipeline(db): a pipeline on the connection, with the handle's settings.
 */
static int new_pipeline(lua_State *L)
{
  const lpg_handle *h = lpg_handle_check(L, 1);
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  lpg_pipeline *p = lua_newuserdatauv(L, sizeof *p, PIPE_VALUES);
  *p = (lpg_pipeline){.open = true};
  luaL_setmetatable(L, name);
  for (int i = PIPE_TEXTS; i <= PIPE_STRINGS; i++) {
    lua_newtable(L);
    lua_setiuservalue(L, 3, i);
  }
  lua_getiuservalue(L, 1, OWN_HANDLE_HOLDS);
  lua_setiuservalue(L, 3, PIPE_LEASE);
  lpg_handle *own = lpg_handle_new(L, 2);
  own->settings = h->settings;
  own->lease = h->lease;
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, OWN_HANDLE_HOLDS);
  lua_setiuservalue(L, 3, PIPE_HANDLE);
  return 1;
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
  luaL_newmetatable(L, name);
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
