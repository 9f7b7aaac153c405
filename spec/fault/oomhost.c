/* SPDX-License-Identifier: MIT */
/* oomhost: a C host whose memory runs out where one says, which can fork, and
 * which opens and closes Lua states by the hundred.
 *
 *   oomhost run SCRIPT              runs it; what it returns is the exit code
 *   oomhost fail MODE SCRIPT        fails each allocation in turn
 *   oomhost cycle COUNT SCRIPT      COUNT times a new state, SCRIPT, lua_close
 *   oomhost threads COUNT SCRIPT    COUNT threads with a state each
 *
 * MODE is `once` (Lua then collects, tries again and succeeds), `twice`,
 * `sticky` (all that follow fail as well), `limit` (so many bytes and no more)
 * for Lua's own memory; `outside` for the memory of libpq and the module.
 *
 * For `fail` SCRIPT returns {attempt =, verify =}: attempt() runs under failing
 * memory again and again until nothing failed; verify(ok, problem) after each
 * one with memory enough. What an attempt leaves behind outside of Lua, twice
 * in a row, is a leak. Scripts have the table `host`: fork(), wait(pid),
 * descriptors(), blocks(), resident(). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef enum mode { NONE, ONCE, TWICE, STICKY, LIMIT, OUTSIDE, MODES } mode;

static const char *const mode_names[] = {"none",  "once",    "twice", "sticky",
                                         "limit", "outside", NULL};

/* --- memory outside of Lua: counted, and made to fail ------------------- */

static atomic_long outside_left = -1; /* allocations before the one to fail */
static atomic_bool outside_fired;

#if defined __GLIBC__ && !defined __SANITIZE_ADDRESS__
#include <malloc.h>
#define COUNTED 1

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_long live;

static bool outside_fails(void)
{
  if (atomic_load(&outside_left) < 0 || atomic_fetch_sub(&outside_left, 1) != 0)
    return false;
  atomic_store(&outside_fired, true);
  errno = ENOMEM;
  return true;
}

static void *counted(void *block)
{
  if (block)
    atomic_fetch_add(&live, 1);
  return block;
}

void *malloc(size_t size)
{
  return outside_fails() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
  return outside_fails() ? NULL : counted(__libc_calloc(count, size));
}

void *realloc(void *block, size_t size)
{
  if (!block)
    return malloc(size);
  return outside_fails() ? NULL : __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size)
{
  return counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
  return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
  *block = memalign(alignment, size);
  return *block ? 0 : ENOMEM;
}

void free(void *block)
{
  if (block)
    atomic_fetch_sub(&live, 1);
  __libc_free(block);
}

static long blocks(void)
{
  return atomic_load(&live);
}
#else /* a sanitizer counts, or nobody does */
#define COUNTED        0
#define __libc_realloc realloc
#define __libc_free    free

static long blocks(void)
{
  return 0;
}
#endif

/* --- Lua's memory ----------------------------------------------------- */

typedef struct memory {
  mode mode;
  long left;     /* allocations before the first to fail */
  size_t limit;  /* bytes, for `limit` */
  size_t in_use; /* bytes */
  bool fired;
} memory;

static bool fails(memory *m, size_t more)
{
  bool now = false;
  switch (m->mode) {
  case ONCE:
    now = m->left == 0;
    break;
  case TWICE:
    now = m->left == 0 || m->left == -1;
    break;
  case STICKY:
    now = m->left <= 0;
    break;
  case LIMIT:
    now = m->in_use + more > m->limit;
    break;
  case NONE:
  case OUTSIDE:
  case MODES:
    break;
  }
  m->left--;
  m->fired |= now;
  return now;
}

static void *allocate(void *data, void *block, size_t old, size_t size)
{
  memory *m = data;
  if (!block)
    old = 0;
  if (size == 0) {
    __libc_free(block);
    m->in_use -= old;
    return NULL;
  }
  if (size > old && fails(m, size - old))
    return NULL;
  void *moved = __libc_realloc(block, size);
  if (moved)
    m->in_use = m->in_use - old + size;
  return moved;
}

