/* SPDX-License-Identifier: MIT */
/* codec_text: bounded reading and unbounded writing of small texts made of
 * digits and marks. Knows neither Lua nor libpq, nor any locale. */
#ifndef LPG_CODEC_TEXT_H
#define LPG_CODEC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct lpg_cursor {
  const char *at, *end;
} lpg_cursor;

static inline bool lpg_accept(lpg_cursor *c, char mark)
{
  if (c->at == c->end || *c->at != mark)
    return false;
  c->at++;
  return true;
}

static inline bool lpg_is(const char *bytes, size_t length, const char *text)
{
  return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

/* The end of the digits that begin here, which are appended to *sum: exactly
 * while there are LPG_EXACT of them, beyond the zeros in front. */
enum { LPG_EXACT = 19 };
static inline const char *lpg_sum_digits(const char *at, const char *end,
                                         uint64_t *sum)
{
  uint64_t value = *sum;
  for (; at < end; at++) {
    unsigned digit = (unsigned)(unsigned char)*at - '0';
    if (digit > 9)
      break;
    value = value * 10 + digit;
  }
  *sum = value;
  return at;
}

/* From `least` to `most` (18 at the utmost) decimal digits. */
static inline bool lpg_digits(lpg_cursor *c, int least, int most,
                              int64_t *value)
{
  const char *first = c->at;
  const char *end = c->end - first > most ? first + most : c->end;
  uint64_t sum = 0;
  c->at = lpg_sum_digits(first, end, &sum);
  *value = (int64_t)sum;
  return c->at - first >= least;
}

/* What follows a decimal point, in millionths; nothing at all is zero. */
static inline bool lpg_fraction(lpg_cursor *c, int64_t *micro)
{
  *micro = 0;
  if (!lpg_accept(c, '.'))
    return true;
  const char *first = c->at;
  if (!lpg_digits(c, 1, 6, micro))
    return false;
  for (ptrdiff_t n = c->at - first; n < 6; n++)
    *micro *= 10;
  return true;
}

/* At least `width` digits; answers where it ended. */
static inline char *lpg_put_digits(char *at, uint64_t value, int width)
{
  char digits[20];
  int n = 0;
  do {
    digits[n++] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  for (; width > n; width--)
    *at++ = '0';
  while (n)
    *at++ = digits[--n];
  return at;
}

/* ".25" for 250000 millionths, nothing for zero. */
static inline char *lpg_put_fraction(char *at, uint64_t micro)
{
  if (!micro)
    return at;
  int n = 6;
  for (; micro % 10 == 0; n--)
    micro /= 10;
  *at = '.';
  for (int i = n; i > 0; i--, micro /= 10)
    at[i] = (char)('0' + micro % 10);
  return at + n + 1;
}

static inline char *lpg_put_text(char *at, const char *text)
{
  size_t n = strlen(text);
  memcpy(at, text, n);
  return at + n;
}

/* Two lower-case hexadecimal digits. */
static inline char *lpg_put_hex(char *at, unsigned byte)
{
  static const char digits[16] = "0123456789abcdef";
  *at++ = digits[byte >> 4 & 15];
  *at++ = digits[byte & 15];
  return at;
}

#endif
