/* SPDX-License-Identifier: MIT */
#include "notify.h"

#include <stdlib.h>
#include <string.h>

static size_t size_of(const PGnotify *n)
{
  return sizeof *n + strlen(n->relname) + strlen(n->extra) + 2;
}

static bool has_room(lpg_notifies *queue, size_t size)
{
  if (!queue->ring)
    queue->ring = malloc(LPG_NOTIFIES * sizeof(PGnotify *));
  return queue->ring && queue->count < LPG_NOTIFIES &&
         queue->bytes + size <= LPG_NOTIFY_BYTES;
}

bool lpg_notifies_take(lpg_notifies *queue, PGconn *pg)
{
  PGnotify *n = PQnotifies(pg);
  bool any = n != NULL;
  for (; n; n = PQnotifies(pg)) {
    size_t size = size_of(n);
    if (!has_room(queue, size)) {
      queue->dropped++;
      PQfreemem(n);
      continue;
    }
    queue->ring[(queue->first + queue->count++) % LPG_NOTIFIES] = n;
    queue->bytes += size;
  }
  return any;
}

PGnotify *lpg_notifies_next(lpg_notifies *queue)
{
  if (queue->count == 0)
    return NULL;
  PGnotify *n = queue->ring[queue->first];
  queue->first = (queue->first + 1) % LPG_NOTIFIES;
  queue->count--;
  queue->bytes -= size_of(n);
  return n;
}

void lpg_notifies_clear(lpg_notifies *queue)
{
  for (PGnotify *n; (n = lpg_notifies_next(queue));)
    PQfreemem(n);
  free(queue->ring);
  *queue = (lpg_notifies){0};
}
