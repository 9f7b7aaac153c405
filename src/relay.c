/* SPDX-License-Identifier: MIT */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

static bool prepare(int fd)
{
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 &&
         fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

bool lpg_relay_engage(lpg_relay *r, int number)
{
  int pair[2];
  if (!r->slice && !(r->slice = malloc(LPG_SLICE)))
    return false;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
    return false;
  int real = fcntl(number, F_DUPFD_CLOEXEC, 3);
  if (real < 0 || !prepare(pair[0]) || !prepare(pair[1]) ||
      dup2(pair[0], number) < 0) {
    close(pair[0]);
    close(pair[1]);
    if (real >= 0)
      close(real);
    return false;
  }
  close(pair[0]);
  fcntl(number, F_SETFD, FD_CLOEXEC);
  r->number = number;
  r->real = real;
  r->inner = pair[1];
  r->from = r->to = 0;
  return true;
}

int lpg_readable(int fd)
{
  int n = 0;
  return ioctl(fd, FIONREAD, &n) == 0 ? n : 0;
}

/* What libpq wrote goes on to the server: rare (a TLS key update). */
static void pump_out(lpg_relay *r)
{
  char bytes[4096];
  ssize_t n = recv(r->inner, bytes, sizeof bytes, MSG_PEEK);
  if (n > 0)
    n = send(r->real, bytes, (size_t)n, MSG_NOSIGNAL);
  if (n > 0)
    n = recv(r->inner, bytes, (size_t)n, 0);
}

static void hand_over(lpg_relay *r)
{
  while (r->from < r->to) {
    ssize_t n =
        send(r->inner, r->slice + r->from, r->to - r->from, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return;
    r->from += (size_t)n;
  }
}

long lpg_relay_pump(lpg_relay *r)
{
  pump_out(r);
  hand_over(r);
  if (lpg_relay_pending(r))
    return 0;
  ssize_t n = recv(r->real, r->slice, LPG_SLICE, 0);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    return 0;
  if (n <= 0) {
    shutdown(r->inner, SHUT_WR);
    return -1;
  }
  r->from = 0;
  r->to = (size_t)n;
  hand_over(r);
  return (long)n;
}

bool lpg_relay_pending(const lpg_relay *r)
{
  return r->from < r->to || lpg_readable(r->number) > 0;
}

bool lpg_relay_blocked(const lpg_relay *r)
{
  return r->inner >= 0 && lpg_readable(r->inner) > 0;
}

bool lpg_relay_release(lpg_relay *r)
{
  pump_out(r);
  if (lpg_relay_blocked(r) || dup2(r->real, r->number) < 0)
    return false;
  fcntl(r->number, F_SETFD, FD_CLOEXEC);
  lpg_relay_close(r);
  return true;
}

void lpg_relay_close(lpg_relay *r)
{
  if (r->real >= 0)
    close(r->real);
  if (r->inner >= 0)
    close(r->inner);
  free(r->slice);
  *r = LPG_RELAY_INIT;
}
