/* SPDX-License-Identifier: MIT */
#ifndef LPG_CONNECT_H
#define LPG_CONNECT_H

#include "conn.h"

/* Pushes the statement that makes the session one of ours; `styled`: what the
 * server says now of its styles will not stand. e */
const char *lpg_connect_push_setup(lua_State *L, const lpg_conn *c,
                                   bool styled);

void lpg_connect_open_library(lua_State *L, int core);

#endif
