/* SPDX-License-Identifier: MIT */
/* codec_number: Lua's numbers to decimal text and back, exactly and whatever
 * the host's LC_NUMERIC: a decimal point never goes through libc. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_text.h"

const double lpg_ten[LPG_TENS + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

size_t lpg_integer_text(lua_Integer value, char *text)
{
  uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  char *at = text;
  if (value < 0)
    *at++ = '-';
  at = lpg_put_digits(at, size, 1);
  *at = '\0';
  return (size_t)(at - text);
}

bool lpg_integer_parse(const char *text, size_t length, int64_t *value)
{
  lpg_cursor c = {text, text + length};
  bool negative = lpg_accept(&c, '-');
  if (!negative)
    lpg_accept(&c, '+');
  const uint64_t limit = (uint64_t)INT64_MAX + negative;
  uint64_t sum = 0;
  if (c.at == c.end)
    return false;
  for (; c.at < c.end; c.at++) {
    unsigned digit = (unsigned)(unsigned char)*c.at - '0';
    if (digit > 9 || sum > (limit - digit) / 10)
      return false;
    sum = sum * 10 + digit;
  }
  /* The way round avoids a conversion that C leaves to the compiler. */
  *value = negative && sum ? -(int64_t)(sum - 1) - 1 : (int64_t)sum;
  return true;
}

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 wide;
enum { FIVES = 27 };

/* Powers of five up to the last below 2^63. */
/* clang-format off */
static const uint64_t five[FIVES + 1] = {
    1, 5, 25, 125, 625, 3125, 15625, 78125, 390625, 1953125, 9765625, 48828125,
    244140625, 1220703125, 6103515625, 30517578125, 152587890625, 762939453125,
    3814697265625, 19073486328125, 95367431640625, 476837158203125,
    2384185791015625, 11920928955078125, 59604644775390625, 298023223876953125,
    1490116119384765625, 7450580596923828125};
/* clang-format on */

/* Shifts until the top bit is set; answers by how much. */
static int normalize(uint64_t *bits)
{
  int shift = __builtin_clzll(*bits);
  *bits <<= shift;
  return shift;
}

/* digits * 10^exponent = digits * 5^exponent * 2^exponent: the first 64 bits
 * of the first product are exact, and `rest` says whether any bit after them
 * is set, so rounding to 53 bits is exact too. No double is involved. */
static double scale_wide(uint64_t digits, int exponent)
{
  int power = exponent;
  uint64_t top;
  bool rest = false;
  if (exponent >= 0) {
    wide product = (wide)digits * five[exponent];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if (high) {
      int shift = normalize(&high);
      top = high | (shift ? low >> (64 - shift) : 0);
      rest = low << shift != 0;
      power += 64 - shift;
    } else {
      top = low;
      power -= normalize(&top);
    }
  } else {
    uint64_t divisor = five[-exponent];
    power -= normalize(&digits);
    power += normalize(&divisor);
    wide dividend = (wide)digits << 63;
    power -= 63;
    top = (uint64_t)(dividend / divisor);
    rest = (wide)top * divisor != dividend;
    power -= normalize(&top);
  }
  uint64_t cut = top & 0x7ff;
  top >>= 11;
  top += cut > 0x400 || (cut == 0x400 && (rest || (top & 1)));
  return ldexp((double)top, power + 11);
}
#endif

/* By strtod, whose slow paths are exact; digits and exponent are integers, so
 * no decimal point is needed. */
static double scale_slowly(const char *digits, size_t length, int64_t exponent)
{
  char text[832];
  memcpy(text, digits, length);
  char *at = text + length;
  *at++ = 'e';
  /* Beyond this everything is zero or infinite, however many digits. */
  exponent = exponent > 9999 ? 9999 : exponent < -9999 ? -9999 : exponent;
  lpg_integer_text(exponent, at);
  return strtod(text, NULL);
}

