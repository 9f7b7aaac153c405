/* SPDX-License-Identifier: MIT */
#include "queue.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "actions.h"
#include "box.h"
#include "collect.h"
#include "error.h"
#include "learnt.h"
#include "named.h"
#include "transaction.h"

const char *const lpg_pipeline_name = "pg.pipeline/1";

/* Strings up to SHORT bytes are copied, longer ones stay where Lua has them. */
enum { CHUNK = 64 * 1024, SHORT = 256 };

static void append(lua_State *L, lpg_buffer *b, const void *bytes, size_t n)
{
  lpg_buffer_put(b, bytes, n);
  if (b->failed)
    luaL_error(L, "not enough memory");
}

/* --- memory ----------------------------------------------------------- */

static void drop_chunk(lpg_pipeline *p)
{
  lpg_chunk *first = p->first;
  p->first = first->next;
  if (!p->first)
    p->last = NULL;
  free(first);
}

void lpg_queue_free(lpg_pipeline *p)
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
    lpg_chunk *c = malloc(sizeof *c + size);
    if (!c)
      luaL_error(L, "not enough memory");
    *c = (lpg_chunk){.size = size};
    *(p->last ? &p->last->next : &p->first) = c;
    p->last = c;
  }
  p->last->used += n;
  return p->last->bytes + p->last->used - n;
}

/* What lies before the chunk that holds these values has been sent. */
void lpg_queue_drop_sent(lpg_pipeline *p, const lpg_item *next)
{
  const char *at = (const char *)next->values;
  while (at && p->first != p->last &&
         !(at >= p->first->bytes && at < p->first->bytes + p->first->size))
    drop_chunk(p);
}

/* --- queueing --------------------------------------------------------- */

/* The word that decides what the statement is. Answers what follows it. */
static const char *first_word(const char *sql, char word[LPG_WORD])
{
  for (sql = lpg_next_word(sql, word); !*word && *sql == ';';)
    sql = lpg_next_word(sql + 1, word);
  return sql;
}

static bool among(const char *word, const char *const *words)
{
  for (; *words; words++)
    if (strcmp(word, *words) == 0)
      return true;
  return false;
}

