/* SPDX-License-Identifier: MIT */
/* codec_write: what the encoders share: faults and their paths, quotes, how
 * deep values lie in each other.
 * "e" in a comment: may raise a Lua error (memory only). */
#ifndef LPG_CODEC_WRITE_H
#define LPG_CODEC_WRITE_H

#include "codec.h"

/* What is wrong with the value at hand. Answers false. */
bool lpg_refuse(lpg_fault *fault, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The value on the top is not one that the type takes. */
bool lpg_refuse_value(lpg_writer *w, const lpg_type *type);
/* What contains the value puts its own step before the path. Answer false. */
bool lpg_fault_at(lpg_fault *fault, lua_Integer index);
bool lpg_fault_in(lpg_fault *fault, const char *field);

/* The table on the top by `body`, one level deeper, which may leave more on the
 * stack; a string as it is, PostgreSQL's own text; nothing else. e */
bool lpg_write_table(lpg_writer *w, const lpg_type *type, lpg_encode *body);
/* The string on the top, as it is. */
bool lpg_write_string(lpg_writer *w);
/* The number on the top. */
void lpg_write_number(lpg_writer *w);
/* A text in quotes, with escapes. */
void lpg_write_quoted(lpg_writer *w, const char *text, size_t length);
/* Puts quotes round what was appended since `start`. */
bool lpg_quote(lpg_writer *w, size_t start);
/* As lpg_write, for a part of an array, a composite or a range: with quotes
 * where it would not stand for itself. e */
bool lpg_write_part(lpg_writer *w, const lpg_type *type, bool *null);

/* How many elements the sequence on the top has: its field n, which *counted
 * tells, else what Lua says; -1 and the fault when it is none. */
lua_Integer lpg_measure(lpg_writer *w, bool *counted);
/* Pushes the element; one that is absent is NULL where elements are counted. */
bool lpg_push_element(lpg_writer *w, lua_Integer i, bool counted);

#endif
