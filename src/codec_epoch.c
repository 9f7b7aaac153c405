/* SPDX-License-Identifier: MIT */
/* codec_epoch: instants as Lua numbers, seconds or microseconds since 1970.
 * PostgreSQL's own count of microseconds begins in 2000, and its ends stand
 * for the infinities. Knows no calendar. */
#include <lua.h>
#include <math.h>

#include "codec_rows.h"

/* From 1970 to 2000, and what PostgreSQL can hold, in seconds since 2000. */
static const int64_t DISTANCE = 946684800, SECOND = 1000000;
static const int64_t FIRST = -211813488000, BEHIND = 9223371331200;

void lpg_epoch_push(lua_State *L, int64_t micros, const lpg_view *view)
{
  if (micros == INT64_MAX || micros == INT64_MIN) {
    lua_pushnumber(L, micros < 0 ? -HUGE_VAL : HUGE_VAL);
    return;
  }
  /* up to 1 % more than 63 bits hold */
  bool before = micros < -DISTANCE * SECOND;
  uint64_t size = (uint64_t)micros + (uint64_t)(DISTANCE * SECOND);
  if (before)
    size = 0 - size;
  bool seconds = view->timestamps == LPG_EPOCH;
  if (!seconds && size <= INT64_MAX) {
    lua_pushinteger(L, before ? -(lua_Integer)size : (lua_Integer)size);
    return;
  }
  double value = lpg_decimal_value((lpg_decimal){size, seconds ? -6 : 0});
  lua_pushnumber(L, before ? -value : value);
}

/* The integer below, and what is above it. */
static int64_t split(double value, double *rest)
{
  int64_t whole = (int64_t)value;
  whole -= (double)whole > value;
  *rest = value - (double)whole;
  return whole;
}

static bool set(int64_t seconds, int64_t micro, int64_t *micros)
{
  seconds -= DISTANCE;
  if (seconds < FIRST || seconds >= BEHIND)
    return false;
  *micros = seconds * SECOND + micro;
  return *micros < BEHIND * SECOND;
}

static bool set_micros(int64_t since_1970, int64_t *micros)
{
  int64_t rest = since_1970 % SECOND, before = rest < 0;
  return set(since_1970 / SECOND - before, rest + before * SECOND, micros);
}

static bool set_float(double value, bool seconds, int64_t *micros)
{
  static const double most = 1e13, behind = 9224318016000;
  double rest;
  if (!(fabs(value) < (seconds ? most : most * 1e6)))
    return false;
  if (value == (seconds ? behind : behind * 1e6)) { /* the very last, rounded */
    *micros = BEHIND * SECOND - 1;
    return true;
  }
  if (seconds) {
    int64_t whole = split(value, &rest);
    return set(whole, (int64_t)(rest * 1e6 + 0.5), micros);
  }
  if (value >= 9223372036854775808.0) { /* integral, and a multiple of 2048 */
    uint64_t all = (uint64_t)value;
    return set((int64_t)(all / 1000000), (int64_t)(all % 1000000), micros);
  }
  int64_t whole = split(value, &rest);
  return set_micros(whole + (rest >= 0.5), micros);
}

bool lpg_epoch_read(lua_State *L, int index, const lpg_view *view,
                    int64_t *micros)
{
  bool seconds = view->timestamps == LPG_EPOCH;
  if (lua_isinteger(L, index)) {
    lua_Integer value = lua_tointeger(L, index);
    return seconds ? value > INT64_MIN + DISTANCE && set(value, 0, micros)
                   : set_micros(value, micros);
  }
  double value = lua_tonumber(L, index);
  if (isinf(value)) {
    *micros = value < 0 ? INT64_MIN : INT64_MAX;
    return true;
  }
  return set_float(value, seconds, micros);
}
