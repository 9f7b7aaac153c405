-- The kinds of error and what to try for each, as data: errors.lua fills them in, doc/errors.md and
-- the README are made from them. Knows nothing of connections, results or how errors are shown.
-- In a text {name|default} is a fact of the error, or the default; {=name} is one of `texts`.
-- Only methods that exist are named, and SQL stands at the end of its text, ready to be copied.
-- SPDX-License-Identifier: MIT

---@class pg.Kind
---@field kind string the word in err.kind
---@field sqlstates string[] SQLSTATEs of five characters; two characters stand for a whole class
---@field when string when it happens
---@field message string the message where neither the server nor libpq has one
---@field example string what err.message looks like
---@field fixes string[] what to try, in order

local M = {}

-- A host may replace these: `require("pg.errors").texts.allow_list = "..."`.
M.texts = {
  allow_list = "Verify that the server's IP allow-list includes this machine.",
  ceiling_timeout = "The host allows no more (pg.limits). Ask the host for a higher ceiling.",
  ceiling_result = "The host allows no more (pg.limits). Ask the host for a higher ceiling.",
}

-- For statements that have no place for a parameter.
M.no_parameters = "DDL, DO and SET take no parameters. pg.identifier and pg.literal quote names "
  .. "and values for DDL. For SET: SELECT set_config('name', $1, false)"

local sign_in <const> = {
  "Verify that the user name is correct{user_is|}.",
  "Verify that the password is correct: in the options, PGPASSWORD or the password file.",
  "Check that the role has login permission: ALTER ROLE {role|app_user} LOGIN",
  "Verify that the database name is correct{database_is|}.",
  "Check that the role is not locked: SELECT rolcanlogin, rolvaliduntil, rolconnlimit "
    .. "FROM pg_roles WHERE rolname = {role_text|'app_user'}",
}

