/* SPDX-License-Identifier: MIT */
/* wire: libpq driven in steps that never block. Owns the PGconn, the result
 * at hand, the first failure, the request to cancel and the relay. Says what
 * to wait for and never waits; checks time and size as data arrives.
 * Knows no Lua, so nothing here can be jumped over. */
#ifndef LPG_WIRE_H
#define LPG_WIRE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "cancel.h"
#include "notice.h"
#include "notify.h"
#include "relay.h"

typedef enum lpg_step {
  LPG_READ,       /* wait until lpg_wire_descriptor() is readable, */
  LPG_WRITE,      /* writable, */
  LPG_READ_WRITE, /* or either */
  LPG_AGAIN,      /* nothing to wait for: step again */
  LPG_ROOM,       /* all is sent: more may be put, or the end of it */
  LPG_RESULT,     /* wire->result holds a row, the end of a statement or the
                   * beginning of COPY; or wire->data a row of COPY */
  LPG_DONE        /* the phase tells how it ended */
} lpg_step;

typedef enum lpg_phase {
  LPG_CLOSED, /* no connection (yet, or after lpg_wire_close) */
  LPG_CONNECTING,
  LPG_IDLE,
  LPG_LISTENING, /* idle, and waited with for a notification */
  LPG_FETCHING,
  LPG_CANCELLING, /* the request to cancel is under way: nothing is read */
  LPG_DRAINING,   /* cancelled: reading on until idle */
  LPG_LOST        /* the connection broke, or was cut to keep a promise */
} lpg_phase;

typedef enum lpg_stop { /* why a statement was stopped */
                        LPG_RUNS,
                        LPG_TIMED_OUT,
                        LPG_TOO_LARGE,
                        LPG_ABANDONED, /* the caller went away in the middle */
                        LPG_CANCELLED, /* the program asked for it */
                        LPG_COPY /* COPY came where a result was expected */
} lpg_stop;

typedef enum lpg_kind {
  LPG_SCRIPT,     /* simple protocol: several statements, no parameters */
  LPG_STATEMENT,  /* extended protocol */
  LPG_DESCRIBE,   /* Parse and Describe in one Sync; nothing runs */
  LPG_TO_SERVER,  /* COPY FROM STDIN, by the simple protocol: no pipeline */
  LPG_FROM_SERVER /* COPY TO STDOUT */
} lpg_kind;

enum { LPG_ASIDES = 8 };

/* Rows of a chunk, and the bytes of a row that is short. */
enum { LPG_CHUNK_ROWS = 32, LPG_NARROW_ROW = 4096 };

typedef struct lpg_request {
  lpg_kind kind;
  const char *sql;
  const char *name; /* of the prepared statement to run; NULL: none, unnamed */
  bool parse;       /* it is prepared in this trip */
  const char *asides[LPG_ASIDES]; /* run first, each for itself: what they */
                                  /* answer counts for nothing */
  const char *before; /* run before a statement, in its trip and transaction */
  const char *after;  /* run after it, when it ended well */
  int count;
  const Oid *types; /* 0 where the server shall infer */
  const char *const *values;
  const int *lengths, *formats;
  int result_format;
} lpg_request;

typedef struct lpg_limits {
  double timeout;  /* seconds; HUGE_VAL: none */
  double result;   /* bytes of all results of the request */
  bool strict;     /* at the deadline the connection is given up at once */
  bool each;       /* `result` is a row's, not the whole result's */
  bool narrow;     /* the rows will be short: many may come at once */
  double deadline; /* if it has been set already; else 0 */
} lpg_limits;

typedef struct lpg_wire {
  PGconn *pg;
  lpg_phase phase;
  lpg_stop stop;
  PGresult *result;  /* what the last step answered; the next step clears it */
  char *data;        /* the same: a row of COPY, */
  int size;          /* its bytes */
  PGresult *failure; /* the first error with an SQLSTATE, else the last */
  char *words;       /* libpq's last words, when the connection ended */
  bool needs_password; /* the server asked for one and none was given */
  bool was_encrypted;  /* when the connection ended */
  bool dropped;        /* rows came that nobody will see */
  double started, deadline, received;
  lpg_limits limits;
  lpg_cancel cancel;
  lpg_relay relay;
  lpg_notices notices;
  lpg_notifies notifies;

  /* how far the current request is */
  PostgresPollingStatusType polling;
  bool flushed;  /* all is sent */
  bool awaited;  /* there was a wait: there may be something to read */
  bool partial;  /* data was taken in, and no whole message came of it */
  bool dry;      /* TLS has been asked for bytes that no poll would show */
  bool answered; /* by a result of any kind */
  bool broken;   /* the link is, but what was read before is still there */
  enum { LPG_NOT_COPYING, LPG_COPYING_IN, LPG_COPYING_OUT } copying;
  ExecStatusType expected; /* the way of COPY that was asked for */
  /* A pipeline: its commands, from 0. Of the first `asides` nothing counts,
   * [first, last) are the caller's, all others are ours. */
  bool pipelined, open; /* more commands may be put */
  int queued, asides, first, last;
  int command;  /* that answers now */
  int failed;   /* that answered with the failure */
  int syncs;    /* still to be answered */
  int spoiler;  /* the command that fails a pipeline that was stopped */
  bool spoiled; /* it was put: none of the pipeline takes effect */
  bool told;    /* it has answered something */
  bool whole;   /* results come whole, */
  bool by_row;  /* or row by row: said for this command */
  bool chunked; /* or in chunks of rows, which are under way */
  unsigned steps;
  /* Bytes through the relay since the last result; and, but for chunks, since
   * the last whole message. */
  double since;
  size_t noticed;
} lpg_wire;

