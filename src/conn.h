/* SPDX-License-Identifier: MIT */
/* conn: the connection userdata, which owns the wire and everything that
 * belongs to the session, and the handles that scripts hold: a handle is a
 * connection with settings (`db`, `db:with{}`).
 * "e" in a comment: may raise a Lua error. */
#ifndef LPG_CONN_H
#define LPG_CONN_H

#include <lua.h>

#include "params.h"
#include "process.h"
#include "settings.h"
#include "typemap.h"
#include "wire.h"

struct lpg_op;
struct lpg_hold;

/* ROLLBACK TO SAVEPOINT and a name; BEGIN and all that it can be told. */
enum { LPG_UNDO = 64, LPG_BEGIN = 96 };

typedef struct lpg_conn {
  lpg_wire wire;
  lpg_params params;     /* of the request being sent */
  struct lpg_op *op;     /* the operation under way, or NULL */
  struct lpg_hold *hold; /* what keeps it busy between calls, or NULL */
  lpg_process process;   /* a forked child must not touch the connection */
  const lpg_ceilings *ceilings; /* the host's; the registry keeps them */
  bool closed;                  /* by the program */
  bool held;          /* an operation works on the wire: closing has to wait */
  bool has_wait;      /* LPG_CONN_WAIT holds a function, */
  bool has_meanwhile; /* LPG_CONN_MEANWHILE one for the next statement */
  bool pooler;        /* something stands between us and the server */
  bool utf8;          /* the server's own encoding is UTF8 */
  int encoding;       /* the client's, by libpq's number; -1: not reported */
  bool shy; /* text results cannot be trusted here: binary where possible */
  bool readonly;
  enum { LPG_SETTLED, LPG_TABLES, LPG_DDL } unsettled; /* by a transaction */
  struct lpg_scope *scope;       /* the innermost transaction that is open */
  const struct lpg_lease *lease; /* of who has borrowed it; to compare only */
  double deadline;               /* of the outermost; 0: none */
  bool broken; /* the transaction is not the one that was begun any more */
  bool astray; /* a hold was broken whose savepoint has to be undone */
  char undo[LPG_UNDO];    /* what an abandoned transaction owes; or empty */
  char begin[LPG_BEGIN];  /* what goes with the scope's first statement */
  char tag[24];           /* the last command that has no row count */
  bool settings_changed;  /* those that no server tells of: by a script */
  bool named;             /* the program ran PREPARE */
  int version;            /* PQserverVersion */
  bool prepares;          /* statements that recur get names */
  unsigned prefix, names; /* of them: this session's own, and how many */
  int retired;            /* names to be closed */
  unsigned epoch;         /* counts changes of settings, and their undoing */
  bool preset;        /* what the session's own defaults say had to be set */
  double patience;    /* seconds that opening may take, of a pool; 0: as told */
  lpg_typemap *types; /* LPG_CONN_TYPES */
  bool codecs;        /* LPG_CONN_CODECS holds some; */
  bool recent;        /* some were learnt in the transaction that is open */
  bool torn;       /* memory ran out while codecs began: types are in doubt */
  bool codecs_due; /* the server has to say which types they are for */
  bool shares;     /* them, with LPG_CONN_GROUP; */
  bool parted;     /* but what the group knows may be out of date */
  char server[32]; /* since when it runs; empty: it did not say */
} lpg_conn;

/* User values of a connection. */
enum {
  LPG_CONN_SPEC = 1,   /* what it was opened with; never shown to scripts */
  LPG_CONN_WAIT,       /* the `wait` function, or nil */
  LPG_CONN_IDENTITY,   /* name, host, port, ...: what errors may show */
  LPG_CONN_STATEMENTS, /* the statement cache */
  LPG_CONN_RETIRED,    /* DEALLOCATE of the names that were given up */
  LPG_CONN_CATALOG,    /* a table for the Lua layer's catalogue answers */
  LPG_CONN_OP,         /* an operation userdata to use again */
  LPG_CONN_CAUSE,      /* the error that lost the connection */
  LPG_CONN_FAILURE,    /* the first error of the transaction */
  LPG_CONN_TYPES,      /* what is known of the server's own types */
  LPG_CONN_GROUP,      /* share.h */
  LPG_CONN_CODECS,     /* by the names of types */
  LPG_CONN_CODED,      /* the same, {OID, functions, ...}: conn_codecs.h */
  LPG_CONN_NAMES,      /* of types, as values say them: named.h */
  LPG_CONN_MEANWHILE,  /* a function to call while a statement runs */
  LPG_CONN_VALUES = LPG_CONN_MEANWHILE
};

/* What a handle may be used by: the body of a transaction, or whoever has
 * borrowed it from a pool. */
typedef struct lpg_lease {
  const char *ended; /* why no more; NULL: it may be used */
  bool session;      /* a pool's: it lasts while the connection says so */
} lpg_lease;

typedef struct lpg_handle {
  lpg_conn *conn;         /* kept alive by user value 1 */
  const lpg_lease *lease; /* by user value 2; or NULL */
  bool owner;             /* closing it closes the connection */
  bool borrowed;          /* closing it gives it back to its pool */
  lpg_settings settings;
} lpg_handle;

/* Pushes a new connection without a PGconn. e */
lpg_conn *lpg_conn_new(lua_State *L);
/* Pushes a handle on the connection at `index`. e */
lpg_handle *lpg_handle_new(lua_State *L, int index);
/* The handle at `index`, of whatever state; else raises. e */
lpg_handle *lpg_handle_any(lua_State *L, int index);
/* Has the handle's pool got the session back? Then it is somebody else's. */
static inline bool lpg_handle_returned(const lpg_handle *h)
{
  return h->lease && h->lease->session && h->conn->lease != h->lease;
}
/* Pushes the handles' metatable: as its first upvalue it makes a function's
 * checks short. e */
void lpg_handle_type(lua_State *L);
/* Raises unless the handle is open, of this process, and not taken back. e */
void lpg_handle_need(lua_State *L, const lpg_handle *handle);
/* Raises where a codec's function runs, whose connection it may be. e */
void lpg_handle_need_rest(lua_State *L, const lpg_handle *handle);
/* The handle at `index`, fit for use like that; else raises. e */
lpg_handle *lpg_handle_check(lua_State *L, int index);
/* The same for the handle at `index`, and free for a statement: what has run
 * since it was checked may have closed it. Answers false, with nil and the
 * error pushed, when the connection is lost; raises when it is closed or busy.
 * e */
bool lpg_handle_ready(lua_State *L, int index, const lpg_handle *handle);

/* The fields on the top become nil and an error of the connection, which its
 * transaction remembers, if it is still the handle's. Answers 2. e */
int lpg_handle_fail(lua_State *L, int index);
/* The same remembering for the error on the top; the connection at `index`. e
 */
void lpg_conn_record(lua_State *L, int index);

/* Closes and lets go of everything; the operation under way is cut off. */
void lpg_conn_close(lpg_conn *c);
/* The same at the program's word: the server is asked to stop, too. Where an
 * operation holds the connection (a finalizer runs in its middle) it only sets
 * `closed`, and the operation closes. So it does where an event loop waits for
 * the descriptor, which must not be closed under it: it is woken. */
void lpg_conn_shut(lpg_conn *c);
/* Fills in LPG_CONN_IDENTITY of the connection at `index`. e */
void lpg_conn_identify(lua_State *L, int index);

void lpg_conn_open_library(lua_State *L, int methods);

#endif
