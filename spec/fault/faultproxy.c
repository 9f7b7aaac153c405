/* SPDX-License-Identifier: MIT */
/* faultproxy: stands between a PostgreSQL client and a server and does on
 * command what networks and servers do by accident. Knows just enough of the
 * protocol to tell messages and requests to cancel; TLS passes through as
 * bytes. Driven by faultproxy.lua.
 *
 *   faultproxy LISTEN SERVER    each a port on 127.0.0.1 or a socket's path;
 *                               LISTEN 0 is any free port
 *
 * Prints "PORT CONTROLPORT" and lives as long as the one connection to the
 * control port, which takes a command a line and answers a line:
 *
 *   stall up|down|both|off      pass nothing on, read nothing
 *   cut up|down N               close both sides after N bytes more
 *   at up|down T K WHAT [N]     in the K-th message of type T from now, after N
 *                               bytes of it: cut or stall; whole: drop, blank
 *                               (its fields), twice
 *   reset on|off                cut with RST instead of FIN
 *   chop N                      pieces of N bytes; 0: as they come
 *   cancel pass|drop|hold|MS    requests to cancel: swallow, leave unanswered,
 *                               or pass on after MS milliseconds
 *   refuse on|off               nothing listens
 *   deaf on|off                 connections are not accepted
 *   mute on|off                 they are, and nothing is ever said
 *   flood T N                   N notices (T: N), notifications (A) or settings
 *                               (S) before anything else; -1: without end
 *   kill                        cut everything now
 *   stat                        "CONNECTIONS CANCELS UP DOWN", in all so far */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 64 * 1024, SPARE = 1024, LINKS = 64, UP = 0, DOWN = 1 };
enum what { NOTHING, CUT, STALL, DROP, BLANK, TWICE };

typedef struct half { /* bytes on their way in one direction */
  int from, to;
  unsigned char in[ROOM], out[ROOM + SPARE], header[9];
  size_t begin, end, first, last, have, left;
  bool opaque, typed, skip; /* typed: messages begin with their type */
  bool stalled;
  enum what fuse; /* what happens after `quota` more bytes */
  size_t quota;
} half;

typedef struct bond {
  half way[2];
  bool used, cancel, dying;
  double due; /* when a request to cancel may pass */
} bond;

static bond links[LINKS];
static int listener = -1, controller = -1, control = -1;
static const char *front, *back;
static int port;
static bool resets, deaf, mute, stalled[2];
static size_t chop;
static double cancel_delay; /* seconds; below 0: see `cancel_what` */
static enum what cancel_what;
static struct {
  int type, nth, seen;
  enum what what;
  size_t bytes;
} rule[2];
static long flood_left;
static char flood_type;
static unsigned long long connections, cancels, passed[2];

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
  perror(what);
  exit(1);
}

/* --- sockets ---------------------------------------------------------- */

static union {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_un un;
} address;

static socklen_t resolve(const char *text)
{
  memset(&address, 0, sizeof address);
  if (*text == '/') {
    address.un.sun_family = AF_UNIX;
    snprintf(address.un.sun_path, sizeof address.un.sun_path, "%s", text);
    return sizeof address.un;
  }
  address.in.sin_family = AF_INET;
  address.in.sin_port = htons((uint16_t)atoi(text));
  address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return sizeof address.in;
}

