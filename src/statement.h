/* SPDX-License-Identifier: MIT */
/* statement: what was learnt of a statement's text on this connection (its
 * parameters' types, its columns), in a bounded cache of two generations;
 * and a statement's first word.
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_STATEMENT_H
#define LPG_STATEMENT_H

#include <libpq-fe.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

enum { LPG_NAME = 32 };

typedef struct lpg_statement {
  int count;   /* of parameters; -1: the server was not asked */
  bool binary; /* its columns pay in binary */
  bool sets;   /* its text mentions set_config */
  bool seen;   /* its columns are known */
  bool narrow; /* its rows were many and short, the last time */
  bool recurs; /* it can be prepared: prepare.h */
  bool writes;
  bool prepared;
  int runs;
  unsigned epoch;      /* the settings', that its name was last good in */
  char name[LPG_NAME]; /* on the server; empty: none */
  Oid types[];
} lpg_statement;

/* A statement's user values: the plan of its columns, or nil; the types that
 * its name was prepared with. */
enum { LPG_STATEMENT_PLAN = 1, LPG_STATEMENT_TYPES };

/* Pushes a statement of the SQL text at `sql` with `count` types. e */
lpg_statement *lpg_statement_new(lua_State *L, int sql, int count);
/* Pushes what the connection at `conn` knows of the SQL text at `sql`, or
 * nil. e */
lpg_statement *lpg_statement_find(lua_State *L, int conn, int sql);
/* Does it take values of types that are not built-in ones? */
bool lpg_statement_takes_learnt(const lpg_statement *s);
/* Remembers the statement (or nil: forgets) on the top. Pops it. e */
void lpg_statement_keep(lua_State *L, int conn, int sql);

/* The statement is not run by its name any more, which is to be closed. e */
void lpg_statement_retire(lua_State *L, int conn, lpg_statement *s);
/* Forgets all. e */
void lpg_statement_forget(lua_State *L, int conn);
/* The server has closed all names. e */
void lpg_statement_closed(lua_State *L, int conn);

/* The word after comments, white space and `(`, in lower case; empty when
 * something else stands there. Answers what follows it. */
enum { LPG_WORD = 16 };
const char *lpg_next_word(const char *sql, char word[LPG_WORD]);
/* Does the word (in lower case) occur anywhere, in whatever case? */
bool lpg_mentions(const char *sql, const char *word);
#define LPG_SETTER "set_config" /* what a SELECT may change settings by */

#endif
