/* SPDX-License-Identifier: MIT */
#include "conninfo.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "box.h"
#include "deadline.h"
#include "error.h"

enum { DEFAULT_TIMEOUT = 10 }; /* seconds */

static const char *const box_name = "pg.conninfo/1";

/* --- what counts ------------------------------------------------------ */

static int release(lua_State *L)
{
  PQconninfoOption **box = luaL_checkudata(L, 1, box_name);
  PQconninfoFree(*box);
  *box = NULL;
  return 0;
}

/* Pushes it: owned by Lua before it holds anything. */
static PQconninfoOption **box_new(lua_State *L)
{
  PQconninfoOption **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, box_name);
  return box;
}

/* Pushes a box with what the environment and the service file say. A service
 * that is named among the keywords is read by starting a connection that
 * cannot begin: no list of hosts is as long as its list of ports. */
static PQconninfoOption **look_round(lua_State *L, int keywords)
{
  char ports[256] = {0};
  memset(ports, ',', sizeof ports - 1);
  PQconninfoOption **box = box_new(L);
  if (lua_getfield(L, keywords, "service") == LUA_TSTRING) {
    const char *const names[] = {"service", "port", NULL};
    const char *const values[] = {lua_tostring(L, -1), ports, NULL};
    PGconn *probe = PQconnectStartParams(names, values, 0);
    *box = PQconninfo(probe);
    PQfinish(probe);
  } else {
    *box = PQconndefaults();
  }
  lua_pop(L, 1);
  return box;
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
  lua_pushstring(L, name);
  bool string = lua_rawget(L, keywords) == LUA_TSTRING;
  const char *given = string ? lua_tostring(L, -1) : NULL;
  lua_pop(L, 1); /* the table keeps it */
  return given && *given ? given : value_of(options, name);
}

/* --- the `require` default -------------------------------------------- */

static bool is_loopback(const char *host, size_t length)
{
  static const char *const names[] = {"localhost", "::1", "[::1]"};
  if (length == 0 || *host == '/' || *host == '@')
    return true; /* the default socket, or a socket by name */
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strlen(names[i]) == length && strncasecmp(host, names[i], length) == 0)
      return true;
  return length > 4 && strncmp(host, "127.", 4) == 0 &&
         strspn(host, "0123456789.") >= length;
}

/* Is one of the comma-separated hosts remote by its spelling? Where there is
 * an address for it, that counts. */
static bool has_remote(const char *hosts, const char *addresses)
{
  hosts = hosts ? hosts : "";
  addresses = addresses ? addresses : "";
  for (;;) {
    size_t host = strcspn(hosts, ","), address = strcspn(addresses, ",");
    if (address ? !is_loopback(addresses, address) : !is_loopback(hosts, host))
      return true;
    if (!hosts[host] && !addresses[address])
      return false;
    hosts += host + (hosts[host] == ',');
    addresses += address + (addresses[address] == ',');
  }
}

static bool wants_require(lua_State *L, int keywords,
                          const PQconninfoOption *options)
{
  const char *mode = value_of(options, "sslmode");
  const char *root = effective(L, keywords, "sslrootcert", options);
  if ((mode && strcmp(mode, "prefer") != 0) ||
      (root && strcmp(root, "system") == 0)) /* implies verify-full */
    return false;
  return has_remote(effective(L, keywords, "host", options),
                    effective(L, keywords, "hostaddr", options));
}

/* --- files ------------------------------------------------------------ */

/* Are the files there that the keywords and the options name? If not, answers
 * false and pushes the fields of an error: libpq overlooks some of them, and a
 * password file that the environment names may be absent. */
static bool check_files(lua_State *L, int keywords,
                        const PQconninfoOption *options)
{
  static const char *const files[] = {"sslrootcert", "sslcert",   "sslkey",
                                      "sslcrl",      "sslcrldir", "passfile"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    const char *path = effective(L, keywords, files[i], i < 5 ? options : NULL);
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
  }
  return true;
}

/* libpq warns on stderr about a password file that others may read, and then
 * does not use it: so it is not shown the file. */
static bool password_file_unfit(lua_State *L, int keywords,
                                const PQconninfoOption *options)
{
  char path[PATH_MAX], room[1024];
  struct passwd entry, *user = NULL;
  struct stat s;
  const char *given = effective(L, keywords, "passfile", options);
  const char *home = getenv("HOME");
  if (given && *given) {
    snprintf(path, sizeof path, "%s", given);
  } else {
    if (!home || !*home)
      getpwuid_r(geteuid(), &entry, room, sizeof room, &user);
    snprintf(path, sizeof path, "%s/.pgpass",
             user ? user->pw_dir : (home ? home : ""));
  }
  return stat(path, &s) == 0 && (!S_ISREG(s.st_mode) || (s.st_mode & 077));
}

/* --- several hosts ---------------------------------------------------- */

typedef struct hosts {
  const char *names, *addresses, *ports; /* never NULL */
  int count; /* 1 also where libpq goes through the list in its own way */
} hosts;

static int length_of(const char *list)
{
  int n = 1;
  while ((list = strchr(list, ',')) != NULL)
    n++, list++;
  return n;
}