static int prepared(int fd)
{
  int on = 1;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static int listening(const char *text, int *number)
{
  int on = 1;
  socklen_t size = resolve(text);
  int fd = socket(address.any.sa_family, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (*text == '/')
    unlink(text);
  if (bind(fd, &address.any, size) != 0 || listen(fd, 16) != 0)
    fail(text);
  if (getsockname(fd, &address.any, &size) == 0 && *text != '/')
    *number = ntohs(address.in.sin_port);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

static void listen_again(void)
{
  char text[16];
  snprintf(text, sizeof text, "%d", port);
  if (listener < 0)
    listener = listening(*front == '/' ? front : text, &port);
}

static void end(bond *b)
{
  struct linger hard = {1, 0};
  for (int i = 0; i < 2; i++) {
    if (resets)
      setsockopt(b->way[i].from, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    if (b->way[i].from >= 0)
      close(b->way[i].from);
  }
  b->used = false;
}

static void join(int client)
{
  bond *b = links;
  while (b < links + LINKS && b->used)
    b++;
  if (b == links + LINKS) {
    close(client);
    return;
  }
  int server = -1;
  if (!mute) {
    socklen_t size = resolve(back);
    server = socket(address.any.sa_family, SOCK_STREAM, 0);
    if (connect(server, &address.any, size) != 0) {
      close(server);
      close(client);
      return;
    }
    prepared(server);
  }
  memset(b, 0, sizeof *b);
  b->used = true;
  b->way[UP].from = b->way[DOWN].to = prepared(client);
  b->way[UP].to = b->way[DOWN].from = server;
  b->way[DOWN].typed = true;
  connections++;
}

/* --- messages --------------------------------------------------------- */

static uint32_t number(const unsigned char *bytes)
{
  return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 |
         (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Puts bytes on the way; answers how many. */
static size_t put(half *h, const void *bytes, size_t n)
{
  size_t room = sizeof h->out - h->last;
  n = n < room ? n : room;
  if (h->fuse && n > h->quota)
    n = h->quota;
  memcpy(h->out + h->last, bytes, n);
  h->last += n;
  h->quota -= h->fuse ? n : 0;
  return n;
}

static void apply(half *h, int direction, size_t header)
{
  rule[direction].type = 0;
  h->fuse = rule[direction].what;
  h->quota = rule[direction].bytes;
  if (h->fuse == CUT || h->fuse == STALL)
    return;
  h->skip = h->fuse == DROP || h->fuse == BLANK;
  if (h->fuse == BLANK) { /* a message with no field at all */
    const unsigned char none[6] = {h->header[0], 0, 0, 0, 5, 0};
    h->fuse = NOTHING;
    put(h, none, sizeof none);
  } else if (h->fuse == TWICE) { /* fits short messages only */
    h->fuse = NOTHING;
    put(h, h->header, header);
    put(h, h->in + h->begin, h->left);
  }
  h->fuse = NOTHING;
}

/* A header is complete: what follows, and does a rule apply? */
static void begin(bond *b, int direction)
{
  half *h = &b->way[direction];
  if (h->typed) {
    h->left = number(h->header + 1) - 4;
    if (rule[direction].type == h->header[0] &&
        ++rule[direction].seen == rule[direction].nth)
      apply(h, direction, h->have);
  } else { /* the client's first words: length and code */
    uint32_t code = number(h->header + 4);
    h->left = number(h->header) - 8;
    h->typed = code == 196608 || code == 196610;
    b->way[DOWN].typed = h->typed; /* else one byte answers */
    if (code == 80877102) {
      cancels++;
      b->cancel = true;
      b->due = now() + cancel_delay;
      b->dying = cancel_what == DROP;
    }
  }
}

/* Moves what came in over to what goes out, message by message. */
static void parse(bond *b, int direction)
{
  half *h = &b->way[direction];
  while (h->begin < h->end && h->last < ROOM && !b->dying && !h->stalled) {
    size_t n = h->end - h->begin;
    unsigned char *bytes = h->in + h->begin;
    if (h->fuse && h->quota == 0) {
      b->dying = h->fuse == CUT;
      h->stalled = h->fuse == STALL;
      h->fuse = NOTHING;
      return;
    }
    if (h->opaque) {
      h->begin += put(h, bytes, n);
    } else if (h->left > 0) {
      n = n < h->left ? n : h->left;
      n = h->skip ? n : put(h, bytes, n);
      h->begin += n;
      h->left -= n;
    } else if (direction == DOWN && !h->typed) { /* the answer: TLS or not */
      h->begin += put(h, bytes, 1);
      h->opaque = b->way[UP].opaque = *bytes == 'S' || *bytes == 'G';
    } else {
      h->header[h->have++] = *bytes;
      h->begin++;
      size_t whole = h->typed ? 5 : 8;
      if (h->have < whole)
        continue;
      h->skip = false;
      begin(b, direction);
      for (size_t i = 0; i < whole && !h->skip; i += n) {
        n = put(h, h->header + i, whole - i);
        if (n == 0)
          break; /* the fuse; what is left of a header is let go */
      }
      h->have = 0;
    }
  }
}

static void flood(half *h)
{
  static const char notice[] = "SNOTICE\0VNOTICE\0C00000\0Mflood\0";
  static unsigned serial;
  unsigned char message[64] = {(unsigned char)flood_type};
  while (flood_left != 0 && !h->left && !h->have && h->last < ROOM) {
    char *body = (char *)message + 5;
    size_t n = sizeof notice;
    if (flood_type == 'A')
      n = 4 + (size_t)sprintf(body + 4, "c%cflood", 0) + 1;
    else if (flood_type == 'S')
      n = (size_t)sprintf(body, "setting%u%c1", ++serial % 1000, 0) + 1;
    else
      memcpy(body, notice, n);
    message[4] = (unsigned char)(n + 4);
    put(h, message, n + 5);
    flood_left -= flood_left > 0;
  }
}

/* --- moving ----------------------------------------------------------- */

static bool halted(const bond *b, int direction)
{
  if (b->cancel)
    return cancel_what == STALL || now() < b->due;
  return stalled[direction] || (b->way[direction].stalled);
}

static bool wants_read(const bond *b, int direction)
{
  const half *h = &b->way[direction];
  bool first = direction == UP && !h->typed && !h->opaque;
  return h->begin == h->end && h->last < ROOM && !b->dying && h->to >= 0 &&
         (!halted(b, direction) || first);
}

/* Answers false when a side has gone. */
static bool move(bond *b, int direction, bool readable, bool writable)
{
  half *h = &b->way[direction];
  if (readable && wants_read(b, direction)) {
    ssize_t n = recv(h->from, h->in, ROOM, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
      b->dying = true;
    h->begin = 0;
    h->end = n > 0 ? (size_t)n : 0;
  }
  if (!halted(b, direction) || !h->typed)
    parse(b, direction);
  if (direction == DOWN && flood_left != 0 && h->typed &&
      b->way[UP].typed && !h->opaque && !b->cancel && h->last < ROOM)
    flood(h);
  while (h->first < h->last && !halted(b, direction) && writable) {
    size_t n = h->last - h->first;
    n = chop && n > chop ? chop : n;
    ssize_t sent = send(h->to, h->out + h->first, n, MSG_NOSIGNAL);
    if (sent < 0)
      return errno == EAGAIN || errno == EINTR;
    h->first += (size_t)sent;
    passed[direction] += (unsigned long long)sent;
  }
  if (h->first == h->last)
    h->first = h->last = 0;
  return true;
}

/* --- commands --------------------------------------------------------- */

static enum what meaning(const char *word)
{
  static const char *const words[] = {"pass", "cut",   "hold", "drop",
                                      "blank", "twice", NULL};
  if (!strcmp(word, "stall"))
    return STALL;
  for (int i = 0; words[i]; i++)
    if (!strcmp(word, words[i]))
      return (enum what)i;
  return NOTHING;
}

static void obey(char *line)
{
  char command[16] = "", a[16] = "", type[16] = "", what[16] = "";
  char answer[128] = "ok\n";
  long k = 0, bytes = 0;
  sscanf(line, "%15s %15s %15s %ld %15s %ld", command, a, type, &k, what,
         &bytes);
  bool on = !strcmp(a, "on"), both = !strcmp(a, "both");
  int direction = !strcmp(a, "down") ? DOWN : UP;
  if (!strcmp(command, "stall")) {
    stalled[UP] = both || !strcmp(a, "up");
    stalled[DOWN] = both || !strcmp(a, "down");
    for (int i = 0; i < LINKS; i++)
      links[i].way[UP].stalled = links[i].way[DOWN].stalled = false;
  } else if (!strcmp(command, "cut")) {
    for (int i = 0; i < LINKS; i++) {
      links[i].way[direction].fuse = CUT;
      links[i].way[direction].quota = (size_t)atol(type);
    }
  } else if (!strcmp(command, "at")) {
    rule[direction].type = (unsigned char)*type;
    rule[direction].nth = (int)k;
    rule[direction].seen = 0;
    rule[direction].what = meaning(what);
    rule[direction].bytes = (size_t)bytes;
  } else if (!strcmp(command, "reset")) {
    resets = on;
  } else if (!strcmp(command, "chop")) {
    chop = (size_t)atol(a);
  } else if (!strcmp(command, "cancel")) {
    cancel_what = meaning(a);
    cancel_delay = atof(a) / 1000;
  } else if (!strcmp(command, "refuse")) {
    if (!on) {
      listen_again();
    } else if (listener >= 0) {
      close(listener);
      listener = -1;
    }
  } else if (!strcmp(command, "deaf")) {
    deaf = on;
  } else if (!strcmp(command, "mute")) {
    mute = on;
  } else if (!strcmp(command, "flood")) {
    flood_type = *a;
    flood_left = atol(type);
  } else if (!strcmp(command, "kill")) {
    for (int i = 0; i < LINKS; i++)
      if (links[i].used)
        end(&links[i]);
  } else if (!strcmp(command, "stat")) {
    snprintf(answer, sizeof answer, "%llu %llu %llu %llu\n", connections,
             cancels, passed[UP], passed[DOWN]);
  } else {
    snprintf(answer, sizeof answer, "unknown\n");
  }
  if (send(control, answer, strlen(answer), MSG_NOSIGNAL) < 0)
    exit(0);
}

static void read_commands(void)
{
  static char text[1024];
  static size_t have;
  ssize_t n = recv(control, text + have, sizeof text - 1 - have, 0);
  if (n <= 0)
    exit(0); /* the test has gone */
  have += (size_t)n;
  text[have] = 0;
  for (char *eol; (eol = strchr(text, '\n')) != NULL;) {
    *eol = 0;
    obey(text);
    have -= (size_t)(eol + 1 - text);
    memmove(text, eol + 1, have + 1);
  }
}

/* --- the loop --------------------------------------------------------- */

static struct pollfd polls[2 * LINKS + 2];
static nfds_t watched;

static void watch(int fd, short events)
{
  polls[watched++] = (struct pollfd){.fd = events ? fd : -1, .events = events};
}

/* In the order of `links`: each has its client, then its server. */
static int watch_all(void)
{
  int timeout = control < 0 ? 10000 : -1;
  watched = 0;
  watch(control < 0 ? controller : control, POLLIN);
  watch(listener, deaf || listener < 0 ? 0 : POLLIN);
  for (bond *b = links; b < links + LINKS; b++) {
    for (int i = 0; i < 2; i++) {
      short events = b->used && wants_read(b, i) ? POLLIN : 0;
      half *other = &b->way[!i]; /* whose bytes go to this side */
      if (b->used && other->first < other->last && !halted(b, !i))
        events |= POLLOUT;
      if (b->used && i == DOWN && b->way[UP].to < 0)
        events = 0;
      watch(b->way[i].from, events);
      if (b->used && !halted(b, i) &&
          (b->way[i].begin < b->way[i].end || (i == DOWN && flood_left != 0)))
        timeout = b->way[i].last < ROOM ? 0 : timeout;
    }
    if (b->used && b->cancel && cancel_what != STALL && now() < b->due)
      timeout = (timeout < 0 || timeout > 5) ? 5 : timeout;
  }
  return timeout;
}

static void turn(bond *b, const short *ready)
{
  bool ok = true;
  for (int i = 0; i < 2 && ok; i++)
    ok = move(b, i, ready[i] & (POLLIN | POLLHUP | POLLERR),
              b->way[i].to >= 0);
  bool flushed = b->way[UP].first == b->way[UP].last &&
                 b->way[DOWN].first == b->way[DOWN].last;
  bool gone = ready[UP] & POLLERR;
  if (!ok || gone || (b->dying && (flushed || halted(b, DOWN))))
    end(b);
}

int main(int argc, char **argv)
{
  int control_port = 0;
  if (argc != 3)
    return fputs("usage: faultproxy LISTEN SERVER\n", stderr), 2;
  front = argv[1];
  back = argv[2];
  listener = listening(front, &port);
  controller = listening("0", &control_port);
  printf("%d %d\n", port, control_port);
  fflush(stdout);
  for (;;) {
    if (poll(polls, 0, 0) < 0 || poll(polls, watched, watch_all()) < 0)
      continue;
    if (control < 0 && polls[0].revents == 0)
      return 0; /* nobody took control */
    if (polls[0].revents && control < 0)
      control = accept(controller, NULL, NULL);
    else if (polls[0].revents)
      read_commands();
    for (int i = 0; i < LINKS; i++) {
      short ready[2] = {polls[2 + 2 * i].revents, polls[3 + 2 * i].revents};
      if (links[i].used)
        turn(&links[i], ready);
    }
    if (polls[1].revents && !deaf && listener >= 0) {
      int client = accept(listener, NULL, NULL);
      if (client >= 0)
        join(client);
    }
  }
}
