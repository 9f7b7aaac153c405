/* SPDX-License-Identifier: MIT */
/* raw: the floor of the benchmarks: the same work on libpq alone, values read
 * but not converted. raw <workload> <repetitions>, server by the PG*
 * environment; prints the units done, wall seconds and CPU seconds of the
 * measured part. */
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double clock_of(clockid_t id)
{
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static PGresult *must(PGconn *pg, PGresult *result)
{
  ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK &&
      status != PGRES_SINGLE_TUPLE) {
    fprintf(stderr, "%s", PQerrorMessage(pg));
    exit(1);
  }
  return result;
}

/* Every value is looked at, as any client has to. */
static unsigned long touch(const PGresult *result)
{
  unsigned long sum = 0;
  for (int i = 0, rows = PQntuples(result); i < rows; i++)
    for (int j = 0, columns = PQnfields(result); j < columns; j++)
      if (!PQgetisnull(result, i, j))
        sum += (unsigned long)PQgetlength(result, i, j) +
               (unsigned char)*PQgetvalue(result, i, j);
  return sum;
}

static unsigned long run(PGconn *pg, const char *sql, const char *value)
{
  const char *const values[] = {value};
  PGresult *r = must(
      pg, PQexecParams(pg, sql, value ? 1 : 0, NULL, values, NULL, NULL, 0));
  unsigned long sum = touch(r);
  PQclear(r);
  return sum;
}

enum { ROWS = 100000, BATCH = 10000, WIDTH = 3 };

static char cells[ROWS][WIDTH][32];

static void fill_cells(void)
{
  for (int i = 0; i < ROWS; i++) {
    snprintf(cells[i][0], sizeof cells[i][0], "%s", i % 9 ? "info" : "error");
    snprintf(cells[i][1], sizeof cells[i][1], "some message %d", i);
    snprintf(cells[i][2], sizeof cells[i][2], "2026-01-15T10:30:%02d", i % 60);
  }
}

/* An array literal of a column's values, quoted. */
static char *literal(char *at, int first, int column)
{
  char *text = at;
  for (int i = first; i < first + BATCH; i++) {
    *at++ = i == first ? '{' : ',';
    *at++ = '"';
    for (const char *p = cells[i][column]; *p; *at++ = *p++)
      if (*p == '"' || *p == '\\')
        *at++ = '\\';
    *at++ = '"';
  }
  *at++ = '}';
  *at = 0;
  return text;
}

/* 100,000 rows, 10,000 a statement, in a transaction. */
static unsigned long insert(PGconn *pg)
{
  static char room[WIDTH][BATCH * 66 + 2];
  const char *values[WIDTH];
  PQclear(must(pg, PQexec(pg, "BEGIN")));
  for (int first = 0; first < ROWS; first += BATCH) {
    for (int i = 0; i < WIDTH; i++)
      values[i] = literal(room[i], first, i);
    PQclear(must(pg, PQexecParams(pg,
                                  "INSERT INTO bench_logs SELECT * FROM unnest("
                                  "$1::text[], $2::text[], $3::timestamp[])",
                                  WIDTH, NULL, values, NULL, NULL, 0)));
  }
  PQclear(must(pg, PQexec(pg, "COMMIT")));
  return ROWS;
}

/* 10,000 inserts, prepared and pipelined, one transaction. libpq reads what
 * comes while it waits to send. */
static unsigned long pipeline(PGconn *pg)
{
  static const char sql[] = "INSERT INTO bench_logs VALUES ($1, $2, $3)";
  unsigned long sum = 0;
  PQenterPipelineMode(pg);
  PQsendPrepare(pg, "", sql, WIDTH, NULL);
  for (int i = 0; i < BATCH; i++) {
    const char *values[WIDTH] = {cells[i][0], cells[i][1], cells[i][2]};
    PQsendQueryPrepared(pg, "", WIDTH, values, NULL, NULL, 0);
  }
  PQpipelineSync(pg);
  for (int left = BATCH + 2; left > 0;) { /* and Parse and Sync */
    PGresult *r = PQgetResult(pg);
    if (r && PQresultStatus(r) != PGRES_PIPELINE_SYNC)
      sum += touch(must(pg, r));
    left -= r != NULL;
    PQclear(r);
  }
  PQexitPipelineMode(pg);
  return sum;
}

static void begin_copy(PGconn *pg, const char *sql, ExecStatusType status)
{
  PGresult *r = PQexec(pg, sql);
  if (PQresultStatus(r) != status) {
    fprintf(stderr, "%s", PQerrorMessage(pg));
    exit(1);
  }
  PQclear(r);
}

