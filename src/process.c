/* SPDX-License-Identifier: MIT */
#define _DEFAULT_SOURCE /* madvise */
#include "process.h"

#include <sys/mman.h>
#include <unistd.h>

#ifdef MADV_WIPEONFORK
static size_t page_size(void)
{
  return (size_t)sysconf(_SC_PAGESIZE);
}

/* Some emulators answer yes to whatever they are asked. */
static bool wipes(char *page)
{
  return madvise(page, page_size(), -1) != 0 &&
         madvise(page, page_size(), MADV_WIPEONFORK) == 0;
}

static char *page_new(void)
{
  char *page = mmap(NULL, page_size(), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return NULL;
  if (wipes(page)) {
    *page = 1;
    return page;
  }
  munmap(page, page_size());
  return NULL;
}

static void page_free(char *page)
{
  munmap(page, page_size());
}
#else
static char *page_new(void)
{
  return NULL;
}

static void page_free(char *page)
{
  (void)page;
}
#endif

void lpg_process_init(lpg_process *p)
{
  *p = (lpg_process){.id = getpid(), .page = page_new()};
}

void lpg_process_free(lpg_process *p)
{
  if (p->page)
    page_free(p->page);
  p->page = NULL;
}

bool lpg_process_is_ours(const lpg_process *p)
{
  return p->page ? *p->page == 1 : p->id == getpid();
}
