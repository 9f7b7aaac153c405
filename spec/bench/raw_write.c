/* SPDX-License-Identifier: MIT */
/* raw_write: what sends rows, and COPY. The rows are there as strings; the
 * text of arrays is made of them in the measured part, that of COPY before. */
#include "raw.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 100000, BATCH = 10000, WIDTH = 3, CELL = 32, BLOCK = 64 * 1024 };

#define INSERT   "INSERT INTO bench_logs VALUES ($1, $2, $3)"
#define TRUNCATE "TRUNCATE bench_logs"

static char cells[ROWS][WIDTH][CELL];
static char text[ROWS * WIDTH * (CELL + 1)];
static int text_size;

static int scaled(const job *j, int count)
{
  int n = (int)(count * j->scale);
  return n > ROWS ? ROWS : n > 0 ? n : 1;
}

static void fill(job *j)
{
  text_size = 0;
  for (int i = 0; i < ROWS; i++) {
    snprintf(cells[i][0], CELL, "%s", i % 9 ? "info" : "error");
    snprintf(cells[i][1], CELL, "some message %d", i);
    snprintf(cells[i][2], CELL, "2026-01-15T10:30:%02d", i % 60);
    if (i < scaled(j, ROWS))
      text_size +=
          snprintf(text + text_size, sizeof text - (size_t)text_size,
                   "%s\t%s\t%s\n", cells[i][0], cells[i][1], cells[i][2]);
  }
}

/* What the warm-up stored: alike for all programs. */
static long stored(job *j, long units)
{
  if (!j->checking)
    return units;
  PGresult *r = must(
      j->pg,
      PQexec(j->pg, "SELECT count(*) + sum(length(message)) + "
                    "sum(extract(second FROM created_at))::int8 + count(*) "
                    "FILTER (WHERE level = 'error') FROM bench_logs"));
  j->check = first_integers(r);
  PQclear(r);
  return units;
}

/* An array literal of a column's values, quoted. */
static void literal(char *at, int first, int end, int column)
{
  for (int i = first; i < end; i++) {
    *at++ = i == first ? '{' : ',';
    *at++ = '"';
    for (const char *p = cells[i][column]; *p; *at++ = *p++)
      if (*p == '"' || *p == '\\')
        *at++ = '\\';
    *at++ = '"';
  }
  *at++ = '}';
  *at = 0;
}

/* A tenth of the rows a statement, in a transaction. */
static long insert(job *j)
{
  static char room[WIDTH][BATCH * (2 * CELL + 3) + 2];
  static const char sql[] =
      "INSERT INTO bench_logs SELECT * FROM (SELECT unnest($1::text[]), "
      "unnest($2::text[]), unnest($3::timestamp[])) AS u";
  const char *const values[WIDTH] = {room[0], room[1], room[2]};
  int rows = scaled(j, ROWS), batch = scaled(j, BATCH);
  run_script(j->pg, TRUNCATE);
  run_script(j->pg, "BEGIN");
  for (int first = 0; first < rows; first += batch) {
    int end = first + batch < rows ? first + batch : rows;
    for (int i = 0; i < WIDTH; i++)
      literal(room[i], first, end, i);
    PQclear(must(j->pg,
                 PQexecParams(j->pg, sql, WIDTH, NULL, values, NULL, NULL, 0)));
  }
  run_script(j->pg, "COMMIT");
  return stored(j, rows);
}

/* Prepared and pipelined, one transaction. libpq reads what comes while it
 * waits to send. */
