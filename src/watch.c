/* SPDX-License-Identifier: MIT */
#include "watch.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

/* Reached by a weak symbol through libpq's own OpenSSL: without one, or under
 * GSSAPI, an error is noticed when all is sent. */
#ifdef __GNUC__
extern int SSL_peek(void *ssl, void *bytes, int size) __attribute__((weak));

static long peek_secure(PGconn *pg, char *bytes, size_t size)
{
  return SSL_peek(PQsslStruct(pg, "OpenSSL"), bytes, (int)size);
}

static bool is_blind(PGconn *pg)
{
  return PQgssEncInUse(pg) ||
         (PQsslInUse(pg) && (!SSL_peek || !PQsslStruct(pg, "OpenSSL")));
}
#else
static long peek_secure(PGconn *pg, char *bytes, size_t size)
{
  (void)pg, (void)bytes, (void)size;
  return -1;
}

static bool is_blind(PGconn *pg)
{
  return PQgssEncInUse(pg) || PQsslInUse(pg);
}
#endif

/* ReadyForQuery comes last, and in the middle of a COPY after an error alone.
 * The end of no other message looks like it, so that it does not matter where
 * in the stream of messages these bytes begin: three NULs in a row stand in
 * numbers only. */
static bool ends_ready(const char *bytes, size_t size)
{
  static const char ready[] = {'Z', 0, 0, 0, 5};
  return size > sizeof ready &&
         memcmp(bytes + size - sizeof ready - 1, ready, sizeof ready) == 0;
}

/* ErrorResponse has its severity untranslated, too, as a field of its own, and
 * ends of fields are the only NULs in texts. One that is larger than the bytes
 * at hand is noticed by that: libpq takes its end along. */
static bool has_error(const char *bytes, size_t size)
{
  static const char *const severities[] = {"ERROR", "FATAL", "PANIC"};
  enum { FIELD = sizeof "VERROR" + 1 }; /* the next field is C */
  const char *end = bytes + size;
  while ((bytes = memchr(bytes, 0, (size_t)(end - bytes))) != NULL) {
    bytes++;
    if (end - bytes < FIELD)
      return false;
    for (int i = 0; i < 3; i++)
      if (bytes[0] == 'V' && bytes[FIELD - 1] == 'C' &&
          memcmp(bytes + 1, severities[i], FIELD - 2) == 0)
        return true;
  }
  return false;
}

lpg_sight lpg_watch(PGconn *pg)
{
  char bytes[16 * 1024];
  if (is_blind(pg))
    return LPG_BLIND;
  bool secure = PQsslInUse(pg);
  long size =
      secure ? peek_secure(pg, bytes, sizeof bytes)
             : recv(PQsocket(pg), bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
  if (size > 0 &&
      (ends_ready(bytes, (size_t)size) || has_error(bytes, (size_t)size)))
    return LPG_REFUSED;
  if (size > 0) /* a record of TLS hides the next one */
    return secure || size == sizeof bytes ? LPG_SPEAKS : LPG_REMARKS;
  if (secure) /* no record is whole: has the connection ended? */
    size = recv(PQsocket(pg), bytes, 1, MSG_PEEK | MSG_DONTWAIT);
  bool later = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
  return size > 0 || (size < 0 && later) ? LPG_NOTHING : LPG_SPEAKS;
}
