/* SPDX-License-Identifier: MIT */
#include "ask.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "box.h"
#include "collect.h"
#include "learnt.h"
#include "send.h"
#include "share.h"
#include "typemap.h"

/* An array is what says so of its elements: other types have a typelem, too.
 * Nothing is used that 9.6 lacks: it has no multiranges. An extension's type is
 * known by its name, wherever it was installed. OFFSET 0 keeps the planner
 * from reading whole catalogues, and a range from expecting so many types that
 * it would compile the question for longer than the answer takes. */
#define EQUALS " OPERATOR(pg_catalog.=) "
#define FEW                                                                    \
  "made.oid OPERATOR(pg_catalog.>) 0 AND made.oid "                            \
  "OPERATOR(pg_catalog.<=) '4294967295'::pg_catalog.oid"
#define LISTED                                                                 \
  "EXISTS (SELECT 1 FROM pg_catalog.pg_type AS e WHERE e.oid" EQUALS           \
  "t.typelem AND e.typarray" EQUALS "t.oid)"
#define RANGE_OF                                                               \
  "(pg_catalog.to_jsonb(r) OPERATOR(pg_catalog.->>) "                          \
  "'rngmultitypid')::pg_catalog.oid"
#define ATTRIBUTES                                                             \
  "pg_catalog.pg_attribute AS a ON t.typtype" EQUALS                           \
  "'c' AND a.attrelid" EQUALS                                                  \
  "t.typrelid AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"

static const char question[] =
    "WITH RECURSIVE needed (oid) AS ("
    "SELECT made.oid FROM (SELECT pg_catalog.unnest($1::pg_catalog.oid[]) "
    "AS oid OFFSET 0) AS made WHERE " FEW
    " UNION SELECT made.oid FROM needed AS n, LATERAL ("
    "SELECT CASE WHEN t.typtype" EQUALS "'d' THEN t.typbasetype "
    "WHEN " LISTED " THEN t.typelem ELSE 0 END "
    "FROM pg_catalog.pg_type AS t WHERE t.oid" EQUALS "n.oid "
    "UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range AS r "
    "WHERE r.rngtypid" EQUALS "n.oid "
    "UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_type AS t "
    "JOIN pg_catalog.pg_range AS r ON " RANGE_OF EQUALS "t.oid "
    "WHERE t.oid" EQUALS "n.oid AND t.typtype" EQUALS "'m' "
    "UNION ALL SELECT a.atttypid FROM pg_catalog.pg_type AS t JOIN " ATTRIBUTES
    " WHERE t.oid" EQUALS "n.oid) AS made (oid) WHERE " FEW ") "
    "SELECT x.oid, x.kind, x.part, x.typdelim, x.name, x.extension, "
    "x.atttypid, x.attname FROM needed AS n, LATERAL ("
    "SELECT t.oid, CASE WHEN " LISTED " THEN 'a' ELSE t.typtype END AS kind, "
    "CASE WHEN t.typtype" EQUALS "'d' THEN t.typbasetype "
    "WHEN t.typtype" EQUALS "'r' THEN (SELECT r.rngsubtype "
    "FROM pg_catalog.pg_range AS r WHERE r.rngtypid" EQUALS "t.oid) "
    "WHEN t.typtype" EQUALS "'m' THEN (SELECT r.rngtypid "
    "FROM pg_catalog.pg_range AS r WHERE " RANGE_OF EQUALS "t.oid) "
    "ELSE t.typelem END AS part, "
    "t.typdelim, pg_catalog.format_type(t.oid, NULL) AS name, "
    "(SELECT e.extname FROM pg_catalog.pg_depend AS d "
    "JOIN pg_catalog.pg_extension AS e ON e.oid" EQUALS "d.refobjid "
    "WHERE d.classid" EQUALS "'pg_catalog.pg_type'::pg_catalog.regclass "
    "AND d.objid" EQUALS "t.oid AND d.refclassid" EQUALS
    "'pg_catalog.pg_extension'::pg_catalog.regclass "
    "AND d.deptype" EQUALS "'e' AND e.extname" EQUALS "t.typname) "
    "AS extension, a.atttypid, a.attname, a.attnum "
    "FROM pg_catalog.pg_type AS t LEFT JOIN " ATTRIBUTES " WHERE t.oid" EQUALS
    "n.oid OFFSET 0) AS x ORDER BY x.oid, x.attnum";

enum { OID, KIND, PART, DELIMITER, NAME, EXTENSION, FIELD_OID, FIELD };
enum { COLUMNS = FIELD + 1 };

