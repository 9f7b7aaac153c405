/* SPDX-License-Identifier: MIT */
/* faultproxy: stands between a PostgreSQL client and a server and does on
 * command what networks and servers do by accident. Knows just enough of the
 * protocol to tell messages and requests to cancel; TLS passes as bytes.
 * Driven by faultproxy.lua.
 *
 *   faultproxy LISTEN SERVER    each a port of 127.0.0.1 (0: any that is free)
 *                               or the path of a Unix socket
 *
 * Prints "PORT CONTROLPORT" and lives as long as the one connection to the
 * control port, which takes a command a line and answers a line:
 *
 *   stall up|down|both|off      pass nothing on, read nothing
 *   cut up|down N               close both sides after N bytes more
 *   hold up|down N              pass N bytes more, then stall
 *   at up|down T K cut|hold N   the same in the K-th message of type T from
 *                               now, after N bytes of it
 *   reset on|off                cut with RST instead of FIN
 *   chop N                      pieces of N bytes; 0: as they come
 *   cancel pass|drop|hold|MS    requests to cancel: swallow, leave unanswered,
 *                               or pass on after MS milliseconds
 *   refuse on|off, deaf on|off  nothing listens; nothing is accepted
 *   flood N                     N notices before the server's next words; -1:
 *                               nothing else for ever
 *   stat                        "CONNECTIONS CANCELS UP DOWN", in all so far
 *   quit                        for children of the driver hold the line, too
 */
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

enum { ROOM = 64 * 1024, LINKS = 64, UP = 0, DOWN = 1 };
enum { STARTUP = 196608, CANCEL = 80877102 };
typedef enum what { PASS, CUT, STALL, DROP } what;

typedef struct half { /* bytes on their way in one direction */
  int from, to;
  unsigned char in[ROOM], out[ROOM], header[8];
  size_t begin, end, first, last; /* what is left of `in` and `out` */
  size_t have, shown, left; /* of a header; already out; bytes of a body */
  bool typed;               /* messages begin with their type */
  bool opaque, known, stalled;
  what fuse; /* what happens after `quota` bytes more */
  size_t quota;
} half;

typedef struct bond {
  half way[2];
  bool used, cancel, dying;
  double due; /* when a request to cancel may pass */
} bond;

static bond bonds[LINKS];
static const char *front, *back;
static int port, listener = -1, controller = -1, control = -1;
static bool resets, deaf, stalled[2];
static long chop, flood_left;
static double delay; /* seconds, of requests to cancel */
static what cancelling;
static struct {
  int type;
  long nth;
  what what;
  size_t bytes;
} rule[2];
static unsigned long long connections, cancels, passed[2];

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- sockets ---------------------------------------------------------- */

static union {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_un un;
} address;

static int socket_for(const char *text, socklen_t *size)
{
  memset(&address, 0, sizeof address);
  if (*text == '/') {
    address.un.sun_family = AF_UNIX;
    snprintf(address.un.sun_path, sizeof address.un.sun_path, "%s", text);
    *size = sizeof address.un;
  } else {
    address.in.sin_family = AF_INET;
    address.in.sin_port = htons((uint16_t)atoi(text));
    address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *size = sizeof address.in;
  }
  return socket(address.any.sa_family, SOCK_STREAM, 0);
}

static int listening(const char *text)
{
  int on = 1;
  socklen_t size;
  int fd = socket_for(text, &size);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (*text == '/')
    unlink(text);
  if (bind(fd, &address.any, size) != 0 || listen(fd, 16) != 0) {
    perror(text);
    exit(1);
  }
  getsockname(fd, &address.any, &size);
  return fd;
}

static void refuse(bool on)
{
  char text[16];
  snprintf(text, sizeof text, "%d", port);
  if (on && listener >= 0) {
    close(listener);
    listener = -1;
  } else if (!on && listener < 0) {
    listener = listening(*front == '/' ? front : text);
    port = *front == '/' ? 0 : ntohs(address.in.sin_port);
  }
}

