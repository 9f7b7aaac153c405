/* SPDX-License-Identifier: MIT */
/* error: the one error object, from a result, a connection or the driver.
 * C says what it knows in a plain table; the function of lua/pg/errors.lua
 * under lpg_error_hook completes it (kind, condition, fixes, metatable).
 * "e" in a comment: may raise a Lua error (memory only). */
#ifndef LPG_ERROR_H
#define LPG_ERROR_H

#include <libpq-fe.h>
#include <lua.h>
#include <stdbool.h>

extern const char lpg_error_hook; /* registry key */

/* Pushes a table with `kind` (or none: the SQLSTATE decides) and `message`
 * (a format of lua_pushfstring). e */
void lpg_error_new(lua_State *L, const char *kind, const char *message, ...);
/* Pushes a table with the fields of a failed result. e */
void lpg_error_from_result(lua_State *L, const PGresult *result);
/* Set a field of the table on the top. e */
void lpg_error_string(lua_State *L, const char *field, const char *value);
void lpg_error_number(lua_State *L, const char *field, double value);
/* Its only fix, where the kind's own would mislead. e */
void lpg_error_fix(lua_State *L, const char *text);
void lpg_error_boolean(lua_State *L, const char *field, bool value);
/* Copies what identifies the connection (a table at `identity`). e */
void lpg_error_identity(lua_State *L, int identity);
/* Pushes the program's own place, "file:line: ": where one of this module's Lua
 * functions called, its caller's. e */
void lpg_where(lua_State *L);
/* Raises an error at the program's own level: where one of this module's Lua
 * functions called, its caller is to blame. Answers nothing. e */
int lpg_raise(lua_State *L, const char *message, ...);
/* Completes the table on the top; leaves nil and the error; answers 2. e */
int lpg_error_return(lua_State *L);

void lpg_error_open_library(lua_State *L, int core);

#endif
