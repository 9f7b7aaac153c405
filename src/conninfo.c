/* SPDX-License-Identifier: MIT */
#include "conninfo.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box.h"
#include "deadline.h"
#include "error.h"

enum { DEFAULT_TIMEOUT = 10 }; /* seconds */

/* --- the `require` default -------------------------------------------- */

static bool is_loopback(const char *host, size_t length)
{
  static const char *const names[] = {"localhost", "::1", "[::1]"};
  if (length == 0 || *host == '/' || *host == '@')
    return true; /* the default socket, or a socket by name */
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strlen(names[i]) == length && strncmp(host, names[i], length) == 0)
      return true;
  return length > 4 && strncmp(host, "127.", 4) == 0 &&
         strspn(host, "0123456789.") >= length;
}

/* Is one of the comma-separated hosts remote by its spelling? */
static bool has_remote(const char *hosts)
{
  while (hosts && *hosts) {
    size_t length = strcspn(hosts, ",");
    if (!is_loopback(hosts, length))
      return true;
    hosts += length + (hosts[length] == ',');
  }
  return false;
}

static const char *value_of(const PQconninfoOption *options, const char *name)
{
  for (; options && options->keyword; options++)
    if (strcmp(options->keyword, name) == 0)
      return options->val;
  return NULL;
}

/* A keyword of the table at `keywords`, else what the options hold. */
static const char *effective(lua_State *L, int keywords, const char *name,
                             const PQconninfoOption *options)
{
  lua_getfield(L, keywords, name);
  const char *given = lua_tostring(L, -1);
  lua_pop(L, 1); /* the table keeps it */
  return given && *given ? given : value_of(options, name);
}

static bool wants_require(lua_State *L, int keywords,
                          const PQconninfoOption *options)
{
  const char *mode = value_of(options, "sslmode");
  const char *root = effective(L, keywords, "sslrootcert", options);
  if ((mode && strcmp(mode, "prefer") != 0) ||
      (root && strcmp(root, "system") == 0)) /* implies verify-full */
    return false;
  const char *address = effective(L, keywords, "hostaddr", options);
  return has_remote(
      address && *address ? address : effective(L, keywords, "host", options));
}

/* --- files ------------------------------------------------------------ */

bool lpg_conninfo_check(lua_State *L, int keywords)
{
  static const char *const files[] = {"sslrootcert", "sslcert",   "sslkey",
                                      "sslcrl",      "sslcrldir", "passfile"};
  keywords = lua_absindex(L, keywords);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    lua_getfield(L, keywords, files[i]);
    const char *path = lua_tostring(L, -1);
    bool system = path && i == 0 && strcmp(path, "system") == 0;
    if (system && PQlibVersion() < 160000) {
      lpg_error_new(L, "ssl_failed",
                    "sslrootcert = \"system\" needs libpq 16 or newer");
      return false;
    }
    bool engine = path && i == 2 && *path != '/' && strchr(path, ':');
    if (path && *path && !system && !engine && access(path, R_OK) != 0) {
      lpg_error_new(L, i < 5 ? "ssl_failed" : "authentication_failed",
                    "cannot read %s \"%s\": %s", files[i], path,
                    strerror(errno));
      return false;
    }
    lua_pop(L, 1);
  }
  return true;
}

/* libpq warns on stderr about a password file that others may read, and then
 * does not use it: so it is not shown the file. */
static bool password_file_unfit(lua_State *L, int keywords,
                                const PQconninfoOption *defaults)
{
  char path[PATH_MAX];
  struct stat s;
  const char *given = effective(L, keywords, "passfile", defaults);
  if (given && *given) {
    snprintf(path, sizeof path, "%s", given);
  } else {
    const char *home = getenv("HOME");
    const struct passwd *user = home && *home ? NULL : getpwuid(geteuid());
    snprintf(path, sizeof path, "%s/.pgpass",
             user ? user->pw_dir : (home ? home : ""));
  }
  return stat(path, &s) == 0 && (!S_ISREG(s.st_mode) || (s.st_mode & 077));
}

/* --- starting --------------------------------------------------------- */

