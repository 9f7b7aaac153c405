/* SPDX-License-Identifier: MIT */
/* codec_time: dates and times of day, from DateStyle ISO and from binary, as
 * ISO 8601; instants in UTC. The host's time zone plays no part. */
#include <lua.h>

#include "bytes.h"
#include "codec_rows.h"
#include "codec_text.h"
#include "codec_write.h"

static const char not_date[] = "not an ISO date";
static const char not_time[] = "not an ISO time";
static const char not_timestamp[] = "not an ISO timestamp";

enum { DAY = 86400, MICROS = 1000000, ROOM = 64 };

/* The days since 2000 of PostgreSQL's timestamps, from 4714 BC to 294276, and
 * one more on each side for time zones. Their microseconds fit in 64 bits. */
enum { FIRST_DAY = -2451546, LAST_DAY = 106751983 };

typedef struct moment {
  int64_t year; /* 0 is 1 BC */
  int64_t month, day, hour, minute, second, micro;
} moment;

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
  return lpg_is(bytes, length, infinity(*bytes == '-'));
}

/* The calendar. Years begin in March here, so that a leap day is the last of
 * its year, and eras of 400 years in 2000, when the count of days begins. */

enum { ERA = 146097, CENTURY = 36524, FOUR_YEARS = 1461, TO_MARCH = 60 };

/* The days before each month, counted from March. */
static const int before[12] = {0,   31,  61,  92,  122, 153,
                               184, 214, 245, 275, 306, 337};

static int64_t floor_divide(int64_t a, int64_t b)
{
  return a / b - (a % b < 0);
}

/* Days since 2000-01-01. */
static int64_t days_of(const moment *m)
{
  int64_t month = (m->month + 9) % 12;
  int64_t year = m->year - 2000 - (month >= 10);
  int64_t era = floor_divide(year, 400);
  year -= era * 400;
  return era * ERA + year * 365 + year / 4 - year / 100 + before[month] +
         m->day - 1 + TO_MARCH;
}

static void set_days(moment *m, int64_t days)
{
  days -= TO_MARCH;
  int64_t era = floor_divide(days, ERA);
  days -= era * ERA;
  int64_t century = days / CENTURY - days / (ERA - 1); /* not a fifth one */
  days -= century * CENTURY;
  int64_t fours = days / FOUR_YEARS;
  days -= fours * FOUR_YEARS;
  int64_t year = days / 365 - days / (FOUR_YEARS - 1);
  days -= year * 365;
  int64_t month = days / 31; /* this one or the next */
  if (month < 11 && days >= before[month + 1])
    month++;
  m->day = days - before[month] + 1;
  m->month = (month + 2) % 12 + 1;
  m->year = 2000 + era * 400 + century * 100 + fours * 4 + year + (month >= 10);
}

static void set_clock(moment *m, int64_t micros)
{
  int64_t seconds = micros / MICROS;
  m->micro = micros % MICROS;
  m->hour = seconds / 3600;
  m->minute = seconds / 60 % 60;
  m->second = seconds % 60;
}

static int64_t month_length(const moment *m)
{
  bool leap = m->year % 4 == 0 && (m->year % 100 != 0 || m->year % 400 == 0);
  if (m->month == 2)
    return leap ? 29 : 28;
  return 30 + (m->month + (m->month > 7)) % 2;
}

/* Reading. */

static bool read_date(lpg_cursor *c, moment *m)
{
  return lpg_digits(c, 4, 9, &m->year) && lpg_accept(c, '-') &&
         lpg_digits(c, 2, 2, &m->month) && lpg_accept(c, '-') &&
         lpg_digits(c, 2, 2, &m->day);
}

/* What stands at the end of a date, or of a timestamp after its offset; the
 * date is whole then and can be judged. */
static bool read_era(lpg_cursor *c, moment *m)
{
  if (c->end - c->at == 3 && memcmp(c->at, " BC", 3) == 0) {
    m->year = 1 - m->year;
    c->at = c->end;
  }
  return c->at == c->end && m->month >= 1 && m->month <= 12 && m->day >= 1 &&
         m->day <= month_length(m);
}

static bool read_clock(lpg_cursor *c, moment *m)
{
  return lpg_digits(c, 2, 2, &m->hour) && m->hour <= 24 && lpg_accept(c, ':') &&
         lpg_digits(c, 2, 2, &m->minute) && m->minute < 60 &&
         lpg_accept(c, ':') && lpg_digits(c, 2, 2, &m->second) &&
         m->second <= 60 && lpg_fraction(c, &m->micro);
}

