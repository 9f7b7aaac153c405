/* SPDX-License-Identifier: MIT */
#include "wire.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "deadline.h"
#include "fetch.h"

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

void lpg_wire_drop_data(lpg_wire *w)
{
  PQfreemem(w->data);
  w->data = NULL;
}

static void clear_outcome(lpg_wire *w)
{
  PQclear(w->result);
  PQclear(w->failure);
  free(w->words);
  w->result = w->failure = NULL;
  w->words = NULL;
  lpg_wire_drop_data(w);
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
  lpg_notifies_clear(&w->notifies);
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

void lpg_wire_keep_words(lpg_wire *w)
{
  const char *words = w->pg ? PQerrorMessage(w->pg) : "";
  if (!w->words && *words)
    w->words = strdup(words);
}

/* Ends the connection and keeps what libpq said last. */
lpg_step lpg_wire_lose(lpg_wire *w)
{
  lpg_wire_keep_words(w);
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

/* A socket with the number of a closed standard stream would take in what the
 * program prints, as if it were said to the server: such streams are opened
 * onto nothing. */
static void occupy_standard_streams(void)
{
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0)
      (void)open("/dev/null", O_RDWR); /* takes the lowest number, fd */
}

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
  occupy_standard_streams();
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
    return lpg_wire_lose(w);
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
  return lpg_wire_lose(w);
}

/* --- sending ---------------------------------------------------------- */

static void begin(lpg_wire *w, const lpg_limits *limits)
{
  clear_outcome(w);
  w->stop = LPG_RUNS;
  w->dropped = w->flushed = w->awaited = w->broken = w->answered = false;
  w->partial = w->dry = w->told = w->by_row = w->chunked = false;
  w->pipelined = w->open = w->whole = w->spoiled = false;
  w->copying = LPG_NOT_COPYING;
  w->expected = PGRES_EMPTY_QUERY;
  w->queued = w->asides = w->command = w->failed = w->syncs = w->first = 0;
  w->last = INT_MAX;
  w->steps = 1; /* the clock is looked at here */
  w->received = w->since = 0;
  w->limits = *limits;
  w->started = lpg_now();
  w->deadline =
      limits->deadline > 0 ? limits->deadline : w->started + limits->timeout;
  w->phase = LPG_FETCHING;
}

static bool enter(lpg_wire *w)
{
  return w->pipelined = PQenterPipelineMode(w->pg);
}

static bool queue(lpg_wire *w, bool sent)
{
  w->queued += sent;
  w->flushed = false;
  return sent;
}

static bool sync(lpg_wire *w)
{
  bool sent = PQpipelineSync(w->pg);
  w->syncs += sent;
  w->flushed = false;
  return sent;
}

