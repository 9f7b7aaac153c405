/* SPDX-License-Identifier: MIT */
/* fuzz: what the fuzz targets share. One program holds them all and runs the
 * one whose name it was started by. */
#ifndef LPG_FUZZ_H
#define LPG_FUZZ_H

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"

typedef struct fuzz_input {
  const uint8_t *at, *end;
} fuzz_input;

/* In protected mode, on an empty stack. */
typedef void fuzz_run(lua_State *L, fuzz_input input);

typedef struct fuzz_target {
  const char *name;
  fuzz_run *run;
} fuzz_target;

extern const fuzz_target fuzz_targets[]; /* to a NULL name */

/* Ends the process with what was promised and is not so. */
void fuzz_expect(bool kept, const char *promise);

/* The next byte; zero where there is none. */
static inline uint8_t fuzz_byte(fuzz_input *input)
{
  return input->at < input->end ? *input->at++ : 0;
}

/* How values shall look, as one byte says. */
lpg_view fuzz_view(uint8_t bits);

/* Decodes a copy of the bytes that ends where its memory ends, but for the NUL
 * of a text, and checks the stack. Answers whether a value was pushed. */
bool fuzz_decode(lua_State *L, const lpg_type *type, const lpg_view *view,
                 bool binary, fuzz_input input);

/* Whether the values are the same: tables by what they hold, numbers by their
 * value, NaN is NaN, pg.null is as good as nothing. */
bool fuzz_same(lua_State *L, int a, int b);

#endif