static unsigned long end_copy(PGconn *pg)
{
  PGresult *r = must(pg, PQgetResult(pg));
  unsigned long count = strtoul(PQcmdTuples(r), NULL, 10);
  PQclear(r);
  PQclear(PQgetResult(pg));
  return count;
}

/* 100,000 lines that are there already, in blocks of 64 KB. */
static unsigned long copy_in(PGconn *pg)
{
  static char text[ROWS * 80];
  static int size;
  enum { BLOCK = 64 * 1024 };
  for (int i = size ? ROWS : 0; i < ROWS; i++)
    size += snprintf(text + size, sizeof text - (size_t)size, "%s\t%s\t%s\n",
                     cells[i][0], cells[i][1], cells[i][2]);
  PQclear(must(pg, PQexec(pg, "TRUNCATE bench_logs")));
  begin_copy(pg, "COPY bench_logs FROM STDIN", PGRES_COPY_IN);
  for (int at = 0; at < size; at += BLOCK)
    PQputCopyData(pg, text + at, size - at < BLOCK ? size - at : BLOCK);
  PQputCopyEnd(pg, NULL);
  return end_copy(pg);
}

static unsigned long copy_out(PGconn *pg, const char *sql)
{
  char *row;
  unsigned long sum = 0;
  begin_copy(pg, sql, PGRES_COPY_OUT);
  for (int size; (size = PQgetCopyData(pg, &row, 0)) > 0; PQfreemem(row))
    sum += (unsigned long)size;
  return sum + end_copy(pg);
}

/* A key lookup by the name of a prepared statement. */
static unsigned long lookup(PGconn *pg, const char *id)
{
  static const char *const sql = "SELECT * FROM bench_lookup WHERE id = $1";
  static bool prepared;
  if (!prepared)
    PQclear(must(pg, PQprepare(pg, "lookup", sql, 1, NULL)));
  prepared = true;
  PGresult *r = must(pg, PQexecPrepared(pg, "lookup", 1, &id, NULL, NULL, 0));
  unsigned long sum = touch(r);
  PQclear(r);
  return sum;
}

/* Rows one by one, as they arrive. */
static unsigned long each(PGconn *pg)
{
  unsigned long sum = 0;
  PQsendQueryParams(pg, "SELECT * FROM bench_rows", 0, NULL, NULL, NULL, NULL,
                    0);
  PQsetSingleRowMode(pg);
  for (PGresult *r; (r = PQgetResult(pg)) != NULL; PQclear(r))
    sum += touch(must(pg, r));
  return sum;
}

int main(int argc, char **argv)
{
  static const char *const names[] = {
      "int",     "lookup",   "rows",      "insert",   "pipeline",
      "copy_in", "copy_out", "copy_rows", "prepared", "each"};
  static const char *const sql[] = {"SELECT $1::int",
                                    "SELECT * FROM bench_lookup WHERE id = $1",
                                    "SELECT * FROM bench_rows"};
  if (argc != 3)
    return 2;
  PGconn *pg = PQconnectdb("");
  if (PQstatus(pg) != CONNECTION_OK) {
    fprintf(stderr, "%s", PQerrorMessage(pg));
    return 1;
  }
  int which = 0, times = atoi(argv[2]);
  while (which < 9 && strcmp(names[which], argv[1]) != 0)
    which++;
  char id[16];
  fill_cells();
  unsigned long sum = run(pg, "SELECT 1", NULL);
  double wall = clock_of(CLOCK_MONOTONIC);
  double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < times; i++) {
    snprintf(id, sizeof id, "%d", i % 1000 + 1);
    sum += which == 3   ? insert(pg)
           : which == 4 ? pipeline(pg)
           : which == 5 ? copy_in(pg)
           : which == 6
               ? copy_out(pg, "COPY (SELECT * FROM bench_rows) TO STDOUT")
           : which == 7 ? copy_out(pg, "COPY (SELECT * FROM bench_rows) TO "
                                       "STDOUT WITH (FORMAT binary)")
           : which == 8 ? lookup(pg, id)
           : which == 9 ? each(pg)
                        : run(pg, sql[which], which < 2 ? id : NULL);
  }
  printf("%d %.6f %.6f %lu\n", times, clock_of(CLOCK_MONOTONIC) - wall,
         clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu, sum);
  PQfinish(pg);
  return 0;
}