---@type pg.Kind[]
M.kinds = {
  {
    kind = "connection_refused",
    sqlstates = {},
    when = "Nothing listens at that place, or the host is unknown or cannot be reached.",
    message = "the server cannot be reached",
    example = 'connection to server at "127.0.0.1", port 5432 failed: Connection refused',
    fixes = {
      "Verify that host and port are correct{place|}.",
      "Check that the database server is running.",
      "Verify network connectivity from this machine to the server.",
      "Check that the firewall rules allow the connection.",
      "{=allow_list}",
    },
  },
  {
    kind = "connect_timeout",
    sqlstates = {},
    when = "No connection within connect_timeout, which covers every host, TCP, TLS and sign-in.",
    message = "no connection within the connect_timeout{limit_is|}{place|}",
    example = 'no connection within the connect_timeout of 10 s: host "10.0.0.1", port 5432',
    fixes = {
      "Verify that host and port are correct{place|}. Silence usually means a wrong address, or "
        .. "a firewall that drops packets.",
      "Check that the database server is running and not overloaded.",
      "Check that the firewall rules allow the connection.",
      "{=allow_list}",
      "Raise connect_timeout if the server is just slow to answer.",
    },
  },
  {
    kind = "authentication_failed",
    sqlstates = { "28P01", "28000", "3D000" },
    when = "The server does not accept the user, the password, the client certificate or the "
      .. "database name.",
    message = "the server did not accept the user or the password",
    example = 'connection to server at "127.0.0.1", port 5432 failed: '
      .. 'password authentication failed for user "app_user"',
    fixes = sign_in,
  },
  {
    kind = "ssl_required",
    sqlstates = { "28000" },
    when = "The server insists on SSL and the connection was not encrypted.",
    message = "the server requires SSL, and the connection does not use it",
    example = 'no pg_hba.conf entry for host "127.0.0.1", user "app_user", database "myapp", '
      .. "no encryption",
    fixes = {
      'Change the SSL mode to sslmode = "require", or to "verify-full", which also proves that '
        .. "it is the right server.",
      "Update the connection settings wherever they are kept: the saved connection, the URI, "
        .. "the service file or PGSSLMODE.",
      "Test the connection again with pg.test{ ... }.",
    },
  },
  {
    kind = "ssl_failed",
    sqlstates = {},
    when = "The certificate, the host name or the TLS handshake failed, or the server has no SSL.",
    message = "the encrypted connection could not be made",
    example = 'connection to server at "127.0.0.1", port 5432 failed: '
      .. "SSL error: certificate verify failed",
    fixes = {
      "Check that sslrootcert names a readable file with the CA that signed the server's "
        .. 'certificate. From libpq 16 on, "system" takes the CAs of the operating system.',
      "As host, use the name that stands in the server's certificate.",
      "Check that no certificate has expired or been revoked, and that this machine's clock "
        .. "is right.",
      "Check the client's certificate: sslcert and sslkey must belong together, and only "
        .. "their owner may read the key (chmod 600).",
    },
  },
  {
    kind = "too_many_connections",
    sqlstates = { "53300" },
    when = "The server, the database, the role or the pooler has reached its connection limit.",
    message = "the server takes no more connections",
    example = "sorry, too many clients already",
    fixes = {
      "Check the current connections: SELECT count(*) FROM pg_stat_activity",
      "Close connections that nobody uses: db:close(), or local db <close> = assert(...).",
      "Increase max_connections (the database administrator does this).",
      "Reuse connections: run many queries on one, instead of connecting for each.",
    },
  },
  {
    kind = "pool_timeout",
    sqlstates = {},
    when = "No connection of the pool became free in time.",
    message = "no connection of the pool became free{elapsed_is|}",
    example = "no connection of the pool became free after 5 s",
    fixes = {
      "Give connections back sooner: do no slow work while you hold one.",
      "Make the pool larger, as far as the server's max_connections allows.",
      "Look for a connection that is never given back.",
      "Wait longer: raise the pool's acquire_timeout.",
    },
  },
  {
    kind = "permission_denied",
    sqlstates = { "42501" },
    when = "The role may not do this with the table, column, schema, sequence or function.",
    message = "permission denied",
    example = "permission denied for table users",
    fixes = {
      "Grant the permissions: GRANT SELECT, INSERT, UPDATE, DELETE ON {relation|table_name} "
        .. "TO {role|app_user}",
      "Verify the permissions: SELECT * FROM information_schema.table_privileges "
        .. "WHERE grantee = {role_text|'app_user'}",
    },
  },
  {
    kind = "read_only",
    sqlstates = { "25006" },
    when = "A write in a read-only transaction, session or standby server.",
    message = "this transaction may only read",
    example = "cannot execute INSERT in a read-only transaction",
    fixes = {
      "Connect without readonly = true, or run this outside the read-only transaction.",
      'If the server is a standby, connect to the primary: give all hosts, and '
        .. 'target_session_attrs = "read-write".',
      "Check the default of the role and the database: SHOW default_transaction_read_only",
    },
  },
  {
    kind = "syntax_error",
    sqlstates = { "42601" },
    when = "The SQL is not valid; tostring(err) shows the place.",
    message = "the SQL is not valid",
    example = 'syntax error at or near "SELCT"',
    fixes = {
      "Test the query in a database client first, for example psql.",
      "Check for typos{near|}.",
      "Verify the table and column names. Reserved words and names with capitals need double "
        .. "quotes.",
      'Use parameters for values: db:query("... WHERE email = $1", email).',
      "Check that this version of PostgreSQL knows the syntax{server_is|}.",
    },
  },
  {
    kind = "undefined_table",
    sqlstates = { "42P01" },
    when = "No such table or view in the schemas of the search_path.",
    message = "the table does not exist",
    example = 'relation "userz" does not exist',
    fixes = {
      "Check the table's name{relation_is|}. To list the tables: SELECT table_schema, table_name "
        .. "FROM information_schema.tables",
      "Check the case: names in double quotes, and names given to db:insert, keep theirs "
        .. '("Users" is not users).',
      "Name the schema (schema.table), or look at the search_path: SHOW search_path",
      "Check that this is the right database{database_is|}.",
    },
  },
  {
    kind = "undefined_column",
    sqlstates = { "42703" },
    when = "No such column in the tables of the query.",
    message = "the column does not exist",
    example = 'column "emial" does not exist',
    fixes = {
      "Check the column's name{column_is|}. To list the columns: SELECT column_name "
        .. "FROM information_schema.columns WHERE table_name = {table_text|'table_name'}",
      'Check the case: a name in double quotes keeps it ("userId" is not userid).',
      "Pass values as parameters ($1). Text in double quotes is a name, not a value.",
    },
  },
  {
    kind = "undefined_function",
    sqlstates = { "42883" },
    when = "No function or operator of that name takes arguments of these types.",
    message = "the function does not exist for these types",
    example = "function foo(integer) does not exist",
    fixes = {
      "Add a cast where a type differs, for example $1::int or name::text.",
      "Check the function's name, the number of its arguments, and its schema (search_path).",
      "If it belongs to an extension, install that: CREATE EXTENSION name",
    },
  },
  {
    kind = "undefined_parameter",
    sqlstates = { "42P02" },
    when = "The SQL names a parameter that the statement does not have.",
    message = "the statement has no such parameter",
    example = "there is no parameter $1",
    fixes = {
      "Pass a value for {parameter_name|each parameter}: db:query(sql, value1, value2, ...).",
      M.no_parameters,
    },
  },
  {
    kind = "invalid_value",
    sqlstates = { "22" },
    when = "A value does not fit its type: bad input, out of range, too long, division by zero.",
    message = "a value does not fit its type",
    example = 'invalid input syntax for type inet: "nope"',
    fixes = {
      "Check the value of {value_place|each parameter}. It does not fit the type.",
      "For a missing value pass nil or pg.null, not an empty string.",
      "Check the data before it is stored. To see the types: SELECT column_name, data_type "
        .. "FROM information_schema.columns WHERE table_name = {table_text|'table_name'}",
    },
  },
  {
    kind = "constraint_violation",
    sqlstates = { "23" },
    when = "The row breaks a rule of its table; err.condition says which: unique_violation, "
      .. "foreign_key_violation, not_null_violation, check_violation, exclusion_violation.",
    message = "the row breaks a rule of the table",
    example = 'duplicate key value violates unique constraint "users_pkey"',
    fixes = {
      "Look at err.constraint and err.detail. They name the rule and the key.",
      "Check the data before it is stored.",
    },
  },
  {
    kind = "query_timeout",
    sqlstates = {},
    when = "The statement did not finish in its time, or the server's statement_timeout ended it "
      .. "(57014).",
    message = "the statement did not finish within its timeout{limit_is|}{elapsed_in|}",
    example = "the statement did not finish within its timeout of 60 s; it was cancelled",
    fixes = {
      'Optimize the query: db:query("EXPLAIN " .. sql, ...) shows its plan. Add indexes for the '
        .. "columns in WHERE and JOIN.",
      "Reduce the size of the result: add LIMIT, and select only the columns that are needed.",
      "Check for table locks{holder|}: SELECT pid, pg_blocking_pids(pid), query "
        .. "FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
      "Increase the timeout setting{timeout_now|}: timeout in the options, in seconds.",
      "Run it during off-peak hours.",
    },
  },
  {
    kind = "cancelled",
    sqlstates = { "57014" },
    when = "Somebody cancelled the statement: db:cancel(), Ctrl-C, an administrator, a standby.",
    message = "the statement was cancelled",
    example = "canceling statement due to user request",
    fixes = {
      "Find out who cancelled it: db:cancel() or Ctrl-C in this program, or pg_cancel_backend in "
        .. "another.",
      "On a standby, recovery cancels queries that are in its way. Run it again, or on the "
        .. "primary.",
    },
  },
  {
    kind = "lock_timeout",
    sqlstates = { "55P03" },
    when = "A lock could not be had within lock_timeout, or at once with NOWAIT.",
    message = "the lock could not be had in time",
    example = "canceling statement due to lock timeout",
    fixes = {
      "See who holds the lock{holder|}: SELECT pid, state, mode, query FROM pg_locks "
        .. "JOIN pg_stat_activity USING (pid) WHERE granted AND relation = "
        .. "{relation_text|'table_name'}::regclass",
      "Run it again. It changed nothing.",
      "Keep transactions short, and end sessions that are idle in a transaction.",
      "Raise lock_timeout, or use SKIP LOCKED if other rows will do as well.",
    },
  },
  {
    kind = "result_too_large",
    sqlstates = {},
    when = "The result is larger than max_result.",
    message = "{too_large|the result} is larger than the limit{size_is|}",
    example = "the result is larger than the limit of 10 MiB; the statement was cancelled",
    fixes = {
      "Add LIMIT, or select only the columns and rows that are needed.",
      "Read it in parts: WHERE id > $1 ORDER BY id LIMIT 1000, each time with the last id so far.",
      "Raise the limit{result_now|}: max_result in the options, in bytes.",
      "Let the server sum up: count, sum and GROUP BY return less than the rows themselves.",
    },
  },
  {
    kind = "serialization_failure",
    sqlstates = { "40001" },
    when = "Two transactions at the same time could not both succeed. Running it again is right.",
    message = "a transaction at the same time got in the way",
    example = "could not serialize access due to concurrent update",
    fixes = {
      "Run the whole transaction again, from BEGIN.",
      "Keep transactions short, and let them touch few rows.",
    },
  },
  {
    kind = "deadlock_detected",
    sqlstates = { "40P01" },
    when = "Transactions waited for each other, and the server ended this one.",
    message = "transactions waited for each other",
    example = "deadlock detected",
    fixes = {
      "Run the whole transaction again, from BEGIN.",
      "Let all programs change rows and tables in the same order.",
    },
  },
  {
    kind = "commit_unknown",
    sqlstates = { "40003", "08007" },
    when = "The connection was lost during COMMIT: the changes may or may not be stored.",
    message = "the connection was lost during COMMIT: the changes may or may not be stored",
    example = "the connection was lost during COMMIT: the changes may or may not be stored",
    fixes = {
      "Look in the database whether the changes are there before you run it again.",
      "Make it safe to repeat: a unique key of your own, and INSERT ... ON CONFLICT DO NOTHING.",
    },
  },
  {
    kind = "transaction_failed",
    sqlstates = { "25P02" },
    when = "An earlier statement of the transaction failed; err.cause is its error.",
    message = "an earlier statement of this transaction failed",
    example = "current transaction is aborted, commands ignored until end of transaction block",
    fixes = {
      "Look at the first error{cause_is|}. It is the cause.",
      "End the transaction with ROLLBACK. Nothing of it is stored.",
      "If a statement may fail, run SAVEPOINT a before it, and ROLLBACK TO SAVEPOINT a after the "
        .. "failure.",
    },
  },
  {
    kind = "invalid_parameter",
    sqlstates = { "42P18" },
    when = "A Lua value that cannot be bound, a wrong number of parameters (08P01), or a "
      .. "parameter whose type is left open (42P18).",
    message = "a parameter cannot be bound",
    example = "the statement has 2 parameters, but 1 was given",
    fixes = {
      "Pass one value for each parameter, in order. nil and pg.null are NULL.",
      "Say the type where the SQL leaves it open: a cast, {parameter_name|$1}::text, "
        .. 'or pg.typed(value, "text").',
      "Turn what is not plain data into strings, numbers, booleans or tables first.",
    },
  },
  {
    kind = "wrong_action",
    sqlstates = {},
    when = "A statement of another action: db:update takes UPDATE, db:delete takes DELETE.",
    message = "the statement does not belong to this action",
    example = "update takes a statement that begins with UPDATE, MERGE or WITH; this one begins "
      .. "with delete",
    fixes = {
      "Use the action that fits the statement: {action|db:query, db:update or db:delete}.",
      "Otherwise use db:query or db:execute, which take any statement.",
    },
  },
  {
    kind = "connection_lost",
    sqlstates = { "08000", "08003", "08006", "25P03", "25P04", "57P04", "57P05" },
    when = "The connection broke, or a limit or the server closed it.",
    message = "the connection to the server was lost",
    example = "server closed the connection unexpectedly",
    fixes = {
      "Check whether the statement took effect before you run it again.",
      "Connect anew: db:reset() or pg.connect.",
      "Look into the server's log. An administrator, a crash or a time limit may have ended the "
        .. "connection.",
      "If it happens to idle connections, a firewall may drop them: keepalives_idle = 60.",
    },
  },
  {
    kind = "server_unavailable",
    sqlstates = { "57P01", "57P02", "57P03" },
    when = "The server is starting up, shutting down or recovering.",
    message = "the server is not available now",
    example = "the database system is starting up",
    fixes = {
      "Wait a few seconds, then connect again.",
      "If it lasts, look into the server's log or ask its administrator.",
    },
  },
  {
    kind = "unsupported_version",
    sqlstates = {},
    when = "The server is older than PostgreSQL 9.6.",
    message = "PostgreSQL 9.6 or higher is needed{server_is|}",
    example = "the server is PostgreSQL 9.5.25; this module needs 9.6 or newer",
    fixes = {
      "Upgrade the server to PostgreSQL 9.6 or higher.",
      "Check that host and port lead to the server that is meant{place|}.",
    },
  },
  {
    kind = "query_failed",
    sqlstates = {},
    when = "Any other SQLSTATE.",
    message = "the server reported an error without a message",
    example = 'relation "users" already exists',
    fixes = {
      "Look up {sqlstate_is|err.sqlstate} in Appendix A of the PostgreSQL manual "
        .. "(PostgreSQL Error Codes).",
      "Test the statement in a database client, for example psql.",
    },
  },
}

---@type table<string, pg.Kind>
M.by_name = {}
---@type table<string, string> SQLSTATE or class to kind
M.by_sqlstate = {}
for _, entry in ipairs(M.kinds) do
  M.by_name[entry.kind] = entry
  for _, code in ipairs(entry.sqlstates) do
    -- 28000 stands under two kinds: the first, authentication_failed, unless the text says SSL.
    M.by_sqlstate[code] = M.by_sqlstate[code] or entry.kind
  end
end

---Fills a text in.
---@param text string
---@param facts table<string, string>
---@return string
function M.fill(text, facts)
  text = text:gsub("{=([%w_]+)}", function(name)
    local replaced = M.texts[name]
    return type(replaced) == "string" and replaced or ""
  end)
  return (text:gsub("{([%w_]+)|([^{}]*)}", function(name, default)
    return facts[name] or default
  end))
end

return M
