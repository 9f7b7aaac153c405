/* SPDX-License-Identifier: MIT */
/* codec_user: types whose values go through functions of the program's:
 * `decode` gets what the type gives by itself, the type gets what `encode`
 * answers. "e" in a comment: may raise a Lua error (memory only). */
#ifndef LPG_CODEC_USER_H
#define LPG_CODEC_USER_H

#include "codec.h"

/* Makes the row one whose values go through the functions of the table on the
 * top, {decode, encode}, each of which may be false; `base` is what the row was
 * and has to stay where it is as long as the userdata `owner`, whose first user
 * value is a table. Pops the functions. e */
void lpg_user_begin(lua_State *L, int owner, lpg_type *type,
                    const lpg_type *base);
/* Do values of the type go through functions? */
bool lpg_is_user(const lpg_type *type);
/* Does the program's function decide how values of the type are sent? */
bool lpg_user_encodes(const lpg_type *type);
/* Is one of them running? It must not use the connection that it works for. e
 */
bool lpg_in_user(lua_State *L);

void lpg_user_open_library(lua_State *L);

#endif
