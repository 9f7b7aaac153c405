/* SPDX-License-Identifier: MIT */
/* codec_calendar: dates and times of day to days and microseconds and back, by
 * the Gregorian calendar, whatever the year. Knows neither Lua nor libpq. */
#ifndef LPG_CODEC_CALENDAR_H
#define LPG_CODEC_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>

enum { LPG_DAY = 86400, LPG_MICROS = 1000000 };

/* The days since 2000 of PostgreSQL's timestamps, from 4714 BC to 294276, and
 * one more on each side for time zones. Their microseconds fit in 64 bits. */
enum { LPG_FIRST_DAY = -2451546, LPG_LAST_DAY = 106751983 };

typedef struct lpg_moment {
  int64_t year; /* 0 is 1 BC */
  int64_t month, day, hour, minute, second, micro;
} lpg_moment;

/* Years begin in March here, so that a leap day is the last of its year, and
 * eras of 400 years in 2000, when the count of days begins. */
enum {
  LPG_ERA = 146097,
  LPG_CENTURY = 36524,
  LPG_FOUR_YEARS = 1461,
  LPG_TO_MARCH = 60
};

/* The days before each month, counted from March. */
static const int lpg_before[12] = {0,   31,  61,  92,  122, 153,
                                   184, 214, 245, 275, 306, 337};

static inline int64_t lpg_floor_divide(int64_t a, int64_t b)
{
  return a / b - (a % b < 0);
}

/* Days since 2000-01-01. */
static inline int64_t lpg_days_of(const lpg_moment *m)
{
  int64_t month = (m->month + 9) % 12;
  int64_t year = m->year - 2000 - (month >= 10);
  int64_t era = lpg_floor_divide(year, 400);
  year -= era * 400;
  return era * LPG_ERA + year * 365 + year / 4 - year / 100 +
         lpg_before[month] + m->day - 1 + LPG_TO_MARCH;
}

static inline void lpg_set_days(lpg_moment *m, int64_t days)
{
  days -= LPG_TO_MARCH;
  int64_t era = lpg_floor_divide(days, LPG_ERA);
  days -= era * LPG_ERA;
  int64_t century =
      days / LPG_CENTURY - days / (LPG_ERA - 1); /* not a fifth one */
  days -= century * LPG_CENTURY;
  int64_t fours = days / LPG_FOUR_YEARS;
  days -= fours * LPG_FOUR_YEARS;
  int64_t year = days / 365 - days / (LPG_FOUR_YEARS - 1);
  days -= year * 365;
  int64_t month = days / 31; /* this one or the next */
  if (month < 11 && days >= lpg_before[month + 1])
    month++;
  m->day = days - lpg_before[month] + 1;
  m->month = (month + 2) % 12 + 1;
  m->year = 2000 + era * 400 + century * 100 + fours * 4 + year + (month >= 10);
}

static inline void lpg_set_clock(lpg_moment *m, int64_t micros)
{
  int64_t seconds = micros / LPG_MICROS;
  m->micro = micros % LPG_MICROS;
  m->hour = seconds / 3600;
  m->minute = seconds / 60 % 60;
  m->second = seconds % 60;
}

static inline int64_t lpg_month_length(const lpg_moment *m)
{
  bool leap = m->year % 4 == 0 && (m->year % 100 != 0 || m->year % 400 == 0);
  if (m->month == 2)
    return leap ? 29 : 28;
  return 30 + (m->month + (m->month > 7)) % 2;
}

#endif