static long pipeline(job *j)
{
  int rows = scaled(j, BATCH);
  run_script(j->pg, TRUNCATE);
  PQenterPipelineMode(j->pg);
  PQsendPrepare(j->pg, "", INSERT, WIDTH, NULL);
  for (int i = 0; i < rows; i++) {
    const char *values[WIDTH] = {cells[i][0], cells[i][1], cells[i][2]};
    PQsendQueryPrepared(j->pg, "", WIDTH, values, NULL, NULL, 0);
  }
  PQpipelineSync(j->pg);
  for (int left = rows + 2; left > 0;) { /* and Parse and Sync */
    PGresult *r = PQgetResult(j->pg);
    if (r && PQresultStatus(r) != PGRES_PIPELINE_SYNC)
      must(j->pg, r);
    left -= r != NULL;
    PQclear(r);
  }
  PQexitPipelineMode(j->pg);
  return stored(j, rows);
}

static void ready_singly(job *j)
{
  fill(j);
  PQclear(must(j->pg, PQprepare(j->pg, "insert", INSERT, WIDTH, NULL)));
}

/* Each its own round trip and transaction. */
static long singly(job *j)
{
  int rows = scaled(j, BATCH);
  run_script(j->pg, TRUNCATE);
  for (int i = 0; i < rows; i++) {
    const char *values[WIDTH] = {cells[i][0], cells[i][1], cells[i][2]};
    PQclear(must(
        j->pg, PQexecPrepared(j->pg, "insert", WIDTH, values, NULL, NULL, 0)));
  }
  return stored(j, rows);
}

static void begin_copy(PGconn *pg, const char *sql, ExecStatusType status)
{
  PGresult *r = PQexec(pg, sql);
  if (PQresultStatus(r) != status)
    must(pg, NULL);
  PQclear(r);
}

static long end_copy(PGconn *pg)
{
  PGresult *r = must(pg, PQgetResult(pg));
  long count = strtol(PQcmdTuples(r), NULL, 10);
  PQclear(r);
  PQclear(PQgetResult(pg));
  return count;
}

/* Lines that are there already, in blocks of 64 KB. */
static long copy_in(job *j)
{
  run_script(j->pg, TRUNCATE);
  begin_copy(j->pg, "COPY bench_logs FROM STDIN", PGRES_COPY_IN);
  for (int at = 0; at < text_size; at += BLOCK)
    PQputCopyData(j->pg, text + at,
                  text_size - at < BLOCK ? text_size - at : BLOCK);
  PQputCopyEnd(j->pg, NULL);
  return stored(j, end_copy(j->pg));
}

static long copy_out(job *j)
{
  char *row;
  long long bytes = 0;
  begin_copy(j->pg, j->work->sql, PGRES_COPY_OUT);
  for (int size; (size = PQgetCopyData(j->pg, &row, 0)) > 0; PQfreemem(row))
    bytes += size;
  if (j->checking)
    j->check = bytes;
  return end_copy(j->pg);
}

/* Rows in binary, each field looked at. */
static long copy_rows(job *j)
{
  char *row;
  begin_copy(j->pg, j->work->sql, PGRES_COPY_OUT);
  for (int size; (size = PQgetCopyData(j->pg, &row, 0)) > 0; PQfreemem(row)) {
    const unsigned char *at = (const unsigned char *)row, *end = at + size;
    if (size > 11 && memcmp(at, "PGCOPY\n", 7) == 0)
      at += 19; /* the head comes with the first row */
    for (at += 2; end - at > 4;) {
      long length = (long)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
      touched += length + at[4];
      at += 4 + length;
    }
  }
  return end_copy(j->pg);
}

const work writes[] = {
    {"insert", insert, fill, WARM, NULL, 0, NULL},
    {"pipeline", pipeline, fill, WARM, NULL, 0, NULL},
    {"singly", singly, ready_singly, WARM, NULL, 0, NULL},
    {"copy_in", copy_in, fill, WARM, NULL, 0, NULL},
    {"copy_out", copy_out, NULL, WARM, "COPY bench_rows TO STDOUT", 0, NULL},
    {"copy_rows", copy_rows, NULL, WARM,
     "COPY bench_rows TO STDOUT WITH (FORMAT binary)", 0, NULL},
    {NULL, NULL, NULL, WARM, NULL, 0, NULL},
};
