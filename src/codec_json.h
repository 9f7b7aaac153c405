/* SPDX-License-Identifier: MIT */
/* codec_json: how JSON spells strings: what must be escaped, escapes to bytes
 * and bytes to escapes. Knows neither Lua nor libpq. Inline, because a string
 * is short and a document has many. */
#ifndef LPG_CODEC_JSON_H
#define LPG_CODEC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The bytes that a string cannot hold as they are. */
/* clang-format off */
static const unsigned char lpg_json_stops[256] = {
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, /* 0x00 */
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, /* 0x10 */
    ['"'] = 1, ['\\'] = 1,
};
/* clang-format on */

static inline bool lpg_json_plain(char c)
{
  return !lpg_json_stops[(unsigned char)c];
}

/* Of eight bytes, the top bit of those that are stops, and of some after the
 * first that are not: subtracting n from each byte borrows into the top bit of
 * those that are smaller. Bit 1 turned, a quote and what is below a space, and
 * nothing else, are below 0x21. */
static inline uint64_t lpg_json_hits(uint64_t word)
{
  const uint64_t ones = UINT64_C(0x0101010101010101);
  uint64_t low = (word ^ ones * 2) - ones * 0x21;
  uint64_t backslash = (word ^ ones * '\\') - ones;
  return (low | backslash) & ~word & ones * 0x80;
}

/* The first byte at or after p that a string cannot hold as it is. */
static inline const char *lpg_json_span(const char *p, const char *end)
{
  for (; end - p >= 8; p += 8) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    uint64_t hits = lpg_json_hits(word);
    if (!hits)
      continue;
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return p + __builtin_ctzll(hits) / 8;
#else
    break;
#endif
  }
  while (p < end && lpg_json_plain(*p))
    p++;
  return p;
}

/* Four hexadecimal digits, or -1. */
static inline int32_t lpg_json_hex(const char *p, const char *end)
{
  if (end - p < 4)
    return -1;
  int32_t value = 0;
  for (int i = 0; i < 4; i++) {
    char c = p[i], lower = (char)(c | 0x20);
    if (c >= '0' && c <= '9')
      value = value * 16 + (c - '0');
    else if (lower >= 'a' && lower <= 'f')
      value = value * 16 + (lower - 'a' + 10);
    else
      return -1;
  }
  return value;
}

/* The code point after "\u", surrogate pairs joined, or -1. Moves *from. */
static inline int32_t lpg_json_code_point(const char **from, const char *end)
{
  int32_t code = lpg_json_hex(*from, end);
  if (code < 0)
    return -1;
  *from += 4;
  if (code < 0xd800 || code > 0xdfff)
    return code;
  if (code > 0xdbff || end - *from < 6 || memcmp(*from, "\\u", 2) != 0)
    return -1;
  int32_t low = lpg_json_hex(*from + 2, end);
  if (low < 0xdc00 || low > 0xdfff)
    return -1;
  *from += 6;
  return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

/* Writes UTF-8, never longer than the escape it came from. */
static inline char *lpg_json_put_utf8(char *to, int32_t code)
{
  if (code < 0x80) {
    *to++ = (char)code;
    return to;
  }
  if (code < 0x800) {
    *to++ = (char)(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      *to++ = (char)(0xe0 | code >> 12);
    } else {
      *to++ = (char)(0xf0 | code >> 18);
      *to++ = (char)(0x80 | (code >> 12 & 0x3f));
    }
    *to++ = (char)(0x80 | (code >> 6 & 0x3f));
  }
  *to++ = (char)(0x80 | (code & 0x3f));
  return to;
}

/* Writes what the escape at *from, after its backslash, stands for; NULL when
 * it stands for nothing. */
static inline char *lpg_json_unescape(const char **from, const char *end,
                                      char *to)
{
  switch (*(*from)++) {
  case 'u': {
    int32_t code = lpg_json_code_point(from, end);
    return code < 0 ? NULL : lpg_json_put_utf8(to, code);
  }
  case '"':
    *to = '"';
    break;
  case '\\':
    *to = '\\';
    break;
  case '/':
    *to = '/';
    break;
  case 'b':
    *to = '\b';
    break;
  case 'f':
    *to = '\f';
    break;
  case 'n':
    *to = '\n';
    break;
  case 'r':
    *to = '\r';
    break;
  case 't':
    *to = '\t';
    break;
  default:
    return NULL;
  }
  return to + 1;
}

/* Writes the escape of a byte that is in lpg_json_stops. */
static inline char *lpg_json_escape(char *to, unsigned char c)
{
  static const char letters[] = "btn?fr"; /* from 0x08; 0x0b has none */
  static const char hex[] = "0123456789abcdef";
  *to++ = '\\';
  if (c == '"' || c == '\\') {
    *to++ = (char)c;
  } else if (c >= '\b' && c <= '\r' && c != '\v') {
    *to++ = letters[c - '\b'];
  } else {
    memcpy(to, "u00", 3);
    to[3] = hex[c >> 4];
    to[4] = hex[c & 15];
    to += 5;
  }
  return to;
}

#endif
