/* SPDX-License-Identifier: MIT */
/* raw_read: what reads. Statements are prepared before the clock starts. */
#include "raw.h"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "bench"

static void prepare(job *j)
{
  PQclear(must(j->pg, PQprepare(j->pg, NAME, j->work->sql, 0, NULL)));
}

static long whole(job *j)
{
  return take(
      j, PQexecPrepared(j->pg, NAME, 0, NULL, NULL, NULL, j->work->format));
}

/* Rows one by one, as they arrive. */
static long single(job *j)
{
  PQsendQueryPrepared(j->pg, NAME, 0, NULL, NULL, NULL, j->work->format);
  return take_single(j);
}

static long keyed(job *j)
{
  char key[16];
  const char *const values[] = {key};
  snprintf(key, sizeof key, "%ld", j->i % 1000 + 1);
  return take(j, PQexecPrepared(j->pg, NAME, 1, values, NULL, NULL, 0));
}

static long keyed_anew(job *j)
{
  char key[16];
  const char *const values[] = {key};
  snprintf(key, sizeof key, "%ld", j->i % 1000 + 1);
  return take(
      j, PQexecParams(j->pg, j->work->sql, 1, NULL, values, NULL, NULL, 0));
}

/* -- Converting, for the checks -- */

static bool is_true(const PGresult *r, int row, int column)
{
  return *PQgetvalue(r, row, column) == 't';
}

static long long rows_check(const PGresult *r)
{
  long long sum = first_integers(r);
  for (int i = 0, rows = PQntuples(r); i < rows; i++)
    sum += PQgetlength(r, i, 1) + integer(r, i, 2) + is_true(r, i, 3);
  return sum;
}

static long long catalog_check(const PGresult *r)
{
  long long sum = first_integers(r);
  for (int i = 0, rows = PQntuples(r); i < rows; i++)
    sum += PQgetlength(r, i, 1) + is_true(r, i, 5);
  return sum;
}

/* The seconds stand in the 18th place of 2026-01-15 10:30:01.234567+00. */
static long long typed_check(const PGresult *r)
{
  long long sum = first_integers(r);
  for (int i = 0, rows = PQntuples(r); i < rows; i++)
    sum += strtol(PQgetvalue(r, i, 1) + 17, NULL, 10) + integer(r, i, 2);
  return sum;
}

static uint32_t four(const unsigned char *at)
{
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 |
         at[3];
}

/* The elements of a binary array of one dimension: after a head of 20 bytes
 * that has their number in the third word, each with its length before it. */
static long long array_check(const PGresult *r)
{
  long long sum = 0;
  for (int i = 0, rows = PQntuples(r); i < rows; i++) {
    const unsigned char *at = (const unsigned char *)PQgetvalue(r, i, 1);
    uint32_t count = four(at + 12);
    at += 20;
    for (uint32_t k = 0; k < count; k++) {
      uint32_t size = four(at);
      uint64_t bits = (uint64_t)four(at + 4) << 32;
      double number;
      if (size == 8)
        bits |= four(at + 8);
      memcpy(&number, &bits, sizeof number);
      sum += size == 8 ? (long long)number : (int32_t)four(at + 4);
      at += 4 + size;
    }
  }
  return sum;
}

static long long ends(const unsigned char *data, size_t size)
{
  return (long long)size + data[0] + data[size - 1];
}

static long long bytes_check(const PGresult *r)
{
  long long sum = 0;
  for (int i = 0, rows = PQntuples(r); i < rows; i++) {
    unsigned char *value = (unsigned char *)PQgetvalue(r, i, 0);
    size_t size = (size_t)PQgetlength(r, i, 0);
    if (PQfformat(r, 0) == 0) {
      unsigned char *bytes = PQunescapeBytea(value, &size);
      sum += ends(bytes, size);
      PQfreemem(bytes);
    } else {
      sum += ends(value, size);
    }
  }
  return sum;
}

static long long number_after(const char *text, const char *key)
{
  const char *at = strstr(text, key);
  return at ? strtoll(at + strlen(key), NULL, 10) : 0;
}

static long long json_check(const PGresult *r)
{
  long long sum = 0;
  for (int i = 0, rows = PQntuples(r); i < rows; i++) {
    const char *text = PQgetvalue(r, i, 0);
    sum += number_after(text, "\"number\": ") + number_after(text, "\"age\": ");
  }
  return sum;
}

#define ROWS    "SELECT * FROM bench_rows"
#define MILLION "SELECT * FROM bench_million"
#define LOOKUP  "SELECT * FROM bench_lookup WHERE id = $1"
#define LARGE   "SELECT data FROM bench_large"
#define MEDIUM  "SELECT data FROM bench_medium"
#define CATALOG                                                                \
  "SELECT oid, typname, typnamespace, typowner, typlen, typbyval, typtype, "   \
  "typcategory, typispreferred, typisdefined, typdelim, typrelid FROM pg_type"

const work reads[] = {
    {"int", keyed, prepare, KEYED, "SELECT $1::int", 0, first_integers},
    {"lookup", keyed, prepare, KEYED, LOOKUP, 0, first_integers},
    {"lookup_anew", keyed_anew, NULL, KEYED, LOOKUP, 0, first_integers},
    {"rows", whole, prepare, WARM, ROWS, 0, rows_check},
    {"each", single, prepare, WARM, ROWS, 0, rows_check},
    {"catalog", whole, prepare, WARM, CATALOG, 0, catalog_check},
    {"typed", whole, prepare, WARM, "SELECT * FROM bench_typed", 0,
     typed_check},
    {"int_arrays", whole, prepare, WARM, "SELECT * FROM bench_ints", 1,
     array_check},
    {"float_arrays", whole, prepare, WARM, "SELECT * FROM bench_floats", 1,
     array_check},
    {"bytea_1mb", whole, prepare, WARM, LARGE, 1, bytes_check},
    {"bytea_10kb", whole, prepare, WARM, MEDIUM, 0, bytes_check},
    {"bytea_10kb_binary", whole, prepare, WARM, MEDIUM, 1, bytes_check},
    {"jsonb", whole, prepare, WARM, "SELECT doc FROM bench_json", 0,
     json_check},
    {"held", whole, prepare, COLD, MILLION, 0, first_integers},
    {"streamed", single, prepare, COLD, MILLION, 0, first_integers},
    {NULL, NULL, NULL, WARM, NULL, 0, NULL},
};
