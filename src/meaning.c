/* SPDX-License-Identifier: MIT */
#include "meaning.h"

#include <stdint.h>
#include <string.h>

/* The length of the UTF-8 sequence at p, or 0. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
  size_t n = *p < 0x80   ? 1
             : *p < 0xc2 ? 0
             : *p < 0xe0 ? 2
             : *p < 0xf0 ? 3
             : *p < 0xf5 ? 4
                         : 0;
  if (n > left)
    return 0;
  for (size_t i = 1; i < n; i++)
    if ((p[i] & 0xc0) != 0x80)
      return 0;
  bool bad =
      n == 3 && ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f));
  bad |= n == 4 && ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f));
  return bad ? 0 : n;
}

bool lpg_could_be_text(const char *bytes, size_t length)
{
  const unsigned char *p = (const unsigned char *)bytes, *end = p + length;
  size_t n;
  for (; p < end; p += n) {
    n = utf8_length(p, (size_t)(end - p));
    if (n == 0 || *p == 0)
      return false;
  }
  return true;
}

/* Are these eight bytes ASCII without a NUL or a backslash? A false "no" is
 * possible, a false "yes" is not: subtracting one from each byte borrows into
 * the top bit of those that are zero. */
static bool plain(const unsigned char *p)
{
  const uint64_t ones = UINT64_C(0x0101010101010101);
  uint64_t word, backslash;
  memcpy(&word, p, sizeof word);
  backslash = word ^ ones * '\\';
  return ((word | (word - ones) | (backslash - ones)) & ones * 0x80) == 0;
}

bool lpg_is_ambiguous(const char *bytes, size_t length, bool utf8)
{
  const unsigned char *p = (const unsigned char *)bytes, *end = p + length;
  while (p < end) {
    if (end - p >= 8 && plain(p)) {
      p += 8;
      continue;
    }
    if (*p == '\\' || *p == 0)
      return true;
    if (*p < 0x80) {
      p++;
      continue;
    }
    size_t n = utf8 ? utf8_length(p, (size_t)(end - p)) : 0;
    if (n == 0)
      return true;
    p += n;
  }
  return false;
}

bool lpg_fits_text_and_bytea(const char *bytes, size_t length)
{
  static const unsigned char widths[] = {1, 2, 4, 6, 8, 12, 16, 24, 32};
  for (size_t i = 0; i < sizeof widths; i++)
    if (length == widths[i])
      return false;
  return lpg_could_be_text(bytes, length);
}
