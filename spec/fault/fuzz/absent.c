/* SPDX-License-Identifier: MIT */
/* What the rest of the module would be called for, and no target does: the
 * linker wants the names. */
#include <stdlib.h>

void lpg_copy_check(void);
void lpg_plan_new(void);
void lpg_typemap_find(void);

void lpg_copy_check(void)
{
  abort();
}

void lpg_plan_new(void)
{
  abort();
}

void lpg_typemap_find(void)
{
  abort();
}
