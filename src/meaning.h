/* SPDX-License-Identifier: MIT */
/* meaning: which strings mean the same to every type that may take them. Knows
 * neither Lua nor libpq. */
#ifndef LPG_MEANING_H
#define LPG_MEANING_H

#include <stdbool.h>
#include <stddef.h>

/* Valid UTF-8 without a NUL. */
bool lpg_could_be_text(const char *bytes, size_t length);
/* Would bytea read this text as other bytes than these? A backslash begins an
 * escape, a NUL ends the text, and what is not UTF-8, or is converted to
 * another encoding on the way, does not arrive as it is. */
bool lpg_is_ambiguous(const char *bytes, size_t length, bool utf8);
/* A column may have become text since it was found to be bytea, and then
 * PostgreSQL would cast declared bytea to its hexadecimal form. Sent in binary
 * and undeclared, what could be text means the same to both, and every other
 * type refuses it: but for types of a fixed width, if it has that width. */
bool lpg_fits_text_and_bytea(const char *bytes, size_t length);

#endif
