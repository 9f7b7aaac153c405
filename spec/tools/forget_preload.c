// SPDX-License-Identifier: MIT
// `make sanitize` preloads libasan into Lua, and this beside it, so that Lua's
// children run without: psql hangs at its exit under a preloaded libasan.
#include <stdlib.h>

__attribute__((constructor)) static void forget_preload(void)
{
  unsetenv("LD_PRELOAD");
}
