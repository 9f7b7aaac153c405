/* SPDX-License-Identifier: MIT */
/* raw_linear: work of a size: so many rows, columns, statements, connections.
 */
#include "raw.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CELLS = 320000, NAME = 32 };

static char *sql; /* of the work */

static void *room(size_t count, size_t size)
{
  void *block = calloc(count, size);
  if (!block)
    exit(1);
  return block;
}

static void rows_ready(job *j)
{
  static const char form[] =
      "SELECT i::int8 AS id, 'some text ' || i AS name, i / 7.0::float8 AS "
      "score, i %% 2 = 0 AS active FROM (SELECT 10000000 + generate_series(1, "
      "%ld) AS i) "
      "AS series";
  sql = room(sizeof form + NAME, 1);
  snprintf(sql, sizeof form + NAME, form, j->size);
}

static long rows(job *j)
{
  PQsendQueryParams(j->pg, sql, 0, NULL, NULL, NULL, NULL, 0);
  return take_single(j);
}

static void columns_ready(job *j)
{
  size_t size = (size_t)(j->size + 8) * NAME, at = 0;
  long count = (long)(CELLS * j->scale / (double)j->size);
  sql = room(size, 1);
  for (long i = 1; i <= j->size; i++)
    at += (size_t)snprintf(sql + at, size - at, "%s i AS c%ld",
                           i == 1 ? "SELECT" : ",", i);
  snprintf(sql + at, size - at,
           " FROM (SELECT 10000000 + generate_series(1, %ld) AS i) AS series",
           count > 0 ? count : 1);
}

static long columns(job *j)
{
  return j->size *
         take(j, PQexecParams(j->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
}

static char (*names)[NAME];

static void statements_ready(job *j)
{
  names = room((size_t)j->size, NAME);
  for (long i = 0; i < j->size; i++) {
    char text[64];
    snprintf(names[i], NAME, "s%ld", i);
    snprintf(text, sizeof text, "SELECT $1::int + %ld AS value", i);
    PQclear(must(j->pg, PQprepare(j->pg, names[i], text, 1, NULL)));
  }
}

static long statements(job *j)
{
  char key[16];
  const char *const values[] = {key};
  snprintf(key, sizeof key, "%ld", j->i % 1000 + 1);
  return take(j, PQexecPrepared(j->pg, names[j->i % j->size], 1, values, NULL,
                                NULL, 0));
}

static PGconn **all;

static void connections_ready(job *j)
{
  all = room((size_t)j->size, sizeof *all);
  for (long i = 0; i < j->size; i++) {
    all[i] = i == 0 ? j->pg : connected();
    PQclear(must(all[i], PQprepare(all[i], "int", "SELECT $1::int", 1, NULL)));
  }
}

static long connections(job *j)
{
  char key[16];
  const char *const values[] = {key};
  snprintf(key, sizeof key, "%ld", j->i % 1000 + 1);
  return take(
      j, PQexecPrepared(all[j->i % j->size], "int", 1, values, NULL, NULL, 0));
}

const work linears[] = {
    {"linear_rows", rows, rows_ready, COLD, NULL, 0, first_integers},
    {"linear_columns", columns, columns_ready, WARM, NULL, 0, first_integers},
    {"linear_statements", statements, statements_ready, KEYED, NULL, 0,
     first_integers},
    {"linear_connections", connections, connections_ready, KEYED, NULL, 0,
     first_integers},
    {NULL, NULL, NULL, WARM, NULL, 0, NULL},
};