/* nil and the error on the top are what comes of the pipeline, too. */
int lpg_queue_refuse(lua_State *L)
{
  int err = lua_gettop(L);
  lua_getiuservalue(L, HANDLE, LPG_PIPE_HOLDER);
  lpg_pipeline *p = lua_touserdata(L, -1);
  lua_pushinteger(L, ++p->places);
  lua_setfield(L, err, "index");
  if (lua_getiuservalue(L, -1, LPG_PIPE_FAILURE) == LUA_TNIL) {
    lua_pushvalue(L, err);
    lua_setiuservalue(L, -3, LPG_PIPE_FAILURE);
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
  return lpg_queue_refuse(L);
}

/* What is sent after it would be stored as other text. */
static bool sets_encoding(const char *sql)
{
  static const char *const scopes[] = {"session", "local", NULL};
  char word[LPG_WORD];
  bool named = lpg_mentions(sql, "client_encoding");
  const char *rest = first_word(sql, word);
  if (strcmp(word, "set") != 0)
    return named && lpg_mentions(sql, LPG_SETTER);
  rest = lpg_next_word(rest, word);
  if (among(word, scopes))
    lpg_next_word(rest, word);
  return named || strcmp(word, "names") == 0;
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
  if (sets_encoding(lua_tostring(L, SQL))) {
    lpg_error_new(L, "wrong_action",
                  "client_encoding has no place in a pipeline: text is UTF-8 "
                  "here, and what follows would be stored wrong");
    lpg_error_fix(L, "Leave it out.");
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
  int count = lpg_count_texts(p), top = lua_gettop(L);
  lpg_text t = {0};
  t.sql = lua_tolstring(L, SQL, &t.length);
  const lpg_text *last = count > 0 ? lpg_text_at(p, count - 1) : NULL;
  if (last && (last->sql == t.sql || (last->length == t.length &&
                                      memcmp(last->sql, t.sql, t.length) == 0)))
    return count - 1;
  lua_getiuservalue(L, HANDLE, LPG_PIPE_HOLDER);
  lua_getiuservalue(L, -1, LPG_PIPE_TEXTS);
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
  lua_getiuservalue(L, HANDLE, 1);
  if (!lpg_statement_find(L, lua_gettop(L), SQL))
    lpg_statement_new(L, SQL, -1);
  count = lpg_count_texts(p); /* a finalizer may have queued one */
  lua_rawseti(L, texts, 2 * count + 2);
  lua_pushvalue(L, SQL);
  lua_rawseti(L, texts, 2 * count + 1);
  lua_pushvalue(L, SQL);
  lua_pushinteger(L, count);
  lua_rawset(L, texts);
  append(L, &p->texts, &t, sizeof t);
  lua_settop(L, top);
  return count;
}

static bool same_settings(const lpg_settings *a, const lpg_settings *b)
{
  return a->limits.result == b->limits.result && a->shape == b->shape &&
         memcmp(&a->view, &b->view, sizeof a->view) == 0;
}

static int find_settings(lua_State *L, lpg_pipeline *p, const lpg_settings *s)
{
  int last = (int)(p->settings.length / sizeof *s) - 1;
  const lpg_settings *before = last < 0 ? NULL : lpg_settings_at(p, last);
  if (before && same_settings(before, s))
    return last;
  append(L, &p->settings, s, sizeof *s);
  return last + 1;
}

/* A long string stays where it is: the pipeline holds it. It is the value at
 * the index, or in its wrapper. e */
static void hold_string(lua_State *L, lpg_pipeline *p, int index,
                        const char *bytes)
{
  int top = lua_gettop(L);
  lua_getiuservalue(L, HANDLE, LPG_PIPE_HOLDER);
  lua_getiuservalue(L, -1, LPG_PIPE_HELD);
  lua_pushvalue(L, index);
  if (lua_istable(L, -1))
    lua_rawgeti(L, -1, 1);
  if (lua_tostring(L, -1) != bytes)
    luaL_error(L, "a parameter changed while it was queued");
  lua_rawseti(L, top + 2, ++p->held);
  lua_settop(L, top);
}

/* Without a length it is text in the connection's memory. */
static size_t length_of(const lpg_request *r, size_t i)
{
  return r->lengths[i] < 0 ? strlen(r->values[i]) : (size_t)r->lengths[i];
}

/* Makes room for the values; answers where those that are copied go. e */
static char *value_room(lua_State *L, lpg_pipeline *p, const lpg_request *r,
                        lpg_item *one)
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
                        lpg_item *one)
{
  size_t n = (size_t)r->count;
  char *at = value_room(L, p, r, one);
  if (one->typed)
    memcpy(lpg_item_types(one), r->types, n * sizeof(Oid));
  if (one->binary)
    memcpy(lpg_item_lengths(one) + n, r->formats, n * sizeof(int));
  for (size_t i = 0; i < n; i++) {
    size_t length = r->values[i] ? length_of(r, i) : 0;
    one->values[i] = r->values[i];
    if (one->binary)
      lpg_item_lengths(one)[i] = (int)length;
    if (r->values[i] && r->lengths[i] > SHORT) {
      hold_string(L, p, VALUES + (int)i, r->values[i]);
    } else if (r->values[i]) {
      one->values[i] = memcpy(at, r->values[i], length + 1);
      at += length + 1;
    }
  }
}

/* What is known of the statement may be out of date. */
static void forget(lua_State *L)
{
  lua_getiuservalue(L, HANDLE, 1);
  lua_pushnil(L);
  lpg_statement_keep(L, lua_gettop(L) - 1, SQL);
  lpg_forget_types(L, -1);
  lua_pop(L, 1);
}

/* The frame: the handle, SQL, `count` values, the numbers of the text and the
 * settings. Answers the place in the results. e */
static int keep(lua_State *L, const lpg_statement *s, lpg_action action,
                int count)
{
  lpg_fault fault;
  lpg_request request = {.sql = lua_tostring(L, SQL)};
  const lpg_handle *handle = lua_touserdata(L, HANDLE);
  lua_getiuservalue(L, HANDLE, LPG_PIPE_HOLDER);
  lpg_pipeline *p = lua_touserdata(L, -1);
  lpg_item one = {.count = count,
                  .text = (int)lua_tointeger(L, VALUES + count),
                  .settings = (int)lua_tointeger(L, VALUES + count + 1),
                  .action = (unsigned char)action};
  lpg_signature known = {s ? s->count : -1, s ? s->types : NULL,
                         handle->conn->types, false};
  int wrong = lpg_params_convert(L, &handle->conn->params, VALUES, count, known,
                                 &lpg_settings_at(p, one.settings)->view,
                                 &request, &fault);
  if (wrong) {
    forget(L);
    lpg_error_new(L, "invalid_parameter", "parameter $%d%s: %s", wrong,
                  fault.path, fault.text);
    lpg_error_number(L, "parameter", wrong);
    return refuse_statement(L);
  }
  if (count > 0)
    keep_values(L, p, &request, &one);
  append(L, &p->items, &one, sizeof one);
  lua_pushinteger(L, ++p->places);
  return 1;
}

static void settle_names(lua_State *L, int count)
{
  lua_getiuservalue(L, HANDLE, 1);
  lpg_named_settle(L, -1, VALUES, count);
  lua_pop(L, 1);
}

enum { ACTION_BITS = 8 };

/* The server has said which types the statement takes, or why it does not. */
static int learnt(lua_State *L, int status, lua_KContext context)
{
  (void)status;
  int count = (int)(context >> ACTION_BITS);
  lpg_action action = (lpg_action)(context & ((1 << ACTION_BITS) - 1));
  if (!lua_isuserdata(L, -2))
    return lpg_queue_refuse(L);
  lua_pop(L, 1);
  lua_getiuservalue(L, HANDLE, LPG_PIPE_HOLDER);
  const lpg_pipeline *p = lua_touserdata(L, -1);
  if (!p->open)
    return lpg_raise(L, "the pipeline has ended");
  lpg_handle_check(L, HANDLE);
  lpg_text_at(p, (int)lua_tointeger(L, VALUES + count))->asked = true;
  lua_getiuservalue(L, -1, LPG_PIPE_TEXTS);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, 2 * lua_tointeger(L, VALUES + count) + 2);
  lua_pop(L, 2);
  settle_names(L, count);
  return keep(L, lua_touserdata(L, -1), action, count);
}

