/* SPDX-License-Identifier: MIT */
/* Types that a server could define, and how values of all types come back as
 * they went: what a text was decoded to is encoded, and decoded to the same. */
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "codec_rows.h"
#include "targets.h"

enum {
  ADDRESS,
  ADDRESSES,
  NODE,
  NODES,
  SPAN,
  SPANS,
  SPAN_LIST,
  STORE,
  STORES,
  RECORD,
  RECORDS,
  VECTOR,
  DERIVED
};

static lpg_type derived[DERIVED];

static const lpg_field address[] = {
    {25, NULL, "street"}, {23, NULL, "number"}, {1009, NULL, "tags"},
    {3904, NULL, "span"}, {1184, NULL, "at"},   {3802, NULL, "doc"},
};

/* As if a composite type could be in itself: how deep values may lie. */
static lpg_field node[] = {
    {20, NULL, "value"},
    {NODE, &derived[NODE], "next"},
    {NODES, &derived[NODES], "list"},
};

enum { FIELDS = sizeof address / sizeof *address };

static lpg_type composite(uint32_t oid, int count, const lpg_field *fields)
{
  return (lpg_type){.oid = oid,
                    .name = "composite",
                    .text = lpg_record_text,
                    .binary = lpg_record_binary,
                    .encode = lpg_record_encode,
                    .delimiter = ',',
                    .count = count,
                    .fields = fields};
}

static lpg_type made_of(const lpg_type *part, lpg_decode *text,
                        lpg_decode *binary, lpg_encode *encode)
{
  return (lpg_type){.element = part ? part->oid : 0,
                    .name = "derived",
                    .text = text,
                    .binary = binary,
                    .encode = encode,
                    .delimiter = ',',
                    .part = part};
}

static lpg_type list_of(const lpg_type *part)
{
  return made_of(part, lpg_array_text, lpg_array_binary, lpg_array_encode);
}

static void make_types(void)
{
  static lpg_field fields[FIELDS];
  lpg_type *t = derived;
  if (t[ADDRESS].text)
    return;
  for (int i = 0; i < FIELDS; i++) {
    fields[i] = address[i];
    fields[i].type = i ? lpg_type_find(address[i].oid) : NULL;
  }
  node[0].type = lpg_type_find(node[0].oid);
  t[ADDRESS] = composite(ADDRESS, FIELDS, fields);
  t[ADDRESSES] = list_of(&t[ADDRESS]);
  t[NODE] = composite(NODE, 3, node);
  t[NODES] = list_of(&t[NODE]);
  t[SPAN] = made_of(lpg_type_find(701), lpg_range_text, lpg_range_binary,
                    lpg_range_encode);
  t[SPANS] = made_of(&t[SPAN], lpg_multirange_text, lpg_multirange_binary,
                     lpg_multirange_encode);
  t[SPAN_LIST] = list_of(&t[SPAN]);
  t[STORE] =
      made_of(NULL, lpg_hstore_text, lpg_hstore_binary, lpg_hstore_encode);
  t[STORES] = list_of(&t[STORE]);
  t[VECTOR] =
      made_of(NULL, lpg_vector_text, lpg_vector_binary, lpg_vector_encode);
  t[RECORD] = made_of(NULL, lpg_row_text, NULL, lpg_row_encode);
  t[RECORDS] = list_of(&t[RECORD]);
}

void fuzz_derived(lua_State *L, fuzz_input input)
{
  make_types();
  uint8_t bits = fuzz_byte(&input);
  const lpg_type *type = &derived[fuzz_byte(&input) % DERIVED];
  lpg_view view = fuzz_view((uint8_t)(bits >> 1));
  fuzz_decode(L, type, &view, bits & 1, input);
}

/* One of the types whose values go in the form in which they come: no boolean,
 * which goes as "true" and comes as "t", and none of float4, of which a server
 * prints but the shortest digits. */
static const lpg_type *choose(uint8_t number, int count)
{
  static const uint32_t oids[] = {17,   20,   21,   23,   25,   26,   114,
                                  701,  1001, 1005, 1007, 1009, 1016, 1020,
                                  1022, 1184, 1185, 1231, 1700, 3802, 3807,
                                  3904, 3906, 3910, 3927, 4451, 4534, 6150};
  enum { COUNT = sizeof oids / sizeof *oids };
  make_types();
  int chosen = number % (COUNT + count);
  return chosen < COUNT ? lpg_type_find(oids[chosen])
                        : &derived[chosen - COUNT];
}

static bool encode(lua_State *L, const lpg_type *type, const lpg_view *view,
                   lpg_buffer *out, lpg_fault *fault, bool *null)
{
  lpg_writer w = {.L = L, .out = out, .fault = fault, .view = view};
  int top = lua_gettop(L);
  bool done = lpg_write(&w, type, null);
  fuzz_expect(lua_gettop(L) == top, "the stack as before");
  fuzz_expect(done || fault->text[0], "a reason");
  fuzz_expect(!out->failed, "memory");
  return done;
}

