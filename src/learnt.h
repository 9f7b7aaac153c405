/* SPDX-License-Identifier: MIT */
/* learnt: what a connection learnt from the server is forgotten where it may be
 * out of date. "e" in a comment: may raise a Lua error. */
#ifndef LPG_LEARNT_H
#define LPG_LEARNT_H

#include "conn.h"

/* DDL ran: what the connection at `index` knows of statements, tables and types
 * may be stale. e */
void lpg_forget(lua_State *L, int index);
/* Types may have changed. e */
void lpg_forget_types(lua_State *L, int index);
/* A table's name may mean another table now, or rights have changed. e */
void lpg_forget_tables(lua_State *L, int index);
/* A transaction, or a part of one, was rolled back: types that were learnt in
 * it may not have been there. e */
void lpg_forget_undone(lua_State *L, int index);

#endif
