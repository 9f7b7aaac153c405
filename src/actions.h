/* SPDX-License-Identifier: MIT */
#ifndef LPG_ACTIONS_H
#define LPG_ACTIONS_H

#include "run.h"

typedef struct lpg_call {
  lpg_settings settings;
  int count; /* of values */
} lpg_call;

/* Reads what a script calls an action with: the handle at 1, at 2 the SQL text
 * or one table of it all. Then the text lies at 2 and the values from 3 to the
 * top. Answers false, with nil and the error pushed, for what must not be sent.
 * e */
bool lpg_actions_read(lua_State *L, lpg_action action, lpg_call *call);

void lpg_actions_open_library(lua_State *L, int core);

#endif
