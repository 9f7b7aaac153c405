/* SPDX-License-Identifier: MIT */
#include "fetch.h"

#include <poll.h>

#include "deadline.h"
#include "watch.h"

#ifdef __GNUC__
/* libpq 17 and later, as in cancel.c. */
extern int PQsetChunkedRowsMode(PGconn *, int) __attribute__((weak));
#endif

/* What one message may have over the limit: these buffers hold bytes of the
 * next one, and the text of an error is not a result. */
enum { LPG_SLACK = 2 * 1024 * 1024 };

size_t lpg_wire_row_bytes(const PGresult *result, int row)
{
  int columns = PQnfields(result);
  size_t bytes = 7 + 4 * (size_t)columns; /* header, count, lengths */
  for (int i = 0; i < columns; i++)
    bytes += (size_t)PQgetlength(result, row, i);
  return bytes;
}

/* For each result libpq copies the description of its rows: chunks share it.
 * What it holds of one before it shows any of its rows is bounded like a row's
 * bytes: all that has come since the last result counts, by the relay or, where
 * it has no descriptors, by what waits to be read: the limit and LPG_SLACK at
 * most (`weigh`); what was read along with the last result comes on top. So
 * they are for rows that were short the last time, of which a chunk is small:
 * should they have become so long that a chunk reaches the limit, the
 * connection is the price. Not for a stream, whose rows are given out as they
 * arrive: libpq shows no part of a chunk. */
bool lpg_fetch_by_rows(lpg_wire *w)
{
#ifdef __GNUC__
  w->chunked = w->limits.narrow && !w->limits.each && PQsetChunkedRowsMode;
  if (w->chunked)
    return PQsetChunkedRowsMode(w->pg, LPG_CHUNK_ROWS);
#endif
  return PQsetSingleRowMode(w->pg);
}

/* A whole message that is no row has come. It means that the one before it has
 * ended; but a chunk has not, only those bytes were not of it. */
static void discount(lpg_wire *w, double bytes)
{
  w->since = w->chunked && w->since > bytes ? w->since - bytes : 0;
}

/* Takes in what has come. */
static void absorb(lpg_wire *w)
{
  if (!PQconsumeInput(w->pg) && !w->broken) {
    w->broken = true;
    lpg_wire_keep_words(w); /* before libpq adds that its socket is invalid */
  }
  if (lpg_notifies_take(&w->notifies, w->pg))
    discount(w, 0); /* none comes among rows */
  if (w->notices.received != w->noticed) {
    discount(w, (double)(w->notices.received - w->noticed));
    w->noticed = w->notices.received;
  }
}

/* The same where the relay does not count: of a chunk every byte does. */
static void absorb_counted(lpg_wire *w)
{
  if (w->chunked)
    w->since += lpg_readable(PQsocket(w->pg));
  absorb(w);
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
  w->failed = w->command;
}

/* Gives libpq its socket back. Not when it has closed its descriptor: the
 * number is not ours then. Answers whether it has it. */
static bool leave_relay(lpg_wire *w)
{
  while (lpg_relay_engaged(&w->relay) && !w->broken && PQsocket(w->pg) >= 0) {
    if (lpg_relay_pending(&w->relay))
      pump(w);
    else if (!lpg_relay_release(&w->relay))
      break;
  }
  return !lpg_relay_engaged(&w->relay);
}

/* Idle, proven by an answer and ReadyForQuery; or lost. */
static lpg_step finish(lpg_wire *w)
{
  if (w->pipelined && PQstatus(w->pg) == CONNECTION_OK &&
      !PQexitPipelineMode(w->pg))
    return lpg_wire_lose(w);
  bool left = leave_relay(w);
  PGTransactionStatusType t = PQtransactionStatus(w->pg);
  if (w->broken || !w->answered || PQstatus(w->pg) != CONNECTION_OK ||
      t == PQTRANS_UNKNOWN || t == PQTRANS_ACTIVE || !left)
    return lpg_wire_lose(w);
  w->phase = LPG_IDLE;
  return LPG_DONE;
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
    lpg_wire_lose(w);
  } else if (!w->dropped && !w->limits.each && w->since > most - w->received) {
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
  return !w->flushed || lpg_relay_blocked(&w->relay) ? LPG_READ_WRITE
                                                     : LPG_READ;
}