static bool send_plain(lpg_wire *w, const char *sql)
{
  return queue(w, PQsendQueryParams(w->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
}

static bool send_statement(lpg_wire *w, const lpg_request *r)
{
  int sent =
      r->name ? PQsendQueryPrepared(w->pg, r->name, r->count, r->values,
                                    r->lengths, r->formats, r->result_format)
              : PQsendQueryParams(w->pg, r->sql, r->count, r->types, r->values,
                                  r->lengths, r->formats, r->result_format);
  return queue(w, sent);
}

static bool send_parse(lpg_wire *w, const char *name, const lpg_request *r)
{
  return queue(w, PQsendPrepare(w->pg, name, r->sql, r->count, r->types));
}

static bool send_asides(lpg_wire *w, const lpg_request *r)
{
  for (; w->asides < LPG_ASIDES && r->asides[w->asides]; w->asides++)
    if (!send_plain(w, r->asides[w->asides]) || !sync(w))
      return false;
  return true;
}

/* With what is ours before and after it. One Sync is one transaction. */
static bool send_in_pipeline(lpg_wire *w, const lpg_request *r)
{
  if (!enter(w) || !send_asides(w, r) ||
      (r->before && !send_plain(w, r->before)) ||
      (r->parse && !send_parse(w, r->name, r)))
    return false;
  w->first = w->queued;
  w->last = w->first + 1;
  return send_statement(w, r) && (!r->after || send_plain(w, r->after)) &&
         sync(w);
}

static bool send_describe(lpg_wire *w, const lpg_request *r)
{
  w->whole = true;
  w->first = 1;
  const char *name = r->name ? r->name : "";
  return enter(w) && send_parse(w, name, r) &&
         queue(w, PQsendDescribePrepared(w->pg, name)) && sync(w);
}

static bool send_request(lpg_wire *w, const lpg_request *r)
{
  switch (r->kind) {
  case LPG_TO_SERVER:
  case LPG_FROM_SERVER:
    w->expected = r->kind == LPG_TO_SERVER ? PGRES_COPY_IN : PGRES_COPY_OUT;
    /* fall through */
  case LPG_SCRIPT:
    return PQsendQuery(w->pg, r->sql) && lpg_fetch_by_rows(w);
  case LPG_STATEMENT:
    if (r->asides[0] || r->before || r->parse || r->after)
      return send_in_pipeline(w, r);
    return send_statement(w, r) && lpg_fetch_by_rows(w);
  case LPG_DESCRIBE:
    return send_describe(w, r);
  }
  return false;
}

/* libpq refused. A part of a pipeline may have gone out, which nothing can
 * take back. */
static bool refuse(lpg_wire *w)
{
  bool left = !w->pipelined || PQpipelineStatus(w->pg) == PQ_PIPELINE_OFF ||
              PQexitPipelineMode(w->pg);
  if (!left || PQstatus(w->pg) == CONNECTION_BAD ||
      PQtransactionStatus(w->pg) == PQTRANS_ACTIVE)
    lpg_wire_lose(w);
  else
    w->phase = LPG_IDLE;
  return false;
}

bool lpg_wire_send(lpg_wire *w, const lpg_request *request,
                   const lpg_limits *limits)
{
  begin(w, limits);
  return send_request(w, request) || refuse(w);
}

bool lpg_wire_open(lpg_wire *w, const lpg_limits *limits)
{
  begin(w, limits);
  w->open = true;
  return enter(w) || refuse(w);
}

bool lpg_wire_queue(lpg_wire *w, const lpg_request *request)
{
  return send_statement(w, request) || refuse(w);
}

bool lpg_wire_seal(lpg_wire *w)
{
  w->open = false;
  return sync(w) || refuse(w);
}

bool lpg_wire_put(lpg_wire *w, const char *data, size_t size)
{
  int sent = PQputCopyData(w->pg, data, (int)size);
  w->flushed = false;
  w->broken |= sent < 0;
  return sent > 0;
}

bool lpg_wire_put_end(lpg_wire *w, const char *reason)
{
  w->copying = LPG_NOT_COPYING;
  w->flushed = false;
  w->broken |= PQputCopyEnd(w->pg, reason) < 0;
  return !w->broken;
}

void lpg_wire_listen(lpg_wire *w, double deadline)
{
  clear_outcome(w);
  w->stop = LPG_RUNS;
  w->broken = false;
  w->awaited = true; /* some may be there */
  w->deadline = deadline;
  w->phase = LPG_LISTENING;
}

void lpg_wire_extend(lpg_wire *w)
{
  if (w->phase == LPG_LISTENING)
    w->phase = LPG_IDLE;
  if (w->phase != LPG_FETCHING) {
    lpg_wire_resume(w);
    return;
  }
  w->started = lpg_now();
  w->deadline = w->started + w->limits.timeout;
}

/* --- stopping --------------------------------------------------------- */

/* A pipeline of which a part has not been put must not be committed by its end,
 * which the server needs to answer: that part may have run by the time that the
 * request to cancel arrives. */
static void spoil(lpg_wire *w)
{
  w->spoiled = true;
  w->last = w->spoiler = w->queued;
  if (!queue(w, PQsendPrepare(w->pg, "", "a pipeline was stopped by its client",
                              0, NULL)))
    lpg_wire_lose(w);
  else
    lpg_wire_seal(w);
}

void lpg_wire_stop(lpg_wire *w, lpg_stop why)
{
  if (w->phase != LPG_FETCHING) {
    if (lpg_wire_busy(w) && why != LPG_TIMED_OUT)
      w->dropped = true;
    if (lpg_wire_busy(w) && why == LPG_ABANDONED) /* whatever it was before */
      w->stop = why;
    return;
  }
  w->stop = why;
  if (why == LPG_ABANDONED)
    w->dropped = true;
  w->deadline = lpg_now() + grace(w);
  if (w->open) /* the server answers after Sync only */
    spoil(w);
  if (w->copying == LPG_COPYING_IN)
    lpg_wire_put_end(w, "it was stopped");
  if (w->phase == LPG_LOST)
    return;
  if (lpg_cancel_start(&w->cancel, w->pg))
    w->phase = LPG_CANCELLING;
  else
    lpg_wire_lose(w);
}

void lpg_wire_look(lpg_wire *w)
{
  w->awaited = descriptor_ready(w, POLLIN);
  w->steps = w->awaited;
}

/* The statement under way was abandoned, and somebody else goes on: nobody
 * has stepped meanwhile, so the grace time starts anew. */
void lpg_wire_resume(lpg_wire *w)
{
  w->deadline = lpg_now() + grace(w);
}

/* --- stepping --------------------------------------------------------- */

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
    lpg_wire_lose(w);
  } else if (running)
    lpg_wire_stop(w, LPG_TIMED_OUT);
  else if (late >= grace(w) || !descriptor_ready(w, POLLIN))
    lpg_wire_lose(w);
}

lpg_step lpg_wire_step(lpg_wire *w)
{
  PQclear(w->result);
  w->result = NULL;
  if (w->data)
    lpg_wire_drop_data(w);
  if (w->phase == LPG_CONNECTING)
    return step_connecting(w);
  if (w->phase == LPG_LISTENING)
    return lpg_fetch_notification(w);
  if (!lpg_wire_busy(w))
    return LPG_DONE;
  double late = w->steps++ % LPG_STRETCH == 0 ? lpg_now() - w->deadline : -1;
  if (late >= 0)
    expire(w, late);
  if (w->phase == LPG_LOST)
    return LPG_DONE;
  lpg_step need =
      w->phase == LPG_CANCELLING ? step_cancelling(w) : lpg_fetch(w);
  if (need != LPG_RESULT || w->chunked)
    w->steps = 0; /* the clock is looked at before each wait and stretch */
  return need;
}
