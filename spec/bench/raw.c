/* SPDX-License-Identifier: MIT */
/* raw: the program, and what its works share. raw <workload> <times> [size],
 * server by the PG* environment; prints units, wall seconds, CPU seconds and
 * the check of the measured part (protocol.md). */
#include "raw.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void fail(PGconn *pg)
{
  fprintf(stderr, "raw: %s", PQerrorMessage(pg));
  exit(1);
}

PGresult *must(PGconn *pg, PGresult *result)
{
  ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK &&
      status != PGRES_SINGLE_TUPLE)
    fail(pg);
  return result;
}

PGconn *connected(void)
{
  PGconn *pg = PQconnectdb("");
  if (PQstatus(pg) != CONNECTION_OK)
    fail(pg);
  return pg;
}

void run_script(PGconn *pg, const char *sql)
{
  PQclear(must(pg, PQexec(pg, sql)));
}

/* Every value is looked at, and its length, as any client has to. */
static long long touch(const PGresult *result)
{
  long long sum = 0;
  for (int i = 0, rows = PQntuples(result); i < rows; i++)
    for (int j = 0, columns = PQnfields(result); j < columns; j++)
      if (!PQgetisnull(result, i, j))
        sum += PQgetlength(result, i, j) +
               (unsigned char)*PQgetvalue(result, i, j);
  return sum;
}

volatile long long touched;

long take(job *j, PGresult *result)
{
  long rows = PQntuples(must(j->pg, result));
  if (j->work->convert && (j->checking || j->work->warmth != WARM))
    j->check += j->work->convert(result);
  if (!j->checking)
    touched += touch(result);
  PQclear(result);
  return rows;
}

long take_single(job *j)
{
  long rows = 0;
  PQsetSingleRowMode(j->pg);
  for (PGresult *r; (r = PQgetResult(j->pg)) != NULL;)
    rows += take(j, r);
  return rows;
}

long long integer(const PGresult *result, int row, int column)
{
  return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

long long first_integers(const PGresult *result)
{
  long long sum = 0;
  for (int i = 0, rows = PQntuples(result); i < rows; i++)
    sum += integer(result, i, 0);
  return sum;
}

static double clock_of(clockid_t id)
{
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A line of the kernel's about this process, in KB: VmHWM is the peak of its
 * memory. (getrusage's would be that of the shell before it.) */
static long memory(const char *name)
{
  char line[256];
  long kb = 0;
  size_t length = strlen(name);
  FILE *file = fopen("/proc/self/status", "r");
  while (file && fgets(line, sizeof line, file))
    if (strncmp(line, name, length) == 0)
      kb = strtol(line + length + 1, NULL, 10);
  if (file)
    fclose(file);
  return kb;
}

static const work *find(const char *name)
{
  static const work *const all[] = {reads, writes, linears};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    for (const work *w = all[i]; w->name; w++)
      if (strcmp(w->name, name) == 0)
        return w;
  return NULL;
}

static void warm_up(job *j)
{
  long times = j->work->warmth == COLD   ? 0
               : j->work->warmth == WARM ? 1
                                         : 10 * (j->size > 0 ? j->size : 1);
  j->checking = j->work->warmth == WARM;
  for (j->i = 0; j->i < times; j->i++)
    j->work->run(j);
  j->check = j->checking ? j->check : 0;
  j->checking = false;
}

static void measure(job *j, long times)
{
  long units = 0;
  double wall = clock_of(CLOCK_MONOTONIC);
  double cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID);
  for (j->i = 0; j->i < times; j->i++)
    units += j->work->run(j);
  wall = clock_of(CLOCK_MONOTONIC) - wall;
  cpu = clock_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  printf("%ld %.6f %.6f ", units, wall, cpu);
}

int main(int argc, char **argv)
{
  if (argc != 3 && argc != 4) {
    fprintf(stderr, "raw <workload> <times> [size]\n");
    return 2;
  }
  const char *scale = getenv("BENCH_SCALE");
  job j = {.work = find(argv[1]),
           .scale = scale ? strtod(scale, NULL) : 1,
           .size = argc == 4 ? strtol(argv[3], NULL, 10) : 0};
  if (!j.work) {
    puts("unsupported");
    return 0;
  }
  j.pg = connected();
  run_script(j.pg, "SELECT 1");
  if (j.work->ready)
    j.work->ready(&j);
  long before = memory("VmRSS");
  warm_up(&j);
  measure(&j, strtol(argv[2], NULL, 10));
  long after = memory("VmHWM");
  if (j.work->convert || j.check)
    printf("%lld %ld\n", j.check, after - before);
  else
    printf("- %ld\n", after - before);
  PQfinish(j.pg);
  return 0;
}