/* Nobody asked for this COPY: IN is ended with an error, OUT is cancelled and
 * what still comes is dropped. */
static void refuse_copy(lpg_wire *w, ExecStatusType status)
{
  if (status == PGRES_COPY_OUT) {
    w->copying = LPG_COPYING_OUT;
    lpg_wire_stop(w, LPG_COPY);
    w->dropped = true;
  } else {
    w->stop = w->stop == LPG_RUNS ? LPG_COPY : w->stop;
    lpg_wire_put_end(w, "COPY FROM STDIN needs copy_in");
  }
}

bool lpg_fetch_data(lpg_wire *w)
{
  lpg_wire_drop_data(w);
  w->size = PQgetCopyData(w->pg, &w->data, 1);
  if (w->size == 0)
    return false;
  w->since = 0;
  if (w->size < 0) {
    w->copying = LPG_NOT_COPYING;
    return false;
  }
  w->received = w->size;
  if (w->received > w->limits.result && !w->dropped) {
    w->dropped = true;
    lpg_wire_stop(w, LPG_TOO_LARGE);
  }
  if (w->dropped)
    lpg_wire_drop_data(w);
  return !w->dropped;
}

/* A row of COPY TO STDOUT, or the end of it. */
static lpg_step copy_out(lpg_wire *w)
{
  for (int i = 0; i < LPG_STRETCH; i++) {
    if (lpg_fetch_data(w))
      return LPG_RESULT;
    if (w->size == 0)
      return w->broken ? lpg_wire_lose(w) : more(w);
    if (w->copying == LPG_NOT_COPYING)
      return LPG_AGAIN;
    if (w->phase != LPG_FETCHING && w->phase != LPG_DRAINING)
      break;
  }
  return LPG_AGAIN;
}

/* The server may have refused the COPY, which libpq does not tell before it is
 * ended. */
static lpg_sight watch(lpg_wire *w)
{
  bool awaited = w->awaited, direct = leave_relay(w);
  lpg_sight sight = direct ? lpg_watch(w->pg) : LPG_BLIND;
  w->awaited = false;
  if (sight == LPG_REFUSED)
    lpg_wire_put_end(w, "the server has refused it");
  if (!direct)
    pump(w);
  else if (sight == LPG_REFUSED || sight == LPG_SPEAKS ||
           (sight == LPG_BLIND && awaited))
    absorb(w);
  return sight;
}

static void flush(lpg_wire *w)
{
  int left = PQflush(w->pg);
  w->flushed = left <= 0;
  w->broken |= left < 0;
}

/* libpq reads whenever it could not send all, and would take away what `watch`
 * looks for: nothing is sent until there is room for a part. */
static bool has_room(const lpg_wire *w)
{
  struct pollfd p = {.fd = PQsocket(w->pg), .events = POLLOUT};
  return w->broken || poll(&p, 1, 0) != 0;
}

/* All is sent, or the server is slow to take it. */
static lpg_step copy_in(lpg_wire *w)
{
  lpg_step blocked = watch(w) == LPG_REMARKS ? LPG_WRITE : LPG_READ_WRITE;
  if (w->copying != LPG_COPYING_IN)
    return LPG_AGAIN;
  bool room = has_room(w);
  if (room && !w->flushed)
    flush(w);
  if (w->broken) { /* what the server said last is still there */
    lpg_wire_put_end(w, "the connection broke");
    return LPG_AGAIN;
  }
  if (room && w->flushed)
    return LPG_ROOM;
  w->awaited = true;
  return blocked;
}

static void take_copy(lpg_wire *w, ExecStatusType status)
{
  w->copying = status == PGRES_COPY_IN ? LPG_COPYING_IN : LPG_COPYING_OUT;
  w->expected = PGRES_EMPTY_QUERY;
}

