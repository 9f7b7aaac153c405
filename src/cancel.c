/* SPDX-License-Identifier: MIT */
#include "cancel.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* libpq 17 and later encrypt the request like the connection itself; reached
 * by weak symbols, so that one build serves every libpq. */
#ifdef __GNUC__
struct pg_cancel_conn;
extern struct pg_cancel_conn *PQcancelCreate(PGconn *) __attribute__((weak));
extern int PQcancelBlocking(struct pg_cancel_conn *) __attribute__((weak));
extern void PQcancelFinish(struct pg_cancel_conn *) __attribute__((weak));
#endif

/* Requests under way, in the process of that id: the one thing shared by all
 * Lua states, since a process that ends takes all its threads along. */
static atomic_int under_way, process;

/* After Ctrl-C a program is gone sooner than its request has reached the
 * server, which would then run the statement to its end. So the exit waits for
 * it, a second at most. */
static void see_off(void)
{
  const struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
  for (int i = 0; i < 200 && under_way > 0 && process == getpid(); i++)
    nanosleep(&pause, NULL);
}

static void wait_at_exit(void)
{
  atexit(see_off);
}

/* Owned by the thread alone once it runs. */
typedef struct job {
  PGcancel *plain;
  struct pg_cancel_conn *secure;
  int done;
} job;

static void drop(job *j)
{
  if (j->plain)
    PQfreeCancel(j->plain);
  if (j->secure)
    PQcancelFinish(j->secure);
  close(j->done);
  free(j);
}

static void *run(void *argument)
{
  job *j = argument;
  char ignored[256];
  if (j->secure)
    PQcancelBlocking(j->secure);
  else
    PQcancel(j->plain, ignored, sizeof ignored);
  /* a byte, since a child forked meanwhile may hold the other end open; when
   * nobody listens any more, SIGPIPE is blocked here */
  ssize_t ignored_count = write(j->done, "", 1);
  (void)ignored_count;
  drop(j);
  under_way--;
  return NULL;
}

/* The thread starts with every signal blocked: none of the host's handlers
 * ever runs on it. */
static bool start_thread(job *j)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_attr_t attributes;
  pthread_t thread;
  sigset_t all, before;
  if (pthread_attr_init(&attributes) != 0)
    return false;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  pthread_once(&once, wait_at_exit);
  process = getpid();
  under_way++;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = pthread_create(&thread, &attributes, run, j);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (failed)
    under_way--;
  return !failed;
}

bool lpg_cancel_start(lpg_cancel *c, PGconn *pg)
{
  int ends[2];
  job *j = calloc(1, sizeof *j);
  if (!j)
    return false;
  if (pipe(ends) != 0) {
    free(j);
    return false;
  }
  fcntl(ends[0], F_SETFD, FD_CLOEXEC);
  fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  j->done = ends[1];
#ifdef __GNUC__
  if (PQcancelCreate && PQcancelBlocking && PQcancelFinish)
    j->secure = PQcancelCreate(pg);
#endif
  if (!j->secure)
    j->plain = PQgetCancel(pg);
  if ((!j->plain && !j->secure) || !start_thread(j)) {
    drop(j);
    close(ends[0]);
    return false;
  }
  c->done = ends[0];
  return true;
}

void lpg_cancel_forget(lpg_cancel *c)
{
  if (c->done >= 0)
    close(c->done);
  c->done = -1;
}
