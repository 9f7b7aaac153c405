/* SPDX-License-Identifier: MIT */
/* chunks: gives an older libpq the chunked rows of 17 and later, on top of its
 * own single rows; to be preloaded. As there, PQisBusy says "yes" until a chunk
 * is full or its statement has ended, no part of a chunk is shown before, the
 * last one is short, an empty PGRES_TUPLES_OK follows it, and an error takes
 * the rows of an unfinished chunk away. Under a libpq that has them it only
 * counts. Rows without columns cannot be gathered here. At its end the process
 * says on stderr how many chunks there were. */
#define _GNU_SOURCE /* RTLD_NOLOAD */
#include <dlfcn.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS = 16, COLUMNS = 1664, TUPLES_CHUNK = 12 };

int PQsetChunkedRowsMode(PGconn *pg, int size);

typedef struct gathering {
  PGconn *pg;
  int size;        /* rows of a chunk; 0: not asked for */
  PGresult *chunk; /* that is filled */
  PGresult *last;  /* what came after the rows, */
  bool ended;      /* or nothing did */
} gathering;

static gathering all[CONNECTIONS];
static unsigned count;

__attribute__((destructor)) static void tell(void)
{
  fprintf(stderr, "%u chunks\n", count);
}

/* libpq's own functions. */
typedef int real_function(PGconn *);
typedef PGresult *real_getter(PGconn *);
typedef void real_finisher(PGconn *);
typedef int real_setter(PGconn *, int);

/* Loaded with the module and for it alone until then: what is called here
 * finds it from its first use on. Were this linked to it, a sanitized process
 * would hang at its exit, as psql does. */
static void *real(const char *name)
{
  void *libpq = dlopen("libpq.so.5", RTLD_LAZY | RTLD_GLOBAL | RTLD_NOLOAD);
  return libpq ? dlsym(libpq, name) : NULL;
}

static bool real_is_busy(PGconn *pg)
{
  real_function *f;
  *(void **)&f = real("PQisBusy");
  return f(pg);
}

static PGresult *real_get(PGconn *pg)
{
  real_getter *f;
  *(void **)&f = real("PQgetResult");
  return f(pg);
}

static gathering *find(const PGconn *pg)
{
  for (int i = 0; i < CONNECTIONS; i++)
    if (all[i].pg == pg)
      return &all[i];
  return NULL;
}

static PGresult *begin_chunk(const PGresult *row)
{
  static PGresAttDesc columns[COLUMNS];
  static char names[COLUMNS][64];
  PGresult *chunk = PQmakeEmptyPGresult(NULL, (ExecStatusType)TUPLES_CHUNK);
  int width = PQnfields(row);
  for (int i = 0; i < width; i++) {
    snprintf(names[i], sizeof names[i], "%s", PQfname(row, i));
    columns[i] = (PGresAttDesc){.name = names[i],
                                .tableid = PQftable(row, i),
                                .columnid = PQftablecol(row, i),
                                .format = PQfformat(row, i),
                                .typid = PQftype(row, i),
                                .typlen = PQfsize(row, i),
                                .atttypmod = PQfmod(row, i)};
  }
  PQsetResultAttrs(chunk, width, columns);
  return chunk;
}

static void add(gathering *g, const PGresult *row)
{
  if (!g->chunk)
    g->chunk = begin_chunk(row);
  int number = PQntuples(g->chunk);
  for (int i = 0, width = PQnfields(row); i < width; i++) {
    bool null = PQgetisnull(row, 0, i);
    PQsetvalue(g->chunk, number, i, null ? NULL : PQgetvalue(row, 0, i),
               null ? -1 : PQgetlength(row, 0, i));
  }
}

static bool is_full(const gathering *g)
{
  return g->chunk && PQntuples(g->chunk) >= g->size;
}

static void gather(gathering *g)
{
  while (!g->ended && !is_full(g) && !real_is_busy(g->pg)) {
    PGresult *result = real_get(g->pg);
    if (PQresultStatus(result) == PGRES_SINGLE_TUPLE) {
      add(g, result);
      PQclear(result);
      continue;
    }
    g->last = result;
    g->ended = true;
    if (PQresultStatus(result) == PGRES_FATAL_ERROR) {
      PQclear(g->chunk);
      g->chunk = NULL;
    }
  }
}

int PQisBusy(PGconn *pg)
{
  gathering *g = find(pg);
  if (!g || g->size == 0)
    return real_is_busy(pg);
  gather(g);
  return !g->ended && !is_full(g);
}

PGresult *PQgetResult(PGconn *pg)
{
  gathering *g = find(pg);
  PGresult *result;
  if (!g || g->size == 0) {
    result = real_get(pg);
  } else {
    gather(g);
    result = g->chunk ? g->chunk : g->last;
    if (!g->chunk) /* the mode ends with its statement */
      *g = (gathering){.pg = pg};
    g->chunk = NULL;
  }
  count += (int)PQresultStatus(result) == TUPLES_CHUNK;
  return result;
}

int PQsetChunkedRowsMode(PGconn *pg, int size)
{
  real_setter *own;
  *(void **)&own = real("PQsetChunkedRowsMode");
  if (own)
    return own(pg, size);
  gathering *g = find(pg);
  if (!g)
    g = find(NULL);
  if (!g || !PQsetSingleRowMode(pg))
    return 0;
  *g = (gathering){.pg = pg, .size = size};
  return 1;
}

void PQfinish(PGconn *pg)
{
  gathering *g = find(pg);
  if (g && pg) {
    PQclear(g->chunk);
    PQclear(g->last);
    *g = (gathering){0};
  }
  real_finisher *f;
  *(void **)&f = real("PQfinish");
  f(pg);
}
