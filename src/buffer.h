/* SPDX-License-Identifier: MIT */
/* buffer: growable bytes. Knows neither Lua nor libpq. A failed allocation
 * is remembered, later puts do nothing, and the user asks once at the end. */
#ifndef LPG_BUFFER_H
#define LPG_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lpg_buffer {
  char *data;
  size_t length, capacity;
  bool failed; /* out of memory since the last reset: length is not whole */
} lpg_buffer;

/* Room for n more bytes, or NULL. The caller adds what it wrote to length. */
char *lpg_buffer_room(lpg_buffer *b, size_t n);
void lpg_buffer_put(lpg_buffer *b, const void *bytes, size_t n);
void lpg_buffer_text(lpg_buffer *b, const char *text);
void lpg_buffer_free(lpg_buffer *b);

static inline void lpg_buffer_char(lpg_buffer *b, char c)
{
  if (b->length < b->capacity)
    b->data[b->length++] = c;
  else
    lpg_buffer_put(b, &c, 1);
}

/* Empties it; memory beyond `keep` bytes goes back. */
void lpg_buffer_reset(lpg_buffer *b, size_t keep);

#endif