/* --- what scripts may call -------------------------------------------- */

static int host_fork(lua_State *L)
{
  fflush(NULL);
  lua_pushinteger(L, fork());
  return 1;
}

/* The exit code, or minus the signal's number. */
static int host_wait(lua_State *L)
{
  int status = 0;
  waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0);
  lua_pushinteger(L, WIFSIGNALED(status) ? -WTERMSIG(status)
                                         : WEXITSTATUS(status));
  return 1;
}

static int descriptors(void)
{
  int count = 0;
  DIR *dir = opendir("/proc/self/fd");
  while (dir && readdir(dir))
    count++;
  if (dir)
    closedir(dir);
  return count - 3; /* itself, and two names of folders */
}

static int host_descriptors(lua_State *L)
{
  lua_pushinteger(L, descriptors());
  return 1;
}

static int host_blocks(lua_State *L)
{
  lua_pushinteger(L, blocks());
  return 1;
}

/* Kilobytes. */
static long resident(void)
{
  long all = 0, here = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file && fscanf(file, "%ld %ld", &all, &here) != 2)
    here = 0;
  if (file)
    fclose(file);
  return here * (sysconf(_SC_PAGESIZE) / 1024);
}

static int host_resident(lua_State *L)
{
  lua_pushinteger(L, resident());
  return 1;
}

/* --- states ----------------------------------------------------------- */

static int panic(lua_State *L)
{
  fprintf(stderr, "oomhost: panic: %s\n", lua_tostring(L, -1));
  return 0;
}

static lua_State *open_state(memory *m)
{
  static const luaL_Reg functions[] = {{"fork", host_fork},
                                       {"wait", host_wait},
                                       {"descriptors", host_descriptors},
                                       {"blocks", host_blocks},
                                       {"resident", host_resident},
                                       {NULL, NULL}};
  *m = (memory){.mode = NONE};
  lua_State *L = lua_newstate(allocate, m);
  lua_atpanic(L, panic);
  luaL_openlibs(L);
  luaL_newlib(L, functions);
  lua_setglobal(L, "host");
  return L;
}

/* Answers whether the call on the stack went well; says what did not. */
static bool call(lua_State *L, int arguments, int results)
{
  if (lua_pcall(L, arguments, results, 0) == LUA_OK)
    return true;
  fprintf(stderr, "oomhost: %s\n", luaL_tolstring(L, -1, NULL));
  return false;
}

static bool run_script(lua_State *L, const char *path)
{
  if (luaL_loadfile(L, path) == LUA_OK)
    return call(L, 0, 1);
  fprintf(stderr, "oomhost: %s\n", lua_tostring(L, -1));
  return false;
}

static int close_state(lua_State *L, memory *m, int code)
{
  lua_close(L);
  if (m->in_use == 0)
    return code;
  fprintf(stderr, "oomhost: lua_close left %zu bytes\n", m->in_use);
  return 1;
}

/* --- failing ---------------------------------------------------------- */

enum { LIMIT_STEP = 1500 /* bytes */ };

/* One attempt whose n-th allocation fails, and its verification. */
static bool attempt(lua_State *L, memory *m, mode how, long n)
{
  lua_gc(L, LUA_GCCOLLECT);
  lua_gc(L, LUA_GCCOLLECT);
  lua_getfield(L, 1, "verify");
  lua_getfield(L, 1, "attempt");
  m->fired = false;
  m->left = n - 1;
  m->limit = m->in_use + (size_t)(n - 1) * LIMIT_STEP;
  atomic_store(&outside_fired, false);
  atomic_store(&outside_left, how == OUTSIDE ? n - 1 : -1);
  m->mode = how;
  int status = lua_pcall(L, 0, 1, 0);
  m->mode = NONE;
  atomic_store(&outside_left, -1);
  m->fired |= atomic_load(&outside_fired);
  lua_gc(L, LUA_GCCOLLECT);
  lua_gc(L, LUA_GCCOLLECT);
  lua_pushboolean(L, status == LUA_OK);
  lua_insert(L, -2);
  bool good = call(L, 2, 0);
  lua_settop(L, 1);
  lua_gc(L, LUA_GCCOLLECT);
  lua_gc(L, LUA_GCCOLLECT);
  return good;
}

