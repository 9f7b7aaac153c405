/* SPDX-License-Identifier: MIT */
/* Numbers to text and back, and instants to numbers and back, against what the
 * C library says or what they were. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "codec_rows.h"
#include "targets.h"

static uint64_t next_bits(fuzz_input *input)
{
  uint64_t bits = 0;
  for (int i = 0; i < 8; i++)
    bits = bits << 8 | fuzz_byte(input);
  return bits;
}

static void check_double(double value)
{
  char text[LPG_NUMBER];
  double back;
  size_t n = lpg_float_text(value, text);
  fuzz_expect(n < LPG_NUMBER && strlen(text) == n, "a text and its length");
  fuzz_expect(lpg_float_parse(text, n, &back), "a number's text is a number");
  fuzz_expect(isnan(value) ? isnan(back) : back == value, "the same double");
}

static void check_float(uint32_t bits)
{
  float value, back;
  memcpy(&value, &bits, sizeof value);
  back = (float)lpg_float4_value(value);
  fuzz_expect(isnan(value) ? isnan(back) : back == value, "the same float4");
}

/* What both take, both take for the same. */
static void check_text(const fuzz_input *input)
{
  size_t n = (size_t)(input->end - input->at);
  char *text = malloc(n + 1), *end;
  fuzz_expect(text, "memory");
  if (n)
    memcpy(text, input->at, n);
  text[n] = '\0';
  double value, other = strtod(text, &end);
  if (lpg_float_parse(text, n, &value) && end == text + n)
    fuzz_expect(isnan(value) ? isnan(other) : value == other, "as by strtod");
  int64_t integer;
  errno = 0;
  long long same = strtoll(text, &end, 10);
  if (lpg_integer_parse(text, n, &integer))
    fuzz_expect(end == text + n && same == integer && !errno, "as by strtoll");
  free(text);
}

void fuzz_floats(lua_State *L, fuzz_input input)
{
  (void)L;
  double value;
  check_text(&input);
  uint64_t bits = next_bits(&input);
  memcpy(&value, &bits, sizeof value);
  check_double(value);
  check_float((uint32_t)bits);
}

/* Microseconds since 2000, which timestamps = "epoch" shows exactly for 285
 * years from 1970 on, and "epoch_us" wherever an integer holds them. */
void fuzz_instants(lua_State *L, fuzz_input input)
{
  uint8_t bits = fuzz_byte(&input);
  lpg_view view = {.timestamps = bits & 1 ? LPG_EPOCH : LPG_EPOCH_US};
  int64_t micros = (int64_t)next_bits(&input) >> (bits >> 2), back;
  lpg_epoch_push(L, micros, &view);
  bool read = lpg_epoch_read(L, -1, &view, &back);
  bool held = micros >= -211813488000000000 && micros < 9223371331200000000;
  bool endless = micros == INT64_MAX || micros == INT64_MIN;
  fuzz_expect(held || endless ? read : !read || !lua_isinteger(L, -1),
              "what a timestamp holds, and nothing else");
  int64_t off = !read ? 0 : back > micros ? back - micros : micros - back;
  bool exact = endless || lua_isinteger(L, -1) ||
               (micros > -(INT64_C(1) << 52) && micros < INT64_C(1) << 52);
  fuzz_expect(off <= (exact ? 0 : 2048), "the same instant");
}
