/* SPDX-License-Identifier: MIT */
/* gate: a proxy on 127.0.0.1 whose bytes pass only while it is open. Whoever
 * opens it exactly while the code under test says that it waits proves that
 * nothing else waits: a call that blocks while the gate is shut never ends.
 *
 *   gate CONTROL ANSWERS UPSTREAM [CHUNK]
 *
 * CONTROL and ANSWERS are FIFOs, UPSTREAM a port of 127.0.0.1 or the path of
 * a Unix socket. The first answer is the gate's port, on a line. 'o' opens, 'c'
 * shuts, and each is answered by itself once it holds, so that no byte slips
 * through behind it. At most CHUNK bytes reach the client at one opening. It
 * ends when CONTROL does; shut and told nothing for a while, it gives up, which
 * breaks whatever blocks. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { TUNNELS = 32, ROOM = 65536, STUCK = 15000 /* milliseconds */ };

/* One direction of a tunnel. */
typedef struct flow {
  int from, to;
  size_t start, end, left; /* `left` may pass at this opening */
  bool ended;              /* `from` has no more */
  bool shut;               /* and `to` knows */
  char bytes[ROOM];
} flow;

typedef struct tunnel {
  bool used;
  flow up, down;
} tunnel;

static tunnel tunnels[TUNNELS];
static const char *upstream;
static size_t chunk = SIZE_MAX;

static void fail(const char *what)
{
  perror(what);
  exit(1);
}

static int connect_upstream(void)
{
  int s;
  if (*upstream == '/') {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path, upstream, sizeof to.sun_path - 1);
    s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(s, (struct sockaddr *)&to, sizeof to) != 0)
      fail(upstream);
  } else {
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons((unsigned short)atoi(upstream));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(s, (struct sockaddr *)&to, sizeof to) != 0)
      fail(upstream);
  }
  return s;
}

static int listen_here(int *port)
{
  struct sockaddr_in here = {.sin_family = AF_INET};
  socklen_t size = sizeof here;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int s = socket(AF_INET, SOCK_STREAM, 0);
  if (s < 0 || bind(s, (struct sockaddr *)&here, sizeof here) != 0 ||
      listen(s, TUNNELS) != 0 ||
      getsockname(s, (struct sockaddr *)&here, &size) != 0)
    fail("listen");
  *port = ntohs(here.sin_port);
  return s;
}

static void start_flow(flow *f, int from, int to)
{
  f->from = from;
  f->to = to;
  f->start = f->end = 0;
  f->left = SIZE_MAX;
  f->ended = f->shut = false;
}

static void start_tunnel(int client)
{
  for (int i = 0; i < TUNNELS; i++) {
    if (tunnels[i].used)
      continue;
    int server = connect_upstream();
    fcntl(client, F_SETFL, O_NONBLOCK);
    fcntl(server, F_SETFL, O_NONBLOCK);
    tunnels[i].used = true;
    start_flow(&tunnels[i].up, client, server);
    start_flow(&tunnels[i].down, server, client);
    tunnels[i].down.left = chunk;
    return;
  }
  close(client);
}

static bool again(ssize_t n)
{
  return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Moves what can be moved now. A receiver that is gone ends the flow. */
static void pass(flow *f)
{
  if (f->start == f->end && !f->ended && f->left > 0) {
    ssize_t n = read(f->from, f->bytes, f->left < ROOM ? f->left : ROOM);
    if (n > 0)
      f->left -= (size_t)n;
    f->ended = n <= 0 && !again(n);
    f->start = 0;
    f->end = n > 0 ? (size_t)n : 0;
  }
  if (f->start < f->end) {
    ssize_t n =
        send(f->to, f->bytes + f->start, f->end - f->start, MSG_NOSIGNAL);
    if (n > 0)
      f->start += (size_t)n;
    else if (!again(n))
      f->start = f->end, f->ended = true;
  }
  if (f->ended && f->start == f->end && !f->shut) {
    shutdown(f->to, SHUT_WR);
    f->shut = true;
  }
}

static void serve(tunnel *l)
{
  pass(&l->up);
  pass(&l->down);
  if (!l->up.shut || !l->down.shut)
    return;
  close(l->up.from);
  close(l->up.to);
  l->used = false;
}

/* What a flow waits for. */
static void watch(const flow *f, struct pollfd *from, struct pollfd *to)
{
  from->fd = f->from;
  to->fd = f->to;
  if (f->start < f->end)
    to->events |= POLLOUT;
  else if (!f->ended && f->left > 0)
    from->events |= POLLIN;
}

int main(int count, char **words)
{
  static struct pollfd ends[2 + 2 * TUNNELS];
  int port;
  bool open_now = false;
  if (count < 4)
    return 2;
  upstream = words[3];
  if (count > 4)
    chunk = (size_t)atol(words[4]);
  signal(SIGPIPE, SIG_IGN);
  int listener = listen_here(&port);
  int answers = open(words[2], O_WRONLY);
  int control = open(words[1], O_RDONLY);
  if (answers < 0 || control < 0)
    fail("fifo");
  dprintf(answers, "%d\n", port);
  for (;;) {
    memset(ends, 0, sizeof ends);
    ends[0] = (struct pollfd){.fd = control, .events = POLLIN};
    ends[1] = (struct pollfd){.fd = open_now ? listener : -1, .events = POLLIN};
    for (int i = 0; i < TUNNELS; i++) {
      struct pollfd *pair = ends + 2 + 2 * i;
      pair[0].fd = pair[1].fd = -1;
      if (!open_now || !tunnels[i].used)
        continue;
      watch(&tunnels[i].up, &pair[0], &pair[1]);
      watch(&tunnels[i].down, &pair[1], &pair[0]);
      if (!pair[0].events) /* or a hang-up would wake us for ever */
        pair[0].fd = -1;
      if (!pair[1].events)
        pair[1].fd = -1;
    }
    int ready = poll(ends, 2 + 2 * TUNNELS, open_now ? -1 : STUCK);
    if (ready == 0) {
      fputs("gate: shut and told nothing for 15 seconds\n", stderr);
      return 1;
    }
    if (ends[0].revents) {
      char word;
      if (read(control, &word, 1) != 1)
        return 0;
      open_now = word == 'o';
      for (int i = 0; open_now && i < TUNNELS; i++)
        tunnels[i].up.left = SIZE_MAX, tunnels[i].down.left = chunk;
      if (write(answers, &word, 1) != 1)
        return 0;
      continue;
    }
    if (ends[1].revents) {
      int client = accept(listener, NULL, NULL);
      if (client >= 0)
        start_tunnel(client);
    }
    for (int i = 0; i < TUNNELS; i++)
      if (tunnels[i].used &&
          (ends[2 + 2 * i].revents | ends[3 + 2 * i].revents))
        serve(&tunnels[i]);
  }
}
