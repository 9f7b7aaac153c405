/* SPDX-License-Identifier: MIT */
/* raw: what the files of the floor share. The floor is a C program that does
 * the work of the benchmarks on libpq alone: it looks at every value, as any
 * client has to, and converts none. */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include <libpq-fe.h>
#include <stdbool.h>

typedef struct work work;

typedef struct job {
  const work *work;
  PGconn *pg;
  bool checking;   /* values are converted, for the check */
  long i;          /* the number of the repetition, from 0 */
  long size;       /* of a linear work, and what it has that many of */
  double scale;    /* of the numbers of rows that are sent */
  long long check; /* integers of what came, added up */
} job;

/* The check is of the warm-up, which KEYED and COLD works have not, or not of
 * values that are known: theirs is of the measured repetitions. */
typedef enum warmth { WARM, KEYED, COLD } warmth;

struct work {
  const char *name;
  long (*run)(job *);   /* a repetition: how many units it had */
  void (*ready)(job *); /* before the warm-up, or NULL */
  warmth warmth;
  const char *sql;                        /* of what reads */
  int format;                             /* its results': 1 is binary */
  long long (*convert)(const PGresult *); /* its part of the check, or NULL */
};

extern const work reads[], writes[], linears[]; /* the last has no name */

/* The result, if it is a good one; else the end of the program. */
PGresult *must(PGconn *pg, PGresult *result);
PGconn *connected(void);
void run_script(PGconn *pg, const char *sql);
/* What was looked at goes here, so that no compiler leaves the looking out. */
extern volatile long long touched;

/* Looks at every value, or converts what the check is of. Clears the result;
 * how many rows it had. */
long take(job *j, PGresult *result);
/* The same for a statement whose rows come one by one. */
long take_single(job *j);

/* Value of a text cell as an integer, up to what is no digit. */
long long integer(const PGresult *result, int row, int column);
/* Adds up the first column. */
long long first_integers(const PGresult *result);

#endif
