/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deadline.h"

enum {
  LPG_STRETCH = 64, /* results between looks at the clock */
  /* What one message may have over the limit: these buffers hold bytes of the
   * next one, and the text of an error is not a result. */
  LPG_SLACK = 2 * 1024 * 1024
};

/* How long a cancelled statement may take to end before the connection is
 * cut: as long as its own time limit, within one and five seconds. */
static double grace(const lpg_wire *w)
{
  double seconds = w->limits.timeout;
  return seconds < 1 ? 1 : seconds > 5 ? 5 : seconds;
}

void lpg_wire_init(lpg_wire *w)
{
  *w = (lpg_wire){.phase = LPG_CLOSED};
  w->relay = LPG_RELAY_INIT;
  w->cancel.done = -1;
}

static void clear_outcome(lpg_wire *w)
{
  PQclear(w->result);
  PQclear(w->failure);
  free(w->words);
  w->result = w->failure = NULL;
  w->words = NULL;
}

void lpg_wire_close(lpg_wire *w)
{
  clear_outcome(w);
  lpg_cancel_forget(&w->cancel);
  if (w->pg)
    PQfinish(w->pg);
  w->pg = NULL;
  lpg_relay_close(&w->relay);
  lpg_notices_clear(&w->notices);
  w->phase = LPG_CLOSED;
}

/* PQfinish would say goodbye on the parent's connection: it speaks to a
 * socket pair instead. Without one, memory is given up rather than the
 * parent's session. */
void lpg_wire_disown(lpg_wire *w)
{
  int pair[2], fd = w->pg ? PQsocket(w->pg) : -1;
  if (fd >= 0) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
      dup2(pair[0], fd);
      close(pair[0]);
      close(pair[1]);
    } else {
      w->pg = NULL;
    }
  }
  lpg_wire_close(w);
}

static void keep_words(lpg_wire *w)
{
  const char *words = w->pg ? PQerrorMessage(w->pg) : "";
  if (!w->words && *words)
    w->words = strdup(words);
}

/* Ends the connection and keeps what libpq said last. */
static lpg_step lose(lpg_wire *w)
{
  keep_words(w);
  w->needs_password = w->pg && PQconnectionNeedsPassword(w->pg);
  w->was_encrypted = w->pg && PQsslInUse(w->pg);
  lpg_cancel_forget(&w->cancel);
  if (w->pg)
    PQfinish(w->pg);
  w->pg = NULL;
  lpg_relay_close(&w->relay);
  w->phase = LPG_LOST;
  return LPG_DONE;
}

int lpg_wire_descriptor(const lpg_wire *w)
{
  if (w->phase == LPG_CANCELLING)
    return w->cancel.done;
  if (lpg_relay_engaged(&w->relay))
    return w->relay.real;
  return PQsocket(w->pg);
}

void lpg_wire_wake(const lpg_wire *w)
{
  int fd = lpg_relay_engaged(&w->relay) ? w->relay.real : PQsocket(w->pg);
  if (fd >= 0)
    shutdown(fd, SHUT_RDWR);
}

static bool descriptor_ready(const lpg_wire *w, short events)
{
  struct pollfd p = {.fd = lpg_wire_descriptor(w), .events = events};
  return poll(&p, 1, 0) != 0;
}

/* --- connecting ------------------------------------------------------- */

void lpg_wire_connect(lpg_wire *w, const char *const *keywords,
                      const char *const *values, double deadline)
{
  clear_outcome(w);
  w->stop = LPG_RUNS;
  w->started = lpg_now();
  w->deadline = deadline;
  w->polling = PGRES_POLLING_WRITING;
  w->awaited = false;
  w->phase = LPG_CONNECTING;
  w->pg = PQconnectStartParams(keywords, values, 0);
  if (!w->pg)
    return;
  PQsetErrorVerbosity(w->pg, PQERRORS_VERBOSE); /* it carries the SQLSTATE */
  lpg_notices_receive(&w->notices, w->pg);
}

void lpg_wire_give_up(lpg_wire *w)
{
  lose(w);
}

/* PQconnectPoll must not be called before the socket is ready: on one that is
 * not connected yet it would go on as if it were. */