/* A row, counted. Answers whether the caller shall see it. */
static bool admit(lpg_wire *w, PGresult *result)
{
  w->since = 0;
  if (w->limits.each && w->dropped)
    return false;
  if (w->limits.each)
    w->received = 0;
  int rows = PQntuples(result);
  for (int i = 0; i < rows && w->received <= w->limits.result; i++)
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
  ExecStatusType status = lpg_wire_status(result);
  bool seen = w->command >= w->first && w->command < w->last;
  w->answered = w->told = true;
  w->chunked &= status == PGRES_SINGLE_TUPLE;
  switch (status) {
  case PGRES_SINGLE_TUPLE:
  case PGRES_TUPLES_OK:
  case PGRES_COMMAND_OK:
  case PGRES_EMPTY_QUERY:
    if (!seen || !admit(w, result))
      break;
    w->result = result;
    return LPG_RESULT;
  case PGRES_PIPELINE_SYNC:
    w->syncs--;
    w->told = false;
    break;
  case PGRES_COPY_IN:
  case PGRES_COPY_OUT:
  case PGRES_COPY_BOTH:
    if (status == w->expected && w->phase == LPG_FETCHING) {
      take_copy(w, status);
      w->result = result;
      return LPG_RESULT;
    }
    refuse_copy(w, status);
    break;
  case PGRES_PIPELINE_ABORTED:
    break;
  default: /* PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE */
    if ((w->command < w->asides || (w->spoiled && w->command == w->spoiler)) &&
        PQstatus(w->pg) == CONNECTION_OK)
      break;
    keep_failure(w, result);
    return LPG_AGAIN;
  }
  PQclear(result);
  return LPG_AGAIN;
}

/* Rows of the caller's commands shall come one by one, else a result would
 * have no bounds: to be said once a command, before its answer is looked at. */
static bool ask_for_rows(lpg_wire *w)
{
  if (!w->pipelined || w->whole || w->by_row || w->command < w->first ||
      w->command >= w->last || w->command >= w->queued || w->syncs > 1 ||
      PQpipelineStatus(w->pg) != PQ_PIPELINE_ON)
    return true;
  return w->by_row = lpg_fetch_by_rows(w);
}

/* A command of a pipeline has answered. */
static void end_command(lpg_wire *w)
{
  if (!w->told)
    return;
  w->told = w->by_row = false;
  w->command++;
  if (w->stop == LPG_RUNS)
    w->received = 0;
  if (w->first > 0 && w->command == w->first)
    lpg_notices_clear(&w->notices); /* of what is ours */
}

static lpg_step fetch(lpg_wire *w)
{
  for (int i = 0; i < LPG_STRETCH; i++) {
    if (w->phase == LPG_CANCELLING || w->phase == LPG_LOST)
      return w->phase == LPG_LOST ? LPG_DONE : LPG_AGAIN;
    if (w->copying == LPG_COPYING_IN)
      return copy_in(w);
    if (!w->flushed)
      flush(w);
    if (w->copying == LPG_COPYING_OUT)
      return copy_out(w);
    bool sound = PQstatus(w->pg) == CONNECTION_OK;
    if (sound && !ask_for_rows(w))
      return lpg_wire_lose(w);
    bool room = w->open && w->flushed && !w->broken;
    if (sound && w->open && w->command == w->queued)
      return room ? LPG_ROOM : w->broken ? lpg_wire_lose(w) : more(w);
    if (sound && PQisBusy(w->pg)) /* PQgetResult would block */
      return room ? LPG_ROOM : w->broken ? lpg_wire_lose(w) : more(w);
    PGresult *result = PQgetResult(w->pg);
    if (result) {
      if (sort(w, result) == LPG_RESULT)
        return LPG_RESULT;
    } else if (w->pipelined && (w->open || w->syncs > 0) &&
               PQstatus(w->pg) == CONNECTION_OK) {
      end_command(w);
    } else {
      return finish(w);
    }
  }
  return LPG_AGAIN;
}

lpg_step lpg_fetch(lpg_wire *w)
{
  if (w->awaited && w->copying != LPG_COPYING_IN) {
    w->awaited = false;
    /* not when the socket only had room again for what is still to be sent */
    w->partial |= w->flushed || lpg_readable(PQsocket(w->pg)) > 0;
    if (lpg_relay_engaged(&w->relay))
      pump(w);
    else
      absorb_counted(w);
  }
  return fetch(w);
}

lpg_step lpg_fetch_notification(lpg_wire *w)
{
  if (w->awaited)
    absorb(w);
  w->awaited = true;
  if (w->notifies.count == 0 && w->broken)
    return lpg_wire_lose(w);
  if (w->notifies.count == 0 && lpg_now() < w->deadline)
    return LPG_READ;
  w->phase = LPG_IDLE;
  return LPG_DONE;
}
