/* SPDX-License-Identifier: MIT */
/* settings: how statements are run and their values shown, at three scopes
 * (connection, handle, call), under the host's ceilings.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_SETTINGS_H
#define LPG_SETTINGS_H

#include <lua.h>

#include "codec.h"
#include "wire.h"

typedef enum lpg_shape { LPG_KEYED, LPG_ARRAY, LPG_COLUMNS } lpg_shape;

typedef struct lpg_settings {
  lpg_limits limits; /* 0: the ceiling */
  lpg_shape shape;   /* rows = */
  bool own;          /* a question of the module's: no codec has a part in it */
  bool eager;        /* of db:prepare: has a name from its first run on */
  lpg_view view;
} lpg_settings;

/* The host's word; one a Lua state. */
typedef struct lpg_ceilings {
  lpg_limits limits;
  bool saved_only, locked;
} lpg_ceilings;

lpg_ceilings *lpg_ceilings_of(lua_State *L);

/* Takes the setting named by the string at `key` from the value at `value`.
 * Answers false when it is not a setting. Raises on a bad value. e */
bool lpg_settings_take(lua_State *L, lpg_settings *s, int key, int value);
/* Merges the options table at `index`; any other key raises. e */
void lpg_settings_merge(lua_State *L, lpg_settings *s, int index);
/* Raises: unknown option, with the nearest name. e */
int lpg_unknown_option(lua_State *L, int key, const char *where);

/* What counts now: the settings, never above the ceilings. */
lpg_limits lpg_settings_limits(const lpg_settings *s, const lpg_ceilings *c);

void lpg_settings_open_library(lua_State *L, int core);

#endif
