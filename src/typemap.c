/* SPDX-License-Identifier: MIT */
#include "typemap.h"

#include <lauxlib.h>
#include <string.h>

#include "codec_rows.h"
#include "codec_user.h"

static const char *const map_name = "pg.typemap/1";

enum { FULL = 10000 };

/* A map's user values: codec_user.h's; lists of its nodes, and of `nodes`. */
enum { CODES = 1, NODES, PLACES };

/* A type, in one piece with its fields and all names. */
typedef struct node {
  lpg_type type, base; /* the base of one that is coded */
  uint32_t part;
  char kind;
  bool settled;      /* a domain: it has its base's row */
  struct node *next; /* of those that are being learnt */
  lpg_field fields[];
} node;

struct lpg_typemap {
  node **nodes; /* by OID */
  size_t count, room;
  bool coded;
};

/* --- memory ----------------------------------------------------------- */

/* Memory of the map's, which lives as long: without a finalizer, since those of
 * others may still read results when this map's would have run. e */
static void *own(lua_State *L, int index, int value, size_t size)
{
  lua_getiuservalue(L, index, value);
  void *memory = lua_newuserdatauv(L, size, 0);
  memset(memory, 0, size);
  lua_rawseti(L, -2, value == NODES ? (lua_Integer)lua_rawlen(L, -2) + 1 : 1);
  lua_pop(L, 1);
  return memory;
}

lpg_typemap *lpg_typemap_new(lua_State *L)
{
  lpg_typemap *map = lua_newuserdatauv(L, sizeof *map, PLACES);
  *map = (lpg_typemap){0};
  for (int value = NODES; value <= PLACES; value++) {
    lua_newtable(L);
    lua_setiuservalue(L, -2, value);
  }
  luaL_setmetatable(L, map_name);
  return map;
}

/* --- finding ---------------------------------------------------------- */