void lpg_wire_init(lpg_wire *w);
/* Starts to connect; steps until LPG_DONE, then LPG_IDLE or LPG_LOST, or still
 * LPG_CONNECTING at the deadline: a later one may be set. */
void lpg_wire_connect(lpg_wire *w, const char *const *keywords,
                      const char *const *values, double deadline);
/* Ends the connection, or the attempt to connect, and keeps libpq's last
 * words. Answers LPG_DONE. */
lpg_step lpg_wire_lose(lpg_wire *w);
void lpg_wire_keep_words(lpg_wire *w);
/* Sends a request on an idle connection; false: libpq refused it, and
 * PQerrorMessage says why. Values are copied by libpq before it returns. */
bool lpg_wire_send(lpg_wire *w, const lpg_request *request,
                   const lpg_limits *limits);
/* Begins a pipeline of statements of the caller; all are one transaction. */
bool lpg_wire_open(lpg_wire *w, const lpg_limits *limits);
/* At LPG_ROOM: one more statement, or the pipeline's end. */
bool lpg_wire_queue(lpg_wire *w, const lpg_request *request);
bool lpg_wire_seal(lpg_wire *w);
/* At LPG_ROOM of a COPY FROM STDIN: data, which libpq copies; or its end, with
 * a reason when nothing of it shall be stored. Nothing was put when it answers
 * false: memory is short, unless the link is broken. */
bool lpg_wire_put(lpg_wire *w, const char *data, size_t size);
bool lpg_wire_put_end(lpg_wire *w, const char *reason);
/* The program was busy with what came: its time is not the server's. */
void lpg_wire_extend(lpg_wire *w);
/* Waits on an idle connection for a notification: steps until LPG_DONE, then
 * LPG_IDLE or LPG_LOST. */
void lpg_wire_listen(lpg_wire *w, double deadline);
lpg_step lpg_wire_step(lpg_wire *w);
/* Asks the server to stop the current statement; steps then end in LPG_IDLE,
 * or in LPG_LOST when the server does not answer in the grace time. */
void lpg_wire_stop(lpg_wire *w, lpg_stop why);
/* The wait ended without anything to read: the next step need not look. */
static inline void lpg_wire_quiet(lpg_wire *w)
{
  w->awaited = false;
}
/* The program was busy: what has come meanwhile counts before the clock. */
void lpg_wire_look(lpg_wire *w);
/* Before stepping through what an abandoned statement left. */
void lpg_wire_resume(lpg_wire *w);
int lpg_wire_descriptor(const lpg_wire *w);
/* Makes the descriptor ready for whoever waits for it. Nothing comes or goes
 * any more. */
void lpg_wire_wake(const lpg_wire *w);
/* Closes the connection at once, without waiting. */
void lpg_wire_close(lpg_wire *w);
/* In a forked child: lets go without a word to the server. */
void lpg_wire_disown(lpg_wire *w);

void lpg_wire_drop_data(lpg_wire *w);

/* PGRES_SINGLE_TUPLE says that more will follow, be it of one row or of a chunk
 * of them: PGRES_TUPLES_CHUNK, which libpq's headers have from 17 on. */
static inline ExecStatusType lpg_wire_status(const PGresult *result)
{
  ExecStatusType status = PQresultStatus(result);
  return (int)status == 12 ? PGRES_SINGLE_TUPLE : status;
}

/* Bytes of a row as it crosses the wire. */
size_t lpg_wire_row_bytes(const PGresult *result, int row);

static inline bool lpg_wire_busy(const lpg_wire *w)
{
  return w->phase >= LPG_FETCHING && w->phase <= LPG_DRAINING;
}

#endif
