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

/* Runs before it pays: Parse and Bind of their own cost a plan. */
enum { RUNS = 4 };

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

typedef enum fit { FITS, WIDENS, DIFFERS } fit;

static Oid declared(const lpg_request *r, int i)
{
  return r->types ? r->types[i] : 0;
}

/* How the request's types go with those that the name was prepared with: a
 * value of no declared type is at home where the server's own word is. */
static fit compare(lua_State *L, int index, const lpg_request *r)
{
  const lpg_statement *s = lua_touserdata(L, index);
  fit result = FITS;
  lua_getiuservalue(L, index, LPG_STATEMENT_TYPES);
  const char *bytes = lua_tostring(L, -1);
  if (lua_rawlen(L, -1) != (size_t)r->count * sizeof(Oid))
    result = DIFFERS;
  for (int i = 0; i < r->count && result != DIFFERS; i++) {
    Oid kept, own = i < s->count ? s->types[i] : 0, wanted = declared(r, i);
    memcpy(&kept, bytes + (size_t)i * sizeof kept, sizeof kept);
    if (kept == wanted || (wanted == 0 && kept == own))
      continue;
    result = kept == 0 && wanted == own ? WIDENS : DIFFERS;
  }
  lua_pop(L, 1);
  return result;
}

static void keep_types(lua_State *L, int index, const Oid *types, int count)
{
  luaL_Buffer bytes;
  size_t size = (size_t)count * sizeof *types;
  char *to = luaL_buffinitsize(L, &bytes, size);
  if (types)
    memcpy(to, types, size);
  else
    memset(to, 0, size);
  luaL_pushresultsize(&bytes, size);
  lua_setiuservalue(L, index, LPG_STATEMENT_TYPES);
}

/* --- runs ------------------------------------------------------------- */

static bool may_prepare(const lpg_conn *c, const lpg_statement *s, bool eager)
{
  bool room = !c->pooler || c->names < POOLER_NAMES;
  return room && (s->runs > RUNS || eager);
}

static void choose(lua_State *L, lpg_conn *c, int conn, int index, bool eager,
                   lpg_request *r)
{
  lpg_statement *s = lua_touserdata(L, index);
  fit fits = *s->name ? compare(L, index, r) : WIDENS;
  s->runs++;
  if (s->prepared && fits == FITS) {
    r->name = s->name;
  } else if (fits != DIFFERS && may_prepare(c, s, eager)) {
    lpg_statement_retire(L, conn, s);
    keep_types(L, index, r->types, r->count);
    lpg_prepare_name(c, s);
    r->name = s->name;
    r->parse = true;
  }
}

void lpg_prepare_choose(lua_State *L, lpg_conn *c, int conn, int index,
                        bool eager, lpg_request *r)
{
  const lpg_statement *s = lua_touserdata(L, index);
  if (!c->prepares || !s || !s->recurs)
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
  s->prepared =
      w->phase != LPG_LOST && (!w->failure || w->failed >= w->first);
  if (!s->prepared)
    lpg_statement_retire(L, conn, s);
}

void lpg_prepare_keep(lua_State *L, int index)
{
  lpg_statement *s = lua_touserdata(L, index);
  keep_types(L, index, s->types, s->count > 0 ? s->count : 0);
  s->prepared = true;
}
