/* SPDX-License-Identifier: MIT */
/* pipeline: statements that are queued with their values, sent in one go as
 * one transaction, and answered in order. Values are taken when they are
 * queued; while sending, no more is in libpq's hands than a portion.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_PIPELINE_H
#define LPG_PIPELINE_H

#include <lua.h>

void lpg_pipeline_open_library(lua_State *L, int core);

#endif
