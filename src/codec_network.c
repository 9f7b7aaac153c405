/* SPDX-License-Identifier: MIT */
/* codec_network: the binary form of identifiers and addresses (uuid, inet,
 * cidr, macaddr, pg_lsn) to the text that PostgreSQL prints. */
#include <lua.h>
#include <string.h>

#include "bytes.h"
#include "codec_rows.h"
#include "codec_text.h"

static const char not_address[] = "not a network address";

static void push(lua_State *L, const char *text, const char *end)
{
  lua_pushlstring(L, text, (size_t)(end - text));
}

const char *lpg_uuid_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  if (length != 16)
    return "not a uuid";
  char text[36], *at = text;
  for (size_t i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      *at++ = '-';
    at = lpg_put_hex(at, (unsigned char)bytes[i]);
  }
  push(L, text, at);
  return NULL;
}

/* macaddr and macaddr8. */
const char *lpg_macaddr_binary(lua_State *L, const lpg_type *type,
                               const lpg_view *view, const char *bytes,
                               size_t length)
{
  (void)type;
  (void)view;
  if (length != 6 && length != 8)
    return "not a MAC address";
  char text[24], *at = text;
  for (size_t i = 0; i < length; i++) {
    if (i)
      *at++ = ':';
    at = lpg_put_hex(at, (unsigned char)bytes[i]);
  }
  push(L, text, at);
  return NULL;
}

static char *put_word(char *at, unsigned word)
{
  bool begun = false;
  for (int shift = 12; shift >= 0; shift -= 4) {
    unsigned digit = word >> shift & 15;
    begun |= digit || shift == 0;
    if (begun)
      *at++ = "0123456789abcdef"[digit];
  }
  return at;
}

static char *put_v4(char *at, const unsigned char *address)
{
  for (size_t i = 0; i < 4; i++) {
    if (i)
      *at++ = '.';
    at = lpg_put_digits(at, address[i], 1);
  }
  return at;
}

/* The first longest run of two or more zero words; none: length 0. */
static size_t longest_zeros(const unsigned *words, size_t *length)
{
  size_t best = 0, run = 0;
  *length = 0;
  for (size_t i = 0; i < 8; i++) {
    run = words[i] ? 0 : run + 1;
    if (run > *length && run > 1) {
      *length = run;
      best = i + 1 - run;
    }
  }
  return best;
}

static char *put_v6(char *at, const unsigned char *address)
{
  unsigned words[8];
  for (size_t i = 0; i < 8; i++)
    words[i] = (unsigned)address[2 * i] << 8 | address[2 * i + 1];
  size_t length, zeros = longest_zeros(words, &length);
  /* An IPv4 address in IPv6's clothes is written as one. */
  bool v4 = zeros == 0 && (length == 6 || (length == 5 && words[5] == 0xffff));
  for (size_t i = 0; i < 8;) {
    if (length && i == zeros) {
      *at++ = ':';
      i += length;
      if (i == 8) {
        *at++ = ':';
        break;
      }
    }
    if (i)
      *at++ = ':';
    if (v4 && i == 6)
      return put_v4(at, address + 12);
    at = put_word(at, words[i++]);
  }
  return at;
}

static const char *address(lua_State *L, const char *bytes, size_t length,
                           bool always_bits)
{
  lpg_span s = lpg_span_of(bytes, length);
  unsigned family = lpg_u8(&s), bits = lpg_u8(&s);
  lpg_u8(&s); /* whether it is a cidr: the type says so */
  unsigned size = lpg_u8(&s);
  /* PostgreSQL's own numbers of the families, not the platform's. */
  unsigned expected = family == 2 ? 4 : 16;
  if (s.short_ || (family != 2 && family != 3) || size != expected ||
      lpg_left(&s) != size || bits > size * 8)
    return not_address;
  char text[64];
  char *at = size == 4 ? put_v4(text, s.at) : put_v6(text, s.at);
  if (always_bits || bits != size * 8) {
    *at++ = '/';
    at = lpg_put_digits(at, bits, 1);
  }
  push(L, text, at);
  return NULL;
}

const char *lpg_inet_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  return address(L, bytes, length, false);
}

const char *lpg_cidr_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  return address(L, bytes, length, true);
}

const char *lpg_lsn_binary(lua_State *L, const lpg_type *type,
                           const lpg_view *view, const char *bytes,
                           size_t length)
{
  (void)type;
  (void)view;
  if (length != 8)
    return "not a log position";
  char text[24], *at = text;
  bool begun = false;
  for (size_t i = 0; i < 16; i++) {
    unsigned digit = (unsigned char)bytes[i / 2] >> (i % 2 ? 0 : 4) & 15;
    begun |= digit || i % 8 == 7;
    if (begun)
      *at++ = "0123456789ABCDEF"[digit];
    if (i == 7) {
      *at++ = '/';
      begun = false;
    }
  }
  push(L, text, at);
  return NULL;
}
