/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deadline.h"

enum { LPG_STRETCH = 256 }; /* rows or slices between looks at the clock */

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

/* Ends the connection and keeps what libpq said last. */
static lpg_step lose(lpg_wire *w)
{
  const char *words = w->pg ? PQerrorMessage(w->pg) : "";
  free(w->words);
  w->words = *words ? strdup(words) : NULL;
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

/* PQconnectPoll must not be called before the socket is ready: on one that is
 * not connected yet it would go on as if it were. */
static lpg_step step_connecting(lpg_wire *w)
{
  if (!w->pg || PQstatus(w->pg) == CONNECTION_BAD)
    return lose(w);
  if (lpg_now() >= w->deadline) {
    w->stop = LPG_TIMED_OUT;
    return lose(w);
  }
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
  w->pipelined = w->synced = w->partial = w->copying = false;
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
  if (!PQconsumeInput(w->pg))
    w->broken = true;
  for (PGnotify *n; (n = PQnotifies(w->pg)) != NULL; w->since = 0)
    PQfreemem(n);
  if (w->notices.received != w->noticed) {
    w->noticed = w->notices.received;
    w->since = 0;
  }
}

/* One slice through the relay. Answers whether anything moved. */
static bool pump(lpg_wire *w)
{
  long n = lpg_relay_pump(&w->relay);
  if (n == 0 && !lpg_relay_pending(&w->relay))
    return false;
  if (n > 0)
    w->since += (double)n;
  absorb(w);
  return true;
}

/* A row that is still incomplete although data has been taken in may be of
 * any size, and libpq has already made room for it: from here on it gets it
 * in slices. TLS may hold decrypted bytes that no poll would show. */
static void guard(lpg_wire *w)
{
  if (!w->partial)
    return;
  if (!lpg_relay_engaged(&w->relay))
    lpg_relay_engage(&w->relay, PQsocket(w->pg));
  if (PQsslInUse(w->pg))
    absorb(w);
}

/* The message under way can no longer fit: there are bytes of the next one in
 * the count, but never more than these buffers hold. */
static bool oversized(const lpg_wire *w)
{
  return w->since > w->limits.result - w->received + 4 * LPG_SLICE;
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
  while (lpg_relay_engaged(&w->relay)) {
    if (!lpg_relay_pending(&w->relay)) {
      lpg_relay_release(&w->relay);
      break;
    }
    lpg_relay_pump(&w->relay);
    absorb(w);
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
      return w->awaited = true, LPG_READ;
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

/* What to wait for while libpq has no whole message, or LPG_AGAIN. */
static lpg_step wait_for(lpg_wire *w)
{
  guard(w);
  if (!lpg_relay_engaged(&w->relay))
    return w->broken || !PQisBusy(w->pg) ? LPG_AGAIN : LPG_READ;
  for (int i = 0; i < LPG_STRETCH && !w->broken && PQisBusy(w->pg); i++) {
    bool moved = pump(w);
    if (oversized(w)) {
      w->stop = w->stop == LPG_RUNS ? LPG_TOO_LARGE : w->stop;
      return lose(w);
    }
    if (!moved)
      return lpg_relay_blocked(&w->relay) ? LPG_READ_WRITE : LPG_READ;
  }
  return LPG_AGAIN;
}

static lpg_step flush(lpg_wire *w)
{
  int left = PQflush(w->pg);
  w->flushed = left <= 0;
  w->broken |= left < 0;
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
        return w->awaited = true, need;
    }
    if (w->copying) {
      lpg_step need = drain_copy(w);
      if (need != LPG_AGAIN)
        return need;
      continue;
    }
    if (!w->broken && PQisBusy(w->pg)) {
      lpg_step need = wait_for(w);
      if (need == LPG_AGAIN)
        continue;
      return w->awaited = true, need;
    }
    PGresult *result = PQgetResult(w->pg);
    if (!result && (!w->pipelined || w->synced || w->broken ||
                    PQstatus(w->pg) != CONNECTION_OK))
      return finish(w);
    if (!result && w->preluding) { /* the statement's own results are next */
      w->preluding = false;
      PQsetSingleRowMode(w->pg);
    }
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
  w->awaited = true;
  return LPG_AGAIN;
}

lpg_step lpg_wire_step(lpg_wire *w)
{
  PQclear(w->result);
  w->result = NULL;
  if (w->phase == LPG_CONNECTING)
    return step_connecting(w);
  if (!lpg_wire_busy(w))
    return LPG_DONE;
  bool look = w->awaited || w->phase == LPG_CANCELLING || !(w->steps++ % 64);
  if (look && lpg_now() >= w->deadline) {
    if (w->phase != LPG_FETCHING)
      return lose(w);
    lpg_wire_stop(w, LPG_TIMED_OUT);
  }
  if (w->phase == LPG_LOST)
    return LPG_DONE;
  if (w->phase == LPG_CANCELLING)
    return step_cancelling(w);
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