static lpg_step step_connecting(lpg_wire *w)
{
  if (!w->pg || PQstatus(w->pg) == CONNECTION_BAD)
    return lose(w);
  w->stop = lpg_now() >= w->deadline ? LPG_TIMED_OUT : LPG_RUNS;
  if (w->stop == LPG_TIMED_OUT)
    return LPG_DONE;
  bool reading = w->polling == PGRES_POLLING_READING;
  if (!descriptor_ready(w, reading ? POLLIN : POLLOUT))
    return reading ? LPG_READ : LPG_WRITE;
  switch (w->polling = PQconnectPoll(w->pg)) {
  case PGRES_POLLING_READING:
    return LPG_READ;
  case PGRES_POLLING_WRITING:
    return LPG_WRITE;
  case PGRES_POLLING_OK:
    PQsetErrorVerbosity(w->pg, PQERRORS_DEFAULT);
    PQsetnonblocking(w->pg, 1);
    w->phase = LPG_IDLE;
    return LPG_DONE;
  case PGRES_POLLING_ACTIVE:
  case PGRES_POLLING_FAILED:
    break;
  }
  return lose(w);
}

/* --- sending ---------------------------------------------------------- */

static bool send_statement(lpg_wire *w, const lpg_request *r)
{
  return PQsendQueryParams(w->pg, r->sql, r->count, r->types, r->values,
                           r->lengths, r->formats, r->result_format);
}

/* One pipeline with one Sync is one transaction. */
static bool send_with_prelude(lpg_wire *w, const lpg_request *r)
{
  w->pipelined = w->preluding = true;
  return PQenterPipelineMode(w->pg) &&
         PQsendQueryParams(w->pg, r->prelude, 0, NULL, NULL, NULL, NULL, 0) &&
         send_statement(w, r) && PQpipelineSync(w->pg);
}

static bool send_request(lpg_wire *w, const lpg_request *r)
{
  switch (r->kind) {
  case LPG_SCRIPT:
    return PQsendQuery(w->pg, r->sql) && PQsetSingleRowMode(w->pg);
  case LPG_STATEMENT:
    return r->prelude ? send_with_prelude(w, r)
                      : send_statement(w, r) && PQsetSingleRowMode(w->pg);
  case LPG_DESCRIBE:
    w->pipelined = true;
    return PQenterPipelineMode(w->pg) &&
           PQsendPrepare(w->pg, "", r->sql, r->count, r->types) &&
           PQsendDescribePrepared(w->pg, "") && PQpipelineSync(w->pg);
  }
  return false;
}

bool lpg_wire_send(lpg_wire *w, const lpg_request *request,
                   const lpg_limits *limits)
{
  clear_outcome(w);
  w->stop = LPG_RUNS;
  w->dropped = w->flushed = w->awaited = w->broken = false;
  w->pipelined = w->synced = w->partial = w->copying = w->dry = false;
  w->steps = 0;
  w->preluding = false;
  w->received = w->since = 0;
  w->limits = *limits;
  w->started = lpg_now();
  w->deadline = w->started + limits->timeout;
  w->phase = LPG_FETCHING;
  if (send_request(w, request))
    return true;
  if (w->pipelined && PQpipelineStatus(w->pg) != PQ_PIPELINE_OFF)
    PQexitPipelineMode(w->pg);
  if (PQstatus(w->pg) == CONNECTION_BAD)
    lose(w);
  else
    w->phase = LPG_IDLE;
  return false;
}

/* --- fetching --------------------------------------------------------- */

size_t lpg_wire_row_bytes(const PGresult *result, int row)
{
  int columns = PQnfields(result);
  size_t bytes = 7 + 4 * (size_t)columns; /* header, count, lengths */
  for (int i = 0; i < columns; i++)
    bytes += (size_t)PQgetlength(result, row, i);
  return bytes;
}

/* Takes in what has come. Notifications are let go: libpq would hoard them
 * without bound. A whole message means the one before it has ended. */
static void absorb(lpg_wire *w)
{
  if (!PQconsumeInput(w->pg) && !w->broken) {
    w->broken = true;
    keep_words(w); /* before libpq adds that its socket is invalid */
  }
  for (PGnotify *n; (n = PQnotifies(w->pg)) != NULL; w->since = 0)
    PQfreemem(n);
  if (w->notices.received != w->noticed) {
    w->noticed = w->notices.received;
    w->since = 0;
  }
}

static bool encrypted(const lpg_wire *w)
{
  return PQsslInUse(w->pg) || PQgssEncInUse(w->pg);
}

/* One slice through the relay. Answers whether anything moved. */
static bool pump(lpg_wire *w)
{
  long n = lpg_relay_pump(&w->relay);
  bool moved = n != 0 || lpg_relay_pending(&w->relay);
  if (n > 0)
    w->since += (double)n;
  if (moved || encrypted(w))
    absorb(w);
  return moved;
}

static void keep_failure(lpg_wire *w, PGresult *result)
{
  if (w->failure && PQresultErrorField(w->failure, PG_DIAG_SQLSTATE)) {
    PQclear(result);
    return;
  }
  PQclear(w->failure);
  w->failure = result;
}