static void sever(bond *b)
{
  struct linger hard = {1, 0};
  for (int i = 0; i < 2; i++) {
    if (resets)
      setsockopt(b->way[i].from, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(b->way[i].from);
  }
  b->used = false;
}

static void join(int client)
{
  int on = 1;
  socklen_t size;
  int ends[2] = {client, socket_for(back, &size)};
  bond *b = bonds;
  while (b < bonds + LINKS && b->used)
    b++;
  if (b == bonds + LINKS || connect(ends[1], &address.any, size) != 0) {
    close(ends[0]);
    close(ends[1]);
    return;
  }
  memset(b, 0, sizeof *b);
  b->used = b->way[DOWN].typed = true;
  connections++;
  for (int i = 0; i < 2; i++) {
    b->way[i].from = b->way[!i].to = ends[i];
    fcntl(ends[i], F_SETFL, O_NONBLOCK);
    setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
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
  n = h->fuse && n > h->quota ? h->quota : n;
  memcpy(h->out + h->last, bytes, n);
  h->last += n;
  h->quota -= h->fuse ? n : 0;
  return n;
}

/* A byte of a header; what follows is known when it is complete. */
static void gather(bond *b, int direction)
{
  half *h = &b->way[direction];
  h->header[h->have++] = h->in[h->begin++];
  if (h->have < (h->typed ? 5 : 8))
    return;
  h->known = true;
  if (h->typed) {
    h->left = number(h->header + 1) - 4;
    if (rule[direction].type == h->header[0] && --rule[direction].nth == 0) {
      h->fuse = rule[direction].what;
      h->quota = rule[direction].bytes;
    }
    return;
  }
  uint32_t code = number(h->header + 4);
  h->left = number(h->header) - 8;
  h->typed = b->way[DOWN].typed = code >> 16 == STARTUP >> 16;
  if (code == CANCEL) {
    cancels++;
    b->cancel = true;
    b->dying = cancelling == DROP;
    b->due = now() + delay;
  }
}

/* Moves what came in over to what goes out, message by message. */
static void parse(bond *b, int direction)
{
  half *h = &b->way[direction];
  while ((h->begin < h->end || h->known) && h->last < ROOM && !b->dying) {
    const unsigned char *bytes = h->in + h->begin;
    size_t n = h->end - h->begin;
    if (h->fuse && h->quota == 0) {
      b->dying = h->fuse == CUT;
      h->stalled = h->fuse == STALL;
      h->fuse = PASS;
      return;
    }
    if (h->opaque) {
      h->begin += put(h, bytes, n);
    } else if (h->known) {
      h->shown += put(h, h->header + h->shown, h->have - h->shown);
      if (h->shown == h->have)
        h->have = h->shown = h->known = false;
    } else if (h->left > 0) {
      n = put(h, bytes, n < h->left ? n : h->left);
      h->begin += n;
      h->left -= n;
    } else if (!h->typed && direction == DOWN) { /* one byte: TLS or not */
      h->begin += put(h, bytes, 1);
      h->opaque = b->way[UP].opaque = *bytes == 'S' || *bytes == 'G';
    } else {
      gather(b, direction);
    }
  }
}

static void flood(half *h)
{
  static const char notice[] = "N\0\0\0\043SNOTICE\0VNOTICE\0C00000\0Mflood\0";
  for (; flood_left != 0 &&
         h->last + sizeof notice<ROOM; flood_left -= flood_left> 0)
    put(h, notice, sizeof notice);
}

/* --- moving ----------------------------------------------------------- */

static bool halted(const bond *b, int direction)
{
  if (b->cancel)
    return b->dying || cancelling == STALL || now() < b->due;
  return stalled[direction] || b->way[direction].stalled;
}

/* A client's first words are read even when all else stalls: they may be a
 * request to cancel. */
static bool wants_read(const bond *b, int direction)
{
  const half *h = &b->way[direction];
  bool first = direction == UP && !h->typed && !h->opaque;
  return b->used && h->begin == h->end && h->last < ROOM && !b->dying &&
         (!halted(b, direction) || first);
}

static void move(bond *b, int direction, bool readable)
{
  half *h = &b->way[direction];
  if (readable && wants_read(b, direction)) {
    ssize_t n = recv(h->from, h->in, ROOM, 0);
    b->dying = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    h->begin = 0;
    h->end = n > 0 ? (size_t)n : 0;
  }
  if (direction == DOWN && flood_left != 0 && b->way[UP].typed && !h->left &&
      !h->have)
    flood(h);
  else if (!halted(b, direction) || !h->typed)
    parse(b, direction);
  while (h->first < h->last && !halted(b, direction)) {
    size_t n = h->last - h->first;
    n = chop > 0 && n > (size_t)chop ? (size_t)chop : n;
    ssize_t sent = send(h->to, h->out + h->first, n, MSG_NOSIGNAL);
    if (sent < 0) {
      b->dying |= errno != EAGAIN && errno != EINTR;
      h->first = b->dying ? h->last : h->first;
      break;
    }
    h->first += (size_t)sent;
    passed[direction] += (unsigned long long)sent;
    if (chop > 0)
      break;
  }
  if (h->first == h->last)
    h->first = h->last = 0;
}

/* --- commands --------------------------------------------------------- */

static void stall(bool up, bool down)
{
  stalled[UP] = up;
  stalled[DOWN] = down;
  for (bond *b = bonds; b < bonds + LINKS; b++)
    b->way[UP].stalled = b->way[DOWN].stalled = false;
}

static void obey(const char *line)
{
  char word[16] = "", a[16] = "", b[16] = "", kind[16] = "", answer[128] = "ok";
  long nth = 0, bytes = 0;
  sscanf(line, "%15s %15s %15s %ld %15s %ld", word, a, b, &nth, kind, &bytes);
  bool on = !strcmp(a, "on"), both = !strcmp(a, "both");
  int way = !strcmp(a, "down") ? DOWN : UP;
  if (!strcmp(word, "stall")) {
    stall(both || !strcmp(a, "up"), both || way == DOWN);
  } else if (!strcmp(word, "cut") || !strcmp(word, "hold")) {
    for (int i = 0; i < LINKS; i++) {
      bonds[i].way[way].fuse = *word == 'c' ? CUT : STALL;
      bonds[i].way[way].quota = (size_t)atol(b);
    }
  } else if (!strcmp(word, "at")) {
    rule[way].type = *b;
    rule[way].nth = nth;
    rule[way].what = *kind == 'c' ? CUT : STALL;
    rule[way].bytes = (size_t)bytes;
  } else if (!strcmp(word, "cancel")) {
    cancelling = *a == 'd' ? DROP : *a == 'h' ? STALL : PASS;
    delay = atof(a) / 1000;
  } else if (!strcmp(word, "reset")) {
    resets = on;
  } else if (!strcmp(word, "chop")) {
    chop = atol(a);
  } else if (!strcmp(word, "refuse")) {
    refuse(on);
  } else if (!strcmp(word, "deaf")) {
    deaf = on;
  } else if (!strcmp(word, "flood")) {
    flood_left = atol(a);
  } else if (!strcmp(word, "quit")) {
    exit(0);
  } else if (!strcmp(word, "stat")) {
    snprintf(answer, sizeof answer, "%llu %llu %llu %llu", connections, cancels,
             passed[UP], passed[DOWN]);
  } else {
    snprintf(answer, sizeof answer, "unknown");
  }
  strcat(answer, "\n");
  if (send(control, answer, strlen(answer), MSG_NOSIGNAL) < 0)
    exit(0);
}

/* The one who drives waits for each answer, so a line comes alone. */
static void take_command(void)
{
  char line[1024];
  ssize_t n = recv(control, line, sizeof line - 1, 0);
  if (n <= 0)
    exit(0);
  line[n] = 0;
  obey(line);
}

/* --- the loop --------------------------------------------------------- */

static struct pollfd polls[2 * LINKS + 2];

static void watch(size_t place, int fd, short events)
{
  polls[place] = (struct pollfd){.fd = events ? fd : -1, .events = events};
}

/* Answers for how many milliseconds to wait. */
static int watch_all(void)
{
  int timeout = control < 0 ? 10000 : -1;
  watch(0, control < 0 ? controller : control, POLLIN);
  watch(1, listener, deaf ? 0 : POLLIN);
  for (size_t i = 0; i < LINKS; i++) {
    const bond *b = &bonds[i];
    for (int j = 0; j < 2; j++) {
      const half *toward = &b->way[!j];
      bool writes = toward->first < toward->last && !halted(b, !j);
      watch(2 + 2 * i + (size_t)j, b->way[j].from,
            (short)((b->used && wants_read(b, j) ? POLLIN : 0) |
                    (b->used && writes ? POLLOUT : 0)));
      if (b->used && !b->cancel && !halted(b, j) && b->way[j].last < ROOM / 2 &&
          (b->way[j].begin < b->way[j].end || (j == DOWN && flood_left != 0)))
        timeout = 0;
    }
    if (b->used && b->cancel && cancelling != STALL && timeout != 0)
      timeout = 5;
  }
  return timeout;
}

static void turn(bond *b, size_t place)
{
  for (size_t i = 0; i < 2; i++)
    move(b, (int)i, polls[place + i].revents & (POLLIN | POLLHUP | POLLERR));
  bool empty = b->way[UP].first == b->way[UP].last &&
               b->way[DOWN].first == b->way[DOWN].last;
  if (b->dying && (empty || halted(b, DOWN)))
    sever(b);
}

int main(int argc, char **argv)
{
  if (argc != 3)
    return fputs("usage: faultproxy LISTEN SERVER\n", stderr), 2;
  front = argv[1];
  back = argv[2];
  port = atoi(front);
  refuse(false);
  controller = listening("0");
  printf("%d %d\n", port, ntohs(address.in.sin_port));
  fflush(stdout);
  for (;;) {
    int timeout = watch_all();
    int ready = poll(polls, 2 * LINKS + 2, timeout);
    if (ready < 0)
      continue;
    if (ready == 0 && control < 0)
      return 1; /* nobody took control */
    for (size_t i = 0; i < LINKS; i++)
      if (bonds[i].used)
        turn(&bonds[i], 2 + 2 * i);
    if (polls[0].revents && control < 0)
      control = accept(controller, NULL, NULL);
    else if (polls[0].revents)
      take_command();
    if (polls[1].revents && listener >= 0 && !deaf)
      join(accept(listener, NULL, NULL));
  }
}
