/* SPDX-License-Identifier: MIT */
/* codec_time: dates and times of day, from DateStyle ISO and from binary, as
 * ISO 8601; instants in UTC. The host's time zone plays no part. */
#include <lua.h>

#include "bytes.h"
#include "codec_calendar.h"
#include "codec_rows.h"
#include "codec_text.h"
#include "codec_write.h"

static const char not_date[] = "not an ISO date";
static const char not_time[] = "not an ISO time";
static const char not_timestamp[] = "not an ISO timestamp";

enum { ROOM = 64 };

static void push(lua_State *L, const char *text, const char *end)
{
  lua_pushlstring(L, text, (size_t)(end - text));
}

/* "infinity" and "-infinity" are values of every type with a date. */
static const char *infinity(bool before)
{
  return before ? "-infinity" : "infinity";
}

static bool is_infinity(const char *bytes, size_t length)
{
  bool sign = *bytes == '-';
  return bytes[sign] == 'i' && lpg_is(bytes, length, infinity(sign));
}

/* Reading. */

static inline bool read_two(lpg_cursor *c, int64_t *value)
{
  if (c->end - c->at < 2)
    return false;
  unsigned tens = (unsigned)(unsigned char)c->at[0] - '0';
  unsigned ones = (unsigned)(unsigned char)c->at[1] - '0';
  *value = tens * 10 + ones;
  c->at += 2;
  return tens <= 9 && ones <= 9;
}

static bool read_date(lpg_cursor *c, lpg_moment *m)
{
  return lpg_digits(c, 4, 9, &m->year) && lpg_accept(c, '-') &&
         read_two(c, &m->month) && lpg_accept(c, '-') && read_two(c, &m->day);
}

/* What stands at the end of a date, or of a timestamp after its offset; the
 * date is whole then and can be judged. */
static bool read_era(lpg_cursor *c, lpg_moment *m)
{
  if (c->end - c->at == 3 && memcmp(c->at, " BC", 3) == 0) {
    m->year = 1 - m->year;
    c->at = c->end;
  }
  return c->at == c->end && m->month >= 1 && m->month <= 12 && m->day >= 1 &&
         m->day <= lpg_month_length(m);
}

static bool read_clock(lpg_cursor *c, lpg_moment *m)
{
  return read_two(c, &m->hour) && m->hour <= 24 && lpg_accept(c, ':') &&
         read_two(c, &m->minute) && m->minute < 60 && lpg_accept(c, ':') &&
         read_two(c, &m->second) && m->second <= 60 &&
         lpg_fraction(c, &m->micro);
}

/* "+05:30" and "-00:19:32" in seconds. */
static bool read_offset(lpg_cursor *c, int64_t *offset)
{
  bool west = lpg_accept(c, '-');
  int64_t minute = 0, second = 0;
  if ((!west && !lpg_accept(c, '+')) || !read_two(c, offset) ||
      (lpg_accept(c, ':') && !read_two(c, &minute)) ||
      (lpg_accept(c, ':') && !read_two(c, &second)) || minute > 59 ||
      second > 59)
    return false;
  *offset = *offset * 3600 + minute * 60 + second;
  if (west)
    *offset = -*offset;
  return true;
}

/* Writing; each answers where it ended. */

static char *put_two(char *at, int64_t value)
{
  at[0] = (char)('0' + value / 10);
  at[1] = (char)('0' + value % 10);
  return at + 2;
}

static char *put_date(char *at, const lpg_moment *m)
{
  int64_t year = m->year > 0 ? m->year : 1 - m->year;
  if (year <= 9999)
    at = put_two(put_two(at, year / 100), year % 100);
  else
    at = lpg_put_digits(at, (uint64_t)year, 5);
  *at++ = '-';
  at = put_two(at, m->month);
  *at++ = '-';
  return put_two(at, m->day);
}

static char *put_era(char *at, const lpg_moment *m)
{
  return m->year > 0 ? at : lpg_put_text(at, " BC");
}

static char *put_clock(char *at, const lpg_moment *m)
{
  at = put_two(at, m->hour);
  *at++ = ':';
  at = put_two(at, m->minute);
  *at++ = ':';
  at = put_two(at, m->second);
  return lpg_put_fraction(at, (uint64_t)m->micro);
}

static char *put_offset(char *at, int64_t offset)
{
  *at++ = offset < 0 ? '-' : '+';
  int64_t size = offset < 0 ? -offset : offset;
  at = put_two(at, size / 3600);
  *at++ = ':';
  at = put_two(at, size / 60 % 60);
  if (size % 60 == 0)
    return at;
  *at++ = ':';
  return put_two(at, size % 60);
}

static void push_moment(lua_State *L, const lpg_moment *m, bool utc)
{
  char text[ROOM];
  char *at = put_date(text, m);
  *at++ = 'T';
  at = put_clock(at, m);
  if (utc)
    *at++ = 'Z';
  push(L, text, put_era(at, m));
}