/* Idle, proven by ReadyForQuery; or lost. */
static lpg_step finish(lpg_wire *w)
{
  if (w->pipelined && PQstatus(w->pg) == CONNECTION_OK &&
      !PQexitPipelineMode(w->pg))
    return lose(w);
  /* Not when libpq has closed its descriptor: the number is not ours then. */
  while (lpg_relay_engaged(&w->relay) && !w->broken && PQsocket(w->pg) >= 0) {
    if (lpg_relay_pending(&w->relay))
      pump(w);
    else if (!lpg_relay_release(&w->relay))
      break;
  }
  PGTransactionStatusType t = PQtransactionStatus(w->pg);
  if (w->broken || PQstatus(w->pg) != CONNECTION_OK || t == PQTRANS_UNKNOWN ||
      t == PQTRANS_ACTIVE || lpg_relay_engaged(&w->relay))
    return lose(w);
  w->phase = LPG_IDLE;
  return LPG_DONE;
}

void lpg_wire_stop(lpg_wire *w, lpg_stop why)
{
  if (w->phase != LPG_FETCHING) {
    if (lpg_wire_busy(w) && why != LPG_TIMED_OUT)
      w->dropped = true;
    return;
  }
  w->stop = why;
  if (why == LPG_ABANDONED)
    w->dropped = true;
  w->deadline = lpg_now() + grace(w);
  if (lpg_cancel_start(&w->cancel, w->pg))
    w->phase = LPG_CANCELLING;
  else
    lose(w);
}

/* The statement under way was abandoned, and somebody else goes on: nobody
 * has stepped meanwhile, so the grace time starts anew. */
void lpg_wire_resume(lpg_wire *w)
{
  w->deadline = lpg_now() + grace(w);
}

/* The message under way can no longer fit. Within the limit it is let come to
 * its end, since a request to cancel does not stop a row being sent; a larger
 * one costs the connection. */
static void weigh(lpg_wire *w)
{
  double most = w->limits.result + LPG_SLACK;
  if (encrypted(w))
    most += w->limits.result / 16; /* records have heads and tails */
  if (w->since > most) {
    w->stop = w->stop == LPG_RUNS ? LPG_TOO_LARGE : w->stop;
    lose(w);
  } else if (!w->dropped && w->since > most - w->received) {
    w->dropped = true;
    lpg_wire_stop(w, LPG_TOO_LARGE);
  }
}

/* libpq needs more bytes: what to wait for, or LPG_AGAIN. A row that is still
 * incomplete although data has been taken in may be of any size, and libpq has
 * already made room for it: from here on it gets it in slices. Decrypted bytes
 * that no poll would show are looked for once before a wait. */
static lpg_step more(lpg_wire *w)
{
  bool moved = false;
  if (w->partial && !w->dry) {
    if (lpg_relay_engaged(&w->relay) ||
        lpg_relay_engage(&w->relay, PQsocket(w->pg)))
      moved = pump(w);
    else if (encrypted(w))
      absorb(w);
    weigh(w);
    if (w->phase == LPG_LOST)
      return LPG_DONE;
    w->dry = !moved && encrypted(w);
    if (moved || w->dry || w->broken)
      return LPG_AGAIN;
  }
  w->dry = false;
  w->awaited = true;
  return lpg_relay_blocked(&w->relay) ? LPG_READ_WRITE : LPG_READ;
}

/* Nobody asked for COPY: IN is ended with an error, OUT is cancelled and what
 * still comes is dropped. */
static void refuse_copy(lpg_wire *w, ExecStatusType status)
{
  if (status == PGRES_COPY_OUT) {
    w->copying = true;
    lpg_wire_stop(w, LPG_COPY);
  } else if (PQputCopyEnd(w->pg, "COPY FROM STDIN needs copy_in") >= 0) {
    w->stop = w->stop == LPG_RUNS ? LPG_COPY : w->stop;
    w->flushed = false;
  } else {
    w->broken = true;
  }
}

/* Answers LPG_AGAIN when the COPY has ended, or a stretch of it is done. */
static lpg_step drain_copy(lpg_wire *w)
{
  for (int i = 0; i < LPG_STRETCH; i++) {
    char *data = NULL;
    int n = PQgetCopyData(w->pg, &data, 1);
    PQfreemem(data);
    if (n == 0)
      return w->broken ? lose(w) : more(w);
    w->since = 0;
    if (n < 0) {
      w->copying = false;
      break;
    }
  }
  return LPG_AGAIN;
}

