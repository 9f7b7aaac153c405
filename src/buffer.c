/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

char *lpg_buffer_room(lpg_buffer *b, size_t n)
{
  if (b->failed)
    return NULL;
  if (b->capacity - b->length < n) {
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity - b->length < n && capacity <= (size_t)-1 / 2)
      capacity *= 2;
    char *data = capacity - b->length < n ? NULL : realloc(b->data, capacity);
    if (!data) {
      b->failed = true;
      return NULL;
    }
    b->data = data;
    b->capacity = capacity;
  }
  return b->data + b->length;
}

void lpg_buffer_put(lpg_buffer *b, const void *bytes, size_t n)
{
  char *room = n ? lpg_buffer_room(b, n) : NULL;
  if (!room)
    return;
  memcpy(room, bytes, n);
  b->length += n;
}

void lpg_buffer_text(lpg_buffer *b, const char *text)
{
  lpg_buffer_put(b, text, strlen(text));
}

void lpg_buffer_free(lpg_buffer *b)
{
  free(b->data);
  *b = (lpg_buffer){0};
}

void lpg_buffer_reset(lpg_buffer *b, size_t keep)
{
  if (b->capacity > keep)
    lpg_buffer_free(b);
  b->length = 0;
  b->failed = false;
}
