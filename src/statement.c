/* SPDX-License-Identifier: MIT */
#include "statement.h"

#include <lauxlib.h>
#include <string.h>
#include <strings.h>

#include "conn.h"

/* A generation's bound; two are held. Longer texts are not remembered. */
enum { GENERATION = 1000, GENERATION_BYTES = 1024 * 1024, LONGEST = 32 * 1024 };
enum { YOUNG = 1, OLD, COUNT, BYTES };

static bool among(const char *word, const char *const *words)
{
  for (; *words; words++)
    if (strcmp(word, *words) == 0)
      return true;
  return false;
}

/* What can be prepared and run as often as one likes, in a pipeline; and does
 * it write? */
static void classify(lpg_statement *s, const char *sql)
{
  static const char *const reads[] = {"select", "values", "table", NULL};
  static const char *const writes[] = {"insert", "update", "delete", "merge",
                                       NULL};
  char word[LPG_WORD];
  lpg_next_word(sql, word);
  bool with = strcmp(word, "with") == 0;
  s->writes = among(word, writes);
  for (int i = 0; with && writes[i]; i++)
    s->writes |= lpg_mentions(sql, writes[i]);
  s->recurs = with || s->writes || among(word, reads);
}

lpg_statement *lpg_statement_new(lua_State *L, int sql, int count)
{
  size_t types = count > 0 ? (size_t)count : 0;
  lpg_statement *s =
      lua_newuserdatauv(L, sizeof *s + types * sizeof *s->types, 2);
  memset(s, 0, sizeof *s);
  s->count = count;
  s->sets = lpg_mentions(lua_tostring(L, sql), LPG_SETTER);
  if (lua_rawlen(L, sql) <= LONGEST)
    classify(s, lua_tostring(L, sql));
  return s;
}

bool lpg_statement_takes_learnt(const lpg_statement *s)
{
  for (int i = 0; i < s->count; i++)
    if (s->types[i] && !lpg_type_find(s->types[i]))
      return true;
  return false;
}

/* How many texts more a generation has when this one is kept (or forgotten). */
static int difference(lua_State *L, int cache, int sql, bool forget)
{
  bool there = false;
  if (lua_rawgeti(L, cache, YOUNG) == LUA_TTABLE) {
    lua_pushvalue(L, sql);
    there = lua_rawget(L, -2) != LUA_TNIL;
  }
  lua_settop(L, cache);
  return forget ? -there : !there;
}

static lua_Integer tally(lua_State *L, int cache, int field, lua_Integer add)
{
  lua_rawgeti(L, cache, field);
  lua_Integer n = lua_tointeger(L, -1) + add;
  lua_pop(L, 1);
  lua_pushinteger(L, n);
  lua_rawseti(L, cache, field);
  return n;
}

/* Each of a generation's statements that is not `other`'s, too. */
static void retire_all(lua_State *L, int conn, int generation, int other)
{
  if (!lua_istable(L, generation))
    return;
  for (lua_pushnil(L); lua_next(L, generation); lua_pop(L, 1)) {
    bool kept = false;
    if (lua_istable(L, other)) {
      lua_pushvalue(L, -2);
      lua_rawget(L, other);
      kept = lua_rawequal(L, -1, -2);
      lua_pop(L, 1);
    }
    if (!kept)
      lpg_statement_retire(L, conn, lua_touserdata(L, -1));
  }
}

void lpg_statement_retire(lua_State *L, int conn, lpg_statement *s)
{
  lpg_conn *c = lua_touserdata(L, conn);
  if (*s->name && !c->pooler) {
    lua_getiuservalue(L, conn, LPG_CONN_RETIRED);
    lua_pushfstring(L, "DEALLOCATE %s", s->name);
    lua_rawseti(L, -2, ++c->retired);
    lua_pop(L, 1);
  }
  *s->name = '\0';
  s->prepared = false;
}

void lpg_statement_closed(lua_State *L, int conn)
{
  lpg_conn *c = lua_touserdata(L, conn);
  conn = lua_absindex(L, conn);
  c->retired = 0;
  lua_newtable(L);
  lua_setiuservalue(L, conn, LPG_CONN_RETIRED);
}

/* The young generation becomes the old one, the old one is forgotten. */
static void age(lua_State *L, int conn, int cache)
{
  int old = lua_gettop(L) + 1;
  lua_rawgeti(L, cache, OLD);
  lua_rawgeti(L, cache, YOUNG);
  retire_all(L, conn, old, old + 1);
  lua_rawseti(L, cache, OLD);
  lua_pop(L, 1);
  lua_newtable(L);
  lua_rawseti(L, cache, YOUNG);
  for (int i = COUNT; i <= BYTES; i++) {
    lua_pushinteger(L, 0);
    lua_rawseti(L, cache, i);
  }
}

