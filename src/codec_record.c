/* SPDX-License-Identifier: MIT */
/* codec_record: composite types as tables by field name, and anonymous records
 * as lists of texts. Knows how fields stand beside each other; what is in them
 * is their own row's business. */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

#include "codec_part.h"
#include "codec_rows.h"
#include "codec_text.h"
#include "codec_write.h"

static const char malformed[] = "not a composite value";
static const char other_fields[] =
    "a composite value whose fields are not those of its type";

/* --- text ------------------------------------------------------------- */

/* The field that stands here; nothing at all is NULL. */
static const char *read_field(lpg_parts *p, const lpg_type *type, bool *null)
{
  size_t length;
  *null = p->at < p->end && (*p->at == ',' || *p->at == ')');
  if (*null) {
    lua_pushlightuserdata(p->L, NULL);
    return NULL;
  }
  return lpg_part_read(p, ",)", &length) ? lpg_part_push(p, type, length)
                                         : malformed;
}

static bool accept(lpg_parts *p, char mark)
{
  return p->at < p->end && *p->at++ == mark;
}

/* The value on the top belongs to the name below it, in the table below both.
 */
static void store(lua_State *L, const lpg_view *view, bool null)
{
  if (null && !view->keep_null)
    lua_pop(L, 2);
  else
    lua_rawset(L, -3);
}

static const char *read_record(lpg_parts *p, const lpg_type *type)
{
  lua_createtable(p->L, 0, type->count);
  if (!accept(p, '('))
    return malformed;
  for (int i = 0; i < type->count; i++) {
    const lpg_field *field = &type->fields[i];
    lua_pushstring(p->L, field->name);
    bool null;
    const char *wrong = read_field(p, field->type, &null);
    if (wrong)
      return wrong;
    store(p->L, &p->view, null);
    bool last = i + 1 == type->count;
    if (!last && !accept(p, ','))
      return other_fields;
  }
  return !accept(p, ')') || p->at != p->end ? other_fields : NULL;
}

const char *lpg_record_text(lua_State *L, const lpg_type *type,
                            const lpg_view *view, const char *bytes,
                            size_t length)
{
  lpg_parts p;
  const char *wrong = lpg_parts_begin(&p, L, view, bytes, length);
  return wrong ? wrong : lpg_parts_end(&p, read_record(&p, type));
}

/* "()" may have no field, or one that is NULL: the likelier one. */
static const char *read_row(lpg_parts *p)
{
  lua_newtable(p->L);
  lpg_mark_list(p->L);
  if (!accept(p, '('))
    return malformed;
  for (lua_Integer i = 1;; i++) {
    bool null;
    const char *wrong = read_field(p, NULL, &null);
    if (wrong)
      return wrong;
    lua_rawseti(p->L, -2, i);
    if (p->at == p->end)
      return malformed;
    if (*p->at++ == ')')
      return p->at == p->end ? NULL : malformed;
  }
}

const char *lpg_row_text(lua_State *L, const lpg_type *type,
                         const lpg_view *view, const char *bytes, size_t length)
{
  (void)type;
  lpg_parts p;
  const char *wrong = lpg_parts_begin(&p, L, view, bytes, length);
  return wrong ? wrong : lpg_parts_end(&p, read_row(&p));
}

/* --- binary ----------------------------------------------------------- */

static const char *read_binary(lua_State *L, const lpg_type *type,
                               const lpg_view *view, lpg_span *s)
{
  uint32_t count = lpg_u32(s);
  if (s->short_)
    return malformed;
  if (count != (uint32_t)type->count)
    return other_fields;
  lua_createtable(L, 0, type->count);
  for (int i = 0; i < type->count; i++) {
    const lpg_field *field = &type->fields[i];
    uint32_t oid = lpg_u32(s);
    if (s->short_)
      return malformed;
    if (oid != field->oid)
      return other_fields;
    lua_pushstring(L, field->name);
    bool null;
    const char *wrong = lpg_part_binary(L, field->type, view, s, &null);
    if (wrong)
      return wrong;
    store(L, view, null);
  }
  return s->at == s->end ? NULL : malformed;
}

const char *lpg_record_binary(lua_State *L, const lpg_type *type,
                              const lpg_view *view, const char *bytes,
                              size_t length)
{
  return lpg_parts_binary(L, type, view, bytes, length, read_binary);
}

/* --- encoding --------------------------------------------------------- */

/* Is the string on the top one's name? */
static bool is_field(lua_State *L, const lpg_type *type)
{
  size_t length;
  const char *name = lua_tolstring(L, -1, &length);
  for (int i = 0; i < type->count; i++)
    if (lpg_is(name, length, type->fields[i].name))
      return true;
  return false;
}

/* "street, city" */
static void list_fields(const lpg_type *type, char *text, size_t size)
{
  size_t length = 0;
  snprintf(text, size, "none");
  for (int i = 0; i < type->count && length < size; i++)
    length += (size_t)snprintf(text + length, size - length, "%s%s",
                               i ? ", " : "", type->fields[i].name);
  if (length >= size)
    memcpy(text + size - sizeof "...", "...", sizeof "...");
}

/* The table on the top has a key that is no field's. */
static bool refuse_key(lpg_writer *w, const lpg_type *type)
{
  lua_State *L = w->L;
  char names[100];
  list_fields(type, names, sizeof names);
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    lua_pop(L, 1);
    if (lua_type(L, -1) != LUA_TSTRING)
      return lpg_refuse(w->fault, "the fields of %.60s are given by name: %s",
                        type->name, names);
    if (!is_field(L, type))
      return lpg_refuse(w->fault, "%.40s has no field '%.40s'; it has %s",
                        type->name, lua_tostring(L, -1), names);
  }
  return true;
}

static bool write_record(lpg_writer *w, const lpg_type *type)
{
  lua_State *L = w->L;
  int found = 0, entries = 0;
  lpg_buffer_char(w->out, '(');
  for (int i = 0; i < type->count; i++) {
    const lpg_field *field = &type->fields[i];
    if (i > 0)
      lpg_buffer_char(w->out, ',');
    lua_pushstring(L, field->name);
    found += lua_rawget(L, -2) != LUA_TNIL;
    bool null; /* nothing at all stands for it */
    if (!lpg_write_part(w, field->type, &null))
      return lpg_fault_in(w->fault, field->name);
    lua_pop(L, 1);
  }
  lpg_buffer_char(w->out, ')');
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    entries++;
  return found == entries || refuse_key(w, type);
}

bool lpg_record_encode(lpg_writer *w, const lpg_type *type)
{
  return lpg_write_table(w, type, write_record);
}

static bool write_row(lpg_writer *w, const lpg_type *type)
{
  (void)type;
  bool counted, null;
  lua_Integer size = lpg_measure(w, &counted);
  lpg_buffer_char(w->out, '(');
  for (lua_Integer i = 1; i <= size && !w->out->failed; i++) {
    if (i > 1)
      lpg_buffer_char(w->out, ',');
    if (!lpg_push_element(w, i, counted))
      return false;
    if (!lpg_write_part(w, NULL, &null))
      return lpg_fault_at(w->fault, i);
    lua_pop(w->L, 1);
  }
  lpg_buffer_char(w->out, ')');
  return size >= 0;
}

bool lpg_row_encode(lpg_writer *w, const lpg_type *type)
{
  return lpg_write_table(w, type, write_row);
}