double lpg_decimal_value(lpg_decimal d)
{
  if (d.digits == 0)
    return 0;
  bool small = d.exponent >= -LPG_TENS && d.exponent <= LPG_TENS;
  if (FLT_EVAL_METHOD == 0 && small && d.digits >> 53 == 0)
    return d.exponent < 0 ? (double)d.digits / lpg_ten[-d.exponent]
                          : (double)d.digits * lpg_ten[d.exponent];
#ifdef __SIZEOF_INT128__
  if (d.exponent >= -FIVES && d.exponent <= FIVES)
    return scale_wide(d.digits, (int)d.exponent);
#endif
  char text[24];
  size_t n = (size_t)(lpg_put_digits(text, d.digits, 1) - text);
  return scale_slowly(text, n, d.exponent);
}

/* A number whose digits do not fit in 64 bits. No more than 768 digits decide
 * how a double is rounded, but for whether anything follows them. */
static double scale_long(lpg_cursor c, int64_t exponent)
{
  char digits[800];
  size_t n = 0;
  bool point = false, rest = false;
  for (; c.at < c.end; c.at++) {
    if (*c.at == '.') {
      point = true;
    } else if (n < sizeof digits - 1) {
      if (n || *c.at != '0')
        digits[n++] = *c.at;
      exponent -= point;
    } else {
      rest |= *c.at != '0';
      exponent += !point;
    }
  }
  if (rest) {
    digits[n++] = '1';
    exponent--;
  }
  return scale_slowly(digits, n, exponent);
}

/* Digits with at most one point among them. `whole`: all of them are in d. */
static bool read_digits(lpg_cursor *c, lpg_decimal *d, bool *whole)
{
  bool point = false, any = false;
  for (; c->at < c->end; c->at++) {
    unsigned digit = (unsigned)(unsigned char)*c->at - '0';
    if (digit <= 9) {
      any = true;
      if (d->digits <= (UINT64_MAX - 9) / 10) {
        d->digits = d->digits * 10 + digit;
        d->exponent -= point;
      } else {
        *whole &= digit == 0;
        d->exponent += !point;
      }
    } else if (*c->at == '.' && !point) {
      point = true;
    } else {
      break;
    }
  }
  return any;
}

/* "e-12"; what is far beyond a double's range is capped, not refused. */
static bool read_exponent(lpg_cursor *c, int64_t *exponent)
{
  *exponent = 0;
  if (c->at == c->end)
    return true;
  if (!lpg_accept(c, 'e') && !lpg_accept(c, 'E'))
    return false;
  bool negative = lpg_accept(c, '-');
  if (!negative)
    lpg_accept(c, '+');
  while (c->end - c->at > 1 && *c->at == '0')
    c->at++;
  if (!lpg_digits(c, 1, 18, exponent))
    return false;
  for (int64_t more; c->at < c->end && lpg_digits(c, 1, 1, &more);)
    *exponent = INT64_MAX / 4;
  *exponent = negative ? -*exponent : *exponent;
  return c->at == c->end;
}

static bool same_word(lpg_cursor c, const char *lower)
{
  for (; *lower; lower++, c.at++)
    if (c.at == c.end || (*c.at | 0x20) != *lower)
      return false;
  return c.at == c.end;
}

static bool read_word(lpg_cursor c, double *value)
{
  if (same_word(c, "nan"))
    *value = (double)NAN;
  else if (same_word(c, "infinity") || same_word(c, "inf"))
    *value = (double)INFINITY;
  else
    return false;
  return true;
}

bool lpg_float_parse(const char *text, size_t length, double *value)
{
  lpg_cursor c = {text, text + length};
  bool negative = lpg_accept(&c, '-');
  if (!negative)
    lpg_accept(&c, '+');
  lpg_cursor digits = c;
  lpg_decimal d = {0, 0};
  bool whole = true;
  int64_t exponent;
  if (read_digits(&c, &d, &whole)) {
    digits.end = c.at;
    if (!read_exponent(&c, &exponent))
      return false;
    d.exponent += exponent;
    *value = whole ? lpg_decimal_value(d) : scale_long(digits, exponent);
  } else if (!read_word(c, value)) {
    return false;
  }
  if (negative)
    *value = -*value;
  return true;
}
