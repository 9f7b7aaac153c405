/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE /* getentropy */
#include "prepare.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef __APPLE__
#include <sys/random.h>
#endif

/* Runs before it pays: Parse and Bind of their own cost a plan. When so many
 * names wait to be closed, no more are made; a generation that ages adds its
 * own. */
enum { RUNS = 4, RETIRED = 1000 };

/* No pooler is asked to close one: it never has more of a client. */
enum { POOLER_NAMES = 512 };

/* --- names ------------------------------------------------------------ */

/* Behind a pooler that keeps prepared statements, clients share its servers:
 * a name must be nobody else's. */
void lpg_prepare_name(lpg_conn *c, lpg_statement *s)
{
  if (c->prefix == 0 && getentropy(&c->prefix, sizeof c->prefix) != 0)
    c->prefix = (unsigned)(size_t)c ^ (unsigned)getpid();
  snprintf(s->name, sizeof s->name, "pg_%08x_%u", c->prefix, ++c->names);
  s->prepared = false;
}

/* In a trip of their own that comes along: an aside that fails would fail a
 * transaction. The strings stay in the table until others take their places. */
static void close_retired(lua_State *L, lpg_conn *c, int conn, lpg_request *r)
{
  if (c->retired == 0 || PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE)
    return;
  lua_getiuservalue(L, conn, LPG_CONN_RETIRED);
  for (int i = 0; i < LPG_ASIDES && c->retired > 0; i++) {
    lua_rawgeti(L, -1, c->retired--);
    r->asides[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* --- types ------------------------------------------------------------ */

/* The server's own word on a parameter's type; 0: it was not asked. */
static Oid known(const lpg_statement *s, int i)
{
  return i < s->count ? s->types[i] : 0;
}

/* Can the request run by the name? A value of no declared type is at home
 * where the server's own word was declared. */
static bool fits(lua_State *L, int index, const lpg_request *r)
{
  const lpg_statement *s = lua_touserdata(L, index);
  lua_getiuservalue(L, index, LPG_STATEMENT_TYPES);
  const Oid *kept = lua_touserdata(L, -1);
  bool same = lua_rawlen(L, -1) == (size_t)r->count * sizeof *kept;
  for (int i = 0; i < r->count && same; i++) {
    Oid wanted = r->types ? r->types[i] : 0;
    same = kept[i] == wanted || (wanted == 0 && kept[i] == known(s, i));
  }
  lua_pop(L, 1);
  return same;
}

/* The types that the name is prepared with: the request's, and what is known.
 */
static const Oid *keep_types(lua_State *L, int index, const Oid *types,
                             int count)
{
  const lpg_statement *s = lua_touserdata(L, index);
  Oid *kept = lua_newuserdatauv(L, (size_t)count * sizeof *kept, 0);
  for (int i = 0; i < count; i++)
    kept[i] = types && types[i] ? types[i] : known(s, i);
  lua_setiuservalue(L, index, LPG_STATEMENT_TYPES);
  return kept;
}

/* --- runs ------------------------------------------------------------- */

static bool may_prepare(const lpg_conn *c, const lpg_statement *s, bool eager)
{
  bool room = c->pooler ? c->names < POOLER_NAMES : c->retired < RETIRED;
  return room && (eager || (s->runs > RUNS && !s->writes));
}

/* Under another search_path the text may mean another table. The server then
 * refuses the name, which would fail a transaction. */
static bool is_doubtful(const lpg_conn *c, const lpg_statement *s)
{
  return s->prepared && s->epoch != c->epoch &&
         (*c->begin || PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE);
}

static void choose(lua_State *L, lpg_conn *c, int conn, int index, bool eager,
                   lpg_request *r)
{
  lpg_statement *s = lua_touserdata(L, index);
  s->runs += s->runs <= RUNS;
  if (is_doubtful(c, s))
    return;
  s->epoch = c->epoch;
  if (s->prepared && fits(L, index, r)) {
    r->name = s->name;
  } else if (!s->prepared && may_prepare(c, s, eager)) {
    lpg_statement_retire(L, conn, s);
    r->types = keep_types(L, index, r->types, r->count);
    lpg_prepare_name(c, s);
    r->name = s->name;
    r->parse = true;
  }
}

void lpg_prepare_choose(lua_State *L, lpg_conn *c, int conn, int index,
                        bool eager, lpg_request *r)
{
  const lpg_statement *s = lua_touserdata(L, index);
  if (!c->prepares || !s || !s->recurs ||
      PQtransactionStatus(c->wire.pg) == PQTRANS_INERROR)
    return;
  choose(L, c, conn, index, eager, r);
  close_retired(L, c, conn, r);
}

void lpg_prepare_settle(lua_State *L, lpg_conn *c, int conn, int index)
{
  lpg_statement *s = lua_touserdata(L, index);
  const lpg_wire *w = &c->wire;
  if (!s || !*s->name || s->prepared)
    return;
  s->prepared = w->phase != LPG_LOST && (!w->failure || w->failed >= w->first);
  if (!s->prepared)
    lpg_statement_retire(L, conn, s);
}

void lpg_prepare_keep(lua_State *L, int index)
{
  lpg_statement *s = lua_touserdata(L, index);
  keep_types(L, index, s->types, s->count > 0 ? s->count : 0);
  s->prepared = true;
}
