/* SPDX-License-Identifier: MIT */
/* deadline: points on the monotonic clock, in seconds. Knows nothing else. */
#ifndef LPG_DEADLINE_H
#define LPG_DEADLINE_H

#include <math.h>
#include <time.h>

static inline double lpg_now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds left until `deadline`, never below zero; infinity stays. */
static inline double lpg_left_until(double deadline)
{
  double left = deadline - lpg_now();
  return left > 0 ? left : 0;
}

/* Milliseconds for poll(2): rounded up, so that a wait never spins. */
static inline int lpg_poll_timeout(double seconds)
{
  return seconds > 1e6 ? 1000000000 : (int)ceil(seconds * 1000);
}

#endif
