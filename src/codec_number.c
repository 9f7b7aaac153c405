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
  uint64_t sum = 0;
  const char *at = lpg_sum_digits(c.at, c.end, &sum);
  if (at == c.at || at != c.end)
    return false;
  while (at - c.at > LPG_EXACT && *c.at == '0')
    c.at++;
  if (at - c.at > LPG_EXACT || sum > (uint64_t)INT64_MAX + negative)
    return false;
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
  /* Nowhere near the ends of a double's range. */
  uint64_t bits = (uint64_t)(power + 11 + 1023) << 52;
  double factor;
  memcpy(&factor, &bits, sizeof factor);
  return (double)top * factor;
}

/* The bits of a double, times 5^power, are exact in 116 bits. */
bool lpg_decimal_scale(double value, int power, uint64_t *whole)
{
  int exponent;
  double half = frexp(value, &exponent);
  int shift = 53 - exponent - power;
  if (power < 0 || power > FIVES || shift > 127 || shift < -63)
    return false;
  wide product = (wide)(uint64_t)(half * 0x1p53) * five[power], rest = 0;
  wide unit = (wide)1 << (shift > 0 ? shift : 0);
  if (shift > 0) {
    rest = product & (unit - 1);
    product >>= shift;
  } else if (product >> (64 + shift)) {
    return false;
  } else {
    product <<= -shift;
  }
  product += rest > unit / 2 || (rest == unit / 2 && rest && (product & 1));
  *whole = (uint64_t)product;
  return product >> 64 == 0;
}
#else
bool lpg_decimal_scale(double value, int power, uint64_t *whole)
{
  (void)value;
  (void)power;
  (void)whole;
  return false;
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

/* A number of many digits. Without the zeros at both ends it may have few. No
 * more than 768 digits decide how a double is rounded, but for whether anything
 * follows them. */
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
  for (; n && !rest && digits[n - 1] == '0'; n--)
    exponent++;
  if (n <= LPG_EXACT) {
    lpg_decimal d = {0, exponent};
    lpg_sum_digits(digits, digits + n, &d.digits);
    return lpg_decimal_value(d);
  }
  if (rest) {
    digits[n++] = '1';
    exponent--;
  }
  return scale_slowly(digits, n, exponent);
}

const char *lpg_decimal_read(const char *at, const char *end, lpg_decimal *d,
                             ptrdiff_t *count)
{
  const char *first = at, *point = lpg_sum_digits(at, end, &d->digits);
  *count = point - first;
  if (point == end || *point != '.')
    return point;
  at = lpg_sum_digits(point + 1, end, &d->digits);
  d->exponent = point + 1 - at;
  *count -= d->exponent;
  if (*count <= LPG_EXACT)
    return at;
  const char *last = at; /* a numeric has zeros at its end */
  while (last - point > 2 && last[-1] == '0')
    last--;
  d->digits = 0;
  lpg_sum_digits(first, point, &d->digits);
  lpg_sum_digits(point + 1, last, &d->digits);
  d->exponent = point + 1 - last;
  *count -= at - last;
  return at;
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
  int64_t exponent;
  ptrdiff_t n;
  c.at = lpg_decimal_read(c.at, c.end, &d, &n);
  if (n > 0) {
    digits.end = c.at;
    if (!read_exponent(&c, &exponent))
      return false;
    d.exponent += exponent;
    *value =
        n <= LPG_EXACT ? lpg_decimal_value(d) : scale_long(digits, exponent);
  } else if (!read_word(c, value)) {
    return false;
  }
  if (negative)
    *value = -*value;
  return true;
}
