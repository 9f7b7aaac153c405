/* SPDX-License-Identifier: MIT */
#include "notice.h"

#include <stdlib.h>
#include <string.h>

static const int field_codes[5] = {
    PG_DIAG_SEVERITY_NONLOCALIZED, PG_DIAG_SQLSTATE, PG_DIAG_MESSAGE_PRIMARY,
    PG_DIAG_MESSAGE_DETAIL, PG_DIAG_MESSAGE_HINT};

/* Never more than the server sent: fields of other codes do not count. */
static size_t wire_bytes(const PGresult *result)
{
  static const char codes[] = "SVCMDHPpqWstcdnFLR";
  size_t bytes = 6; /* header, end */
  for (const char *code = codes; *code; code++) {
    const char *field = PQresultErrorField(result, *code);
    bytes += field ? strlen(field) + 2 : 0;
  }
  return bytes;
}

static void receive(void *to, const PGresult *result)
{
  lpg_notices *queue = to;
  queue->received += wire_bytes(result);
  const char *field[5];
  size_t length[5], size = sizeof(lpg_notice);
  for (int i = 0; i < 5; i++) {
    field[i] = PQresultErrorField(result, field_codes[i]);
    length[i] = field[i] ? strlen(field[i]) + 1 : 0;
    size += length[i];
  }
  if (!field[0]) { /* libpq's own notices, and servers before 9.6 */
    field[0] = PQresultErrorField(result, PG_DIAG_SEVERITY);
    length[0] = field[0] ? strlen(field[0]) + 1 : 0;
    size += length[0];
  }
  lpg_notice *notice = NULL;
  if (queue->count < LPG_NOTICES && size <= LPG_NOTICE_BYTES - queue->bytes)
    notice = malloc(size);
  if (!notice) {
    queue->dropped++;
    return;
  }
  char *text = (char *)(notice + 1);
  for (int i = 0; i < 5; i++) {
    notice->field[i] = field[i] ? memcpy(text, field[i], length[i]) : NULL;
    text += length[i];
  }
  notice->size = size;
  notice->next = NULL;
  if (queue->last)
    queue->last->next = notice;
  else
    queue->first = notice;
  queue->last = notice;
  queue->bytes += size;
  queue->count++;
}

void lpg_notices_receive(lpg_notices *queue, PGconn *pg)
{
  PQsetNoticeReceiver(pg, receive, queue);
}

void lpg_notices_clear(lpg_notices *queue)
{
  while (queue->first) {
    lpg_notice *next = queue->first->next;
    free(queue->first);
    queue->first = next;
  }
  queue->last = NULL;
  queue->bytes = 0;
  queue->count = 0;
  queue->dropped = 0;
}
