/* SPDX-License-Identifier: MIT */
/* kept: values that were kept as bytes, since nobody knew their types when they
 * came. At the end of the answer the catalogue is asked, once for all results,
 * and they are decoded where they lie. "e" in a comment: may raise a Lua error.
 */
#ifndef LPG_KEPT_H
#define LPG_KEPT_H

#include "await.h"

/* The result in the frame is complete, of `rows` rows: notes it if values of it
 * were kept. e */
void lpg_kept_note(lua_State *L, const lpg_op *op, int slot);
/* What has to be done when the answer is: sends the question at LPG_AT_VALUES
 * (LPG_CONTINUE); or answers how many results tell of an error; or 0: nothing
 * is open. e */
int lpg_kept_ask(lua_State *L, lpg_op *op, int slot);
/* The question has been answered. 0: all is decoded; else an error. e */
int lpg_kept_end(lua_State *L, lpg_op *op, int slot);

#endif
