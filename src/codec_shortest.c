/* SPDX-License-Identifier: MIT */
/* codec_shortest: the fewest decimal digits that read back as the same float8
 * or float4. Knows no locale: of what libc prints only the digits are read. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_text.h"

/* What reads back as a float lies strictly between these. */
typedef struct gap {
  double low, high;
} gap;

static double float_of_bits(uint32_t bits)
{
  float value;
  memcpy(&value, &bits, sizeof value);
  return (double)value;
}

/* The middles towards the neighbours; for a positive, finite float. Above the
 * greatest stands 2^128, as if it were one. */
static gap gap_of(float value)
{
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  double middle = (double)value, below = float_of_bits(bits - 1);
  double above = value < FLT_MAX ? float_of_bits(bits + 1) : 0x1p128;
  return (gap){(below + middle) / 2, (middle + above) / 2};
}

/* The decimal of so many digits that is nearest to an everyday value: one
 * whose scaling is exact, or as good as, in doubles. */
static bool nearest_quickly(double value, int digits, lpg_decimal *d)
{
  if (FLT_EVAL_METHOD != 0 || digits > 15 || value < 1e-3 ||
      value >= lpg_ten[digits])
    return false;
  int power = value < 1 ? digits - 1 : 0;
  while (value * lpg_ten[power] < lpg_ten[digits - 1])
    power++;
  double scaled = value * lpg_ten[power];
  uint64_t whole = (uint64_t)scaled;
  double rest = scaled - (double)whole;
  whole += rest > 0.5 || (rest == 0.5 && (whole & 1));
  *d = (lpg_decimal){whole, -power};
  return true;
}

/* The same for more digits and values, by integers. */
static bool nearest_exactly(double value, int digits, lpg_decimal *d)
{
  int exponent;
  frexp(value, &exponent);
  /* As many tens as a power of two below it has: one too few, perhaps. */
  int power = digits - 1 - (int)floor((exponent - 1) * 0.30103);
  if (!lpg_decimal_scale(value, power, &d->digits) ||
      (d->digits >= (uint64_t)lpg_ten[digits] &&
       !lpg_decimal_scale(value, --power, &d->digits)))
    return false;
  d->exponent = -power;
  return true;
}

static void nearest(double value, int digits, lpg_decimal *d)
{
  if (nearest_quickly(value, digits, d) || nearest_exactly(value, digits, d))
    return;
  char text[64];
  snprintf(text, sizeof text, "%.*e", digits - 1, value);
  d->digits = 0;
  char *at = text;
  for (; *at != 'e'; at++)
    if (*at >= '0' && *at <= '9')
      d->digits = d->digits * 10 + (uint64_t)(*at - '0');
  lpg_integer_parse(at + 1, strlen(at + 1), &d->exponent);
  d->exponent -= digits - 1;
}

/* As many as the exact middle of any two floats has. */
enum { MIDDLE_DIGITS = 120 };

/* The sign of the decimal minus the middle, of which it may be so near that
 * its double is the middle itself. */
static int compare(const lpg_decimal *d, double middle)
{
  char text[MIDDLE_DIGITS + 16], digits[24], *to = text, *at = text;
  snprintf(text, sizeof text, "%.*e", MIDDLE_DIGITS - 1, middle);
  size_t n = (size_t)(lpg_put_digits(digits, d->digits, 1) - digits);
  for (; *at != 'e'; at++)
    if (*at >= '0' && *at <= '9')
      *to++ = *at;
  int64_t power, own = d->exponent + (int64_t)n - 1;
  lpg_integer_parse(at + 1, strlen(at + 1), &power);
  if (own != power)
    return own < power ? -1 : 1;
  int order = memcmp(digits, text, n);
  for (at = text + n; order == 0 && at < to; at++)
    order = '0' - *at;
  return order;
}

/* Does the decimal, whose double is `back`, read back as the float? */
static bool is_inside(const gap *fits, const lpg_decimal *d, double back)
{
  if (back == fits->low)
    return compare(d, back) > 0;
  if (back == fits->high)
    return compare(d, back) < 0;
  return back > fits->low && back < fits->high;
}

/* Finds it between `first` and `last` digits, the last always being enough.
 * Below a power of two the gap is half as wide as above: the nearest decimal
 * can be outside it and the next one inside. */
static double shortest_float(float value, lpg_decimal *d)
{
  gap fits = gap_of(value);
  int digits = value < FLT_MIN ? 1 : FLT_DIG;
  for (;; digits++) {
    nearest((double)value, digits, d);
    double back = lpg_decimal_value(*d);
    if (is_inside(&fits, d, back) || digits == FLT_DECIMAL_DIG)
      return back;
    d->digits++;
    back = lpg_decimal_value(*d);
    if (is_inside(&fits, d, back))
      return back;
  }
}

static void shortest_double(double value, lpg_decimal *d)
{
  int digits = value < DBL_MIN ? 1 : DBL_DIG;
  for (;; digits++) {
    nearest(value, digits, d);
    if (digits == DBL_DECIMAL_DIG || lpg_decimal_value(*d) == value)
      return;
    d->digits++;
    if (lpg_decimal_value(*d) == value)
      return;
  }
}

double lpg_float4_value(float value)
{
  double size = fabs((double)value);
  /* Integers in this range have no shorter decimal than themselves. */
  if (!(size < (double)INFINITY) || size == 0 ||
      (size < 0x1p24 && (double)(int32_t)value == (double)value))
    return (double)value;
  lpg_decimal d;
  double back = shortest_float(value < 0 ? -value : value, &d);
  return value < 0 ? -back : back;
}

/* `digits` with the point after `point` of them: 0.0012, 12.5, 1.2e+300. */
static char *put_decimal(char *at, const char *digits, size_t n, int64_t point)
{
  if (point > -4 && point <= 0) {
    at = lpg_put_text(at, "0.");
    for (; point < 0; point++)
      *at++ = '0';
    memcpy(at, digits, n);
    return at + n;
  }
  bool plain = point > 0 && (size_t)point < n;
  size_t before = plain ? (size_t)point : 1;
  memcpy(at, digits, before);
  at += before;
  if (n > before) {
    *at++ = '.';
    memcpy(at, digits + before, n - before);
    at += n - before;
  }
  if (!plain) {
    *at++ = 'e';
    at += lpg_integer_text(point - 1, at);
  }
  return at;
}

size_t lpg_float_text(double value, char *text)
{
  char *at = text;
  if (isnan(value)) {
    at = lpg_put_text(at, "NaN");
    *at = '\0';
    return 3;
  }
  bool negative = signbit(value);
  if (negative) {
    *at++ = '-';
    value = -value;
  }
  if (isinf(value)) {
    at = lpg_put_text(at, "Infinity");
  } else if ((value < 0x1p63 || (negative && value == 0x1p63)) &&
             (double)(uint64_t)value == value) {
    at = lpg_put_digits(at, (uint64_t)value, 1);
  } else {
    lpg_decimal d;
    shortest_double(value, &d);
    char digits[24];
    char *end = lpg_put_digits(digits, d.digits, 1);
    int64_t point = end - digits + d.exponent;
    while (end[-1] == '0')
      end--;
    at = put_decimal(at, digits, (size_t)(end - digits), point);
  }
  *at = '\0';
  return (size_t)(at - text);
}
