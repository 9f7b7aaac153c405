/* SPDX-License-Identifier: MIT */
/* conninfo: connection keywords. What the options, the environment and the
 * service file amount to, and whether the `require` default applies.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_CONNINFO_H
#define LPG_CONNINFO_H

#include <lua.h>
#include <stdbool.h>

#include "wire.h"

/* Are the files that the keywords name there? If not, answers false and
 * pushes the fields of an error: libpq overlooks some of them. e */
bool lpg_conninfo_check(lua_State *L, int keywords);

/* Starts to connect with the keywords of the table at `keywords`. Where
 * `open_ssl` says that neither options nor environment name an sslmode, a
 * host that is neither a socket nor loopback gets `require`. A timeout of 0
 * is replaced by what libpq was told otherwise, else by the default. e */
void lpg_conninfo_start(lua_State *L, lpg_wire *w, int keywords,
                        const char *password, bool open_ssl, double *timeout);

void lpg_conninfo_open_library(lua_State *L, int core);

#endif