/* What is added to the given keywords. */
typedef struct extras {
  const char *password, *sslmode, *passfile;
} extras;

static void add(const char **names, const char **values, size_t *n,
                const char *name, const char *value)
{
  if (!value)
    return;
  names[*n] = name;
  values[(*n)++] = value;
}

/* The keywords as libpq takes them; the strings belong to the table. */
static void start(lua_State *L, lpg_wire *w, int keywords, extras more,
                  double timeout)
{
  lpg_buffer *box = lpg_box_new(L);
  size_t room = sizeof more / sizeof(char *) + 1, n = 0;
  for (lua_pushnil(L); lua_next(L, keywords); lua_pop(L, 1))
    room++;
  const char **names =
      (const char **)(void *)lpg_buffer_room(box, 2 * room * sizeof *names);
  if (!names)
    luaL_error(L, "not enough memory");
  const char **values = names + room;
  for (lua_pushnil(L); lua_next(L, keywords); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "connection keywords must be strings");
    add(names, values, &n, lua_tostring(L, -2), lua_tostring(L, -1));
  }
  add(names, values, &n, "password", more.password);
  add(names, values, &n, "sslmode", more.sslmode);
  add(names, values, &n, "passfile", more.passfile);
  names[n] = values[n] = NULL;
  lpg_wire_connect(w, names, values, lpg_now() + timeout);
  lpg_buffer_free(box);
  lua_pop(L, 1);
}

void lpg_conninfo_start(lua_State *L, lpg_wire *w, int keywords,
                        const char *password, bool open_ssl, double *timeout)
{
  keywords = lua_absindex(L, keywords);
  bool service = lua_getfield(L, keywords, "service") == LUA_TSTRING;
  lua_pop(L, 1);
  PQconninfoOption *options = PQconndefaults();
  extras more = {.password = password};
  if (!password && password_file_unfit(L, keywords, options))
    more.passfile = "/dev/null/none";
  if (open_ssl && !service && wants_require(L, keywords, options))
    more.sslmode = "require";
  PQconninfoFree(options);
  start(L, w, keywords, more, *timeout);
  if (!w->pg)
    return;
  options = PQconninfo(w->pg); /* what the service file says is known now */
  const char *seconds = value_of(options, "connect_timeout");
  if (!(*timeout > 0))
    *timeout = seconds ? atof(seconds) : 0;
  if (!(*timeout > 0))
    *timeout = DEFAULT_TIMEOUT;
  bool again = open_ssl && service && wants_require(L, keywords, options);
  PQconninfoFree(options);
  if (again) {
    more.sslmode = "require";
    lpg_wire_close(w);
    start(L, w, keywords, more, *timeout);
  }
  w->deadline = w->started + *timeout;
}

/* --- for options.lua -------------------------------------------------- */

static int push_options(lua_State *L, PQconninfoOption *options)
{
  lua_newtable(L);
  for (const PQconninfoOption *o = options; o && o->keyword; o++) {
    if (!o->val)
      continue;
    lua_pushstring(L, o->val);
    lua_setfield(L, -2, o->keyword);
  }
  PQconninfoFree(options);
  return 1;
}

/* core.parse_conninfo(text): the keywords of a URI or conninfo string, or nil
 * and libpq's message, which may quote parts of a password. */
static int parse_conninfo(lua_State *L)
{
  char *message = NULL;
  PQconninfoOption *options = PQconninfoParse(luaL_checkstring(L, 1), &message);
  if (options)
    return push_options(L, options);
  lua_pushnil(L);
  lua_pushstring(L, message ? message : "not enough memory");
  PQfreemem(message);
  return 2;
}

/* core.keywords(): the names of all connection keywords of this libpq. */
static int keywords(lua_State *L)
{
  PQconninfoOption *options = PQconndefaults();
  lua_newtable(L);
  for (const PQconninfoOption *o = options; o && o->keyword; o++) {
    lua_pushboolean(L, true);
    lua_setfield(L, -2, o->keyword);
  }
  PQconninfoFree(options);
  return 1;
}

void lpg_conninfo_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {
      {"parse_conninfo", parse_conninfo}, {"keywords", keywords}, {NULL, NULL}};
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 1);
}
