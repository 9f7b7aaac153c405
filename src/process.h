/* SPDX-License-Identifier: MIT */
/* process: which process something belongs to. A forked child is noticed
 * without a system call where the kernel empties a page at fork, and by
 * getpid elsewhere. Knows neither Lua nor libpq. */
#ifndef LPG_PROCESS_H
#define LPG_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct lpg_process {
  pid_t id;
  char *page; /* begins with 1 here and with 0 in a child; or NULL */
} lpg_process;

void lpg_process_init(lpg_process *p);
/* Gives the page back; the question may still be asked. */
void lpg_process_free(lpg_process *p);
/* Is this the process that it was initialized in? */
bool lpg_process_is_ours(const lpg_process *p);

#endif