/* Where the type is, or would be. */
static size_t place_of(const lpg_typemap *map, uint32_t oid)
{
  size_t low = 0, high = map->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (map->nodes[middle]->type.oid < oid)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

static node *find(const lpg_typemap *map, uint32_t oid)
{
  size_t at = map ? place_of(map, oid) : 0;
  bool there = map && at < map->count && map->nodes[at]->type.oid == oid;
  return there ? map->nodes[at] : NULL;
}

const lpg_type *lpg_typemap_find(const lpg_typemap *map, uint32_t oid)
{
  const lpg_type *type = oid ? lpg_type_find(oid) : NULL;
  if (!oid || (type && !(map && map->coded)))
    return type;
  const node *n = find(map, oid);
  return n ? &n->type : type;
}

bool lpg_typemap_is_full(const lpg_typemap *map)
{
  return map->count >= FULL;
}

/* No type is made of itself; but that is the server's word. */
uint32_t lpg_typemap_base(const lpg_typemap *map, uint32_t oid)
{
  const node *n = find(map, oid);
  for (size_t i = 0;
       n && n->kind == 'd' && !lpg_is_user(&n->type) && i < map->count; i++) {
    oid = n->part;
    n = find(map, oid);
  }
  return oid;
}

/* --- facts ------------------------------------------------------------ */

/* A fact in the buffer; its three texts follow, each with a NUL. */
typedef struct record {
  lpg_fact fact;
  size_t name, extension, field; /* their bytes; 0: none */
} record;

void lpg_typemap_note(lpg_buffer *facts, const lpg_fact *fact)
{
  record r = {*fact, strlen(fact->name) + 1, strlen(fact->extension) + 1,
              fact->field ? strlen(fact->field) + 1 : 0};
  lpg_buffer_put(facts, &r, sizeof r);
  lpg_buffer_put(facts, fact->name, r.name);
  lpg_buffer_put(facts, fact->extension, r.extension);
  lpg_buffer_put(facts, fact->field ? fact->field : "", r.field);
}

/* The fact at `at`; answers where the next one is. */
static size_t read_fact(const lpg_buffer *facts, size_t at, record *r)
{
  memcpy(r, facts->data + at, sizeof *r);
  const char *text = facts->data + at + sizeof *r;
  r->fact.name = text;
  r->fact.extension = text + r->name;
  r->fact.field = r->field ? text + r->name + r->extension : NULL;
  return at + sizeof *r + r->name + r->extension + r->field;
}

static bool next_of(const lpg_buffer *facts, size_t *at, uint32_t oid,
                    record *r)
{
  if (*at >= facts->length)
    return false;
  size_t next = read_fact(facts, *at, r);
  if (oid && r->fact.oid != oid)
    return false;
  *at = next;
  return true;
}

/* --- rows ------------------------------------------------------------- */

static const char *copy_text(char **to, const char *text, size_t size)
{
  char *copy = memcpy(*to, text, size);
  *to += size;
  return copy;
}

/* What is known of these without their parts. Anything else is a string; an
 * enum is one in both forms. */
static void take_form(lpg_type *type, char kind, const char *extension)
{
  static const lpg_type forms[] = {
      {.name = "a",
       .text = lpg_array_text,
       .binary = lpg_array_binary,
       .encode = lpg_array_encode},
      {.name = "c",
       .text = lpg_record_text,
       .binary = lpg_record_binary,
       .encode = lpg_record_encode},
      {.name = "e",
       .text = lpg_decode_string,
       .binary = lpg_decode_string,
       .encode = lpg_plain_encode},
      {.name = "r",
       .text = lpg_range_text,
       .binary = lpg_range_binary,
       .encode = lpg_range_encode},
      {.name = "m",
       .text = lpg_multirange_text,
       .binary = lpg_multirange_binary,
       .encode = lpg_multirange_encode},
      {.name = "hstore",
       .text = lpg_hstore_text,
       .binary = lpg_hstore_binary,
       .encode = lpg_hstore_encode},
      {.name = "vector",
       .text = lpg_vector_text,
       .binary = lpg_vector_binary,
       .encode = lpg_vector_encode},
  };
  const char own[] = {kind, '\0'},
             *key = kind == 'b' && *extension ? extension : own;
  type->text = lpg_decode_string;
  type->encode = lpg_plain_encode;
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
    if (strcmp(forms[i].name, key) == 0) {
      type->text = forms[i].text;
      type->binary = forms[i].binary;
      type->encode = forms[i].encode;
    }
}

/* The node of the type whose facts begin at `at`. e */
static node *new_node(lua_State *L, int index, const lpg_buffer *facts,
                      size_t at)
{
  record first, r;
  read_fact(facts, at, &first);
  size_t size = sizeof(node) + first.name;
  for (size_t i = at; next_of(facts, &i, first.fact.oid, &r);)
    size += (r.field ? sizeof(lpg_field) : 0) + r.field;
  node *n = own(L, index, NODES, size);
  const lpg_fact *f = &first.fact;
  *n = (node){.part = f->part, .kind = f->kind};
  for (size_t i = at; next_of(facts, &i, f->oid, &r);)
    n->type.count += r.field != 0;
  char *text = (char *)(n->fields + n->type.count);
  n->type.oid = f->oid;
  n->type.delimiter = f->delimiter;
  n->type.name = copy_text(&text, f->name, first.name);
  n->type.fields = n->type.count > 0 ? n->fields : NULL;
  lpg_field *field = n->fields;
  for (size_t i = at; next_of(facts, &i, f->oid, &r);)
    if (r.field)
      *field++ = (lpg_field){.oid = r.fact.field_oid,
                             .name = copy_text(&text, r.fact.field, r.field)};
  take_form(&n->type, f->kind, f->extension);
  return n;
}

static void make_room(lua_State *L, int index, size_t more)
{
  lpg_typemap *map = lua_touserdata(L, index);
  if (map->room - map->count >= more)
    return;
  size_t room = 2 * (map->count + more);
  node **old = map->nodes,
       **moved = lua_newuserdatauv(L, room * sizeof *moved, 0);
  if (old)
    memcpy(moved, old, map->count * sizeof *moved);
  lua_getiuservalue(L, index, PLACES);
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
  lua_pop(L, 1);
  map->nodes = moved;
  map->room = room;
}

static void insert(lpg_typemap *map, node *n)
{
  size_t at = place_of(map, n->type.oid);
  memmove(map->nodes + at + 1, map->nodes + at,
          (map->count - at) * sizeof *map->nodes);
  map->nodes[at] = n;
  map->count++;
}

static void link_parts(const lpg_typemap *map, node *n)
{
  lpg_type *type = &n->type;
  bool made = n->kind == 'a' || n->kind == 'r' || n->kind == 'm';
  if (made) {
    type->element = n->part;
    type->part = lpg_typemap_find(map, n->part);
  }
  for (int i = 0; i < type->count && n->kind == 'c'; i++)
    n->fields[i].type = lpg_typemap_find(map, n->fields[i].oid);
}

/* A domain is what its base type is, by its own name. */
static void become_base(node *n, const lpg_type *base)
{
  lpg_type copy = *base;
  copy.oid = n->type.oid;
  copy.name = n->type.name;
  n->type = copy;
}

/* Can what the type is made of come in binary? */
static bool parts_are_binary(const lpg_typemap *map, const node *n)
{
  if (n->kind == 'd') {
    const lpg_type *base = lpg_typemap_find(map, n->part);
    return base && base->binary;
  }
  if (lpg_is_user(&n->type) && n->type.element)
    return n->base.part && n->base.part->binary;
  for (int i = 0; i < n->type.count; i++)
    if (!n->fields[i].type || !n->fields[i].type->binary)
      return false;
  return !n->type.element || (n->type.part && n->type.part->binary);
}

/* Rows of types that are all there. */
static void finish(const lpg_typemap *map, node *fresh)
{
  for (bool changed = true; changed;) {
    changed = false;
    for (node *n = fresh; n; n = n->next)
      if (n->type.binary && !parts_are_binary(map, n)) {
        n->type.binary = NULL;
        changed = true;
      }
  }
}

/* --- codecs ----------------------------------------------------------- */

/* The functions on the top are the node's. Pops them. e */
static void code(lua_State *L, int index, node *n)
{
  n->base = n->type;
  lpg_user_begin(L, index, &n->type, &n->base);
}

/* The codec that waits for the type, if there is one. e */
static void code_waiting(lua_State *L, int index, node *n)
{
  int top = lua_gettop(L);
  if (lua_getiuservalue(L, index, CODES) == LUA_TTABLE &&
      lua_rawgeti(L, -1, n->type.oid) == LUA_TTABLE)
    code(L, index, n);
  lua_settop(L, top);
}

/* Domains become what they are made of, codecs begin; what lies inside first. e
 */
static void settle(lua_State *L, int index, node *fresh)
{
  const lpg_typemap *map = lua_touserdata(L, index);
  for (node *n = fresh; n; n = n->next)
    if (n->kind != 'd') {
      n->settled = true;
      code_waiting(L, index, n);
    }
  for (bool changed = true; changed;) {
    changed = false;
    for (node *n = fresh; n; n = n->next) {
      const node *part = find(map, n->part);
      const lpg_type *base = lpg_typemap_find(map, n->part);
      if (n->settled || (part && !part->settled))
        continue;
      if (base)
        become_base(n, base);
      n->settled = changed = true;
      code_waiting(L, index, n);
    }
  }
}

/* A built-in row of the map's own, which may differ. e */
static node *adopt(lua_State *L, int index, const lpg_type *type)
{
  lpg_typemap *map = lua_touserdata(L, index);
  make_room(L, index, 1);
  node *n = own(L, index, NODES, sizeof *n);
  n->settled = true;
  n->type = *type;
  insert(map, n);
  return n;
}

/* Built-in arrays, ranges and multiranges of what the map has rows of its own
 * for have them, too. e */
static void adopt_made(lua_State *L, int index)
{
  lpg_typemap *map = lua_touserdata(L, index);
  const lpg_type *type;
  for (bool more = true; more;) {
    more = false;
    for (size_t i = 0; (type = lpg_type_at(i)); i++) {
      node *part = find(map, type->element), *n = find(map, type->oid);
      if (part && n && lpg_is_user(&n->type) && !n->base.part) {
        n->base.part = &part->type;
        more = true;
      }
      if (!part || n)
        continue;
      n = adopt(L, index, type);
      n->type.part = &part->type;
      if (!part->type.binary)
        n->type.binary = NULL;
      more = true;
    }
  }
}

void lpg_typemap_code(lua_State *L, int index, uint32_t oid)
{
  lpg_typemap *map = lua_touserdata(L, index);
  const lpg_type *type = lpg_type_find(oid);
  index = lua_absindex(L, index);
  if (!map->coded) {
    lua_newtable(L);
    lua_setiuservalue(L, index, 1);
    map->coded = true;
  }
  node *n = find(map, oid);
  if (type && !(n && lpg_is_user(&n->type))) {
    code(L, index, n ? n : adopt(L, index, type));
    adopt_made(L, index);
  } else {
    lua_getiuservalue(L, index, 1);
    lua_insert(L, -2);
    lua_rawseti(L, -2, oid);
    lua_pop(L, 1);
  }
}

bool lpg_typemap_is_coded(const lpg_typemap *map)
{
  return map && map->coded;
}

void lpg_typemap_learn(lua_State *L, int index, const lpg_buffer *facts)
{
  lpg_typemap *map = lua_touserdata(L, index);
  record r;
  size_t more = 0;
  node *fresh = NULL;
  index = lua_absindex(L, index);
  for (size_t at = 0, next; at < facts->length; at = next) {
    next = read_fact(facts, at, &r);
    uint32_t oid = r.fact.oid;
    while (next_of(facts, &next, oid, &r))
      ;
    if (lpg_typemap_find(map, oid))
      continue;
    node *n = new_node(L, index, facts, at);
    n->next = fresh;
    fresh = n;
    more++;
  }
  make_room(L, index, more);
  for (node *n = fresh; n; n = n->next)
    insert(map, n);
  for (node *n = fresh; n; n = n->next)
    link_parts(map, n);
  settle(L, index, fresh);
  finish(map, fresh);
}

void lpg_typemap_open_library(lua_State *L)
{
  luaL_newmetatable(L, map_name);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