static hosts hosts_of(lua_State *L, int keywords,
                      const PQconninfoOption *options)
{
  static const char *const names[] = {
      "host", "hostaddr", "port", "target_session_attrs", "load_balance_hosts"};
  const char *found[5];
  for (int i = 0; i < 5; i++) {
    found[i] = effective(L, keywords, names[i], options);
    found[i] = found[i] ? found[i] : "";
  }
  hosts h = {found[0], found[1], found[2],
             length_of(*found[1] ? found[1] : found[0])};
  if (strcmp(found[3], "prefer-standby") == 0 ||
      strcmp(found[4], "random") == 0)
    h.count = 1;
  return h;
}

/* The rest of a list; NULL where nothing is to be changed. */
static const char *beyond(const char *list, int skipped)
{
  if (skipped == 0 || !strchr(list, ','))
    return NULL;
  for (; skipped > 0; skipped--)
    list += strcspn(list, ",") + 1;
  return list;
}

/* Is the item at that place empty, or the word? */
static bool item_is(const char *list, int place, const char *word)
{
  for (; place > 0 && *list; place--) {
    list += strcspn(list, ",");
    list += *list == ',';
  }
  size_t length = strcspn(list, ",");
  return length == 0 ||
         (strlen(word) == length && !strncmp(list, word, length));
}

static bool is_at(const hosts *h, int place, const PGconn *pg)
{
  bool one_port = !strchr(h->ports, ',');
  return item_is(*h->names ? h->names : h->addresses, place, PQhost(pg)) &&
         item_is(h->ports, one_port ? 0 : place, PQport(pg));
}

/* --- starting --------------------------------------------------------- */

/* What is added to the given keywords. */
typedef struct extras {
  const char *password, *sslmode, *passfile, *host, *hostaddr, *port;
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
                  double deadline)
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
  add(names, values, &n, "host", more.host);
  add(names, values, &n, "hostaddr", more.hostaddr);
  add(names, values, &n, "port", more.port);
  names[n] = values[n] = NULL;
  lpg_wire_connect(w, names, values, deadline);
  lpg_buffer_free(box);
  lua_pop(L, 1);
}

bool lpg_conninfo_start(lua_State *L, lpg_wire *w, int keywords, lpg_attempt *a)
{
  keywords = lua_absindex(L, keywords);
  PQconninfoOption **box = look_round(L, keywords);
  if (!check_files(L, keywords, *box))
    return false;
  hosts all = hosts_of(L, keywords, *box);
  extras more = {a->password,
                 NULL,
                 NULL,
                 beyond(all.names, a->skipped),
                 beyond(all.addresses, a->skipped),
                 beyond(all.ports, a->skipped)};
  if (!a->password && password_file_unfit(L, keywords, *box))
    more.passfile = "/dev/null/none";
  if (a->open_ssl && wants_require(L, keywords, *box))
    more.sslmode = "require";
  const char *seconds = value_of(*box, "connect_timeout");
  if (!(a->timeout > 0))
    a->timeout = seconds ? atof(seconds) : 0;
  if (!(a->timeout > 0))
    a->timeout = DEFAULT_TIMEOUT;
  if (a->most > 0 && a->timeout > a->most)
    a->timeout = a->most;
  a->hosts = all.count;
  start(L, w, keywords, more,
        lpg_now() + a->timeout / (all.count - a->skipped));
  PQconninfoFree(*box);
  *box = NULL;
  return true;
}

int lpg_conninfo_place(lua_State *L, int keywords, const PGconn *pg, int first)
{
  keywords = lua_absindex(L, keywords);
  PQconninfoOption **box = look_round(L, keywords);
  hosts all = hosts_of(L, keywords, *box);
  int place = first;
  while (place < all.count - 1 && !is_at(&all, place, pg))
    place++;
  PQconninfoFree(*box);
  *box = NULL;
  lua_pop(L, 1);
  return place < all.count - 1 || is_at(&all, place, pg) ? place : first;
}

/* --- for options.lua -------------------------------------------------- */

/* core.parse_conninfo(text): the keywords of a URI or conninfo string, or nil
 * and libpq's message, which may quote parts of a password. */
static int parse_conninfo(lua_State *L)
{
  char *message = NULL, copy[1024] = "not enough memory";
  const char *text = luaL_checkstring(L, 1);
  PQconninfoOption **box = box_new(L);
  *box = PQconninfoParse(text, &message);
  if (!*box) {
    if (message)
      snprintf(copy, sizeof copy, "%s", message);
    PQfreemem(message);
    lua_pushnil(L);
    lua_pushstring(L, copy);
    return 2;
  }
  lua_newtable(L);
  for (const PQconninfoOption *o = *box; o->keyword; o++) {
    if (!o->val)
      continue;
    lua_pushstring(L, o->val);
    lua_setfield(L, -2, o->keyword);
  }
  return 1;
}

/* core.keywords(): the names of all connection keywords of this libpq. */
static int keywords(lua_State *L)
{
  PQconninfoOption **box = box_new(L);
  *box = PQconndefaults();
  lua_newtable(L);
  for (const PQconninfoOption *o = *box; o && o->keyword; o++) {
    lua_pushboolean(L, true);
    lua_setfield(L, -2, o->keyword);
  }
  return 1;
}

void lpg_conninfo_open_library(lua_State *L, int core)
{
  static const luaL_Reg functions[] = {
      {"parse_conninfo", parse_conninfo}, {"keywords", keywords}, {NULL, NULL}};
  static const luaL_Reg meta[] = {
      {"__gc", release}, {"__close", release}, {NULL, NULL}};
  luaL_newmetatable(L, box_name);
  luaL_setfuncs(L, meta, 0);
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, core);
  luaL_setfuncs(L, functions, 0);
  lua_pop(L, 2);
}