/* The types. */

const char *lpg_date_text(lua_State *L, const lpg_type *type,
                          const lpg_view *view, const char *bytes,
                          size_t length)
{
  (void)type;
  (void)view;
  lpg_moment m = {0};
  lpg_cursor c = {bytes, bytes + length};
  bool infinite = is_infinity(bytes, length);
  if (!infinite && (!read_date(&c, &m) || !read_era(&c, &m)))
    return not_date;
  lua_pushlstring(L, bytes, length);
  return NULL;
}

const char *lpg_date_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 4)
    return not_date;
  int32_t days = (int32_t)lpg_u32(&s);
  if (days == INT32_MAX || days == INT32_MIN) {
    lua_pushstring(L, infinity(days < 0));
    return NULL;
  }
  lpg_moment m = {0};
  lpg_set_days(&m, days);
  char text[ROOM];
  push(L, text, put_era(put_date(text, &m), &m));
  return NULL;
}

const char *lpg_time_text(lua_State *L, const lpg_type *type,
                          const lpg_view *view, const char *bytes,
                          size_t length)
{
  (void)type;
  (void)view;
  lpg_moment m = {0};
  lpg_cursor c = {bytes, bytes + length};
  if (!read_clock(&c, &m) || c.at != c.end)
    return not_time;
  char text[ROOM];
  push(L, text, put_clock(text, &m));
  return NULL;
}

/* Microseconds since midnight, 24:00:00 included. */
static bool read_day_time(lpg_span *s, lpg_moment *m)
{
  int64_t micros = (int64_t)lpg_u64(s);
  if (s->short_ || micros < 0 || micros > (int64_t)LPG_DAY * LPG_MICROS)
    return false;
  lpg_set_clock(m, micros);
  return true;
}

const char *lpg_time_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  lpg_moment m = {0};
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 8 || !read_day_time(&s, &m))
    return not_time;
  char text[ROOM];
  push(L, text, put_clock(text, &m));
  return NULL;
}

const char *lpg_timetz_text(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  lpg_moment m = {0};
  int64_t offset;
  lpg_cursor c = {bytes, bytes + length};
  if (!read_clock(&c, &m) || !read_offset(&c, &offset) || c.at != c.end)
    return not_time;
  char text[ROOM];
  push(L, text, put_offset(put_clock(text, &m), offset));
  return NULL;
}

const char *lpg_timetz_binary(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  (void)type;
  (void)view;
  lpg_moment m = {0};
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 12 || !read_day_time(&s, &m))
    return not_time;
  int64_t west = (int32_t)lpg_u32(&s);
  if (west <= -LPG_DAY || west >= LPG_DAY)
    return not_time;
  char text[ROOM];
  push(L, text, put_offset(put_clock(text, &m), -west));
  return NULL;
}

/* Microseconds since 2000; false where no timestamp can be. */
static bool micros_of(const lpg_moment *m, int64_t *micros)
{
  int64_t days = lpg_days_of(m);
  *micros = 0;
  if (days < LPG_FIRST_DAY || days > LPG_LAST_DAY)
    return false;
  *micros = (days * LPG_DAY + m->hour * 3600 + m->minute * 60 + m->second) *
            LPG_MICROS;
  *micros += m->micro;
  return true;
}

static void set_micros(lpg_moment *m, int64_t micros)
{
  const int64_t day = (int64_t)LPG_DAY * LPG_MICROS;
  int64_t rest = micros % day;
  lpg_set_days(m, lpg_floor_divide(micros, day));
  lpg_set_clock(m, rest < 0 ? rest + day : rest);
}

/* The ends of PostgreSQL's count stand for the infinities. */
static bool endless(int64_t micros)
{
  return micros == INT64_MAX || micros == INT64_MIN;
}

/* Answers also where the time of day ends. */
static bool read_timestamp(lpg_cursor *c, lpg_moment *m, bool utc,
                           int64_t *offset, const char **end)
{
  if (!read_date(c, m) || !lpg_accept(c, ' ') || !read_clock(c, m))
    return false;
  *end = c->at;
  return (!utc || read_offset(c, offset)) && read_era(c, m);
}

/* Moves a time with this offset to UTC. */
static void shift(lpg_moment *m, int64_t offset)
{
  int64_t seconds = m->hour * 3600 + m->minute * 60 + m->second - offset;
  int64_t days = lpg_floor_divide(seconds, LPG_DAY), micro = m->micro;
  if (days)
    lpg_set_days(m, lpg_days_of(m) + days);
  lpg_set_clock(m, (seconds - days * LPG_DAY) * LPG_MICROS + micro);
}

/* Is a time that was read up to `end` written as it would be here? Its year has
 * four digits then, and its fraction no zeros behind it. */
