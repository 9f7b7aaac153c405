/* SPDX-License-Identifier: MIT */
/* targets: those of the files that hold but one or two. */
#ifndef LPG_TARGETS_H
#define LPG_TARGETS_H

#include "fuzz.h"

fuzz_run fuzz_copy, fuzz_floats, fuzz_instants;
fuzz_run fuzz_derived, fuzz_back, fuzz_values;

#endif
