/* SPDX-License-Identifier: MIT */
/* conninfo: connection keywords. What the options, the environment and the
 * service file amount to, and whether the `require` default applies.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_CONNINFO_H
#define LPG_CONNINFO_H

#include <lua.h>
#include <stdbool.h>

#include "wire.h"

typedef struct lpg_attempt {
  const char *password; /* or NULL */
  bool open_ssl;  /* neither options nor environment name an sslmode: a host
                     that is neither a socket nor loopback gets `require` */
  double timeout; /* seconds for all hosts; 0 is replaced by what libpq was
                     told otherwise, else by the default */
  double most;    /* seconds that this may be, whoever said it; 0: any */
  int skipped;    /* hosts at the head of the list that had their time */
  int hosts;      /* the length of the list: answered */
} lpg_attempt;

/* Starts to connect with the keywords of the table at `keywords`; the wire's
 * deadline is the first host's. Answers false, with the fields of an error
 * pushed, when a file is not there that was named: libpq overlooks some. e */
bool lpg_conninfo_start(lua_State *L, lpg_wire *w, int keywords,
                        lpg_attempt *attempt);
/* The place in the list of the host that libpq has got to, not before
 * `first`. e */
int lpg_conninfo_place(lua_State *L, int keywords, const PGconn *pg, int first);

void lpg_conninfo_open_library(lua_State *L, int core);

#endif