static bool is_usual(const char *bytes, const char *end)
{
  return bytes[4] == '-' && (end[-1] != '0' || end[-3] == ':');
}

/* What was read is what is written, but for the marks. */
static void push_same(lua_State *L, const lpg_moment *m, const char *bytes,
                      const char *end, bool utc)
{
  char text[ROOM];
  size_t length = (size_t)(end - bytes);
  memcpy(text, bytes, length);
  text[sizeof "2026-01-15" - 1] = 'T';
  char *at = text + length;
  if (utc)
    *at++ = 'Z';
  push(L, text, put_era(at, m));
}

static const char *timestamp_text(lua_State *L, const lpg_view *view,
                                  const char *bytes, size_t length, bool utc)
{
  lpg_moment m;
  int64_t offset = 0, micros = *bytes == '-' ? INT64_MIN : INT64_MAX;
  lpg_cursor c = {bytes, bytes + length};
  const char *end;
  bool infinite = is_infinity(bytes, length);
  if (!infinite && !read_timestamp(&c, &m, utc, &offset, &end))
    return not_timestamp;
  if (view->timestamps != LPG_ISO) {
    if (!infinite && !micros_of(&m, &micros))
      return not_timestamp;
    lpg_epoch_push(L, infinite ? micros : micros - offset * LPG_MICROS, view);
  } else if (infinite) {
    lua_pushlstring(L, bytes, length);
  } else if (!offset && is_usual(bytes, end)) {
    push_same(L, &m, bytes, end, utc);
  } else {
    if (offset)
      shift(&m, offset);
    push_moment(L, &m, utc);
  }
  return NULL;
}

static const char *timestamp_binary(lua_State *L, const lpg_view *view,
                                    const char *bytes, size_t length, bool utc)
{
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 8)
    return not_timestamp;
  int64_t micros = (int64_t)lpg_u64(&s);
  lpg_moment m = {0};
  if (view->timestamps != LPG_ISO) {
    lpg_epoch_push(L, micros, view);
  } else if (endless(micros)) {
    lua_pushstring(L, infinity(micros < 0));
  } else {
    set_micros(&m, micros);
    push_moment(L, &m, utc);
  }
  return NULL;
}

const char *lpg_timestamp_text(lua_State *L, const lpg_type *type,
                               const lpg_view *view, const char *bytes,
                               size_t length)
{
  (void)type;
  return timestamp_text(L, view, bytes, length, false);
}

const char *lpg_timestamp_binary(lua_State *L, const lpg_type *type,
                                 const lpg_view *view, const char *bytes,
                                 size_t length)
{
  (void)type;
  return timestamp_binary(L, view, bytes, length, false);
}

const char *lpg_timestamptz_text(lua_State *L, const lpg_type *type,
                                 const lpg_view *view, const char *bytes,
                                 size_t length)
{
  (void)type;
  return timestamp_text(L, view, bytes, length, true);
}

const char *lpg_timestamptz_binary(lua_State *L, const lpg_type *type,
                                   const lpg_view *view, const char *bytes,
                                   size_t length)
{
  (void)type;
  return timestamp_binary(L, view, bytes, length, true);
}

/* Encoding. */

static bool refuse_number(lpg_writer *w)
{
  char number[LPG_NUMBER];
  if (lua_isinteger(w->L, -1))
    lpg_integer_text(lua_tointeger(w->L, -1), number);
  else
    lpg_float_text(lua_tonumber(w->L, -1), number);
  return lpg_refuse(
      w->fault,
      "%s %s since 1970: a timestamp is from 4714 BC to the year 294276",
      number, w->view->timestamps == LPG_EPOCH ? "seconds" : "microseconds");
}

/* A number means what the option says; without it, and of strings, the server
 * judges. Written as the server itself writes it in DateStyle ISO. */
static bool encode(lpg_writer *w, const lpg_type *type, bool utc)
{
  int64_t micros;
  if (lua_type(w->L, -1) != LUA_TNUMBER || w->view->timestamps == LPG_ISO)
    return lpg_word_encode(w, type);
  if (!lpg_epoch_read(w->L, -1, w->view, &micros))
    return refuse_number(w);
  if (endless(micros)) {
    lpg_buffer_text(w->out, infinity(micros < 0));
    return true;
  }
  lpg_moment m;
  char text[ROOM];
  set_micros(&m, micros);
  char *at = put_date(text, &m);
  *at++ = ' ';
  at = put_clock(at, &m);
  if (utc)
    at = lpg_put_text(at, "+00");
  at = put_era(at, &m);
  lpg_buffer_put(w->out, text, (size_t)(at - text));
  return true;
}

bool lpg_timestamp_encode(lpg_writer *w, const lpg_type *type)
{
  return encode(w, type, false);
}

bool lpg_timestamptz_encode(lpg_writer *w, const lpg_type *type)
{
  return encode(w, type, true);
}
