/* SPDX-License-Identifier: MIT */
/* bytes: big-endian reads from a bounded span. Knows neither Lua nor libpq.
 * A read past the end answers zero and marks the span short. */
#ifndef LPG_BYTES_H
#define LPG_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lpg_span {
  const unsigned char *at, *end;
  bool short_; /* something was read past the end */
} lpg_span;

static inline lpg_span lpg_span_of(const char *bytes, size_t length)
{
  const unsigned char *at = (const unsigned char *)bytes;
  return (lpg_span){at, at + length, false};
}

static inline size_t lpg_left(const lpg_span *s)
{
  return (size_t)(s->end - s->at);
}

/* The next n bytes, or NULL when fewer are left. */
static inline const unsigned char *lpg_take(lpg_span *s, size_t n)
{
  if (lpg_left(s) < n) {
    s->short_ = true;
    s->at = s->end;
    return NULL;
  }
  const unsigned char *p = s->at;
  s->at += n;
  return p;
}

static inline uint8_t lpg_u8(lpg_span *s)
{
  const unsigned char *p = lpg_take(s, 1);
  return p ? *p : 0;
}

static inline uint16_t lpg_u16(lpg_span *s)
{
  const unsigned char *p = lpg_take(s, 2);
  return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t lpg_u32(lpg_span *s)
{
  const unsigned char *p = lpg_take(s, 4);
  return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
                 p[3]
           : 0;
}

static inline uint64_t lpg_u64(lpg_span *s)
{
  uint64_t high = lpg_u32(s);
  return high << 32 | lpg_u32(s);
}

#endif