static fuzz_input input_of(const lpg_buffer *b)
{
  const uint8_t *at = (const uint8_t *)(b->data ? b->data : "");
  return (fuzz_input){at, at + b->length};
}

/* A view, a type, a text. */
void fuzz_back(lua_State *L, fuzz_input input)
{
  lpg_view view = fuzz_view(fuzz_byte(&input));
  lpg_fault fault = {"", ""};
  lpg_buffer out = {NULL, 0, 0, false};
  bool null;
  const lpg_type *type = choose(fuzz_byte(&input), VECTOR);
  view.timestamps = LPG_EPOCH_US;
  view.numeric_as_number = false;
  if (memchr(input.at, 0, (size_t)(input.end - input.at)) ||
      !fuzz_decode(L, type, &view, false, input))
    return;
  bool done = encode(L, type, &view, &out, &fault, &null);
  /* but for JSON numbers that no double holds, and integers that no server
   * could have sent for a small type */
  bool number = fault.text[0] == '-' || fault.text[0] < 'a';
  fuzz_expect(done || number || strstr(fault.text, "JSON"),
              "what came goes back");
  if (done && !null) {
    fuzz_expect(fuzz_decode(L, type, &view, false, input_of(&out)),
                "what goes is what could come");
    fuzz_expect(fuzz_same(L, 1, 2), "the same value");
  }
  lpg_buffer_free(&out);
}

/* --- values of all kinds ---------------------------------------------- */

static int a_function(lua_State *L)
{
  return lua_gettop(L);
}

static void push_scalar(lua_State *L, fuzz_input *input, uint8_t kind)
{
  uint64_t bits = 0;
  double number;
  size_t length = fuzz_byte(input), left = (size_t)(input->end - input->at);
  switch (kind) {
  case 0:
    lua_pushlightuserdata(L, length & 1 ? &derived : NULL);
    return;
  case 1:
    lua_pushboolean(L, length & 1);
    return;
  case 2:
    lua_pushcfunction(L, a_function);
    return;
  case 3:
    length = length < left ? length : left;
    lua_pushlstring(L, (const char *)input->at, length);
    input->at += length;
    return;
  }
  for (size_t i = 0; i < length % 9; i++)
    bits = bits << 8 | fuzz_byte(input);
  memcpy(&number, &bits, sizeof number);
  if (kind == 4)
    lua_pushinteger(L, (lua_Integer)bits);
  else
    lua_pushnumber(L, number);
}

static void mark(lua_State *L, uint8_t kind)
{
  static const int32_t lower[] = {0, -2, 1, 2147483647, 5, 6};
  if (kind == 0)
    lpg_mark_list(L);
  else if (kind < 8)
    lpg_mark_bounds(L, lower, kind % 7);
  else if (kind == 8) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lpg_wrapper_mark);
    lua_setmetatable(L, -2);
  }
}

/* A length of millions would only take longer; one that is refused does not. */
static bool is_endless(lua_State *L)
{
  return lua_type(L, -2) == LUA_TSTRING && lua_isinteger(L, -1) &&
         lua_tointeger(L, -1) > 1000000 && lua_tointeger(L, -1) <= INT32_MAX;
}

/* A table may also be put into one that it holds. Deeper ones would only take
 * longer: each level of a composite type doubles the quotes of those in it. */
static void push_value(lua_State *L, fuzz_input *input, int depth)
{
  static const char *const keys[] = {"lower",  "upper",  "bounds", "empty",
                                     "street", "number", "tags",   "span",
                                     "at",     "doc",    "value",  "next",
                                     "list",   "n",      "[)",     "pg.json"};
  uint8_t kind = fuzz_byte(input);
  if (kind < 160 || depth > 16) {
    push_scalar(L, input, kind % 6);
    return;
  }
  if (kind == 255 && depth > 0) {
    lua_pushvalue(L, 1);
    return;
  }
  lua_newtable(L);
  int count = kind % 8;
  for (int i = 1; i <= count && input->at < input->end; i++) {
    uint8_t key = fuzz_byte(input);
    if (key < 32)
      lua_pushstring(L, keys[key % 16]);
    else if (key < 250)
      lua_pushinteger(L, i);
    else
      push_value(L, input, 17);
    push_value(L, input, depth + 1);
    if (lua_isnil(L, -2) || !lua_rawequal(L, -2, -2) || is_endless(L))
      lua_pop(L, 2);
    else
      lua_rawset(L, -3);
  }
  if (kind > 200)
    mark(L, fuzz_byte(input) % 16);
}

/* A view, a type, how to make a value. */
void fuzz_values(lua_State *L, fuzz_input input)
{
  lpg_view view = fuzz_view(fuzz_byte(&input));
  lpg_fault fault = {"", ""};
  lpg_buffer out = {NULL, 0, 0, false};
  bool null;
  uint8_t number = fuzz_byte(&input);
  const lpg_type *type = number == 255 ? NULL : choose(number, DERIVED);
  luaL_checkstack(L, 100, "a value");
  push_value(L, &input, 0);
  encode(L, type, &view, &out, &fault, &null);
  lpg_buffer_free(&out);
}
