/* SPDX-License-Identifier: MIT */
/* copy_rows: rows of COPY TO STDOUT into Lua tables, from the binary format
 * where every column can be read from it, else from the text format.
 * "e" in a comment: may raise a Lua error. */
#include "copy.h"

#include <lauxlib.h>
#include <string.h>

#include "bytes.h"

/* A row under construction on the top of the stack. */
typedef struct target {
  const lpg_settings *settings;
  const lpg_plan *plan;
  int names;
} target;

static const char cut_short[] = "the row is shorter than its columns";

/* Puts the value of column `i` into the row; bytes NULL: NULL. Answers what is
 * wrong with it, or NULL. */
static inline const char *put_cell(lua_State *L, const target *t, int i,
                                   const char *bytes, size_t length)
{
  const lpg_column *column = &t->plan->columns[i];
  bool keyed = t->settings->shape == LPG_KEYED;
  if (keyed && !bytes && !t->settings->view.keep_null && !column->again)
    return NULL;
  if (keyed)
    lua_rawgeti(L, t->names, i + 1);
  if (bytes) {
    const char *problem =
        column->decode(L, column->type, &t->settings->view, bytes, length);
    if (problem)
      return problem;
  } else if (keyed && !t->settings->view.keep_null) {
    lua_pushnil(L); /* the last of two namesakes counts, NULL or not */
  } else {
    lua_pushlightuserdata(L, NULL);
  }
  if (keyed)
    lua_rawset(L, -3);
  else
    lua_rawseti(L, -2, i + 1);
  return NULL;
}

/* --- binary ----------------------------------------------------------- */

/* The signature, the flags, and the length of an extension, which is
 * skipped. */
static void skip_head(lpg_span *s)
{
  lpg_take(s, 11 + 4);
  lpg_take(s, lpg_u32(s));
}

static const char *decode_binary(lua_State *L, const target *t, lpg_span s,
                                 int *at)
{
  for (*at = 0; *at < t->plan->count; ++*at) {
    uint32_t length = lpg_u32(&s);
    bool null = length == UINT32_MAX;
    const unsigned char *bytes = null ? NULL : lpg_take(&s, length);
    if (s.short_)
      return cut_short;
    const char *problem = put_cell(L, t, *at, (const char *)bytes, length);
    if (problem)
      return problem;
  }
  return lpg_left(&s) > 0 ? "the row is longer than its columns" : NULL;
}

/* --- text ------------------------------------------------------------- */

static char unescaped(char c)
{
  static const char letters[][2] = {{'b', '\b'}, {'f', '\f'}, {'n', '\n'},
                                    {'r', '\r'}, {'t', '\t'}, {'v', '\v'}};
  for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
    if (letters[i][0] == c)
      return letters[i][1];
  return c;
}

/* Takes the field at `from` down to its bytes, where they lie, with a NUL
 * after them. Answers the tab that ended it, or `end`. */
static char *take_field(char *from, char *end, size_t *length)
{
  char *stop = memchr(from, '\t', (size_t)(end - from));
  stop = stop ? stop : end; /* a tab of the value is escaped */
  char *to = memchr(from, '\\', (size_t)(stop - from));
  if (!to)
    to = stop;
  for (const char *p = to; p < stop; p++)
    *to++ = *p == '\\' && p + 1 < stop ? unescaped(*++p) : *p;
  *length = (size_t)(to - from);
  *to = 0; /* over the tab, or what was the escape's, or the line's end */
  return stop;
}

static const char *decode_text(lua_State *L, const target *t, lpg_copied row,
                               int *at)
{
  char *p = row.bytes, *end = p + row.size;
  if (end > p && end[-1] == '\n')
    end--;
  for (*at = 0; *at < t->plan->count; ++*at, p++) {
    if (p > end)
      return cut_short;
    bool null = end - p >= 2 && p[0] == '\\' && p[1] == 'N' &&
                (p + 2 == end || p[2] == '\t');
    size_t length;
    char *stop = take_field(p, end, &length);
    const char *problem = put_cell(L, t, *at, null ? NULL : p, length);
    if (problem)
      return problem;
    p = stop;
  }
  return t->plan->count > 0 && p <= end ? "the row is longer than its columns"
                                        : NULL;
}

