/* SPDX-License-Identifier: MIT */
/* codec_interval: spans of time as ISO 8601 durations, spelt as PostgreSQL's
 * IntervalStyle iso_8601 does: a sign for each field, "PT0S" for nothing. */
#include <lua.h>

#include "bytes.h"
#include "codec_rows.h"
#include "codec_text.h"

static const char not_interval[] = "not an interval";

enum { MICROS = 1000000, ROOM = 160 };

typedef struct duration {
  int64_t year, month, day, hour, minute, second, micro;
} duration;

static char *put_field(char *at, int64_t value, char unit)
{
  if (value == 0)
    return at;
  if (value < 0)
    *at++ = '-';
  at = lpg_put_digits(at, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 1);
  *at++ = unit;
  return at;
}

static void push_duration(lua_State *L, const duration *d)
{
  char text[ROOM], *at = text;
  *at++ = 'P';
  at = put_field(at, d->year, 'Y');
  at = put_field(at, d->month, 'M');
  at = put_field(at, d->day, 'D');
  if (d->hour || d->minute || d->second || d->micro)
    *at++ = 'T';
  at = put_field(at, d->hour, 'H');
  at = put_field(at, d->minute, 'M');
  if (d->second || d->micro) {
    int64_t sign = d->second < 0 || d->micro < 0 ? -1 : 1;
    if (sign < 0)
      *at++ = '-';
    at = lpg_put_digits(at, (uint64_t)(sign * d->second), 1);
    at = lpg_put_fraction(at, (uint64_t)(sign * d->micro));
    *at++ = 'S';
  }
  if (at == text + 1)
    at = lpg_put_text(at, "T0S");
  lua_pushlstring(L, text, (size_t)(at - text));
}

/* "04:05:06.789", to which the sign belongs as a whole. The hours have been
 * read already. */
static bool read_clock(lpg_cursor *c, int64_t hour, int64_t sign, duration *d)
{
  if (!lpg_accept(c, ':') || !lpg_digits(c, 2, 2, &d->minute) ||
      !lpg_accept(c, ':') || !lpg_digits(c, 2, 2, &d->second) ||
      !lpg_fraction(c, &d->micro) || d->minute > 59 || d->second > 59)
    return false;
  d->hour = sign * hour;
  d->minute *= sign;
  d->second *= sign;
  d->micro *= sign;
  return c->at == c->end;
}

static bool read_unit(lpg_cursor *c, const char *unit)
{
  size_t n = strlen(unit);
  if ((size_t)(c->end - c->at) < n || memcmp(c->at, unit, n) != 0)
    return false;
  c->at += n;
  lpg_accept(c, 's');
  return c->at == c->end || *c->at == ' ';
}

/* IntervalStyle postgres: "1 year 2 mons -3 days +04:05:06.789". */
static bool read_postgres(lpg_cursor *c, duration *d)
{
  do {
    int64_t sign = lpg_accept(c, '-') ? -1 : 1, value;
    if (sign > 0)
      lpg_accept(c, '+');
    if (!lpg_digits(c, 1, 12, &value))
      return false;
    if (c->at < c->end && *c->at == ':')
      return read_clock(c, value, sign, d);
    if (!lpg_accept(c, ' '))
      return false;
    if (read_unit(c, "year"))
      d->year = sign * value;
    else if (read_unit(c, "mon"))
      d->month = sign * value;
    else if (read_unit(c, "day"))
      d->day = sign * value;
    else
      return false;
  } while (lpg_accept(c, ' '));
  return c->at == c->end;
}

/* IntervalStyle iso_8601, which is passed on as it is: fields in their order,
 * each at most once and at least one. */
static bool is_iso(lpg_cursor *c)
{
  const char *units = "YMD";
  bool any = false, time = false;
  lpg_accept(c, 'P');
  while (c->at < c->end) {
    if (!time && lpg_accept(c, 'T')) {
      units = "HMS";
      time = true;
      any = false;
      continue;
    }
    int64_t value, micro = 0;
    lpg_accept(c, '-');
    const char *unit = NULL;
    if (!lpg_digits(c, 1, 12, &value) || !lpg_fraction(c, &micro))
      return false;
    if (c->at < c->end && *c->at)
      unit = strchr(units, *c->at++);
    if (!unit || (micro && *unit != 'S'))
      return false;
    units = unit + 1;
    any = true;
  }
  return any;
}

const char *lpg_interval_text(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  (void)type;
  (void)view;
  lpg_cursor c = {bytes, bytes + length};
  if (lpg_is(bytes, length, "infinity") || lpg_is(bytes, length, "-infinity") ||
      (length && *bytes == 'P' && is_iso(&c))) {
    lua_pushlstring(L, bytes, length);
    return NULL;
  }
  duration d = {0};
  if (!read_postgres(&c, &d))
    return not_interval;
  push_duration(L, &d);
  return NULL;
}

const char *lpg_interval_binary(lua_State *L, const lpg_type *type,
                                const lpg_view *view, const char *bytes,
                                size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 16)
    return not_interval;
  int64_t micros = (int64_t)lpg_u64(&s);
  int32_t days = (int32_t)lpg_u32(&s), months = (int32_t)lpg_u32(&s);
  /* PostgreSQL 17 and later. */
  bool most = micros == INT64_MAX && days == INT32_MAX && months == INT32_MAX;
  bool least = micros == INT64_MIN && days == INT32_MIN && months == INT32_MIN;
  if (most || least) {
    lua_pushstring(L, most ? "infinity" : "-infinity");
    return NULL;
  }
  int64_t seconds = micros / MICROS;
  duration d = {.year = months / 12,
                .month = months % 12,
                .day = days,
                .hour = seconds / 3600,
                .minute = seconds / 60 % 60,
                .second = seconds % 60,
                .micro = micros % MICROS};
  push_duration(L, &d);
  return NULL;
}