/* Puts the statement at `statement` (nil: none) in the generation on the top.
 */
static void put(lua_State *L, int conn, int sql, int statement)
{
  lua_pushvalue(L, sql);
  if (lua_rawget(L, -2) != LUA_TNIL && !lua_rawequal(L, -1, statement))
    lpg_statement_retire(L, conn, lua_touserdata(L, -1));
  lua_pop(L, 1);
  lua_pushvalue(L, sql);
  lua_pushvalue(L, statement);
  lua_rawset(L, -3);
}

void lpg_statement_keep(lua_State *L, int conn, int sql)
{
  size_t length = lua_rawlen(L, sql);
  int statement = lua_gettop(L), cache = statement + 1;
  if (length <= LONGEST) {
    lua_getiuservalue(L, conn, LPG_CONN_STATEMENTS);
    bool forget = lua_isnil(L, statement);
    int more = difference(L, cache, sql, forget);
    lua_Integer count = tally(L, cache, COUNT, more);
    lua_Integer bytes = tally(L, cache, BYTES, more * (lua_Integer)length);
    if (lua_rawgeti(L, cache, YOUNG) != LUA_TTABLE)
      age(L, conn, cache); /* the first */
    lua_settop(L, cache);
    if (lua_rawgeti(L, cache, OLD) == LUA_TTABLE) {
      lua_pushvalue(L, sql);
      bool there = lua_rawget(L, -2) != LUA_TNIL;
      lua_pop(L, 1);
      if (there || forget)
        put(L, conn, sql, statement);
    }
    lua_rawgeti(L, cache, YOUNG);
    put(L, conn, sql, statement);
    if (count >= GENERATION || bytes >= GENERATION_BYTES)
      age(L, conn, cache);
  }
  lua_settop(L, statement - 1);
}

void lpg_statement_forget(lua_State *L, int conn)
{
  int top = lua_gettop(L), cache = top + 1;
  conn = lua_absindex(L, conn);
  if (lua_getiuservalue(L, conn, LPG_CONN_STATEMENTS) == LUA_TTABLE)
    for (int i = YOUNG; i <= OLD; i++) {
      lua_rawgeti(L, cache, i);
      lua_pushnil(L);
      retire_all(L, conn, cache + 1, cache + 2);
      lua_settop(L, cache);
    }
  lua_settop(L, top);
  lua_newtable(L);
  lua_setiuservalue(L, conn, LPG_CONN_STATEMENTS);
}

lpg_statement *lpg_statement_find(lua_State *L, int conn, int sql)
{
  lua_getiuservalue(L, conn, LPG_CONN_STATEMENTS);
  int cache = lua_gettop(L);
  for (int i = YOUNG; i <= OLD; i++) {
    if (lua_rawgeti(L, cache, i) != LUA_TTABLE)
      break;
    lua_pushvalue(L, sql);
    if (lua_rawget(L, -2) != LUA_TNIL) {
      if (i == OLD) {
        lua_pushvalue(L, -1);
        lpg_statement_keep(L, conn, sql);
      }
      lua_replace(L, cache);
      lua_settop(L, cache);
      return lua_touserdata(L, cache);
    }
    lua_settop(L, cache);
  }
  lua_settop(L, cache - 1);
  lua_pushnil(L);
  return NULL;
}

/* --- words ------------------------------------------------------------ */

/* Past a comment that begins at p; comments nest in PostgreSQL. */
static const char *skip_block(const char *p)
{
  int depth = 0;
  do {
    if (p[0] == '/' && p[1] == '*') {
      depth++;
      p += 2;
    } else if (p[0] == '*' && p[1] == '/') {
      depth--;
      p += 2;
    } else {
      p++;
    }
  } while (depth > 0 && *p);
  return p;
}

static const char *skip_blank(const char *p)
{
  for (;;) {
    if (*p == ' ' || (*p >= '\t' && *p <= '\r') || *p == '(')
      p++;
    else if (p[0] == '-' && p[1] == '-')
      while (*p && *p != '\n' && *p != '\r')
        p++;
    else if (p[0] == '/' && p[1] == '*')
      p = skip_block(p);
    else
      return p;
  }
}

const char *lpg_next_word(const char *sql, char word[LPG_WORD])
{
  int n = 0;
  const char *p = skip_blank(sql);
  for (; n < LPG_WORD - 1; p++) {
    char c = (char)(*p | 0x20);
    if (c < 'a' || c > 'z')
      break;
    word[n++] = c;
  }
  word[n] = 0;
  return p;
}

bool lpg_mentions(const char *sql, const char *word)
{
  size_t length = strlen(word);
  for (; *sql; sql++)
    if ((*sql | 0x20) == *word && strncasecmp(sql, word, length) == 0)
      return true;
  return false;
}
