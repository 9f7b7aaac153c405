/* SPDX-License-Identifier: MIT */
/* A row of COPY TO STDOUT, in text and in binary. An input: the format and the
 * view, the shape, and the bytes. */
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "fuzz.h"
#include "targets.h"

static const uint32_t oids[] = {23, 25, 17, 3802, 1184, 1007, 25};

enum { COUNT = sizeof oids / sizeof *oids };

/* Columns of all these types, the last one a namesake of the second. */
static lpg_plan *make_plan(lua_State *L, bool binary)
{
  static const char *const names[COUNT] = {"a", "b", "c", "d", "e", "f", "b"};
  lpg_plan *plan =
      lua_newuserdatauv(L, sizeof *plan + COUNT * sizeof(lpg_column), 0);
  memset(plan, 0, sizeof *plan + COUNT * sizeof(lpg_column));
  plan->count = COUNT;
  plan->binary = binary;
  lua_createtable(L, COUNT, 0);
  for (int i = 0; i < COUNT; i++) {
    lpg_column *column = &plan->columns[i];
    column->oid = oids[i];
    column->type = lpg_type_find(oids[i]);
    column->decode = binary ? column->type->binary : column->type->text;
    column->name = names[i];
    column->again = i == COUNT - 1;
    lua_pushstring(L, names[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return plan;
}

void fuzz_copy(lua_State *L, fuzz_input input)
{
  uint8_t bits = fuzz_byte(&input), shape = fuzz_byte(&input);
  lpg_plan *plan = make_plan(L, bits & 1);
  lpg_copy copy = {.headed = shape >> 2 & 1};
  copy.settings.view = fuzz_view((uint8_t)(bits >> 1));
  copy.settings.shape = shape & 1 ? LPG_ARRAY : LPG_KEYED;
  lpg_copied row = {.size = (size_t)(input.end - input.at)};
  row.bytes = malloc(row.size + 1);
  fuzz_expect(row.bytes, "memory");
  if (row.size)
    memcpy(row.bytes, input.at, row.size);
  row.bytes[row.size] = '\0';
  lua_newtable(L);
  int top = lua_gettop(L);
  lpg_misread misread = {NULL, NULL};
  bool read = lpg_copy_decode(L, &copy, plan, row, top, top - 1, 1, &misread);
  free(row.bytes);
  fuzz_expect(lua_gettop(L) == top, "the stack as it was");
  fuzz_expect(lua_rawlen(L, top) == read, "a row, or none");
  fuzz_expect(!read || !misread.problem, "no row that was misread");
}