/* A row, counted. Answers whether the caller shall see it. */
static bool admit(lpg_wire *w, PGresult *result)
{
  w->since = 0;
  for (int i = 0, n = PQntuples(result); i < n; i++)
    w->received += (double)lpg_wire_row_bytes(result, i);
  if (w->received > w->limits.result && !w->dropped) {
    w->dropped = true;
    lpg_wire_stop(w, LPG_TOO_LARGE);
  }
  return !w->dropped;
}

/* Sorts one result. Answers LPG_AGAIN for those that nobody needs to see. */
static lpg_step sort(lpg_wire *w, PGresult *result)
{
  ExecStatusType status = PQresultStatus(result);
  switch (status) {
  case PGRES_SINGLE_TUPLE:
  case PGRES_TUPLES_OK:
  case PGRES_COMMAND_OK:
  case PGRES_EMPTY_QUERY:
    if (w->preluding || !admit(w, result))
      break;
    w->result = result;
    return LPG_RESULT;
  case PGRES_PIPELINE_SYNC:
    w->synced = true;
    break;
  case PGRES_COPY_IN:
  case PGRES_COPY_OUT:
  case PGRES_COPY_BOTH:
    refuse_copy(w, status);
    break;
  case PGRES_PIPELINE_ABORTED:
    break;
  default: /* PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE */
    keep_failure(w, result);
    return LPG_AGAIN;
  }
  PQclear(result);
  return LPG_AGAIN;
}

static lpg_step flush(lpg_wire *w)
{
  int left = PQflush(w->pg);
  w->flushed = left <= 0;
  w->broken |= left < 0;
  w->awaited = !w->flushed;
  return w->flushed ? LPG_AGAIN : LPG_READ_WRITE;
}

static lpg_step fetch(lpg_wire *w)
{
  for (int i = 0; i < LPG_STRETCH; i++) {
    if (w->phase == LPG_CANCELLING || w->phase == LPG_LOST)
      return w->phase == LPG_LOST ? LPG_DONE : LPG_AGAIN;
    if (!w->flushed) {
      lpg_step need = flush(w);
      if (need != LPG_AGAIN)
        return need;
    }
    if (w->copying)
      return drain_copy(w);
    if (PQstatus(w->pg) == CONNECTION_OK && PQisBusy(w->pg))
      return w->broken ? lose(w) : more(w); /* PQgetResult would block */
    PGresult *result = PQgetResult(w->pg);
    if (!result && w->preluding && PQstatus(w->pg) == CONNECTION_OK) {
      w->preluding = false; /* the statement itself is next */
      PQsetSingleRowMode(w->pg);
      continue;
    }
    if (!result && (!w->pipelined || w->synced || w->broken ||
                    PQstatus(w->pg) != CONNECTION_OK))
      return finish(w);
    if (result && sort(w, result) == LPG_RESULT)
      return LPG_RESULT;
  }
  return LPG_AGAIN;
}

/* Only the deadline counts while the request to cancel is under way: the next
 * statement must not be hit by it. */
static lpg_step step_cancelling(lpg_wire *w)
{
  if (!descriptor_ready(w, POLLIN))
    return LPG_READ;
  lpg_cancel_forget(&w->cancel);
  w->phase = LPG_DRAINING;
  return LPG_AGAIN;
}

/* The time is up: the statement is stopped; one that was stopped before and
 * sends nothing more costs the connection. */
static void expire(lpg_wire *w, double late)
{
  bool running = w->phase == LPG_FETCHING;
  if (running && w->limits.strict) {
    w->stop = LPG_TIMED_OUT;
    lose(w);
  } else if (running)
    lpg_wire_stop(w, LPG_TIMED_OUT);
  else if (late >= grace(w) || !descriptor_ready(w, POLLIN))
    lose(w);
}

static lpg_step step_fetching(lpg_wire *w)
{
  if (w->awaited) {
    w->awaited = false;
    if (lpg_relay_engaged(&w->relay))
      pump(w);
    else
      absorb(w);
    w->partial = true;
  }
  return fetch(w);
}

lpg_step lpg_wire_step(lpg_wire *w)
{
  PQclear(w->result);
  w->result = NULL;
  if (w->phase == LPG_CONNECTING)
    return step_connecting(w);
  if (!lpg_wire_busy(w))
    return LPG_DONE;
  double late = w->steps++ % LPG_STRETCH == 0 ? lpg_now() - w->deadline : -1;
  if (late >= 0)
    expire(w, late);
  if (w->phase == LPG_LOST)
    return LPG_DONE;
  lpg_step need =
      w->phase == LPG_CANCELLING ? step_cancelling(w) : step_fetching(w);
  if (need != LPG_RESULT)
    w->steps = 0; /* the clock is looked at before each wait and stretch */
  return need;
}