/* What the values become depends on their types, which may have to be asked
 * for. e */
static int convert(lua_State *L, const lpg_item *one)
{
  const lpg_conn *c = ((const lpg_handle *)lua_touserdata(L, HANDLE))->conn;
  luaL_checkstack(L, one->count + 20, "pipeline");
  settle_names(L, one->count);
  lua_pushinteger(L, one->text);
  lua_pushinteger(L, one->settings);
  lua_getiuservalue(L, HANDLE, LPG_PIPE_HOLDER);
  const lpg_pipeline *p = lua_touserdata(L, -1);
  lua_getiuservalue(L, -1, LPG_PIPE_TEXTS);
  const lpg_statement *s = lpg_text_known(L, lua_gettop(L), one->text);
  lpg_signature known = {s ? s->count : -1, s ? s->types : NULL, c->types,
                         lpg_text_at(p, one->text)->asked};
  const lpg_view *view =
      &lpg_settings_at(lua_touserdata(L, -3), one->settings)->view;
  if (!c->codecs_due && !c->torn && !(c->shy && !(s && s->seen)) &&
      !lpg_params_need_types(L, VALUES, one->count, known, view, c->utf8))
    return keep(L, s, (lpg_action)one->action, one->count);
  lua_pushcfunction(L, lpg_queue_learn);
  for (int i = HANDLE; i < VALUES + one->count; i++)
    lua_pushvalue(L, i);
  lua_KContext context = (lua_KContext)one->count << ACTION_BITS | one->action;
  lua_callk(L, one->count + 2, 2, context, learnt);
  return learnt(L, LUA_OK, context);
}