static long kept(void)
{
  return blocks() + descriptors();
}

/* How many blocks and descriptors more than before, after a moment for helper
 * threads to give back theirs. */
static long left_over(long before)
{
  static const struct timespec moment = {.tv_nsec = 5000000};
  for (int i = 0; i < 200 && kept() > before; i++)
    nanosleep(&moment, NULL);
  return kept() - before;
}

/* Fails the n-th allocation, a few times as long as something is left behind:
 * what is made once and kept is no leak. */
static bool try_at(lua_State *L, memory *m, mode how, long n)
{
  for (int again = 0; again < 4; again++) {
    long before = kept();
    if (!attempt(L, m, how, n)) {
      fprintf(stderr, "oomhost: failing %s at %ld\n", mode_names[how], n);
      return false;
    }
    if (kept() <= before || (again == 3 && left_over(before) <= 0))
      return true;
  }
  fprintf(stderr, "oomhost: failing %s at %ld leaks\n", mode_names[how], n);
  return false;
}

static bool sweep(lua_State *L, memory *m, mode how)
{
  for (int i = 0; i < 3; i++) /* without failures */
    if (!attempt(L, m, NONE, 1))
      return false;
  for (long n = 1;; n++) {
    if (!try_at(L, m, how, n))
      return false;
    if (!m->fired) {
      printf("%ld\n", n - 1);
      return true;
    }
  }
}

static int fail(mode how, const char *script)
{
  memory m;
  lua_State *L = open_state(&m);
  bool good = run_script(L, script) && sweep(L, &m, how);
  return close_state(L, &m, good ? 0 : 1);
}

/* --- the other commands ----------------------------------------------- */

static int run(const char *script)
{
  memory m;
  lua_State *L = open_state(&m);
  int code = run_script(L, script) ? (int)lua_tointeger(L, -1) : 1;
  return close_state(L, &m, code);
}

/* Prints descriptors, resident kilobytes and blocks, a fifth of the way on
 * and at the end. */
static int cycle(int count, const char *script)
{
  static char output[BUFSIZ]; /* not among the blocks */
  setvbuf(stdout, output, _IOLBF, sizeof output);
  for (int i = 1; i <= count; i++) {
    if (run(script) != 0)
      return 1;
    if (i == count / 5 || i == count)
      printf("%d %ld %ld\n", descriptors(), resident(), blocks());
  }
  return 0;
}

static void *run_thread(void *script)
{
  return (void *)(intptr_t)run(script);
}

static int threads(int count, char *script)
{
  pthread_t all[64];
  int code = 0;
  for (int i = 0; i < count && i < 64; i++)
    pthread_create(&all[i], NULL, run_thread, script);
  for (int i = 0; i < count && i < 64; i++) {
    void *result;
    pthread_join(all[i], &result);
    code |= (int)(intptr_t)result;
  }
  return code;
}

static mode mode_named(const char *name)
{
  for (mode m = NONE; m < MODES; m++)
    if (strcmp(name, mode_names[m]) == 0)
      return m;
  return MODES;
}

int main(int count, char **words)
{
  if (count == 3 && strcmp(words[1], "run") == 0)
    return run(words[2]);
  if (count == 4 && strcmp(words[1], "cycle") == 0)
    return cycle(atoi(words[2]), words[3]);
  if (count == 4 && strcmp(words[1], "threads") == 0)
    return threads(atoi(words[2]), words[3]);
  if (count == 4 && strcmp(words[1], "fail") == 0) {
    mode how = mode_named(words[2]);
    if (how == OUTSIDE && !COUNTED)
      return puts("not here") < 0;
    if (how != MODES)
      return fail(how, words[3]);
  }
  fputs("usage: see the head of oomhost.c\n", stderr);
  return 2;
}