bool lpg_copy_decode(lua_State *L, lpg_copy *c, const lpg_plan *plan,
                     lpg_copied row, int rows, int names, lua_Integer number,
                     lpg_misread *misread)
{
  const target t = {&c->settings, plan, names};
  lpg_span s = lpg_span_of(row.bytes, row.size);
  if (plan->binary) {
    if (!c->headed)
      skip_head(&s);
    c->headed = true;
    uint16_t columns = lpg_u16(&s);
    if (columns == UINT16_MAX) /* the tail */
      return false;
    if (columns != plan->count || s.short_) {
      *misread = (lpg_misread){"the row has other columns", NULL};
      return false;
    }
  }
  int top = lua_gettop(L), at;
  bool keyed = c->settings.shape == LPG_KEYED;
  lua_createtable(L, keyed ? 0 : plan->count, keyed ? plan->count : 0);
  if (!keyed && plan->count == 0)
    lpg_mark_list(L); /* [], where no value says so */
  const char *problem = plan->binary ? decode_binary(L, &t, s, &at)
                                     : decode_text(L, &t, row, &at);
  if (problem) {
    lua_settop(L, top);
    *misread =
        (lpg_misread){problem, at < plan->count ? &plan->columns[at] : NULL};
    return false;
  }
  lua_rawseti(L, rows, number);
  return true;
}

/* --- what the columns are --------------------------------------------- */

/* The columns of the list at 2, as libpq would tell of them. */
static PGresAttDesc *describe(lua_State *L, int count, const lpg_typemap *map,
                              bool *binary)
{
  PGresAttDesc *columns =
      lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *columns, 0);
  *binary = true;
  for (int i = 0; i < count; i++) {
    lua_rawgeti(L, 2, i + 1);
    lua_getfield(L, -1, "name");
    lua_getfield(L, -2, "oid");
    Oid oid = (Oid)lua_tointeger(L, -1);
    const lpg_type *type = lpg_typemap_find(map, oid);
    *binary &= type && type->binary;
    char *column = (char *)(uintptr_t)lua_tostring(L, -2); /* libpq copies it */
    columns[i] = (PGresAttDesc){.name = column, .typid = oid};
    lua_pop(L, 3); /* the list keeps the name */
  }
  for (int i = 0; i < count; i++)
    columns[i].format = *binary;
  return columns;
}

/* core.copy_reads(copy, columns, elsewhere): {{name=, oid=}, ...}, which
 * core.describe answers. Answers whether the rows are to come in binary; to be
 * read elsewhere, too: what a server defines has another OID there. */
static int reads(lua_State *L)
{
  lpg_copy *c = lpg_copy_check(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  bool elsewhere = lua_toboolean(L, 3), binary;
  lua_settop(L, 2);
  lua_getiuservalue(L, 1, LPG_COPY_HANDLE);
  lua_getiuservalue(L, -1, 1);
  lua_getiuservalue(L, -1, LPG_CONN_TYPES);
  int map = lua_gettop(L), count = (int)lua_rawlen(L, 2);
  PGresAttDesc *columns =
      describe(L, count, elsewhere ? NULL : lua_touserdata(L, map), &binary);
  PQclear(c->description);
  c->description = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
  if (!c->description ||
      (count > 0 && !PQsetResultAttrs(c->description, count, columns)))
    return luaL_error(L, "not enough memory");
  lpg_plan *plan = lpg_plan_new(L, c->description, map);
  plan->binary = binary; /* without columns, too */
  lua_getiuservalue(L, -1, LPG_PLAN_NAMES);
  lua_setiuservalue(L, 1, LPG_COPY_NAMES);
  lua_setiuservalue(L, 1, LPG_COPY_PLAN);
  lua_pushboolean(L, binary);
  return 1;
}

void lpg_copy_rows_open_library(lua_State *L, int core)
{
  lua_pushcfunction(L, reads);
  lua_setfield(L, core, "copy_reads");
}