static lpg_conn *conn_of(lua_State *L, int slot)
{
  return lua_touserdata(L, slot + CONN);
}

static lpg_buffer *box_of(lua_State *L, int slot)
{
  if (lua_isnil(L, slot + TYPES)) {
    lpg_box_new(L);
    lua_replace(L, slot + TYPES);
  }
  return lua_touserdata(L, slot + TYPES);
}

static void check(lua_State *L, const lpg_buffer *b)
{
  if (b->failed)
    luaL_error(L, "not enough memory");
}

static void begin(lua_State *L, int slot)
{
  if (!lpg_ask_any(L, slot) && lpg_typemap_is_full(conn_of(L, slot)->types))
    lpg_forget_types(L, slot + CONN);
}

static void add(lua_State *L, int slot, Oid oid)
{
  char text[LPG_NUMBER];
  if (!oid || lpg_typemap_find(conn_of(L, slot)->types, oid))
    return;
  lpg_buffer *list = box_of(L, slot);
  lpg_buffer_char(list, list->length == 0 ? '{' : ',');
  lpg_buffer_put(list, text, lpg_integer_text(oid, text));
  check(L, list);
}

void lpg_ask_type(lua_State *L, int slot, Oid oid)
{
  begin(L, slot);
  add(L, slot, oid);
}

void lpg_ask_described(lua_State *L, int slot, const PGresult *result)
{
  begin(L, slot);
  for (int i = 0; i < PQnparams(result); i++)
    add(L, slot, PQparamtype(result, i));
  for (int i = 0; i < PQnfields(result); i++)
    add(L, slot, PQftype(result, i));
}

void lpg_ask_columns(lua_State *L, int slot, const lpg_plan *plan)
{
  begin(L, slot);
  for (int i = 0; i < plan->count; i++)
    add(L, slot, plan->columns[i].oid);
}

bool lpg_ask_any(lua_State *L, int slot)
{
  const lpg_buffer *list = lua_touserdata(L, slot + TYPES);
  return list && list->length > 0;
}

int lpg_ask_send(lua_State *L, lpg_op *op, int slot, int stage)
{
  lpg_buffer *list = lua_touserdata(L, slot + TYPES);
  lpg_buffer_put(list, "}", 2);
  check(L, list);
  const char *values[] = {list->data};
  const lpg_request request = {
      .kind = LPG_STATEMENT, .sql = question, .count = 1, .values = values};
  int results = lpg_send(L, op, slot, stage, &request);
  if (results == LPG_CONTINUE)
    lpg_buffer_reset(list, list->capacity);
  return results;
}

static const char *text_at(const PGresult *answer, int row, int column)
{
  return PQgetisnull(answer, row, column) ? NULL
                                          : PQgetvalue(answer, row, column);
}

static uint32_t oid_at(const PGresult *answer, int row, int column)
{
  const char *text = text_at(answer, row, column);
  return text ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

void lpg_ask_take(lua_State *L, int slot, const PGresult *answer)
{
  lpg_buffer *facts = box_of(L, slot);
  if (PQnfields(answer) != COLUMNS)
    return;
  for (int row = 0; row < PQntuples(answer); row++) {
    const char *extension = text_at(answer, row, EXTENSION);
    lpg_fact fact = {.oid = oid_at(answer, row, OID),
                     .part = oid_at(answer, row, PART),
                     .field_oid = oid_at(answer, row, FIELD_OID),
                     .kind = *PQgetvalue(answer, row, KIND),
                     .delimiter = *PQgetvalue(answer, row, DELIMITER),
                     .name = PQgetvalue(answer, row, NAME),
                     .extension = extension ? extension : "",
                     .field = text_at(answer, row, FIELD)};
    lpg_typemap_note(facts, &fact);
  }
  check(L, facts);
}

void lpg_ask_learn(lua_State *L, int slot)
{
  lpg_conn *c = conn_of(L, slot);
  lua_getiuservalue(L, slot + CONN, LPG_CONN_TYPES);
  c->torn = c->codecs;
  lpg_typemap_learn(L, -1, lua_touserdata(L, slot + TYPES));
  c->torn = false;
  c->codecs_due = c->codecs; /* one may have been made anew */
  c->recent |= c->wire.pg && PQtransactionStatus(c->wire.pg) != PQTRANS_IDLE;
  lua_pop(L, 1);
  lpg_put_nil(L, slot + TYPES);
  lpg_share_learnt(L, slot + CONN);
}