int lpg_queue_learn(lua_State *L)
{
  const lpg_handle *handle = lpg_handle_check(L, HANDLE);
  if (!lpg_handle_ready(L, HANDLE, handle))
    return 2;
  return lpg_run(L, LPG_LEARN, lua_gettop(L) - 2, &handle->settings);
}

/* Pushes what is known of the text with this number. */
lpg_statement *lpg_text_known(lua_State *L, int texts, int number)
{
  lua_rawgeti(L, texts, 2 * number + 2);
  return lua_touserdata(L, -1);
}

lpg_pipeline *lpg_pipeline_check(lua_State *L)
{
  lpg_pipeline *p = lpg_box_check(L, 1, lpg_pipeline_name);
  if (!p->open)
    lpg_raise(L, "the pipeline has ended");
  return p;
}

/* The last call, if this one has the same text and settings: then it would be
 * let through, too, but for what a transaction may have against it. */
static const lpg_item *repeated(lua_State *L, const lpg_pipeline *p,
                                lpg_action action, const lpg_handle *handle)
{
  int items = lpg_count_items(p);
  if (items == 0 || lua_type(L, SQL) != LUA_TSTRING ||
      lpg_scope_guards(handle->conn))
    return NULL;
  const lpg_item *last = lpg_item_at(p, items - 1);
  bool same =
      last->action == action && last->count == lua_gettop(L) - SQL &&
      lpg_text_at(p, last->text)->sql == lua_tostring(L, SQL) &&
      same_settings(lpg_settings_at(p, last->settings), &handle->settings);
  return same ? last : NULL;
}

/* Reads the call into the item and the frame. Answers false with nil and an
 * error. e */
static bool read(lua_State *L, lpg_pipeline *p, lpg_action action,
                 const lpg_handle *handle, lpg_item *one)
{
  lpg_call call;
  if (!lpg_actions_read(L, action, &call))
    return lpg_queue_refuse(L), false;
  if (call.settings.limits.timeout != handle->settings.limits.timeout)
    lpg_raise(L, "the timeout is the whole pipeline's: "
                 "db:pipeline(f, { timeout = ... })");
  luaL_checkstack(L, call.count + 20, "pipeline");
  int text = find_text(L, p);
  if (text < 0)
    return refuse_statement(L), false;
  *one = (lpg_item){.count = call.count,
                    .text = text,
                    .settings = find_settings(L, p, &call.settings),
                    .action = (unsigned char)action};
  return true;
}

/* The values wait as they are. e */
static int hold(lua_State *L, lpg_pipeline *p, lpg_item *one)
{
  lua_getiuservalue(L, HANDLE, LPG_PIPE_HOLDER);
  lua_getiuservalue(L, -1, LPG_PIPE_HELD);
  one->held = p->held;
  for (int i = 0; i < one->count; i++) {
    lua_pushvalue(L, VALUES + i);
    lua_rawseti(L, -2, ++p->held);
  }
  append(L, &p->items, one, sizeof *one);
  lua_pushinteger(L, ++p->places);
  return 1;
}

int lpg_queue_put(lua_State *L, lpg_action action)
{
  lpg_item one;
  lpg_pipeline *p = lpg_pipeline_check(L);
  lua_getiuservalue(L, 1, LPG_PIPE_HANDLE);
  lua_replace(L, HANDLE); /* which holds the pipeline */
  const lpg_handle *handle = lua_touserdata(L, HANDLE);
  const lpg_item *last = repeated(L, p, action, handle);
  if (last) {
    lpg_handle_need(L, handle);
    one = (lpg_item){.count = last->count,
                     .text = last->text,
                     .settings = last->settings,
                     .action = last->action};
  } else if (!read(L, p, action, handle, &one)) {
    return 2;
  }
  const lpg_conn *c = handle->conn;
  const lpg_view *view = &lpg_settings_at(p, one.settings)->view;
  lpg_handle_need_rest(L, handle);
  if (!c->shy && !c->codecs &&
      lpg_params_plain(L, VALUES, one.count, view, c->utf8, &one.bytes))
    return hold(L, p, &one);
  return convert(L, &one);
}