/* "+05:30" and "-00:19:32" in seconds. */
static bool read_offset(lpg_cursor *c, int64_t *offset)
{
  bool west = lpg_accept(c, '-');
  int64_t minute = 0, second = 0;
  if ((!west && !lpg_accept(c, '+')) || !lpg_digits(c, 2, 2, offset) ||
      (lpg_accept(c, ':') && !lpg_digits(c, 2, 2, &minute)) ||
      (lpg_accept(c, ':') && !lpg_digits(c, 2, 2, &second)) || minute > 59 ||
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

static char *put_date(char *at, const moment *m)
{
  int64_t year = m->year > 0 ? m->year : 1 - m->year;
  at = lpg_put_digits(at, (uint64_t)year, 4);
  *at++ = '-';
  at = put_two(at, m->month);
  *at++ = '-';
  return put_two(at, m->day);
}

static char *put_era(char *at, const moment *m)
{
  return m->year > 0 ? at : lpg_put_text(at, " BC");
}

static char *put_clock(char *at, const moment *m)
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

static void push_moment(lua_State *L, const moment *m, bool utc)
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
  moment m = {0};
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
  moment m = {0};
  set_days(&m, days);
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
  moment m = {0};
  lpg_cursor c = {bytes, bytes + length};
  if (!read_clock(&c, &m) || c.at != c.end)
    return not_time;
  char text[ROOM];
  push(L, text, put_clock(text, &m));
  return NULL;
}

/* Microseconds since midnight, 24:00:00 included. */
static bool read_day_time(lpg_span *s, moment *m)
{
  int64_t micros = (int64_t)lpg_u64(s);
  if (s->short_ || micros < 0 || micros > (int64_t)DAY * MICROS)
    return false;
  set_clock(m, micros);
  return true;
}

const char *lpg_time_binary(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  (void)type;
  (void)view;
  moment m = {0};
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
  moment m = {0};
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
  moment m = {0};
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 12 || !read_day_time(&s, &m))
    return not_time;
  int64_t west = (int32_t)lpg_u32(&s);
  if (west <= -DAY || west >= DAY)
    return not_time;
  char text[ROOM];
  push(L, text, put_offset(put_clock(text, &m), -west));
  return NULL;
}

/* Microseconds since 2000; false where no timestamp can be. */
static bool micros_of(const moment *m, int64_t *micros)
{
  int64_t days = days_of(m);
  *micros = 0;
  if (days < FIRST_DAY || days > LAST_DAY)
    return false;
  *micros = (days * DAY + m->hour * 3600 + m->minute * 60 + m->second) * MICROS;
  *micros += m->micro;
  return true;
}

static void set_micros(moment *m, int64_t micros)
{
  const int64_t day = (int64_t)DAY * MICROS;
  int64_t rest = micros % day;
  set_days(m, floor_divide(micros, day));
  set_clock(m, rest < 0 ? rest + day : rest);
}

/* The ends of PostgreSQL's count stand for the infinities. */
static bool endless(int64_t micros)
{
  return micros == INT64_MAX || micros == INT64_MIN;
}

static bool read_timestamp(lpg_cursor *c, moment *m, bool utc, int64_t *offset)
{
  return read_date(c, m) && lpg_accept(c, ' ') && read_clock(c, m) &&
         (!utc || read_offset(c, offset)) && read_era(c, m);
}

/* With an offset the moment is moved to UTC; a zero one, the usual case,
 * costs nothing. */
static const char *timestamp_text(lua_State *L, const lpg_view *view,
                                  const char *bytes, size_t length, bool utc)
{
  moment m = {0};
  int64_t offset = 0, micros = *bytes == '-' ? INT64_MIN : INT64_MAX;
  lpg_cursor c = {bytes, bytes + length};
  bool infinite = is_infinity(bytes, length);
  if (!infinite && !read_timestamp(&c, &m, utc, &offset))
    return not_timestamp;
  if (view->timestamps != LPG_ISO) {
    if (!infinite && !micros_of(&m, &micros))
      return not_timestamp;
    lpg_epoch_push(L, infinite ? micros : micros - offset * MICROS, view);
    return NULL;
  }
  if (infinite) {
    lua_pushlstring(L, bytes, length);
    return NULL;
  }
  if (offset) {
    int64_t seconds = m.hour * 3600 + m.minute * 60 + m.second - offset;
    int64_t days = floor_divide(seconds, DAY), micro = m.micro;
    set_days(&m, days_of(&m) + days);
    set_clock(&m, (seconds - days * DAY) * MICROS + micro);
  }
  push_moment(L, &m, utc);
  return NULL;
}

static const char *timestamp_binary(lua_State *L, const lpg_view *view,
                                    const char *bytes, size_t length, bool utc)
{
  lpg_span s = lpg_span_of(bytes, length);
  if (length != 8)
    return not_timestamp;
  int64_t micros = (int64_t)lpg_u64(&s);
  moment m = {0};
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
  moment m;
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
